"""KernelGCCAAligner.translate against scikit-learn's regressions and refits."""

from functools import partial
from itertools import permutations

import numpy as np
import pytest
import torch
from sklearn.dummy import DummyRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.metrics.pairwise import linear_kernel, rbf_kernel
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.preprocessing import KernelCenterer

from sklearn_featalign import KernelGCCAAligner
from sklearn_featalign._kernels._moments import moments_of
from sklearn_featalign._kernels._translation import (
    PENALTIES,
    PairMoments,
    choose_penalty,
    descend,
)

WIDTHS = {"a": 6, "b": 4, "c": 5}
SCALES = (1.0, 1e3, 1e-3)


def make_blocks(n_samples, seed, n_views=2, noise=0.2):
    """Return views, in different units, of the same three hidden columns."""
    rng, maps = np.random.default_rng(seed), np.random.default_rng(99)
    Z = rng.normal(size=(n_samples, 3))
    return [
        scale * (5 + np.tanh(Z @ maps.normal(size=(3, width))))
        + scale * noise * rng.normal(size=(n_samples, width))
        for scale, width in zip(SCALES[:n_views], WIDTHS.values(), strict=False)
    ]


def views_of(blocks):
    return dict(list(WIDTHS.items())[: len(blocks)])


def fit(blocks, **params):
    params = {"n_landmarks": 30, "linear": 0.7, "power": 8, "random_state": 0} | params
    return KernelGCCAAligner(views=views_of(blocks), **params).fit(np.hstack(blocks))


def centred(kernel, X, X_new):
    """Return a kernel of training rows with trace n, and that of new rows with them."""
    centerer = KernelCenterer().fit(kernel(X, X))
    K, K_new = (centerer.transform(kernel(rows, X)) for rows in (X, X_new))
    unit = len(X) / np.trace(K)
    return unit * K, unit * K_new


@pytest.mark.parametrize("linear", [0.0, 0.4, 1.0])
def test_equal_to_kernel_ridge_regression_if_all_rows_are_landmarks(linear):
    blocks, new = make_blocks(80, 0), make_blocks(40, 1)
    aligner = fit(blocks, linear=linear, n_landmarks=None)
    for source, target in permutations((0, 1), 2):
        X, Y = blocks[source], blocks[target]
        rate = 1 / (2 * aligner.gamma_[source] * X.var(0, ddof=1).sum())
        kernels = linear_kernel, partial(rbf_kernel, gamma=rate)
        parts = [centred(kernel, X, new[source]) for kernel in kernels]
        K, K_new = (
            linear * first + (1 - linear) * second
            for first, second in zip(*parts, strict=True)
        )
        ridge = aligner.translation_params_["ab"[source], "ab"[target]]["ridge"]
        model = KernelRidge(alpha=ridge, kernel="precomputed").fit(K, Y - Y.mean(0))
        expected = model.predict(K_new) + Y.mean(0)
        found = aligner.translate(new[source], source, target)
        # Axes of tiny eigenvalues are left out.
        np.testing.assert_allclose(found, expected, atol=1e-3 * Y.std())


def test_equal_to_ridge_regression_of_linear_features():
    blocks, new = make_blocks(80, 0), make_blocks(40, 1)
    aligner = fit(blocks, linear=1.0)
    X, Y = blocks
    unit = np.square(X - X.mean(0)).sum() / len(X)
    ridge = aligner.translation_params_["a", "b"]["ridge"]
    expected = Ridge(ridge * unit).fit(X, Y).predict(new[0])
    found = aligner.translate(new[0], "a", "b")
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_affine_maps_of_full_rank_are_found_exactly(dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 5)) + 20
    Y = 1e4 * (X @ rng.normal(size=(5, 5)) + 3 * rng.normal(size=5))
    X, Y = X.astype(dtype), Y.astype(dtype)
    aligner = KernelGCCAAligner(views=[5, 5], n_landmarks=50, random_state=0)
    aligner.fit(np.hstack([X, Y])[:200])
    rtol = 1e-7 if dtype == np.float64 else 1e-5
    for rows, others, pair in ((X, Y, (0, 1)), (Y, X, (1, 0))):
        found = aligner.translate(rows[200:], *pair)
        assert found.dtype == dtype
        np.testing.assert_allclose(
            found, others[200:], atol=rtol * np.abs(others).max()
        )
    assert min(aligner.translation_score_.values()) > 1 - 1e-8


def test_a_pair_counts_all_rows_that_have_both_views():
    blocks, new = make_blocks(120, 0, 3), make_blocks(40, 1, 3)
    # Rows lack b, or c, or a; and some have a alone.
    blocks[1][40:60], blocks[2][60:80], blocks[0][80:100] = np.nan, np.nan, np.nan
    blocks[1][100:110], blocks[2][100:110] = np.nan, np.nan
    aligner = fit(blocks, linear=1.0)
    present = [np.isfinite(X[:, 0]) for X in blocks]
    counted = np.sum(present, axis=0) >= 2
    for u, v in permutations(range(3), 2):
        both, own = present[u] & present[v], blocks[u][present[u] & counted]
        unit = np.square(own - own.mean(0)).sum() / len(own)
        ridge = aligner.translation_params_["abc"[u], "abc"[v]]["ridge"]
        model = Ridge(ridge * unit).fit(blocks[u][both], blocks[v][both])
        found = aligner.translate(new[u], u, v)
        np.testing.assert_allclose(found, model.predict(new[u]), rtol=1e-8)


@pytest.mark.parametrize("ridge", [1e-3, 0.1, 10.0])
def test_errors_of_left_out_rows_are_those_of_refits(ridge):
    rng = np.random.default_rng(0)
    F = rng.normal(size=(40, 7)) + 2
    Y = F @ rng.normal(size=(7, 3)) + rng.normal(size=(40, 3))
    pair = as_pair(F, Y)
    errors = []
    for i in range(40):
        rest = np.delete(np.arange(40), i)
        model = Ridge(ridge, solver="cholesky").fit(F[rest], Y[rest])
        errors.append(Y[i] - model.predict(F[i : i + 1])[0])
    found = pair.left_out_error(ridge)
    assert found == pytest.approx(np.square(errors).sum(), rel=1e-9)


def as_pair(F, Y):
    """Return the `PairMoments` of features and a target; all rows are left out."""
    rows = torch.from_numpy(np.c_[F, np.ones(len(F))])
    own = moments_of([rows])["stacked"][1]
    Y = torch.from_numpy(Y - Y.mean(0))
    mean = rows[:, :-1].mean(0)
    cross = (rows[:, :-1] - mean).T @ Y
    return PairMoments(own, mean, cross, torch.zeros(Y.shape[1]), rows, Y)


@pytest.mark.parametrize("noise", [0.0, 0.3, 3.0, 30.0])
@pytest.mark.parametrize("decay", [1.0, 0.5, 0.1])
def test_the_penalty_is_the_best_for_left_out_rows(noise, decay):
    rng = np.random.default_rng(0)
    scales = 30 * decay ** np.arange(12.0)
    F = scales * rng.normal(size=(60, 12))
    # The widest columns tell nothing: errors have two minima.
    Y = F[:, 4:] @ (rng.normal(size=(8, 2)) / scales[4:, None])
    pair = as_pair(F, Y + noise * rng.normal(size=(60, 2)))
    index, error = choose_penalty(pair)
    errors = [pair.left_out_error(penalty) for penalty in PENALTIES]
    assert error == errors[index] == pytest.approx(min(errors), rel=0.01)
    again = choose_penalty(pair, index)
    assert again == (index, error)


def test_features_that_are_rescaled_are_others():
    rng = np.random.default_rng(0)
    F, Y = rng.normal(size=(20, 12)), rng.normal(size=(20, 2))
    factors = rng.uniform(0.5, 2, 12)
    scaled = as_pair(F, Y).scaled(torch.from_numpy(factors))
    for found, value in zip(scaled, as_pair(F * factors, Y), strict=True):
        np.testing.assert_allclose(found, value, atol=1e-10)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_wide_columns_that_tell_nothing_do_not_hide_the_others(scale):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 25))
    Y = X[:, :5] @ rng.normal(size=(5, 6))
    X[:, 5:] *= scale
    aligner = KernelGCCAAligner(views=[25, 6], n_landmarks=50, random_state=0)
    aligner.fit(np.hstack([X, Y])[:200])
    assert aligner.translation_score_["view0", "view1"] > 0.98
    assert r2_score(Y[200:], aligner.translate(X[200:], 0, 1)) > 0.98


@pytest.mark.parametrize(
    ("bend", "shares"), [(0.0, {1.0}), (1.0, {0.1, 0.4}), (3.0, {0.1, 0.4})]
)
def test_the_share_of_the_linear_kernel_is_chosen(bend, shares):
    rng, maps = np.random.default_rng(0), np.random.default_rng(99)
    X = rng.normal(size=(150, 4))
    Y = X @ maps.normal(size=(4, 4)) + bend * np.sin(2 * X)
    blocks = [X, Y + 0.1 * rng.normal(size=Y.shape)]
    params = {"views": [4, 4], "n_landmarks": None, "random_state": 0}
    aligner = KernelGCCAAligner(**params).fit(np.hstack(blocks))
    pair = "view0", "view1"
    assert aligner.translation_params_[pair]["linear"] in shares
    scores = []
    for linear in (0.1, 0.4, 1.0):
        fixed = KernelGCCAAligner(linear=linear, **params).fit(np.hstack(blocks))
        assert fixed.translation_params_[pair]["linear"] == linear
        scores.append(fixed.translation_score_[pair])
    assert aligner.translation_score_[pair] == pytest.approx(max(scores), abs=0.002)


def test_descent_stops_at_the_nearest_minimum():
    values = [5, 3, 1, 2, 2, 4, 0]
    for start, found in ((0, 2), (3, 2), (4, 4), (5, 6)):
        assert descend(values.__getitem__, start, range(7), 1) == found
    assert descend(values.__getitem__, 0, range(7), 3) == 6
    assert descend(values.__getitem__, 3, range(3, 7), 1) == 3


def test_the_score_counts_that_left_out_rows_are_no_part_of_the_mean():
    rng = np.random.default_rng(0)
    blocks = [rng.normal(size=(12, 3)), rng.normal(size=(12, 2))]
    params = {"views": [3, 2], "n_landmarks": None, "linear": 1.0}
    aligner = KernelGCCAAligner(**params).fit(np.hstack(blocks))
    X, Y = blocks
    ridge = aligner.translation_params_["view0", "view1"]["ridge"]
    model = Ridge(ridge * np.square(X - X.mean(0)).sum() / 12)
    found = cross_val_predict(model, X, Y, cv=LeaveOneOut())
    means = cross_val_predict(DummyRegressor(), X, Y, cv=LeaveOneOut())
    expected = 1 - np.square(Y - found).sum() / np.square(Y - means).sum()
    # The unit of the penalty changes a little when a row is left out of the mean.
    assert aligner.translation_score_["view0", "view1"] == pytest.approx(
        expected, abs=1e-6
    )


@pytest.mark.parametrize("noise", [0.1, 0.5, 1.5])
def test_the_score_is_the_share_of_variance_explained_in_new_rows(noise):
    scores, shares = [], []
    for seed in range(4):
        aligner = fit(make_blocks(700, seed, noise=noise))
        new = make_blocks(2000, 10 + seed, noise=noise)
        for pair in permutations("ab"):
            u, v = map("ab".index, pair)
            found = aligner.translate(new[u], u, v)
            scores.append(aligner.translation_score_[pair])
            shares.append(r2_score(new[v], found, multioutput="variance_weighted"))
    error = np.std(np.subtract(scores, shares)) / len(scores) ** 0.5
    assert np.mean(scores) == pytest.approx(np.mean(shares), abs=0.01 + 3 * error)
    assert 0.02 < np.mean(shares) < 0.98


def test_partial_fit_does_not_depend_on_the_steps():
    blocks, (new, _) = make_blocks(500, 0), make_blocks(50, 1)
    blocks[1][450:] = np.nan
    X, found = np.hstack(blocks), []
    for steps in ([200], [200, 201, 203, 390]):
        params = {"n_landmarks": 30, "random_state": 0}
        aligner = KernelGCCAAligner(views=views_of(blocks), **params)
        for rows in np.split(X, steps):
            aligner.partial_fit(rows)
        found.append(aligner.translate(new, "a", "b"))
    np.testing.assert_allclose(*found, rtol=1e-8)


def test_constant_columns_of_the_target_are_returned():
    X, y = make_blocks(100, 0)
    y[:, 1:] = 7
    found = fit([X, y]).translate(X, 0, 1)
    np.testing.assert_allclose(found[:, 1:], 7, rtol=1e-12)


def test_tensors_absent_rows_and_what_is_refused():
    blocks, (new, _) = make_blocks(100, 0), make_blocks(30, 1)
    aligner = fit(blocks)
    expected = aligner.translate(new, "a", "b")
    found = aligner.translate(torch.from_numpy(new).float(), 0, 1)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    new[3] = np.nan
    found = aligner.translate(new, "a", "b")
    assert np.isnan(found[3]).all()
    np.testing.assert_array_equal(np.delete(found, 3, 0), np.delete(expected, 3, 0))
    for pair in (("a", "a"), (1, "b")):
        with pytest.raises(ValueError, match="are the same view"):
            aligner.translate(new, *pair)
    with pytest.raises(ValueError, match="'x' is no view"):
        aligner.translate(new, "a", "x")
    with pytest.raises(ValueError, match="view 'b' .* is expecting 4 features"):
        aligner.translate(new, "b", "a")
    without = fit(blocks, fit_translations=False)
    np.testing.assert_array_equal(
        without.transform_view(new[:3], 0), aligner.transform_view(new[:3], 0)
    )
    assert not hasattr(without, "translate")
    assert not hasattr(without, "translation_score_")
    # The parameter was changed after the fit, which has to be repeated, unless there
    # are sums over the rows.
    without.set_params(fit_translations=True)
    with pytest.raises(AttributeError, match="fit the aligner with"):
        without.translate(new, "a", "b")
    without.set_params(fit_translations=False).partial_fit(np.hstack(blocks))
    assert without.n_components_ == aligner.n_components_
    found = without.set_params(fit_translations=True).translate(new, "a", "b")
    np.testing.assert_allclose(found, aligner.translate(new, "a", "b"), rtol=1e-9)
    assert not hasattr(KernelGCCAAligner(), "translate")


def test_the_classifier_of_another_network():
    blocks, new = make_blocks(600, 0), make_blocks(600, 1)
    y, y_new = ((X[0][:, 0] > 5).astype(int) for X in (blocks, new))
    aligner = fit([X[:300] for X in blocks])
    classifier = LogisticRegression(C=1e-3).fit(blocks[1][300:], y[300:])
    moved = aligner.translate(new[0], "a", "b")
    own = classifier.score(new[1], y_new)
    assert classifier.score(moved, y_new) > own - 0.05 > 0.7


def test_a_row_that_is_far_off_follows_the_linear_kernel():
    blocks = make_blocks(200, 0)
    aligner = fit(blocks)
    step = np.ones((1, 6))
    far = [aligner.translate(1e6 * k * step, 0, 1) for k in (1, 2, 3)]
    np.testing.assert_allclose(far[2] - far[1], far[1] - far[0], rtol=1e-6)

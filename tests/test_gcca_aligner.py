"""KernelGCCAAligner against its definition, written with scikit-learn and scipy."""

import pickle
from itertools import combinations, product

import numpy as np
import pytest
from _samples import blobs
from scipy.linalg import fractional_matrix_power, qr, svd
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_sample_images
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KernelCenterer, StandardScaler, normalize

from sklearn_featalign import KernelGCCAAligner, RBFAutoScaleAligner, stack_views
from sklearn_featalign._kernels import _gcca_views
from sklearn_featalign.metrics import (
    linear_cka,
    make_retrieval_scorer,
    mean_reciprocal_rank,
    retrieval_accuracy,
)

WIDTHS = [6, 4, 5]


def make_views(n_samples=60, seed=0, n_views=2):
    """Return views of the same hidden rows."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n_samples, 3))
    maps = np.random.default_rng(99)
    return [
        10.0**i * np.tanh(Z @ maps.normal(size=(3, width)))
        + 10.0**i * 0.2 * rng.normal(size=(n_samples, width))
        for i, width in enumerate(WIDTHS[:n_views])
    ]


def fit(blocks, **params):
    """Fit views of which all rows are landmarks; one alone is no view."""
    widths = [X.shape[1] for X in blocks] if len(blocks) > 1 else None
    params = {"views": widths, "n_landmarks": None, "power": 8} | params
    return KernelGCCAAligner(**params).fit(np.hstack(blocks))


def centred_kernels(X, X_new, c, linear):
    """Return the kernel among the landmarks, and that of new rows with them."""
    gamma = RBFAutoScaleAligner(c=c, n_landmarks=None).fit(X).gamma_
    rate = 1 / (2 * gamma * X.var(0, ddof=1).sum())
    total, total_new = 0, 0
    for kernel, share in (
        (lambda A, B: A @ B.T, linear),
        (lambda A, B: rbf_kernel(A, B, gamma=rate), 1 - linear),
    ):
        centerer = KernelCenterer().fit(kernel(X, X))
        K = centerer.transform(kernel(X, X))
        weight = share * len(X) / np.trace(K)
        total = total + weight * K
        total_new = total_new + weight * centerer.transform(kernel(X_new, X))
    return total, total_new


def definition(
    views,
    new,
    c=0.3,
    linear=0.7,
    ridge=0.1,
    power=8,
    hub_neighbors=10,
    hub_axes=256,
    single=None,
):
    """Return rows of unit length and their hubness, for each view.

    Besides `views`, rows of a `single` view measure hubness.
    """
    m = len(views[0])
    kernels = [
        centred_kernels(X, Y, c, linear) for X, Y in zip(views, new, strict=True)
    ]
    inverses = [np.linalg.inv(K + ridge * np.eye(m)) for K, _ in kernels]
    hats = [K @ P for (K, _), P in zip(kernels, inverses, strict=True)]
    pairs = [(A + B) / 2 for A, B in combinations(hats, 2)] or hats
    if len(pairs) == 1:
        W = fractional_matrix_power(pairs[0], power).real
    else:
        powers = [np.linalg.matrix_power(H, 24) for H in pairs]
        values, vectors = np.linalg.eigh(sum(powers) / len(pairs))
        shares = np.maximum(values, 1e-12 * values[-1]) ** (1 / 24)
        W = vectors * shares**power @ vectors.T
    axes = np.linalg.eigh(W)[1][:, -hub_axes:]
    features = [
        normalize(K_new @ P @ W)
        for (_, K_new), P in zip(kernels, inverses, strict=True)
    ]
    held_out = []
    for K, _ in kernels:
        rows = np.zeros((m, m))
        for i in range(m):
            rest = np.delete(np.arange(m), i)
            penalised = K[np.ix_(rest, rest)] + ridge * np.eye(m - 1)
            rows[i, rest] = np.linalg.solve(penalised, K[rest, i])
        held_out.append(normalize(rows @ W))
    if single is not None:
        more = definition(views, single, c, linear, ridge, power)[0]
        held_out = [np.vstack(parts) for parts in zip(held_out, more, strict=True)]

    def nearest(F, view):
        others = np.vstack([G for u, G in enumerate(held_out) if u != view])
        products = F @ axes @ axes.T @ others.T
        return np.sort(products, axis=1)[:, -hub_neighbors:].mean(1)

    if len(views) == 1:
        return features, [None]
    hubs = [
        nearest(F, v) - nearest(held_out[v], v).mean() for v, F in enumerate(features)
    ]
    return features, hubs


PARAMS = [
    {},
    {"c": 0.1, "linear": 0.2, "ridge": 1.0, "power": 2.5, "hub_neighbors": 3},
    {"linear": 1.0, "power": 0, "hub_neighbors": 0},
    {"linear": 0.0, "power": 3},
]


def split_output(out, n_views):
    """Return the components of each view, and the column of hubness."""
    blocks = np.split(out, n_views, axis=1)
    return [block[:, :-1] for block in blocks], [block[:, -1] for block in blocks]


@pytest.mark.parametrize("params", PARAMS)
@pytest.mark.parametrize("n_views", [1, 2, 3])
def test_similarities_are_those_of_kernel_matrices_if_all_rows_are_landmarks(
    n_views, params
):
    views, new = make_views(n_views=n_views), make_views(30, 1, n_views)
    params = {"linear": 0.7} | params
    features, hubs = definition(views, new, **params)
    aligner = fit(views, metric="dot", **params)
    out = aligner.transform(np.hstack(new))
    components, columns = np.split(out, n_views, axis=1), [None] * n_views
    if n_views > 1 and aligner.hub_neighbors:
        components, columns = split_output(out, n_views)
    # Axes with less than a millionth of the largest eigenvalue are left out. Of three
    # views, small powers give them some weight.
    atol = 1e-5 if n_views < 3 or params.get("power", 8) not in (2.5, 3) else 1e-3
    for (F, A), (G, B) in product(zip(components, features, strict=True), repeat=2):
        np.testing.assert_allclose(F @ G.T, A @ B.T, atol=atol)
    for column, r in zip(columns, hubs, strict=True):
        if column is not None:
            np.testing.assert_allclose(column, 1 - 0.65 * r, atol=atol)


@pytest.mark.parametrize("n_views", [2, 3])
def test_hubness_goes_by_the_leading_components(n_views, monkeypatch):
    monkeypatch.setattr(_gcca_views, "HUB_AXES", 4)
    views, new = make_views(n_views=n_views), make_views(30, 1, n_views)
    _, hubs = definition(views, new, hub_axes=4)
    aligner = fit(views)
    for v, r in enumerate(hubs):
        column = aligner.transform_view(new[v], v)[:, -1]
        np.testing.assert_allclose(column, 1 - 0.65 * r, atol=1e-5)


def test_rows_of_a_single_view_measure_hubness(monkeypatch):
    views, new = make_views(n_views=2), make_views(30, 1, 2)
    single = [make_views(40, 2, 2)[0], make_views(60, 3, 2)[1]]
    # The linear kernel has no bandwidth, which would depend on these rows.
    params = {"linear": 1.0, "power": 4}
    _, hubs = definition(views, new, single=single, **params)
    X = np.vstack(
        [
            np.hstack(views),
            stack_views([single[0], None], WIDTHS[:2]),
            stack_views([None, single[1]], WIDTHS[:2]),
        ]
    )
    aligner = KernelGCCAAligner(views=WIDTHS[:2], n_landmarks=None, **params).fit(X)
    for v, r in enumerate(hubs):
        column = aligner.transform_view(new[v], v)[:, -1]
        np.testing.assert_allclose(column, 1 - 0.65 * r, atol=1e-5)
    paired = fit(views, **params).transform_view(new[0], 0)
    assert np.abs(paired[:, -1] - aligner.transform_view(new[0], 0)[:, -1]).max() > 0.01
    # There is room for as many of each view.
    monkeypatch.setattr(_gcca_views, "N_KEPT", len(views[0]) + 40)
    references = [v["reference"] for v in aligner.fit(X)._solved()["views"].values()]
    assert [len(own["rows"]) for own in references] == [len(views[0]) + 20] * 2


def wide_views(n_samples, seed, noise=0.4):
    """Return two views of 20 and 15 columns, of nine hidden columns and noise."""
    rng, maps = np.random.default_rng(seed), np.random.default_rng(99)
    Z = rng.normal(size=(n_samples, 9))
    return np.hstack(
        [
            np.tanh(Z @ maps.normal(size=(9, width)))
            + noise * rng.normal(size=(n_samples, width))
            for width in (20, 15)
        ]
    )


def kernel_features(aligner, X, v, shares):
    """Return centred and scaled features of a view in the aligner's kernels."""
    columns = list(aligner.view_columns_.values())[v]
    X, L = X[:, columns], aligner.landmarks_[:, columns]
    rate = 1 / (2 * aligner.gamma_[v] * X.var(0, ddof=1).sum())
    values, vectors = np.linalg.eigh(rbf_kernel(L, L, gamma=rate))
    root = vectors / np.sqrt(values)
    parts = []
    for part, share in zip(
        (X, rbf_kernel(X, L, gamma=rate) @ root), shares, strict=True
    ):
        part = part - part.mean(0)
        parts.append(part * np.sqrt(share * len(X) / np.square(part).sum()))
    return np.hstack(parts)


def test_all_pairs_count_and_landmarks_are_a_basis():
    X = wide_views(300, 0)
    params = {"n_landmarks": 25, "hub_neighbors": 0, "random_state": 0, "linear": 0.7}
    aligner = KernelGCCAAligner(views=[20, 15], power=3, ridge=0.2, **params).fit(X)
    F = [kernel_features(aligner, X, v, (0.7, 0.3)) for v in (0, 1)]
    P = [np.linalg.inv(f.T @ f + 0.2 * np.eye(f.shape[1])) for f in F]
    H = (F[0] @ P[0] @ F[0].T + F[1] @ P[1] @ F[1].T) / 2
    values, vectors = np.linalg.eigh(H)
    values, G = values[::-1][:85], vectors[:, ::-1][:, :85]
    maps = [p @ f.T @ G * values**3 for p, f in zip(P, F, strict=True)]
    expected = np.vstack([normalize(f @ B) for f, B in zip(F, maps, strict=True)])
    out = np.vstack(np.split(aligner.transform(X), 2, axis=1))
    np.testing.assert_allclose(out @ out.T, expected @ expected.T, atol=1e-7)


def test_few_components_are_the_leading_ones():
    X = wide_views(300, 0)
    params = {"views": [20, 15], "n_landmarks": 25, "power": 0, "random_state": 0}
    params |= {"n_components": 4, "hub_neighbors": 0, "linear": 0.7}
    aligner = KernelGCCAAligner(**params).fit(X)
    F = [kernel_features(aligner, X, v, (0.7, 0.3)) for v in (0, 1)]
    H = sum(f @ np.linalg.solve(f.T @ f + 0.1 * np.eye(f.shape[1]), f.T) for f in F)
    G = np.linalg.eigh(H)[1][:, -4:]
    out = aligner.transform(X)
    assert out.shape == (300, 8) and aligner.n_components_ == 4
    # Predictions of the leading variates, rotated.
    p = np.linalg.solve(F[0].T @ F[0] + 0.1 * np.eye(F[0].shape[1]), F[0].T @ G)
    expected = normalize(F[0] @ p)
    np.testing.assert_allclose(
        out[:, :4] @ out[:, :4].T, expected @ expected.T, atol=1e-7
    )
    # The variates themselves are mixed: no column is one of them.
    assert np.abs(np.corrcoef(out[:, :4].T, G.T)[:4, 4:]).max() < 0.98


def test_without_a_ridge_linear_views_have_canonical_variates():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(500, 3))
    A, B = (Z @ rng.normal(size=(3, d)) + rng.normal(size=(500, d)) for d in (6, 4))
    params = {"linear": 1.0, "ridge": 1e-7, "power": 0, "hub_neighbors": 0}
    aligner = KernelGCCAAligner(n_components=2, views=[6, 4], n_landmarks=50, **params)
    aligner.fit(np.hstack([A, B]))
    Q_a, Q_b = (qr(X - X.mean(0), mode="economic")[0] for X in (A, B))
    U, correlations, _ = svd(Q_a.T @ Q_b)
    # The mean of two variates has the correlation (1 + r) / sqrt(2 + 2 r) with each.
    expected = normalize(Q_a @ U[:, :2] * np.sqrt(1 + correlations[:2]))
    F = aligner.transform_view(A, 0)
    np.testing.assert_allclose(F @ F.T, expected @ expected.T, atol=1e-5)


def test_rows_that_lack_a_view_count_as_in_generalised_cca_with_missing_rows():
    X = np.hstack(make_views(90, n_views=3))
    X[60:70, :6] = X[70:80, 6:10] = np.nan
    params = {"linear": 1.0, "ridge": 0.3, "power": 0, "hub_neighbors": 0}
    aligner = KernelGCCAAligner(views=WIDTHS, n_landmarks=20, **params)
    out = aligner.fit(X).transform(X)
    assert aligner.n_components_ == sum(WIDTHS)
    hats, ends = [], np.cumsum([0, *WIDTHS])
    F, masks = [], []
    for start, end in zip(ends[:-1], ends[1:], strict=True):
        Z = X[:, start:end]
        mask = np.isfinite(Z[:, 0])
        Z = Z - Z[mask].mean(0)
        Z *= np.sqrt(mask.sum() / np.square(Z[mask]).sum())
        F.append(np.where(mask[:, None], Z, 0))
        masks.append(mask)
        C = F[-1].T @ F[-1] + 0.3 * np.eye(F[-1].shape[1])
        hats.append(F[-1] @ np.linalg.solve(C, F[-1].T))
    D = np.sum(masks, axis=0) ** -0.5
    _, Y = np.linalg.eigh(D[:, None] * sum(hats) * D)
    G = D[:, None] * Y[:, -15:]
    # With power 0 all variates count alike.
    for v, (f, mask) in enumerate(zip(F, masks, strict=True)):
        C = f.T @ f + 0.3 * np.eye(f.shape[1])
        expected = normalize(f @ np.linalg.solve(C, f.T @ G))[mask]
        block = out[mask, 15 * v : 15 * v + 15]
        np.testing.assert_allclose(block @ block.T, expected @ expected.T, atol=1e-7)


def partial(X, steps, **params):
    params = {"views": [20, 15], "n_landmarks": 30} | params
    aligner = KernelGCCAAligner(random_state=0, **params)
    for rows in np.split(X, steps):
        aligner.partial_fit(rows)
    return aligner


def test_partial_fit_does_not_depend_on_the_steps():
    X, new = wide_views(500, 0), wide_views(50, 1)
    X[450:, 20:] = np.nan
    expected = partial(X, [200]).transform(new)
    for steps in ([200, 201, 203, 390], [200, 350]):
        out = partial(X, steps)
        np.testing.assert_allclose(out.transform(new), expected, atol=1e-8)
    fewer = partial(X[:300], [200]).transform(new)
    assert 1e-3 < np.abs(fewer - expected).mean() < 0.1


def test_batches_do_not_change_the_rank():
    """Kernels of one column have fewer axes than landmarks: others are rounding."""
    X, new = blobs(n_samples=3000), blobs(1)
    params = {"views": [1, 2, 1], "n_landmarks": 20, "hub_neighbors": 0}
    aligner = KernelGCCAAligner(random_state=0, **params).fit(X)
    n_components, expected = aligner.n_components_, aligner.transform(new)
    for batch_size in (1500, 1000, 300, 100, 37):
        aligner.set_params(batch_size=batch_size).fit(X)
        assert aligner.n_components_ == n_components
        np.testing.assert_allclose(aligner.transform(new), expected, atol=1e-8)
    steps = [partial(X, steps, **params) for steps in ([2000], [2000, 2100, 2900])]
    first, second = (out.transform(new) for out in steps)
    np.testing.assert_allclose(first, second, atol=1e-8)


def test_one_call_of_partial_fit_is_a_fit():
    X, new = wide_views(300, 0), wide_views(50, 1)
    aligner = partial(X, [])
    fitted = clone(aligner).fit(X)
    np.testing.assert_array_equal(aligner.transform(new), fitted.transform(new))
    assert aligner.loo_score_ == fitted.loo_score_
    with pytest.raises(ValueError, match="fit keeps no sums"):
        fitted.compute_moments(X)
    # After a fit, partial_fit begins anew.
    fitted.fit(X[:50]).partial_fit(X)
    np.testing.assert_array_equal(aligner.transform(new), fitted.transform(new))


def test_moments_are_added_in_any_order_and_elsewhere():
    X, new = wide_views(500, 0), wide_views(50, 1)
    expected = partial(X, [200, 300, 400]).transform(new)
    aligner = partial(X[:200], [])
    copy = pickle.loads(pickle.dumps(aligner))
    moments = [copy.compute_moments(rows) for rows in np.split(X[200:], 3)]
    assert all(set(part["stacked"]) == {2} for part in moments)
    aligner.add_moments(*moments[::-1])
    np.testing.assert_allclose(aligner.transform(new), expected, atol=1e-8)


def test_names_of_columns_outlast_rows_that_are_added():
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame(wide_views(200, 0)).rename(columns=lambda i: f"f{i}")
    aligner = KernelGCCAAligner(views=[20, 15], n_landmarks=30)
    aligner.partial_fit(X[:100]).partial_fit(X[100:])
    np.testing.assert_array_equal(aligner.feature_names_in_, X.columns)
    with pytest.raises(ValueError, match="feature names should match"):
        aligner.partial_fit(X[X.columns[::-1]])


def test_rows_added_later_improve_retrieval():
    X, new = wide_views(2000, 0, 1.0), wide_views(300, 1, 1.0)
    scores = [partial(X[:n], [100]).score(new) for n in (101, 2000)]
    assert scores[1] > 1.5 * scores[0]


@pytest.mark.parametrize("noise", [0.3, 0.6, 1.0])
def test_the_score_of_left_out_rows_is_that_of_new_rows(noise):
    params = {"views": [20, 15], "n_landmarks": 100, "linear": 0.7, "power": 8}
    aligner = KernelGCCAAligner(**params, random_state=0)
    left_out, held_out = [], []
    for seed in range(4):
        aligner.fit(wide_views(600, seed, noise))
        left_out.append(aligner.loo_score_)
        new = wide_views(5 * aligner.loo_size_, 10 + seed, noise)
        held_out += [aligner.score(rows) for rows in np.split(new, 5)]
    error = np.std(held_out) * (1 / 20 + 1 / 8) ** 0.5
    # A model of four fifths of the rows is a little worse.
    assert np.mean(left_out) == pytest.approx(np.mean(held_out), abs=0.03 + 3 * error)
    # The score of training rows is far off.
    training = wide_views(600, 3, noise)[: aligner.loo_size_]
    assert aligner.score(training) > np.mean(held_out) + 0.2


def digits():
    """Return the upper and the lower halves of images of digits."""
    X = np.round(load_digits().data)
    return X[:, :32], X[:, 32:]


def cells():
    """Return the means and the largest values of measures of cells."""
    X = load_breast_cancer().data
    return X[:, :10], X[:, 20:]


def patches():
    """Return the left and the right halves of patches of two photographs."""
    images = [image.mean(2)[:416, :640] for image in load_sample_images().images]
    blocks = [X.reshape(52, 8, 80, 8).swapaxes(1, 2).reshape(-1, 8, 8) for X in images]
    X = np.concatenate(blocks)
    # The sky is the same everywhere.
    X = X[X.std((1, 2)) > 20]
    return X[:, :, :4].reshape(-1, 32), X[:, :, 4:].reshape(-1, 32)


@pytest.mark.parametrize("load", [digits, cells, patches])
def test_the_score_of_left_out_rows_is_honest_on_real_data(load):
    A, B = (StandardScaler().fit_transform(X) for X in load())
    aligner = KernelGCCAAligner(
        views=[A.shape[1], B.shape[1]], n_landmarks=150, random_state=0
    )
    left_out, held_out = [], []
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(len(A))
        X = np.hstack([A, B])[order]
        left_out.append(aligner.fit(X[:400]).loo_score_)
        assert aligner.loo_size_ == 80
        aligner.fit(X[:320])
        new = X[400 : 400 + (len(X) - 400) // 80 * 80].reshape(-1, 80, X.shape[1])
        held_out.append(np.mean([aligner.score(rows) for rows in new]))
    # Draws differ, and the best of nine settings is a little too good.
    error = np.std(np.subtract(left_out, held_out), ddof=1) / 2
    assert 0.02 < np.mean(held_out) < 0.98
    assert np.mean(left_out) == pytest.approx(np.mean(held_out), abs=0.03 + 3 * error)


def bent_views(n_samples, seed, n_hidden, bend, noise):
    """Return two views of 12 columns of hidden ones, the second bent by a sine."""
    rng, maps = np.random.default_rng(seed), np.random.default_rng(99)
    Z = rng.normal(size=(n_samples, n_hidden))
    A, B = (Z @ maps.normal(size=(n_hidden, 12)) for _ in range(2))
    B = B + bend * np.sin(3 * B / B.std())
    return np.hstack([A, B]) + noise * rng.normal(size=(n_samples, 24))


@pytest.mark.parametrize(
    ("views", "linear"), [((10, 0.0, 1.0), 0.9), ((2, 4.0, 0.3), 0.4)]
)
def test_rows_that_are_left_out_choose_the_kernel_and_the_power(views, linear):
    X, new = bent_views(400, 0, *views), bent_views(400, 1, *views)
    params = {"views": [12, 12], "n_landmarks": 200, "random_state": 0}
    chosen = KernelGCCAAligner(**params).fit(X)
    fixed = {
        (linear, power): KernelGCCAAligner(linear=linear, power=power, **params).fit(X)
        for linear, power in product((0.4, 0.7, 0.9), (4.0, 8.0, 12.0))
    }
    same = fixed[chosen.linear_, chosen.power_]
    np.testing.assert_array_equal(chosen.transform(new), same.transform(new))
    assert chosen.loo_score_ == same.loo_score_
    scores = [aligner.score(new) for aligner in fixed.values()]
    assert chosen.linear_ == linear
    assert chosen.score(new) > max(scores) - 0.02 > min(scores) + 0.03
    # Few rows choose nothing.
    few = clone(chosen).set_params(n_landmarks=None).fit(X[:90])
    assert (few.linear_, few.power_) == (0.7, 8.0)
    # A share that is given is kept.
    given = clone(chosen).set_params(linear=0.2).fit(X)
    assert given.linear_ == 0.2


def test_a_view_that_few_rows_have(monkeypatch):
    monkeypatch.setattr(_gcca_views, "N_KEPT", 100)
    X = np.hstack(make_views(400, n_views=3))
    X[30:, 10:] = np.nan
    aligner = KernelGCCAAligner(views=WIDTHS, n_landmarks=30, random_state=0).fit(X)
    out = aligner.transform(np.hstack(make_views(50, 1, 3)))
    assert np.isfinite(out).all()
    # Landmarks are the only rows with the third view: some of them measure hubness.
    assert out.reshape(50, 3, -1)[:, :, -1].std(0).min() > 0.01
    # With the few of them left out, nothing measures hubness by the third view.
    X[6:, 10:] = np.nan
    few = KernelGCCAAligner(views=WIDTHS, n_landmarks=None).fit(X[:40])
    assert np.isfinite(few.transform(X[:6])).all() and 0 <= few.loo_score_ <= 1


def test_far_rows_follow_the_linear_kernel():
    X = wide_views(200, 0)
    aligner = KernelGCCAAligner(views=[20, 15], n_landmarks=50, hub_neighbors=0)
    direction = np.random.default_rng(0).normal(size=(1, 20))
    far = np.vstack([1e6 * direction, 1e9 * direction])
    out = aligner.fit(X).transform_view(far, 0)
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), 1)
    np.testing.assert_allclose(out[0], out[1], atol=1e-4)
    # Without a linear kernel nothing tells them apart.
    out = aligner.set_params(linear=0.0).fit(X).transform_view(far * [[1], [-1]], 0)
    np.testing.assert_allclose(out[0], out[1], atol=1e-12)
    assert np.isfinite(out).all()


def test_a_view_that_is_constant_in_all_pairs():
    X = wide_views(400, 0)
    X[50:, 20:] = np.nan
    X[:50, :20] = X[0, :20]
    aligner = KernelGCCAAligner(views=[20, 15], n_landmarks=20)
    with pytest.raises(ValueError, match="all equal in this one"):
        aligner.fit(X)


@pytest.mark.parametrize("n_views", [2, 3])
def test_cosines_rank_as_dot_products_do(n_views):
    views, new = make_views(n_views=n_views), make_views(100, 1, n_views)
    aligner = fit(views, metric="dot")
    dots = [aligner.transform_view(X, v) for v, X in enumerate(new)]
    aligner.set_params(metric="cosine")
    cosines = [aligner.transform_view(X, v) for v, X in enumerate(new)]
    for F in cosines:
        assert F.shape == (100, aligner.n_components_ + 1 + n_views)
        np.testing.assert_allclose(np.linalg.norm(F, axis=1), 1)
    for u, v in combinations(range(n_views), 2):
        expected = dots[u] @ dots[v].T / (1 + 2.3**2)
        np.testing.assert_allclose(cosines[u] @ cosines[v].T, expected)
        nearest = NearestNeighbors(n_neighbors=1).fit(cosines[v]).kneighbors(cosines[u])
        expected = (dots[u] @ dots[v].T).argmax(1)
        np.testing.assert_array_equal(nearest[1][:, 0], expected)
    out = aligner.transform(np.hstack(new))
    np.testing.assert_array_equal(out, np.hstack(cosines))
    assert out.shape[1] == len(aligner.get_feature_names_out())


@pytest.mark.parametrize("metric", ["dot", "cosine"])
def test_score_compares_by_the_metric(metric):
    views, new = make_views(), make_views(200, 1)
    aligner = fit(views, metric=metric)
    F, G = (aligner.transform_view(X, v) for v, X in enumerate(new))
    expected = (
        retrieval_accuracy(F, G, metric=metric)
        + retrieval_accuracy(G, F, metric=metric)
    ) / 2
    assert aligner.score(np.hstack(new)) == pytest.approx(expected, abs=1e-12)
    assert aligner.score(np.hstack(new)) == fit(views).score(np.hstack(new))
    # And so do the scorers, unless they are told otherwise.
    X = np.hstack(new)
    assert make_retrieval_scorer()(aligner, X) == aligner.score(X)
    cosine = make_retrieval_scorer(metric="cosine")(aligner, X)
    assert (cosine == aligner.score(X)) == (metric == "cosine")
    for function in (mean_reciprocal_rank, linear_cka):
        scorer = make_retrieval_scorer(function)
        assert 0 < scorer(aligner, X) <= 1


def test_a_search_over_its_own_score():
    views = np.hstack(make_views(150))
    search = GridSearchCV(
        KernelGCCAAligner(views=WIDTHS[:2], n_landmarks=50, random_state=0),
        {"linear": [0.0, 0.5, 1.0], "power": [2, 8]},
        cv=3,
    ).fit(views)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all() and len(set(scores)) > 1


def test_a_classifier_goes_across_views():
    views = make_views(400, n_views=3)
    y = (views[0][:, 0] > 0).astype(int)
    aligner = KernelGCCAAligner(
        views=WIDTHS, output="coalesce", n_landmarks=100, hub_neighbors=0
    ).fit(np.hstack(views)[:200])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01))
    classifier.fit(
        aligner.transform(stack_views([views[0][:200], None, None], aligner)), y[:200]
    )
    for v in (1, 2):
        blocks = [X[200:] if u == v else None for u, X in enumerate(views)]
        accuracy = classifier.score(
            aligner.transform(stack_views(blocks, aligner)), y[200:]
        )
        assert accuracy > 0.8


@pytest.mark.parametrize("params", [{"ridge": 100, "power": 64}, {"power": 1e5}])
@pytest.mark.parametrize("n_views", [1, 2, 3])
def test_rows_have_unit_length_whatever_the_filter(n_views, params):
    views, new = make_views(n_views=n_views), make_views(30, 1, n_views)
    out = fit(views, hub_neighbors=0, **params).transform(np.hstack(new))
    norms = np.linalg.norm(out.reshape(30, n_views, -1), axis=2)
    np.testing.assert_allclose(norms, 1)
    flat = fit(views, hub_neighbors=0, **params | {"power": 0})
    assert np.abs(out - flat.transform(np.hstack(new))).max() > 0.1


def test_rows_far_off_that_lack_a_view_take_no_digits_away():
    X = np.hstack(make_views(200))
    far = np.full((400, X.shape[1]), np.nan)
    far[:, :6] = 1e7 + np.random.default_rng(0).normal(size=(400, 6))
    # They are hubs, or none, for rows of the other view.
    params = {"views": WIDTHS[:2], "n_landmarks": None, "hub_neighbors": 0}
    aligner = KernelGCCAAligner(0.2, linear=1.0, **params)
    expected = aligner.fit(X).transform(X)
    out = aligner.fit(np.vstack([X, far])).transform(X)
    np.testing.assert_allclose(out, expected, atol=1e-7)
    aligner.set_params(linear=0.0, c=0.3, hub_neighbors=10)
    assert np.isfinite(aligner.fit(np.vstack([X, far])).transform(X)).all()


def test_one_view_has_no_hubness():
    (X,) = make_views(n_views=1)
    aligner = fit([X])
    np.testing.assert_allclose(np.linalg.norm(aligner.transform(X), axis=1), 1)
    k = aligner.n_components_
    assert aligner.get_feature_names_out()[-1] == f"kernelgccaaligner{k - 1}"
    assert not hasattr(aligner, "loo_score_")


def test_names_of_the_output():
    aligner = fit(make_views(), views={"clip": 6, "dino": 4}, metric="dot")
    names, k = list(aligner.get_feature_names_out()), aligner.n_components_
    assert names[:2] == ["clip__gcca0", "clip__gcca1"] and len(names) == 2 * (k + 1)
    assert names[k - 1 : k + 1] == [f"clip__gcca{k - 1}", "clip__hubness"]
    names = aligner.set_params(metric="cosine").get_feature_names_out()
    assert list(names[k : k + 3]) == [
        "clip__hubness",
        "clip__padding_clip",
        "clip__padding_dino",
    ]
    for fitted in (aligner, fit(make_views(), hub_neighbors=0)):
        with pytest.raises(ValueError, match="metric='Dot' is none of"):
            fitted.set_params(metric="Dot").transform(np.hstack(make_views()))


def test_few_landmarks():
    X = np.hstack(make_views())
    aligner = KernelGCCAAligner(views=WIDTHS[:2], n_landmarks=1, random_state=0).fit(X)
    assert np.isfinite(aligner.transform(X)).all()
    with pytest.raises(ValueError, match="ridge=1e-300 is too small"):
        aligner.set_params(n_landmarks=10, ridge=1e-300).fit(X)


def test_rows_that_lack_a_view_are_no_landmarks_but_count_for_the_bandwidth():
    X = np.hstack(make_views())
    X[40:, 6:] = np.nan
    aligner = KernelGCCAAligner(views=WIDTHS[:2], n_landmarks=None).fit(X)
    np.testing.assert_array_equal(aligner.landmark_indices_, np.arange(40))
    sigma = 2 * aligner.gamma_[0] * X[:, :6].var(0, ddof=1).sum()
    A = rbf_kernel(X[:, :6], X[:40, :6], gamma=1 / sigma)
    assert A.mean() == pytest.approx(0.3, rel=1e-9)
    out = aligner.transform(X)
    width = out.shape[1] // 2
    assert np.isfinite(out[:, :width]).all() and np.isnan(out[40:, width:]).all()

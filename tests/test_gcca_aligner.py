"""KernelGCCAAligner against its definition, written with scikit-learn and scipy."""

from itertools import combinations

import numpy as np
import pytest
from scipy.linalg import fractional_matrix_power, qr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KernelCenterer, StandardScaler, normalize

from sklearn_featalign import KernelGCCAAligner, RBFAutoScaleAligner, stack_views
from sklearn_featalign.metrics import (
    linear_cka,
    make_retrieval_scorer,
    mean_reciprocal_rank,
    retrieval_accuracy,
    retrieval_ranks,
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
    params = {"views": widths, "n_landmarks": None} | params
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


def definition(views, new, c=0.3, linear=0.7, ridge=0.1, power=8, hub_neighbors=5):
    """Return rows of unit length and their hubness, for each view."""
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
        powers = [fractional_matrix_power(H, 4 * power).real for H in pairs]
        values, vectors = np.linalg.eigh(sum(powers) / len(pairs))
        W = vectors * np.maximum(values, 1e-12 * values[-1]) ** 0.25 @ vectors.T
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

    def nearest(F, view):
        others = [G for u, G in enumerate(held_out) if u != view]
        top = [np.sort(F @ G.T, axis=1)[:, -hub_neighbors:].mean(1) for G in others]
        return np.mean(top, axis=0)

    if len(views) == 1:
        return features, [None]
    hubs = [
        nearest(F, v) - nearest(held_out[v], v).mean() for v, F in enumerate(features)
    ]
    return features, hubs


PARAMS = [
    {},
    {"c": 0.1, "linear": 0.2, "ridge": 1.0, "power": 2.5, "hub_neighbors": 3},
    {"linear": 1.0, "power": 0},
    {"linear": 0.0, "power": 3},
]


@pytest.mark.parametrize("params", PARAMS)
@pytest.mark.parametrize("n_views", [1, 2, 3])
def test_features_are_those_of_the_definition(n_views, params):
    views, new = make_views(n_views=n_views), make_views(30, 1, n_views)
    features, hubs = definition(views, new, **params)
    out = fit(views, **params).transform(np.hstack(new))
    atol = 1e-6 if n_views == 3 else 1e-8
    for block, F, r in zip(np.split(out, n_views, axis=1), features, hubs, strict=True):
        np.testing.assert_allclose(block[:, :60], F, atol=atol)
        if n_views > 1:
            np.testing.assert_allclose(block[:, 60], 1 - r / 2, atol=atol)
    out = fit(views, **params | {"hub_neighbors": 0}).transform(np.hstack(new))
    np.testing.assert_allclose(out, np.hstack(features), atol=atol)


def test_a_linear_kernel_without_a_ridge_projects_on_the_span_of_the_columns():
    views = make_views()
    aligner = fit(views, linear=1.0, ridge=1e-8, power=1, hub_neighbors=0)
    spans = [qr(X - X.mean(0), mode="economic")[0] for X in views]
    projections = [Q @ Q.T for Q in spans]
    for v, X in enumerate(views):
        expected = normalize(projections[v] @ sum(projections) / 2)
        np.testing.assert_allclose(aligner.transform_view(X, v), expected, atol=1e-5)


def test_dot_products_rank_as_csls_against_the_landmarks_does():
    views, new = make_views(), make_views(300, 1)
    aligner = fit(views)
    F, G = (aligner.transform_view(X, v) for v, X in enumerate(new))
    (A, B), (r_a, r_b) = definition(views, new)
    csls = 2 * A @ B.T - r_a[:, None] - r_b
    dots = F @ G.T
    np.testing.assert_allclose(dots, 1 + csls / 2 + np.outer(r_a, r_b) / 4, atol=1e-8)
    # Which changes many ranks, and these in the same way.
    plain, ranks, expected = (
        (S > np.diag(S)[:, None]).sum(1) for S in (A @ B.T, dots, csls)
    )
    assert np.abs(ranks - expected).mean() < 0.1 * np.abs(plain - expected).mean()
    np.testing.assert_array_equal(ranks + 1, retrieval_ranks(F, G, metric="dot"))


@pytest.mark.parametrize("n_views", [2, 3])
def test_cosines_rank_as_dot_products_do(n_views):
    views, new = make_views(n_views=n_views), make_views(100, 1, n_views)
    aligner = fit(views)
    dots = [aligner.transform_view(X, v) for v, X in enumerate(new)]
    aligner.set_params(metric="cosine")
    cosines = [aligner.transform_view(X, v) for v, X in enumerate(new)]
    for F in cosines:
        assert F.shape == (100, 60 + 1 + n_views)
        np.testing.assert_allclose(np.linalg.norm(F, axis=1), 1)
    for u, v in combinations(range(n_views), 2):
        np.testing.assert_allclose(cosines[u] @ cosines[v].T, dots[u] @ dots[v].T / 5)
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
    aligner = KernelGCCAAligner(0.2, linear=1.0, views=WIDTHS[:2], n_landmarks=None)
    expected = aligner.fit(X).transform(X)
    out = aligner.fit(np.vstack([X, far])).transform(X)
    np.testing.assert_allclose(out, expected, atol=1e-7)
    aligner.set_params(linear=0.0, c=0.3)
    assert np.isfinite(aligner.fit(np.vstack([X, far])).transform(X)).all()


def test_one_view_has_no_hubness():
    (X,) = make_views(n_views=1)
    aligner = fit([X])
    np.testing.assert_allclose(np.linalg.norm(aligner.transform(X), axis=1), 1)
    assert aligner.get_feature_names_out()[-1] == "kernelgccaaligner59"


def test_names_of_the_output():
    aligner = fit(make_views(), views={"clip": 6, "dino": 4})
    names = list(aligner.get_feature_names_out())
    assert names[:2] == ["clip__gcca0", "clip__gcca1"] and len(names) == 2 * 61
    assert names[59:61] == ["clip__gcca59", "clip__hubness"]
    names = aligner.set_params(metric="cosine").get_feature_names_out()
    assert list(names[60:63]) == [
        "clip__hubness",
        "clip__padding_clip",
        "clip__padding_dino",
    ]
    for fitted in (aligner, fit(make_views(), hub_neighbors=0)):
        with pytest.raises(ValueError, match="metric='Dot' is none of"):
            fitted.set_params(metric="Dot").transform(np.hstack(make_views()))


def test_few_landmarks():
    views = make_views()
    X = np.hstack(views)
    aligner = KernelGCCAAligner(views=WIDTHS[:2], n_landmarks=3, random_state=0).fit(X)
    # All three landmarks are the nearest ones.
    assert aligner.transform(X).shape == (60, 8)
    with pytest.raises(
        ValueError, match="View 'view0': Centring needs two landmarks or more"
    ):
        aligner.set_params(n_landmarks=1).fit(X)
    with pytest.raises(ValueError, match="View 'view0': ridge=1e-300 is too small"):
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
    assert np.isfinite(out[:, :41]).all() and np.isnan(out[40:, 41:]).all()

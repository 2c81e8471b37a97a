"""Metrics: each against another computation or a closed form, and the scorers."""

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from scipy.special import iv
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import (
    cosine_similarity,
    euclidean_distances,
    linear_kernel,
    rbf_kernel,
)
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KernelCenterer, StandardScaler

from sklearn_featalign import (
    KernelGCCAAligner,
    RBFAutoScaleAligner,
    _memory,
    stack_views,
)
from sklearn_featalign.metrics import (
    alignment_loss,
    cluster_contrast,
    concordance_correlation,
    linear_cka,
    make_neighbor_scorer,
    make_retrieval_scorer,
    make_view_scorer,
    mean_reciprocal_rank,
    mutual_knn,
    neighbor_recall,
    retrieval_accuracy,
    retrieval_ranks,
    sliced_epps_pulley,
    uniformity_loss,
)

SIMILARITIES = {
    "cosine": cosine_similarity,
    "dot": linear_kernel,
    "euclidean": lambda X, Y: -euclidean_distances(X, Y),
}


@pytest.fixture(params=["one block", "many blocks"], autouse=True)
def blocks(request, monkeypatch):
    """Compute everything in one block, and in blocks of a few rows."""
    if request.param == "many blocks":
        monkeypatch.setattr(_memory, "BLOCK_NUMBERS", 150)


def pairs(n_samples=60, n_features=5, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features)) + 0.5
    return X, X + noise * rng.normal(size=X.shape)


def exact_ranks(S):
    """Ranks of the diagonal, ties in the middle, from SciPy."""
    return np.array([rankdata(-row)[i] for i, row in enumerate(S)])


@pytest.mark.parametrize("metric", SIMILARITIES)
@pytest.mark.parametrize("seed", range(3))
def test_ranks(metric, seed):
    X, Y = pairs(seed=seed)
    expected = exact_ranks(SIMILARITIES[metric](X, Y))
    assert len(set(expected)) > 5
    ranks = retrieval_ranks(X, Y, metric=metric)
    np.testing.assert_array_equal(ranks, expected)
    for k in (1, 3, 60):
        accuracy = retrieval_accuracy(X, Y, k=k, metric=metric)
        assert accuracy == np.mean(expected <= k)
    mrr = mean_reciprocal_rank(X, Y, metric=metric)
    assert mrr == pytest.approx(np.mean(1 / expected), rel=1e-14)


@pytest.mark.parametrize("metric", SIMILARITIES)
def test_ties_count_half(metric):
    X = np.repeat(np.random.default_rng(0).normal(size=(12, 7)), 5, axis=0)
    np.testing.assert_array_equal(retrieval_ranks(X, X.copy(), metric=metric), 3.0)
    constant = np.ones((9, 4))
    np.testing.assert_array_equal(retrieval_ranks(constant, constant), 5.0)
    assert mean_reciprocal_rank(constant, constant) == 0.2
    np.testing.assert_array_equal(retrieval_ranks(constant * 0, constant), 5.0)


def csls(S, k):
    """The definition, on the whole matrix of similarities."""
    to_Y = np.sort(S, axis=1)[:, -k:].mean(1, keepdims=True)
    to_X = np.sort(S, axis=0)[-k:].mean(0, keepdims=True)
    return 2 * S - to_Y - to_X


@pytest.mark.parametrize("metric", ["cosine", "dot"])
@pytest.mark.parametrize("k", [1, 10])
def test_csls(metric, k):
    X, Y = pairs(noise=2.0)
    S = SIMILARITIES[metric](X, Y)
    expected = exact_ranks(csls(S, k))
    assert (expected != exact_ranks(S)).any()
    np.testing.assert_array_equal(
        retrieval_ranks(X, Y, metric=metric, csls=k), expected
    )
    assert retrieval_accuracy(X, Y, metric=metric, csls=k) == np.mean(expected == 1)


@pytest.mark.parametrize("metric", SIMILARITIES)
@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e150])
def test_scale_does_not_matter(metric, scale):
    X, Y = pairs()
    np.testing.assert_array_equal(
        retrieval_ranks(scale * X, scale * Y, metric=metric),
        retrieval_ranks(X, Y, metric=metric),
    )
    assert linear_cka(scale * X, Y) == pytest.approx(linear_cka(X, Y), rel=1e-9)


@pytest.mark.parametrize("metric", SIMILARITIES)
@pytest.mark.parametrize("far", [1e5, 1e9])
def test_ranks_beside_a_far_row(metric, far):
    X, Y = (np.vstack([Z, np.full((1, 5), far)]) for Z in pairs())
    expected = exact_ranks(SIMILARITIES[metric](X, Y))
    if metric == "euclidean":
        # The expansion of the square, which scikit-learn uses, is not exact here.
        expected = exact_ranks(-np.linalg.norm(X[:, None] - Y, axis=2))
    assert len(set(expected)) > 5
    np.testing.assert_array_equal(retrieval_ranks(X, Y, metric=metric), expected)


def test_dot_ranks_of_a_gallery_with_uneven_norms():
    X, Y = pairs()
    Y = Y * np.logspace(-14, 0, len(Y))[:, None]
    expected = exact_ranks(X @ Y.T)
    np.testing.assert_array_equal(retrieval_ranks(X, Y, metric="dot"), expected)
    ranks = retrieval_ranks(X * 1e-200, Y * 1e200, metric="dot")
    np.testing.assert_array_equal(ranks, expected)


def test_collapsed_features_have_no_neighbours_in_common_but_by_chance():
    collapsed = np.ones((400, 3))
    assert mutual_knn(collapsed, collapsed, k=10) < 0.15
    X, _ = pairs(400)
    assert mutual_knn(X, collapsed, k=10) < 0.15


@pytest.mark.parametrize("metric", SIMILARITIES)
@pytest.mark.parametrize("k", [1, 7])
def test_mutual_knn(metric, k):
    X, Y = pairs()
    Y = Y[:, :3]

    def neighbors(Z):
        if metric == "dot":
            S = linear_kernel(Z) - np.diag(np.full(len(Z), np.inf))
            return np.argsort(-S)[:, :k]
        return NearestNeighbors(n_neighbors=k, metric=metric).fit(Z).kneighbors()[1]

    both = zip(neighbors(X), neighbors(Y), strict=True)
    expected = np.mean([len(set(a) & set(b)) / k for a, b in both])
    assert 0 < expected < 1
    assert mutual_knn(X, Y, k=k, metric=metric) == pytest.approx(expected, rel=1e-14)
    assert mutual_knn(X, 3 * X, k=k, metric=metric) == 1


@pytest.mark.parametrize("metric", SIMILARITIES)
@pytest.mark.parametrize("far", [1e5, 1e8])
def test_a_row_that_is_far_off_makes_no_ties(metric, far):
    X, _ = pairs(200)
    X[7] *= far
    assert mutual_knn(X, X, metric=metric) > 0.999
    found = neighbor_recall(X, X, X, X, metric=metric, metric_true=metric)
    assert found > 0.999


@pytest.mark.parametrize("metric", SIMILARITIES)
@pytest.mark.parametrize(("k", "n"), [(1, 1), (5, 5), (3, 20)])
@pytest.mark.parametrize("leave_own_out", [False, True])
def test_neighbor_recall(metric, k, n, leave_own_out):
    X_true, Y_true = pairs(40)
    X, Y = X_true[:, :3], pairs(40, seed=1, noise=0.1)[1][:, :3] + Y_true[:, :3]
    queries = slice(None) if leave_own_out else slice(25)

    def nearest(A, B, metric, n):
        S = SIMILARITIES[metric](A[queries], B)
        if leave_own_out:
            np.fill_diagonal(S, -np.inf)
        return np.argsort(-S, axis=1)[:, :n]

    truth, found = nearest(X_true, Y_true, "euclidean", k), nearest(X, Y, metric, n)
    both = zip(truth, found, strict=True)
    expected = np.mean([len(set(a) & set(b)) / k for a, b in both])
    assert 0 < expected < 1
    recall = neighbor_recall(
        X_true[queries],
        Y_true,
        X[queries],
        Y,
        k=k,
        n=n,
        metric=metric,
        metric_true="euclidean",
        leave_own_out=leave_own_out,
    )
    assert recall == pytest.approx(expected, rel=1e-12)


def test_ties_count_as_in_a_random_order():
    Y = np.array([[3.0], [2.0], [2.0], [2.0], [1.0]])
    x, same = np.ones((1, 1)), np.ones((5, 1))
    found = partial(neighbor_recall, metric="dot", metric_true="dot")
    # The second nearest is one of three, in both searches apart.
    assert found(x, Y, x, Y, k=2) == pytest.approx((1 + 1 / 3) / 2)
    assert found(x, Y, x, Y, k=2, n=3) == pytest.approx((1 + 2 / 3) / 2)
    assert found(x, Y, x, Y, k=4) == 1
    assert found(x, Y, x, same, k=2) == pytest.approx(2 / 5)
    assert found(x, same, x, same, k=2, n=4) == pytest.approx(4 / 5)
    # Each row tells the other two apart from itself, but not from one another.
    assert mutual_knn(same[:3], same[:3], k=1) == pytest.approx(1 / 2)


def bridges(n_samples, seed=0):
    rng, maps = np.random.default_rng(seed), np.random.default_rng(99)
    Z = rng.normal(size=(n_samples, 4))
    widths = {"old": 6, "new": 9}.values()
    blocks = [np.tanh(Z @ maps.normal(size=(4, width))) for width in widths]
    return blocks, np.hstack(blocks)


def test_a_search_over_bridges():
    (_, X), ((old, new), test) = bridges(200), bridges(80, 1)
    views = {"old": 6, "new": 9}
    aligner = KernelGCCAAligner(views=views, n_landmarks=50, random_state=0)
    scorer = make_neighbor_scorer("old", "new", k=5)
    grid = {"linear": [0.0, 1.0]}
    search = GridSearchCV(aligner, grid, scoring=scorer, cv=3).fit(X)
    fitted = search.best_estimator_
    for linear, score in zip(
        grid["linear"], search.cv_results_["split0_test_score"], strict=True
    ):
        first = clone(aligner).set_params(linear=linear).fit(X[67:])
        moved, queries = first.translate(X[:67, :6], "old", "new"), X[:67, 6:]
        assert score == neighbor_recall(
            queries, queries, queries, moved, k=5, leave_own_out=True
        )
    for move, (A, B) in {
        "index": (new, fitted.translate(old, "old", "new")),
        "queries": (fitted.translate(new, "new", "old"), old),
    }.items():
        expected = neighbor_recall(new, new, A, B, k=5, leave_own_out=True)
        own = make_neighbor_scorer(0, 1, move=move, k=5)
        assert own(make_pipeline(fitted), test) == expected
    # Rows that lack a view do not count.
    test[60:, :6] = np.nan
    assert scorer(fitted, test) == scorer(fitted, test[:60])
    with pytest.raises(ValueError, match="No row of X has both 'old' and 'new'"):
        scorer(fitted, test[60:])
    with pytest.raises(ValueError, match="X has 16 features"):
        scorer(fitted, np.hstack([test, test[:, :1]]))
    with pytest.raises(ValueError, match="move must be one of 'index', 'queries'"):
        make_neighbor_scorer(0, 1, move="all")
    with pytest.raises(TypeError, match="can translate"):
        scorer(RBFAutoScaleAligner(views=views, n_landmarks=50).fit(X), X)


@pytest.mark.parametrize("widths", [(5, 3), (5, 200), (100, 200)])
def test_linear_cka(widths):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, widths[0])) + 3
    Y = np.hstack([X[:, :2], rng.normal(size=(60, widths[1] - 2))])
    K, L = (KernelCenterer().fit_transform(linear_kernel(Z)) for Z in (X, Y))
    expected = (K * L).sum() / np.sqrt((K * K).sum() * (L * L).sum())
    assert 0.05 < expected < 0.95
    assert linear_cka(X, Y) == pytest.approx(expected, rel=1e-10)
    rotation = np.linalg.qr(rng.normal(size=(widths[0], widths[0])))[0]
    assert linear_cka(X, 7 * X @ rotation - 1) == pytest.approx(1, rel=1e-12)


def test_linear_cka_of_unrelated_columns_is_zero():
    wave = 2 * np.pi * np.arange(12) / 12
    assert linear_cka(np.sin(wave)[:, None], np.cos(wave)[:, None]) < 1e-30


@pytest.mark.parametrize("gamma", [0.2, 1.0])
def test_cluster_contrast(gamma):
    X, Y = pairs()
    labels = np.array(list("abc") * 20)
    X, Y = (Z + 2 * (labels == "b")[:, None] + 1e3 for Z in (X, Y))
    total_variance = np.vstack([X, Y]).var(0, ddof=1).sum()
    A = rbf_kernel(X - 1e3, Y - 1e3, gamma=1 / (2 * gamma * total_variance))
    same = labels[:, None] == labels
    expected = A[same].mean() - A[~same].mean()
    assert expected > 0.05
    assert cluster_contrast(X, Y, labels, gamma=gamma) == pytest.approx(expected)


def test_alignment_loss():
    X, Y = pairs()
    U, V = (Z / np.linalg.norm(Z, axis=1, keepdims=True) for Z in (X, Y))
    for alpha in (1, 2):
        expected = np.mean(np.linalg.norm(U - V, axis=1) ** alpha)
        assert alignment_loss(X, Y, alpha=alpha) == pytest.approx(expected)
    expected = np.mean(((X - Y) ** 2).sum(1))
    assert alignment_loss(X, Y, normalize=False) == pytest.approx(expected)
    assert alignment_loss(X, -X) == pytest.approx(4)
    assert alignment_loss(X, 3 * X) == pytest.approx(0, abs=1e-30)


def test_uniformity_loss_of_a_simplex_and_a_circle():
    # All pairs of an orthonormal basis are at a squared distance of 2.
    assert uniformity_loss(np.eye(30)) == pytest.approx(-4, rel=1e-14)
    assert uniformity_loss(np.eye(30), t=0.5) == pytest.approx(-1, rel=1e-14)
    assert uniformity_loss([[0.0, 2.0], [0.0, -3.0]]) == pytest.approx(-8)
    assert uniformity_loss(np.ones((20, 3))) == pytest.approx(0, abs=1e-14)
    # On a circle the mean over all pairs, each row with itself among them, is the
    # integral exp(-2 t) I0(2 t), which equally spaced points take exactly.
    n, t = 200, 2
    angles = 2 * np.pi * np.arange(n) / n
    circle = np.column_stack([np.cos(angles), np.sin(angles)])
    mean = (n * np.exp(-2 * t) * iv(0, 2 * t) - 1) / (n - 1)
    assert uniformity_loss(5 * circle, t=t) == pytest.approx(np.log(mean), rel=1e-12)


def test_uniformity_loss_does_not_underflow():
    rows = np.arange(3.0)[:, None] * 100
    expected = np.log((4 * np.exp(0.0)) / 6) - 2 * 100**2
    loss = uniformity_loss(rows, normalize=False)
    assert loss == pytest.approx(expected, rel=1e-12)
    # One pair in three coincides.
    rows = np.array([[1e200], [1e200], [-1e200]])
    loss = uniformity_loss(rows, normalize=False)
    assert loss == pytest.approx(np.log(1 / 3), rel=1e-12)


def test_tensors_and_lists_are_as_good_as_arrays():
    X, Y = (Z.astype(np.float32) for Z in pairs(20))
    labels = np.arange(20) % 3
    for function in (retrieval_accuracy, mean_reciprocal_rank, mutual_knn, linear_cka):
        expected = function(X, Y)
        assert isinstance(expected, float)
        assert function(torch.from_numpy(X), torch.from_numpy(Y)) == expected
        assert function(X.tolist(), Y.tolist()) == expected
    expected = cluster_contrast(X, Y, labels)
    assert cluster_contrast(torch.from_numpy(X), Y, labels.tolist()) == expected


def test_default_dtype_and_device_of_torch_do_not_matter():
    X, Y = pairs(20)
    labels = np.arange(20) % 3

    def values():
        return [
            retrieval_accuracy(X, Y, csls=3),
            mean_reciprocal_rank(X, Y, metric="euclidean"),
            mutual_knn(X, Y, metric="dot"),
            linear_cka(X, Y),
            cluster_contrast(X, Y, labels),
            alignment_loss(X, Y),
            uniformity_loss(X),
        ]

    expected = values()
    state = torch.get_rng_state()
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    try:
        with torch.device("meta"):
            assert values() == expected
    finally:
        torch.set_default_dtype(dtype)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
@pytest.mark.parametrize("blocks", ["one block"], indirect=True)
def test_memory_does_not_grow_with_the_similarities():
    """Measure in a new process, since the peak of this one may be behind it."""
    code = """
import resource
import numpy as np
from sklearn_featalign.metrics import mutual_knn, retrieval_accuracy, uniformity_loss
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
X = np.random.default_rng(0).normal(size=(8_000, 4))
mutual_knn(X[:200], X[:200])
start = peak()
retrieval_accuracy(X, X, csls=5), mutual_knn(X, X), uniformity_loss(X)
print(peak() - start)
"""
    pytest.importorskip("resource")
    run = [sys.executable, "-c", code]
    grown = float(subprocess.run(run, capture_output=True, check=True).stdout)
    # All similarities together are 490 MiB, one block is 32.
    assert grown < 200


X, Y = pairs(10)
BAD = {
    "lengths": (lambda: retrieval_ranks(X, Y[:5]), "inconsistent numbers of samples"),
    "widths": (lambda: retrieval_ranks(X, Y[:, :2]), "aligned in one space first"),
    "NaN": (lambda: retrieval_ranks(X * np.nan, Y), "Input X contains NaN"),
    "NaN in Y": (lambda: linear_cka(X, Y * np.nan), "Input Y contains NaN"),
    "NaN tensor": (
        lambda: linear_cka(X, torch.from_numpy(Y) * np.nan),
        "Input Y contains NaN",
    ),
    "width of truth": (
        lambda: neighbor_recall(X, Y[:, :2], X, Y),
        "X_true has 5 features and Y_true has 2",
    ),
    "n": (lambda: neighbor_recall(X, Y, X, Y, n=11), "n must be an integer from 1"),
    "lengths of searches": (
        lambda: neighbor_recall(X, Y, X, Y[:5]),
        "inconsistent numbers",
    ),
    "metric": (lambda: mutual_knn(X, Y, metric="l1"), "metric must be one of 'cosine'"),
    "csls": (
        lambda: retrieval_ranks(X, Y, csls=11),
        "csls must be an integer from 1 to 10",
    ),
    "csls metric": (
        lambda: retrieval_ranks(X, Y, csls=2, metric="euclidean"),
        "csls is defined for",
    ),
    "k": (lambda: retrieval_accuracy(X, Y, k=0), "k must be an integer of at least 1"),
    "k float": (lambda: retrieval_accuracy(X, Y, k=2.5), "k must be an integer"),
    "k bool": (lambda: mutual_knn(X, Y, k=True), "k must be an integer"),
    "neighbours": (
        lambda: mutual_knn(X, Y),
        "k must be an integer from 1 to 9, got 10",
    ),
    "gamma": (
        lambda: cluster_contrast(X, Y, [0, 1] * 5, gamma=0),
        "gamma must be positive",
    ),
    "two-dimensional labels": (
        lambda: cluster_contrast(X, Y, np.zeros((10, 2))),
        "should be a 1d array",
    ),
    "one label": (lambda: cluster_contrast(X, Y, [1] * 10), "at least two values"),
    "labels": (lambda: cluster_contrast(X, Y, [1, 2]), "inconsistent numbers"),
    "equal rows": (
        lambda: cluster_contrast(np.ones((4, 2)), np.ones((4, 2)), [0, 0, 1, 1]),
        "All rows are equal",
    ),
    "no spread": (lambda: linear_cka(np.ones((10, 2)), Y), "All rows are equal"),
    "one row": (lambda: uniformity_loss(X[:1]), "minimum of 2 is required"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    function, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        function()


def two_networks(n_samples=240, seed=0):
    """Return both views side by side, and classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n_samples)
    Z = 2 * np.eye(3)[y] @ np.ones((3, 4)) * np.arange(4) + rng.normal(
        size=(n_samples, 4)
    )
    Z[:, :3] += 3 * np.eye(3)[y]
    maps = np.random.default_rng(1)
    A = np.tanh(0.3 * Z @ maps.normal(size=(4, 10)))
    B = np.maximum(Z @ maps.normal(size=(4, 8)), 0)
    return np.hstack([A, B]), y


def aligner(**params):
    params = {"views": [10, 8], "n_landmarks": 60, "normalize": "ridge"} | params
    return RBFAutoScaleAligner(random_state=0, **params)


def test_retrieval_scorers():
    X, _ = two_networks()
    fitted = aligner().fit(X[:120])
    F, G = (fitted.transform_view(X[120:][:, c], i) for i, c in enumerate(COLUMNS))
    for function, kwargs in (
        (retrieval_accuracy, {"k": 5}),
        (mean_reciprocal_rank, {"csls": 3}),
        (mutual_knn, {}),
    ):
        expected = (function(F, G, **kwargs) + function(G, F, **kwargs)) / 2
        scorer = make_retrieval_scorer(function, **kwargs)
        assert scorer(fitted, X[120:]) == pytest.approx(expected)
    assert make_retrieval_scorer()(fitted, X[120:]) == fitted.score(X[120:])
    search = GridSearchCV(
        make_pipeline(StandardScaler(), aligner()),
        {"rbfautoscalealigner__c": [0.1, 0.3]},
        scoring={
            "top5": make_retrieval_scorer(k=5),
            "mrr": make_retrieval_scorer(mean_reciprocal_rank),
        },
        refit="mrr",
        cv=3,
        n_jobs=2,
    ).fit(X)
    assert search.best_score_ > 0.2
    fitted = search.best_estimator_
    scorer = make_retrieval_scorer(k=5)
    for wrapped in (search, FrozenEstimator(fitted)):
        assert scorer(wrapped, X) == scorer(fitted, X)
    assert (search.cv_results_["mean_test_top5"] > 0.3).all()
    for wrong in (aligner(views=None).fit(X), LogisticRegression()):
        with pytest.raises(
            TypeError, match="A retrieval scorer scores an aligner with"
        ):
            make_retrieval_scorer()(wrong, X)


def test_retrieval_scorers_pass_the_metric_of_the_aligner_unless_one_is_given():
    X, _ = two_networks()
    fitted = aligner(normalize=None).fit(X[:120])
    for given in (
        make_retrieval_scorer(metric="euclidean"),
        make_retrieval_scorer(partial(retrieval_accuracy, metric="euclidean")),
    ):
        expected = fitted.score_pairs(
            X, partial(retrieval_accuracy, metric="euclidean")
        )
        assert given(fitted, X) == expected != fitted.score(X)


def test_retrieval_scorers_need_only_score_pairs():
    class Pairs:
        def score_pairs(self, X, score_func):
            return score_func(X, X[::-1])

    X, _ = pairs()
    scorer = make_retrieval_scorer(mean_reciprocal_rank)
    assert scorer(Pairs(), X) == mean_reciprocal_rank(X, X[::-1])


COLUMNS = [slice(0, 10), slice(10, 18)]


@pytest.mark.parametrize("kind", ["array", "frame", "tensor"])
def test_view_scorers_show_one_view_only(kind):
    X, y = two_networks()
    pipeline = make_pipeline(aligner(output="coalesce"), LogisticRegression(C=100))
    if kind == "frame":
        pd = pytest.importorskip("pandas")
        X = pd.DataFrame(X, columns=[f"x{i}" for i in range(18)])
    pipeline.fit(X[:120], y[:120])
    new, y_new = X[120:], y[120:]
    for view, blocks in ((0, [0, None]), ("view1", [None, 1])):
        rows = [None if i is None else np.asarray(new)[:, COLUMNS[i]] for i in blocks]
        rows = stack_views(rows, [10, 8])
        if kind == "frame":
            rows = pd.DataFrame(rows, columns=X.columns)
        expected = pipeline.score(rows, y_new)
        given = torch.from_numpy(new) if kind == "tensor" else new
        scorer = make_view_scorer(view)
        assert scorer(pipeline, given, y_new) == expected > 0.6
        assert make_view_scorer(view, views=[10, 8])(pipeline, given, y_new) == expected
        loss = make_view_scorer(view, scoring="neg_log_loss")(pipeline, given, y_new)
        assert -1 < loss < 0
    np.testing.assert_array_equal(np.isnan(np.asarray(new)), False)


def test_view_scorers_in_a_grid_search():
    X, y = two_networks()
    search = GridSearchCV(
        make_pipeline(
            StandardScaler(), aligner(output="coalesce"), LogisticRegression()
        ),
        {"rbfautoscalealigner__c": [0.1, 0.3]},
        scoring={"A": make_view_scorer(0), "B": make_view_scorer(1)},
        refit="B",
        cv=3,
        n_jobs=2,
    ).fit(X, y)
    assert (search.cv_results_["mean_test_A"] > 0.6).all()
    assert (search.cv_results_["mean_test_B"] > 0.6).all()
    assert make_view_scorer(1)(search, X, y) > 0.6


def test_view_scorers_score_the_rows_that_have_the_view():
    X, y = two_networks()
    X[::3, 10:] = np.nan
    pipeline = make_pipeline(aligner(output="coalesce"), LogisticRegression(C=100))
    pipeline.fit(X, y)
    has_view = np.arange(240) % 3 > 0
    expected = make_view_scorer(1)(pipeline, X[has_view], y[has_view])
    assert make_view_scorer(1)(pipeline, X, y) == expected > 0.6
    scores = cross_val_score(pipeline, X, y, scoring=make_view_scorer(1), cv=3)
    assert (scores > 0.6).all()
    with pytest.raises(ValueError, match="No row of X has view 'view1'"):
        make_view_scorer(1)(pipeline, X[::3], y[::3])


def test_view_scorers_need_to_know_the_views():
    X, y = two_networks()
    classifier = LogisticRegression(max_iter=1000).fit(X, y)
    with pytest.raises(ValueError, match="give the views of X to make_view_scorer"):
        make_view_scorer(0)(classifier, X, y)
    with pytest.raises(ValueError, match="5 is no view"):
        make_view_scorer(5, views=[10, 8])(classifier, X, y)


def test_concordance_is_that_of_pairs_to_all_pairs():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3)) + 1e6
    Y = 0.7 * X + rng.normal(size=X.shape) + 3e5
    pairs = np.square(X - Y).sum(1).mean()
    all_pairs = np.square(X[:, None] - Y).sum(2).mean()
    found = concordance_correlation(X, Y)
    assert found == pytest.approx(1 - pairs / all_pairs, rel=1e-6)
    assert concordance_correlation(Y, X) == pytest.approx(found)


def test_concordance_of_one_column_is_lins():
    rng = np.random.default_rng(0)
    x = rng.normal(size=200)
    y = 2 * x + rng.normal(size=200) + 0.5
    lin = 2 * np.cov(x, y, ddof=0)[0, 1]
    lin /= x.var() + y.var() + (x.mean() - y.mean()) ** 2
    found = concordance_correlation(x[:, None], y[:, None])
    assert found == pytest.approx(lin)
    assert concordance_correlation(x[:, None], -x[:, None] + 2 * x.mean()) == (
        pytest.approx(-1)
    )
    for scale in (1e-200, 1e200):
        again = concordance_correlation(scale * x[:, None], scale * y[:, None])
        assert again == pytest.approx(lin)
    with pytest.raises(ValueError, match="All rows are equal"):
        concordance_correlation(np.ones((4, 2)), np.ones((4, 2)))


def exact_epps_pulley(p):
    """Return the integral over all frequencies in closed form, from pairs of rows."""
    n = len(p)
    pairs = np.exp(-np.square(p[:, None] - p) / 2)
    own = (pairs.sum() - n) / (n * (n - 1))
    return own - np.sqrt(2) * np.exp(-np.square(p) / 4).mean() + 1 / np.sqrt(3)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_epps_pulley_in_one_direction_is_a_mean_over_pairs(scale):
    rng = np.random.default_rng(0)
    for x in (rng.normal(size=50), rng.exponential(size=300), rng.standard_t(3, 200)):
        z = (x - x.mean()) / x.std(ddof=1)
        distance = sliced_epps_pulley(scale * x[:, None], n_directions=3)
        assert distance == pytest.approx(exact_epps_pulley(z), abs=1e-12)


def test_epps_pulley_in_many_directions_is_their_mean():
    rng = np.random.default_rng(0)
    X = rng.exponential(size=(100, 3)) * [1, 2, 5]
    Z = (X - X.mean(0)) / np.sqrt(X.var(0, ddof=1).mean())
    U = np.random.RandomState(7).normal(size=(40, 3))
    U /= np.linalg.norm(U, axis=1, keepdims=True)
    expected = np.mean([exact_epps_pulley(p) for p in U @ Z.T])
    distance = sliced_epps_pulley(X, n_directions=40, random_state=7)
    assert distance == pytest.approx(expected, abs=1e-12)


def test_isotropic_normal_rows_have_no_distance():
    rng = np.random.default_rng(0)
    values = [
        sliced_epps_pulley(10 + 7 * rng.normal(size=(500, 3)), random_state=seed)
        for seed in range(20)
    ]
    assert abs(np.mean(values)) < 1e-3 and min(values) < 0
    # Unequal variances count, and so do other distributions of independent columns.
    assert sliced_epps_pulley(rng.normal(size=(500, 3)) * [1, 1, 4]) > 0.01
    assert sliced_epps_pulley(np.sign(rng.normal(size=(500, 2)))) > 0.01


def test_epps_pulley_in_blocks(monkeypatch):
    X = np.random.default_rng(0).exponential(size=(50, 4))
    whole = sliced_epps_pulley(X, random_state=0)
    monkeypatch.setattr(_memory, "BLOCK_NUMBERS", 300)
    assert sliced_epps_pulley(X, random_state=0) == pytest.approx(whole, abs=1e-14)


def test_epps_pulley_of_what_it_cannot_measure():
    with pytest.raises(ValueError, match="no spread"):
        sliced_epps_pulley(np.ones((5, 2)))
    with pytest.raises(ValueError, match="minimum of 2"):
        sliced_epps_pulley(np.ones((1, 2)))
    with pytest.raises(ValueError, match="n_directions must be an integer"):
        sliced_epps_pulley(np.eye(3), n_directions=0)


@pytest.mark.parametrize("metric", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("csls", [None, 3])
def test_ranks_of_groups(metric, csls):
    """The nearest of the own group, among it and the rows of all other groups."""
    if metric == "euclidean" and csls:
        pytest.skip("csls is not defined for euclidean")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    Y = X + 0.8 * rng.normal(size=X.shape)
    groups = rng.integers(0, 15, size=60)
    S = SIMILARITIES[metric](X, Y)
    if csls:
        S = 2 * S - np.sort(S, axis=0)[-csls:].mean(0)
    expected = []
    for i, own in enumerate(groups):
        best = S[i, groups == own].max()
        expected.append(1 + (S[i, groups != own] > best).sum())
    for labels in (groups, torch.from_numpy(groups), [f"image {g}" for g in groups]):
        ranks = retrieval_ranks(X, Y, metric=metric, csls=csls, groups=labels)
        np.testing.assert_array_equal(ranks, expected)
    settings = {"metric": metric, "csls": csls}
    alone = retrieval_ranks(X, Y, groups=np.arange(60), **settings)
    np.testing.assert_array_equal(alone, retrieval_ranks(X, Y, **settings))
    shares = [np.mean(np.array(expected) <= k) for k in (1, 5)]
    for k, share in zip((1, 5), shares, strict=True):
        assert retrieval_accuracy(X, Y, k=k, groups=groups, **settings) == share
    mrr = mean_reciprocal_rank(X, Y, groups=groups, **settings)
    assert mrr == pytest.approx(np.mean(1 / np.array(expected)), rel=1e-14)


def test_captions_that_find_their_image():
    """Equal rows of one image tie without groups, and count as one with them."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(20, 6))
    image_of = np.repeat(np.arange(20), 5)
    captions = images[image_of] + 0.5 * rng.normal(size=(100, 6))
    found = cosine_similarity(captions, images).argmax(1) == image_of
    rows = images[image_of]
    assert retrieval_accuracy(captions, rows, groups=image_of) == found.mean()
    assert retrieval_accuracy(captions, rows) == 0
    nearest = cosine_similarity(images, captions).argmax(1)
    found = image_of[nearest] == np.arange(20)
    assert retrieval_accuracy(rows, captions, groups=image_of) == found.mean()
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        retrieval_accuracy(rows, captions, groups=image_of[:50])
    with pytest.raises(ValueError, match="k must be an integer from 1 to 100, got 101"):
        retrieval_accuracy(rows, captions, k=101)

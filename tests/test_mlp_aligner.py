"""Half-shared networks, as users meet them."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from _samples import blobs, generalised
from sklearn.base import clone
from sklearn.callback import ScoringMonitor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import pairwise_distances
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import normalize

from sklearn_featalign import (
    HalfSharedMLPAligner,
    KernelGCCAAligner,
    split_views,
    stack_views,
)
from sklearn_featalign._kernels._hubness import STRENGTH
from sklearn_featalign.metrics import (
    make_retrieval_scorer,
    mean_reciprocal_rank,
    retrieval_accuracy,
)

# What "auto" is with init=None, with init="rcca" and with init="gcca".
DOCUMENT = {
    "hidden_layer_sizes": (32, 32),
    "scaling": "columns",
    "affinity_weight": 1.0,
    "contrastive_weight": 0.0,
    "input_noise": 0.0,
    "finish": None,
    "max_epochs": 300,
    "lr": 0.01,
    "hub_neighbors": 0,
}
RECOMMENDED = {
    "hidden_layer_sizes": (256, 256),
    "scaling": "view",
    "affinity_weight": 100,
    "contrastive_weight": 1,
    "input_noise": 0.5,
    "finish": "rcca",
    "max_epochs": 60,
    "lr": 6e-4,
    "hub_neighbors": 0,
}
KERNELS = {
    "hidden_layer_sizes": (),
    "scaling": "view",
    "affinity_weight": 10,
    "contrastive_weight": 1,
    "input_noise": 0.3,
    "finish": None,
    "max_epochs": 30,
    "lr": 2e-3,
    "hub_neighbors": 10,
}
AUTO = dict.fromkeys(DOCUMENT, "auto")

# An epoch that changes nothing.
STILL = {"max_epochs": 1, "lr": 1e-30}
RCCA = {"n_components": 6, "init": "rcca", "hidden_layer_sizes": (16,)}


def make_views(n_samples=300, widths=(20, 15), noise=0.3, seed=0, gain=1.5):
    """Return views of the same hidden rows, each through a layer of its own."""
    rng = np.random.default_rng(seed)
    weights = np.random.default_rng(99)
    Z = gain * rng.normal(size=(n_samples, 8)) / 8**0.5
    return [
        np.tanh(Z @ weights.normal(size=(8, width)))
        + noise * rng.normal(size=(n_samples, width))
        for width in widths
    ]


def zscored_columns(X, X_new):
    return np.clip((X_new - X.mean(0)) / X.std(0, ddof=1), -10, 10)


def zscored_view(X, X_new):
    return np.clip((X_new - X.mean(0)) / X.var(0, ddof=1).mean() ** 0.5, -10, 10)


def make(**params):
    """Return an aligner of two views, with the settings of the document."""
    params = {"views": [20, 15], "random_state": 0} | DOCUMENT | params
    return HalfSharedMLPAligner(**params)


def test_the_document_is_the_default():
    aligner = HalfSharedMLPAligner()
    assert aligner.target == "index" and aligner.loss == "cross_entropy"
    assert aligner.init is None and aligner.pull_weight == 0
    assert {name: getattr(aligner, name) for name in AUTO} == AUTO
    X = np.hstack(make_views(40))
    views = {"views": [20, 15], "random_state": 0}
    out = HalfSharedMLPAligner(**views).fit(X).transform(X)
    np.testing.assert_array_equal(out, make().fit(X).transform(X))


@pytest.mark.parametrize("init", [None, "rcca", "gcca"])
def test_auto_is_what_the_documentation_says(init):
    X = np.hstack(make_views(60))
    settings = {None: DOCUMENT, "rcca": RECOMMENDED, "gcca": KERNELS}[init]
    auto = make(init=init, **AUTO).fit(X)
    explicit = make(init=init, **settings).fit(X)
    np.testing.assert_array_equal(auto.transform(X), explicit.transform(X))
    np.testing.assert_array_equal(auto.loss_curve_, explicit.loss_curve_)
    assert auto.n_iter_ == settings["max_epochs"]
    # The parameters themselves stay, in a clone as well.
    assert {name: getattr(clone(auto), name) for name in AUTO} == AUTO
    # Another init is another setting, in the next fit of the same aligner.
    other = {None: "rcca", "rcca": None, "gcca": None}[init]
    refit = auto.set_params(init=other).fit(X).transform(X)
    again = make(init=other, **AUTO).fit(X).transform(X)
    np.testing.assert_array_equal(refit, again)


# The same in both, which a value given beside "auto" could not show.
@pytest.mark.parametrize("name", sorted(set(DOCUMENT) - {"hub_neighbors"}))
def test_each_value_may_be_given_beside_auto(name):
    X = np.hstack(make_views(40))
    aligner = make(init="rcca", **AUTO).set_params(**{name: DOCUMENT[name]})
    expected = make(init="rcca", **(RECOMMENDED | {name: DOCUMENT[name]}))
    np.testing.assert_array_equal(
        aligner.fit(X).transform(X), expected.fit(X).transform(X)
    )
    recommended = make(init="rcca", **RECOMMENDED).fit(X)
    assert not np.array_equal(aligner.transform(X), recommended.transform(X))


def test_auto_in_a_warm_start_and_in_early_stopping():
    X = np.hstack(make_views(60))
    params = {"init": "rcca", "warm_start": True, "early_stopping": True}
    auto, explicit = (make(**params | given) for given in (AUTO, RECOMMENDED))
    for aligner in (auto, explicit):
        aligner.set_params(max_epochs=2).fit(X).set_params(max_epochs=1).fit(X)
    assert auto.n_iter_ == 3
    np.testing.assert_array_equal(auto.transform(X), explicit.transform(X))
    np.testing.assert_array_equal(auto.loss_curve_, explicit.loss_curve_)


def test_callbacks_are_told_how_many_epochs_auto_is():
    class Counter(Recorder):
        def on_fit_task_begin(self, estimator, context):
            super().on_fit_task_begin(estimator, context)
            if context.task_name == "fit":
                self.max_subtasks = context.max_subtasks

    X = np.hstack(make_views(20))
    for init, max_epochs in ((None, 300), ("rcca", 60)):
        counter = Counter(stop_after=1)
        make(init=init, **AUTO).set_callbacks(counter).fit(X)
        assert counter.max_subtasks == max_epochs


def test_a_search_over_init_compares_whole_settings():
    X = np.hstack(make_views(60))
    auto = make(**AUTO | {"max_epochs": 3})
    search = GridSearchCV(auto, {"init": [None, "rcca"]}, cv=2, error_score="raise")
    scores = search.fit(X).cv_results_["mean_test_score"]
    settings = ({**DOCUMENT, "init": None}, {**RECOMMENDED, "init": "rcca"})
    for score, params in zip(scores, settings, strict=True):
        explicit = make(**params | {"max_epochs": 3})
        assert cross_val_score(explicit, X, cv=2).mean() == score


def test_features_are_those_of_a_three_layer_network_on_zscored_rows():
    X, X_new = blobs(0) * [1, 100, 1e-3, 5] + 7, blobs(1) * [1, 100, 1e-3, 5] + 7
    aligner = HalfSharedMLPAligner(max_epochs=5, random_state=0).fit(X)
    weights = aligner._states["view0"]["encoder"]
    layers = [torch.nn.Linear(4, 32), torch.nn.Linear(32, 32), torch.nn.Linear(32, 32)]
    for i, layer in enumerate(layers):
        state = {"weight": weights[f"weight{i}"], "bias": weights[f"bias{i}"]}
        layer.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
    GELU = torch.nn.GELU()
    network = torch.nn.Sequential(layers[0], GELU, layers[1], GELU, layers[2]).double()
    expected = network(torch.tensor(zscored_columns(X, X_new))).detach()
    np.testing.assert_allclose(aligner.transform(X_new), expected, atol=1e-12)


@pytest.mark.parametrize("exponent", [-1000, -100, 100, 1000])
def test_units_of_columns_do_not_matter(exponent):
    X, X_new = blobs(0), blobs(1)
    scale = 2.0 ** np.array([exponent, 0, 3, -exponent / 2])
    aligner = HalfSharedMLPAligner(max_epochs=5, random_state=0)
    expected = aligner.fit(X).transform(X_new)
    out = aligner.fit(X * scale).transform(X_new * scale)
    np.testing.assert_array_equal(out, expected)


def test_constant_columns_count_for_nothing():
    X, X_new = blobs(0), blobs(1)
    aligner = HalfSharedMLPAligner(max_epochs=2, random_state=0)
    aligner.fit(np.column_stack([X, np.full(120, 7.0)]))
    out = [aligner.transform(np.column_stack([X_new, np.full(120, v)])) for v in (7, 9)]
    np.testing.assert_array_equal(*out)
    assert np.isfinite(out[0]).all()


@pytest.mark.parametrize("widths", [(20, 15), (20, 15, 10)])
@pytest.mark.parametrize("ridge", [0.1, 1.0])
@pytest.mark.parametrize("scaling", ["columns", "view"])
def test_training_starts_at_the_closed_form(widths, ridge, scaling):
    train, new = make_views(widths=widths), make_views(100, widths, seed=1)
    units = np.random.default_rng(0).uniform(0.1, 10, size=widths[0])
    train[0], new[0] = train[0] * units, new[0] * units
    aligner = make(views=list(widths), ridge=ridge, scaling=scaling, **RCCA, **STILL)
    aligner.fit(np.hstack(train))
    zscored = {"columns": zscored_columns, "view": zscored_view}[scaling]
    Z = [zscored(X, X) for X in train]
    values, vectors = generalised(Z, ridge)
    parts = np.split(vectors[:, :6] * values[:6], np.cumsum(widths)[:-1])
    for v, (X, X_new, A) in enumerate(zip(train, new, parts, strict=True)):
        # Up to the signs of components, which no cosine sees.
        expected = normalize(zscored(X, X_new) @ A)
        F = aligner.transform_view(X_new, v)
        atol = 1e-5 if len(widths) == 2 else 0.02
        np.testing.assert_allclose(F @ F.T, expected @ expected.T, atol=atol)
    assert aligner.ridge_ == ridge


@pytest.mark.parametrize("widths", [(20, 15), (20, 15, 10)])
@pytest.mark.parametrize("n_samples", [40, 300])
@pytest.mark.parametrize("hidden", [(), (16,)])
def test_training_starts_at_the_kernel_aligner(widths, n_samples, hidden):
    """All of its landmarks are the pairs: which order they have does not matter."""
    X, X_new = (
        np.hstack(make_views(n, widths, seed=n)) * 50 + 9 for n in (n_samples, 100)
    )
    if len(widths) == 3:
        X[:5, :20] = X[5:8, 20:] = X[8:11, :35] = np.nan
    params = {"n_components": 12, "views": list(widths)}
    kernels = KernelGCCAAligner(
        linear=0.7, power=4, hub_neighbors=0, n_landmarks=None, ridge=0.3, **params
    )
    kernels = kernels.fit(X)
    aligner = make(
        init="gcca", hidden_layer_sizes=hidden, scaling="view", ridge=0.3, **params
    )
    aligner.set_params(hub_neighbors=0, **STILL).fit(X)
    # All similarities within and between views are equal.
    F, expected = (
        np.vstack([a.transform_view(block, v) for v, block in enumerate(blocks)])
        for a, blocks in ((a, split_views(X_new, a)) for a in (aligner, kernels))
    )
    np.testing.assert_allclose(F @ F.T, expected @ expected.T, atol=1e-6)
    assert aligner.ridge_ == 0.3


@pytest.mark.parametrize("seed", range(4))
def test_early_stopping_is_never_worse_than_the_kernel_aligner(seed):
    X = np.hstack(make_views(seed=seed))
    params = {"init": "gcca", "early_stopping": True, "random_state": seed}
    params["hub_neighbors"] = 0
    # A rate that is far too large: training leads away from the start.
    aligner = make(**KERNELS | params | {"lr": 0.3, "max_epochs": 12}).fit(X)
    still = make(**KERNELS | params | STILL).fit(X)
    held = np.random.RandomState(seed).permutation(300)[:30]
    found = []
    for fitted in (aligner, still):
        F, G = (
            fitted.transform_view(block[held], v)
            for v, block in enumerate(split_views(X, fitted))
        )
        found.append((mean_reciprocal_rank(F, G) + mean_reciprocal_rank(G, F)) / 2)
    scores = aligner.validation_scores_
    assert scores[0] == pytest.approx(found[1], abs=1e-6)
    assert scores.max() == pytest.approx(found[0], abs=1e-6) and found[0] >= found[1]
    assert len(scores) == aligner.n_iter_ + 1


def retrieval_of_kernels(train, new, **changes):
    """Return the mean reciprocal rank of new rows after a fit with init="gcca"."""
    params = KERNELS | {"init": "gcca", "n_components": 32, "views": [40, 30]}
    params["hub_neighbors"] = 0
    aligner = make(**params | changes).fit(np.hstack(train))
    F, G = (aligner.transform_view(X, v) for v, X in enumerate(new))
    return (mean_reciprocal_rank(F, G) + mean_reciprocal_rank(G, F)) / 2


@pytest.mark.parametrize("init", ["rcca", "gcca"])
def test_the_column_for_hubness(init):
    """It has the mean similarity to the nearest training rows of other views."""
    widths = (20, 15, 10)
    X, X_new = (np.hstack(make_views(n, widths, seed=n)) for n in (80, 30))
    X[:5, :20] = X[5:8, 20:] = np.nan
    params = {"init": init, "views": list(widths), "max_epochs": 2}
    params["n_components"] = k = 6
    aligner = make(hub_neighbors=4, **params).fit(X)
    plain = make(hub_neighbors=0, **params).fit(X)
    assert aligner.get_feature_names_out()[k] == "view0__hubness"
    # Rows 5 to 7 have one view alone, which is no partner of others.
    blocks = split_views(np.delete(X, [5, 6, 7], axis=0), plain)
    trained = [plain.transform_view(block, v) for v, block in enumerate(blocks)]
    trained = [F[~np.isnan(F).any(1)] for F in trained]
    assert [len(F) for F in trained] == [72, 77, 77]
    for v, block in enumerate(split_views(X_new, plain)):
        out = aligner.transform_view(block, v)
        F, column = out[:, :k], out[:, k]
        np.testing.assert_allclose(F, plain.transform_view(block, v), atol=1e-6)
        others = np.vstack([G for u, G in enumerate(trained) if u != v])
        hub, own = (
            np.sort(rows @ others.T, axis=1)[:, -4:].mean(1) for rows in (F, trained[v])
        )
        expected = 1 - STRENGTH * (hub - own.mean())
        np.testing.assert_allclose(column, expected, atol=1e-6)


@pytest.mark.parametrize("seed", range(2))
def test_the_column_for_hubness_finds_more_pairs(seed):
    train, new = draw_views(0.3, seed)
    params = {"init": "gcca", "views": [40, 30], "n_components": 32, "max_epochs": 5}
    aligner = HalfSharedMLPAligner(random_state=0, **params)
    with_column = aligner.fit(np.hstack(train)).score(np.hstack(new))
    aligner.set_params(hub_neighbors=0).fit(np.hstack(train))
    assert with_column > aligner.score(np.hstack(new)) + 0.005


def draw_views(noise, seed):
    return [make_views(500, (40, 30), noise, s, gain=3.0) for s in (seed, 50 + seed)]


def test_training_finds_more_pairs_than_the_kernel_aligner():
    draws = [draw_views(0.1, seed) for seed in range(3)]
    before = [retrieval_of_kernels(*draw, **STILL) for draw in draws]
    after = [retrieval_of_kernels(*draw) for draw in draws]
    assert np.mean(after) > np.mean(before) + 0.002


@pytest.mark.parametrize("seed", range(3))
def test_early_stopping_keeps_the_start_where_training_harms(seed):
    """With noise of its own in each of few columns nothing is left to learn."""
    draw = draw_views(0.5, seed)
    held_out = {"early_stopping": True}
    assert retrieval_of_kernels(*draw) < retrieval_of_kernels(*draw, **STILL) - 0.02
    # The start from the same pairs, of which a tenth is held out.
    start = retrieval_of_kernels(*draw, **held_out, **STILL)
    assert retrieval_of_kernels(*draw, **held_out) > start - 0.01


def test_the_finish_is_the_closed_form_of_the_trained_features():
    train, new = make_views(), make_views(100, seed=1)
    params = {"max_epochs": 20, "lr": 1e-3, "input_noise": 0.2} | RCCA
    plain = make(**params).fit(np.hstack(train))
    finished = make(finish="rcca", **params).fit(np.hstack(train))
    features = [normalize(plain.transform_view(X, v)) for v, X in enumerate(train)]
    values, vectors = generalised(features, 0.3)
    parts = np.split(vectors[:, :6] * (values[:6].clip(0) ** 2), 2)
    for v, X_new in enumerate(new):
        F = normalize(plain.transform_view(X_new, v)) - features[v].mean(0)
        expected = normalize(F @ parts[v])
        out = finished.transform_view(X_new, v)
        np.testing.assert_allclose(out @ out.T, expected @ expected.T, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_training_finds_more_pairs_than_the_closed_form(seed):
    """Views through a layer of their own, which no linear map undoes."""
    train, new = (
        make_views(500, (40, 30), 0.1, s, gain=3.0) for s in (seed, 50 + seed)
    )
    recommended = {
        "affinity_weight": 100,
        "contrastive_weight": 1,
        "input_noise": 0.5,
        "max_epochs": 60,
        "lr": 1e-3,
        "finish": "rcca",
    }
    found = []
    for params in (STILL, recommended):
        aligner = make(
            n_components=16,
            init="rcca",
            hidden_layer_sizes=(64, 64),
            scaling="view",
            views=[40, 30],
            **params,
        ).fit(np.hstack(train))
        F, G = (aligner.transform_view(X, v) for v, X in enumerate(new))
        found.append(mean_reciprocal_rank(F, G) + mean_reciprocal_rank(G, F))
    assert found[1] > found[0]


def test_the_affinity_term_keeps_affinities():
    train = make_views()

    def kept(weight):
        aligner = make(affinity_weight=weight, max_epochs=100).fit(np.hstack(train))
        gaps = []
        for v, X in enumerate(train):
            A, B = (
                np.exp(-(pairwise_distances(F) ** 2) / (2 * F.var(0, ddof=1).sum()))
                for F in (zscored_columns(X, X), aligner.transform_view(X, v))
            )
            gaps.append(np.square(A - B).mean())
        return np.mean(gaps)

    assert kept(100) < kept(1) < kept(0)


def test_pulling_brings_pairs_together():
    train = make_views()

    def gap(weight):
        aligner = make(pull_weight=weight, max_epochs=100).fit(np.hstack(train))
        F, G = (aligner.transform_view(X, v) for v, X in enumerate(train))
        return np.square(F - G).sum(1).mean() / (F.var(0) + G.var(0)).sum()

    assert gap(10) < gap(1) < gap(0) / 2


def test_the_score_is_held_out_retrieval_by_distance():
    train, new = make_views(), make_views(100, seed=1)
    aligner = make(max_epochs=30).fit(np.hstack(train))
    F, G = (aligner.transform_view(X, v) for v, X in enumerate(new))
    expected = [
        retrieval_accuracy(A, B, metric="euclidean") for A, B in ((F, G), (G, F))
    ]
    assert aligner.score(np.hstack(new)) == pytest.approx(np.mean(expected))


TARGETS = [
    {"target": "permutation"},
    {"target": "random", "n_classes": 30},
    {"target": "y"},
    {"target": "cluster", "n_classes": 5},
    {"target": "index", "loss": "mse"},
    {"target": "y", "loss": "mse"},
    {"target": "joint_pca", "loss": "mse"},
]


@pytest.mark.parametrize("start", [{}, RCCA], ids=["document", "closed form"])
@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_every_target_trains(target, start):
    X = np.hstack(make_views())
    y = np.random.default_rng(0).integers(4, size=300)
    aligner = make(max_epochs=15, lr=3e-3, **target, **start).fit(X, y)
    assert aligner.loss_curve_.shape == (15,) and aligner.n_iter_ == 15
    assert aligner.loss_curve_[-1] < aligner.loss_curve_[0]
    other = make(max_epochs=15, lr=3e-3, **target, **start).fit(X, y[::-1])
    same = np.array_equal(other.transform(X), aligner.transform(X))
    assert same == (target["target"] != "y")


@pytest.mark.parametrize("init", [None, "rcca", "gcca"])
def test_absent_views(init):
    widths = [20, 15, 10]
    train, new = make_views(300, widths), make_views(50, widths, seed=1)
    X = stack_views(train, widths)
    X[:40, :20] = X[100:150, 20:35] = X[200:230, 35:] = X[240:260, 20:] = np.nan
    X[270:275] = np.nan
    aligner = make(
        views=widths, n_components=6, init=init, finish="rcca", max_epochs=50, lr=3e-3
    ).fit(X)
    # Rows without any view change nothing.
    out = aligner.transform(X)
    assert np.isnan(out[270:275]).all()
    again = clone(aligner).fit(np.delete(X, slice(270, 275), axis=0)).transform(X)
    np.testing.assert_array_equal(again, out)
    for v, (block, own) in enumerate(zip(split_views(X, aligner), new, strict=True)):
        absent = np.isnan(block).all(1)
        F = out[:, 6 * v : 6 * v + 6]
        assert np.isnan(F[absent]).all() and np.isfinite(F[~absent]).all()
        assert np.isfinite(aligner.transform_view(own, v)).all()
    assert aligner.score(np.hstack(new)) > 5 / 50
    aligner.set_params(output="mean")
    assert aligner.transform(X).shape == (300, 6)
    assert aligner.get_feature_names_out()[0] == "halfsharedmlpaligner0"
    aligner.set_params(output="concat")
    assert aligner.get_feature_names_out()[7] == "view1__mlp1"


def test_rows_with_one_view_take_part():
    train = make_views()
    X, extra = np.hstack(train), make_views(100, seed=1)[0]
    more = np.vstack([X, stack_views([extra, None], [20, 15])])
    params = {"affinity_weight": 0.0, "max_epochs": 5}
    first, second = (make(**params).fit(rows) for rows in (X, more))
    assert not np.array_equal(first.transform(X), second.transform(X))


def test_early_stopping_watches_held_out_retrieval():
    X = np.hstack(make_views())
    aligner = make(early_stopping=True, max_epochs=300, lr=3e-2, **RCCA).fit(X)
    scores = aligner.validation_scores_
    assert aligner.n_iter_ == len(scores) == len(aligner.loss_curve_) < 300
    # Ten epochs without a better one, and the best weights are taken.
    assert len(scores) - 1 - np.argmax(scores) == 10
    held = np.random.RandomState(0).permutation(300)[:30]
    F, G = (
        aligner.transform_view(block[held], v)
        for v, block in enumerate(split_views(X, aligner))
    )
    expected = (mean_reciprocal_rank(F, G) + mean_reciprocal_rank(G, F)) / 2
    assert scores.max() == pytest.approx(expected, abs=1e-3)


def test_warm_start_goes_on():
    X = np.hstack(make_views())
    aligner = make(warm_start=True, max_epochs=10).fit(X)
    aligner_before, losses = aligner.transform(X), aligner.loss_curve_
    aligner.set_params(**STILL).fit(X)
    np.testing.assert_allclose(aligner.transform(X), aligner_before, atol=1e-12)
    assert aligner.n_iter_ == 11
    np.testing.assert_array_equal(aligner.loss_curve_[:10], losses)
    # The head goes on as well.
    assert aligner.loss_curve_[10] < losses[-2]
    # Other classes have a new head: an old one would be sure of what is wrong.
    first = clone(aligner).set_params(max_epochs=200).fit(X)
    for params in ({"target": "permutation"}, {"n_classes": 7, "target": "random"}):
        again = first.set_params(**STILL, **params).fit(X).loss_curve_[-1]
        assert again < 1.2 * first.loss_curve_[0]
    assert len(aligner.fit(X[:100]).loss_curve_) == 12
    for params in ({"n_components": 5}, {"hidden_layer_sizes": (8,)}, {"init": "rcca"}):
        with pytest.raises(ValueError, match="goes on from the previous fit"):
            clone(aligner).set_params(max_epochs=1).fit(X).set_params(**params).fit(X)
    kernels = make(init="gcca", hidden_layer_sizes=(4,), warm_start=True, max_epochs=9)
    before = kernels.fit(X).transform(X)
    after = kernels.set_params(**STILL).fit(X).transform(X)
    np.testing.assert_allclose(after, before, atol=1e-6)
    cold = make(max_epochs=10).fit(X)
    np.testing.assert_array_equal(cold.fit(X).transform(X), aligner_before)


class Recorder:
    """A callback that counts, and may stop."""

    def __init__(self, stop_after=None):
        self.stop_after, self.tasks, self.shapes = stop_after, [], []

    def setup(self, estimator, context):
        self.tasks.append("setup")

    def teardown(self, estimator, context):
        self.tasks.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.tasks.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X, fitted_estimator):
        self.tasks.append(f"end {context.task_name}")
        self.shapes.append(fitted_estimator.transform(X).shape)
        return self.tasks.count("end epoch") == self.stop_after


@pytest.mark.parametrize("stop_after", [None, 2])
def test_callbacks_are_told_of_each_epoch_and_may_stop(stop_after):
    X = np.hstack(make_views())
    recorder = Recorder(stop_after)
    aligner = make(max_epochs=4, finish="rcca").set_callbacks(recorder).fit(X)
    n_epochs = stop_after or 4
    assert aligner.n_iter_ == n_epochs
    assert recorder.tasks == [
        "setup",
        "begin fit",
        *n_epochs * ["begin epoch", "end epoch"],
        "end fit",
        "teardown",
    ]
    assert recorder.shapes == (n_epochs + 1) * [(300, 64)]


def test_a_callback_is_torn_down_when_training_fails():
    recorder = Recorder()
    aligner = make(lr=1e30, max_epochs=5).set_callbacks(recorder)
    with pytest.raises(ValueError, match=r"The loss is nan in epoch \d: try a smaller"):
        aligner.fit(np.hstack(make_views()))
    assert recorder.tasks[-1] == "teardown"


def test_scores_can_be_monitored():
    X = np.hstack(make_views())
    monitor = ScoringMonitor(scoring={"top-1": make_retrieval_scorer()})
    aligner = make(max_epochs=3).set_callbacks(monitor).fit(X, np.zeros(len(X)))
    scores = [row["top-1"] for row in monitor.get_logs().data if "top-1" in row]
    assert len(scores) >= 3 and scores[-1] == aligner.score(X)


def test_training_does_not_need_the_users_gradients():
    X = blobs()
    expected = HalfSharedMLPAligner(max_epochs=2, random_state=0).fit_transform(X)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            aligner = HalfSharedMLPAligner(max_epochs=2, random_state=0)
            np.testing.assert_array_equal(aligner.fit_transform(X), expected)


def test_search_and_pipeline():
    X = np.hstack(make_views())
    y = (X[:, 0] > 0).astype(int)
    grid = {"pull_weight": [0, 10], "init": [None, "rcca"]}
    search = GridSearchCV(make(max_epochs=20), grid, cv=3, error_score="raise").fit(X)
    scores = search.cv_results_["mean_test_score"]
    assert search.best_score_ == scores.max() > scores.min()
    assert search.best_params_["init"] == "rcca"
    pipeline = make_pipeline(make(target="y", max_epochs=20), LogisticRegression())
    assert pipeline.fit(X, y).score(X, y) > 0.9


def test_a_frame_of_named_views():
    X, Y = make_views()
    frame = pd.DataFrame(np.hstack([X, Y]), columns=[f"c{i}" for i in range(35)])
    views = {
        "clip": [f"c{i}" for i in range(20)],
        "dino": [f"c{i}" for i in range(20, 35)],
    }
    aligner = make(views=views, n_components=2, max_epochs=2).fit(frame)
    out = aligner.set_output(transform="pandas").transform(frame)
    assert list(out.columns) == ["clip__mlp0", "clip__mlp1", "dino__mlp0", "dino__mlp1"]
    plain = make(n_components=2, max_epochs=2).fit(frame.to_numpy())
    np.testing.assert_array_equal(out, plain.transform(frame.to_numpy()))


def test_a_pickle_holds_no_head_unless_training_may_go_on():
    X = np.hstack(make_views())
    cold, warm = (make(max_epochs=1, warm_start=w).fit(X) for w in (False, True))
    assert len(pickle.dumps(warm)) - len(pickle.dumps(cold)) > 300 * 32 * 4


def test_errors():
    X = np.hstack(make_views(40))
    alone = HalfSharedMLPAligner(max_epochs=1)
    for params in (
        {"init": "rcca"},
        {"init": "gcca"},
        {"finish": "rcca"},
        {"pull_weight": 1.0},
        {"contrastive_weight": 1.0},
        {"early_stopping": True},
    ):
        name = next(iter(params))
        with pytest.raises(ValueError, match=f"{name}=.* needs two views or more"):
            clone(alone).set_params(**params).fit(X)
    with pytest.raises(ValueError, match="target='y' requires y to be passed"):
        make(target="y").fit(X)
    with pytest.raises(ValueError, match="at least 2 classes"):
        make(target="y").fit(X, np.ones(40, int))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        make(target="y").fit(X, np.ones(39, int))
    with pytest.raises(ValueError, match="integers of at least 1, got"):
        make(hidden_layer_sizes=(8, 0)).fit(X)
    for params in ({"init": "rcca"}, {"finish": "rcca"}):
        with pytest.raises(ValueError, match="n_components of at least 2, got 1"):
            make(n_components=1, **params).fit(X)
    alike = X.copy()
    alike[:20, :20], alike[20:, 20:] = X[0, :20], np.nan
    with pytest.raises(ValueError, match="the same in all paired rows"):
        make(finish="rcca", max_epochs=1).fit(alike)
    with pytest.raises(NotFittedError):
        make().score(X)
    with pytest.raises(ValueError, match="hub_neighbors=3 needs rows of unit length"):
        make(hub_neighbors=3, max_epochs=1).fit(X)
    with pytest.raises(ValueError, match="not finite after epoch 1: try a smaller lr"):
        make(lr=1e38, max_epochs=1).fit(X * np.float32(1))
    X[:, 20:] = np.nan
    with pytest.raises(ValueError, match="0 of 40 rows have every view.*'view1' 0"):
        make().fit(X)
    X = np.hstack(make_views(3))
    with pytest.raises(ValueError, match="holds out 2 of 3 rows"):
        make(early_stopping=True, max_epochs=1).fit(X)


@pytest.mark.parametrize("n_samples", [2, 3, 5, 12])
def test_fewer_pairs_than_a_batch(n_samples):
    X = np.hstack(make_views(n_samples))
    aligner = make(batch_size=1000, max_epochs=2, **RCCA).fit(X)
    assert np.isfinite(aligner.transform(X)).all()
    assert aligner.ridge_ == 1 or n_samples == 12
    aligner = make(init="gcca", n_components=3, max_epochs=2).fit(X)
    assert np.isfinite(aligner.transform(X)).all()


def test_what_a_refit_does_not_have_is_gone():
    X = np.hstack(make_views(60))
    aligner = make(early_stopping=True, max_epochs=2, **RCCA).fit(X)
    assert {"ridge_", "validation_scores_"} <= set(vars(aligner))
    aligner.set_params(init=None, early_stopping=False).fit(X)
    assert not {"ridge_", "validation_scores_"} & set(vars(aligner))


def test_labels_may_be_a_tensor_or_strings():
    X, y = np.hstack(make_views(60)), np.arange(60) % 3
    aligner = make(target="y", max_epochs=2)
    expected = aligner.fit(X, y).transform(X)
    for labels in (torch.tensor(y), np.array(list("abc"))[y], pd.Series(y), list(y)):
        np.testing.assert_array_equal(aligner.fit(X, labels).transform(X), expected)
    numbers = torch.tensor(y, dtype=torch.float64, requires_grad=True)
    aligner.set_params(loss="mse").fit(X, numbers)

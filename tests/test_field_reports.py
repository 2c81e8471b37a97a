"""Faults that users of other projects reported, tried here: each kind once."""

import os
import pickle
import subprocess
import sys
import warnings
from functools import partial

import joblib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from _estimators import make
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.compose import make_column_selector
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_featalign import (
    HalfSharedMLPAligner,
    KernelGCCAAligner,
    PoissonDenoiser,
    PoissonField,
    PoissonUniformizer,
    RBFAutoScaleAligner,
    SelfTrainingAligner,
    split_views,
    stack_views,
)
from sklearn_featalign._half_shared._targets import make_target
from sklearn_featalign.displays import (
    AffinityDisplay,
    AgreementDisplay,
    FeatureColorDisplay,
    FlowDisplay,
    RetrievalDisplay,
)
from sklearn_featalign.metrics import (
    cluster_contrast,
    make_neighbor_scorer,
    make_retrieval_scorer,
    make_view_scorer,
    mutual_knn,
    neighbor_recall,
)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def two_views(n_samples=90, widths=(4, 6), seed=0, dtype=np.float64):
    """Return views of three hidden dimensions with noise."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n_samples, 3))
    views = [Z @ rng.normal(size=(3, width)) for width in widths]
    return [(view + 0.1 * rng.normal(size=view.shape)).astype(dtype) for view in views]


FITTED_IN_CONTEXTS = {
    "rbf": RBFAutoScaleAligner(views=[4, 6], n_landmarks=30, random_state=0),
    "gcca": KernelGCCAAligner(views=[4, 6], n_landmarks=30, random_state=0),
    "mlp": HalfSharedMLPAligner(3, views=[4, 6], max_epochs=5, random_state=0),
    "mlp, rcca": HalfSharedMLPAligner(
        3, init="rcca", views=[4, 6], max_epochs=2, random_state=0
    ),
    "mlp, gcca": HalfSharedMLPAligner(
        3, init="gcca", views=[4, 6], max_epochs=2, random_state=0
    ),
    "uniformizer": PoissonUniformizer(),
    "network": PoissonUniformizer(field=PoissonField(max_epochs=3), random_state=0),
    "denoiser": PoissonDenoiser(),
    "self-training": SelfTrainingAligner(
        KernelGCCAAligner(views=[4, 6], n_landmarks=30, random_state=0), random_state=0
    ),
}
CONTEXTS = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "another device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("name", FITTED_IN_CONTEXTS)
@pytest.mark.parametrize("context", CONTEXTS)
def test_a_fit_is_the_same_in_the_users_contexts(name, context):
    """Autocast had made networks learn nothing, without a word."""
    n_samples = 240 if name == "self-training" else 90
    X = np.hstack(two_views(n_samples, dtype=np.float32))
    if name == "self-training":
        X = np.vstack([X[:20], X[20:], X[20:]])
        X[20:n_samples, 4:], X[n_samples:, :4] = np.nan, np.nan
    rows = X[:20]
    estimator = FITTED_IN_CONTEXTS[name]
    with warnings.catch_warnings():
        # Ten columns are many for a flow, and matching may fail.
        warnings.simplefilter("ignore", UserWarning)
        expected = clone(estimator).fit(X).transform(rows)
        with CONTEXTS[context]():
            fitted = clone(estimator).fit(X)
        np.testing.assert_array_equal(fitted.transform(rows), expected)


def test_sums_of_partial_fits_are_the_same_under_autocast():
    X = np.hstack(two_views(dtype=np.float32))
    expected, aligner = (
        KernelGCCAAligner(views=[4, 6], n_landmarks=20, random_state=0)
        for _ in range(2)
    )
    expected.partial_fit(X[:50]).partial_fit(X[50:])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        aligner.partial_fit(X[:50]).partial_fit(X[50:])
    np.testing.assert_array_equal(aligner.transform(X), expected.transform(X))


@pytest.mark.parametrize("kind", ["integers", "bools", "lists", "tensor", "two"])
def test_one_hot_labels_are_refused(kind):
    """They had been taken for three times as many rows."""
    X = np.hstack(two_views())
    Y = np.eye(3, dtype=int)[np.arange(90) % 3]
    Y = {
        "integers": Y,
        "bools": Y.astype(bool),
        "lists": Y.tolist(),
        "tensor": torch.from_numpy(Y),
        "two": Y[:, :2],
    }[kind]
    aligner = HalfSharedMLPAligner(3, target="y", views=[4, 6], max_epochs=1)
    with pytest.raises(ValueError, match="1d array"):
        aligner.fit(X, Y)


@pytest.mark.parametrize("factor", [1e-300, 1e-200, 1.0, 1e200, 1e300])
def test_targets_of_any_magnitude(factor):
    y = np.random.default_rng(0).normal(size=(50, 2)) * [1, 1e-3] * factor
    views = [torch.zeros(50, 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        target = make_target("y", "mse", y, views, 0, 0, None)
    expected = StandardScaler().fit_transform(y / factor)
    np.testing.assert_allclose(target, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", [0.1, 1e8 + 0.1, 0.0, 1e-300])
def test_targets_that_do_not_vary_are_zero(value):
    target = make_target("y", "mse", np.full(50, value), [torch.zeros(50, 1)], 0, 0, 0)
    np.testing.assert_array_equal(target, 0)


ORDERS = {"a": range(4), "b": range(4, 10)}, {"b": range(4, 10), "a": range(4)}


class HashedFit(BaseEstimator):
    """A meta-estimator of somebody else, whose parameter is hashed."""

    def __init__(self, inner):
        self.inner = inner


@pytest.mark.parametrize("kind", ["rbf", "gcca", "mlp"])
def test_the_order_of_views_is_hashed(kind):
    """joblib hashes dicts whatever their order, on which output columns depend."""
    first, second = (clone(make(kind)).set_params(views=views) for views in ORDERS)
    for wrap in (lambda e: e, HashedFit, lambda e: Pipeline([("s", None), ("e", e)])):
        assert joblib.hash(wrap(first)) != joblib.hash(wrap(second))
        assert joblib.hash(wrap(first)) == joblib.hash(wrap(clone(first)))
    state = first.__getstate__()
    again = clone(second)
    again.__setstate__(state)
    assert list(again.views) == ["a", "b"] and vars(again) == vars(first)


def test_a_cached_pipeline_returns_its_own_order_of_views(tmp_path):
    X = np.hstack(two_views())
    for views in ORDERS:
        aligner = RBFAutoScaleAligner(views=views, n_landmarks=20, random_state=0)
        cached = make_pipeline(aligner, StandardScaler(), memory=str(tmp_path))
        plain = make_pipeline(clone(aligner), StandardScaler())
        np.testing.assert_array_equal(cached.fit_transform(X), plain.fit_transform(X))


@pytest.mark.parametrize("init", [None, "rcca", "gcca"])
def test_a_warm_start_knows_views_by_their_names(init):
    """With so small a rate nothing moves, whatever the order of the views."""
    A, B = two_views(widths=(5, 5))
    first = {"a": range(5), "b": range(5, 10)}
    params = {"init": init, "lr": 1e-30, "max_epochs": 1, "random_state": 0}
    aligner = HalfSharedMLPAligner(3, warm_start=True, views=first, **params)
    aligner.fit(np.hstack([A, B]))
    before = aligner.transform_view(A, "a"), aligner.transform_view(B, "b")
    aligner.set_params(views=dict(reversed(first.items()))).fit(np.hstack([A, B]))
    after = aligner.transform_view(A, "a"), aligner.transform_view(B, "b")
    np.testing.assert_allclose(after, before, atol=1e-5)
    # Views by widths change places with their columns.
    aligner.set_params(views={"a": 5, "b": 5}).fit(np.hstack([A, B]))
    aligner.set_params(views={"b": 5, "a": 5}).fit(np.hstack([B, A]))
    after = aligner.transform_view(A, "a"), aligner.transform_view(B, "b")
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_a_warm_start_refuses_other_columns():
    X = np.hstack(two_views(widths=(5, 5)))
    views = {"a": range(5), "b": range(5, 10)}
    aligner = HalfSharedMLPAligner(3, warm_start=True, max_epochs=1, views=views)
    aligner.fit(X)
    for other in (
        {"a": [1, 0, 2, 3, 4], "b": range(5, 10)},
        {"a": range(5, 10), "b": range(5)},
        {"a": range(5), "c": range(5, 10)},
    ):
        with pytest.raises(ValueError, match="whose views, columns, "):
            aligner.set_params(views=other).fit(X)
    frame = pd.DataFrame(X, columns=list("abcdefghij"))
    aligner = HalfSharedMLPAligner(3, warm_start=True, max_epochs=1, views=[5, 5])
    aligner.fit(frame)
    with pytest.raises(ValueError, match="whose views, columns, "):
        aligner.fit(frame[list("bacdefghij")])


def test_warm_starts_and_partial_fits_of_lists():
    """Lists of numbers have no columns of their own to ask for."""
    X = np.hstack(two_views())
    mlp = HalfSharedMLPAligner(3, views=[4, 6], max_epochs=1, random_state=0)
    gcca = KernelGCCAAligner(views=[4, 6], n_landmarks=20, random_state=0)
    for aligner, fit in (
        (mlp.set_params(warm_start=True), "fit"),
        (gcca, "partial_fit"),
    ):
        outs = []
        for rows in (X, X.tolist()):
            fitted = clone(aligner)
            for _ in range(2):
                getattr(fitted, fit)(rows)
            outs.append(fitted.transform(rows))
        np.testing.assert_array_equal(*outs)
    with pytest.raises(ValueError, match="not what it was in the first call"):
        fitted.set_params(views=[6, 4]).partial_fit(X.tolist())


def test_partial_fits_refuse_other_views():
    X = np.hstack(two_views(widths=(5, 5)))
    aligner = KernelGCCAAligner(views=[5, 5], n_landmarks=20, random_state=0)
    aligner.partial_fit(X)
    aligner.set_params(views={"view0": range(5), "view1": range(5, 10)}).partial_fit(X)
    for other in (
        {"view1": 5, "view0": 5},
        {"view0": range(5, 10), "view1": range(5)},
        {"view0": [1, 0, 2, 3, 4], "view1": range(5, 10)},
    ):
        with pytest.raises(ValueError, match="not what it was in the first call"):
            aligner.set_params(views=other).partial_fit(X)


class Sampler(BaseEstimator):
    """A step that changes rows in a fit alone, and has no transform."""

    def fit_resample(self, X, y):
        return X[::2], y[::2]


class SamplingPipeline(Pipeline):
    """A pipeline as of imbalanced-learn, as far as scorers see it."""

    def _validate_steps(self):
        """Accept steps without transform."""


def test_scorers_and_displays_pass_samplers():
    X = np.hstack(two_views())
    aligner = KernelGCCAAligner(views=[4, 6], n_landmarks=20, random_state=0)
    scaler = StandardScaler().fit(X)
    Z = scaler.transform(X)
    aligner.fit(Z[::2])
    steps = [("sample", Sampler()), ("scale", scaler), ("none", None)]
    pipeline = SamplingPipeline([*steps, ("off", "passthrough"), ("align", aligner)])
    for scorer in (make_retrieval_scorer(), make_neighbor_scorer(0, 1, k=3)):
        assert scorer(pipeline, X) == scorer(aligner, Z)
    for display, shown in (
        (RetrievalDisplay, "accuracy"),
        (AffinityDisplay, "affinities"),
        (AgreementDisplay, "agreement"),
    ):
        ours, expected = (
            getattr(display.from_estimator(*args), shown)
            for args in ((pipeline, X), (aligner, Z))
        )
        np.testing.assert_array_equal(ours, expected)
    flow = PoissonUniformizer().fit(Z[:, :2])
    pipeline = SamplingPipeline([("sample", Sampler()), ("flow", flow)])
    np.testing.assert_array_equal(
        FlowDisplay.from_estimator(pipeline, Z[:, :2]).paths,
        FlowDisplay.from_estimator(flow, Z[:, :2]).paths,
    )


@pytest.mark.parametrize("batch_size", [0, -5, 2.5, "many", None])
@pytest.mark.parametrize("kind", ["rbf", "gcca", "poisson", "poisson denoiser"])
def test_a_batch_size_set_after_the_fit(kind, batch_size):
    """Zero had made transform run for ever."""
    X = np.hstack(two_views())[:, :6]
    estimator = clone(make(kind)).fit(X)
    with pytest.raises((ValueError, TypeError), match="batch_size"):
        estimator.set_params(batch_size=batch_size).transform(X)


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_steps", 0), ("n_steps", -1), ("n_steps", 2.5), ("n_steps", None)]
    + [("solver", None), ("solver", "rk5")],
)
@pytest.mark.parametrize("method", ["transform", "inverse_transform"])
def test_steps_and_solvers_set_after_the_fit(name, value, method):
    X = np.random.default_rng(0).random((60, 2))
    u = PoissonUniformizer().fit(X).set_params(**{name: value})
    with pytest.raises((ValueError, TypeError), match=name):
        getattr(u, method)(X)


@pytest.mark.parametrize("params", [{"finish": "rcca"}, {"init": "rcca"}])
def test_signs_of_components_do_not_depend_on_rounding(params):
    views = two_views(200)
    outs = []
    for dtype in (np.float32, np.float64):
        aligner = HalfSharedMLPAligner(
            3, views=[4, 6], max_epochs=2, random_state=0, **params
        )
        outs.append(aligner.fit_transform(np.hstack(views).astype(dtype)))
    for first, second in zip(*(out.T for out in outs), strict=True):
        assert np.corrcoef(first, second)[0, 1] > 0.97


def test_lists_of_batches_are_refused_with_the_way_out():
    X = np.hstack(two_views())
    batches = [X[:40], X[40:]]
    for kind in ("rbf", "mlp", "poisson", "poisson denoiser"):
        estimator = make(kind)
        for call in (clone(estimator).fit, clone(estimator).fit(X[:, :6]).transform):
            with pytest.raises(ValueError, match=r"np\.concatenate") as error:
                call(batches)
            assert "stack_views" not in str(error.value)
    aligner = RBFAutoScaleAligner(views=[4, 6], n_landmarks=20)
    with pytest.raises(ValueError, match=r"np\.concatenate.*stack_views"):
        aligner.fit(two_views())


FRAME = pd.DataFrame(np.hstack(two_views(widths=(2, 3))), columns=list("abcde"))
BY_NAME = {"first": ["a", "b"], "second": ["c", "d", "e"]}


def by_names():
    """Return an aligner whose views are columns of a DataFrame."""
    return RBFAutoScaleAligner(views=BY_NAME, n_landmarks=20, random_state=0).fit(FRAME)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_frames_with_other_names_are_not_split(library):
    frames = [FRAME, FRAME[list("cdeab")], FRAME.rename(columns=str.upper)]
    if library == "polars":
        frames = map(pytest.importorskip("polars").from_pandas, frames)
    if library == "pyarrow":
        frames = map(pytest.importorskip("pyarrow").Table.from_pandas, frames)
    right, *wrong = frames
    blocks = split_views(right, by_names())
    expected = split_views(FRAME.to_numpy(), by_names())
    for block, values in zip(blocks, expected, strict=True):
        assert type(block) is type(right)
        np.testing.assert_array_equal(np.asarray(block), values)
    for frame in wrong:
        with pytest.raises(ValueError, match="feature names should match"):
            split_views(frame, by_names())


@pytest.mark.parametrize("views", ["fitted", "unfitted", [2, 3], {"x": 2, "y": 3}])
def test_frames_with_another_index_are_not_stacked(views):
    if isinstance(views, str):
        aligner = RBFAutoScaleAligner(views=[2, 3], n_landmarks=20)
        views = aligner.fit(FRAME.to_numpy()) if views == "fitted" else aligner
    first, second = FRAME[["a", "b"]], FRAME[["c", "d", "e"]]
    stacked = stack_views([first, second], views)
    np.testing.assert_array_equal(stacked, FRAME.to_numpy())
    stacked = stack_views([first, second[::-1].to_numpy()], views)
    assert isinstance(stacked, np.ndarray)
    with pytest.raises(ValueError, match="The index of view"):
        stack_views([first, second[::-1]], views)


def test_a_frame_with_wrong_names_beside_an_array():
    blocks = [FRAME[["a", "b"]].rename(columns=str.upper), FRAME[["c", "d", "e"]]]
    with pytest.raises(ValueError, match="feature names of view 'first'"):
        stack_views([blocks[0], blocks[1].to_numpy()], by_names())


def test_tables_of_pyarrow_and_mixed_frames():
    pa, polars = pytest.importorskip("pyarrow"), pytest.importorskip("polars")
    table, aligner = pa.Table.from_pandas(FRAME), by_names()
    expected = aligner.transform(FRAME)
    np.testing.assert_array_equal(aligner.transform(table), expected)
    parts = split_views(table, aligner)
    stacked = stack_views(parts, aligner)
    assert isinstance(stacked, pa.Table) and stacked.column_names == list("abcde")
    np.testing.assert_array_equal(aligner.transform(stacked), expected)
    own = aligner.transform_view(parts[0], "first")
    np.testing.assert_array_equal(own, aligner.transform_view(FRAME[["a", "b"]], 0))
    mixed = [FRAME[["a", "b"]], polars.from_pandas(FRAME[["c", "d", "e"]])]
    for blocks in (mixed, mixed[::-1]):
        named = dict(zip(("first", "second"), mixed, strict=True))
        rows = stack_views(named if blocks is mixed else mixed, aligner)
        np.testing.assert_array_equal(rows, FRAME.to_numpy())


@pytest.mark.parametrize("dispatch", [False, True])
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64]
)
def test_tensors_as_targets_and_labels(dtype, dispatch, monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    X = torch.from_numpy(np.hstack(two_views(dtype=np.float32)))
    y = (4 * X[:, 0]).to(dtype)
    values = y.to(torch.float64).numpy()
    with config_context(array_api_dispatch=dispatch):
        for loss, given in (("mse", y), ("cross_entropy", y > 0)):
            params = {"loss": loss, "target": "y", "views": [4, 6], "max_epochs": 2}
            aligner = HalfSharedMLPAligner(3, random_state=0, **params)
            expected = values if loss == "mse" else values > 0
            losses = clone(aligner).fit(X.numpy(), expected).loss_curve_
            np.testing.assert_allclose(aligner.fit(X, given).loss_curve_, losses)
        flow = PoissonUniformizer().fit(X[:, :2])
        labels = (y > 0).to(dtype)
        FlowDisplay.from_estimator(flow, X[:, :2], labels)
        contrast = cluster_contrast(X, X, labels)
    assert contrast == cluster_contrast(X, X, values > 0)


SCRIPT = """
import multiprocessing, sys
import numpy as np, torch
from sklearn_featalign import RBFAutoScaleAligner

torch.set_num_threads(int(sys.argv[1]))
X = np.random.default_rng(0).normal(size=(3000, 60))
aligner = RBFAutoScaleAligner(n_landmarks=500, random_state=0).fit(X)

def work(queue):
    if sys.argv[2] == "one":
        torch.set_num_threads(1)
    try:
        queue.put(aligner.transform(X).shape)
    except RuntimeError as error:
        queue.put(str(error))

context = multiprocessing.get_context("fork")
queue = context.Queue()
process = context.Process(target=work, args=(queue,))
process.start()
print(queue.get(timeout=60))
process.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize(
    ("n_threads", "in_child", "said"),
    [(1, "", "(3000, 500)"), (2, "", "'spawn' or"), (2, "one", "(3000, 500)")],
)
def test_forked_processes_do_not_hang(n_threads, in_child, said):
    """Threads are missing after a fork, and waiting for them has no end."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, str(n_threads), in_child],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert said in done.stdout, done.stderr


ANYTHING = {
    "words": [f"{i}.png" for i in range(90)],
    "dates": pd.date_range("2020", periods=90),
    "infinity": np.full(90, np.inf),
    "nothing": [None] * 90,
    "categories": pd.Categorical(list("abc") * 30),
}


@pytest.mark.parametrize("kind", ANYTHING)
@pytest.mark.parametrize("name", ["rbf", "gcca", "mlp", "self-training"])
def test_columns_that_no_view_selects_may_hold_anything(kind, name):
    params = {"views": BY_NAME, "random_state": 0}
    gcca = KernelGCCAAligner(n_landmarks=20, **params)
    aligner = {
        "rbf": RBFAutoScaleAligner(n_landmarks=20, **params),
        "gcca": gcca,
        "mlp": HalfSharedMLPAligner(3, max_epochs=2, **params),
        "self-training": SelfTrainingAligner(gcca, random_state=0),
    }[name]
    expected = clone(aligner).fit(FRAME)
    for place in (0, 5):
        frame = FRAME.copy()
        frame.insert(place, "extra", ANYTHING[kind])
        fitted = clone(aligner).fit(frame)
        np.testing.assert_array_equal(
            fitted.transform(frame), expected.transform(FRAME)
        )
        assert fitted.n_features_in_ == 6
        if name == "gcca":
            assert fitted.score(frame) == expected.score(FRAME)
    with pytest.raises((ValueError, TypeError)):
        aligner.fit(frame.assign(a=ANYTHING["words"]))


@pytest.mark.parametrize("kind", ["object array", "array", "tensor", "polars"])
def test_unselected_columns_of_other_containers(kind):
    values = FRAME.to_numpy()
    wide = np.column_stack([values, np.full(90, np.inf)])
    rows = {
        "object array": np.column_stack([values.astype(object), ANYTHING["words"]]),
        "array": wide,
        "tensor": torch.from_numpy(wide),
    }.get(kind)
    if kind == "polars":
        polars = pytest.importorskip("polars")
        columns = {name: FRAME[name].to_numpy() for name in FRAME}
        rows = polars.DataFrame(columns | {"extra": ANYTHING["words"]})
    views = [[0, 1], [2, 3, 4]]
    aligner = RBFAutoScaleAligner(views=views, n_landmarks=20, random_state=0)
    expected = clone(aligner).fit_transform(values)
    np.testing.assert_array_equal(aligner.fit(rows).transform(rows), expected)


@pytest.mark.parametrize("shape", [(4, 3, 10, 10), (4, 10, 10, 2), (4, 1, 10, 10)])
def test_images_with_channels_first_are_refused(shape):
    X = np.hstack(two_views(100))
    aligner = RBFAutoScaleAligner(views=[4, 6], n_landmarks=20).fit(X)
    with pytest.raises(ValueError, match=r"1, 3 or 4 channels .* np\.moveaxis"):
        FeatureColorDisplay.from_estimator(
            aligner, X, (4, 5, 5), images=np.zeros(shape)
        )


def captions(n_images=40, per_image=5, seed=0):
    """Return rows of images, each as often as it has captions, and their numbers."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n_images, 4))
    numbers = np.arange(n_images * per_image) // per_image
    image = np.tanh(Z @ rng.normal(size=(4, 8)))[numbers]
    noise = 0.02 * rng.normal(size=(len(numbers), 4))
    text = np.tanh((Z[numbers] + noise) @ rng.normal(size=(4, 6)))
    return image, text, numbers


def test_the_score_of_several_captions_of_one_image():
    image, text, numbers = captions()
    X, rows = np.hstack([image, text]), slice(120, None)
    aligner = KernelGCCAAligner(views=[8, 6], n_landmarks=None).fit(X[:120])
    F = aligner.transform_view(image[rows], 0)
    G = aligner.transform_view(text[rows], 1)
    found = [numbers[rows][S.argmax(1)] for S in (F @ G.T, G @ F.T)]
    expected = np.mean([same == numbers[rows] for same in found])
    score = partial(aligner.score, groups=numbers[rows])
    assert score(X[rows]) == pytest.approx(expected)
    assert expected > 0.4
    scorer = make_retrieval_scorer()
    assert scorer(aligner, X[rows], groups=numbers[rows]) == score(X[rows])
    with pytest.warns(
        UserWarning, match="'view0' has only 16 different rows among 80.*groups="
    ):
        assert aligner.score(X[rows]) < 0.3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        aligner.score(X[rows][::5])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        score(X[rows][1:])


def test_groups_are_routed_to_the_score():
    image, text, numbers = captions()
    X = np.hstack([image, text])
    aligner = RBFAutoScaleAligner(views=[8, 6], n_landmarks=None, normalize="ridge")
    with config_context(enable_metadata_routing=True):
        aligner.set_score_request(groups=True)
        found = cross_validate(
            aligner,
            X,
            cv=GroupKFold(4),
            params={"groups": numbers},
            error_score="raise",
        )["test_score"]
    splits = GroupKFold(4).split(X, groups=numbers)
    expected = [
        clone(aligner).fit(X[train]).score(X[test], groups=numbers[test])
        for train, test in splits
    ]
    np.testing.assert_array_equal(found, expected)


def test_groups_of_rows_that_lack_a_view():
    image, text, numbers = captions()
    X = np.hstack([image, text])
    aligner = RBFAutoScaleAligner(views=[8, 6], n_landmarks=None).fit(X)
    lacking = X.copy()
    lacking[3:50, :8] = np.nan
    both = np.r_[:3, 50 : len(X)]
    assert aligner.score(lacking, groups=numbers) == aligner.score(
        X[both], groups=numbers[both]
    )


def test_neighbors_in_other_groups():
    image, text, numbers = captions(per_image=3)
    rng = np.random.default_rng(1)
    order = rng.permutation(len(text))
    A, B = text[order], np.tanh(2 * text[order] + 0.1 * rng.normal(size=text.shape))
    groups, k, n = numbers[order], 5, 12

    def nearest(X, count):
        X = X / np.linalg.norm(X, axis=1, keepdims=True)
        S = np.where(groups[:, None] == groups, -np.inf, X @ X.T)
        return [set(row[:count]) for row in np.argsort(-S, axis=1)]

    def share(count):
        pairs = zip(nearest(A, k), nearest(B, count), strict=True)
        return np.mean([len(a & b) / k for a, b in pairs])

    assert mutual_knn(A, B, k=k, groups=groups) == pytest.approx(share(k))
    recall = partial(neighbor_recall, A, A, B, B, k=k, groups=groups)
    assert recall(n=n, leave_own_out=True) == pytest.approx(share(n))
    with pytest.raises(ValueError, match="groups are for leave_own_out=True"):
        recall()
    with pytest.raises(ValueError, match="k must be an integer from 1 to 117"):
        mutual_knn(A, B, k=118, groups=groups)
    alone = np.arange(len(A))
    assert mutual_knn(A, B, k=k, groups=alone) == mutual_knn(A, B, k=k)


def test_the_curve_of_groups_and_its_chance():
    image, text, numbers = captions(n_images=12)
    rng = np.random.default_rng(2)
    keep = np.sort(rng.permutation(len(text))[:40])
    groups = numbers[keep]
    display = RetrievalDisplay.from_features(
        text[keep], text[keep], groups=groups, plot_chance_level=True
    )
    np.testing.assert_array_equal(display.accuracy, 1)
    # The mean over random features is what random orders find.
    draw = partial(RetrievalDisplay.from_features, groups=groups, ax=display.ax_)
    found = [draw(*rng.normal(size=(2, 40, 3))) for _ in range(300)]
    curves = np.array([one.accuracy for one in found])
    errors = curves.std(0) / len(curves) ** 0.5 + 1e-12
    assert (abs(curves.mean(0) - display.chance) < 5 * errors).all()


@pytest.mark.parametrize("aligned", [True, False])
def test_displays_name_the_view_that_rows_lack(aligned):
    A, B = two_views(n_samples=100)
    X = np.hstack([A, B])
    aligner = RBFAutoScaleAligner(views={"clip": 4, "dino": 6}, n_landmarks=30).fit(X)
    lacking = X.copy()
    lacking[:9, 4:] = np.nan
    message = "View 'dino' contains NaN or infinity: rows must have every view"
    for draw in (
        partial(AffinityDisplay.from_estimator, aligner, lacking),
        partial(FeatureColorDisplay.from_estimator, aligner, lacking, (4, 5, 5)),
        partial(
            FeatureColorDisplay.from_estimator,
            aligner,
            X,
            (4, 5, 5),
            axes_rows=lacking,
        ),
    ):
        with pytest.raises(ValueError, match=message):
            draw(aligned=aligned)
    display = FeatureColorDisplay.from_estimator(
        aligner, lacking, (4, 5, 5), aligned=aligned, mask=np.arange(100) >= 9
    )
    for colors in display.colors.values():
        missing = np.isnan(colors).reshape(100, 3)
        assert missing[:9].all()
        assert not missing[9:].any()


@pytest.mark.parametrize("function", [permutation_importance, partial_dependence])
def test_functions_that_change_single_columns_are_named(function):
    X = np.hstack(two_views())
    y = X[:, 0] > 0
    aligner = RBFAutoScaleAligner(
        views=[4, 6], output="coalesce", n_landmarks=20, random_state=0
    )
    pipeline = make_pipeline(aligner, LogisticRegression()).fit(X, y)
    last = [0] if function is partial_dependence else y
    function(pipeline, X, last)
    X[:30, :4] = np.nan
    with pytest.raises(ValueError, match=f"as .*{function.__name__}.* do, takes only"):
        function(pipeline, X, last)


def test_complex_blocks_are_refused():
    block = torch.ones(5, 2, dtype=torch.complex64)
    for blocks in ([block, None], [torch.ones(5, 2), block], [None, block.numpy()]):
        with pytest.raises(ValueError, match="Complex data not supported"):
            stack_views(blocks, [2, 2])
    with pytest.raises(TypeError, match="Sparse data was passed for a block"):
        stack_views([torch.ones(5, 2).to_sparse(), None], [2, 2])


@pytest.mark.parametrize(
    "views",
    [
        {"clip": make_column_selector("^c"), "dino": make_column_selector("^d")},
        [torch.tensor([0, 2]), torch.tensor([1, 3])],
        [torch.tensor([1, 0, 1, 0]) > 0, torch.tensor([0, 1, 0, 1]) > 0],
    ],
    ids=["callable", "tensor", "mask"],
)
@pytest.mark.parametrize("kind", ["rbf", "self-training"])
def test_selectors_of_columns(kind, views):
    X = pd.DataFrame(np.hstack(two_views(widths=(2, 2)))[:, [0, 2, 1, 3]])
    X.columns = ["c0", "d0", "c1", "d1"]
    aligner = KernelGCCAAligner(views=views, n_landmarks=20, random_state=0)
    if kind == "self-training":
        aligner = SelfTrainingAligner(aligner, random_state=0)
    aligner.fit(X)
    columns = [indices.tolist() for indices in aligner.view_columns_.values()]
    assert columns == [[0, 2], [1, 3]]
    assert clone(aligner).fit(X).score(X) == aligner.score(X)


@pytest.mark.parametrize(
    "selector",
    [{0, 1}, (i for i in (0, 1)), [0.0, 1.0], None, torch.tensor(2), np.array(2)],
    ids=["set", "generator", "floats", "none", "tensor", "array"],
)
def test_other_selectors_are_refused_by_the_name_of_the_view(selector):
    X = np.hstack(two_views(widths=(2, 2)))
    with pytest.raises(ValueError, match="^View 'clip': "):
        RBFAutoScaleAligner(views={"dino": [2, 3], "clip": selector}).fit(X)


@pytest.mark.parametrize("estimator", [PoissonUniformizer(), PoissonDenoiser()])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_of_rows_as_far_away_as_numbers_go(estimator, dtype):
    A, _ = two_views(widths=(2, 2))
    flow = clone(estimator).fit(A.astype(dtype))
    largest = np.finfo(dtype).max
    sizes = [10.0**k for k in range(3, int(np.log10(largest)), 5)]
    rows = np.array([[size, -size] for size in sizes], dtype)
    expected = -(2**0.5) * rows[:, 0]
    np.testing.assert_allclose(flow.score_samples(rows), expected, rtol=1e-2)
    np.testing.assert_allclose(
        flow.score_samples(rows[3:]), expected[3:], rtol=4 * np.finfo(dtype).eps
    )
    ends = np.array([[largest, largest], [-largest, largest]], dtype)
    np.testing.assert_array_equal(flow.score_samples(ends), -largest)


def test_moments_of_another_aligner_are_refused():
    A, B = two_views(widths=(5, 5))

    def first(views, **params):
        aligner = KernelGCCAAligner(
            views=views, n_landmarks=20, random_state=0, **params
        )
        blocks = {"a": A, "b": B}
        X = np.hstack([blocks[name] for name in views])
        return aligner.partial_fit(X[:60]), X[60:]

    aligner, rest = first({"a": 5, "b": 5})
    for other, rows in (first({"b": 5, "a": 5}), first({"a": 5, "b": 5}, c=0.5)):
        with pytest.raises(ValueError, match="moments are of another aligner"):
            aligner.add_moments(other.compute_moments(rows))
    same, _ = first({"a": 5, "b": 5})
    copy = pickle.loads(pickle.dumps(same))
    aligner.add_moments(copy.compute_moments(rest))
    np.testing.assert_allclose(
        aligner.transform(rest), same.partial_fit(rest).transform(rest), atol=1e-10
    )


def test_the_order_of_views_of_a_scorer_is_hashed():
    hashes = {
        joblib.hash(make_view_scorer("a", views=views))
        for views in ({"a": 4, "b": 6}, {"b": 6, "a": 4})
    }
    assert len(hashes) == 2


def test_neighbors_do_not_depend_on_the_default_dtype():
    A, B = two_views()
    expected = mutual_knn(A, B, k=7)
    torch.set_default_dtype(torch.bfloat16)
    try:
        assert mutual_knn(A, B, k=7) == expected
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", FITTED_IN_CONTEXTS)
def test_a_single_row_of_a_reversed_array(name):
    """numpy calls it contiguous, with strides that torch does not take."""
    X = np.hstack(two_views())
    if name in ("uniformizer", "network"):
        X = X[:, :3]
    fitted = clone(FITTED_IN_CONTEXTS[name]).fit(X)
    row = X[:1]
    assert row[::-1].flags.c_contiguous
    assert row[::-1].strides[0] < 0
    np.testing.assert_array_equal(
        fitted.transform(row[::-1]), fitted.transform(row.copy())
    )


def test_repeated_rows_flow_alike_in_batches_of_any_size():
    """Their numbers differ in the last digit, and the ranks of these did by a lot."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(8, 5))[rng.integers(0, 8, 40)]
    outputs = [
        PoissonUniformizer(n_steps=6, batch_size=batch_size).fit(X).transform(rows)
        for batch_size in (1, 3, 7, "auto")
        for rows in (X, np.asfortranarray(X))
    ]
    for output in outputs:
        np.testing.assert_allclose(output, outputs[0], atol=1e-6)


@pytest.mark.parametrize("n_equal", [1, 5, 50])
def test_a_field_is_learned_of_two_different_values(n_equal):
    X = np.r_[np.zeros((n_equal, 1)), [[1.0]]]
    flow = PoissonUniformizer(field=PoissonField(max_epochs=2), random_state=0)
    output = flow.fit(X).transform(X)
    assert output.min() >= 0
    assert output.max() <= 1

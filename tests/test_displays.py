"""Displays: what they compute, against other computations, and what they draw."""

import sys
from copy import copy
from functools import partial
from itertools import combinations, permutations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from _samples import blobs
from matplotlib.colors import Normalize, to_hex
from scipy.stats import norm
from sklearn import config_context
from sklearn.datasets import make_moons
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_featalign import (
    HalfSharedMLPAligner,
    KernelGCCAAligner,
    PoissonDenoiser,
    PoissonUniformizer,
    RBFAutoScaleAligner,
)
from sklearn_featalign.displays import (
    AffinityDisplay,
    AgreementDisplay,
    FeatureColorDisplay,
    FlowDisplay,
    RetrievalDisplay,
    feature_colors,
)
from sklearn_featalign.metrics import linear_cka, mutual_knn, retrieval_accuracy

GRID = (2, 5, 6)


@pytest.fixture(autouse=True)
def no_window():
    previous = plt.get_backend()
    plt.switch_backend("agg")
    # Tests of other files may have left some open.
    plt.close("all")
    yield
    plt.close("all")
    plt.switch_backend(previous)


def two_views(n_samples=120, widths=(4, 7), seed=0):
    """Return rows of two views, linear images of the same blobs."""
    Z = blobs(seed, n_samples)
    rng = np.random.default_rng(99)
    return np.hstack([Z @ rng.normal(size=(4, width)) for width in widths])


def fitted(widths=(4, 7), **params):
    aligner = RBFAutoScaleAligner(
        views={"a": widths[0], "b": widths[1]}, n_landmarks=60, random_state=0
    )
    return aligner.set_params(**params).fit(two_views(widths=widths))


def displays(given=False):
    """Return one of each display, and the axes that it was given, or None."""
    X, y = two_views(60, seed=1), np.arange(60) % 3
    moons, _ = make_moons(60, noise=0.1, random_state=0)
    aligner, uniformizer = fitted(), PoissonUniformizer().fit(moons)
    axes = [plt.subplots()[1] if given else None for _ in range(5)]
    made = [
        AffinityDisplay.from_estimator(aligner, X, y, ax=axes[0]),
        RetrievalDisplay.from_estimator(aligner, X, ax=axes[1]),
        FeatureColorDisplay.from_estimator(aligner, X, GRID, ax=axes[2]),
        FlowDisplay.from_estimator(uniformizer, moons, ax=axes[3]),
        AgreementDisplay.from_estimator(aligner, X, ax=axes[4]),
    ]
    return list(zip(made, axes, strict=True))


def test_displays_are_those_of_scikit_learn():
    for display, ax in displays(given=True):
        assert display.ax_ is ax and display.figure_ is ax.figure
        _, other = plt.subplots()
        assert display.plot(ax=other) is display and display.ax_ is other
    assert len({display.figure_ for display, _ in displays()}) == 5


def test_all_that_is_drawn_stays_in_the_figure():
    for display, _ in displays():
        renderer = display.figure_.canvas.get_renderer()
        display.figure_.canvas.draw()
        box = display.figure_.get_tightbbox(renderer)
        width, height = display.figure_.get_size_inches()
        assert box.x0 > -0.02 and box.y0 > -0.02
        assert box.x1 < width + 0.02 and box.y1 < height + 0.02


@pytest.mark.parametrize("name", ["plot", "from_features", "from_estimator"])
def test_without_matplotlib_there_is_a_hint(name, monkeypatch):
    X = two_views(widths=(4, 4))
    display = AffinityDisplay.from_features([X[:, :4], X[:, 4:]])
    calls = {
        "plot": display.plot,
        "from_features": lambda: AffinityDisplay.from_features([X]),
        "from_estimator": lambda: FlowDisplay.from_estimator(PoissonUniformizer(), X),
    }
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=rf"{name} needs matplotlib: pip install"):
        calls[name]()


def test_the_import_brings_no_matplotlib(imports):
    assert "sklearn_featalign.displays" in imports["displays"]
    assert "matplotlib" not in imports["displays"]


def exact_affinities(features, gamma):
    stacked = np.vstack(features)
    return rbf_kernel(stacked, gamma=1 / (2 * gamma * stacked.var(0, ddof=1).sum()))


@pytest.mark.parametrize("gamma", [1.0, 0.2])
def test_affinities_are_the_documents_in_the_order_of_labels(gamma):
    aligner, X = fitted(), two_views(30, seed=1)
    y = np.array(list("cab"))[np.random.default_rng(0).integers(3, size=30)]
    display = AffinityDisplay.from_estimator(aligner, X, y, gamma=gamma)
    order = sorted(range(30), key=lambda i: (y[i], i))
    blocks = [X[order][:, :4], X[order][:, 4:]]
    features = [aligner.transform_view(F, v) for F, v in zip(blocks, "ab", strict=True)]
    np.testing.assert_allclose(
        display.affinities, exact_affinities(features, gamma), atol=1e-9
    )
    assert display.labels.tolist() == sorted(y) and display.view_names == ["a", "b"]
    np.testing.assert_array_equal(display.im_.get_array(), display.affinities)
    ticks = [tick.get_text() for tick in display.ax_.get_xticklabels(minor=True)]
    assert ticks == 2 * ["a", "b", "c"]


def test_views_of_different_widths_have_no_affinities_as_they_came():
    X = two_views(30, seed=1)
    display = AffinityDisplay.from_estimator(fitted(), X, aligned=False)
    A = display.affinities
    assert np.isnan(A[:30, 30:]).all() and np.isnan(A[30:, :30]).all()
    for rows, F in ((slice(30), X[:, :4]), (slice(30, None), X[:, 4:])):
        np.testing.assert_allclose(A[rows, rows], exact_affinities([F], 1), atol=1e-9)


def test_views_of_one_width_have_affinities_as_they_came():
    X = two_views(30, widths=(4, 4), seed=1)
    features = [X[:, :4], X[:, 4:]]
    display = AffinityDisplay.from_estimator(fitted((4, 4)), X, aligned=False)
    np.testing.assert_allclose(
        display.affinities, exact_affinities(features, 1), atol=1e-9
    )


def test_of_many_rows_some_are_shown_the_same_in_each_view():
    F = blobs(n_samples=300)
    display = AffinityDisplay.from_features({"a": F, "b": F}, max_rows=50)
    A = display.affinities
    assert A.shape == (100, 100)
    np.testing.assert_allclose(np.diag(A[:50, 50:]), 1)
    other = AffinityDisplay.from_features([F, F], max_rows=50, random_state=1)
    assert not np.allclose(A, other.affinities)


@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_the_curve_is_the_retrieval_accuracy_at_each_k(metric):
    rng = np.random.default_rng(0)
    F = rng.normal(size=(150, 5))
    G = F + rng.normal(size=F.shape)
    display = RetrievalDisplay.from_features(F, G, metric=metric, name="some")
    assert display.k.tolist() == list(range(1, 101))
    expected = [retrieval_accuracy(F, G, k=k, metric=metric) for k in range(1, 101)]
    np.testing.assert_allclose(display.accuracy, expected)
    np.testing.assert_allclose(display.chance, np.arange(1, 101) / 150)
    np.testing.assert_array_equal(display.line_.get_ydata(), display.accuracy)


@pytest.mark.parametrize("aligner", [RBFAutoScaleAligner(), KernelGCCAAligner()])
def test_the_curve_of_an_aligner_begins_at_its_score(aligner):
    X = np.hstack([two_views(80), blobs(3, 80)])
    aligner.set_params(views=[4, 7, 4], n_landmarks=40, random_state=0).fit(X[:60])
    pipeline = make_pipeline(StandardScaler(), aligner).fit(X[:60])
    display = RetrievalDisplay.from_estimator(pipeline, X[60:], max_k=5)
    assert display.accuracy[0] == pytest.approx(pipeline.score(X[60:]))
    assert display.k.tolist() == [1, 2, 3, 4, 5]
    assert display.name == type(aligner).__name__
    display = RetrievalDisplay.from_estimator(pipeline, X[60:])
    assert display.accuracy[-1] == display.chance[-1] == 1


def test_curves_share_axes_and_differ():
    F, G = blobs(), blobs(1)
    display = RetrievalDisplay.from_features(F, G, name="0", plot_chance_level=True)
    for name in "1234":
        display = RetrievalDisplay.from_features(F, G, name=name, ax=display.ax_)
    lines = display.ax_.get_lines()
    styles = {(to_hex(line.get_color()), line.get_linestyle()) for line in lines}
    assert len(lines) == len(styles) == 6
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["0", "chance", "1", "2", "3", "4"]


@pytest.mark.parametrize("output", ["cube", "normal", "flow"])
def test_rows_flow_to_the_square(output):
    X, y = make_moons(80, noise=0.1, random_state=0)
    uniformizer = PoissonUniformizer(
        output=output, scaling="whiten", n_charges=None, n_steps=48
    )
    uniformizer.fit(X[:60])
    display = FlowDisplay.from_estimator(uniformizer, X, y, n_points=9, n_lines=3)
    assert display.paths.shape == (80, 9, 2) and display.lines.shape == (9, 9, 2)
    assert uniformizer.output == output
    ends = uniformizer.set_params(output="cube").transform(X)
    np.testing.assert_allclose(display.paths[:, -1], ends, atol=1e-4)
    # A path begins in the direction of the row, at the normal length of the probability
    # that the row's length has on a hemisphere as high as the size of the data.
    Z = X - X[:60].mean(0)
    Z = Z @ inverse_root(np.cov(X[:60].T, ddof=0))
    # This is the tail of the F(2, 1) distribution.
    tail = 1 / np.sqrt(1 + (Z**2).sum(1) / 2)
    length = np.sqrt(-2 * np.log(tail))
    expected = norm.cdf(Z * (length / np.linalg.norm(Z, axis=1))[:, None])
    np.testing.assert_allclose(display.paths[:, 0], expected, atol=2e-3)
    assert (np.abs(np.diff(display.paths, axis=1)).max(1) > 1e-3).all()


def inverse_root(C):
    """Return what whitens columns and stays nearest to them."""
    scales = np.sqrt(np.diag(C))
    values, vectors = np.linalg.eigh(C / np.outer(scales, scales))
    return np.diag(1 / scales) @ (vectors / np.sqrt(values)) @ vectors.T


@pytest.mark.parametrize("n_charges", [None, 30])
def test_rows_are_denoised_in_their_own_units(n_charges):
    X, _ = make_moons(80, noise=0.1, random_state=0)
    params = {"n_steps": 48, "n_charges": n_charges, "random_state": 0}
    denoiser = PoissonDenoiser(**params).fit(X)
    display = FlowDisplay.from_estimator(denoiser, X, n_points=5)
    np.testing.assert_allclose(display.paths[:, 0], X, atol=1e-12)
    np.testing.assert_allclose(display.paths[:, -1], denoiser.transform(X), atol=1e-6)


def test_places_on_the_way_are_where_a_shorter_flow_ends():
    X, _ = make_moons(80, noise=0.1, random_state=0)
    denoiser = PoissonDenoiser(n_steps=48).fit(X)
    paths = denoiser._paths(X, 5)
    size = denoiser._size * 2**0.5
    start, end = (
        -np.arcsinh(size / height)
        for height in (denoiser.start_height_, denoiser.end_height_)
    )
    for i, t in enumerate(np.linspace(start, end, 5)[1:-1], start=1):
        shorter = copy(denoiser)
        shorter.end_height_ = float(size / np.sinh(-t))
        np.testing.assert_allclose(paths[:, i], shorter.transform(X), atol=1e-6)


def test_a_flow_of_named_columns_in_a_pipeline():
    X, y = make_moons(40, noise=0.1, random_state=0)
    frame = pd.DataFrame(X, columns=["left", "right"])
    display = FlowDisplay.from_estimator(PoissonUniformizer().fit(frame), frame, y)
    assert display.ax_.get_xlabel() == "left"
    scaled = make_pipeline(StandardScaler(), PoissonUniformizer()).fit(X)
    again = FlowDisplay.from_estimator(scaled, X, y, max_rows=30, n_lines=0)
    assert again.paths.shape[0] == 30 and len(again.lines) == 0
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["start", "0", "1"]


def test_ten_labels_have_ten_marks():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 2)), np.arange(50) % 10
    display = FlowDisplay.from_estimator(PoissonUniformizer().fit(X), X, y, n_lines=1)
    marks = {
        (to_hex(dots.get_facecolor()[0]), dots.get_paths()[0].vertices.tobytes())
        for dots in display.ax_.collections[2:]
    }
    assert len(marks) == 10


def cross_axes(first, second):
    """Return the axes of two views, the widest singular directions of one another."""
    center = (first.mean(0) + second.mean(0)) / 2
    products = (first - center).T @ (second - center)
    values, vectors = np.linalg.eig(products + products.T)
    return center, vectors[:, np.argsort(-values)[:3]]


def test_colors_are_ranks_along_the_axes_that_views_share():
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=(40, 5)) * [9, 5, 3, 1, 1] for _ in range(2)]
    fit_rows = [rng.normal(size=(60, 5)) * [9, 5, 3, 1, 1] + 4 for _ in range(2)]
    fit_rows[1] += fit_rows[0]
    mask = np.arange(40) % 3 > 0
    colors = feature_colors(rows, fit_rows, mask=mask)
    center, axes = cross_axes(*fit_rows)
    values = [(F[mask] - center) @ axes for F in rows]
    stacked = np.vstack(values)
    for C, V in zip(colors.values(), values, strict=True):
        assert np.isnan(C[~mask]).all()
        below = (V[:, None] > stacked).sum(1) + 0.5
        ranks = below / len(stacked)
        # The sign of an axis is arbitrary.
        same, turned = (np.abs(C[mask] - R).max(0) for R in (ranks, 1 - ranks))
        assert np.minimum(same, turned).max() < 1e-9


def test_colors_of_one_view_are_its_principal_axes():
    rows, fit_rows = blobs(), blobs(1)
    center = fit_rows.mean(0)
    _, _, axes = np.linalg.svd(fit_rows - center)
    (C,) = feature_colors([rows], [fit_rows]).values()
    order = np.argsort((rows - center) @ axes[:3].T, axis=0)
    for channel, ascending in zip(C.T, order.T, strict=True):
        found = np.argsort(channel)
        assert (found == ascending).all() or (found == ascending[::-1]).all()


def test_agreement_is_that_of_pairs_to_random_pairs():
    X = two_views(60, seed=1)
    display = FeatureColorDisplay.from_estimator(fitted(normalize="ridge"), X, GRID)
    a, b = (C.reshape(-1, 3) for C in display.colors.values())
    pairs = ((a - b) ** 2).sum(1).mean()
    random = np.mean([((x - b) ** 2).sum(1).mean() for x in a])
    assert display.agreement == pytest.approx(1 - pairs / random)
    assert f"{display.agreement:.2f}" in display.ax_.get_title()


def test_alignment_makes_colors_agree():
    # These are other rows of the same clusters.
    X, aligner = two_views(60), fitted(normalize="ridge")
    before = FeatureColorDisplay.from_estimator(aligner, X, GRID, aligned=False)
    after = FeatureColorDisplay.from_estimator(aligner, X, GRID)
    assert after.agreement > max(0.85, before.agreement + 0.1)
    X[:, 4:] = np.random.default_rng(0).permutation(X[:, 4:])
    none = FeatureColorDisplay.from_estimator(aligner, X, GRID)
    assert abs(none.agreement) < 0.3


def test_axes_are_fitted_on_the_landmarks_unless_other_rows_are_given():
    X, aligner = two_views(60, seed=1), fitted(normalize="ridge")
    by_default = FeatureColorDisplay.from_estimator(aligner, X, GRID)
    for rows, equal in ((aligner.landmarks_, True), (two_views(40, seed=5), False)):
        given = FeatureColorDisplay.from_estimator(aligner, X, GRID, axes_rows=rows)
        assert (given.agreement == by_default.agreement) == equal
    trained = HalfSharedMLPAligner(views=[4, 7], max_epochs=2, random_state=0)
    trained.fit(two_views())
    with pytest.raises(ValueError, match="has no landmarks to fit axes on"):
        FeatureColorDisplay.from_estimator(trained, X, GRID)
    FeatureColorDisplay.from_estimator(trained, X, GRID, axes_rows=two_views())


def test_images_stand_above_the_views():
    X, images = two_views(60, seed=1), np.zeros((2, 20, 24, 3))
    mask = np.ones(GRID, dtype=bool)
    mask[:, 0] = False
    display = FeatureColorDisplay.from_estimator(
        fitted(), X, GRID, mask=mask, images=images, title="after"
    )
    assert [t.get_text() for t in display.ax_.get_yticklabels()] == ["image", "a", "b"]
    assert len(display.ax_.images) == 6
    assert display.ax_.get_title().startswith("after, agreement ")
    tile = display.ax_.images[2].get_array()
    # The background is transparent.
    assert (tile[0, :, 3] == 0).all() and (tile[1:, :, 3] == 1).all()
    assert (display.plot(max_images=1).ax_.get_xlim()[1]) < 1.1


def test_agreement_is_that_of_each_ordered_pair():
    widths = (4, 7, 9)
    X = two_views(140, widths) + np.random.default_rng(0).normal(size=(140, 20))
    views = dict(zip("abc", widths, strict=True))
    aligner = KernelGCCAAligner(views=views, n_landmarks=None).fit(X[:60])
    X = X[60:]
    # Ten rows lack the second view.
    X[:10, 4:11] = np.nan
    display = AgreementDisplay.from_estimator(aligner, X)
    blocks = dict(zip("abc", np.split(X, [4, 11], axis=1), strict=True))
    F = {
        name: aligner.transform_view(block[10:], name) for name, block in blocks.items()
    }
    F_all = {name: aligner.transform_view(blocks[name], name) for name in "ac"}
    expected = np.full((3, 3), np.nan)
    for (i, u), (j, v) in permutations(enumerate("abc"), 2):
        features = F if "b" in (u, v) else F_all
        expected[i, j] = retrieval_accuracy(features[u], features[v], metric="dot")
    np.testing.assert_array_equal(display.agreement, expected)
    assert display.agreement[0, 2] != display.agreement[2, 0]
    # The score is the mean over the pairs, of which each has its own rows.
    assert np.isclose(np.nanmean(display.agreement), aligner.score(X))
    assert display.view_names == list("abc")
    assert display.measure_name == "retrieval accuracy"


def test_agreement_before_alignment():
    X = two_views(60, seed=1)
    aligner = fitted()
    before = AgreementDisplay.from_estimator(aligner, X, aligned=False)
    # Views of 4 and of 7 columns are not searched with one another.
    assert np.isnan(before.agreement).all() and before.text_.tolist() == 2 * [
        [None] * 2
    ]
    options = {"measure": "cka", "aligned": False}
    before = AgreementDisplay.from_estimator(aligner, X, **options)
    cka = linear_cka(X[:, :4], X[:, 4:])
    np.testing.assert_allclose(before.agreement, [[np.nan, cka], [cka, np.nan]])
    assert before.measure_name == "linear CKA"
    assert before.text_[0, 1].get_text() == f"{cka:.2f}"
    before = AgreementDisplay.from_features([X[:, :4], X[:, 4:]], measure=mutual_knn)
    assert before.agreement[0, 1] == mutual_knn(X[:, :4], X[:, 4:])
    assert before.measure_name == "mutual_knn"


def test_agreement_of_rows_in_another_order_of_columns():
    X = pd.DataFrame(two_views(60, seed=1), columns=list("abcdefghijk"))
    views = {"first": list("abcd"), "second": list("efghijk")}
    aligner = RBFAutoScaleAligner(views=views, n_landmarks=None).fit(X)
    call = partial(AgreementDisplay.from_estimator, aligner, aligned=False)
    with pytest.raises(ValueError, match="feature names should match"):
        call(X[X.columns[::-1]], measure="cka")
    plain, nullable = (call(Z, measure="cka") for Z in (X, X.convert_dtypes()))
    np.testing.assert_array_equal(plain.agreement, nullable.agreement)


def test_agreement_needs_two_rows_of_both_views():
    A, B = blobs(0), blobs(1)
    A[1:60], B[60:] = np.nan, np.nan
    for measure in ("retrieval", "cka"):
        display = AgreementDisplay.from_features([A, B], measure=measure)
        assert np.isnan(display.agreement).all()


def test_values_of_agreement_are_legible():
    agreement = np.array([[np.nan, 0.02], [0.98, np.nan]])
    display = AgreementDisplay(agreement=agreement, view_names=["a", "b"])
    display.plot(values_format=".0%", text_kw={"fontsize": 5})
    assert display.text_[0, 1].get_text() == "2%"
    assert display.text_[0, 1].get_color() == "white"
    assert display.text_[1, 0].get_color() == "black"
    assert display.text_[1, 0].get_fontsize() == 5
    # Aliases and norms of matplotlib.
    display.plot(text_kw={"size": 6}, im_kw={"norm": Normalize(0, 2)})
    assert display.text_[1, 0].get_fontsize() == 6 and display.im_.get_clim() == (0, 2)
    display.plot(include_values=False, colorbar=False)
    assert display.text_ is None and len(display.figure_.axes) == 1
    display = AgreementDisplay.from_features(2 * [blobs()])
    assert display.ax_.get_ylabel() == "searched with"


def test_tensors_are_drawn_as_arrays_are():
    X = two_views(60, seed=1)
    aligner = fitted(normalize="ridge")
    tensor = torch.tensor(X, device="cpu")
    for make in (
        lambda X: AffinityDisplay.from_estimator(aligner, X).affinities,
        lambda X: RetrievalDisplay.from_estimator(aligner, X).accuracy,
        lambda X: AgreementDisplay.from_estimator(aligner, X).agreement,
        lambda X: FeatureColorDisplay.from_estimator(aligner, X, GRID).agreement,
        lambda X: feature_colors([X, X], [X, X])["view0"],
    ):
        np.testing.assert_allclose(make(tensor), make(X))


@pytest.mark.parametrize(
    "call, error, match",
    [
        (
            lambda: AffinityDisplay.from_features([blobs(), blobs()[:9]]),
            ValueError,
            "inconsistent numbers of samples",
        ),
        (
            lambda: AffinityDisplay.from_features(blobs()),
            ValueError,
            "two-dimensional, but view 'view0' has the shape",
        ),
        (
            lambda: AffinityDisplay.from_estimator(PoissonUniformizer(), blobs()),
            TypeError,
            "aligner with views is needed, got PoissonUniformizer",
        ),
        (
            lambda: AgreementDisplay.from_features([blobs()]),
            ValueError,
            "At least two views are needed, got 1",
        ),
        (
            lambda: AgreementDisplay.from_features(2 * [blobs()], measure="knn"),
            ValueError,
            "'retrieval', 'cka' or a callable, got 'knn'",
        ),
        (
            lambda: AgreementDisplay.from_estimator(StandardScaler(), blobs()),
            TypeError,
            "aligner with views is needed, got StandardScaler",
        ),
        (
            lambda: RetrievalDisplay.from_estimator(StandardScaler(), blobs()),
            TypeError,
            "two views or more, got StandardScaler",
        ),
        (
            lambda: FlowDisplay.from_estimator(StandardScaler(), blobs()),
            TypeError,
            "needs a PoissonUniformizer or PoissonDenoiser, got StandardScaler",
        ),
        (
            lambda: FlowDisplay.from_estimator(
                PoissonUniformizer().fit(blobs()), blobs()
            ),
            ValueError,
            "two columns, but this PoissonUniformizer has 4",
        ),
        (
            lambda: FlowDisplay.from_estimator(
                PoissonUniformizer.from_document(field__max_epochs=1).fit(
                    blobs()[:, :2]
                ),
                blobs()[:, :2],
            ),
            ValueError,
            "do not share their heights",
        ),
        (
            lambda: FeatureColorDisplay.from_features([blobs()], (1, 2, 3), [blobs()]),
            ValueError,
            "has 120 rows, and 1 images of 2 x 3 patches have 6",
        ),
        (
            lambda: AffinityDisplay.from_features([]),
            ValueError,
            "There is no view",
        ),
        (
            lambda: RetrievalDisplay.from_features(blobs(), blobs(), max_k=0),
            ValueError,
            "max_k must be at least 1",
        ),
        (
            lambda: FlowDisplay.from_estimator(
                PoissonUniformizer().fit(blobs()[:, :2]), blobs()[:, :2], n_points=1
            ),
            ValueError,
            "n_points must be at least 2",
        ),
        (
            lambda: FeatureColorDisplay.from_features([blobs()], (10, 12), [blobs()]),
            ValueError,
            "grid is the number of images, and the rows and columns",
        ),
        (
            lambda: FeatureColorDisplay.from_features(
                [blobs()], (2, 6, 10), [blobs()], images=np.zeros((3, 5, 5))
            ),
            ValueError,
            "of 2 images, got",
        ),
        (
            lambda: feature_colors([blobs()[:, :2]], [blobs()[:, :2]]),
            ValueError,
            "120 rows to fit them on and 2 columns",
        ),
        (
            lambda: feature_colors([blobs()], [blobs()[:2]]),
            ValueError,
            "2 rows to fit them on and 4 columns",
        ),
        (
            lambda: feature_colors([blobs()], [blobs()[:, 1:]]),
            ValueError,
            "View 'view0' has 4 features, and 3 in the rows",
        ),
        (
            lambda: feature_colors([blobs(), np.full((120, 4), np.nan)], 2 * [blobs()]),
            ValueError,
            "View 'view1' contains NaN",
        ),
        (
            lambda: feature_colors([blobs()], [blobs()], mask=np.zeros(120)),
            ValueError,
            "No row is shown",
        ),
        (
            lambda: feature_colors([blobs(), blobs()], [blobs()]),
            ValueError,
            "axes_features has 1 views, and features has 2",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_a_view_may_be_called_image():
    colors = {
        name: np.random.default_rng(0).random((1, 5, 6, 3))
        for name in ("image", "text")
    }
    display = FeatureColorDisplay(colors=colors, images=np.zeros((1, 5, 6))).plot()
    assert len(display.ax_.images) == 3


def test_three_views_agree_by_pairs():
    rng = np.random.default_rng(0)
    colors = {name: rng.random((1, 5, 6, 3)) for name in "abc"}
    colors["b"] = colors["a"]
    display = FeatureColorDisplay(colors=colors)
    pairs = [
        FeatureColorDisplay(colors={k: colors[k] for k in pair}).agreement
        for pair in combinations("abc", 2)
    ]
    assert display.agreement == pytest.approx(np.mean(pairs))
    assert pairs[0] == 1


def test_views_are_matched_by_name():
    rng = np.random.default_rng(0)
    views = {"a": rng.normal(size=(40, 4)), "b": rng.normal(size=(40, 7))}
    turned = {name: views[name] for name in ("b", "a")}
    expected = feature_colors(views, views)
    for name, C in feature_colors(views, turned).items():
        np.testing.assert_array_equal(C, expected[name])


def test_a_mask_of_numbers_is_one_of_truths():
    mask = np.arange(120) % 2
    F = blobs()
    F[mask == 0] = np.nan
    (C,) = feature_colors([F], [blobs()], mask=mask).values()
    np.testing.assert_array_equal(np.isnan(C).any(1), mask == 0)


def test_scale_does_not_matter_before_alignment():
    X = two_views(60, widths=(4, 4))
    aligner = fitted((4, 4))
    expected = FeatureColorDisplay.from_estimator(aligner, X, GRID, aligned=False)
    Y = X * np.repeat([1, 1e4], 4)
    aligner.fit(two_views(widths=(4, 4)) * np.repeat([1, 1e4], 4))
    display = FeatureColorDisplay.from_estimator(aligner, Y, GRID, aligned=False)
    assert display.agreement == pytest.approx(expected.agreement)


def test_a_longer_curve_is_not_cut_by_a_shorter_one():
    display = RetrievalDisplay.from_features(blobs(), blobs(), plot_chance_level=True)
    display = RetrievalDisplay.from_features(
        blobs(), blobs(), max_k=5, ax=display.ax_, plot_chance_level=True
    )
    assert display.ax_.get_xlim() == (1, 100)
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["chance"]


def test_styles_are_given_by_any_of_their_names():
    display = RetrievalDisplay.from_features(blobs(), blobs(), c="red", ls=":", lw=3)
    line = display.line_
    assert (line.get_color(), line.get_linestyle()) == ("red", ":")
    moons, y = make_moons(40, noise=0.1, random_state=0)
    flow = FlowDisplay.from_estimator(PoissonUniformizer().fit(moons), moons, y)
    flow.plot(start_kw={"c": "red"}, end_kw={"color": "blue"}, line_kw={"colors": "k"})
    colors = [to_hex(c.get_facecolor()[0]) for c in flow.ax_.collections[1:]]
    assert colors == ["#ff0000", "#0000ff", "#0000ff"]


def test_a_global_output_of_pandas_changes_nothing():
    X, aligner = two_views(60), fitted()
    with config_context(transform_output="pandas"):
        affinities = AffinityDisplay.from_estimator(aligner, X).affinities
        before = FeatureColorDisplay.from_estimator(aligner, X, GRID, aligned=False)
    assert isinstance(affinities, np.ndarray) and before.agreement < 1


def test_displays_look_through_searches_and_pipelines():
    X = two_views(60)
    aligner = RBFAutoScaleAligner(views=[4, 7], n_landmarks=20, random_state=0)
    search = GridSearchCV(aligner, {"c": [0.1, 0.3]}, cv=2)
    nested = make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), search))
    nested.fit(X)
    display = RetrievalDisplay.from_estimator(nested, X)
    scaled = StandardScaler().fit_transform(StandardScaler().fit_transform(X))
    best = nested[-1][-1].best_estimator_
    assert display.accuracy[0] == pytest.approx(best.score(scaled))


def test_many_numbers_are_a_scale():
    X, _ = make_moons(60, noise=0.1, random_state=0)
    uniformizer = PoissonUniformizer().fit(X)
    display = FlowDisplay.from_estimator(uniformizer, X, X[:, 0], n_lines=1)
    (dots,) = display.ax_.collections[2:]
    np.testing.assert_array_equal(dots.get_array(), X[:, 0])
    middle = np.quantile(X, (0.01, 0.99), axis=0).mean(0)
    np.testing.assert_allclose(display.lines, uniformizer._paths(middle[None], 25))


def test_long_labels_do_not_overlap():
    y = np.array([f"class number {i}" for i in range(4)])[np.arange(60) % 4]
    display = AffinityDisplay.from_estimator(fitted(), two_views(60), y)
    display.figure_.set_size_inches(7, 7)
    display.figure_.canvas.draw()
    for axis in (display.ax_.xaxis, display.ax_.yaxis):
        labels = [*axis.get_ticklabels(), *axis.get_ticklabels(minor=True)]
        boxes = [label.get_window_extent() for label in labels]
        assert len(boxes) == 10
        assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


@pytest.mark.parametrize("kind", ["grey", "channel", "integers", "colours", "alpha"])
def test_images_of_all_kinds(kind):
    rng = np.random.default_rng(0)
    images = {
        "grey": rng.random((2, 20, 24)),
        "channel": rng.random((2, 20, 24, 1)),
        "integers": rng.integers(256, size=(2, 20, 24, 3), dtype=np.uint8),
        "colours": rng.random((2, 20, 24, 3)),
        "alpha": rng.random((2, 20, 24, 4)),
    }[kind]
    display = FeatureColorDisplay.from_estimator(
        fitted(), two_views(60), GRID, images=images
    )
    drawn = np.asarray(display.ax_.images[0].get_array(), dtype=float)
    expected = images[0] / 255 if kind == "integers" else images[0]
    if kind == "channel":
        expected = expected[..., 0]
    np.testing.assert_allclose(drawn[..., : expected.shape[-1]], expected)


def test_a_figure_that_fails_leaves_none_behind():
    constant = FeatureColorDisplay(colors={k: np.ones((1, 5, 6, 3)) for k in "ab"})
    with pytest.raises(ValueError, match="All rows are equal"):
        constant.plot()
    assert plt.get_fignums() == []


def test_half_types_and_gradients_are_drawn():
    X = torch.tensor(blobs(), device="cpu", dtype=torch.float32)
    expected = feature_colors([X], [X])["view0"]
    found = feature_colors([X.clone().requires_grad_()], [X])["view0"]
    np.testing.assert_array_equal(found, expected)
    found = feature_colors([X.bfloat16()], [X])["view0"]
    np.testing.assert_allclose(found, expected, atol=0.1)

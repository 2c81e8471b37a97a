"""Views: columns of one X, absent where NaN, with landmarks that all views share."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from sklearn_featalign import (
    KernelGCCAAligner,
    RBFAutoScaleAligner,
    split_views,
    stack_views,
)

WIDTHS = {"clip": 6, "dino": 4, "sam": 5}
NAMES = list(WIDTHS)


def make_views(n_samples=80, seed=0, noise=0.1):
    """Return three views of the same hidden rows, by name."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n_samples, 3))
    maps = np.random.default_rng(99)
    return {
        name: np.tanh(Z @ maps.normal(size=(3, width))) * 10**i
        + noise * 10**i * rng.normal(size=(n_samples, width))
        for i, (name, width) in enumerate(WIDTHS.items())
    }


def stacked(views):
    return np.hstack(list(views.values()))


def three(**params):
    params = {"views": WIDTHS, "n_landmarks": 20, "random_state": 0} | params
    return RBFAutoScaleAligner(**params)


def partly_paired():
    """Return X with 80 rows: all views in 0-39, then two, then one."""
    X = stacked(make_views())
    X[40:60, :6] = np.nan
    X[50:, 6:10] = np.nan
    X[75:, 10:] = np.nan
    return X


@pytest.mark.parametrize("normalization", [None, "ridge"])
def test_views_fitted_at_once_are_those_fitted_apart(normalization):
    views, new = make_views(), make_views(seed=1)
    joint = three(normalize=normalization).fit(stacked(views))
    out = joint.transform(stacked(new))
    for i, name in enumerate(NAMES):
        alone = three(views=None, normalize=normalization).fit(views[name])
        expected = alone.transform(new[name])
        np.testing.assert_allclose(out[:, 20 * i : 20 * i + 20], expected, rtol=1e-12)
        np.testing.assert_array_equal(
            joint.transform_view(new[name], name), out[:, 20 * i : 20 * i + 20]
        )
        np.testing.assert_array_equal(
            joint.transform_view(new[name], i), joint.transform_view(new[name], name)
        )
        np.testing.assert_array_equal(joint.landmark_indices_, alone.landmark_indices_)
        assert joint.gamma_[i] == alone.gamma_
        assert joint.mean_affinity_[i] == alone.mean_affinity_
    np.testing.assert_array_equal(
        joint.landmarks_, stacked(views)[joint.landmark_indices_]
    )


FRAME = pd.DataFrame(stacked(make_views()), columns=list("abcdefghijklmno"))
SELECTIONS = {
    "widths": [6, 4, 5],
    "tuple of widths": (6, np.int64(4), 5),
    "slices": [slice(0, 6), slice(6, 10), slice(10, None)],
    "indices": [range(6), np.arange(6, 10), [-5, -4, -3, -2, -1]],
    "masks": [
        np.arange(15) // 6 == 0,
        [False] * 6 + [True] * 4 + [False] * 5,
        [*range(10, 15)],
    ],
    "column names": [list("abcdef"), list("ghij"), slice("k", "o")],
    "dict of widths": WIDTHS,
    "dict of names": {"x": list("abcdef"), "y": slice("g", "j"), "z": list("klmno")},
}


@pytest.mark.parametrize("selection", SELECTIONS)
def test_all_ways_to_say_the_columns(selection):
    X = FRAME if "names" in selection else FRAME.to_numpy()
    aligner = three(views=SELECTIONS[selection]).fit(X)
    expected = three().fit(FRAME.to_numpy())
    np.testing.assert_array_equal(
        aligner.transform(X), expected.transform(FRAME.to_numpy())
    )
    views = SELECTIONS[selection]
    names = list(views) if isinstance(views, dict) else ["view0", "view1", "view2"]
    assert list(aligner.view_columns_) == names
    np.testing.assert_array_equal(
        np.concatenate(list(aligner.view_columns_.values())), np.arange(15)
    )


def test_columns_need_not_be_adjacent_and_others_are_left_out():
    views = make_views()
    X = np.full((80, 20), 7.0)
    places = {"clip": [0, 2, 4, 6, 8, 10], "dino": [1, 3, 5, 7]}
    for name, columns in places.items():
        X[:, columns] = views[name]
    aligner = three(views=places).fit(X)
    expected = three(views=[6, 4]).fit(np.hstack([views["clip"], views["dino"]]))
    out = expected.transform(np.hstack([views["clip"], views["dino"]]))
    np.testing.assert_array_equal(aligner.transform(X), out)
    aligner.set_params(output="dino")
    X = stack_views({"dino": views["dino"]}, aligner)
    np.testing.assert_array_equal(aligner.transform(X), out[:, 20:])


def test_every_view_has_mean_affinity_c_over_the_rows_that_have_it():
    X = partly_paired()
    for c in (0.1, 0.3):
        aligner = three(c=c).fit(X)
        out = aligner.transform(X).reshape(80, 3, 20)
        np.testing.assert_allclose(np.nanmean(out, axis=(0, 2)), c, rtol=1e-6)
        np.testing.assert_allclose(aligner.mean_affinity_, c, rtol=1e-6)
        assert (aligner.landmark_indices_ < 40).all()
        for i, columns in enumerate(aligner.view_columns_.values()):
            absent = np.isnan(X[:, columns]).all(1)
            np.testing.assert_array_equal(np.isnan(out[:, i]).all(1), absent)
            np.testing.assert_array_equal(np.isnan(out[:, i]).any(1), absent)


def test_rows_that_lack_a_view_count_in_the_fit_of_the_others():
    X = partly_paired()
    aligner = three(gamma=0.2).fit(X)
    present = X[~np.isnan(X[:, :6]).any(1), :6]
    sigma = 2 * 0.2 * present.var(0, ddof=1).sum()
    D = ((present[:, None] - aligner.landmarks_[:, :6]) ** 2).sum(2)
    np.testing.assert_allclose(
        aligner.transform_view(present, "clip"), np.exp(-D / sigma), atol=1e-12
    )


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("batch_size", ["auto", 7])
@pytest.mark.parametrize(
    "aligner",
    [
        three(normalize="ridge"),
        KernelGCCAAligner(views=WIDTHS, n_landmarks=20, random_state=0),
    ],
    ids=lambda aligner: type(aligner).__name__,
)
def test_outputs(kind, dtype, batch_size, aligner):
    X = partly_paired().astype(dtype)
    X[79] = np.nan
    aligner = clone(aligner).set_params(batch_size=batch_size).fit(kind(X))
    blocks = np.stack(
        [
            np.asarray(aligner.transform_view(kind(V), name))
            for V, name in zip(split_views(X, aligner), NAMES, strict=True)
        ],
        axis=1,
    )

    def output(value):
        out = aligner.set_params(output=value).transform(kind(X))
        assert isinstance(out, torch.Tensor) == (kind is not np.asarray)
        out = np.asarray(out)
        assert out.dtype == dtype and np.isnan(out[79]).all()
        assert out.shape[1] == len(aligner.get_feature_names_out())
        return out

    np.testing.assert_array_equal(output("concat"), blocks.reshape(80, -1))
    for i, name in enumerate(NAMES):
        np.testing.assert_array_equal(output(name), blocks[:, i])
        np.testing.assert_array_equal(output(i), blocks[:, i])
    # Rounding depends on the rows of a batch.
    atol = 1e-12 if dtype == np.float64 else 1e-6
    first = np.isnan(blocks[:79]).any(2).argmin(1)
    np.testing.assert_allclose(
        output("coalesce")[:79], blocks[np.arange(79), first], rtol=0, atol=atol
    )
    np.testing.assert_allclose(
        output("mean")[:79], np.nanmean(blocks[:79], axis=1), rtol=0, atol=atol
    )


def test_names_of_the_output():
    X = FRAME
    aligner = three(n_landmarks=2).fit(X)
    names = ["clip__rbf0", "clip__rbf1", "dino__rbf0", "dino__rbf1"]
    assert aligner.get_feature_names_out().tolist()[:4] == names
    frame = aligner.set_output(transform="pandas").transform(X)
    assert frame.columns.tolist()[:4] == names and frame.index.equals(X.index)
    aligner.set_params(output="dino")
    assert aligner.get_feature_names_out().tolist() == names[2:]
    aligner.set_params(output=1)
    assert aligner.transform(X).columns.tolist() == names[2:]
    for output in ("coalesce", "mean"):
        aligner.set_params(output=output)
        assert aligner.get_feature_names_out().tolist() == [
            "rbfautoscalealigner0",
            "rbfautoscalealigner1",
        ]
    widths = three(views=[6, 4, 5], n_landmarks=1).fit(X)
    assert widths.get_feature_names_out().tolist() == [
        "view0__rbf0",
        "view1__rbf0",
        "view2__rbf0",
    ]


def top_1(F, G):
    return (cosine_similarity(F, G).argmax(1) == np.arange(len(F))).mean()


@pytest.mark.parametrize("n_views", [2, 3])
def test_score_is_the_mean_retrieval_over_ordered_pairs(n_views):
    names = NAMES[:n_views]
    train, new = ({k: V[k] for k in names} for V in (make_views(), make_views(seed=1)))
    aligner = three(views={k: WIDTHS[k] for k in names}).fit(stacked(train))
    F = [aligner.transform_view(new[name], name) for name in names]
    pairs = [(i, j) for i in range(n_views) for j in range(n_views) if i != j]
    expected = np.mean([top_1(F[i], F[j]) for i, j in pairs])
    assert 0.05 < expected < 1
    assert aligner.score(stacked(new)) == pytest.approx(expected, abs=1e-12)


def test_score_looks_at_the_rows_that_have_both_views():
    aligner = three().fit(stacked(make_views()))
    X = partly_paired()
    F = dict(zip(NAMES, np.split(aligner.transform(X), 3, axis=1), strict=True))
    values = []
    for a in NAMES:
        for b in NAMES:
            both = ~np.isnan(F[a]).any(1) & ~np.isnan(F[b]).any(1)
            if a != b:
                values.append(top_1(F[a][both], F[b][both]))
    assert aligner.score(X) == pytest.approx(np.mean(values), abs=1e-12)
    assert aligner.score(torch.from_numpy(X)) == pytest.approx(np.mean(values))
    X[:, 6:] = np.nan
    with pytest.raises(ValueError, match="No row of X has two views"):
        aligner.score(X)


def test_methods_of_views_exist_only_with_views():
    assert not hasattr(RBFAutoScaleAligner(), "score")
    assert not hasattr(RBFAutoScaleAligner(), "transform_view")
    assert not hasattr(RBFAutoScaleAligner(views=[3]), "score")
    assert hasattr(RBFAutoScaleAligner(views=[3]), "transform_view")
    assert hasattr(RBFAutoScaleAligner(views={"a": 1, "b": 2}), "score")
    assert not get_tags(RBFAutoScaleAligner()).input_tags.allow_nan
    assert get_tags(RBFAutoScaleAligner(views=[3, 4])).input_tags.allow_nan


def test_one_view_by_name_is_the_plain_aligner():
    X = make_views()["clip"]
    named = three(views={"clip": 6}).fit(X)
    plain = three(views=None).fit(X)
    np.testing.assert_array_equal(named.transform(X), plain.transform(X))
    assert named.gamma_.tolist() == [plain.gamma_]
    assert named.get_feature_names_out()[0] == "clip__rbf0"


@pytest.mark.parametrize("method", ["farthest", "kmeans++"])
def test_spread_landmarks_are_chosen_once_on_all_views(method):
    X = partly_paired()
    aligner = three(landmarks=method, n_landmarks=6).fit(X)
    indices = aligner.landmark_indices_
    assert len(set(indices)) == 6 and (indices < 40).all()
    np.testing.assert_array_equal(aligner.landmarks_, X[indices])
    if method == "farthest":
        parts = []
        for columns in aligner.view_columns_.values():
            V = X[:, columns]
            total = np.nanvar(V, axis=0, ddof=1).sum()
            parts.append(V[:40] / np.sqrt(total))
        Z = np.hstack(parts)
        for k in range(1, 6):
            D = np.linalg.norm(Z[:, None] - Z[indices[:k]], axis=2).min(1)
            assert indices[k] == D.argmax()


def test_more_landmarks_than_paired_rows():
    aligner = three(n_landmarks=50)
    message = r"n_landmarks=50 is greater than the number of samples \(40\) that have"
    with pytest.warns(UserWarning, match=message) as record:
        aligner.fit(partly_paired())
    assert record[0].filename == __file__
    np.testing.assert_array_equal(aligner.landmark_indices_, np.arange(40))


def half_nan():
    X = stacked(make_views())
    X[17, 7] = np.nan
    return X


def without(name, keep=0):
    X = stacked(make_views())
    start = {"clip": 0, "dino": 6, "sam": 10}[name]
    X[keep:, start : start + WIDTHS[name]] = np.nan
    return X


X = stacked(make_views())
BAD_FITS = {
    "half a view": (
        {},
        half_nan(),
        "Row 17 of X is NaN in 1 of the 4 columns of view 'd",
    ),
    "one pair": ({}, without("sam", 1), "1 of 80 rows have every view.*'sam' 1"),
    "no pairs": (
        {},
        without("dino"),
        "0 of 80 rows have every view.*'clip' 80, 'dino' 0",
    ),
    "widths": ({"views": [6, 4]}, X, r"take 10 columns, but X has 15.*stack_views"),
    "one view's columns": ({}, X[:, :6], r"take 15 columns, but X has 6.*stack_views"),
    "empty": ({"views": []}, X, "needs at least one view"),
    "no width": ({"views": [15, 0]}, X, "View 'view1' needs at least one column"),
    "no columns": ({"views": [[0, 1], []]}, X, "View 'view1' has no columns"),
    "overlap": (
        {"views": {"a": slice(0, 6), "b": [5, 6]}},
        X,
        "Column 5 is taken twice: by view 'a' and by view 'b'",
    ),
    "mixed": ({"views": [6, [7, 8]]}, X, "mixes a width with selections"),
    "outside": ({"views": [[0, 1], [15]]}, X, r"all features must be in \[0, 14\]"),
    "names of an array": (
        {"views": [["a"], ["b"]]},
        X,
        "only supported for dataframes",
    ),
    "unknown names": ({"views": [["a"], ["zz"]]}, FRAME, "zz"),
    "name of an output": ({"views": {"mean": 6, "b": 9}}, X, "has the name 'mean'"),
    "name that is none": (
        {"views": {0: 6, 1: 9}},
        X,
        "has the name 0; names are strin",
    ),
    "output": (
        {"output": "siglip"},
        X,
        "'siglip' is no view: there are 'clip', 'dino'",
    ),
    "index": ({"output": 3}, X, "3 is no view.*indices from 0 to 2"),
    "negative index": ({"output": -1}, X, "-1 is no view"),
    "no view to name": ({"views": None, "output": "clip"}, X, "'clip' is no view"),
    "a constant view": (
        {},
        np.hstack([X[:, :10], X[:, 10:] * 0]),
        "View 'sam': X has no",
    ),
    "infinity": ({}, np.where(X == X[3, 3], np.inf, X), "contains infinity"),
    "NaN without views": ({"views": None}, half_nan(), "contains NaN"),
}


@pytest.mark.parametrize("case", BAD_FITS)
def test_bad_fits(case):
    params, rows, message = BAD_FITS[case]
    aligner = three(**params)
    with pytest.raises(ValueError, match=message):
        aligner.fit(rows)
    if isinstance(rows, np.ndarray):
        with pytest.raises(ValueError, match=message):
            aligner.fit(torch.from_numpy(rows))


def test_floor_of_c_names_the_view():
    rows = X.copy()
    rows[:, 6:10] = rows[0, 6:10]
    rows[0, 6] += 1
    with pytest.raises(
        ValueError, match=r"View 'dino': c=0.3 must lie strictly between"
    ):
        three().fit(rows)


def test_bad_transforms():
    aligner = three().fit(X)
    message = (
        r"X has 6 features, but RBFAutoScaleAligner is expecting 15 features as input"
        r"\. "
        r"Its views are 'clip' \(6\), 'dino' \(4\), 'sam' \(5\).*transform_view.*"
        r"stack_views"
    )
    with pytest.raises(ValueError, match=message):
        aligner.transform(X[:, :6])
    frame = FRAME.iloc[:, :6]
    with pytest.raises(ValueError, match=message):
        three().fit(FRAME).transform(frame)
    with pytest.raises(ValueError, match="feature names should match"):
        three().fit(FRAME).transform(FRAME[FRAME.columns[::-1]])
    with pytest.raises(ValueError, match="Row 17 of X is NaN in 1 of the 4"):
        aligner.transform(half_nan())
    with pytest.raises(ValueError, match="X has 6 features, but view 'dino' of RBF"):
        aligner.transform_view(X[:, :6], "dino")
    with pytest.raises(ValueError, match="Row 17 of X is NaN in 1 of the 4"):
        aligner.transform_view(half_nan()[:, 6:10], "dino")
    for view in ("siglip", 3, True, None):
        with pytest.raises(ValueError, match="is no view"):
            aligner.transform_view(X[:, :6], view)
    for call in (aligner.transform, aligner.fit, aligner.score):
        with pytest.raises(ValueError, match="got a list of arrays: .*stack_views"):
            call([X[:, :6], X[:, 6:10], X[:, 10:]])
    with pytest.raises(ValueError, match="is no view"):
        aligner.set_params(output="siglip").transform(X)


def test_transform_view_checks_names_and_passes_absent_rows():
    aligner = three().fit(FRAME)
    part = FRAME[list("ghij")]
    out = aligner.transform_view(part, "dino")
    np.testing.assert_array_equal(out, aligner.transform(FRAME)[:, 20:40])
    with pytest.raises(ValueError, match="feature names of view 'dino' should match"):
        aligner.transform_view(part[list("gijh")], "dino")
    rows = part.to_numpy().copy()
    rows[3] = np.nan
    out_nan = aligner.transform_view(rows, "dino")
    assert np.isnan(out_nan[3]).all()
    absent = FRAME.copy()
    absent.loc[3, list("ghij")] = np.nan
    np.testing.assert_array_equal(out_nan, aligner.transform(absent)[:, 20:40])
    # The last digit of a matrix product may depend on the number of its rows.
    np.testing.assert_allclose(
        np.delete(out_nan, 3, 0), np.delete(out, 3, 0), rtol=1e-12
    )


def test_a_failed_refit_leaves_the_old_fit_usable():
    aligner = three().fit(X)
    before = aligner.transform(X)
    with pytest.raises(ValueError, match="is NaN in 1"):
        aligner.fit(half_nan())
    with pytest.raises(ValueError, match="take 15 columns"):
        aligner.fit(X[:, :6])
    np.testing.assert_array_equal(aligner.transform(X), before)


def test_state_is_plain_and_survives_clone_and_pickle():
    aligner = three(normalize="ridge").fit(partly_paired())
    loaded = pickle.loads(pickle.dumps(aligner))
    np.testing.assert_array_equal(
        loaded.transform(partly_paired()), aligner.transform(partly_paired())
    )
    copy = clone(aligner)
    assert copy.get_params() == aligner.get_params() and not hasattr(copy, "gamma_")
    np.testing.assert_array_equal(
        copy.fit(partly_paired()).transform(X), aligner.transform(X)
    )


def test_in_pipelines_behind_a_scaler_and_frozen():
    rows = partly_paired()
    pipeline = make_pipeline(StandardScaler(), three()).fit(rows)
    out = pipeline.transform(rows)
    np.testing.assert_array_equal(np.isnan(out[:, 0]), np.isnan(rows[:, 0]))
    assert pipeline.score(X) == pytest.approx(
        pipeline[-1].score(pipeline[0].transform(X))
    )
    frozen = make_pipeline(FrozenEstimator(pipeline)).fit(X[:5])
    np.testing.assert_array_equal(frozen.transform(rows), out)
    scores = cross_val_score(three(), X, cv=3)
    assert scores.shape == (3,) and (scores > 0.1).all()


def test_stack_and_split():
    views = make_views(5)
    a, b, c = views.values()
    for layout in (WIDTHS, [6, 4, 5], three(), three().fit(X)):
        np.testing.assert_array_equal(stack_views([a, b, c], layout), stacked(views))
        rows = stack_views([a, None, c], layout)
        assert np.isnan(rows[:, 6:10]).all() and rows.dtype == np.float64
        back = split_views(rows, layout)
        assert [block.shape for block in back] == [(5, 6), (5, 4), (5, 5)]
        np.testing.assert_array_equal(back[0], a)
        np.testing.assert_array_equal(stack_views(back, layout), rows)
    np.testing.assert_array_equal(stack_views({"sam": c}, WIDTHS)[:, 10:], c)
    np.testing.assert_array_equal(stack_views({2: c}, WIDTHS)[:, 10:], c)
    np.testing.assert_array_equal(
        stack_views([a.tolist(), None, None], WIDTHS)[:, :6], a
    )
    single = [V.astype(np.float32) for V in views.values()]
    assert stack_views([single[0], None, None], WIDTHS).dtype == np.float32
    assert stack_views([single[0], b, None], WIDTHS).dtype == np.float64
    assert stack_views([np.ones((2, 6), int), None, None], WIDTHS).dtype == np.float64
    tensor = stack_views([torch.from_numpy(single[0]), None, None], WIDTHS)
    assert tensor.dtype == torch.float32
    np.testing.assert_array_equal(tensor[:, :6], single[0])
    assert len(split_views(tensor, WIDTHS)) == 3
    assert split_views(rows.tolist(), WIDTHS)[0].shape == (5, 6)


def test_stacked_data_frames_keep_names_and_index():
    aligner = three().fit(FRAME)
    part = FRAME[list("abcdef")].iloc[5:9]
    rows = stack_views([part, None, None], aligner)
    assert list(rows.columns) == list(FRAME.columns) and rows.index.equals(part.index)
    # A warning about missing names would be an error here.
    out = aligner.set_params(output="coalesce").transform(rows)
    np.testing.assert_array_equal(out, aligner.transform_view(part, "clip"))
    assert list(split_views(FRAME, aligner)[1].columns) == list("ghij")
    with pytest.raises(ValueError, match="feature names of view 'clip' should match"):
        stack_views([FRAME[list("abcdfe")], None, None], aligner)


def test_stacked_data_frames_pair_rows_of_one_index():
    aligner = three().fit(FRAME)
    clip, dino = FRAME[list("abcdef")], FRAME[list("ghij")]
    with pytest.raises(ValueError, match="The index of view 'dino' differs"):
        stack_views([clip, dino[::-1], None], aligner)
    assert (
        stack_views([clip, dino, None], aligner).iloc[:, :10].equals(FRAME.iloc[:, :10])
    )


def test_frames_of_polars():
    polars = pytest.importorskip("polars")
    frame = polars.from_pandas(FRAME)
    aligner = three(views=SELECTIONS["column names"]).fit(frame)
    np.testing.assert_array_equal(aligner.transform(frame), three().fit_transform(X))
    blocks = split_views(frame, aligner)
    assert blocks[1].columns == list("ghij")
    rows = stack_views([None, blocks[1], None], aligner)
    assert isinstance(rows, polars.DataFrame) and rows.columns == frame.columns
    # A warning about missing names would be an error here.
    out = aligner.set_params(output="coalesce").transform(rows)
    np.testing.assert_array_equal(out, aligner.transform_view(blocks[1], 1))


A = np.ones((5, 6))
BAD_STACKS = {
    "width": (
        [A[:, :5], None, None],
        WIDTHS,
        "'clip' has 6 columns, but its block has 5",
    ),
    "rows": ([A, np.ones((4, 4)), None], WIDTHS, "inconsistent numbers of samples"),
    "nothing": ([None, None, None], WIDTHS, "All views are absent"),
    "too few": ([A, None], WIDTHS, "a list of 3 views, with None for an absent"),
    "no list": (A, WIDTHS, "a list of 3 views"),
    "unknown": ({"siglip": A}, WIDTHS, "'siglip' is no view"),
    "no widths": ([A], three(views=[slice(0, 6)]), "a fitted aligner, or widths"),
    "no views": ([A], RBFAutoScaleAligner(), "a fitted aligner, or widths"),
    "a number": ([A], 6, "a fitted aligner, or widths"),
    "vector": ([A[0], None, None], WIDTHS, "Expected 2D array"),
    "vector tensor": ([torch.ones(6), None, None], WIDTHS, "Expected 2D tensor"),
}


@pytest.mark.parametrize("case", BAD_STACKS)
def test_bad_stacks(case):
    blocks, views, message = BAD_STACKS[case]
    with pytest.raises(ValueError, match=message):
        stack_views(blocks, views)


def test_bad_splits_and_mixed_kinds():
    with pytest.raises(ValueError, match="take 15 columns, but X has shape"):
        split_views(X[:, :6], WIDTHS)
    with pytest.raises(TypeError, match="Either all blocks are tensors"):
        stack_views([A, torch.ones(5, 4), None], WIDTHS)

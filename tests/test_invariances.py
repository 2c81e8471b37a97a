"""What must not matter does not, for rows that hypothesis thinks of."""

import numpy as np
import pytest
from _estimators import ALIGNERS, WITH_LANDMARKS
from _samples import blobs
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import block_diag
from sklearn.base import clone

from sklearn_featalign import PoissonDenoiser, PoissonUniformizer, RBFAutoScaleAligner

SEEDS = st.integers(0, 1000)


@settings(max_examples=75, deadline=None)
@given(
    name=st.sampled_from(["rbf", "rbf ridge", "rbf views", "gcca", "gcca views"]),
    seed=st.integers(0, 1000),
    log_scale=st.floats(-8, 8),
    shift=st.floats(-100, 100),
)
def test_shift_rotation_and_scale_do_not_matter(name, seed, log_scale, shift):
    X, X_new = blobs(seed), blobs(seed + 1)
    aligner = clone(ALIGNERS[name])
    rng = np.random.default_rng(seed)
    rotation = block_diag(
        *(np.linalg.qr(rng.normal(size=(d, d)))[0] for d in aligner.views or [4])
    )

    def moved(X):
        return 10**log_scale * (X @ rotation + shift)

    expected = aligner.fit(X).transform(X_new)
    out = aligner.fit(moved(X)).transform(moved(X_new))
    if "gcca" in name:
        # The rotation of the components depends on the columns.
        expected, out = similarities(expected, name), similarities(out, name)
    np.testing.assert_allclose(out, expected, atol=1e-7 if "gcca" in name else 1e-8)


def similarities(out, name):
    """Return dot products within and across the views of an aligner."""
    n_views = len(ALIGNERS[name].views or [0])
    n_blocks = n_views if ALIGNERS[name].output == "concat" else 1
    rows = np.vstack(np.split(out, n_blocks, axis=1))
    return rows @ rows.T


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), log_ratio=st.floats(-3, 3))
def test_whitening_makes_any_affine_map_not_matter(seed, log_ratio):
    X, X_new = blobs(seed), blobs(seed + 1)
    rng = np.random.default_rng(seed)
    mixing = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    mixing[:, 0] *= 10**log_ratio
    mixing = mixing @ np.linalg.qr(rng.normal(size=(4, 4)))[0]
    aligner = RBFAutoScaleAligner(n_landmarks=20, whiten="pca", random_state=0)
    expected = aligner.fit(X).transform(X_new)
    out = aligner.fit(X @ mixing + 5).transform(X_new @ mixing + 5)
    np.testing.assert_allclose(out, expected, atol=1e-7)


@settings(max_examples=50, deadline=None)
@given(name=st.sampled_from(sorted(WITH_LANDMARKS)), seed=SEEDS)
def test_random_landmarks_are_the_same_objects_in_every_feature_space(name, seed):
    X, aligner = blobs(seed), clone(WITH_LANDMARKS[name]).set_params(random_state=seed)
    width = 30 if aligner.views is None else 4
    Y = np.tanh(X @ np.random.default_rng(seed).normal(size=(4, width)))
    indices = aligner.fit(X).landmark_indices_
    np.testing.assert_array_equal(aligner.fit(Y).landmark_indices_, indices)
    assert isinstance(indices, np.ndarray)


@settings(max_examples=75, deadline=None)
@given(name=st.sampled_from(sorted(ALIGNERS)), seed=SEEDS)
def test_rows_do_not_see_each_other_in_transform(name, seed):
    X, X_new = blobs(seed, 60), blobs(seed + 1, 30)
    order = np.random.default_rng(seed).permutation(len(X_new))
    aligner = clone(ALIGNERS[name]).fit(X)
    out = aligner.transform(X_new)
    np.testing.assert_allclose(aligner.transform(X_new[order]), out[order], atol=1e-10)
    np.testing.assert_allclose(aligner.transform(X_new[:7]), out[:7], atol=1e-10)


@settings(max_examples=50, deadline=None)
@given(name=st.sampled_from(sorted(WITH_LANDMARKS)), seed=SEEDS)
def test_order_of_landmarks_is_that_of_columns(name, seed):
    """With all rows as landmarks, up to rounding in what has no rank to spare."""
    X, X_new = blobs(seed, 40), blobs(seed + 1, 30)
    order = np.random.default_rng(seed).permutation(len(X))
    aligner = clone(WITH_LANDMARKS[name]).set_params(n_landmarks=None)
    expected = aligner.fit(X).transform(X_new)
    out = aligner.fit(X[order]).transform(X_new)
    if "gcca" in name:
        expected, out = similarities(expected, name), similarities(out, name)
        np.testing.assert_allclose(out, expected, atol=1e-5)
        return
    n_blocks = len(aligner.views or [0]) if aligner.output == "concat" else 1
    for before, after in zip(
        np.split(expected, n_blocks, axis=1),
        np.split(out, n_blocks, axis=1),
        strict=True,
    ):
        # Behind those of landmarks stand columns of hubness.
        columns = np.r_[order, len(X) : before.shape[1]]
        np.testing.assert_allclose(after, before[:, columns], atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    seed=SEEDS,
    Estimator=st.sampled_from([PoissonUniformizer, PoissonDenoiser]),
    n_copies=st.integers(1, 3),
)
def test_order_of_charges_does_not_matter(seed, Estimator, n_copies):
    X, X_new = np.tile(blobs(seed, 40), (n_copies, 1)), blobs(seed + 1, 30)
    order = np.random.default_rng(seed).permutation(len(X))
    uniformizer = Estimator()
    expected = uniformizer.fit(X).transform(X_new)
    out = uniformizer.fit(X[order]).transform(X_new)
    np.testing.assert_allclose(out, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(
    seed=SEEDS,
    d=st.integers(1, 4),
    output=st.sampled_from(["cube", "normal", "hemisphere", "flow"]),
    log_scales=st.lists(st.floats(-6, 6), min_size=4, max_size=4),
    shift=st.floats(-100, 100),
)
def test_the_uniformizer_is_undone(seed, d, output, log_scales, shift):
    """In units of the spread. On a line so few steps leave errors of hundredths."""
    rng = np.random.default_rng(seed)
    scales = 10.0 ** np.array(log_scales[:d])
    X, X_new = (rng.normal(size=(60, d)) * scales + shift for _ in range(2))
    uniformizer = PoissonUniformizer(output=output, n_steps=48).fit(X)
    for rows in (X, X_new):
        again = uniformizer.inverse_transform(uniformizer.transform(rows))
        errors = np.abs(again - rows) / X.std(0)
        assert errors.max() <= (0.1 if d == 1 else 1e-3)

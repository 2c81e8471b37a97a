import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from _samples import blobs
from sklearn.base import clone
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.preprocessing import KernelCenterer, normalize

from sklearn_featalign import RBFAutoScaleAligner


def exact_affinity(X, landmarks, gamma, train):
    """The document's definition, in extended precision."""
    unit = np.longdouble(np.abs(train).max())
    X, landmarks, train = (
        np.asarray(Z, np.longdouble) / unit for Z in (X, landmarks, train)
    )
    sigma = 2 * gamma * train.var(0, ddof=1).sum()
    D = np.stack([((X - row) ** 2).sum(1) for row in landmarks], axis=1)
    return np.exp(-D / sigma)


@pytest.mark.parametrize("n_landmarks", [1, 5, 120, None])
@pytest.mark.parametrize("c", [0.05, 0.1, 0.3, 0.5, np.float16(0.3)])
@pytest.mark.parametrize("whiten", [None, "pca"])
def test_mean_affinity_is_c(c, n_landmarks, whiten):
    X = blobs()
    aligner = RBFAutoScaleAligner(
        c=c, n_landmarks=n_landmarks, whiten=whiten, random_state=0
    )
    c = float(c)
    A = aligner.fit_transform(X)
    assert A.shape == (120, n_landmarks or 120)
    assert abs(A.mean() - c) <= 1e-6 * c
    assert aligner.mean_affinity_ == pytest.approx(A.mean(), rel=1e-12)
    A_32 = aligner.fit_transform(X.astype(np.float32))
    assert A_32.dtype == np.float32
    assert abs(A_32.mean(dtype=float) - c) <= 1e-6 * c


@pytest.mark.parametrize("gamma", ["auto", 0.03, 1.0, 1, np.float32(0.3)])
def test_affinities_are_those_of_rbf_kernel(gamma):
    X, X_new = blobs(0), blobs(1)
    aligner = RBFAutoScaleAligner(gamma=gamma, n_landmarks=20, random_state=0).fit(X)
    if gamma != "auto":
        assert aligner.gamma_ == pytest.approx(float(gamma), rel=1e-14)
    assert type(aligner.gamma_) is type(aligner.mean_affinity_) is float
    sigma = 2 * aligner.gamma_ * X.var(axis=0, ddof=1).sum()
    np.testing.assert_array_equal(aligner.landmarks_, X[aligner.landmark_indices_])
    expected = rbf_kernel(X_new, aligner.landmarks_, gamma=1 / sigma)
    np.testing.assert_allclose(aligner.transform(X_new), expected, atol=1e-13)
    mean = rbf_kernel(X, aligner.landmarks_, gamma=1 / sigma).mean()
    assert aligner.mean_affinity_ == pytest.approx(mean, rel=1e-12)


def test_ridge_agrees_with_its_definition():
    X, X_new = blobs(0), blobs(1)
    plain = RBFAutoScaleAligner(n_landmarks=20, random_state=0).fit(X)
    K, A = plain.transform(plain.landmarks_), plain.transform(X_new)
    centerer = KernelCenterer().fit(K)
    K_centred, A_centred = centerer.transform(K), centerer.transform(A)
    penalty = 0.5 * np.trace(K_centred) / 20 * np.eye(20)
    expected = normalize(np.linalg.solve(K_centred + penalty, A_centred.T).T)
    ridge = RBFAutoScaleAligner(
        n_landmarks=20, normalize="ridge", ridge=0.5, random_state=0
    ).fit(X)
    np.testing.assert_allclose(ridge.transform(X_new), expected, atol=1e-11)
    assert ridge.gamma_ == plain.gamma_ and ridge.mean_affinity_ == pytest.approx(0.3)


AFFINITY_CASES = {
    "offset 1e4, float32": (np.float32, lambda X: X + 1e4),
    "offset 1e4, float64": (np.float64, lambda X: X + 1e4),
    "clusters at +-1e4, float32": (np.float32, lambda X: X + 1e4 * sides(X)),
    "clusters at +-1e4, float64": (np.float64, lambda X: X + 1e4 * sides(X)),
    "clusters at +-1e8, float64": (np.float64, lambda X: X + 1e8 * sides(X)),
    "1e30, float32": (np.float32, lambda X: X * 1e30),
    "1e-30, float32": (np.float32, lambda X: X * 1e-30),
    "1e200, float64": (np.float64, lambda X: X * 1e200),
    "1e-200, float64": (np.float64, lambda X: X * 1e-200),
    "constant column at 1e200": (
        np.float64,
        lambda X: np.column_stack([X[:, :-1], np.full(len(X), 1e200 / 3)]),
    ),
    "one column at 1e200": (np.float64, lambda X: X * np.r_[1e200, np.ones(49)]),
}


def sides(X):
    return np.where(np.arange(len(X)) % 2, 1.0, -1.0)[:, None]


@pytest.mark.parametrize("c", [0.05, 0.3, 0.49])
@pytest.mark.parametrize("separation", 10.0 ** np.arange(1, 8))
def test_affinities_are_exact_on_both_sides_of_the_switch(separation, c):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 3)) + separation * sides(np.zeros(100))
    aligner = RBFAutoScaleAligner(c=c, n_landmarks=40, random_state=0)
    A = aligner.fit_transform(X)
    expected = exact_affinity(X, aligner.landmarks_, aligner.gamma_, X)
    assert np.abs(A - expected).max() <= 1e-6
    assert (
        aligner._states["view0"]["kernel"]["direct"] == (separation > 2e4)
        or 1e3 < separation < 1e6
    )


@pytest.mark.parametrize("far", [1e6, 1e12, 1e20, 1e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_affinities_are_exact_beside_a_far_row(far, dtype):
    X = np.random.default_rng(0).normal(size=(60, 3)).astype(dtype)
    X[7] = far
    aligner = RBFAutoScaleAligner(n_landmarks=None)
    A = aligner.fit_transform(X)
    expected = exact_affinity(X, X, aligner.gamma_, X)
    assert np.abs(A - expected).max() <= 1e-6
    assert abs(A.mean(dtype=float) - 0.3) <= 1e-6 * 0.3


@pytest.mark.parametrize("case", AFFINITY_CASES)
def test_affinities_are_exact_at_every_offset_and_scale(case):
    dtype, change = AFFINITY_CASES[case]
    rng = np.random.default_rng(0)
    X, X_new = (change(X).astype(dtype) for X in rng.normal(size=(2, 200, 50)))
    aligner = RBFAutoScaleAligner(n_landmarks=40, random_state=0)
    for rows, A in ((X, aligner.fit_transform(X)), (X_new, aligner.transform(X_new))):
        expected = exact_affinity(rows, aligner.landmarks_, aligner.gamma_, X)
        assert np.abs(A - expected).max() <= 1e-6
    assert abs(aligner.mean_affinity_ - 0.3) <= 1e-6 * 0.3


def test_constant_columns_and_duplicates_are_fine():
    X = np.random.default_rng(0).normal(size=(40, 3))
    rows = np.column_stack([np.repeat(X, 2, axis=0), np.full(80, 7.0)])
    aligner = RBFAutoScaleAligner(n_landmarks=10, random_state=0)
    out = aligner.fit_transform(rows)
    assert out.mean() == pytest.approx(0.3, rel=1e-9)
    np.testing.assert_allclose(out[::2], out[1::2], rtol=1e-12)


def test_row_order_of_all_landmarks_is_the_column_order():
    X, X_new = blobs(0), blobs(1)
    order = np.random.default_rng(0).permutation(len(X))
    aligner = RBFAutoScaleAligner(n_landmarks=None)
    expected = aligner.fit(X).transform(X_new)[:, order]
    np.testing.assert_allclose(aligner.fit(X[order]).transform(X_new), expected)


def test_distances_that_are_not_kept_give_the_same_bandwidth(monkeypatch):
    X = blobs()
    kept = RBFAutoScaleAligner(n_landmarks=20, random_state=0).fit(X)
    monkeypatch.setattr("sklearn_featalign._memory.KEPT_BYTES", 0)
    recomputed = RBFAutoScaleAligner(n_landmarks=20, random_state=0).fit(X)
    assert recomputed.gamma_ == pytest.approx(kept.gamma_, rel=1e-12)


def test_the_floor_of_c_is_named():
    X = np.repeat(blobs(n_samples=10), 2, axis=0)
    aligner = RBFAutoScaleAligner(c=0.1, n_landmarks=None)
    with pytest.raises(ValueError, match=r"c=0.1 must lie strictly between 0.1 and 1"):
        aligner.fit(X)
    A = aligner.set_params(c=0.1001).fit_transform(X)
    assert abs(A.mean() - 0.1001) <= 1e-6 * 0.1001


def test_tensors_are_computed_without_a_way_through_numpy(monkeypatch):
    X = torch.from_numpy(blobs())
    aligner = RBFAutoScaleAligner(n_landmarks=20, random_state=0)
    taken = []
    to_numpy = torch.Tensor.numpy

    def spy(self, *args, **kwargs):
        taken.append(tuple(self.shape))
        return to_numpy(self, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "numpy", spy)
    monkeypatch.setattr(torch.Tensor, "__array__", None)
    aligner.fit(X)
    state = {
        aligner.landmarks_.shape,
        aligner._states["view0"]["kernel"]["scaling"]["offset"].shape,
    }
    # Beside the state no more than the row that holds a value that is not finite.
    assert set(taken) - {(0,)} == state
    taken.clear()
    aligner.transform(X)
    assert set(taken) <= {(0,)}


def test_half_tensors_are_computed_in_float32():
    X = torch.from_numpy(blobs()).bfloat16()
    out = RBFAutoScaleAligner(n_landmarks=20, random_state=0).fit_transform(X)
    assert out.dtype == torch.float32


ARRAY_API_PIPELINE = """
import torch
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn_featalign import RBFAutoScaleAligner
X = torch.randn(90, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
y = (X[:, 0] > 0).long()
pipe = make_pipeline(RBFAutoScaleAligner(n_landmarks=20), LogisticRegression(C=100))
with config_context(array_api_dispatch=True):
    predicted = pipe.fit(X, y).predict(X)
assert isinstance(predicted, torch.Tensor), type(predicted)
assert (predicted == y).double().mean() > 0.9
"""


def test_a_pipeline_of_tensors_with_array_api_dispatch():
    # The variable has to be set before scipy is imported.
    result = subprocess.run(
        [sys.executable, "-c", ARRAY_API_PIPELINE],
        env={"SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr


def test_a_pickle_is_small():
    X = np.random.default_rng(0).normal(size=(500, 10)).astype(np.float32)
    aligner = RBFAutoScaleAligner(n_landmarks=100, random_state=0).fit(X)
    assert len(pickle.dumps(aligner)) < aligner.landmarks_.nbytes + 4000


@pytest.mark.parametrize("c", [0.05, 0.3, 0.7, 0.9, 0.999])
@pytest.mark.parametrize("ridge", [None, 1e-3, 0.3, 1.0])
def test_float32_is_taken_where_it_is_exact_enough(c, ridge):
    """Beside a fit of the same numbers in float64."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(900, 20)).astype(np.float32)
    X[:, 0] = np.exp(2 * X[:, 0])
    aligner = RBFAutoScaleAligner(c, n_landmarks=200, random_state=0)
    if ridge:
        aligner.set_params(normalize="ridge", ridge=ridge)
    single = clone(aligner).fit(X)
    double = clone(aligner).fit(X.astype(np.float64))
    assert abs(single.mean_affinity_ - c) <= 5e-7 * c
    rows = rng.normal(size=(300, 20)).astype(np.float32)
    rows = np.vstack([rows, X[:300], 1e3 * rows[:5], 1e30 * rows[:5]])
    error = single.transform(rows) - double.transform(rows.astype(np.float64))
    # Rows of length one with the normalisation.
    most = 2e-4 if ridge else 2e-5
    assert np.linalg.norm(error, axis=1).max() <= most if ridge else True
    assert np.abs(error).max() <= most
    # Rows of float64 see what was fitted in float32, in float64.
    error = single.transform(rows.astype(np.float64)) - single.transform(rows)
    assert np.abs(error).max() <= most
    error = double.transform(rows) - double.transform(rows.astype(np.float64))
    assert np.abs(error).max() <= 1e-6


def test_float32_under_autocast_is_that_of_float64():
    X = blobs(n_samples=300).astype(np.float32)
    aligner = RBFAutoScaleAligner(n_landmarks=30, normalize="ridge", random_state=0)
    expected = aligner.fit(X).transform(X)
    with torch.autocast("cpu", torch.bfloat16):
        out = clone(aligner).fit_transform(X)
    np.testing.assert_allclose(out, expected, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(4))
def test_the_floor_of_c_for_one_landmark(seed, dtype):
    X = np.random.default_rng(0).normal(size=(1000, 3)).astype(dtype)
    aligner = RBFAutoScaleAligner(1 / 1000, n_landmarks=1, random_state=seed)
    with pytest.raises(ValueError, match="c=0.001 must lie strictly between 0.001 and"):
        aligner.fit(X)
    aligner.set_params(c=0.00102).fit(X)
    assert aligner.mean_affinity_ == pytest.approx(0.00102, rel=5e-7)


def test_a_bandwidth_beyond_float64_is_not_called_a_share_of_zeros():
    X = np.array([[0.0], [1e-160], [1.0]])
    with pytest.raises(ValueError, match="No bandwidth within float64"):
        RBFAutoScaleAligner(0.4, n_landmarks=None).fit(X)


def test_a_landmark_at_the_origin_of_float32_rows():
    X = np.zeros((100, 1), np.float32)
    X[:40, 0] = np.random.default_rng(0).normal(size=40)
    for gamma in (1e-39, 1e-30, 0.3):
        aligner = RBFAutoScaleAligner(gamma=gamma, n_landmarks=1, random_state=1)
        out = aligner.fit_transform(X)
        variance = X.var(0, ddof=1, dtype=np.float64).sum()
        D = (X.astype(np.float64) - aligner.landmarks_.astype(np.float64)) ** 2
        expected = np.exp(-D / (2 * gamma * variance))
        np.testing.assert_allclose(out, expected, atol=2e-5)
    with pytest.raises(ValueError, match="gamma=5e-324 is too small"):
        RBFAutoScaleAligner(gamma=5e-324, n_landmarks=5).fit(X)

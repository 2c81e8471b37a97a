"""What repeats exactly of speed: passes, evaluations, launches, memory, imports."""

import numpy as np
import pytest
import torch
from _estimators import ALIGNERS, WITH_LANDMARKS
from _pretend_cuda import pretend_cuda
from _samples import blobs
from sklearn.base import clone

from sklearn_featalign import PoissonUniformizer, RBFAutoScaleAligner, _memory
from sklearn_featalign._kernels import _bandwidth
from sklearn_featalign._poisson import _fields

UNWANTED = ("matplotlib", "rich", "pandas", "sklearn.cluster", "sklearn.manifold")


@pytest.fixture
def pairs(monkeypatch):
    """Numbers of pairs of which distances are computed, one for each block."""
    counted = []
    original = _bandwidth.distances_to_landmarks

    def counting(X, landmarks, scaling, direct):
        counted.append(len(X) * len(landmarks))
        return original(X, landmarks, scaling, direct)

    monkeypatch.setattr(_bandwidth, "distances_to_landmarks", counting)
    return counted


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("c", [0.15, 0.3, 0.9])
def test_a_fit_computes_distances_once_or_a_few_times(c, dtype, pairs, monkeypatch):
    X = blobs(n_samples=3000, n_features=20).astype(dtype)
    aligner = RBFAutoScaleAligner(c, n_landmarks=300, random_state=0)
    for kept, most in ((2**27, 1), (0, 4)):
        pairs.clear()
        monkeypatch.setattr(_memory, "KEPT_BYTES", kept)
        aligner.fit(X)
        # The guess, in float32 and if need be in float64, has a few hundred rows.
        guessed = 2 * 512 * 300
        assert 3000 * 300 <= sum(pairs) <= most * 3000 * 300 + guessed
        assert abs(aligner.mean_affinity_ - c) <= 1e-6 * c


def test_what_a_fit_keeps_is_bounded(monkeypatch):
    X = blobs(n_samples=2000, n_features=5)
    with pretend_cuda() as ledger:
        RBFAutoScaleAligner(n_landmarks=1000, batch_size=50).fit(X)
    kept = 2000 * 1000 * 8
    assert kept <= ledger.peak <= 1.3 * kept
    monkeypatch.setattr(_memory, "KEPT_BYTES", kept - 1)
    monkeypatch.setattr(_bandwidth, "_GUESSED_PAIRS", 2**14)
    with pretend_cuda() as ledger:
        RBFAutoScaleAligner(n_landmarks=1000, batch_size=50).fit(X)
    assert ledger.peak < kept / 4


@pytest.mark.parametrize(("solver", "n_evaluations"), [("euler", 1), ("rk4", 4)])
def test_evaluations_of_the_field(solver, n_evaluations, monkeypatch):
    X = blobs()
    uniformizer = PoissonUniformizer(solver=solver, n_steps=7, batch_size=50).fit(X)
    rows = []
    original = _fields.mean_charge_by_powers

    def counting(Z, *args, **kwargs):
        rows.append(len(Z))
        return original(Z, *args, **kwargs)

    monkeypatch.setattr(_fields, "mean_charge_by_powers", counting)
    uniformizer.transform(X)
    assert rows == [50] * 7 * n_evaluations * 2 + [20] * 7 * n_evaluations


# Of a batch: those that load and write it, and what features take.
LAUNCHES = {"rbf": 14, "rbf ridge": 26, "gcca": 34}


@pytest.mark.parametrize("name", LAUNCHES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_launches_are_of_batches(name, dtype):
    X = blobs(n_samples=400).astype(dtype)
    aligner = clone(ALIGNERS[name]).fit(X)
    ops = {}
    for n_batches, n_rows in ((1, 400), (1, 100), (2, 400), (4, 400)):
        aligner.set_params(batch_size=n_rows // n_batches)
        with pretend_cuda() as ledger:
            aligner.transform(X[:n_rows])
        ops[n_batches, n_rows] = ledger.device_ops
    assert ops[1, 400] == ops[1, 100]
    of_a_batch = ops[2, 400] - ops[1, 400]
    assert ops[4, 400] - ops[2, 400] == 2 * of_a_batch
    assert of_a_batch <= LAUNCHES[name]


@pytest.mark.parametrize("name", WITH_LANDMARKS)
def test_memory_of_a_transform_is_that_of_its_batch(name):
    X = blobs(n_samples=2000)
    aligner = clone(ALIGNERS[name]).fit(X[:300])
    peaks = {}
    for batch_size in (200, 400):
        aligner.set_params(batch_size=batch_size)
        for n_rows in (800, 2000):
            with pretend_cuda() as ledger:
                aligner.transform(X[:n_rows])
            peaks[batch_size, n_rows] = ledger.peak
    assert peaks[200, 800] == peaks[200, 2000]
    assert peaks[400, 800] == peaks[400, 2000]
    numbers = (peaks[400, 800] - peaks[200, 800]) / 200 / 8
    width = X.shape[1] + aligner.transform(X[:1]).shape[1]
    assert numbers <= 6 * width


def test_checks_of_a_tensor_take_no_memory_of_its_size():
    X = blobs(n_samples=20000, n_features=40)
    aligner = RBFAutoScaleAligner(n_landmarks=2, batch_size=100, random_state=0)
    aligner.fit(X[:300])
    with pretend_cuda() as ledger:
        aligner.transform(torch.from_numpy(X).cuda())
    output = 20000 * 2 * 8
    assert ledger.peak <= X.nbytes + output + X.nbytes / 20


def test_float32_takes_half_of_the_memory():
    X = blobs(n_samples=1000)
    peaks = {}
    for dtype in (np.float32, np.float64):
        aligner = RBFAutoScaleAligner(n_landmarks=100, random_state=0)
        aligner.fit(X.astype(dtype))
        with pretend_cuda() as ledger:
            aligner.transform(X.astype(dtype))
        peaks[dtype] = ledger.peak
    assert peaks[np.float32] < 0.55 * peaks[np.float64]


def test_the_import_brings_nothing_that_is_slow(imports):
    brought = imports["package"] - imports["base"]
    assert "sklearn_featalign" in brought
    assert not set(UNWANTED) & brought


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_products_that_lose_digits_are_not_taken(precision):
    X = blobs(n_samples=300).astype(np.float32)
    aligner = RBFAutoScaleAligner(n_landmarks=20, random_state=0)
    expected = clone(aligner).fit(X.astype(np.float64))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        out = aligner.fit(X).transform(X)
    finally:
        torch.set_float32_matmul_precision(before)
    assert aligner.gamma_ == pytest.approx(expected.gamma_, rel=1e-12)
    features = expected.transform(X.astype(np.float64))
    np.testing.assert_array_equal(out, features.astype(np.float32))
    # And in float32, here, the products are taken.
    assert (clone(aligner).fit(X).transform(X) != out).any()

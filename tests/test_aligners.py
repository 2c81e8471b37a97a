"""What holds for every aligner and for the uniformizer, whatever they compute."""

import numpy as np
import pytest
import torch
from _estimators import ADAPTIVE, ALIGNERS, WITH_LANDMARKS
from _samples import blobs
from sklearn.base import clone

from sklearn_featalign import (
    KernelGCCAAligner,
    RBFAutoScaleAligner,
)


@pytest.fixture(params=ALIGNERS | ADAPTIVE)
def name(request):
    return request.param


@pytest.fixture(params=WITH_LANDMARKS)
def landmark_aligner(request):
    return clone(WITH_LANDMARKS[request.param])


def test_far_rows_stay_finite(aligner):
    aligner.fit(blobs() * 1e-7)
    far = np.vstack([np.full(4, 1e150), np.full(4, -1.7e308)])
    out = aligner.transform(far)
    assert np.isfinite(out).all()
    if isinstance(aligner, RBFAutoScaleAligner) and aligner.normalize is None:
        assert (out == 0).all()
    elif isinstance(aligner, KernelGCCAAligner) and aligner.views is None:
        np.testing.assert_allclose(np.linalg.norm(out, axis=1), 1)


def test_batch_size_does_not_matter(landmark_aligner):
    X, aligner = blobs(), landmark_aligner
    whole = aligner.fit_transform(X)
    # The filter of three views is the fourth root of a sum.
    atol = 1e-7 if aligner.views == [1, 2, 1] else 1e-9
    for batch_size in (1, 7, 1000):
        aligner.set_params(batch_size=batch_size)
        np.testing.assert_allclose(aligner.fit_transform(X), whole, atol=atol)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_give_tensors_of_the_same_values(aligner, dtype):
    X = torch.from_numpy(blobs()).to(dtype)
    out = aligner.fit(X.clone().requires_grad_()).transform(X)
    assert isinstance(out, torch.Tensor) and out.dtype == dtype
    assert not out.requires_grad and out.device == X.device
    expected = aligner.fit(X.numpy()).transform(X.numpy())
    np.testing.assert_array_equal(out.numpy(), expected)
    assert isinstance(getattr(aligner, "landmarks_", expected), np.ndarray)

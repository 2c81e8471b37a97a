"""Functions of fitted views, for serving: the same answers without the aligner."""

import pickle

import numpy as np
import pytest
import torch
from _estimators import ALIGNERS, make
from _samples import blobs
from sklearn.base import clone

from sklearn_featalign import (
    KernelGCCAAligner,
    RBFAutoScaleAligner,
    _torch,
    split_views,
)
from sklearn_featalign._compiled import CompiledMap

WITH_VIEWS = [name for name, a in ALIGNERS.items() if getattr(a, "views", None)]


def maps(aligner, X, dtype):
    """Yield compiled maps of all views, their rows, and what the aligner says of them.

    Translations are among them if the aligner has any.
    """
    blocks = split_views(X, aligner)
    for i, block in enumerate(blocks):
        compiled = aligner.compile_view(i, dtype=dtype)
        yield compiled, block, aligner.transform_view(block, i)
        if hasattr(aligner, "translate"):
            other = (i + 1) % len(blocks)
            compiled = aligner.compile_translation(i, other, dtype=dtype)
            yield compiled, block, aligner.translate(block, i, other)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", WITH_VIEWS)
def test_compiled_maps_are_those_of_the_aligner(name, dtype):
    aligner = make(name).fit(blobs())
    for compiled, rows, expected in maps(aligner, blobs(1).astype(dtype), dtype):
        found = compiled(rows)
        assert found.dtype == expected.dtype == dtype
        np.testing.assert_array_equal(found, expected)
        loaded = pickle.loads(pickle.dumps(compiled))
        np.testing.assert_array_equal(loaded(rows), expected)
        assert (compiled.n_features_in, compiled.n_features_out) == (
            rows.shape[1],
            expected.shape[1],
        )
        one = compiled(rows[:1])
        rtol = 1e-9 if dtype == "float64" else 1e-4
        np.testing.assert_allclose(one, expected[:1], rtol=rtol, atol=rtol)


def test_compiled_maps_take_any_floats_and_any_number_of_rows():
    X = blobs().astype(np.float32)
    aligner = RBFAutoScaleAligner(views=[2, 2], n_landmarks=15, random_state=0).fit(X)
    compiled = aligner.compile_view(0)
    A = X[:, :2]
    expected = compiled(A)
    compiled.batch_size = 7
    np.testing.assert_allclose(compiled(A), expected, rtol=1e-5)
    assert compiled(A[:0]).shape == (0, 15)
    found = compiled(torch.from_numpy(A).double().requires_grad_())
    assert found.dtype == torch.float32 and not found.requires_grad
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    # Columns of a wider array are not contiguous, and mapped files are read only.
    A.setflags(write=False)
    np.testing.assert_allclose(compiled(A[::-1])[::-1], expected, rtol=1e-5)
    text = "CompiledMap(2 -> 15 features, torch.float32, cpu)"
    assert repr(compiled) == text
    for wrong in (A[:, :1], A[0]):
        with pytest.raises(ValueError, match="Rows of 2 features are expected"):
            compiled(wrong)
    with pytest.raises(TypeError, match="An array or a tensor is expected"):
        compiled(A.tolist())
    with pytest.raises(ValueError, match="dtype must be float32 or float64"):
        aligner.compile_view(0, dtype="float16")


@pytest.mark.parametrize("name", WITH_VIEWS)
def test_only_the_output_is_rounded(name):
    X = blobs() + 1e8
    aligner = make(name).fit(X)
    for compiled, rows, expected in maps(aligner, blobs(1) + 1e8, np.float32):
        found = compiled(rows)
        assert found.dtype == np.float32
        spread = expected.std(0).max()
        np.testing.assert_allclose(
            found, expected.astype(np.float32), atol=1e-5 * spread
        )


def test_the_precision_of_products_does_not_change_the_dtype(monkeypatch):
    aligner = RBFAutoScaleAligner(views=[2, 2], n_landmarks=15).fit(blobs())
    monkeypatch.setattr(_torch, "matmul_is_full_precision", lambda device: False)
    assert aligner.compile_view(0)(blobs()[:, :2]).dtype == np.float32


def test_maps_of_an_absent_device_are_loaded_on_the_cpu():
    aligner = RBFAutoScaleAligner(views=[2, 2], n_landmarks=15).fit(blobs())
    compiled, A = aligner.compile_view(0), blobs()[:, :2]
    state = compiled.__getstate__() | {"device": "cuda:7"}
    loaded = CompiledMap.__new__(CompiledMap)
    loaded.__setstate__(state)
    assert loaded.device == torch.device("cpu")
    np.testing.assert_array_equal(loaded(A), compiled(A))


def test_compiled_maps_do_not_follow_the_aligner():
    X = blobs()
    aligner = KernelGCCAAligner(views=[2, 2], n_landmarks=15, random_state=0).fit(X)
    compiled, A = aligner.compile_view("view0", dtype="float64"), X[:, :2]
    before = compiled(A)
    aligner.set_params(metric="cosine").fit(X[::-1] + 1)
    np.testing.assert_array_equal(compiled(A), before)
    assert not hasattr(clone(aligner).set_params(views=None), "compile_view")

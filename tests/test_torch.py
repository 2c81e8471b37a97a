import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator

from sklearn_featalign._torch import Rows, resolve_device, validate_rows

CPU = torch.device("cpu")


@pytest.mark.parametrize("device", ["cuda:99", "mps", "meta", "gpu", ""])
def test_an_absent_device_is_named_with_those_that_are_there(device):
    message = f"device='{device}' is not available. Devices with float64 on this.* cpu"
    with pytest.raises(ValueError, match=message):
        resolve_device(device)


def test_auto_without_cuda_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == CPU
    assert resolve_device("auto", torch.zeros(1)) == CPU


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("float64", "float64"),
        ("float32", "float32"),
        ("float16", "float32"),
        ("int64", "float64"),
        ("uint8", "float64"),
        ("bool", "float64"),
    ],
)
def test_dtypes(given, kept):
    X = np.array([[0, 1], [1, 0], [1, 1]], dtype=given)
    assert validate_rows(BaseEstimator(), X, fitting=True).dtype == kept
    tensor = validate_rows(BaseEstimator(), torch.from_numpy(X), fitting=True)
    assert tensor.dtype == getattr(torch, kept)


def test_further_kinds_of_rows():
    for dtype in (">f4", ">f8", "longdouble", object):
        X = validate_rows(BaseEstimator(), np.eye(3).astype(dtype), fitting=True)
        assert X.dtype == (np.float32 if dtype == ">f4" else np.float64)
        np.testing.assert_array_equal(X, np.eye(3))
    tensor = torch.eye(3, dtype=torch.bfloat16, requires_grad=True)
    tensor = validate_rows(BaseEstimator(), tensor, fitting=True)
    assert tensor.dtype == torch.float32 and not tensor.requires_grad


@pytest.mark.parametrize("as_tensor", [False, True])
def test_batches_cover_all_rows_in_order(as_tensor):
    X = np.random.default_rng(0).normal(size=(23, 3)).astype(np.float32)
    rows = Rows(torch.from_numpy(X) if as_tensor else X, CPU, 5, n_outputs=2)
    sizes = list(rows.map(len))
    assert sizes == [5, 5, 5, 5, 3]
    out = rows.collect(lambda batch: 2 * batch[:, :2], n_outputs=2)
    assert isinstance(out, torch.Tensor) == as_tensor
    np.testing.assert_array_equal(out, 2 * X[:, :2])


def test_auto_batches_bound_the_numbers_at_work():
    rows = Rows(np.zeros((10, 1000)), CPU, "auto", n_outputs=2**22)
    assert rows.batch_size == 1
    rows = Rows(np.zeros((10, 1000)), CPU, "auto", n_outputs=24)
    assert rows.batch_size == 2**22 // 1024


@pytest.mark.parametrize("fits", [1, 2, 3, 100])
def test_out_of_memory_halves_the_batch(fits):
    X = np.arange(40.0).reshape(20, 2)
    seen = []

    def function(batch):
        seen.append(len(batch))
        if len(batch) > fits:
            raise torch.OutOfMemoryError("out of memory")
        return batch

    out = Rows(X, CPU, 16, n_outputs=2).collect(function, n_outputs=2)
    np.testing.assert_array_equal(out, X)
    assert seen[0] == 16 and seen[-1] <= fits


def test_one_row_too_large_raises():
    def function(batch):
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        Rows(np.zeros((8, 2)), CPU, 8, n_outputs=2).collect(function, n_outputs=2)


@pytest.mark.parametrize(
    "layout",
    [
        np.asfortranarray,
        lambda X: np.repeat(X, 2, axis=1)[:, ::2],
        lambda X: X[::-1, ::-1].copy()[::-1, ::-1],
    ],
)
def test_memory_layout_does_not_matter(layout):
    X = np.random.default_rng(0).normal(size=(6, 3))
    arranged = layout(X)
    arranged.flags.writeable = False
    loaded = Rows(arranged, CPU, 4, n_outputs=1).load(slice(None))
    assert loaded.is_contiguous()
    np.testing.assert_array_equal(loaded, X)

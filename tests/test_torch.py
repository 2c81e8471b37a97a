import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator

from sklearn_featalign._torch import (
    Rows,
    check_rows,
    resolve_device,
    with_smaller_batches,
)

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
    assert check_rows(BaseEstimator(), X).dtype == kept
    tensor = check_rows(BaseEstimator(), torch.from_numpy(X))
    assert tensor.dtype == getattr(torch, kept)


def test_further_kinds_of_rows():
    for dtype in (">f4", ">f8", "longdouble", object):
        X = check_rows(BaseEstimator(), np.eye(3).astype(dtype))
        assert X.dtype == (np.float32 if dtype == ">f4" else np.float64)
        np.testing.assert_array_equal(X, np.eye(3))
    tensor = torch.eye(3, dtype=torch.bfloat16, requires_grad=True)
    tensor = check_rows(BaseEstimator(), tensor)
    assert tensor.dtype == torch.float32 and not tensor.requires_grad


@pytest.mark.parametrize("as_tensor", [False, True])
def test_batches_cover_all_rows_in_order(as_tensor):
    X = np.random.default_rng(0).normal(size=(23, 3)).astype(np.float32)
    rows = Rows(torch.from_numpy(X) if as_tensor else X, CPU, 5, n_outputs=2)
    sizes = [len(batch) for batch in rows]
    assert sizes == [5, 5, 5, 5, 3]
    out = rows.X[:, :2] * 0
    rows.collect(lambda batch: 2 * batch[:, :2], out)
    np.testing.assert_array_equal(out, 2 * X[:, :2])


@pytest.mark.parametrize("as_tensor", [False, True])
def test_chosen_rows_are_written_where_they_stand(as_tensor):
    X = np.random.default_rng(0).normal(size=(23, 3)).astype(np.float32)
    where = np.array([20, 1, 2, 9, 7])
    rows = Rows(torch.from_numpy(X) if as_tensor else X, CPU, 2, 1, where)
    assert len(rows) == 5
    np.testing.assert_array_equal(rows.take(slice(1, 4)), X[[1, 2, 9]])
    np.testing.assert_array_equal(rows.load(), X[where].astype(float))
    np.testing.assert_array_equal(rows.to_numpy(), X[where])
    np.testing.assert_array_equal(rows.at(np.array([3])).load(), X[[3]])
    out = rows.X * 0 + 1
    rows.collect(lambda batch: batch, out, add=True)
    expected = np.ones_like(X)
    expected[where] += X[where]
    np.testing.assert_array_equal(out, expected)


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

    out = np.zeros_like(X)
    Rows(X, CPU, 16, n_outputs=2).collect(function, out)
    np.testing.assert_array_equal(out, X)
    assert seen[0] == 16 and seen[-1] <= fits


def test_one_row_too_large_raises():
    def function(batch):
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        Rows(np.zeros((8, 2)), CPU, 8, n_outputs=2).collect(function, np.zeros((8, 2)))


@pytest.mark.parametrize("fits", [1, 2, 3, 100])
def test_out_of_memory_restarts_a_pass_with_half_the_batch(fits):
    X = np.arange(40.0).reshape(20, 2)
    sizes, kept = [], []

    def total(rows, factor):
        kept.append(rows.kept_bytes)
        result = 0.0
        for batch in rows:
            sizes.append(len(batch))
            if len(batch) > fits:
                raise torch.OutOfMemoryError("out of memory")
            result += factor * batch.sum()
        return result

    assert with_smaller_batches(total, Rows(X, CPU, 16), factor=2) == 2 * X.sum()
    assert sizes[0] == 16 and max(sizes[-20 // fits :]) <= fits
    assert kept[0] > 0 and not any(kept[1:])
    with pytest.raises(torch.OutOfMemoryError):
        fits = 0
        with_smaller_batches(total, Rows(X, CPU, 16), 2)


def test_what_is_kept_is_given_up_before_single_rows_are():
    def total(rows):
        if rows.kept_bytes:
            raise torch.OutOfMemoryError("out of memory")
        return sum(batch.sum() for batch in rows)

    X = np.arange(6.0).reshape(3, 2)
    assert with_smaller_batches(total, Rows(X, CPU, 1)) == X.sum()


def test_a_batch_is_halved_from_the_rows_that_there_are():
    sizes = []

    def fail(rows):
        sizes.append(rows.batch_size)
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        with_smaller_batches(fail, Rows(np.zeros((8, 2)), CPU, 10**9))
    assert sizes == [10**9, 4, 2, 1]


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
    loaded = Rows(arranged, CPU, 4, n_outputs=1).load()
    assert loaded.is_contiguous()
    np.testing.assert_array_equal(loaded, X)

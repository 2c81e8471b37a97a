"""Whatever an array is made of and however large its numbers, the result is the same.

The cases are those in which other transformers were seen to fail or to change their
result; every public estimator goes through all of them.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from _estimators import make
from _samples import blobs

from sklearn_featalign import PoissonDenoiser, PoissonUniformizer


def memory_map(X, path):
    np.save(path / "X.npy", X)
    return np.load(path / "X.npy", mmap_mode="r")


def read_only(X, path):
    X = X.copy()
    X.flags.writeable = False
    return X


KINDS = {
    "Fortran order": lambda X, path: np.asfortranarray(X),
    "big-endian": lambda X, path: X.astype(">f8"),
    "big-endian singles": lambda X, path: X.astype(">f4"),
    "every other column": lambda X, path: np.repeat(X, 2, axis=1)[:, ::2],
    "backwards": lambda X, path: X[::-1, ::-1].copy()[::-1, ::-1],
    "read-only": read_only,
    "memory map": memory_map,
    "objects": lambda X, path: X.astype(object),
    "lists": lambda X, path: X.tolist(),
    "whole numbers": lambda X, path: X.astype(np.int16),
    "halves": lambda X, path: X.astype(np.float16),
    "long double": lambda X, path: X.astype(np.longdouble),
    "masked array, its mask ignored as by scikit-learn": lambda X, path: (
        np.ma.masked_array(X, X > 0)
    ),
    "values of a frame": lambda X, path: pd.DataFrame(X).to_numpy(),
    "frame": lambda X, path: pd.DataFrame(X, columns=list("abcd")),
    "tensor": lambda X, path: torch.from_numpy(X),
    "transposed tensor": lambda X, path: torch.from_numpy(X.T.copy()).T,
    "tensor with gradients": lambda X, path: torch.from_numpy(X).requires_grad_(),
    "tensor of bfloat16": lambda X, path: torch.from_numpy(X).to(torch.bfloat16),
}
SINGLE = {"big-endian singles", "halves", "tensor of bfloat16"}
ROUNDED = SINGLE | {"whole numbers"}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_rows_that_are_as_good_as_an_array(kind, name, tmp_path):
    X = blobs(n_samples=60)
    if kind in ROUNDED:
        # Small whole numbers, which it holds exactly.
        X = np.rint(4 * X)
    plain = X.astype(np.float32) if kind in SINGLE else X
    expected = make(name).fit(plain).transform(plain)
    rows = KINDS[kind](X, tmp_path)
    out = make(name).fit(rows).transform(rows)
    assert str(out.dtype).removeprefix("torch.") == expected.dtype
    np.testing.assert_array_equal(out, expected)


def test_truth_values(name):
    X = np.random.default_rng(0).random((80, 4)) > 0.5
    aligner = make(name)
    if "c" in aligner.get_params():
        # Of one such column half of the distances are zero.
        aligner.set_params(c=0.9)
    expected = aligner.fit(X.astype(float)).transform(X.astype(float))
    np.testing.assert_array_equal(aligner.fit(X).transform(X), expected)


def test_input_is_left_as_it_was(name):
    X = blobs(n_samples=60)
    tensor = torch.from_numpy(X.copy())
    make(name).fit(tensor).transform(tensor)
    np.testing.assert_array_equal(tensor, X)
    rows = X.copy()
    make(name).fit(rows).transform(rows)
    np.testing.assert_array_equal(rows, X)


SCALES = {
    "single, 1e-30": (np.float32, -100),
    "single, 1e30": (np.float32, 95),
    "double, 1e-30": (np.float64, -100),
    "double, 1e30": (np.float64, 100),
    "double, 1e-200": (np.float64, -665),
    "double, 1e200": (np.float64, 665),
}


@pytest.mark.parametrize("scale", SCALES)
def test_scales(scale, name):
    """Powers of two, which change no digit of the rows."""
    dtype, exponent = SCALES[scale]
    X, X_new = (blobs(seed, 60).astype(dtype) for seed in (0, 1))
    factor = dtype(2.0) ** dtype(exponent)
    aligner = make(name)
    expected = aligner.fit(X).transform(X_new).astype(float)
    if name == "poisson projected":
        # The document's flow is of the rows as they are.
        with pytest.raises(ValueError, match="of X about its mean is .* scaling=None"):
            aligner.fit(X * factor)
        aligner.set_params(scaling="view", output="flow")
        expected = aligner.fit(X).transform(X_new)[:, :-1]
        out = aligner.fit(X * factor).transform(X_new * factor)[:, :-1] / factor
        np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-3)
        return
    out = aligner.fit(X * factor).transform(X_new * factor)
    assert np.isfinite(out).all()
    if name == "poisson denoiser":
        out = out / factor
    tolerance = 1e-5 if dtype == np.float32 else 1e-9
    np.testing.assert_allclose(out, expected, rtol=tolerance, atol=tolerance)


def test_duplicates_and_constant_columns(name):
    X = blobs(n_samples=60)
    X[:, 3] = X[:, 2]
    rows = np.repeat(X, 2, axis=0)
    aligner = make(name)
    out = aligner.fit(rows).transform(X)
    assert np.isfinite(out).all() and np.ptp(out, axis=0).max() > 1e-3
    is_poisson = isinstance(aligner, PoissonUniformizer | PoissonDenoiser)
    if is_poisson and aligner.n_charges is None:
        np.testing.assert_array_equal(aligner.charge_counts_, np.full(60, 2.0))
    if "max_epochs" in aligner.get_params() or getattr(aligner, "views", None):
        return
    # A column that does not vary is as good as none.
    with_constant = np.column_stack([rows[:, :2], np.full(120, 7.0), rows[:, 2:]])
    again = make(name).fit(with_constant).transform(with_constant[::2])
    if is_poisson:
        params = aligner.get_params()
        if params.get("field", "exact") != "exact" or "hemisphere" in params.values():
            assert np.isfinite(again).all()
            return
        again = np.delete(again, 2, axis=1)
    if name.startswith("gcca"):
        # The rotation of the components depends on the columns.
        again, out = again @ again.T, out @ out.T
    np.testing.assert_allclose(again, out, rtol=1e-7, atol=1e-9)

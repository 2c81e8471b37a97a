"""The gate between arrays and tensors: validation, devices, batches, fitted state."""

import os
from functools import wraps
from numbers import Integral

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import assert_all_finite, check_array, check_scalar
from sklearn.utils.validation import validate_data

from sklearn_featalign import _memory

# Of more than so many rows that are watched, so many are computed first.
_MANY_ROWS = 8192
_FIRST_ROWS = 1024


class Fork:
    """Knows whether rows were computed before this process was forked.

    The threads of OpenMP are then missing here, and whoever waits for them does so for
    ever.
    """

    has_computed = False
    threads_are_missing = False

    @classmethod
    def in_child(cls):
        """Take note of a fork, in the child."""
        cls.threads_are_missing = cls.has_computed

    @classmethod
    def check(cls):
        """Raise an error instead of waiting for ever."""
        if cls.threads_are_missing and torch.get_num_threads() > 1:
            raise RuntimeError(
                "This process was forked from one that has used torch on several "
                "threads, and would wait for these for ever. Start processes by "
                "'spawn' or 'forkserver', as joblib's 'loky' does, or call "
                "torch.set_num_threads(1) in them first."
            )
        cls.has_computed = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=Fork.in_child)


def resolve_device(device, X=None):
    """Return the torch device to compute on.

    "auto" is the device of X if X is a CUDA tensor; otherwise it is CUDA if the machine
    has it, and the CPU if not.

    Raises
    ------
    ValueError
        If the machine does not have the device, or the device does not have float64.
    """
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        if isinstance(X, torch.Tensor) and X.is_cuda:
            return X.device
        return torch.device("cuda" if n_gpus else "cpu")
    available = ["cpu"] + ["cuda"] * bool(n_gpus)
    available += [f"cuda:{index}" for index in range(n_gpus)]
    if device not in available:
        raise ValueError(
            f"device={device!r} is not available. Devices with float64 on this "
            f"machine: {', '.join(available)}; device='auto' takes what is there."
        )
    return torch.device(device)


def matmul_is_full_precision(device):
    """Return whether float32 matrix products have full precision.

    They have, unless the user enabled TF32 or bfloat16, globally or by autocast.
    """
    if torch.is_autocast_enabled(device.type):
        return False
    backends = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    if hasattr(backends[0], "fp32_precision"):
        return all(backend.fp32_precision in ("none", "ieee") for backend in backends)
    # Releases of torch before 2.9 have one setting for all backends.
    return torch.get_float32_matmul_precision() == "highest"


def in_plain_torch(method):
    """Decorate a fit that is to be the same in the user's contexts of torch.

    Autocast would take half of the digits away, and what is made in inference mode
    cannot be trained on.
    """

    @wraps(method)
    def run(*args, **kwargs):
        with (
            torch.inference_mode(False),
            torch.autocast("cpu", enabled=False),
            torch.autocast("cuda", enabled=False),
        ):
            return method(*args, **kwargs)

    return run


def torch_generator(random_state, device="cpu"):
    """Return a new generator, seeded by a draw from a RandomState.

    A generator on the CPU draws the same numbers whatever device they are sent to.
    """
    seed = int(random_state.randint(2**31 - 1))
    return torch.Generator(device).manual_seed(seed)


def check_rows(estimator, X, *, min_samples=1, allow_nan=False, input_name="X"):
    """Check the values of X and return it as a float array or a detached float tensor.

    float32 and float64 are kept, half types become float32, and everything else becomes
    float64. The estimator, which may be None, is named in errors and not changed;
    columns are not compared with those of its fit: see `check_names`.
    """
    X = check_kind(
        X,
        input_name,
        ensure_all_finite="allow-nan" if allow_nan else True,
        ensure_min_samples=min_samples,
        estimator=estimator,
    )
    if not isinstance(X, torch.Tensor):
        return X.astype(np.float32 if is_single(X) else np.float64, copy=False)
    X = X.detach().to(torch.float32 if is_single(X) else torch.float64)
    # aminmax propagates NaN and, unlike isfinite(X), allocates nothing of X's size.
    if torch.isfinite(torch.stack(X.aminmax())).all():
        return X
    refused = torch.isinf(X) if allow_nan else ~torch.isfinite(X)
    if refused.any():
        name = type(estimator).__name__ if estimator is not None else None
        first = X[refused][:1].cpu().numpy()
        assert_all_finite(first, estimator_name=name, input_name=input_name)
    return X


def check_kind(X, input_name, **kwargs):
    """Return X as an array, checked by `check_array`, or as the tensor that it is.

    A tensor is not looked at for values that are not finite.
    """
    is_tensor = isinstance(X, torch.Tensor)
    if is_tensor and X.layout != torch.strided:
        raise TypeError(
            f"Sparse data was passed for {input_name}, but dense data is required."
        )
    # dtype="numeric" refuses strings of digits; a float dtype would parse them.
    array = check_array(
        _dummy_array(X), dtype="numeric", input_name=input_name, **kwargs
    )
    return X if is_tensor else array


def to_labels(y):
    """Return labels or numbers as they are, and tensors of them as arrays.

    numpy has no bfloat16, and scikit-learn does not check all tensors.
    """
    if not isinstance(y, torch.Tensor):
        return y
    if y.layout != torch.strided:
        raise TypeError("Sparse data was passed for y, but dense data is required.")
    y = y.detach().resolve_conj().cpu()
    return (y.float() if y.dtype == torch.bfloat16 else y).numpy()


def check_names(estimator, X):
    """Raise an error if the columns have other names than in the fit."""
    # ensure_2d=False leaves the number of columns unchecked.
    validate_data(estimator, X, reset=False, skip_check_array=True, ensure_2d=False)


def feature_attributes(X):
    """Return ``n_features_in_`` and, if columns have names, ``feature_names_in_``."""
    scratch = BaseEstimator()
    validate_data(scratch, _dummy_array(X), reset=True, skip_check_array=True)
    return vars(scratch)


def set_fitted(estimator, fitted, optional=()):
    """Set all fitted attributes of an estimator at once, as the last step of a fit.

    A fit that fails or is interrupted before this point leaves the previous one usable.
    `optional` names attributes that only some fits have: they are deleted first.
    """
    attributes = vars(estimator)
    for name in ("feature_names_in_", *optional):
        attributes.pop(name, None)
    attributes.update(fitted)


def is_single(X):
    """Return whether an array or tensor has single or half precision."""
    if isinstance(X, torch.Tensor):
        return X.is_floating_point() and X.dtype.itemsize <= 4
    return X.dtype.kind == "f" and X.dtype.itemsize <= 4


def _dummy_array(X):
    """Return a broadcast dummy array of a tensor's shape, and anything else as it is.

    scikit-learn's validators then run on tensors without a copy.
    """
    if not isinstance(X, torch.Tensor):
        return X
    kind = np.complex64 if X.is_complex() else np.float32
    return np.broadcast_to(np.zeros((), kind), tuple(X.shape))


def torch_dtype(array):
    """Return the torch dtype that corresponds to an array's dtype."""
    return torch.from_numpy(np.empty(0, array.dtype)).dtype


def full_like(X, n_columns, value=None):
    """Return an array or tensor like X with another number of columns.

    It is filled with a value, or left uninitialised if the value is None.
    """
    shape = (X.shape[0], n_columns)
    if isinstance(X, torch.Tensor):
        return X.new_empty(shape) if value is None else X.new_full(shape, value)
    if value is None:
        return np.empty(shape, X.dtype)
    return np.full(shape, value, dtype=X.dtype)


def to_device(X, device):
    """Return an array or tensor as a contiguous tensor on a device.

    It is not to be written to, since it may share its memory with the array.
    """
    if isinstance(X, np.ndarray):
        # torch.from_numpy needs writable memory and positive strides. A single row of a
        # reversed array counts as contiguous, but has others.
        is_plain = X.flags.c_contiguous and X.flags.writeable
        if not is_plain or min(X.strides) < 0:
            X = np.array(X, order="C")
        X = torch.from_numpy(X)
    # A batch is copied from pinned memory while the host goes on. Pinned memory is
    # cached and not given back, so larger tensors are copied without it.
    is_sent = device.type == "cuda" and not X.is_cuda
    is_sent = is_sent and X.numel() <= _memory.BATCH_NUMBERS
    X = X.pin_memory() if is_sent else X
    # Sums over rows in another memory layout differ in their last digits.
    return X.to(device, non_blocking=is_sent).contiguous()


class Rows:
    """Rows of X on a device, in batches: ``for batch in rows``.

    Batches have the precision of X, float32 or float64. They are float64 where float32
    matrix products do not have full precision.

    Parameters
    ----------
    X : {ndarray, tensor} of shape (n_samples, n_features)
    device : torch.device
    batch_size : int or "auto"
        With "auto" a batch and its outputs take at most 32 MiB; a few copies of these
        are in memory at a time.
    n_outputs : int
        Numbers computed for each row, for "auto".
    where : ndarray of int, optional
        Indices of the selected rows of X, in this order; all rows by default.

    Attributes
    ----------
    kept_bytes : int
        How much may be kept in memory between two passes over the rows: nothing once
        memory has run out.
    """

    def __init__(self, X, device, batch_size, n_outputs=0, where=None):
        Fork.check()
        self.X = X
        self.device = device
        self.where = where
        is_exact = is_single(X) and matmul_is_full_precision(device)
        self.dtype = torch.float32 if is_exact else torch.float64
        if batch_size != "auto":
            check_scalar(batch_size, "batch_size", Integral, min_val=1)
        else:
            batch_size = max(1, _memory.BATCH_NUMBERS // (X.shape[1] + n_outputs))
        self.batch_size = batch_size
        self.kept_bytes = _memory.KEPT_BYTES

    def __len__(self):
        """Return the number of rows."""
        return self.X.shape[0] if self.where is None else len(self.where)

    def __iter__(self):
        """Yield one batch after the other."""
        for start in range(0, len(self), self.batch_size):
            yield self.load(slice(start, start + self.batch_size))

    def at(self, where):
        """Return other rows of the same X."""
        return Rows(self.X, self.device, self.batch_size, where=where)

    def in_smaller_batches(self):
        """Return the same rows in batches of half the size, with nothing kept."""
        size = max(1, min(self.batch_size, len(self)) // 2)
        rows = Rows(self.X, self.device, size, where=self.where)
        rows.kept_bytes = 0
        return rows

    def _positions(self, rows):
        """Return the positions in X of a slice of the rows, as an index of X."""
        if self.where is None:
            return rows
        where = self.where[rows]
        is_tensor = isinstance(self.X, torch.Tensor)
        return torch.from_numpy(where).to(self.X.device) if is_tensor else where

    def take(self, rows=slice(None)):
        """Return a slice of the rows as part of X."""
        return self.X[self._positions(rows)]

    def load(self, rows=slice(None)):
        """Return a slice of the rows on the device, not to be written to."""
        return to_device(self.take(rows), self.device).to(self.dtype)

    def to_numpy(self):
        """Return a copy of the rows as an array."""
        taken = self.take()
        if isinstance(taken, torch.Tensor):
            taken = taken.cpu().numpy()
        return np.array(taken, order="C")

    @property
    def rounding(self):
        """Relative rounding error of X, as a standard deviation."""
        return (2.0**-24 if is_single(self.X) else 2.0**-53) / 3**0.5

    def collect(self, function, out, add=False, progress=None):
        """Write ``function(batch)`` of all batches into the same rows of a container.

        The container is an array if X is one, otherwise a tensor; with `add` its values
        are added to. Where CUDA runs out of memory the batch is halved, down to one
        row. ``progress(n_done)`` is called after each batch; of many rows the first
        batch is then small, so that it is soon known how long all of them take.
        """
        is_tensor = isinstance(out, torch.Tensor)
        dtype = out.dtype if is_tensor else torch_dtype(out)
        start, size, waiting = 0, self.batch_size, None
        while start < len(self):
            n_rows = min(size, len(self) - start)
            if progress and start == 0 and len(self) > _MANY_ROWS:
                n_rows = min(size, _FIRST_ROWS)
            rows = slice(start, start + n_rows)
            block = self._attempt(function, rows, dtype, is_last=n_rows == 1)
            if block is None:
                size = n_rows // 2
                continue
            start += n_rows
            # The previous block is written while the device computes this one.
            if waiting is not None:
                write_block(out, *waiting, add)
            waiting = None
            if block.is_cuda and not (is_tensor and out.is_cuda):
                waiting = self._positions(rows), *copy_to_host(block)
            else:
                write_block(out, self._positions(rows), block, None, add)
            # Its memory is free before the next block is computed.
            del block
            if progress:
                progress(start)
        if waiting is not None:
            write_block(out, *waiting, add)

    def _attempt(self, function, rows, dtype, is_last):
        """Return the block of a batch in a dtype, or None if memory does not suffice.

        The caller has to retry: the traceback of the except clause keeps the tensors of
        the failed attempt alive.
        """
        try:
            return function(self.load(rows)).to(dtype)
        except torch.OutOfMemoryError:
            if is_last:
                raise
        torch.cuda.empty_cache()
        return None


def with_smaller_batches(function, rows, *args, **kwargs):
    """Return ``function(rows, *args, **kwargs)``, retried where CUDA has no memory.

    Each retry halves the batches, down to one row, and nothing is kept any more.
    """
    while True:
        try:
            return function(rows, *args, **kwargs)
        except torch.OutOfMemoryError:
            if rows.batch_size == 1 and not rows.kept_bytes:
                raise
        # The except clause has ended, and with it the failed attempt's tensors.
        torch.cuda.empty_cache()
        rows = rows.in_smaller_batches()


def copy_to_host(block):
    """Start to copy a block to the host; return the copy and the event of its end."""
    host = torch.empty(block.shape, dtype=block.dtype, device="cpu", pin_memory=True)
    host.copy_(block, non_blocking=True)
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(block.device))
    return host, event


def write_block(out, rows, block, event, add):
    """Write a block into rows of a container, or add it, after its event."""
    if event is not None:
        event.synchronize()
    block = block.to(out.device) if isinstance(out, torch.Tensor) else block.numpy()
    if add:
        out[rows] += block
    else:
        out[rows] = block


def as_like(values, X):
    """Return an array as an array or tensor with the dtype and device of X."""
    if isinstance(X, torch.Tensor):
        return torch.from_numpy(values).to(X)
    return values.astype(X.dtype)


def to_numpy(state):
    """Return a state with dicts instead of NamedTuples and arrays instead of tensors.

    NamedTuples and dicts may hold one another.
    """
    if hasattr(state, "_asdict"):
        state = state._asdict()
    if isinstance(state, dict):
        return {name: to_numpy(value) for name, value in state.items()}
    return state.cpu().numpy().copy() if isinstance(state, torch.Tensor) else state


def to_torch(state, device, dtype=None):
    """Return nested dicts with tensors on a device instead of arrays."""
    if isinstance(state, dict):
        return {name: to_torch(value, device, dtype) for name, value in state.items()}
    if isinstance(state, np.ndarray):
        return torch.tensor(state, dtype=dtype, device=device)
    return state

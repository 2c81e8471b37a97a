"""The only gate between arrays and tensors: validation, devices, batches of rows.

This module imports nothing from the package.
"""

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import assert_all_finite, check_array
from sklearn.utils.validation import validate_data

# Size of one batch of rows with the output it leads to, in float64 numbers.
_BATCH_NUMBERS = 2**22


def resolve_device(device, X=None):
    """Return the torch device to compute on.

    Parameters
    ----------
    device : str
        "auto" is the device of X where X is a CUDA tensor, else CUDA where there is
        one, else the CPU.
    X : ndarray or tensor, optional

    Raises
    ------
    ValueError
        If the machine has no such device, or one without float64.
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


def products_are_exact(device):
    """Return whether products of float32 are not allowed to lose digits on a device.

    By default they are not; TF32 and bfloat16 are switched on globally, or around a
    call.
    """
    if torch.is_autocast_enabled(device.type):
        return False
    places = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    if hasattr(places[0], "fp32_precision"):
        return all(place.fp32_precision in ("none", "ieee") for place in places)
    # Before torch 2.9.
    return torch.get_float32_matmul_precision() == "highest"


def torch_generator(random_state, device="cpu"):
    """Return a generator of its own, seeded by a draw from a RandomState.

    One on the CPU draws the same numbers wherever they go afterwards.
    """
    seed = int(random_state.randint(2**31 - 1))
    return torch.Generator(device).manual_seed(seed)


def check_rows(estimator, X, *, min_samples=1, allow_nan=False, input_name="X"):
    """Check the values of X and return it as an array, or a detached tensor, of floats.

    float32 and float64 stay, half types become float32, all else float64. Nothing is
    written on the estimator and the columns are not compared with those of its fit:
    that is up to the caller and `check_names`.

    Parameters
    ----------
    estimator : estimator or None
        Named in the errors.
    X : {array-like, tensor} of shape (n_samples, n_features)
    min_samples : int
    allow_nan : bool
    input_name : str
        What X is called in the errors.

    Returns
    -------
    X : {ndarray, tensor} of shape (n_samples, n_features)
    """
    is_tensor = isinstance(X, torch.Tensor)
    if is_tensor and X.layout != torch.strided:
        raise TypeError(
            f"Sparse data was passed for {input_name}, but dense data is required."
        )
    array = check_array(
        _stand_in(X),
        # "numeric" refuses strings of digits, which a dtype of float would parse.
        dtype="numeric",
        ensure_all_finite="allow-nan" if allow_nan else True,
        ensure_min_samples=min_samples,
        estimator=estimator,
        input_name=input_name,
    )
    if not is_tensor:
        dtype = np.float32 if is_single(array) else np.float64
        return array.astype(dtype, copy=False)
    X = X.detach().to(torch.float32 if is_single(X) else torch.float64)
    # Which takes no memory, and is NaN where anything is.
    if torch.isfinite(torch.stack(X.aminmax())).all():
        return X
    refused = torch.isinf(X) if allow_nan else ~torch.isfinite(X)
    if refused.any():
        name = type(estimator).__name__ if estimator is not None else None
        first = X[refused][:1].cpu().numpy()
        assert_all_finite(first, estimator_name=name, input_name=input_name)
    return X


def check_names(estimator, X):
    """Refuse columns whose names are not those of the fit."""
    # Without ensure_2d their number is not looked at.
    validate_data(estimator, X, reset=False, skip_check_array=True, ensure_2d=False)


def seen_columns(X):
    """Return the attributes of a fit that are about the columns of X."""
    scratch = BaseEstimator()
    validate_data(scratch, _stand_in(X), reset=True, skip_check_array=True)
    return vars(scratch)


def write_fit(estimator, fitted, optional=()):
    """Write all that a fit has found on an estimator, when nothing can fail any more.

    So one that fails or is interrupted leaves an older fit usable.

    Parameters
    ----------
    estimator : estimator
    fitted : dict
        Attributes, those of `seen_columns` among them.
    optional : sequence of str
        Those that not every fit has: what an older one left goes.
    """
    attributes = vars(estimator)
    for name in ("feature_names_in_", *optional):
        attributes.pop(name, None)
    attributes.update(fitted)


def is_single(X):
    """Return whether an array or tensor is of single or half precision."""
    if isinstance(X, torch.Tensor):
        return X.is_floating_point() and X.dtype.itemsize <= 4
    return X.dtype.kind == "f" and X.dtype.itemsize <= 4


def _stand_in(X):
    """Return for a tensor an array of its shape and kind that takes no memory."""
    if not isinstance(X, torch.Tensor):
        return X
    kind = np.complex64 if X.is_complex() else np.float32
    return np.broadcast_to(np.zeros((), kind), tuple(X.shape))


def torch_dtype(array):
    """Return the dtype of torch that an array would have."""
    return torch.from_numpy(np.empty(0, array.dtype)).dtype


def full_like(X, n_columns, value=None):
    """Return an array or tensor like X, of another width, filled with a value."""
    shape = (X.shape[0], n_columns)
    if value is None:
        return (
            X.new_empty(shape)
            if isinstance(X, torch.Tensor)
            else np.empty(shape, X.dtype)
        )
    if isinstance(X, torch.Tensor):
        return torch.full(shape, value, dtype=X.dtype, device=X.device)
    return np.full(shape, value, dtype=X.dtype)


class Rows:
    """Rows of X, in batches on a device, float32 or float64 as they came.

    Where products of float32 may lose digits all are float64.

    Parameters
    ----------
    X : {ndarray, tensor} of shape (n_samples, n_features)
    device : torch.device
    batch_size : int or "auto"
        Rows in a batch.
    n_outputs : int
        Numbers computed for each row; "auto" lets these and the features of a batch
        take 32 MiB at most, of which a few copies are at work at a time.
    where : ndarray of int, optional
        The rows of X that are meant, in this order; all by default.
    """

    def __init__(self, X, device, batch_size, n_outputs, where=None):
        self.X = X
        self.device = device
        self.where = where
        is_exact = is_single(X) and products_are_exact(device)
        self.dtype = torch.float32 if is_exact else torch.float64
        if batch_size == "auto":
            batch_size = max(1, _BATCH_NUMBERS // (X.shape[1] + n_outputs))
        self.batch_size = batch_size

    def __len__(self):
        """Return the number of rows."""
        return self.X.shape[0] if self.where is None else len(self.where)

    def at(self, where):
        """Return other rows of the same X."""
        return Rows(self.X, self.device, self.batch_size, 0, where)

    def _positions(self, rows):
        """Return where a slice of the rows stands in X, as X takes it for an index."""
        if self.where is None:
            return rows
        where = self.where[rows]
        is_tensor = isinstance(self.X, torch.Tensor)
        return torch.from_numpy(where).to(self.X.device) if is_tensor else where

    def take(self, rows=slice(None)):
        """Return a slice of the rows as they came."""
        return self.X[self._positions(rows)]

    def load(self, rows=slice(None)):
        """Return a slice of the rows on the device, not to be written to."""
        taken = self.take(rows)
        if isinstance(taken, np.ndarray):
            # Torch wants writable memory and positive strides.
            if not (taken.flags.c_contiguous and taken.flags.writeable):
                taken = np.array(taken, order="C")
            taken = torch.from_numpy(taken)
        # From pinned memory, which is not given back, a batch is copied while the host
        # goes on.
        sent = self.device.type == "cuda" and not taken.is_cuda
        sent = sent and taken.numel() <= _BATCH_NUMBERS
        taken = taken.pin_memory() if sent else taken
        taken = taken.to(self.device, non_blocking=sent)
        # Sums over rows that are laid out otherwise differ in their last digits.
        return taken.to(self.dtype).contiguous()

    def to_numpy(self):
        """Return the rows as they came, in an array of their own."""
        taken = self.take()
        if isinstance(taken, torch.Tensor):
            taken = taken.cpu().numpy()
        return np.array(taken, order="C")

    @property
    def rounding(self):
        """Standard deviation of the rounding errors of numbers just below one."""
        return (2.0**-24 if is_single(self.X) else 2.0**-53) / 3**0.5

    def map(self, function):
        """Yield ``function(batch)`` for one batch after the other.

        Where CUDA runs out of memory the batch is halved, down to one row.
        """
        start, size = 0, self.batch_size
        while start < len(self):
            size = min(size, len(self) - start)
            result = self._attempt(function, slice(start, start + size), size == 1)
            if result is None:
                size //= 2
                continue
            yield result
            # Gives way to the next one.
            del result
            start += size

    def _attempt(self, function, rows, last):
        """Return the result for a batch, or None if it does not fit.

        The retry has to come from outside the except clause, whose traceback keeps
        the tensors of the failed attempt alive.
        """
        try:
            return function(self.load(rows))
        except torch.OutOfMemoryError:
            if last:
                raise
        torch.cuda.empty_cache()
        return None

    def collect(self, function, out, add=False):
        """Write ``function(batch)`` for all rows into these rows of a container.

        Parameters
        ----------
        function : callable
        out : {ndarray, tensor} of shape (len(X), n_outputs)
            Of the kind of X.
        add : bool
            Whether to add to what is there.
        """
        start, waiting = 0, None
        dtype = out.dtype if isinstance(out, torch.Tensor) else torch_dtype(out)
        # Memory may run out in the conversion, too.
        for block in self.map(lambda batch: function(batch).to(dtype)):
            rows = self._positions(slice(start, start + len(block)))
            start += len(block)
            # While the device works on this one, that before is written.
            if waiting is not None:
                write(*waiting)
            waiting = None
            if block.is_cuda and not (isinstance(out, torch.Tensor) and out.is_cuda):
                waiting = out, rows, fetch(block), add
            else:
                write(out, rows, lambda block=block: block, add)
            del block
        if waiting is not None:
            write(*waiting)


def fetch(block):
    """Send a block to the host, and return a function that waits for it."""
    host = torch.empty(block.shape, dtype=block.dtype, device="cpu", pin_memory=True)
    host.copy_(block, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record(torch.cuda.current_stream(block.device))

    def wait():
        arrived.synchronize()
        return host

    return wait


def write(out, rows, wait, add):
    """Write a block into rows of a container, or add it, as soon as it is there."""
    block = wait()
    block = block.to(out.device) if isinstance(out, torch.Tensor) else block.numpy()
    if add:
        out[rows] += block
    else:
        out[rows] = block


def as_like(values, X):
    """Return an array as an array or tensor of the kind, dtype and device of X."""
    if isinstance(X, torch.Tensor):
        return torch.from_numpy(values).to(X)
    return values.astype(X.dtype)


def to_numpy(state):
    """Return a dict with its tensors turned into arrays of their own."""
    return {
        name: value.cpu().numpy().copy() if isinstance(value, torch.Tensor) else value
        for name, value in state.items()
    }


def to_torch(state, device, dtype=None):
    """Return a dict with its arrays turned into tensors on a device, of a dtype."""
    return {
        name: torch.tensor(value, dtype=dtype, device=device)
        if isinstance(value, np.ndarray)
        else value
        for name, value in state.items()
    }

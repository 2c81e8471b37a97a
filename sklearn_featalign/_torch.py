"""The only gate between arrays and tensors: validation, devices, batches of rows.

This module imports nothing from the package.
"""

import numpy as np
import torch
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


def validate_rows(estimator, X, *, fitting=False):
    """Validate X and return it as an array, or a detached tensor, of floats.

    float32 and float64 stay, half types become float32, all else float64. While
    fitting nothing is written on the estimator (`remember_features` does that), so
    that a fit which fails leaves an older one usable.

    Parameters
    ----------
    estimator : estimator
    X : {array-like, tensor} of shape (n_samples, n_features)
    fitting : bool
        Whether X may have any number of features and needs at least two rows.

    Returns
    -------
    X : {ndarray, tensor} of shape (n_samples, n_features)
    """
    is_tensor = isinstance(X, torch.Tensor)
    if is_tensor and X.layout != torch.strided:
        raise TypeError("Sparse data was passed for X, but dense data is required.")
    array = _stand_in(X) if is_tensor else X
    # "numeric" refuses strings of digits, which a dtype of float would parse.
    checks = {"dtype": "numeric", "ensure_all_finite": not is_tensor}
    if fitting:
        checks |= {"ensure_min_samples": 2, "input_name": "X"}
        array = check_array(array, estimator=estimator, **checks)
    else:
        array = validate_data(estimator, array, reset=False, **checks)
    if not is_tensor:
        is_single = array.dtype.kind == "f" and array.dtype.itemsize <= 4
        return array.astype(np.float32 if is_single else np.float64, copy=False)
    is_single = X.is_floating_point() and X.dtype.itemsize <= 4
    X = X.detach().to(torch.float32 if is_single else torch.float64)
    not_finite = X[~torch.isfinite(X)][:1].cpu().numpy()
    name = type(estimator).__name__
    assert_all_finite(not_finite, estimator_name=name, input_name="X")
    return X


def remember_features(estimator, X):
    """Write number and names of the features of X on the estimator, at a fit's end."""
    array = _stand_in(X) if isinstance(X, torch.Tensor) else X
    validate_data(estimator, array, reset=True, skip_check_array=True)


def _stand_in(X):
    """Return an array of the shape and kind of a tensor that takes no memory."""
    kind = np.complex64 if X.is_complex() else np.float32
    return np.broadcast_to(np.zeros((), kind), tuple(X.shape))


class Rows:
    """Rows of X, in float64 batches on a device.

    Parameters
    ----------
    X : {ndarray, tensor} of shape (n_samples, n_features)
    device : torch.device
    batch_size : int or "auto"
        Rows in a batch.
    n_outputs : int
        Numbers computed for each row; "auto" lets these and the features of a batch
        take 32 MiB, of which a few copies are at work at a time.
    """

    def __init__(self, X, device, batch_size, n_outputs):
        self.X = X
        self.device = device
        if batch_size == "auto":
            batch_size = max(1, _BATCH_NUMBERS // (X.shape[1] + n_outputs))
        self.batch_size = batch_size

    def __len__(self):
        """Return the number of rows."""
        return self.X.shape[0]

    def take(self, rows):
        """Return the rows of a slice or an index array as they came."""
        if isinstance(self.X, torch.Tensor) and isinstance(rows, np.ndarray):
            rows = torch.from_numpy(rows).to(self.X.device)
        return self.X[rows]

    def load(self, rows):
        """Return the rows of a slice or an index array in float64 on the device."""
        taken = self.take(rows)
        if isinstance(taken, np.ndarray):
            # A copy in any case: torch wants writable memory and positive strides.
            taken = torch.from_numpy(np.array(taken, order="C"))
        return taken.to(self.device).to(torch.float64)

    @property
    def rounding(self):
        """Standard deviation of the rounding errors of numbers just below one."""
        single = self.X.dtype in (np.float32, torch.float32)
        return (2.0**-24 if single else 2.0**-53) / 3**0.5

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

    def collect(self, function, n_outputs):
        """Return ``function(batch)`` for all rows in a container and dtype like X's.

        Returns
        -------
        out : {ndarray, tensor} of shape (n_samples, n_outputs)
        """
        shape = (len(self), n_outputs)
        if isinstance(self.X, torch.Tensor):
            out = target = torch.empty(shape, dtype=self.X.dtype, device=self.X.device)
        else:
            out = np.empty(shape, dtype=self.X.dtype)
            target = torch.from_numpy(out)
        start = 0
        for block in self.map(function):
            target[start : start + len(block)].copy_(block)
            start += len(block)
        return out


def to_numpy(state):
    """Return a dict with its tensors turned into arrays of their own."""
    return {
        name: value.cpu().numpy().copy() if isinstance(value, torch.Tensor) else value
        for name, value in state.items()
    }


def to_torch(state, device):
    """Return a dict with its arrays turned into tensors on a device."""
    return {
        name: torch.tensor(value, device=device)
        if isinstance(value, np.ndarray)
        else value
        for name, value in state.items()
    }

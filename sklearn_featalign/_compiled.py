"""Fitted maps of rows that are ready to be called, for serving."""

import io

import numpy as np
import torch

from sklearn_featalign._torch import is_single, resolve_device, to_device


class CompiledMap:
    """A fitted map of the rows of one view, with its arrays loaded.

    It is what ``compile_view`` and ``compile_translation`` return: a callable that can
    be pickled and knows nothing of the aligner. Values are not checked, and rows with
    NaN give anything.

    Attributes
    ----------
    n_features_in, n_features_out : int
        Widths of rows before and after.
    dtype : torch.dtype
        Of the rows that it returns.
    device : torch.device
        Where it computes.
    """

    def __init__(self, function, rows, n_features_out, dtype):
        self.function = function
        self.dtype = dtype
        self.device = rows.device
        self.batch_size = rows.batch_size
        self.n_features_in = rows.X.shape[1]
        self.n_features_out = n_features_out

    def __call__(self, X):
        """Return the map of rows.

        Parameters
        ----------
        X : {ndarray, tensor} of shape (n_samples, n_features_in)
            Of floats.

        Returns
        -------
        X_new : {ndarray, tensor} of shape (n_samples, n_features_out)
        """
        is_tensor = isinstance(X, torch.Tensor)
        if not (is_tensor or isinstance(X, np.ndarray)):
            raise TypeError(f"An array or a tensor is expected, got {type(X)}.")
        if X.ndim != 2 or X.shape[1] != self.n_features_in:
            raise ValueError(
                f"Rows of {self.n_features_in} features are expected, got an array of "
                f"shape {tuple(X.shape)}."
            )
        X = X.detach() if is_tensor else X
        rows = to_device(X, self.device)
        rows = rows.to(torch.float32 if is_single(X) else torch.float64)
        if len(rows) <= self.batch_size:
            out = self.function(rows).to(self.dtype)
        else:
            parts = map(self.function, rows.split(self.batch_size))
            out = torch.cat([part.to(self.dtype) for part in parts])
        return out.to(X.device) if is_tensor else out.cpu().numpy()

    def __getstate__(self):
        """Return the attributes, with the function in torch's own format."""
        stored = io.BytesIO()
        torch.save(self.function, stored)
        state = {"function": stored.getvalue(), "device": str(self.device)}
        return vars(self) | state

    def __setstate__(self, state):
        """Set the attributes; the CPU takes the place of a device that is absent."""
        try:
            device = resolve_device(state["device"])
        except ValueError:
            device = torch.device("cpu")
        stored = io.BytesIO(state["function"])
        function = torch.load(stored, map_location=device, weights_only=False)
        vars(self).update(state | {"function": function, "device": device})

    def __repr__(self):
        """Return the widths and where it computes."""
        return (
            f"CompiledMap({self.n_features_in} -> {self.n_features_out} features, "
            f"{self.dtype}, {self.device})"
        )

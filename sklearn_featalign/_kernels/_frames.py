"""The frame of a view's features: centred, scaled, and no wider than there are rows."""

from typing import NamedTuple

import torch

from sklearn_featalign._kernels._eigen import fixed_normal
from sklearn_featalign._kernels._moments import centred

# A kernel has no spread if centring leaves at most this share of its squares.
_SPREAD_RTOL = 1e-13


class Frame(NamedTuple):
    """The map ``(features - mean) * scale @ basis``; no basis is the identity."""

    mean: torch.Tensor
    scale: torch.Tensor
    basis: torch.Tensor | None

    @property
    def rank(self):
        """Number of framed features."""
        return len(self.mean) if self.basis is None else self.basis.shape[1]


def fit_frame(own, widths, linear):
    """Fit the frame of a view.

    Framed features F have a kernel ``F @ F.T`` of trace n over the n rows, of which the
    linear kernel has a share. Its squares are kept whatever the basis, since fewer rows
    than features span as many dimensions as there are rows.

    Parameters
    ----------
    own : tensor of shape (n_features + 1, n_features + 1)
        Sums of products of the extended features of the view.
    widths : tuple of int
        Numbers of linear and of RBF features.
    linear : float
        Share of the linear kernel in the trace.

    Raises
    ------
    ValueError
        If a kernel has no spread.
    """
    n_rows = float(own[-1, -1])
    mean = own[:-1, -1] / n_rows
    squares = own.diagonal()[:-1]
    spreads = squares - n_rows * mean.square()
    parts = zip(
        spreads.split(widths), squares.split(widths), (linear, 1 - linear), strict=True
    )
    scale = torch.cat([kernel_scale(*part, n_rows) for part in parts])
    frame = Frame(mean, scale, None)
    if n_rows >= len(mean):
        return frame
    C = frame_products(own, frame, frame)[:-1, :-1]
    sketch = C @ fixed_normal(len(C), int(n_rows), C)
    return frame._replace(basis=torch.linalg.qr(sketch).Q)


def kernel_scale(spreads, squares, share, n_rows):
    """Return the scales of features that give their kernel its share of the trace."""
    total = float(spreads.sum())
    if total <= _SPREAD_RTOL * float(squares.sum()):
        raise ValueError(
            "The rows that have another view as well are all equal in this one, up to "
            "rounding errors: there is nothing to align."
        )
    return torch.full_like(spreads, (share * n_rows / total) ** 0.5)


def frame_products(products, left, right):
    """Return sums of products of extended features of two views, in their frames."""
    C = centred(products, left.mean, right.mean)
    C[:-1].mul_(left.scale[:, None])
    C[:, :-1].mul_(right.scale)
    if left.basis is not None:
        C = torch.cat([left.basis.T @ C[:-1], C[-1:]])
    if right.basis is not None:
        C = torch.cat([C[:, :-1] @ right.basis, C[:, -1:]], dim=1)
    return C


def frame_features(F, frame):
    """Return extended features in their frame."""
    values = (F[:, :-1] - F[:, -1:] * frame.mean) * frame.scale
    values = values if frame.basis is None else values @ frame.basis
    return torch.cat([values, F[:, -1:]], dim=1)


def unframe(M, frame):
    """Return the map of extended features that equals a map M of framed ones."""
    B = M[:-1] if frame.basis is None else frame.basis @ M[:-1]
    B = frame.scale[:, None] * B
    return torch.cat([B, M[-1:] - (frame.mean @ B)[None]])

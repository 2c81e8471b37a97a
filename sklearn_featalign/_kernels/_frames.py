"""The frame of a view's features: centred, scaled, and no wider than there are rows."""

from typing import NamedTuple

import torch

from sklearn_featalign._kernels._eigen import fixed_normal
from sklearn_featalign._kernels._moments import centred

# A kernel has no spread if centring leaves at most this share of its squares.
_SPREAD_RTOL = 1e-13

# Smaller factors are rounding errors of directions that a share of 0 or 1 drops.
_SMALLEST_FACTOR = 1e-10


class Frame(NamedTuple):
    """The map ``(features - mean) * scale @ basis``; no basis is the identity."""

    mean: torch.Tensor
    scale: torch.Tensor
    basis: torch.Tensor | None

    @property
    def rank(self):
        """Number of framed features."""
        return len(self.mean) if self.basis is None else self.basis.shape[1]


def fit_frame(own, widths):
    """Fit the frame of a view in which the linear and the RBF kernel are alike.

    Framed features F have a kernel ``F @ F.T`` of trace n over the n rows, of which
    each of the two kernels has half. Fewer rows than features span as many dimensions
    as there are rows: then the basis is one of these, in which the linear kernel is
    diagonal.

    Parameters
    ----------
    own : tensor of shape (n_features + 1, n_features + 1)
        Sums of products of the extended features of the view.
    widths : tuple of int
        Numbers of linear and of RBF features.

    Raises
    ------
    ValueError
        If a kernel has no spread.
    """
    n_rows = float(own[-1, -1])
    mean = own[:-1, -1] / n_rows
    squares = own.diagonal()[:-1]
    spreads = squares - n_rows * mean.square()
    parts = zip(spreads.split(widths), squares.split(widths), strict=True)
    scale = torch.cat([kernel_scale(*part, n_rows / 2) for part in parts])
    frame = Frame(mean, scale, None)
    if n_rows >= len(mean):
        return frame
    C = frame_products(own, frame, frame)[:-1, :-1]
    basis = torch.linalg.qr(C @ fixed_normal(len(C), int(n_rows), C)).Q
    linear = basis[: widths[0]]
    rotation = torch.linalg.eigh(linear.T @ linear).eigenvectors
    return frame._replace(basis=basis @ rotation)


def mixed_frame(frame, widths, linear):
    """Return the frame in which the linear kernel has a share, and factors.

    The features of the rows that the frame was fitted to are those of the frame given
    times the factors: any mixture of the two kernels is diagonal in its basis.
    """
    weights = torch.repeat_interleave(
        frame.mean.new_tensor([2 * linear, 2 * (1 - linear)]),
        torch.tensor(widths, device=frame.mean.device),
    )
    if frame.basis is None:
        factors = weights.sqrt()
        return frame._replace(scale=frame.scale * factors), factors
    factors = (weights @ frame.basis.square()).sqrt()
    inverse = torch.where(factors > _SMALLEST_FACTOR, 1 / factors, 0.0)
    return frame._replace(basis=weights[:, None] * frame.basis * inverse), factors


def kernel_scale(spreads, squares, trace):
    """Return the scales of features that give their kernel a trace."""
    total = float(spreads.sum())
    if total <= _SPREAD_RTOL * float(squares.sum()):
        raise ValueError(
            "The rows that have another view as well are all equal in this one, up to "
            "rounding errors: there is nothing to align."
        )
    return torch.full_like(spreads, (trace / total) ** 0.5)


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

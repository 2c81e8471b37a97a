"""Invertible affine coordinates: whitened, scaled by one number, or unchanged.

A column that does not vary is left out, unless rows are unchanged, and comes back
constant.
"""

from typing import NamedTuple

import torch

from sklearn_featalign._linalg import FARTHEST, resolved_axes, sum_and_scatter
from sklearn_featalign._standardize import ZScore, fit_zscore, within_range


class Coordinates(NamedTuple):
    """With z-scores Z of rows, the coordinates ``Z @ basis / scale``.

    `basis`, of shape (n_features, rank), has orthonormal columns; `scale` is of shape
    (rank,).
    """

    zscore: ZScore
    basis: torch.Tensor
    scale: torch.Tensor


def fit_coordinates(batches, n_samples, scaling, rounding=0.0):
    """Fit coordinates.

    Parameters
    ----------
    batches : iterable of tensor of shape (n_batch, n_features)
    n_samples : int
    scaling : {"whiten", "view", None}
        "whiten" gives uncorrelated coordinates of variance one. "view" subtracts the
        mean and divides all columns by the root of their mean variance. None leaves
        rows unchanged, constant columns included.
    rounding : float
        Relative rounding error of the rows. A dimension whose spread it reaches is not
        whitened but dropped.

    Returns
    -------
    coordinates : Coordinates

    Raises
    ------
    ValueError
        If all rows are equal.
    """
    zscore = fit_zscore(batches, n_samples, "view" if scaling == "view" else "columns")
    # A column whose deviation overflows in the unit of the widest one is constant, too.
    varying = (zscore.half_range > 0) & zscore.std.isfinite()
    zscore = zscore._replace(std=torch.where(varying, zscore.std, 1.0))
    eye = torch.eye(len(varying), dtype=torch.float64, device=varying.device)
    ones = eye.new_ones(len(varying))
    if scaling is None:
        zeros = torch.zeros_like(ones)
        return Coordinates(ZScore(zeros, ones, zeros, ones), eye, ones)
    if scaling == "view":
        return Coordinates(zscore, eye[:, varying], ones[varying])
    values, basis = correlation_axes(batches, n_samples, zscore, rounding)
    return Coordinates(zscore, basis, values.sqrt())


def correlation_axes(batches, n_samples, zscore, rounding):
    """Return the eigenvalues and eigenvectors of correlations that exceed rounding."""
    _, scatter = sum_and_scatter(unclipped_zscores(X, zscore) for X in batches)
    largest = zscore.middle.abs() / zscore.half_range + 1
    varying = zscore.half_range > 0
    errors = torch.where(varying, rounding * largest / zscore.std, 0.0)
    return resolved_axes(scatter / (n_samples - 1), errors)


def unclipped_zscores(X, zscore):
    """Return z-scores that are clipped only where their squares would overflow."""
    Z = within_range(X, zscore.middle, zscore.half_range).clamp_(-FARTHEST, FARTHEST)
    return Z.sub_(zscore.mean).div_(zscore.std)


def to_coordinates(X, coordinates):
    """Return the coordinates of rows, of shape (n_samples, rank)."""
    zscores = unclipped_zscores(X, coordinates.zscore)
    return zscores @ coordinates.basis / coordinates.scale


def from_coordinates(Z, coordinates):
    """Return the rows that have given coordinates: the inverse of `to_coordinates`."""
    zscore = coordinates.zscore
    Z = (Z * coordinates.scale) @ coordinates.basis.T
    within = Z * zscore.std + zscore.mean
    return within * zscore.half_range + zscore.middle


def to_columns(Z, coordinates):
    """Return coordinates rotated back to the columns of the rows, which keeps lengths.

    For a whitened row the result is the row whitened by the symmetric root of the
    correlations. If rows span fewer dimensions than they have columns, so does it.
    """
    return Z @ coordinates.basis.T


def from_columns(C, coordinates):
    """Return the coordinates from columns: the inverse of `to_columns`."""
    return C @ coordinates.basis


def column_lengths(coordinates):
    """Return the standard deviation of each column after `to_columns`.

    Coordinates are taken to have variance one. The result is one where rows span all
    dimensions, and is set to one for constant columns.
    """
    lengths = coordinates.basis.square().sum(1).sqrt()
    return torch.where(lengths > 0, lengths, 1.0)


def metric_factor(coordinates):
    """Return a matrix, and a unit, that give coordinates the distances of the rows.

    Distances of ``Z @ factor`` are those of rows over the unit.
    """
    zscore = coordinates.zscore
    unit = zscore.half_range.max()
    widths = zscore.std * (zscore.half_range / unit)
    back = coordinates.scale[:, None] * coordinates.basis.T * widths
    return torch.linalg.qr(back.T, mode="r").R.T.contiguous(), float(unit)

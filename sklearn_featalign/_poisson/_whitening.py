"""Invertible coordinates: whitened, by quantiles too, scaled by one number, unchanged.

A column that does not vary is left out, unless rows are unchanged, and comes back
constant.
"""

import math
from typing import NamedTuple

import torch

from sklearn_featalign._linalg import FARTHEST, resolved_axes, sum_and_scatter
from sklearn_featalign._poisson._quantiles import (
    Quantiles,
    fit_quantiles,
    from_scores,
    to_scores,
)
from sklearn_featalign._standardize import ZScore, fit_zscore, within_range


class Coordinates(NamedTuple):
    """With z-scores Z of rows, the coordinates ``Z @ basis / scale``.

    `basis`, of shape (n_features, rank), has orthonormal columns; `scale` is of shape
    (rank,). With `quantiles` the z-scores are those of the normal scores of rows.
    """

    zscore: ZScore
    basis: torch.Tensor
    scale: torch.Tensor
    quantiles: Quantiles | None = None


def fit_coordinates(batches, n_samples, scaling, rounding=0.0):
    """Fit coordinates.

    Parameters
    ----------
    batches : iterable of tensor of shape (n_batch, n_features)
    n_samples : int
    scaling : {"quantile", "whiten", "view", None}
        "whiten" gives uncorrelated coordinates of variance one, "quantile" does so with
        the normal scores of columns. "view" subtracts the mean and divides all columns
        by the root of their mean variance. None leaves rows unchanged, constant columns
        included.
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
    quantiles = None
    if scaling == "quantile":
        quantiles = fit_quantiles(torch.cat(list(batches)))
        batches = [to_scores(X, quantiles) for X in batches]
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
    return Coordinates(zscore, basis, values.sqrt(), quantiles)


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


def clipped_distances(X, coordinates):
    """Return the distances from the middle of rows that `to_coordinates` clips.

    The result, of shape (n_samples, 1), is zero for other rows. Columns that do not
    vary are left out.
    """
    zscore = coordinates.zscore
    Z = within_range(X, zscore.middle, zscore.half_range)
    is_clipped = (Z.abs() > FARTHEST).any(1, keepdim=True)
    halves = torch.where(zscore.half_range > 0, X / 2 - zscore.middle / 2, 0.0)
    largest = halves.abs().amax(1, keepdim=True)
    lengths = (halves / largest).norm(dim=1, keepdim=True) * largest * 2
    return torch.where(is_clipped, lengths, 0.0)


def to_coordinates(X, coordinates):
    """Return the coordinates of rows, of shape (n_samples, rank)."""
    if coordinates.quantiles is not None:
        X = to_scores(X, coordinates.quantiles)
    zscores = unclipped_zscores(X, coordinates.zscore)
    return zscores @ coordinates.basis / coordinates.scale


def from_coordinates(Z, coordinates, margin=math.inf):
    """Return the rows that have given coordinates: the inverse of `to_coordinates`.

    Columns end so many standard deviations outside the range of the training rows.
    """
    zscore = coordinates.zscore
    Z = (Z * coordinates.scale) @ coordinates.basis.T
    low, high = ((end - zscore.mean) / zscore.std for end in (-1, 1))
    Z = Z.clamp(low - margin, high + margin)
    X = (Z * zscore.std + zscore.mean) * zscore.half_range + zscore.middle
    if coordinates.quantiles is not None:
        X = from_scores(X, coordinates.quantiles)
    return X


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


def unit_of(coordinates):
    """Return the length in rows of one unit of coordinates scaled as a view."""
    zscore = coordinates.zscore
    lengths = zscore.std * zscore.half_range
    return float(torch.where(zscore.half_range > 0, lengths, 0.0).max())

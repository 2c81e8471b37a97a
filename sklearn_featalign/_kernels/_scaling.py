"""Coordinates of rows in which distances are sound: shifted, scaled, whitened.

The scale is a power of two, so that scaling makes no rounding errors. Coordinates have
the precision of the offset. In float32 they are as exact as the rows: the offset of a
column is one of its values, and the difference of two float32 numbers is rounded once.

`batches` is as in `_linalg`: it yields the rows batch by batch, float32 or float64.
"""

import math
from functools import reduce
from typing import NamedTuple

import torch

from sklearn_featalign._linalg import (
    FARTHEST,
    column_medians,
    column_range,
    resolved_axes,
    squared_norms,
    sum_and_scatter,
)

# Coordinates in float32 are clipped here, for the same reason as at FARTHEST.
_FARTHEST_SINGLE = 2.0**50

# float32 is used only for magnitudes up to 2**60 and spreads from 2**-60.
_SINGLE_EXPONENT = 60

# Larger exponents lead out of the range of float64.
_LARGEST_EXPONENT = 1000


class Scaling(NamedTuple):
    """The map from rows X to coordinates ``(X - offset) * 2 ** -exponent @ whitening``.

    Attributes
    ----------
    offset : tensor of shape (n_features,)
        Its dtype is that of the coordinates.
    exponent : int
    total_variance : float
        Sum of the variances (``ddof=1``) of the coordinates of the training rows.
    whitening : tensor of shape (n_features, rank), or None
    """

    offset: torch.Tensor
    exponent: int
    total_variance: float = float("nan")
    whitening: torch.Tensor | None = None

    def in_float64(self):
        """Return the same scaling with coordinates in float64."""
        return self._replace(offset=self.offset.to(torch.float64))


def coordinates(X, scaling):
    """Return the coordinates of rows, in the dtype of the offset."""
    Z = X.to(scaling.offset.dtype) - scaling.offset
    if scaling.exponent:
        Z.mul_(2.0**-scaling.exponent)
    farthest = _FARTHEST_SINGLE if Z.dtype == torch.float32 else FARTHEST
    Z.clamp_(-farthest, farthest)
    return Z if scaling.whitening is None else Z @ scaling.whitening


def fit_scaling(batches, sample, n_samples, whiten=None, rounding=0.0):
    """Fit the coordinates of the rows.

    Parameters
    ----------
    batches : iterable of tensor of shape (n_batch, n_features)
    sample : tensor of shape (n_sample, n_features)
        Some of the rows. Their median is the origin: unlike the mean it stays among
        most rows if others are far away, so that most rows keep their digits.
    n_samples : int
    whiten : {None, "pca"}
        "pca" makes the covariance of the coordinates the identity on the span of the
        rows.
    rounding : float
        Relative rounding error of the features, for `fit_whitening`.

    Returns
    -------
    scaling : Scaling
        In float32 if the rows are float32, their numbers are neither huge nor tiny, and
        nothing is whitened; otherwise in float64.

    Raises
    ------
    ValueError
        If all rows are equal, or if their differences are infinite.
    """
    largest = largest_value(batches)
    is_single = sample.dtype == torch.float32 and whiten is None
    is_single = is_single and abs(math.frexp(largest)[1]) <= _SINGLE_EXPONENT
    dtype = torch.float32 if is_single else torch.float64
    offset = column_medians(sample).to(dtype)
    spread = largest_value(X.to(dtype) - offset for X in batches)
    if spread == 0:
        raise ValueError(
            "X has no spread: all rows are equal, so the bandwidth is undefined."
        )
    if math.isinf(spread):
        raise ValueError("X has values whose differences are infinite in float64.")
    exponent = math.frexp(spread)[1]
    scaling = Scaling(offset, max(-_LARGEST_EXPONENT, min(exponent, _LARGEST_EXPONENT)))
    if exponent < -_SINGLE_EXPONENT:
        scaling = scaling.in_float64()
    if whiten == "pca":
        W = fit_whitening(batches, n_samples, scaling, rounding)
        return scaling._replace(whitening=W, total_variance=float(W.shape[1]))
    variance = total_variance(batches, n_samples, scaling)
    return scaling._replace(total_variance=variance)


def largest_value(batches):
    """Return the largest absolute value of all batches, as a float."""
    values = (torch.stack(X.aminmax()).abs().amax() for X in batches)
    return float(reduce(torch.maximum, values))


def total_variance(batches, n_samples, scaling):
    """Return the sum of the variances of the coordinates (``ddof=1``).

    The origin is within about a standard deviation of the mean, so that subtracting
    the squared mean afterwards cancels few digits.
    """
    sums = sum(sums_and_square(coordinates(X, scaling)) for X in batches)
    total, squares = sums.split([len(scaling.offset), 1])
    return float((squares - total.square().sum() / n_samples) / (n_samples - 1))


def sums_and_square(Z):
    """Return the sum of each column and, as the last entry, the sum of all squares."""
    squares = squared_norms(Z).sum(0, keepdim=True, dtype=torch.float64)
    return torch.cat([Z.sum(0), squares])


def fit_whitening(batches, n_samples, scaling, rounding):
    """Return the PCA whitening matrix of the coordinates.

    With C the covariance of the coordinates over their widths, V its eigenvectors and w
    its eigenvalues, it is ``W = diag(1 / widths) V diag(w ** -1/2)``. Eigenvectors
    along which the relative rounding error of the features is as large as the spread
    are dropped, except for the widest one.
    """
    scale = 2.0**-scaling.exponent
    low, high = (values * scale for values in column_range(batches))
    # Dividing by the range of each column keeps its unit out of the condition of C.
    widths = high - low
    constant = widths == 0
    widths = torch.where(constant, 1.0, widths)
    errors = rounding * torch.maximum(low.abs(), high.abs()) / widths
    errors = torch.where(constant, 0.0, errors)
    scaled = (coordinates(X, scaling) / widths for X in batches)
    total, scatter = sum_and_scatter(scaled)
    covariance = (scatter - total.outer(total) / n_samples) / (n_samples - 1)
    values, vectors = resolved_axes(covariance, errors)
    return vectors / values.sqrt() / widths[:, None]

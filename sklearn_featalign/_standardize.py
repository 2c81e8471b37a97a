"""Z-scores of columns of any magnitude."""

from typing import NamedTuple

import torch

from sklearn_featalign._linalg import column_range

# Z-scores are clipped here, so that no outlier dominates the other rows.
_LARGEST_Z = 10.0


class ZScore(NamedTuple):
    """Range of each column, and its mean and deviation when scaled to [-1, 1].

    Attributes
    ----------
    middle, half_range, mean, std : tensor of shape (n_features,)
        The standard deviation has ``ddof=1``.
    """

    middle: torch.Tensor
    half_range: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor


def fit_zscore(batches, n_samples, scaling="columns"):
    """Fit the z-scores of rows, which are iterated over three times.

    With ``scaling="columns"`` each column is divided by its own standard deviation,
    with "view" all columns are divided by the root of their mean variance.

    Raises
    ------
    ValueError
        If all rows are equal.
    """
    low, high = column_range(batches)
    half_range = high / 2 - low / 2
    if not half_range.any():
        raise ValueError("X has no spread: all rows are equal.")
    middle = low + half_range
    mean = sum(within_range(X, middle, half_range).sum(0) for X in batches) / n_samples
    squares = sum(
        (within_range(X, middle, half_range) - mean).square().sum(0) for X in batches
    )
    std = (squares / (n_samples - 1)).sqrt()
    if scaling == "view":
        # The unit of widths is the widest column. A constant column gets std = inf.
        widths = half_range / half_range.max()
        std = (std * widths).square().mean().sqrt() / widths
    return ZScore(middle, half_range, mean, std)


def within_range(X, middle, half_range):
    """Return columns shifted and scaled to [-1, 1]; constant columns become 0."""
    constant = half_range == 0
    Z = (X - middle).div_(torch.where(constant, 1.0, half_range))
    return torch.where(constant, 0.0, Z)


def standardize(X, zscore):
    """Return the z-scores of rows, clipped at `_LARGEST_Z`."""
    std = torch.where(zscore.std > 0, zscore.std, 1.0)
    Z = (within_range(X, zscore.middle, zscore.half_range) - zscore.mean) / std
    return Z.clamp_(-_LARGEST_Z, _LARGEST_Z)

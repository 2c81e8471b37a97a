r"""Kernel generalised CCA of a few paired rows, which are all landmarks.

This is the problem that `KernelGCCAAligner` solves, in its dual form: with K the kernel
of a view among n paired rows, of trace n, the hat matrix of ridge regression is

.. math:: H = K (K + \rho I)^{-1} = I - \rho (K + \rho I)^{-1}

The variates G are the leading eigenvectors of the mean hat matrix, and a row whose
kernel values with the paired rows are k is predicted as :math:`k (K + \rho I)^{-1} G`.
It takes a second for a thousand pairs of any width, where the primal form needs many.
"""

import math
from typing import NamedTuple

import torch

from sklearn_featalign import _memory
from sklearn_featalign._linalg import (
    column_medians,
    every_nth,
    squared_distances,
    unit_rows,
)

# The settings of `KernelGCCAAligner` by default; fewer components, to search faster.
_LINEAR = 0.7
_RIDGE = 0.1
_POWER = 8
_N_COMPONENTS = 256

# Rows of median length 1 that are independent have squared distances of about 2, and
# with this rate an affinity of .3.
_RATE = -math.log(0.3) / 2

# Rows farther out, in median lengths, are moved here, where float32 is exact enough.
_FARTHEST = 30.0

# Principal axes of the rows of a view, at most: the others tell little and take time.
_N_AXES = 256

# Rows whose median gives the origin and the unit.
_MEDIAN_ROWS = 2000


class LandmarkMap(NamedTuple):
    """The map from rows of a view to what all views share.

    Attributes
    ----------
    landmarks : tensor of shape (n_landmarks, n_features)
    linear : tensor of shape (n_features, n_components)
    affinity : tensor of shape (n_landmarks, n_components)
    intercept : tensor of shape (n_components,)
    """

    landmarks: torch.Tensor
    linear: torch.Tensor
    affinity: torch.Tensor
    intercept: torch.Tensor

    def __call__(self, Z):
        """Return the features of rows, of unit length."""
        A = squared_distances(Z, self.landmarks).mul_(-_RATE).exp_()
        F = torch.addmm(self.intercept, Z, self.linear)
        return unit_rows(F.addmm_(A, self.affinity))


def standardise(X):
    """Return rows about their median, of median length 1, in float32.

    Of many columns only the leading principal axes are left.
    """
    sample = X[every_nth(len(X), _MEDIAN_ROWS)]
    Z = X - column_medians(sample)
    # Squares of large or of tiny values are out of range.
    largest = Z.abs().max()
    Z = Z / torch.where(largest > 0, largest, 1.0)
    lengths = Z.norm(dim=1)
    unit = lengths.median()
    # If more than half of the rows are equal, the others say how far is far.
    unit = torch.where(unit > 0, unit, lengths.max())
    Z = Z / torch.where(unit > 0, unit, 1.0)
    lengths = Z.norm(dim=1, keepdim=True)
    return leading_axes(Z.mul_((_FARTHEST / lengths).clamp_(max=1.0)).to(torch.float32))


def leading_axes(Z):
    """Return rows along their principal axes, if they have many columns."""
    if Z.shape[1] <= _N_AXES:
        return Z
    covariance = sum(part.T @ part for part in Z.split(_memory.MATCHED_ROWS))
    axes = torch.linalg.eigh(covariance.to(torch.float64)).eigenvectors
    return Z @ axes[:, -_N_AXES:].to(Z.dtype)


def fit_landmark_maps(blocks):
    """Return the `LandmarkMap` of each view.

    Parameters
    ----------
    blocks : list of tensor of shape (n_pairs, n_features)
        The same objects in each view, as by `standardise`.
    """
    blocks = [block.to(torch.float64) for block in blocks]
    kernels = list(map(fit_kernel, blocks))
    inverses = list(map(regularised_inverse, kernels))
    hat = -_RIDGE / len(blocks) * sum(inverses)
    hat.diagonal().add_(1)
    values, G = torch.linalg.eigh(hat)
    k = max(1, min(_N_COMPONENTS, len(values) - 1))
    values, G = values[-k:].flip(0), G[:, -k:].flip(1)
    weighted = G * (values / values[0]).clamp_(min=0) ** _POWER
    parts = zip(blocks, kernels, inverses, strict=True)
    return [landmark_map(X, kernel, inverse @ weighted) for X, kernel, inverse in parts]


class CentredKernel(NamedTuple):
    """The kernels of a view among its landmarks, and what centred and scaled them."""

    linear: torch.Tensor
    affinity: torch.Tensor
    mean: torch.Tensor
    column_means: torch.Tensor
    units: tuple


def fit_kernel(X):
    """Return the `CentredKernel` of rows."""
    mean = X.mean(0)
    Z = X - mean
    linear = Z @ Z.T
    affinity = squared_distances(X, X).mul_(-_RATE).exp_()
    column_means = affinity.mean(0)
    affinity = affinity - column_means - (column_means - column_means.mean())[:, None]
    traces = [K.diagonal().mean() for K in (linear, affinity)]
    units = tuple(
        share / torch.where(trace > 0, trace, 1.0)
        for share, trace in zip((_LINEAR, 1 - _LINEAR), traces, strict=True)
    )
    return CentredKernel(linear, affinity, mean, column_means, units)


def regularised_inverse(kernel):
    """Return the inverse of the sum of both kernels plus the ridge."""
    K = kernel.units[0] * kernel.linear + kernel.units[1] * kernel.affinity
    K.diagonal().add_(_RIDGE)
    return torch.cholesky_inverse(torch.linalg.cholesky(K))


def landmark_map(X, kernel, B):
    """Return the map of rows to ``k @ B``, with k their kernel values with X."""
    linear = kernel.units[0] * (X - kernel.mean).T @ B
    affinity = kernel.units[1] * (B - B.mean(0))
    intercept = -(kernel.mean @ linear) - kernel.column_means @ affinity
    found = LandmarkMap(X, linear, affinity, intercept)
    return LandmarkMap(*(values.to(torch.float32) for values in found))

"""Features whose dot products are the linear and the RBF kernel of a view.

The RBF kernel is that of Nystroem, which is exact among the landmarks: Williams and
Seeger (2001), "Using the Nystroem method to speed up kernel machines".
"""

from typing import NamedTuple

import torch

from sklearn_featalign._kernels._bandwidth import (
    Kernel,
    affinities_between,
    as_kernel,
)
from sklearn_featalign._kernels._scaling import coordinates
from sklearn_featalign._linalg import scale_to_unit_

# Axes of the kernel among the landmarks are dropped below this share of the largest
# eigenvalue: the root would amplify the rounding errors of affinities.
_RANK_RTOL = 1e-6


class FeatureMap(NamedTuple):
    """The features of a view, ``[Z, k(Z, landmarks) @ root]``, in float64.

    Attributes
    ----------
    kernel : Kernel
    landmarks : tensor of shape (n_landmarks, n_columns)
        In the coordinates of the view.
    root : tensor of shape (n_landmarks, n_landmarks)
        The symmetric root of the inverse of the kernel among the landmarks.
    """

    kernel: Kernel
    landmarks: torch.Tensor
    root: torch.Tensor

    @property
    def widths(self):
        """Numbers of linear and of RBF features."""
        return self.landmarks.shape[1], self.root.shape[1]


class Projection(NamedTuple):
    """The map ``Z @ linear + k(Z, landmarks) @ rbf + intercept`` of a view."""

    linear: torch.Tensor
    rbf: torch.Tensor
    intercept: torch.Tensor


def as_features(state):
    """Return the dict that a fitted aligner keeps as a `FeatureMap`."""
    return FeatureMap(**state | {"kernel": as_kernel(state["kernel"])})


def fit_features(kernel, landmarks):
    """Return the `FeatureMap` of a kernel and its landmarks, as they were given."""
    scaling = kernel.scaling.in_float64()
    # With their mean as the origin, centring the features cancels no digits.
    origin = coordinates(landmarks, scaling).mean(0)
    offset = scaling.offset + origin * 2.0**scaling.exponent
    kernel = kernel._replace(scaling=scaling._replace(offset=offset))
    Y = coordinates(landmarks, kernel.scaling)
    values, vectors = torch.linalg.eigh(affinities_between(Y, Y, kernel))
    kept = values > values[-1] * _RANK_RTOL
    vectors = vectors[:, kept]
    # Unlike other roots, the symmetric one does not depend on signs of eigenvectors.
    return FeatureMap(kernel, Y, vectors / values[kept].sqrt() @ vectors.T)


def linear_and_rbf(X, landmarks, kernel):
    """Return the coordinates of rows, and their affinities to landmarks in these."""
    Z = coordinates(X, kernel.scaling)
    return Z, affinities_between(Z, landmarks, kernel)


def extended_features(X, features):
    """Return features of rows and a column of ones; all are zero where X is NaN."""
    Z, A = linear_and_rbf(X, features.landmarks, features.kernel)
    present = Z[:, :1].isnan().logical_not().to(Z.dtype)
    return torch.cat([Z, A @ features.root, present], dim=1).nan_to_num_(nan=0.0)


def as_projection(features, M):
    """Return a map M of the extended features of a view as a `Projection`."""
    linear, rbf, intercept = M.split([*features.widths, 1])
    return Projection(linear.contiguous(), features.root @ rbf, intercept[0])


def project(X, landmarks, kernel, projection):
    """Return rows of a view after a `Projection`, at unit length.

    Rows that the map sends to zero stay zero.
    """
    Z, A = linear_and_rbf(X, landmarks, kernel)
    F = torch.addmm(projection.intercept, Z, projection.linear)
    return scale_to_unit_(F.addmm_(A, projection.rbf))

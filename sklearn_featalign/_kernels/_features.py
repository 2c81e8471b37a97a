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
from sklearn_featalign._linalg import squared_norms

# Axes of the kernel among the landmarks are dropped below this share of the largest
# eigenvalue: the root would amplify the rounding errors of affinities.
_RANK_RTOL = 1e-6

# Rows are computed in float32 up to this rounding error, relative to their length.
_SINGLE_RTOL = 1e-5


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
    """Return rows of a view after a `Projection`."""
    Z, A = linear_and_rbf(X, landmarks, kernel)
    return apply_projection(Z, A, projection)


def apply_projection(Z, A, projection):
    """Return rows after a `Projection`, from their coordinates and affinities."""
    F = torch.addmm(projection.intercept, Z, projection.linear)
    return F.addmm_(A, projection.rbf)


def kernel_of_projection(projection, features):
    """Return the kernel of a view, which allows float32 if the projection does.

    Rounding errors are estimated from those of the landmarks: the median counts,
    relative to the length of their rows.
    """
    kernel, Z, _ = features
    A = affinities_between(Z, Z, kernel)
    linear, rbf, intercept = projection
    noise = Z.square() @ squared_norms(linear) + A.square() @ squared_norms(rbf)
    noise = (noise + intercept.square().sum()).sqrt() * torch.finfo(torch.float32).eps
    lengths = torch.linalg.vector_norm(apply_projection(Z, A, projection), dim=1)
    if float((noise / lengths).median()) > _SINGLE_RTOL:
        return kernel._replace(allows_single=False)
    return kernel

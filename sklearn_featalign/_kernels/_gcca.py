"""Kernel generalised CCA in the basis of the landmarks, and hubness columns.

K is a centred kernel among the m landmarks, of trace m (see `kernel_weights`). The
penalty of `_ridge.ridge_inverse` is then the ridge itself: P is the inverse of
``K + ridge * I``, and ``I - ridge * P`` the hat matrix.
"""

from typing import NamedTuple

import torch

from sklearn_featalign._kernels._bandwidth import Kernel, rbf_affinity_
from sklearn_featalign._kernels._ridge import centred_kernel
from sklearn_featalign._kernels._scaling import coordinates
from sklearn_featalign._linalg import (
    Affine,
    squared_distances,
    unit_projection,
    unit_rows,
)
from sklearn_featalign._similarity import neighbor_means

# Exponent of the power mean over the filters of pairs of views.
_POWER_MEAN_EXPONENT = 4

# Smallest eigenvalue of the mean of powers, relative to the largest. The root of a
# smaller one would be the root of rounding errors.
_SMALLEST = 1e-12


class KernelWeights(NamedTuple):
    """Weights of the linear and of the RBF kernel in their sum."""

    linear: float
    rbf: float


class GCCAView(NamedTuple):
    """A fitted view.

    `held_out` are the held-out features of the landmarks in this view, for the hubness
    of the rows of other views; None if rows have no columns for hubness. `mean_hubness`
    is the mean hubness of the landmarks in this view, which is subtracted from that of
    its rows.
    """

    kernel: Kernel
    weights: KernelWeights
    projection: Affine
    held_out: torch.Tensor | None = None
    n_neighbors: int = 0
    mean_hubness: float = 0.0


def view_features(X, landmarks, view):
    """Return the features of rows of a view as rows of unit length, without hubness.

    The landmarks are in the coordinates of the view.
    """
    parts = linear_and_rbf(coordinates(X, view.kernel.scaling), landmarks, view.kernel)
    return unit_projection(weighted_kernel_(*parts, view.weights), view.projection)


def view_features_with_hubness(X, landmarks, view, others, metric, slot):
    """Return the features of rows of a view, with columns for hubness.

    `others` are the held-out features of the landmarks in each of the other views;
    metric and slot are as for `append_hubness`.
    """
    F = view_features(X, landmarks, view)
    hub = hubness(F, others, view.n_neighbors) - view.mean_hubness
    return append_hubness(F, hub, metric, slot, len(others) + 1)


def linear_and_rbf(Z, landmarks, kernel):
    """Return the linear and the RBF kernel of rows with landmarks, both in coordinates.

    The linear kernel has the mean of the landmarks as its origin.
    """
    # With this origin, centring the kernel cancels no digits.
    origin = landmarks.mean(0)
    Z_centred, landmarks_centred = Z - origin, landmarks - origin
    products = Z_centred @ landmarks_centred.T
    if kernel.direct:
        D = squared_distances(Z, landmarks, direct=True)
    else:
        D = squared_distances(Z_centred, landmarks_centred, products=products)
    return products, rbf_affinity_(D, kernel.rate)


def kernel_weights(linear_kernel, rbf_kernel, linear):
    """Return the weights with which the centred kernels add up to a trace of m.

    `linear` is the share of the linear kernel in this trace.

    Raises
    ------
    ValueError
        If all landmarks are equal.
    """
    return KernelWeights(
        trace_weight(linear_kernel, linear), trace_weight(rbf_kernel, 1 - linear)
    )


def trace_weight(K, share):
    """Return the weight that gives a centred kernel of size m the trace share * m."""
    return share / float(centred_kernel(K).diagonal().mean()) if share else 0.0


def weighted_kernel_(linear_kernel, rbf_kernel, weights):
    """Return the weighted sum of the kernels, in place of the second one."""
    rbf_kernel.mul_(weights.rbf)
    return rbf_kernel.add_(linear_kernel, alpha=weights.linear)


def hat_matrix(P, ridge):
    r"""Return ``K (K + ridge I)^-1``, given ``P = (K + ridge I)^-1``."""
    H = -ridge * P
    H.diagonal().add_(1)
    return H


def joint_filter(inverses, ridge, power):
    r"""Return the filter for what views share: a power of their mean hat matrix.

    For more than two views it is the power mean over the pairs, with exponent 4,

    .. math:: W = \Bigl(\operatorname{mean}_{u < v}
              \bigl(\tfrac{1}{2} (H_u + H_v)\bigr)^{4p}\Bigr)^{1/4}

    which keeps what any two of them share; the mean of all hat matrices would keep
    only what most of them share. Its eigenvalues are at least 1e-3 of the largest.
    A single view is filtered by its own hat matrix.

    Parameters
    ----------
    inverses : list of tensor of shape (n_landmarks, n_landmarks)
        The matrix P of each view.
    ridge : float
    power : float
        The exponent p.

    Returns
    -------
    W : tensor of shape (n_landmarks, n_landmarks)
        Symmetric, and scaled so that its powers do not underflow.
    """
    pairs = [(P, Q) for i, P in enumerate(inverses) for Q in inverses[:i]]
    pairs = pairs or [(inverses[0], inverses[0])]
    exponent = power if len(pairs) == 1 else _POWER_MEAN_EXPONENT * power
    total, largest = 0.0, 0.0
    for P, Q in pairs:
        # The mean of two hat matrices is the hat matrix of the mean of P and Q.
        values, vectors = torch.linalg.eigh(hat_matrix((P + Q) / 2, ridge))
        scale = max(largest, float(values[-1]))
        powers = (values / scale).clamp_(min=0) ** exponent
        total = total * (largest / scale) ** exponent + vectors * powers @ vectors.T
        largest = scale
    if len(pairs) == 1:
        return total
    values, vectors = torch.linalg.eigh(total)
    values.clamp_(min=float(values[-1]) * _SMALLEST)
    return vectors * values ** (1 / _POWER_MEAN_EXPONENT) @ vectors.T


def held_out_features(P, W):
    r"""Return the features of each landmark, had it not been a landmark.

    If landmark i is left out of the kernel ridge regression while centring and W stay
    as they are, the prediction at i is

    .. math:: k_{i,-i} \, (K_{-i,-i} + \lambda I)^{-1} = -P_{i,-i} / P_{ii}

    Returns
    -------
    F : tensor of shape (n_landmarks, n_landmarks)
        With rows of unit length.
    """
    predicted = P / -P.diagonal()[:, None]
    predicted.fill_diagonal_(0)
    return unit_rows(predicted @ W)


def hubness(F, others, n_neighbors):
    """Return the mean similarity of rows to their nearest landmarks in other views.

    `others` are the held-out features of the landmarks in each of the other views.
    """
    return sum(neighbor_means(F, rows, n_neighbors) for rows in others) / len(others)


def append_hubness(F, hub, metric, slot, n_views):
    r"""Return rows with columns that lower their dot products by their hubness.

    With r the hubness less its mean in the view, a column ``h = 1 - r / 2`` turns the
    dot product of two rows into

    .. math:: \langle f, g \rangle + h_f h_g = 1 + \tfrac{1}{2}
              \bigl(2 \langle f, g \rangle - r_f - r_g\bigr) + \tfrac{1}{4} r_f r_g

    which is half their CSLS (Conneau et al. 2018) up to the last term. For the cosine
    each view has one more column, zero in the rows of other views, that pads the
    squared length of its rows to 5, so that dot products across views do not change.
    Bachrach et al. (2014), "Speeding up the Xbox recommender system using a Euclidean
    transformation for inner-product spaces", pad the searched rows in this way.

    Parameters
    ----------
    F : tensor of shape (n_samples, n_features)
        With rows of unit length.
    hub : tensor of shape (n_samples,)
        Hubness less its mean, below 2 in absolute value.
    metric : {"dot", "cosine"}
    slot, n_views : int
        The position of the rows' view, and the number of views.
    """
    h = 1 - hub[:, None] / 2
    if metric == "dot":
        return torch.cat([F, h], dim=1)
    padding = h.new_zeros((len(F), n_views))
    padding[:, slot] = (4 - h.square()).clamp(min=0).sqrt()[:, 0]
    return torch.cat([F, h, padding], dim=1) / 5**0.5

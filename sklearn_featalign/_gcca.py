"""Kernel generalised CCA in the basis of the landmarks, and hubness columns.

K is a centred kernel among the m landmarks, P its inverse with a ridge (as from
`_affinity.ridge_inverse`) and ``I - ridge * P`` its hat matrix.
"""

import torch

from sklearn_featalign._affinity import (
    centred_kernel,
    rbf_affinity,
    squared_distances,
)
from sklearn_featalign._similarity import neighbor_means, unit_rows

# Exponent of the power mean over the filters of pairs of views.
_UNION = 4

# Smallest eigenvalue of the mean of their powers, relative to the largest: the root of
# a smaller one would be one of rounding errors.
_SMALLEST = 1e-12


def kernel_parts(Z, landmarks, view):
    """Return the linear and the RBF kernel of rows with landmarks.

    Parameters
    ----------
    Z : tensor of shape (n_samples, n_features)
    landmarks : tensor of shape (n_landmarks, n_features)
        Both in coordinates of the view.
    view : dict
        With ``rate`` and ``direct`` as from `_affinity.fit_rate`.

    Returns
    -------
    linear, rbf : tensor of shape (n_samples, n_landmarks)
        The linear kernel of rows about the mean of the landmarks.
    """
    # About the mean of the landmarks, so that centring takes no digits away.
    origin = landmarks.mean(0)
    Z_centred, landmarks_centred = Z - origin, landmarks - origin
    products = Z_centred @ landmarks_centred.T
    if view["direct"]:
        D = squared_distances(Z, landmarks, direct=True)
    else:
        D = squared_distances(Z_centred, landmarks_centred, products=products)
    return products, rbf_affinity(D, view["rate"])


def kernel_weights(linear_kernel, rbf_kernel, linear):
    """Return the weights with which the kernels add up to one of trace m.

    Parameters
    ----------
    linear_kernel, rbf_kernel : tensor of shape (n_landmarks, n_landmarks)
    linear : float
        Share of the trace that the linear kernel has, after centring.

    Returns
    -------
    weights : dict
        ``linear_weight`` and ``rbf_weight``.

    Raises
    ------
    ValueError
        If all landmarks are equal.
    """
    shares = {"linear": (linear_kernel, linear), "rbf": (rbf_kernel, 1 - linear)}
    return {
        f"{name}_weight": share / float(centred_kernel(K).diagonal().mean())
        if share
        else 0.0
        for name, (K, share) in shares.items()
    }


def mix(linear_kernel, rbf_kernel, view):
    """Return the weighted sum of the kernels, in place of the second one."""
    rbf_kernel.mul_(view["rbf_weight"])
    return rbf_kernel.add_(linear_kernel, alpha=view["linear_weight"])


def hat_matrix(P, ridge):
    r"""Return ``K (K + ridge I)^-1``, from the inverse in it."""
    H = -ridge * P
    H.diagonal().add_(1)
    return H


def joint_filter(inverses, ridge, power):
    r"""Return what the views share: a power of the mean of their hat matrices.

    Of more than two views it is the power mean over the pairs, with exponent 4,

    .. math:: W = \Bigl(\operatorname{mean}_{u < v}
              \bigl(\tfrac{1}{2} (H_u + H_v)\bigr)^{4p}\Bigr)^{1/4}

    which keeps what any two of them share; the mean of all would keep of this only
    what the others share as well. Its eigenvalues are at least 1e-3 of the largest.
    One view has its own filter.

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
        Symmetric, and scaled so that no power of it vanishes.
    """
    pairs = [(P, Q) for i, P in enumerate(inverses) for Q in inverses[:i]]
    pairs = pairs or [(inverses[0], inverses[0])]
    exponent = power if len(pairs) == 1 else _UNION * power
    total, largest = 0.0, 0.0
    for P, Q in pairs:
        # The mean of two hat matrices is that of the mean of their inverses.
        values, vectors = torch.linalg.eigh(hat_matrix((P + Q) / 2, ridge))
        scale = max(largest, float(values[-1]))
        powers = (values / scale).clamp_(min=0) ** exponent
        total = total * (largest / scale) ** exponent + vectors * powers @ vectors.T
        largest = scale
    if len(pairs) == 1:
        return total
    values, vectors = torch.linalg.eigh(total)
    values.clamp_(min=float(values[-1]) * _SMALLEST)
    return vectors * values ** (1 / _UNION) @ vectors.T


def held_out_features(P, W):
    r"""Return the features that each landmark would have if it were none.

    Leaving a landmark i out of a kernel ridge regression, with the centring and W as
    they are, predicts at it

    .. math:: k_{i,-i} \, (K_{-i,-i} + \lambda I)^{-1} = -P_{i,-i} / P_{ii}

    Returns
    -------
    F : tensor of shape (n_landmarks, n_landmarks)
        Rows of unit length.
    """
    predicted = P / -P.diagonal()[:, None]
    predicted.fill_diagonal_(0)
    return unit_rows(predicted @ W)


def hubness(F, others, n_neighbors):
    """Return the mean similarity of rows to their nearest ones of other views.

    Parameters
    ----------
    F : tensor of shape (n_samples, n_features)
    others : sequence of tensor of shape (n_landmarks, n_features)
        Held-out features of the landmarks in each of the other views.
    n_neighbors : int

    Returns
    -------
    hub : tensor of shape (n_samples,)
    """
    return sum(neighbor_means(F, rows, n_neighbors) for rows in others) / len(others)


def append_hubness(F, hub, metric, slot, n_views):
    r"""Return rows with columns by which near rows of other views pay for hubness.

    With r the hubness over what is usual in the view, a column ``h = 1 - r / 2`` turns
    the dot product of two rows into

    .. math:: \langle f, g \rangle + h_f h_g = 1 + \tfrac{1}{2}
              \bigl(2 \langle f, g \rangle - r_f - r_g\bigr) + \tfrac{1}{4} r_f r_g

    which is half their CSLS (Conneau et al. 2018) up to the last term. For the cosine
    each view has one more column, zero in the others' rows, that fills the squared
    length of its rows up to 5: dot products across views stay as they are. So do
    Bachrach et al. (2014), "Speeding up the Xbox recommender system using a Euclidean
    transformation for inner-product spaces", with the rows that are looked among.

    Parameters
    ----------
    F : tensor of shape (n_samples, n_features)
        Rows of unit length.
    hub : tensor of shape (n_samples,)
        Less than 2 in absolute value.
    metric : {"dot", "cosine"}
    slot, n_views : int
        Which of the views the rows are of.

    Returns
    -------
    F : tensor of shape (n_samples, n_features + 1 or n_features + 1 + n_views)
    """
    h = 1 - hub[:, None] / 2
    if metric == "dot":
        return torch.cat([F, h], dim=1)
    filling = h.new_zeros((len(F), n_views))
    filling[:, slot] = (4 - h.square()).clamp(min=0).sqrt()[:, 0]
    return torch.cat([F, h, filling], dim=1) / 5**0.5

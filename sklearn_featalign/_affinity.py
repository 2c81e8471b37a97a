"""RBF affinities, the bandwidth that gives them a chosen mean, ridge normalisation.

Everything is written with the decay ``rate`` of ``exp(-rate * d ** 2)``, which is
scikit-learn's ``gamma`` and one over the ``sigma`` of the feature-alignment document.
"""

import math
from functools import partial

import torch

from sklearn_featalign._coordinates import coordinates
from sklearn_featalign._similarity import unit_rows

# An affinity may be wrong by this much before distances are taken directly.
_AFFINITY_ATOL = 5e-7

# Centring leaves no more than this share of the affinities among equal landmarks.
_SPREAD_RTOL = 1e-13

# Squared distances are kept between two passes if there are no more than these.
_KEPT_DISTANCES = 2**25


def squared_distances(X, Y, direct=False, products=None):
    """Return squared Euclidean distances.

    Parameters
    ----------
    X : tensor of shape (n_samples, n_features)
    Y : tensor of shape (n_landmarks, n_features)
    direct : bool
        Whether to sum squared differences, which is slow and exact, in place of
        the expansion ``|x|^2 - 2 x.y + |y|^2``, which is one matrix product.
    products : tensor of shape (n_samples, n_landmarks), optional
        ``X @ Y.T`` where it is at hand.

    Returns
    -------
    D : tensor of shape (n_samples, n_landmarks)
    """
    if direct:
        mode = "donot_use_mm_for_euclid_dist"
        return torch.cdist(X, Y, compute_mode=mode).square_()
    norms = Y.square().sum(1) + X.square().sum(1, keepdim=True)
    if products is not None:
        return norms.sub_(products, alpha=2).clamp_(min=0)
    return torch.addmm(norms, X, Y.T, alpha=-2).clamp_(min=0)


def row_distances(X, frame, landmarks, direct):
    """Return squared distances of rows as they came to landmarks in coordinates."""
    return squared_distances(coordinates(X, frame), landmarks, direct)


def distance_resolution(Y):
    """Return the rounding error of the expansion, for rows no farther out than Y.

    For a row farther out the error grows as its distances do, and the affinities
    that belong to those vanish.
    """
    return 32 * torch.finfo(Y.dtype).eps * float(Y.square().sum(1).max())


def rbf_affinity(D, rate):
    """Return ``exp(-rate * D)``, in place."""
    return D.mul_(-rate).exp_()


def pair_mean(map_rows, n_samples, distances, n_landmarks):
    """Return a function that averages over all pairs of a row and a landmark.

    Parameters
    ----------
    map_rows : callable
        See `_coordinates`.
    n_samples : int
    distances : callable
        Maps a batch of rows to its block of squared distances.
    n_landmarks : int

    Returns
    -------
    mean : callable
        ``mean(function)`` is the sum over all blocks of what the function returns
        for a block (sums over its pairs, float64), over the number of pairs.
    """
    n_pairs = n_samples * n_landmarks
    kept = None
    if n_pairs <= _KEPT_DISTANCES:
        kept = attempt(lambda: list(map_rows(distances)))

    def mean(function):
        nonlocal kept
        total = None
        if kept is not None:
            total = attempt(lambda: sum(map(function, kept)))
        if total is None:
            kept = None
            total = sum(map_rows(lambda X: function(distances(X))))
        return (total / n_pairs).tolist()

    return mean


def attempt(function):
    """Return what a function does, or None where CUDA has no memory for it."""
    try:
        return function()
    except torch.OutOfMemoryError:
        return None


def affinity_moments(mean, rate):
    """Return the means of A and of A * D over all pairs, ``A = exp(-rate * D)``."""

    def sums(D):
        A = rbf_affinity(D.clone(), rate)
        return torch.stack([A.sum(), A.flatten() @ D.flatten()])

    return mean(sums)


def zero_share(mean, resolution):
    """Return the share of pairs whose distance is not resolved from zero."""
    return mean(lambda D: (D <= resolution).sum(dtype=D.dtype))


def fit_rate(map_rows, n_samples, frame, landmarks, c, gamma="auto"):
    r"""Fit the rate of the affinities between rows and landmarks.

    With ``gamma="auto"`` their mean is `c`. A float fixes the rate: with v the total
    variance of the rows,

    .. math:: 1 / \mathrm{rate} = \sigma = 2 \gamma v

    Parameters
    ----------
    map_rows : callable
        See `_coordinates`.
    n_samples : int
    frame : dict
    landmarks : tensor of shape (n_landmarks, n_features)
        In coordinates of the frame.
    c : float
    gamma : float or "auto"

    Returns
    -------
    fitted : dict
        ``rate``, ``gamma``, ``mean_affinity`` and ``direct``: whether distances
        have to be taken directly for the affinities to be exact.

    Raises
    ------
    ValueError
        If `c` is not above the share of zero distances, or if `gamma` is too small
        for float64.
    """
    unit = 2 * frame["total_variance"]
    resolution = distance_resolution(landmarks)

    def pairs(direct):
        distances = partial(
            row_distances, frame=frame, landmarks=landmarks, direct=direct
        )
        return pair_mean(map_rows, n_samples, distances, len(landmarks))

    if gamma == "auto":
        rate, mean_affinity, direct = fit_mean(pairs, resolution, c)
    else:
        rate = 1 / (gamma * unit)
        if rate == math.inf:
            raise ValueError(f"gamma={gamma} is too small for float64.")
        direct = rate * resolution > _AFFINITY_ATOL
        mean_affinity, _ = affinity_moments(pairs(direct), rate)
    return {
        "rate": rate,
        "gamma": 1 / (rate * unit),
        "mean_affinity": mean_affinity,
        "direct": direct,
    }


def fit_mean(pairs, resolution, c):
    """Fit the rate that gives a mean affinity c, with direct distances if need be.

    Parameters
    ----------
    pairs : callable
        ``pairs(direct)`` is a function as from `pair_mean`.
    resolution : float
        As from `distance_resolution`, for distances that are not direct.
    c : float

    Returns
    -------
    rate : float
    mean_affinity : float
    direct : bool

    Raises
    ------
    ValueError
        If `c` is not above the share of zero distances.
    """
    for direct, unresolved in ((False, resolution), (True, 0.0)):
        mean = pairs(direct)
        floor = zero_share(mean, unresolved)
        if floor < c:
            rate, mean_affinity = solve_rate(partial(affinity_moments, mean), c)
            if rate * unresolved <= _AFFINITY_ATOL:
                return rate, mean_affinity, direct
        # Its distances go before direct ones are kept.
        del mean
    raise ValueError(
        f"c={c} must lie strictly between {floor:.6g} and 1: that share of the "
        "distances between rows and landmarks is zero (of each landmark to itself "
        "and to its duplicates), whatever the bandwidth."
    )


def solve_rate(moments, c, rtol=1e-10, max_iter=500):
    r"""Solve ``mean(exp(-rate * D)) = c`` for the rate.

    The logarithm of the mean affinity is a convex and decreasing function of the
    rate (it is a cumulant generating function), so Newton's method started at
    zero climbs to the root without ever passing it:

    .. math:: r \leftarrow r + \log(\bar A / c) \, \bar A / \overline{A D}

    Parameters
    ----------
    moments : callable
        Maps a rate to the means of A and of A * D over all pairs.
    c : float
        Between the share of zero distances and 1, both excluded.
    rtol : float
        Relative tolerance in c.
    max_iter : int

    Returns
    -------
    rate : float
    mean : float
        The mean affinity that it gives.

    Raises
    ------
    ValueError
        If the tolerance is not met in `max_iter` steps.
    """
    rate = 0.0
    for _ in range(max_iter):
        mean, slope = moments(rate)
        if rate > 0 and abs(mean - c) <= rtol * c:
            return rate, mean
        rate += math.log(mean / c) * mean / slope
    raise ValueError(f"No bandwidth has mean affinity c={c}: the last had {mean}.")


def centred_kernel(K):
    """Return ``H K H``, with H the centring matrix.

    Raises
    ------
    ValueError
        If all landmarks are equal.
    """
    k = K.mean(0)
    K_centred = K - k - k[:, None] + k.mean()
    if K_centred.diagonal().sum() <= _SPREAD_RTOL * K.diagonal().sum():
        raise ValueError(
            "Centring needs two landmarks or more that differ by more than a rounding "
            f"error of their kernel, got n_landmarks={len(K)} of which none differ."
        )
    return K_centred


def ridge_inverse(K_centred, ridge):
    r"""Return the inverse of a centred kernel with a ridge.

    .. math:: P = (K + \lambda I)^{-1}, \qquad \lambda = \rho \, \mathrm{tr}(K) / m

    Parameters
    ----------
    K_centred : tensor of shape (n_landmarks, n_landmarks)
    ridge : float
        The factor :math:`\rho`.

    Returns
    -------
    P : tensor of shape (n_landmarks, n_landmarks)

    Raises
    ------
    ValueError
        If the penalty vanishes in float64.
    """
    penalised = K_centred.clone()
    penalised.diagonal().add_(ridge * float(K_centred.diagonal().mean()))
    factor, failed = torch.linalg.cholesky_ex(penalised)
    # The condition number is at most n_landmarks / ridge.
    if failed or ridge < 10 * len(factor) * torch.finfo(factor.dtype).eps:
        raise ValueError(f"ridge={ridge} is too small for float64: use a larger one.")
    return torch.cholesky_inverse(factor)


def centred_map(k, M):
    r"""Return the affine map that centres kernel values, then applies a matrix.

    With H the centring matrix and g the mean of k,

    .. math:: (A H - 1 (k - g)^T) M = A P + 1 b^T

    Parameters
    ----------
    k : tensor of shape (n_landmarks,)
        Column means of the kernel among the landmarks.
    M : tensor of shape (n_landmarks, n_outputs)

    Returns
    -------
    P : tensor of shape (n_landmarks, n_outputs)
    b : tensor of shape (n_outputs,)
    """
    return M - M.mean(0), (k.mean() - k) @ M


def ridge_projection(K, ridge):
    r"""Return the affine map that decorrelates affinities to landmarks.

    With K_c the centred affinities among landmarks, A_c those of rows centred alike,

    .. math:: F = A_c (K_c + \lambda I)^{-1} = A P + 1 b^T, \qquad
              \lambda = \rho \, \mathrm{tr}(K_c) / m

    Parameters
    ----------
    K : tensor of shape (n_landmarks, n_landmarks)
        Affinities among the landmarks.
    ridge : float
        The factor :math:`\rho`.

    Returns
    -------
    P : tensor of shape (n_landmarks, n_landmarks)
    b : tensor of shape (n_landmarks,)

    Raises
    ------
    ValueError
        If all landmarks are equal, or if the penalty vanishes in float64.
    """
    return centred_map(K.mean(0), ridge_inverse(centred_kernel(K), ridge))


def project(A, view):
    """Return rows of unit length of an affine map of kernel values."""
    return unit_rows(torch.addmm(view["intercept"], A, view["projection"]))


def affinity_features(X, landmarks, view):
    """Return the affinities of rows, ridge-normalised where the view says so.

    Parameters
    ----------
    X : tensor of shape (n_samples, n_features), float64
    landmarks : tensor of shape (n_landmarks, n_features)
        In coordinates of the view.
    view : dict
        A frame with ``rate`` and ``direct`` as from `fit_rate` and, for the
        normalisation, ``projection`` and ``intercept`` as from `ridge_projection`.

    Returns
    -------
    F : tensor of shape (n_samples, n_landmarks)
    """
    A = rbf_affinity(row_distances(X, view, landmarks, view["direct"]), view["rate"])
    return project(A, view) if "projection" in view else A

"""RBF affinities, the bandwidth that gives them a chosen mean, ridge normalisation.

Everything is written with the decay ``rate`` of ``exp(-rate * d ** 2)``, which is
scikit-learn's ``gamma`` and one over the ``sigma`` of the feature-alignment document.
"""

import math

import torch

from sklearn_featalign._coordinates import coordinates

# An affinity may be wrong by this much before distances are taken directly.
_AFFINITY_ATOL = 5e-7

# Squared distances are kept between two passes if there are no more than these.
_KEPT_DISTANCES = 2**25


def squared_distances(X, Y, direct=False):
    """Return squared Euclidean distances.

    Parameters
    ----------
    X : tensor of shape (n_samples, n_features)
    Y : tensor of shape (n_landmarks, n_features)
    direct : bool
        Whether to sum squared differences, which is slow and exact, in place of
        the expansion ``|x|^2 - 2 x.y + |y|^2``, which is one matrix product.

    Returns
    -------
    D : tensor of shape (n_samples, n_landmarks)
    """
    if direct:
        mode = "donot_use_mm_for_euclid_dist"
        return torch.cdist(X, Y, compute_mode=mode).square_()
    norms = Y.square().sum(1) + X.square().sum(1, keepdim=True)
    return torch.addmm(norms, X, Y.T, alpha=-2).clamp_(min=0)


def distance_resolution(Y):
    """Return the rounding error of the expansion, for rows no farther out than Y.

    For a row farther out the error grows as its distances do, and the affinities
    that belong to those vanish.
    """
    return 32 * torch.finfo(Y.dtype).eps * float(Y.square().sum(1).max())


def rbf_affinity(D, rate):
    """Return ``exp(-rate * D)``, in place."""
    return D.mul_(-rate).exp_()


class Pairs:
    """Squared distances between all rows and the landmarks, block by block.

    Parameters
    ----------
    map_rows : callable
        See `_coordinates`.
    n_samples : int
    frame : dict
    landmarks : tensor of shape (n_landmarks, n_features)
        In coordinates of the frame.
    direct : bool
        See `squared_distances`.
    """

    def __init__(self, map_rows, n_samples, frame, landmarks, direct):
        self._map_rows = map_rows
        self._distances = lambda X: squared_distances(
            coordinates(X, frame), landmarks, direct
        )
        self.n_pairs = n_samples * len(landmarks)
        self.resolution = 0.0 if direct else distance_resolution(landmarks)
        small = self.n_pairs <= _KEPT_DISTANCES
        self._kept = list(map_rows(self._distances)) if small else None

    def mean(self, function):
        """Return the mean over pairs of a function that maps a block to its sums."""
        if self._kept is not None:
            sums = map(function, self._kept)
        else:
            sums = self._map_rows(lambda X: function(self._distances(X)))
        return (sum(sums) / self.n_pairs).tolist()

    def affinity_moments(self, rate):
        """Return the means of A and of A * D, with ``A = exp(-rate * D)``."""

        def sums(D):
            A = rbf_affinity(D.clone(), rate)
            return torch.stack([A.sum(), A.flatten() @ D.flatten()])

        return self.mean(sums)

    def zero_share(self):
        """Return the share of pairs without a distance, as far as it is resolved."""
        return self.mean(lambda D: (D <= self.resolution).sum())

    def solve_rate(self, c):
        """Return the rate with mean affinity c, infinity if zero distances exceed c."""
        if self.zero_share() >= c:
            return math.inf
        return solve_rate(self.affinity_moments, c)


def fit_rate(map_rows, n_samples, frame, landmarks, c, gamma="auto"):
    r"""Fit the rate of the affinities between rows and landmarks.

    With ``gamma="auto"`` their mean is `c`. A float fixes the rate: with v the total
    variance of the rows,

    .. math:: 1 / \mathrm{rate} = \sigma = 2 \gamma v

    Parameters
    ----------
    map_rows, n_samples, frame, landmarks
        As for `Pairs`.
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
        If `c` is not above the share of zero distances.
    """
    unit = 2 * frame["total_variance"]
    for direct in (False, True):
        pairs = Pairs(map_rows, n_samples, frame, landmarks, direct)
        rate = pairs.solve_rate(c) if gamma == "auto" else 1 / (gamma * unit)
        if rate * pairs.resolution <= _AFFINITY_ATOL:
            break
    if rate == math.inf:
        raise ValueError(
            f"c={c} must lie strictly between {pairs.zero_share():.6g} and 1: that "
            "share of the distances between rows and landmarks is zero (of each "
            "landmark to itself and to its duplicates), whatever the bandwidth."
        )
    return {
        "rate": rate,
        "gamma": 1 / (rate * unit),
        "mean_affinity": pairs.affinity_moments(rate)[0],
        "direct": direct,
    }


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

    Raises
    ------
    ArithmeticError
        If the tolerance is not met in `max_iter` steps.
    """
    rate = 0.0
    for _ in range(max_iter):
        mean, slope = moments(rate)
        if abs(mean - c) <= rtol * c:
            return rate
        rate += math.log(mean / c) * mean / slope
    raise ArithmeticError(f"no bandwidth found: mean affinity {mean} instead of {c}")


def ridge_projection(K, ridge):
    r"""Return the affine map that decorrelates affinities to landmarks.

    With H the centring matrix, k the column means of K and g their mean,

    .. math:: F = (A H - 1 (k - g)^T) (H K H + \lambda I)^{-1}
              = A P + 1 b^T, \qquad \lambda = \rho \, \mathrm{tr}(H K H) / m

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
        If all landmarks are equal.
    """
    k = K.mean(0)
    g = k.mean()
    K_centred = K - k - k[:, None] + g
    penalty = ridge * K_centred.diagonal().mean()
    if penalty <= 0:
        raise ValueError(
            "normalize='ridge' needs at least two different landmarks, got "
            f"n_landmarks={len(K)}."
        )
    K_centred.diagonal().add_(penalty)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(K_centred))
    return inverse - inverse.mean(0), (g - k) @ inverse


def affinity_features(Z, landmarks, view):
    """Return the affinities of rows, ridge-normalised where the view says so.

    Parameters
    ----------
    Z : tensor of shape (n_samples, n_features)
        Rows in coordinates.
    landmarks : tensor of shape (n_landmarks, n_features)
        Landmarks in coordinates.
    view : dict
        With ``rate`` and ``direct`` as from `fit_rate` and, for the normalisation,
        ``projection`` and ``intercept`` as from `ridge_projection`.

    Returns
    -------
    F : tensor of shape (n_samples, n_landmarks)
    """
    A = rbf_affinity(squared_distances(Z, landmarks, view["direct"]), view["rate"])
    if "projection" not in view:
        return A
    F = torch.addmm(view["intercept"], A, view["projection"])
    return torch.nn.functional.normalize(F, dim=1)

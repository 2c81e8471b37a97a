"""RBF affinities, and the bandwidth that gives them a chosen mean.

Everything is written with the decay ``rate`` of ``exp(-rate * d ** 2)``, which is
scikit-learn's ``gamma`` and the reciprocal of ``sigma`` in the feature-alignment
document.
"""

import math
from functools import partial
from typing import NamedTuple

import torch

from sklearn_featalign import _memory
from sklearn_featalign._kernels._scaling import Scaling, coordinates
from sklearn_featalign._linalg import Blocks, squared_distances, squared_norms

# Largest absolute error of an affinity that is tolerated if distances are computed by
# expansion, in float32 and in float64. Beyond the first the fit falls back to float64,
# and beyond the second to explicit differences.
_SINGLE_ATOL = 2e-5
_AFFINITY_ATOL = 5e-7

# Relative tolerances of the mean affinity that is solved for.
_RTOL = {torch.float32: 5e-7, torch.float64: 1e-10}

# Number of pairs, about, that give the first guess of the rate.
_GUESSED_PAIRS = 2**20

# Above this c, 1 - A has too few float32 digits for the solver.
_SINGLE_C = 0.8

# If the resolution of squared distances is below this, float32 is near its smallest
# numbers and loses digits.
_SMALLEST_RESOLUTION = 1e-30

# If the log mean affinity falls by less than this share of its total drop (-log c) per
# e-fold of the rate, perhaps only pairs at distance zero still contribute: check c
# against their share.
_FLAT_SLOPE = 1e-3


class Kernel(NamedTuple):
    """The RBF kernel of a view: ``exp(-rate * d ** 2)`` in scaled coordinates.

    Attributes
    ----------
    scaling : Scaling
    rate : float
    direct : bool
        Whether distances are summed from explicit differences.
    allows_single : bool
        Whether float32 rows are computed in float32, since this is exact enough.
    """

    scaling: Scaling
    rate: float
    direct: bool
    allows_single: bool


def as_kernel(state):
    """Return a kernel from nested dicts of its values."""
    return Kernel(**state | {"scaling": Scaling(**state["scaling"])})


def distances_to_landmarks(X, landmarks, scaling, direct):
    """Return squared distances of rows to landmarks that are in coordinates already."""
    return squared_distances(coordinates(X, scaling), landmarks, direct)


def distance_resolution(Y):
    """Return the rounding error of the expansion, for rows no farther out than Y.

    For a row farther out the error grows in proportion to its squared distances, whose
    affinities vanish.
    """
    factor = 32.0
    if Y.dtype == torch.float64:
        # Some processors add the products of float64 to the norms one by one.
        factor = max(factor, 2 * Y.shape[1] ** 0.5)
    return factor * torch.finfo(Y.dtype).eps * float(squared_norms(Y).max())


def rbf_affinity_(D, rate):
    """Return ``exp(-rate * D)``, in place."""
    return D.mul_(-rate).exp_()


def affinities(X, landmarks, kernel):
    """Return the affinities of rows to landmarks that are in coordinates already."""
    return affinities_between(coordinates(X, kernel.scaling), landmarks, kernel)


def affinities_between(Z, landmarks, kernel):
    """Return the affinities of rows to landmarks, both in coordinates."""
    D = squared_distances(Z, landmarks, kernel.direct)
    return rbf_affinity_(D, kernel.rate)


def affinity_moments(distances, rate):
    """Return the means of A and of A * D over all pairs, with ``A = exp(-rate * D)``.

    `distances` yields the blocks D of squared distances, which are not written to.
    """
    total, n_pairs = 0.0, 0
    for D in distances:
        total = total + sum_affinities(D, rate)
        n_pairs += D.numel()
    return (total / n_pairs).tolist()


def sum_affinities(D, rate):
    """Return the sums of A and of A * D over a block, in float64."""
    parts = []
    for part in D.flatten().split(_memory.CACHED_AFFINITIES):
        A = rbf_affinity_(part.clone(), rate)
        parts.append(torch.stack([A.sum(), A @ part]))
    return torch.stack(parts).sum(0, dtype=torch.float64)


def zero_share(distances, resolution):
    """Return the share of pairs whose squared distance is at most the resolution."""
    total, n_pairs = 0.0, 0
    for D in distances:
        total = total + (D <= resolution).sum(dtype=torch.float64)
        n_pairs += D.numel()
    return float(total / n_pairs)


def fit_bandwidth(
    batches, sample, n_samples, scaling, landmarks, c, gamma="auto", kept_bytes=0
):
    r"""Fit the rate of the affinities between rows and landmarks.

    With ``gamma="auto"`` their mean is `c`. A float fixes the rate: with v the total
    variance of the rows,

    .. math:: 1 / \mathrm{rate} = \sigma = 2 \gamma v

    Distances are computed in the precision of `scaling`. If affinities would not be
    exact enough, they are computed in float64, or from explicit differences.

    Parameters
    ----------
    batches : iterable of tensor of shape (n_batch, n_features)
    sample : tensor of shape (n_sample, n_features)
        Some of the rows, from which the rate is guessed.
    n_samples : int
    scaling : Scaling
    landmarks : tensor of shape (n_landmarks, n_features)
        As they were given.
    c : float
    gamma : float or "auto"
    kept_bytes : int
        How many bytes of distances may be kept between passes.

    Returns
    -------
    kernel : Kernel
    gamma : float
    mean_affinity : float

    Raises
    ------
    ValueError
        If `c` is not above the share of zero distances, or if `gamma` is too small
        for float64.
    """
    unit = 2 * scaling.total_variance
    if gamma != "auto" and gamma * unit < 1 / torch.finfo(torch.float64).max:
        raise ValueError(f"gamma={gamma} is too small for float64.")
    for frame, direct, atol in precision_ladder(scaling):
        Y = coordinates(landmarks, frame)
        resolution = 0.0 if direct else distance_resolution(Y)
        if Y.dtype == torch.float32 and resolution < _SMALLEST_RESOLUTION:
            continue
        largest = torch.finfo(Y.dtype).max
        largest = min(atol / resolution, largest) if resolution else largest
        to_distances = partial(
            distances_to_landmarks, landmarks=Y, scaling=frame, direct=direct
        )
        n_bytes = n_samples * len(Y) * Y.element_size()
        distances = Blocks(batches, to_distances, is_kept=n_bytes <= kept_bytes)
        found = None
        if gamma == "auto":
            few = sample[:: 1 + len(sample) * len(Y) // _GUESSED_PAIRS]
            guess = [to_distances(few)]
            found = fit_mean(distances, guess, c, largest, resolution, Y.dtype)
        elif 1 / (gamma * unit) <= largest:
            rate = 1 / (gamma * unit)
            found = rate, affinity_moments(distances, rate)[0]
        if found is not None:
            rate, mean_affinity = found
            kernel = Kernel(frame, rate, direct, Y.dtype == torch.float32)
            return kernel, 1 / (rate * unit), mean_affinity
    raise_unattainable_c(c, zero_share(distances, 0.0))


def precision_ladder(scaling):
    """Return ways to compute distances, from the fastest to the most exact.

    Each is a scaling, whether distances are direct, and the tolerated error of
    affinities.
    """
    double = scaling.in_float64()
    exact = [(double, False, _AFFINITY_ATOL), (double, True, 0.0)]
    if scaling.offset.dtype == torch.float64:
        return exact
    return [(scaling, False, _SINGLE_ATOL), *exact]


def raise_unattainable_c(c, floor):
    """Raise the error that says why no bandwidth has a mean affinity of c."""
    if floor < c:
        raise ValueError(f"No bandwidth within float64 has a mean affinity of c={c}.")
    raise ValueError(
        f"c={c} must lie strictly between {floor:.6g} and 1: that share of the "
        "distances between rows and landmarks is zero (of each landmark to itself "
        "and to its duplicates), whatever the bandwidth."
    )


def fit_mean(distances, guess, c, largest, resolution, dtype):
    """Fit the rate that gives a mean affinity c, and return it with the mean affinity.

    Distances and guess are blocks of squared distances of all rows, and of some from
    which the rate is guessed; `resolution` is their rounding error. No rate above the
    largest is tried. None is returned if the precision of the distances does not
    suffice.
    """
    if dtype == torch.float32 and c > _SINGLE_C:
        return None
    moments = partial(affinity_moments, guess)
    guessed = solve_bandwidth(moments, c, largest=largest, rtol=1e-3)
    if guessed is None and resolution:
        return None
    start, max_iter = (guessed[0], 50) if guessed else (0.0, 500)
    moments = partial(affinity_moments, distances)
    found = solve_bandwidth(moments, c, start, largest, _RTOL[dtype], max_iter)
    if found is None:
        return None
    rate, mean_affinity, slope = found
    is_flat = rate * slope < _FLAT_SLOPE * mean_affinity * -math.log(c)
    if is_flat and zero_share(distances, resolution) >= c * (1 - _RTOL[dtype]):
        return None
    return rate, mean_affinity


def solve_bandwidth(moments, c, start=0.0, largest=math.inf, rtol=1e-10, max_iter=500):
    r"""Solve ``mean(exp(-rate * D)) = c`` for the rate.

    The logarithm of the mean affinity is a convex and decreasing function of the rate
    (it is a cumulant generating function), so Newton's method started at zero climbs to
    the root without ever passing it:

    .. math:: r \leftarrow r + \log(\bar A / c) \, \bar A / \overline{A D}

    Started beyond the root, its first step leads back to before it.

    `moments` maps a rate to the means of A and of A * D over all pairs. The rate and
    these means are returned, or None if no rate up to the largest meets the relative
    tolerance in `max_iter` steps.
    """
    rate = start
    for _ in range(max_iter):
        if rate > largest or rate == math.inf:
            return None
        mean, slope = moments(rate)
        if rate > 0 and abs(mean - c) <= rtol * c:
            return rate, mean, slope
        log_ratio = math.log(mean / c)
        step = log_ratio * mean / slope if slope else math.copysign(math.inf, log_ratio)
        rate = max(0.0, rate + step)
    return None

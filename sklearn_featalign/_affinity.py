"""RBF affinities, the bandwidth that gives them a chosen mean, ridge normalisation.

Everything is written with the decay ``rate`` of ``exp(-rate * d ** 2)``, which is
scikit-learn's ``gamma`` and one over the ``sigma`` of the feature-alignment document.
"""

import math
from functools import partial

import torch

from sklearn_featalign._coordinates import coordinates, in_dtype, squared_norms

# An affinity may be wrong by this much before distances are taken in float64, and
# before they are taken directly.
_SINGLE_ATOL = 2e-5
_AFFINITY_ATOL = 5e-7

# Mean affinities are solved for with these relative tolerances.
_RTOL = {torch.float32: 5e-7, torch.float64: 1e-10}

# About so many pairs give the guess.
_GUESSED_PAIRS = 2**20

# Mean affinities above this are too near to one to be solved for in float32, in which
# squared norms below this lose their digits.
_SINGLE_C = 0.8
_SINGLE_SQUARE = 1e-30

# Where what a bandwidth changes is less than this share of what it changed on the way
# from zero, perhaps no pairs are left but those at no distance.
_FLAT = 1e-3

# Centring leaves no more than this share of the affinities among equal landmarks.
_SPREAD_RTOL = 1e-13

# Squared distances are kept between passes if they take no more bytes than these.
_KEPT_BYTES = 2**27

# Affinities are summed this many at a time, which stay in the cache.
_IN_CACHE = 2**18


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
    norms = squared_norms(X)[:, None] + squared_norms(Y)
    if products is not None:
        return norms.sub_(products, alpha=2).clamp_(min=0)
    return norms.addmm_(X, Y.T, alpha=-2).clamp_(min=0)


def row_distances(X, frame, landmarks, direct):
    """Return squared distances of rows as they came to landmarks in coordinates."""
    return squared_distances(coordinates(X, frame), landmarks, direct)


def distance_resolution(Y):
    """Return the rounding error of the expansion, for rows no farther out than Y.

    For a row farther out the error grows as its distances do, and the affinities
    that belong to those vanish.
    """
    return 32 * torch.finfo(Y.dtype).eps * float(squared_norms(Y).max())


def rbf_affinity(D, rate):
    """Return ``exp(-rate * D)``, in place."""
    return D.mul_(-rate).exp_()


def pair_mean(map_rows, n_samples, distances, landmarks):
    """Return a function that averages over all pairs of a row and a landmark.

    Parameters
    ----------
    map_rows : callable
        See `_coordinates`.
    n_samples : int
    distances : callable
        Maps a batch of rows to its block of squared distances.
    landmarks : tensor of shape (n_landmarks, n_features)

    Returns
    -------
    mean : callable
        ``mean(function)`` is the sum over all blocks of what the function returns
        for a block (sums over its pairs, float64), over the number of pairs.
    """
    n_pairs = n_samples * len(landmarks)
    fits = n_pairs * landmarks.element_size() <= _KEPT_BYTES
    over_blocks = keep(map_rows, distances, fits)
    return lambda function: (over_blocks(function, sum) / n_pairs).tolist()


def keep(map_rows, make_block, fits=True):
    """Return a function that maps over blocks, which are kept while memory lasts.

    Parameters
    ----------
    map_rows : callable
        See `_coordinates`.
    make_block : callable
        Maps a batch of rows to its block.
    fits : bool
        Whether blocks are to be kept at all.

    Returns
    -------
    over_blocks : callable
        ``over_blocks(function, join)`` joins what the function returns for blocks, one
        after the other. In a sum only one is there at a time: many small ones that stay
        between large ones that go leave holes in memory.
    """
    kept = None

    def over_blocks(function, join):
        nonlocal fits, kept
        found = None
        if fits:
            kept = kept or attempt(lambda: list(map_rows(make_block)))
            found = kept and attempt(lambda: join(map(function, kept)))
        if found is None:
            fits, kept = False, None
            found = join(map_rows(lambda X: function(make_block(X))))
        return found

    return over_blocks


def attempt(function):
    """Return what a function does, or None where CUDA has no memory for it."""
    try:
        return function()
    except torch.OutOfMemoryError:
        return None


def affinity_moments(mean, rate):
    """Return the means of A and of A * D over all pairs, ``A = exp(-rate * D)``."""

    def sums(D):
        parts = []
        for part in D.flatten().split(_IN_CACHE):
            A = rbf_affinity(part.clone(), rate)
            parts.append(torch.stack([A.sum(), A @ part]))
        return torch.stack(parts).sum(0, dtype=torch.float64)

    return mean(sums)


def zero_share(mean, resolution):
    """Return the share of pairs whose distance is not resolved from zero."""
    return mean(lambda D: (D <= resolution).sum(dtype=torch.float64))


def fit_rate(map_rows, sample, n_samples, frame, landmarks, c, gamma="auto"):
    r"""Fit the rate of the affinities between rows and landmarks.

    With ``gamma="auto"`` their mean is `c`. A float fixes the rate: with v the total
    variance of the rows,

    .. math:: 1 / \mathrm{rate} = \sigma = 2 \gamma v

    Distances are those of the frame, or of float64 or direct ones where affinities
    would not be exact enough.

    Parameters
    ----------
    map_rows : callable
        See `_coordinates`.
    sample : tensor of shape (n_sample, n_features)
        Some of the rows, from which the rate is guessed.
    n_samples : int
    frame : dict
    landmarks : tensor of shape (n_landmarks, n_features)
        As they came.
    c : float
    gamma : float or "auto"

    Returns
    -------
    fitted : dict
        The frame with ``rate``, ``gamma``, ``mean_affinity`` and ``direct``: whether
        distances are to be taken directly.

    Raises
    ------
    ValueError
        If `c` is not above the share of zero distances, or if `gamma` is too small
        for float64.
    """
    unit = 2 * frame["total_variance"]
    is_solved = gamma == "auto"
    if not is_solved and gamma * unit < 1 / torch.finfo(torch.float64).max:
        raise ValueError(f"gamma={gamma} is too small for float64.")
    for way, direct, atol in ways(frame):
        Y = coordinates(landmarks, way)
        resolution = 0.0 if direct else distance_resolution(Y)
        if Y.dtype == torch.float32 and resolution < _SINGLE_SQUARE:
            continue
        largest = torch.finfo(Y.dtype).max
        largest = min(atol / resolution, largest) if resolution else largest
        pairs = {
            "distances": partial(row_distances, frame=way, landmarks=Y, direct=direct),
            "landmarks": Y,
        }
        mean = pair_mean(map_rows, n_samples, **pairs)
        if is_solved:
            some = sample[:: 1 + len(sample) * len(Y) // _GUESSED_PAIRS]
            guess = pair_mean(partial(once, some), len(some), **pairs)
            found = fit_mean(mean, guess, c, largest, resolution, Y.dtype)
        else:
            found = mean_at(mean, 1 / (gamma * unit), largest)
        if found is not None:
            break
    else:
        raise_no_rate(c, zero_share(mean, 0.0))
    rate, mean_affinity = found
    return way | {
        "rate": rate,
        "gamma": 1 / (rate * unit),
        "mean_affinity": mean_affinity,
        "direct": direct,
    }


def once(batch, function):
    """Yield what a function makes of a single batch, as ``map_rows`` does."""
    yield function(batch)


def ways(frame):
    """Return frames, whether distances are direct and what affinities may be off by.

    From the fastest to the most exact.
    """
    double = in_dtype(frame, torch.float64)
    exact = [(double, False, _AFFINITY_ATOL), (double, True, 0.0)]
    if frame["offset"].dtype == torch.float64:
        return exact
    return [(frame, False, _SINGLE_ATOL), *exact]


def raise_no_rate(c, floor):
    """Say why no rate gives a mean affinity, even with direct distances."""
    if floor < c:
        raise ValueError(f"No bandwidth within float64 has a mean affinity of c={c}.")
    raise ValueError(
        f"c={c} must lie strictly between {floor:.6g} and 1: that share of the "
        "distances between rows and landmarks is zero (of each landmark to itself "
        "and to its duplicates), whatever the bandwidth."
    )


def mean_at(mean, rate, largest):
    """Return a rate and the mean affinity that it gives, None beyond the largest."""
    return (rate, affinity_moments(mean, rate)[0]) if rate <= largest else None


def fit_mean(mean, guess, c, largest, resolution, dtype):
    """Fit the rate that gives a mean affinity c.

    Parameters
    ----------
    mean, guess : callable
        As from `pair_mean`, over all pairs and over some.
    c : float
    largest : float
        As for `solve_rate`.
    resolution : float
        Of distances.
    dtype : torch.dtype

    Returns
    -------
    found : tuple of float, or None
        The rate and the mean affinity that it gives; None if distances of this dtype
        and resolution do not tell.
    """
    if dtype == torch.float32 and c > _SINGLE_C:
        return None
    moments = partial(affinity_moments, guess)
    guessed = solve_rate(moments, c, largest=largest, rtol=1e-3)
    if guessed is None and resolution:
        return None
    start, max_iter = (guessed[0], 50) if guessed else (0.0, 500)
    moments = partial(affinity_moments, mean)
    found = solve_rate(moments, c, start, largest, _RTOL[dtype], max_iter)
    if found is None:
        return None
    rate, mean_affinity, slope = found
    is_flat = rate * slope < _FLAT * mean_affinity * -math.log(c)
    if is_flat and zero_share(mean, resolution) >= c * (1 - _RTOL[dtype]):
        return None
    return rate, mean_affinity


def solve_rate(moments, c, start=0.0, largest=math.inf, rtol=1e-10, max_iter=500):
    r"""Solve ``mean(exp(-rate * D)) = c`` for the rate.

    The logarithm of the mean affinity is a convex and decreasing function of the
    rate (it is a cumulant generating function), so Newton's method started at
    zero climbs to the root without ever passing it:

    .. math:: r \leftarrow r + \log(\bar A / c) \, \bar A / \overline{A D}

    Started beyond the root, its first step leads to before it.

    Parameters
    ----------
    moments : callable
        Maps a rate to the means of A and of A * D over all pairs.
    c : float
        Between 0 and 1, both excluded.
    start : float
    largest : float
        No rate beyond it is looked at.
    rtol : float
        Relative tolerance in c.
    max_iter : int

    Returns
    -------
    found : tuple of float, or None
        The rate and the means of A and of A * D that it gives; None if there is none
        up to the largest, or if the tolerance is not met in `max_iter` steps.
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
    F = torch.addmm(view["intercept"], A, view["projection"])
    # Of about that length already, so that no square overflows or vanishes.
    norms = torch.linalg.vector_norm(F, dim=1, keepdim=True)
    return F.div_(torch.where(norms > 0, norms, 1.0))


def affinity_features(X, landmarks, view):
    """Return the affinities of rows, ridge-normalised where the view says so.

    Parameters
    ----------
    X : tensor of shape (n_samples, n_features)
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

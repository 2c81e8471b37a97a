"""Heights between which rows flow, from the spacing and neighbours of the charges."""

import math
from functools import partial

import torch

from sklearn_featalign._linalg import Blocks, squared_distances
from sklearn_featalign._poisson._charges import log_count_without_self, log_weights_

# The start height is this share of the distance to the fifth neighbour, times
# d ** -0.25: measured for d from 2 to 8.
_HEIGHT_SHARE = 0.2
_NEIGHBORS = 5

# Charges are seen from at least and at most these multiples of the start height.
_DEPTHS = 0.25, 16.0

# Number of charges that are sampled to choose a height (largest, smallest), and the
# largest number of their distances.
_N_SAMPLED = (1000, 64)
_SAMPLED_DISTANCES = 2**23

# Range of a height, in powers of e around the root mean square distance, and the error
# of its logarithm, or of that of the perplexity.
_LOG_RANGE = 7.0
_XTOL = 1e-8

# Stands in for log(0): finite, because 0 * -inf is NaN in the entropy.
_LOG_ZERO = -1e6

# No height is a smaller share of the size of the data: squared distances lose their
# digits there.
_SMALLEST_HEIGHT = 1e-6

# The heights must lie within these multiples of the size of the data.
_LOWEST, _HIGHEST = 1e-7, 1e30


def sample_charges(charges):
    """Return some of the charges, evenly spaced in their order."""
    most, least = _N_SAMPLED
    n_sampled = max(least, min(most, _SAMPLED_DISTANCES // len(charges)))
    return charges[:: math.ceil(len(charges) / n_sampled)]


def data_size(charges, log_counts):
    """Return the root mean square deviation of a coordinate of the rows."""
    weights = log_counts.softmax(0)[:, None]
    centered = charges - (weights * charges).sum(0)
    return float((weights * centered.square()).sum(0).mean().sqrt())


def neighbor_distances(batches, charges):
    """Return the distance of each row, itself a charge, to its fifth neighbour.

    The charges are all different.
    """
    k = min(_NEIGHBORS, len(charges) - 1)
    distances = []
    for X in batches:
        D = squared_distances(X, charges)
        # torch has no deterministic kthvalue on CUDA.
        distances.append(D.topk(k + 1, dim=1, largest=False).values[:, -1])
    return torch.cat(distances).sqrt()


def spacing_height(distances, d, size):
    """Return the height at which rows start to spread: a share of their spacing.

    The distances are as from `neighbor_distances`, in d dimensions, and `size` as from
    `data_size`.
    """
    height = _HEIGHT_SHARE * d**-0.25 * float(distances.median())
    return max(height, _SMALLEST_HEIGHT * size)


def depths_below(height, distances):
    """Return depths of charges, so that a row is as far above them as they are apart.

    A row at the height is above a charge by as much as this one's distance to its
    neighbours is to the median distance, within limits.
    """
    median = distances.median()
    if median == 0:
        return torch.zeros_like(distances)
    return height * ((distances / median).clamp(*_DEPTHS) - 1)


def perplexity_height(batches, charges, log_counts, perplexity, is_kept=True):
    """Return the height at which the field weights have a median perplexity.

    The perplexity of a row is the exponential of the entropy of its weights, with the
    row itself left out. It grows with the height. In few dimensions it exceeds
    `perplexity` at any height; the result is then the lower bound, exp(-7) times the
    root mean square distance. With `is_kept` distances are kept between bisections.
    """
    to_distances = partial(distances_and_nearest, charges=charges)
    blocks = Blocks(batches, to_distances, is_kept)
    scale = float(torch.cat([D.mean(1) for D, _ in blocks]).mean().sqrt())

    def excess(log_height):
        height = scale * math.exp(log_height)
        entropies = [
            weight_entropy(D.clone(), index, height, charges.shape[1], log_counts)
            for D, index in blocks
        ]
        return float(torch.cat(entropies).median()) - math.log(perplexity)

    return scale * math.exp(root(excess, -_LOG_RANGE, _LOG_RANGE))


def root(function, low, high):
    """Return where an increasing function is zero, or the end nearest to it.

    The Illinois variant of regula falsi.
    """
    below, above = function(low), function(high)
    if below >= 0 or above <= 0:
        return low if below >= 0 else high
    side = 0
    while high - low > _XTOL:
        middle = (low * above - high * below) / (above - below)
        value = function(middle)
        if abs(value) < _XTOL:
            return middle
        if value < 0:
            low, below = middle, value
            above = above / 2 if side < 0 else above
            side = -1
        else:
            high, above = middle, value
            below = below / 2 if side > 0 else below
            side = 1
    return high


def distances_and_nearest(X, charges):
    """Return squared distances of rows to charges, and the nearest charge of each."""
    D = squared_distances(X, charges)
    return D, D.argmin(1, keepdim=True)


def weight_entropy(D, nearest, height, d, log_counts):
    """Return the entropy of the field weights of rows without their nearest charge.

    The squared distances D are overwritten.
    """
    L = log_weights_(D, height, d, log_counts)
    change = log_count_without_self(nearest, log_counts)
    L.scatter_add_(1, nearest, change.clamp(min=_LOG_ZERO))
    # With weights exp(L) over their sum exp(l), the entropy is l - mean(L).
    return L.logsumexp(1) - (L.softmax(1) * L).sum(1)


def check_upward(start, end):
    """Raise an error if lines would not rise."""
    if end <= start:
        raise ValueError(
            f"The start height {start:.6g} must be below the radius {end:.6g}."
        )


def check_heights(start, end, size):
    """Raise an error if float64 cannot follow lines between two heights."""
    low, high = _LOWEST * size, _HIGHEST * size
    if min(start, end) < low or max(start, end) > high:
        raise ValueError(
            f"Rows flow between heights of {start:.6g} and {end:.6g}, which must "
            f"lie between {low:.6g} and {high:.6g} for float64 to follow them."
        )

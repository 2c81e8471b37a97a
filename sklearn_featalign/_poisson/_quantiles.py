"""Monotone maps of columns to normal scores by their quantiles, and back.

A map is linear between knots, which are quantiles of the training rows, so that it is
continuous and can be inverted. Beyond the knots it goes on as a straight line.
"""

from typing import NamedTuple

import torch

# Largest number of knots, and rows between neighbouring ones: the fewer rows, the
# better a map follows the training rows, and the worse new ones.
_MOST_KNOTS = 1000
_ROWS_A_KNOT = 8
_FEWEST_KNOTS = 10

# Beyond the knots a line goes on as steeply as over one in so many of them, or so many.
_TAIL = 16
_FEWEST_IN_TAIL = 7

# Numbers that are computed are told apart in such steps, relative to the largest.
_GRAIN = 2.0**-24

# Values and slopes are clipped here: their differences and quotients stay finite.
_LARGEST = 1e300


class Quantiles(NamedTuple):
    """Knots of the map of each column, the distinct ones first, then infinity.

    Attributes
    ----------
    values, scores : tensor of shape (n_features, n_knots)
        Where the knots are, and the normal scores that they are mapped to.
    slopes : tensor of shape (n_features, n_knots + 1)
        Slopes before each knot and after the last one; zero in a constant column.
    """

    values: torch.Tensor
    scores: torch.Tensor
    slopes: torch.Tensor


def fit_quantiles(X):
    """Fit the maps of the columns of X to normal scores.

    Equal values have the score of their middle rank.
    """
    n_samples = len(X)
    columns = X.T.to(torch.float64).clamp(-_LARGEST, _LARGEST).sort(dim=1).values
    columns = columns.contiguous()
    places, is_kept = knot_places(columns)
    n_knots = len(places)
    values = columns[:, places].contiguous()
    ranks = sum(
        torch.searchsorted(columns, values, right=side) for side in (True, False)
    )
    scores = torch.special.ndtri(ranks.to(values) / (2 * n_samples))
    # Of equal values the first is the knot, also where it is left out by itself.
    is_new = is_kept.clone()
    is_new[:, :-1] |= values[:, :-1] == values[:, 1:]
    is_new[:, 1:] &= values[:, 1:] > values[:, :-1]
    order = is_new.logical_not().to(torch.int8).argsort(dim=1, stable=True)
    n_distinct = is_new.sum(1, keepdim=True)
    is_knot = torch.arange(n_knots, device=X.device) < n_distinct
    values, scores = (
        torch.where(is_knot, knots.gather(1, order), torch.inf)
        for knots in (values, scores)
    )
    return Quantiles(values, scores, slopes_between(values, scores, n_distinct))


def without_rounding(X):
    """Return columns in which numbers are equal that differ by rounding only.

    Equal rows in different batches have such numbers, between which ranks would jump.
    """
    step = _GRAIN * X.abs().amax(0)
    return torch.where(step > 0, (X / step).round() * step, X)


def knot_places(columns):
    """Return the ranks of knots, in ascending order, and which of them a column has.

    Knots are evenly spaced. There are more at both ends, where the values thin out
    towards the outermost: a map is not to be flat over the rows next to an outlier.
    """
    n_samples = columns.shape[1]
    n_knots = max(n_samples // _ROWS_A_KNOT, min(n_samples, _FEWEST_KNOTS))
    n_knots = min(n_knots, _MOST_KNOTS)
    last = n_samples - 1
    even = torch.arange(n_knots, device=columns.device) * last // (n_knots - 1)
    between = last // (n_knots - 1)
    ends = 2 ** torch.arange(between.bit_length(), device=columns.device)
    ends = ends[ends < between]
    thins = []
    for values in (columns, columns.flip(1)):
        outer, inner = (
            (values[:, ends] - values[:, [end]]).abs() for end in (0, between)
        )
        thins.append(outer / ends >= inner / (between - ends))
    places = torch.cat([even, ends, last - ends])
    is_even = torch.ones_like(columns[:, :n_knots], dtype=torch.bool)
    order = places.argsort()
    return places[order], torch.cat([is_even, *thins], dim=1)[:, order]


def slopes_between(values, scores, n_distinct):
    """Return the slopes before each knot and after the last one."""
    n_knots = values.shape[1]
    last = n_distinct - 1
    over = (n_distinct // _TAIL).clamp(min=_FEWEST_IN_TAIL).minimum(last)
    first = torch.zeros_like(last)

    def slope(start, end):
        rise, run = (
            knots.gather(1, end) - knots.gather(1, start) for knots in (scores, values)
        )
        return torch.where(run > 0, rise / run, 0.0).clamp(max=_LARGEST)

    ends = torch.arange(1, n_knots, device=values.device).expand(len(values), -1)
    ends = ends.minimum(last)
    inner = slope((ends - 1).clamp(min=0), ends)
    before, after = slope(first, over), slope(last - over, last)
    slopes = torch.cat([before, inner, after], dim=1)
    places = torch.arange(n_knots + 1, device=values.device)
    return torch.where(places >= n_distinct, after, slopes)


def to_scores(X, quantiles):
    """Return the normal scores of rows."""
    values, scores, slopes = quantiles
    X = X.to(torch.float64).clamp(-_LARGEST, _LARGEST)
    return along(X, values, scores, slopes)


def from_scores(Z, quantiles):
    """Return the rows that have given normal scores: the inverse of `to_scores`."""
    values, scores, slopes = quantiles
    return along(Z, scores, values, torch.where(slopes > 0, 1 / slopes, 0.0))


def along(X, starts, goals, slopes):
    """Return piecewise linear functions of the columns of X."""
    columns = X.T.contiguous()
    segment = torch.searchsorted(starts, columns, right=True)
    knot = (segment - 1).clamp(min=0)
    steps = (columns - starts.gather(1, knot)) * slopes.gather(1, segment)
    return (goals.gather(1, knot) + steps).T

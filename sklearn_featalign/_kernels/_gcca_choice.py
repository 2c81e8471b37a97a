"""What `KernelGCCAAligner` chooses by rows that it leaves out, and their score."""

from itertools import permutations
from typing import NamedTuple

import torch

from sklearn_featalign._kernels._gcca import count_rows, fit_shared
from sklearn_featalign._kernels._gcca_views import (
    has_hubness,
    leading,
    output_rows,
    reference_rows,
)
from sklearn_featalign._kernels._hubness import STRENGTH, all_hubness
from sklearn_featalign._kernels._moments import moments_of, subtract
from sklearn_featalign._similarity import mean_log_likelihoods, own_ranks

# A group of rows that is left out has at most this many rows, and at most a fifth of
# all. There are as many groups as give 400 rows, at most 5.
_GROUP_ROWS = 2000
_GROUPS = 5
_SCORED_ROWS = 400

# With fewer rows left out, nothing is chosen.
_CHOOSING_ROWS = 100

# Temperatures of the likelihood, of which the best counts.
_TEMPERATURES = (0.02, 0.04, 0.08, 0.16)

# With fewer rows none are left out.
_FEWEST_ROWS = 10

# Rows of a single view that measure hubness where others are left out, at most.
_SINGLE_ROWS = 1000


class Choice(NamedTuple):
    """What was chosen, and its score.

    Attributes
    ----------
    linear, power : float
    score : float
        Top-1 accuracy, mean over the groups and over all ordered pairs of views; NaN if
        there are too few rows.
    size : int
        Number of rows of a group.
    """

    linear: float
    power: float
    score: float
    size: int


class Group(NamedTuple):
    """Predictions of what the views share by a fit of all rows but those of a group.

    Attributes
    ----------
    shares : tensor of shape (n_components,)
    held : list of tensor of shape (size, n_components)
        Of the rows of the group, by view.
    present : list of tensor of shape (size,)
        Whether these rows have the view.
    references : list of tensor of shape (n_rows, n_components)
        Of other rows, each left out of the regression, or None without hubness.
    """

    shares: torch.Tensor
    held: list
    present: list
    references: list | None


def choose(data, setting):
    """Return the `Choice` of a `Setting`.

    A group of rows is subtracted from the moments, and its rows are searched among each
    other. Their mean log-likelihood chooses: among few rows most are found, and ranks
    tell little. Of more than two views nothing is chosen: pairs that are hard to find
    would decide for the others.

    Parameters
    ----------
    data : Framed
    setting : Setting
    """
    linear, power = setting.linear, setting.power
    n_views = len(data.frames)
    ranks = [frame.rank for frame in data.frames]
    slices, size = group_slices(count_rows(data.moments, ranks), len(data.kept))
    if len(slices) * size < _CHOOSING_ROWS or n_views > 2:
        linear, power = linear[:1], power[:1]
    if not slices or n_views == 1:
        return Choice(linear[0], power[0], float("nan"), 0)
    best = None
    for share in linear:
        mixed = data.mixed(share)
        groups = [leave_out(mixed, data, rows, setting) for rows in slices]
        for p in power:
            value = mean_of(log_likelihood, groups, p, setting)
            if best is None or value > best[0]:
                best = value, share, p, groups
    _, share, p, groups = best
    return Choice(share, p, mean_of(top_one, groups, p, setting), size)


def group_slices(n_rows, n_kept):
    """Return the slices of the groups among the rows that were kept, and their size."""
    if n_kept < _FEWEST_ROWS:
        return [], 0
    size = min(_GROUP_ROWS, n_rows // _GROUPS, n_kept // 2)
    n_groups = min(_GROUPS, -(-_SCORED_ROWS // size), n_kept // size)
    return [slice(g * size, (g + 1) * size) for g in range(n_groups)], size


def leave_out(data, unmixed, rows, setting):
    """Return the `Group` of a slice of the rows that `Framed` keeps."""
    F = unmixed.kept
    held = data.features(F[rows])
    present = [part[:, -1] > 0 for part in held]
    rest = subtract(data.moments, moments_of(held))
    shared = fit_shared(rest, data.ranks, setting.ridge, setting.n_components)
    references = None
    if has_hubness(held, setting):
        others = [F[: rows.start], F[rows.stop :]]
        single = [part[:_SINGLE_ROWS] for part in unmixed.single]
        references = reference_rows(others, single, data, shared)
    maps = shared.maps.features
    predictions = [part @ M for part, M in zip(held, maps, strict=True)]
    return Group(shared.shares, predictions, present, references)


def searches(group, power, setting):
    """Return the rows of a group that are searched, for each ordered pair of views.

    These are the rows of one view, the same rows of the other, and their bias.
    """
    shares, predictions, present, references = group
    rows = output_rows(predictions, shares, power)
    bias = [part.new_zeros(len(part)) for part in rows]
    if references is not None:
        references = leading(output_rows(references, shares, power))
        hubs = all_hubness(leading(rows), references, setting.hub_neighbors)
        bias = [-STRENGTH * hub for hub in hubs]
    found = []
    for u, v in permutations(range(len(rows)), 2):
        both = present[u] & present[v]
        if both.any():
            found.append((rows[u][both], rows[v][both], bias[v][both]))
    return found


def mean_of(score, groups, power, setting):
    """Return the mean of a score over all groups and ordered pairs of views."""
    values = [
        score(*found) for group in groups for found in searches(group, power, setting)
    ]
    return sum(values) / len(values)


def log_likelihood(X, Y, bias):
    """Return the mean log-likelihood at the best temperature."""
    return max(mean_log_likelihoods(X, Y, bias, _TEMPERATURES))


def top_one(X, Y, bias):
    """Return the top-1 accuracy."""
    return float((own_ranks(X, Y, bias) <= 1).to(torch.float64).mean())

"""Rounds of matching unpaired rows and fitting again on the means of matched groups."""

import math
from typing import NamedTuple

import torch

from sklearn_featalign import _memory
from sklearn_featalign._linalg import unit_rows
from sklearn_featalign._matching._groups import group_means, spherical_kmeans
from sklearn_featalign._matching._landmark_maps import fit_landmark_maps
from sklearn_featalign._matching._neighbors import Matches, mutual_neighbors

# By chance, or where the rows are of other objects, about this share of the rows has a
# mutual neighbour.
_CHANCE_SHARE = 0.5

# From this share on, rows are matched as a whole. It was not reached where matching
# had failed.
MATCHED_SHARE = 0.6

# Rounds end if the share does not rise by this much: its largest value in a few rounds
# where rows are matched, and its mean over more rounds, and not too soon, where not.
_LEAST_RISE = 0.005
_PATIENCE = 3
_LONG_PATIENCE = 6
_FEWEST_UNMATCHED = 18


class Pools(NamedTuple):
    """The rows of all views, standardised, and what is known of them.

    Attributes
    ----------
    blocks : list of tensor of shape (n_rows, n_features)
        The rows that have each view.
    known : list of tensor of int of shape (n_known,)
        Positions in each block of the rows that have every view.
    free : dict of (int, int) to tuple of tensor of int
        For two views, positions in the blocks of the rows that have one and lack the
        other.
    """

    blocks: list
    known: list
    free: dict

    @property
    def n_known(self):
        """Number of known pairs."""
        return len(self.known[0])

    @property
    def n_free(self):
        """Number of free rows, in all pairs of views."""
        return sum(len(rows) for sides in self.free.values() for rows in sides)

    def known_rows(self):
        """Return the rows of known pairs in each view, in float64."""
        parts = zip(self.blocks, self.known, strict=True)
        return [X[rows].to(torch.float64) for X, rows in parts]

    def with_known(self, where):
        """Return the same with some of the known pairs only; others are no pairs."""
        return self._replace(known=[rows[where] for rows in self.known])

    def limit_known(self, n_pairs, generator):
        """Return the same with at most so many random known pairs."""
        everyone = torch.arange(self.n_known, device=self.known[0].device)
        return self.with_known(draw(everyone, n_pairs, generator))

    def sample(self, n_rows, generator):
        """Return the same with at most so many random free rows of each view."""
        free = {
            pair: tuple(draw(rows, n_rows, generator) for rows in sides)
            for pair, sides in self.free.items()
        }
        return self._replace(free=free)


def draw(rows, n_rows, generator):
    """Return random ones of the rows, in their order, or all if there are no more."""
    if len(rows) <= n_rows:
        return rows
    order = torch.randperm(len(rows), generator=generator, device=generator.device)
    return rows[order[:n_rows].sort().values.to(rows.device)]


class Setting(NamedTuple):
    """The parameters of the rounds.

    The number of groups doubles in each round, from the first number to the largest.
    """

    n_rounds: int
    n_groups: int
    group_size: float
    n_first_groups: int = 50


class Alignment(NamedTuple):
    """What the rounds have led to.

    Attributes
    ----------
    maps : list of LandmarkMap
        The map of each view.
    matches : dict of (int, int) to Matches
        For two views, positions in their blocks.
    history : list of dict
        For each round the number of pairs of the fit, and the number, the share and the
        mean score of matches.
    """

    maps: list
    matches: dict
    history: list

    @property
    def share(self):
        """Mutual neighbours as a share of the rows that could have one.

        These are the geometric mean of the numbers of both views.
        """
        return self.history[-1]["share"]


def align(pools, pairs, setting, generator, on_round=None):
    """Fit, match, and fit again on known pairs and means of groups of matches.

    Parameters
    ----------
    pools : Pools
    pairs : list of tensor of shape (n_pairs, n_features)
        Pairs of the first fit besides the known ones.
    setting : Setting
    generator : torch.Generator
    on_round : callable, optional
        Called after each round.

    Returns
    -------
    alignment : Alignment
    """
    known = pools.known_rows()
    n_groups = max(setting.n_first_groups, pools.n_known)
    history = []
    for _ in range(setting.n_rounds):
        joined = list(map(torch.cat, zip(known, pairs, strict=True)))
        maps = fit_landmark_maps(joined)
        matches = match(pools, maps)
        history.append(summary(pools, matches, len(joined[0])))
        alignment = Alignment(maps, matches, history)
        if on_round is not None:
            on_round()
        if has_settled(history, n_groups >= setting.n_groups):
            break
        limited = setting._replace(n_groups=min(n_groups, setting.n_groups))
        pairs = grouped_means(pools, alignment, pools.blocks, limited, generator)
        n_groups *= 2
    return alignment


def features(fitted, X):
    """Return the features of rows."""
    return torch.cat([fitted(part) for part in X.split(_memory.MATCHED_ROWS)])


def match(pools, maps):
    """Return the `Matches` of each two views, as positions in their blocks."""
    found = {}
    for (u, v), (rows_u, rows_v) in pools.free.items():
        F = features(maps[u], pools.blocks[u][rows_u])
        G = features(maps[v], pools.blocks[v][rows_v])
        first, second, scores = mutual_neighbors(F, G)
        found[u, v] = Matches(rows_u[first], rows_v[second], scores)
    return found


def summary(pools, matches, n_pairs):
    """Return what `history_` tells of a round."""
    # The smaller pool finds neighbours by chance, the more the larger the other one.
    sizes = [list(map(len, sides)) for sides in pools.free.values()]
    n_possible = sum(math.sqrt(first * second) for first, second in sizes)
    scores = torch.cat([found.scores for found in matches.values()])
    return {
        "n_pairs": n_pairs,
        "n_matches": len(scores),
        "share": len(scores) / n_possible,
        "score": float(scores.mean()),
    }


def has_settled(history, is_finest):
    """Return whether the share of matched rows no longer rises."""
    shares = [entry["share"] for entry in history]
    if not is_finest or len(shares) <= _PATIENCE:
        return False
    if max(shares) >= MATCHED_SHARE:
        return max(shares[-_PATIENCE:]) < max(shares[:-_PATIENCE]) + _LEAST_RISE
    if len(shares) < _FEWEST_UNMATCHED:
        return False
    last, before = (
        shares[-_LONG_PATIENCE:],
        shares[-2 * _LONG_PATIENCE : -_LONG_PATIENCE],
    )
    return sum(last) < sum(before) + _LONG_PATIENCE * _LEAST_RISE


def matches_a_group(share, group_size):
    """Return how many matches a group has at least.

    Its mean cancels the errors of wrong matches, of which there are fewer the more of
    the rows are mutual neighbours.
    """
    left = (1 - share) / (1 - _CHANCE_SHARE)
    return max(1.0, group_size * min(1.0, left))


def grouped_means(pools, alignment, blocks, setting, generator):
    """Return the means of groups of matches, which serve as pairs.

    `blocks` are the rows of the pools, standardised or as they were given.
    """
    labels, n_groups = group_matches(pools, alignment, setting, generator)
    return matched_means(blocks, alignment.matches, labels, n_groups)


def group_matches(pools, alignment, setting, generator):
    """Return the group of each match, by pairs of views, and the number of groups.

    Groups are near each other in what the views share.
    """
    maps, matches, _ = alignment
    places = []
    for (u, v), found in matches.items():
        F = features(maps[u], pools.blocks[u][found.first])
        places.append(F + features(maps[v], pools.blocks[v][found.second]))
    Z = unit_rows(torch.cat(places))
    most = int(len(Z) / matches_a_group(alignment.share, setting.group_size))
    n_groups = min(len(Z), max(2, min(setting.n_groups, most)))
    labels = spherical_kmeans(Z, n_groups, generator)
    sizes = [len(found.first) for found in matches.values()]
    return dict(zip(matches, labels.split(sizes), strict=True)), n_groups


def matched_means(blocks, matches, labels, n_groups):
    """Return the mean of the rows of each group in each view, in float64.

    Groups without a row of some view are left out.
    """
    means, counts = [], []
    for w, X in enumerate(blocks):
        sides = [(pair, pair.index(w)) for pair in matches if w in pair]
        rows = torch.cat([matches[pair][side] for pair, side in sides])
        groups = torch.cat([labels[pair] for pair, _ in sides])
        mean, count = group_means(X[rows], groups, n_groups)
        means.append(mean)
        counts.append(count)
    complete = torch.stack(counts).amin(0) > 0
    return [mean[complete] for mean in means]

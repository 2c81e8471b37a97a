"""Mutual nearest neighbours under CSLS, block by block."""

from typing import NamedTuple

import torch

from sklearn_featalign import _memory
from sklearn_featalign._linalg import Blocks

# Neighbours that measure how near a row is to everything.
N_NEIGHBORS = 10

# Fewer matches count as so many when two sets are compared.
_FEWEST_MATCHES = 100


class Matches(NamedTuple):
    """Pairs of rows of two views that are the nearest ones of each other.

    Attributes
    ----------
    first, second : tensor of int of shape (n_matches,)
    scores : tensor of shape (n_matches,)
        Their similarity less the mean similarity to neighbours: half the CSLS of
        Conneau et al. (2018), "Word translation without parallel data".
    """

    first: torch.Tensor
    second: torch.Tensor
    scores: torch.Tensor


def mutual_neighbors(F, G):
    """Return the `Matches` of rows of unit length.

    Similarities that take too much memory are computed twice, block by block.
    """
    similarities = kept_similarities(F, G)
    hub_f, hub_g = hubness(similarities, len(G))
    partner, scores = F.new_empty(len(F), dtype=torch.int64), F.new_empty(len(F))
    best = F.new_full((len(G),), -torch.inf)
    chosen = torch.zeros(len(G), dtype=torch.int64, device=F.device)
    for rows, S in similarities:
        S = (S - hub_f[rows, None]).sub_(hub_g)
        scores[rows], partner[rows] = S.max(1)
        values, index = S.max(0)
        better = values > best
        best[better], chosen[better] = values[better], index[better] + rows.start
    first = torch.arange(len(F), device=F.device)
    first = first[chosen[partner] == first]
    return Matches(first, partner[first], scores[first])


def kept_similarities(F, G):
    """Return slices of the rows of F with their similarities to G, as `Blocks`."""
    step = max(1, _memory.BLOCK_NUMBERS // len(G))
    slices = [slice(i, min(i + step, len(F))) for i in range(0, len(F), step)]
    is_kept = len(F) * len(G) * F.element_size() <= _memory.KEPT_BYTES
    return Blocks(slices, lambda rows: (rows, F[rows] @ G.T), is_kept)


def hubness(similarities, n_second):
    """Return half the mean similarity of each row to its nearest ones of the other."""
    means, largest = [], None
    for _, S in similarities:
        means.append(S.topk(min(N_NEIGHBORS, n_second), dim=1).values.mean(1))
        # The memory order of the transpose makes this several times faster.
        columns = S.T if largest is None else torch.cat([largest, S.T], dim=1)
        k = min(N_NEIGHBORS, columns.shape[1])
        largest = columns.contiguous().topk(k, dim=1).values
    return torch.cat(means) / 2, largest.mean(1) / 2


def common_share(first, second, n_rows):
    """Return the share of the matches of the smaller set that both sets have.

    Of a few matches some may be common by chance: they count as a hundred. `n_rows` is
    the number of rows of the second view.
    """
    codes = [matches.first * n_rows + matches.second for matches in (first, second)]
    smaller = max(_FEWEST_MATCHES, min(map(len, codes)))
    return float(torch.isin(*codes).sum()) / smaller

"""Whether matching has worked: two further runs that see half of the known pairs each.

The known pairs that a run has not seen are searched among the unpaired rows, before and
after its rounds. Independent runs that agree on matches are a second sign, and the only
one without known pairs.
"""

import math
from typing import NamedTuple

import torch

from sklearn_featalign._matching._neighbors import N_NEIGHBORS, common_share
from sklearn_featalign._matching._rounds import MATCHED_SHARE, features
from sklearn_featalign._similarity import neighbor_means

# With fewer known pairs the ranks of those that are left out tell too little.
FEWEST_RANKED = 8

# Verdicts by the share of the logarithms of ranks that matching has taken off, with its
# t-statistic, and by the share of matches that two runs have in common.
_WORKED = {"gain": 0.2, "t": 3.0, "agreement": 0.1}
_UNCLEAR = {"gain": 0.1, "t": 2.5, "agreement": 0.04}


class Evidence(NamedTuple):
    """Signs of success.

    Attributes
    ----------
    share : float
        Mutual neighbours as a share of the rows that could have one.
    agreement : float
        Share of matches that two further runs have in common; NaN if there were none.
    gain : float
        Share of the sum of the logarithms of ranks of left-out known pairs that
        matching has taken off; NaN if none were left out.
    t : float
        The mean difference of these logarithms over its standard error.
    """

    share: float
    agreement: float = math.nan
    gain: float = math.nan
    t: float = math.nan


def verdict(evidence):
    """Return "worked", "unclear" or "failed".

    Ranks of left-out pairs decide where there are any: two runs from many known pairs
    agree somewhat even where their matches are of no use.
    """
    if evidence.share >= MATCHED_SHARE:
        return "worked"
    for name, least in (("worked", _WORKED), ("unclear", _UNCLEAR)):
        if math.isnan(evidence.gain):
            passed = evidence.agreement >= least["agreement"]
        else:
            passed = evidence.gain >= least["gain"] and evidence.t >= least["t"]
        if passed:
            return name
    return "failed"


def agreement(first, second, pools):
    """Return the share of matches that two alignments have in common."""
    shares = [
        common_share(found, second.matches[pair], len(pools.blocks[pair[1]]))
        for pair, found in first.matches.items()
    ]
    return sum(shares) / len(shares)


def log_ranks(pools, maps, where):
    """Return the logarithms of the ranks of known pairs among the free rows, by CSLS.

    These are means over both directions, which are not independent, and over all pairs
    of views.

    Parameters
    ----------
    pools : Pools
    maps : list of LandmarkMap
        Of a fit that has not seen these pairs.
    where : tensor of int
        Which of the known pairs.

    Returns
    -------
    logarithms : tensor of shape (n_where,)
    """
    found = []
    for (u, v), (rows_u, rows_v) in pools.free.items():
        F = features(maps[u], pools.blocks[u][rows_u])
        G = features(maps[v], pools.blocks[v][rows_v])
        a, b = (
            features(maps[w], pools.blocks[w][pools.known[w][where]]) for w in (u, v)
        )
        found += [ranks(a, b, F, G), ranks(b, a, G, F)]
    return torch.stack(found).to(torch.float64).log().mean(0)


def ranks(queries, partners, F, G):
    """Return the rank of the partner of each query among the rows of G.

    F are further rows of the view of the queries. Ties count a half.
    """
    hub_g, hub_partners = (
        neighbor_means(Y, F, min(N_NEIGHBORS, len(F))) / 2 for Y in (G, partners)
    )
    own = (queries * partners).sum(1) - hub_partners
    S = queries @ G.T - hub_g
    above = (S > own[:, None]).sum(1)
    return 1 + above + (S == own[:, None]).sum(1) / 2


def gain_of(before, after):
    """Return the share of the logarithms that went off, and the t-statistic."""
    difference = before - after
    error = difference.std() / len(difference) ** 0.5
    t = float(difference.mean() / error) if error > 0 else 0.0
    total = float(before.sum())
    return (float(difference.sum()) / total if total > 0 else 0.0), t

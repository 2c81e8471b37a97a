"""The search for matches, and the runs that tell whether it has worked."""

from itertools import combinations
from typing import NamedTuple

import torch

from sklearn_featalign._matching._centres import guess_pairs
from sklearn_featalign._matching._landmark_maps import fit_landmark_maps
from sklearn_featalign._matching._rounds import (
    MATCHED_SHARE,
    Alignment,
    align,
    grouped_means,
)
from sklearn_featalign._matching._trust import (
    FEWEST_RANKED,
    Evidence,
    agreement,
    gain_of,
    log_ranks,
)

# Rounds of further runs, at most.
_JUDGING_ROUNDS = 12

# The last rounds match all rows, if the others match a sample.
_LAST_ROUNDS = 2


class Found(NamedTuple):
    """The best alignment, and what is known of it."""

    alignment: Alignment
    evidence: Evidence


def search(pools, setting, n_samples, generator, on_round=None):
    """Return what was `Found`: by one run if it matches most rows, or by three.

    Parameters
    ----------
    pools : Pools
    setting : Setting
    n_samples : int
        Number of free rows of each view in all rounds but the last ones.
    generator : torch.Generator
    on_round : callable, optional
    """
    # Fits of more pairs than groups would take longer, and tell little more.
    pools = pools.limit_known(setting.n_groups, generator)
    sample = pools.sample(n_samples, generator)

    def run(seen, n_rounds=_JUDGING_ROUNDS):
        start = guess_pairs(seen, generator)
        limited = setting._replace(n_rounds=min(n_rounds, setting.n_rounds))
        return align(seen, start, limited, generator, on_round)

    runs = [run(sample, setting.n_rounds)]
    if runs[0].share < MATCHED_SHARE:
        halves = split_known(sample, generator)
        runs += [run(sample.with_known(half)) for half in halves]
    best = max(runs, key=lambda run: run.share)
    if best.share >= MATCHED_SHARE:
        found = Found(best, Evidence(best.share))
    elif pools.n_known > 1:
        found = Found(runs[0], judge_by_halves(sample, halves, runs))
    else:
        found = best_of_three(sample, runs)
    if sample.n_free < pools.n_free:
        alignment = extend(pools, found.alignment, setting, generator, on_round)
        found = found._replace(alignment=alignment)
    return found


def split_known(pools, generator):
    """Return two random halves of the known pairs, or all twice if there is but one.

    Runs that see the same known pairs would agree about rows near these.
    """
    if pools.n_known < 2:
        everyone = torch.arange(pools.n_known, device=pools.known[0].device)
        return everyone, everyone
    order = torch.randperm(pools.n_known, generator=generator, device=generator.device)
    order = order.to(pools.known[0].device)
    middle = pools.n_known // 2
    return order[:middle], order[middle:]


def extend(pools, alignment, setting, generator, on_round):
    """Return an alignment of a sample after further rounds that match all rows."""
    pairs = grouped_means(pools, alignment, pools.blocks, setting, generator)
    last = setting._replace(n_rounds=_LAST_ROUNDS, n_first_groups=setting.n_groups)
    extended = align(pools, pairs, last, generator, on_round)
    return extended._replace(history=alignment.history + extended.history)


def judge_by_halves(pools, halves, runs):
    """Return the `Evidence` of two runs that have seen half of the known pairs each."""
    share, further = runs[0].share, runs[1:]
    value = agreement(*further, pools)
    if pools.n_known < FEWEST_RANKED:
        return Evidence(share, value)
    before, after = [], []
    for seen, hidden, run in zip(halves, halves[::-1], further, strict=True):
        alone = fit_landmark_maps(pools.with_known(seen).known_rows())
        before.append(log_ranks(pools, alone, hidden))
        after.append(log_ranks(pools, run.maps, hidden))
    return Evidence(share, value, *gain_of(torch.cat(before), torch.cat(after)))


def best_of_three(pools, runs):
    """Return what was `Found` without pairs: one of the two runs that agree best."""
    value, pair = max(
        ((agreement(*pair, pools), pair) for pair in combinations(runs, 2)),
        key=lambda item: item[0],
    )
    best = max(pair, key=lambda run: run.history[-1]["score"])
    return Found(best, Evidence(best.share, value))

"""The search for matches, and the runs that tell whether it has worked."""

import math
from itertools import combinations
from typing import NamedTuple

import torch

from sklearn_featalign._matching._centres import guess_pairs
from sklearn_featalign._matching._landmark_maps import fit_landmark_maps
from sklearn_featalign._matching._rounds import (
    MATCHED_SHARE,
    Alignment,
    align,
    draw,
    group_matches,
    matched_means,
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
    everyone = torch.arange(pools.n_known, device=pools.known[0].device)
    pools = pools.with_known(draw(everyone, setting.n_groups, generator))
    sample = pools.sample(n_samples, generator)

    def run(seen, n_rounds=_JUDGING_ROUNDS):
        start = guess_pairs(seen, generator)
        limited = setting._replace(n_rounds=min(n_rounds, setting.n_rounds))
        return align(seen, start, limited, generator, on_round)

    first = run(sample, setting.n_rounds)
    if first.share >= MATCHED_SHARE:
        found = Found(first, Evidence(first.share))
    elif pools.n_known > 1:
        found = judge_by_halves(sample, first, run, generator)
    else:
        found = best_of_three(sample, [first, run(sample), run(sample)])
    if sample.n_free < pools.n_free:
        alignment = extend(pools, found.alignment, setting, generator, on_round)
        found = found._replace(alignment=alignment)
    return found


def extend(pools, alignment, setting, generator, on_round):
    """Return an alignment of a sample after further rounds that match all rows."""
    maps, matches, share, history = alignment
    labels, n_groups = group_matches(
        pools, maps, matches, setting.n_groups, share, setting.group_size, generator
    )
    pairs = matched_means(pools.blocks, matches, labels, n_groups)
    last = setting._replace(n_rounds=_LAST_ROUNDS, n_first_groups=setting.n_groups)
    extended = align(pools, pairs, last, generator, on_round)
    return extended._replace(history=history + extended.history)


def judge_by_halves(pools, first, run, generator):
    """Return what was `Found`, with the evidence of two runs that see half each.

    Runs that see the same known pairs would agree about rows near these.
    """
    order = torch.randperm(pools.n_known, generator=generator, device=generator.device)
    order = order.to(pools.known[0].device)
    middle = pools.n_known // 2
    halves = order[:middle], order[middle:]
    parts = [pools.with_known(half) for half in halves]
    runs = [run(part) for part in parts]
    best = max([first, *runs], key=lambda run: run.share)
    if best.share >= MATCHED_SHARE:
        return Found(best, Evidence(best.share))
    value = agreement(*runs, pools)
    if pools.n_known < FEWEST_RANKED:
        return Found(first, Evidence(first.share, value))
    hidden = halves[::-1]
    before = [
        log_ranks(pools, fit_landmark_maps(part.known_rows()), rows)
        for part, rows in zip(parts, hidden, strict=True)
    ]
    after = [
        log_ranks(pools, found.maps, rows)
        for found, rows in zip(runs, hidden, strict=True)
    ]
    gain, t = gain_of(torch.cat(before), torch.cat(after))
    return Found(first, Evidence(first.share, value, gain, t))


def best_of_three(pools, runs):
    """Return the run that matches most rows, or agrees best with another one."""
    best = max(runs, key=lambda run: run.share)
    if best.share >= MATCHED_SHARE:
        return Found(best, Evidence(best.share))
    value, pair = max(
        ((agreement(*pair, pools), pair) for pair in combinations(runs, 2)),
        key=lambda item: item[0],
    )
    best = max(pair, key=lambda run: run.history[-1]["score"])
    return Found(best, Evidence(best.share, value, math.nan, math.nan))

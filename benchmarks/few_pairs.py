"""Compares methods that need few known pairs, or none, and have unpaired rows.

    python benchmarks/few_pairs.py
    python benchmarks/few_pairs.py --pairs lite1-lite2 --n-paired 30 --pools disjoint
    python benchmarks/few_pairs.py --data wordnet --pairs e5-minilm
    python benchmarks/few_pairs.py --data emoji
    python benchmarks/few_pairs.py --known medoids
    python benchmarks/few_pairs.py --a A.npy --b B.npy --labels y.npy

Each seed draws test rows, then known pairs, of which a smaller number takes the first
ones, then a pool of unpaired rows of each network. The pools "same" are of the same
objects in another order, and "disjoint" are of other objects. No method sees test rows,
or knows which pools it has.

With ``--known medoids`` the known pairs are no random choice: the first network's rows
are clustered into as many clusters as there are pairs to be, and the row next to each
centre is paired. It then is in neither pool.

There are no pairs to spare for a choice of hyperparameters: each method has one setting
for all data, which was fixed beforehand, mostly that of its paper. See _unpaired.py.

Rows are compared by cosine, or by dot product where an aligner says so. Measures are
means of both directions. FOSCTTM is the share of test rows that are nearer than the
true one. Stitching trains a LogisticRegression on aligned rows of the first network's
pool, with their labels, and scores it on aligned test rows of the second. The table
says how often our aligner trusts its result. Methods that need pairs are left out
with fewer than two.
"""

import time
from collections import Counter
from functools import partial
from typing import NamedTuple

import numpy as np
from _hubs import CSLS_NEIGHBORS
from _pairs import load_pairs, make_pair_parser
from _runs import grid, median_text, percent, print_table, run, table, write_json
from _unpaired import LEAST_PAIRS, METHODS, METRICS, NEED_PAIRS, load_pot
from half_shared import accuracies
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin
from sklearn.preprocessing import normalize

from sklearn_featalign.metrics import retrieval_ranks

POOLS = ("same", "disjoint")
EMOJI_PAIRS = ("mobilenet-minilm",)
# At most a third of all rows.
N_TEST = {"wordnet": 1000, "emoji": 300}
# Rows that are known pairs or nothing, so that pools do not depend on their number.
N_RESERVED = 300
N_LABELLED = 2000
LEAST_UNPAIRED = 20


class Rows(NamedTuple):
    """Indices of test rows, of known pairs, and of unpaired rows of each network."""

    test: np.ndarray
    known: np.ndarray
    pool_a: np.ndarray
    pool_b: np.ndarray


def split(n_rows, n_test, n_known, n_unpaired, pool, seed):
    """Return random rows for a seed, of which only those of "same" pools coincide."""
    n_test, n_reserved = min(n_test, n_rows // 3), max(n_known, N_RESERVED)
    rng = np.random.default_rng(1000 + seed)
    order = rng.permutation(n_rows)
    test, known, left = np.split(order, np.cumsum([n_test, n_reserved]))
    size = min(n_unpaired, len(left) // (1 if pool == "same" else 2))
    if size < LEAST_UNPAIRED:
        raise SystemExit(
            f"{n_rows} rows leave {size} unpaired ones, beside {n_test} test rows and "
            f"{n_reserved} for pairs: see --n-paired and --n-unpaired."
        )
    first = left[:size]
    second = rng.permutation(first) if pool == "same" else left[size : 2 * size]
    return Rows(test, known, first, second)


def pair_medoids(rows, X, n_paired, seed):
    """Return the same rows, of which the known ones are those next to cluster centres.

    X are the rows of the first network, of which the test rows are not clustered.
    """
    candidates = np.union1d(rows.known, rows.pool_a)
    known = candidates[medoids(X[candidates], n_paired, seed)]
    pools = (pool[~np.isin(pool, known)] for pool in (rows.pool_a, rows.pool_b))
    return Rows(rows.test, known, *pools)


def medoids(X, n_clusters, seed):
    """Return the index of the row next to each centre, of centred rows of unit length.

    There are fewer if one row is next to several centres.
    """
    Z = normalize(X - X.mean(0))
    centres = KMeans(n_clusters, n_init=1, random_state=seed).fit(Z).cluster_centers_
    return np.unique(pairwise_distances_argmin(centres, Z))


def measure(pair, args, seed, pool, method, **setting):
    """Return the measures of a method on a pair."""
    n_rows, n_test, n_paired = len(pair.A), N_TEST.get(args.data, 2000), args.n_paired
    rows = split(n_rows, n_test, max(n_paired), args.n_unpaired, pool, seed)
    n_known = setting["paired rows"]
    if args.known == "medoids" and n_known:
        rows = pair_medoids(rows, pair.A, n_known, seed)
    known = pair.take(rows.known[:n_known])
    pools = pair.A[rows.pool_a], pair.B[rows.pool_b]
    start = time.perf_counter()
    *maps, notes = METHODS[method](*known, *pools, seed)
    seconds = time.perf_counter() - start
    F, G = (f(X) for f, X in zip(maps, pair.take(rows.test), strict=True))
    found = {"test rows": len(F), "unpaired rows": len(rows.pool_a)}
    found |= search(F, G, METRICS[method])
    if pair.y is not None:
        labelled = rows.pool_a[:N_LABELLED]
        labels = pair.y[labelled], pair.y[rows.test]
        _, other = accuracies(maps[0](pair.A[labelled]), F, G, *labels)
        found["stitching %"] = other
    return found | {"seconds": seconds} | notes


def search(F, G, metric):
    """Return measures of searches for rows of each network among the other's."""
    ranks, with_csls = (
        np.append(
            retrieval_ranks(F, G, metric=metric, csls=k),
            retrieval_ranks(G, F, metric=metric, csls=k),
        )
        for k in (None, min(CSLS_NEIGHBORS, len(F)))
    )
    return {
        "top-1 %": float((ranks <= 1).mean()),
        "top-1 % with CSLS": float((with_csls <= 1).mean()),
        "MRR %": float((1 / ranks).mean()),
        "FOSCTTM %": float((ranks - 1).mean() / (len(F) - 1)),
    }


def summarize(runs):
    """Return a row for each method and number of pairs: mean and spread over seeds."""
    measures = ("top-1 %", "top-1 % with CSLS", "MRR %", "FOSCTTM %", "stitching %")
    columns = dict.fromkeys(measures, partial(percent, digits=1))
    columns |= {"seconds": median_text, "trust": counts}
    return table(runs, ["method", "paired rows"], columns)


def counts(values):
    """Return how often there is each value, as text."""
    return ", ".join(f"{value} {n}" for value, n in Counter(values).items())


def is_possible(setting):
    """Return whether a method can do with the number of pairs."""
    return setting["paired rows"] >= LEAST_PAIRS or setting["method"] not in NEED_PAIRS


def main():
    """Compare the methods and print a table for each pair and kind of pools."""
    n_paired = [0, 5, 10, 30, 100, 300]
    parser = make_pair_parser(__doc__, n_paired, METHODS)
    parser.add_argument("--pools", nargs="+", choices=POOLS, default=POOLS)
    parser.add_argument("--n-unpaired", type=int, default=4850, help="at most")
    parser.add_argument("--known", choices=("random", "medoids"), default="random")
    args = parser.parse_args()
    if args.data == "emoji":
        args.pairs = args.pairs or EMOJI_PAIRS
    if "Gromov-Wasserstein" in args.methods:
        # If POT is missing, say so now.
        load_pot()
    values = {"method": args.methods, "paired rows": args.n_paired}
    settings = grid(pool=args.pools, **values, seed=range(args.seeds))
    settings = list(filter(is_possible, settings))
    runs, tables = [], {}
    for pair in load_pairs(args):
        found = run(settings, partial(measure, pair, args), pair.name)
        found = [{"pair": pair.name} | r for r in found]
        runs += found
        for pool in args.pools:
            group = [r for r in found if r["pool"] == pool]
            if not group:
                continue
            title = (
                f"{pair.name}: {pool} pools of {group[0]['unpaired rows']} rows, "
                f"{group[0]['test rows']} test rows, {args.seeds} seeds, "
                "mean ± standard deviation"
            )
            tables[title] = summarize(group)
            print_table(title, tables[title])
        write_json(args.json, runs=runs, tables=tables)


if __name__ == "__main__":
    main()

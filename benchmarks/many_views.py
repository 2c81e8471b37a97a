"""Retrieval across the pairs of many views: one fit of all, or one fit for each pair.

    python benchmarks/many_views.py
    python benchmarks/many_views.py --features lite0 lite1 lite2 --n-paired 300

The same rows, the same test rows and KernelGCCAAligner's defaults in both cases; top-1
of the test rows, averaged over both directions.
"""

import argparse
from itertools import combinations, permutations

import numpy as np
import pandas as pd
from _data import DATA, load_features
from _pairs import split_rows
from _report import print_table, spread, write_json
from rich.progress import track

from sklearn_featalign import KernelGCCAAligner
from sklearn_featalign.metrics import retrieval_accuracy


def pair_scores(blocks, fit_rows, test_rows):
    """Return the score of each pair of views in one fit of all of them.

    Parameters
    ----------
    blocks : dict of str to ndarray
    fit_rows, test_rows : ndarray of int

    Returns
    -------
    scores : dict of tuple of str to float
    """
    views = {name: X.shape[1] for name, X in blocks.items()}
    aligner = KernelGCCAAligner(views=views, n_landmarks=None)
    aligner.fit(np.hstack([X[fit_rows] for X in blocks.values()]))
    features = {
        name: aligner.transform_view(X[test_rows], name) for name, X in blocks.items()
    }
    return {
        pair: np.mean(
            [
                retrieval_accuracy(features[u], features[v], metric=aligner.metric)
                for u, v in permutations(pair)
            ]
        )
        for pair in combinations(blocks, 2)
    }


def compare(blocks, n_paired, seeds):
    """Return one run for each seed and pair of views."""
    runs = []
    n_rows = len(next(iter(blocks.values())))
    for seed in track(seeds, "seeds"):
        rows = split_rows(n_rows, n_paired, seed)
        together = pair_scores(blocks, rows.paired, rows.test)
        for pair, score in together.items():
            alone = pair_scores({k: blocks[k] for k in pair}, rows.paired, rows.test)
            run = {"seed": seed, "pair": "-".join(pair), "test rows": len(rows.test)}
            runs.append({**run, "together": score, "pair by pair": alone[pair]})
    return runs


def summarize(runs):
    """Return a row for each pair of views: mean and spread over the seeds."""
    frame = pd.DataFrame(runs)
    return [
        {
            "pair": name,
            "together %": spread(group["together"], digits=1),
            "pair by pair %": spread(group["pair by pair"], digits=1),
            "difference": spread(group["together"] - group["pair by pair"], digits=1),
        }
        for name, group in frame.groupby("pair", sort=False)
    ]


def main():
    """Compare one fit of all views with fits of pairs and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", choices=DATA, default="fashion-mnist")
    names = ["lite0", "lite1", "lite2", "pixels", "random"]
    parser.add_argument("--features", nargs="+", default=names)
    parser.add_argument("--n-samples", type=int, default=12000)
    parser.add_argument("--n-paired", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    blocks = {
        name: load_features(args.data, name, args.n_samples)[0]
        for name in args.features
    }
    runs = compare(blocks, args.n_paired, range(args.seeds))
    title = (
        f"{len(blocks)} views, {args.n_paired} paired, {runs[0]['test rows']} test "
        f"rows, {args.seeds} seeds"
    )
    table = summarize(runs)
    print_table(title, table)
    if args.json:
        write_json(args.json, runs=runs, table=table)


if __name__ == "__main__":
    main()

"""Compares one fit of many views with a fit for each pair of them, by retrieval.

    python benchmarks/many_views.py
    python benchmarks/many_views.py --features lite0 lite1 lite2 --n-paired 300

Both have the same paired rows, the same test rows and KernelGCCAAligner's defaults. The
score is the top-1 accuracy of the test rows, averaged over both directions.
"""

from functools import partial
from itertools import combinations

import _runs
import numpy as np
import pandas as pd
from _data import DATA, load_features
from _pairs import split_rows

from sklearn_featalign import KernelGCCAAligner
from sklearn_featalign.metrics import retrieval_accuracy


def pair_scores(blocks, fit_rows, test_rows):
    """Return the score of each pair of views (dict) in one fit of all of them."""
    views = {name: X.shape[1] for name, X in blocks.items()}
    aligner = KernelGCCAAligner(views=views, n_landmarks=None)
    aligner.fit(np.hstack([X[fit_rows] for X in blocks.values()]))
    features = {
        name: aligner.transform_view(X[test_rows], name) for name, X in blocks.items()
    }
    scores = {}
    for u, v in combinations(blocks, 2):
        both = (features[u], features[v]), (features[v], features[u])
        scores[u, v] = np.mean(
            [retrieval_accuracy(*ab, metric=aligner.metric) for ab in both]
        )
    return scores


def measure(blocks, n_paired, seed):
    """Return a run for each pair of views."""
    n_rows = len(next(iter(blocks.values())))
    rows = split_rows(n_rows, n_paired, seed)
    runs = []
    for pair, score in pair_scores(blocks, rows.paired, rows.test).items():
        alone = pair_scores({k: blocks[k] for k in pair}, rows.paired, rows.test)
        run = {"pair": "-".join(pair), "test rows": len(rows.test)}
        runs.append(run | {"together": score, "pair by pair": alone[pair]})
    return runs


def compare(blocks, n_paired, seeds):
    """Return a run for each seed and pair of views."""
    settings = _runs.grid(seed=seeds)
    return _runs.run(settings, partial(measure, blocks, n_paired), "seeds")


def summarize(runs):
    """Return a row for each pair of views: mean and spread over the seeds."""
    frame = pd.DataFrame(runs)
    names = {"together": "together %", "pair by pair": "pair by pair %"}
    frame["difference"] = frame["together"] - frame["pair by pair"]
    percent = partial(_runs.percent, digits=1)
    columns = dict.fromkeys((*names.values(), "difference"), percent)
    return _runs.table(frame.rename(columns=names), ["pair"], columns)


def main():
    """Compare one fit of all views with fits of pairs, and print a table."""
    parser = _runs.make_parser(__doc__, seeds=3)
    parser.add_argument("--data", choices=DATA, default="fashion-mnist")
    names = ["lite0", "lite1", "lite2", "pixels", "random"]
    parser.add_argument("--features", nargs="+", default=names)
    parser.add_argument("--n-samples", type=int, default=12000)
    parser.add_argument("--n-paired", type=int, default=1000)
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
    rows = summarize(runs)
    _runs.print_table(title, rows)
    _runs.write_json(args.json, runs=runs, table=rows)


if __name__ == "__main__":
    main()

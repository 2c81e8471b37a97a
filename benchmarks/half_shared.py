"""Half-shared networks: the document's toy, hard cases, and pretrained networks.

    python benchmarks/half_shared.py toy
    python benchmarks/half_shared.py hard
    python benchmarks/half_shared.py networks [--pairs lite0-lite1] [--n-paired 1000]
    python benchmarks/half_shared.py networks --a A.npy --b B.npy --labels y.npy

The toy are the 30 dots of the feature-alignment document and its choices of Z; what is
measured are the dots themselves, and 300 fresh ones of the same clusters, each looked
up among 30 and among all. The hard cases are the document's maps that a shift, a turn
and one scale do not undo. The networks are those of retrieval.py. Measured in both
directions: retrieval, a classifier trained on one network and used on the other, and on
its own.
"""

import time
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
from _methods import ABLATIONS, METHODS, METRICS, choose
from _pairs import load_pairs, make_parser, split_rows
from _report import print_table, spread, write_json
from didactic import judge, linear, make_dots, make_queries, random_mlp
from rich.progress import Progress, track
from scipy.linalg import orthogonal_procrustes
from sklearn.cross_decomposition import CCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler, normalize

from sklearn_featalign import HalfSharedMLPAligner, RBFAutoScaleAligner
from sklearn_featalign.metrics import mean_reciprocal_rank, retrieval_accuracy

# The document's five choices of Z, by what is passed for them.
CHOICES = {
    "index": {"target": "index"},
    "permutation": {"target": "permutation"},
    "random 0 to 9": {"target": "random", "n_classes": 10},
    "ground truth": {"target": "y"},
    "random 0 to 2": {"target": "random", "n_classes": 3},
}

# For each seed the map from set 1 to set 2; the networks in float64.
HARD_CASES = {
    "anisotropic [0.25, 4]": lambda seed: linear([0.25, 4], True),
    "anisotropic [0.001, 1]": lambda seed: linear([0.001, 1], True),
    "4-layer MLP": lambda seed: random_mlp(seed, 3, True, np.float64),
    "12-layer MLP": lambda seed: random_mlp(seed, 13, False, np.float64),
}


NETWORK_METHODS = (
    "HalfSharedMLPAligner",
    "HalfSharedMLPAligner, linear",
    "KernelGCCAAligner",
    "KernelGCCAAligner no hubness",
    "RBFAutoScaleAligner ridge",
    "regularised CCA",
)
RAW = "raw features, a classifier each"
N_TEST, N_LABELLED = 4000, 5000

# Of the classifier, fixed beforehand: the length of rows and LogisticRegression's C.
LENGTH, C = 128**0.5, 0.1


def half_shared(**params):
    """Return a function that aligns dots by the document's method."""

    def align(X, Y, clusters, seed):
        aligner = HalfSharedMLPAligner(views=[2, 2], random_state=seed, **params)
        aligner.fit(np.hstack([X, Y]), clusters)
        return partial(aligner.transform_view, view=0), partial(
            aligner.transform_view, view=1
        )

    return align


def standardised(align):
    """Return a function that aligns z-scored dots."""

    def align_standardised(X, Y, clusters, seed):
        scalers = [StandardScaler().fit(Z) for Z in (X, Y)]
        maps = align(*(s.transform(Z) for s, Z in zip(scalers, (X, Y), strict=True)))
        return [
            lambda Z, s=s, f=f: f(s.transform(Z))
            for s, f in zip(scalers, maps, strict=True)
        ]

    return align_standardised


def rbf(X, Y, **params):
    """Align by affinities to all dots."""
    aligners = [RBFAutoScaleAligner(n_landmarks=None, **params).fit(Z) for Z in (X, Y)]
    return [aligner.transform for aligner in aligners]


def procrustes(X, Y):
    """Align by a rotation."""
    rotation = orthogonal_procrustes(X, Y)[0]
    return lambda Z: Z @ rotation, lambda Z: Z


def ridge(X, Y):
    """Align by ridge regression."""
    return Ridge(1e-3).fit(X, Y).predict, lambda Z: Z


def cca(X, Y):
    """Align by canonical correlation analysis, variates of unit variance."""
    model = CCA(2, max_iter=5000).fit(X, Y)
    scales = [scores.std(0) for scores in model.transform(X, Y)]
    return (
        lambda Z: model.transform(Z) / scales[0],
        lambda Z: model.transform(np.zeros_like(Z), Z)[1] / scales[1],
    )


PEERS = {
    "RBFAutoScaleAligner": standardised(rbf),
    "RBFAutoScaleAligner, ridge": standardised(partial(rbf, normalize="ridge")),
    "orthogonal Procrustes": standardised(procrustes),
    "ridge regression": standardised(ridge),
    "CCA": standardised(cca),
}
HARD_METHODS = {
    "HalfSharedMLPAligner": half_shared(),
    "HalfSharedMLPAligner, pull 10": half_shared(pull_weight=10.0),
    "the same, 1000 epochs": half_shared(pull_weight=10.0, max_epochs=1000),
    **PEERS,
}


def run_dots(transform, align, seed):
    """Align the dots and their image, judge them and fresh ones.

    Returns
    -------
    measures : dict
        ``top-1`` of the dots themselves, of 300 fresh dots among 30 and among all, and
        as `didactic.judge` has it; the ``seconds`` of the fit.
    """
    dots, clusters, _ = make_dots()
    queries, their_clusters = make_queries(seed)
    sets = [np.asarray(Z, float) for Z in (dots, queries)]
    dots, queries = [(Z, np.asarray(transform(Z), float)) for Z in sets]
    start = time.perf_counter()
    maps = align(*dots, clusters, seed)
    seconds = time.perf_counter() - start
    own = judge(*(f(Z) for f, Z in zip(maps, dots, strict=True)), clusters)
    F, G = (f(Z) for f, Z in zip(maps, queries, strict=True))
    fresh = judge(F, G, their_clusters)
    thirty = [slice(i, i + 30) for i in range(0, 300, 30)]
    of_thirty = [judge(F[i], G[i], their_clusters[i])["top1"] for i in thirty]
    return {
        "top-1, the dots": own["top1"],
        "top-1, fresh, of 30": np.mean(of_thirty),
        "top-1, fresh, of 300": fresh["top1"],
        "cluster, fresh": fresh["cluster"],
        "contrast, fresh": fresh["contrast"],
        "seconds": seconds,
    }


def table_of_dots(runs, **names):
    """Return a row of a table: mean and spread over the seeds."""
    measures = {name: spread([run[name] for run in runs], scale=1) for name in runs[0]}
    return names | measures


def run_toy(seeds):
    """Return the table of the choices of Z."""
    settings = list(product(CHOICES, (0.0, 10.0)))
    return [
        table_of_dots(
            [
                run_dots(
                    linear([0.25, 4], True),
                    half_shared(pull_weight=pull, **CHOICES[choice]),
                    seed,
                )
                for seed in range(seeds)
            ],
            Z=choice,
            pull=pull,
        )
        for choice, pull in track(settings, "toy")
    ]


def run_hard(seeds):
    """Return the table of the hard cases."""
    return [
        table_of_dots(
            [
                run_dots(HARD_CASES[case](seed), HARD_METHODS[method], seed)
                for seed in range(seeds)
            ],
            case=case,
            method=method,
        )
        for case, method in track(list(product(HARD_CASES, HARD_METHODS)), "hard cases")
    ]


def run_network(name, pair, rows):
    """Fit and choose a method, score both directions once.

    Returns
    -------
    result : dict
    """
    paired, validation, test = (
        pair.take(part) for part in (rows.paired, rows.validation, rows.test)
    )
    start = time.perf_counter()
    params, *maps = choose(name, paired, validation)
    seconds = time.perf_counter() - start
    F, G = (f(X) for f, X in zip(maps, test, strict=True))
    both = [(F, G), (G, F)]
    metric = METRICS[name]
    result = {
        "top-1 %": np.mean([retrieval_accuracy(*ab, metric=metric) for ab in both]),
        "MRR": np.mean([mean_reciprocal_rank(*ab, metric=metric) for ab in both]),
        "chosen": params,
        "seconds": seconds,
    }
    if pair.y is None:
        return result
    labelled = [f(X) for f, X in zip(maps, pair.take(rows.labelled), strict=True)]
    labels = pair.y[rows.labelled], pair.y[rows.test]
    scores = [
        accuracies(*features, *labels)
        for features in (
            (labelled[0], F, G),
            (labelled[1], G, F),
        )
    ]
    own, other = np.mean(scores, axis=0)
    return result | {"stitching %": other, "in-model %": own}


def accuracies(labelled, own, other, y, y_test):
    """Return accuracies of a classifier on test rows of its own view and another.

    Rows are of one and the same length, whatever the method.
    """
    labelled, own, other = (LENGTH * normalize(F) for F in (labelled, own, other))
    model = LogisticRegression(C=C, max_iter=1000).fit(labelled, y)
    return model.score(own, y_test), model.score(other, y_test)


def compare(pair, sizes, seeds, methods, progress):
    """Run the methods on a pair of views.

    The paired rows of a smaller size are the first ones of a larger.

    Returns
    -------
    runs : list of dict
        One for each number of paired rows, seed and method, and what classifiers reach
        on the features as they are.
    """
    runs = []
    task = progress.add_task(pair.name, total=len(sizes) * len(seeds) * len(methods))
    n_labelled = 0 if pair.y is None else N_LABELLED
    for seed in seeds:
        rows = split_rows(len(pair.A), max(sizes), seed, n_labelled, N_TEST)
        setting = {"pair": pair.name, "seed": seed, "test rows": len(rows.test)}
        if n_labelled:
            runs.append(
                setting | {"method": RAW, "in-model %": raw_accuracy(pair, rows)}
            )
        for n_paired, name in product(sizes, methods):
            text = f"{pair.name}, {n_paired} pairs, seed {seed}: {name}"
            progress.update(task, description=text)
            some = rows._replace(paired=rows.paired[:n_paired])
            result = run_network(name, pair, some)
            runs.append(setting | {"paired rows": n_paired, "method": name} | result)
            progress.advance(task)
    return runs


def raw_accuracy(pair, rows):
    """Return the accuracy of classifiers on standardised features, mean of both."""
    y, y_test = pair.y[rows.labelled], pair.y[rows.test]
    scores = []
    for X, X_test in zip(pair.take(rows.labelled), pair.take(rows.test), strict=True):
        scaler = StandardScaler().fit(X)
        F, F_test = scaler.transform(X), scaler.transform(X_test)
        scores.append(accuracies(F, F_test, F_test, y, y_test)[0])
    return float(np.mean(scores))


def table_of_networks(runs, n_paired):
    """Return a row for each method: mean and spread over the seeds."""
    frame = pd.DataFrame(runs)
    table = []
    for name, group in frame[frame["paired rows"].isin([n_paired])].groupby(
        "method", sort=False
    ):
        row = {"method": name, "top-1 %": spread(group["top-1 %"], digits=1)}
        row["MRR"] = spread(group["MRR"], scale=1, digits=3)
        for measure in ("stitching %", "in-model %"):
            if measure in group:
                row[measure] = spread(group[measure], digits=1)
        row["seconds"] = f"{group['seconds'].median():.0f}"
        table.append(row)
    raw = frame[frame["method"] == RAW]
    if len(raw):
        accuracy = spread(raw["in-model %"], digits=1)
        table.append({"method": RAW, "in-model %": accuracy})
    return table


def run_networks(args):
    """Compare the methods, print a table for each pair and number of paired rows."""
    runs, tables = [], {}
    with Progress() as progress:
        for pair in load_pairs(args):
            seeds = range(args.first_seed, args.first_seed + args.seeds)
            found = compare(pair, args.n_paired, seeds, args.methods, progress)
            runs += found
            for n_paired in args.n_paired:
                title = (
                    f"{pair.name}: {n_paired} paired, {found[0]['test rows']} test "
                    f"rows, {args.seeds} seeds, both directions"
                )
                tables[title] = table_of_networks(found, n_paired)
                print_table(title, tables[title])
            if args.json:
                write_json(args.json, runs=runs, tables=tables)


def main():
    """Run one of the three parts and print its table."""
    methods = METHODS | ABLATIONS
    parser = make_parser(__doc__, [1000, 5000, 20000], methods)
    parser.add_argument("part", choices=["toy", "hard", "networks"])
    parser.add_argument("--first-seed", type=int, default=0)
    parser.set_defaults(
        n_samples=30000,
        seeds=None,
        pairs=("lite0-lite1", "lite0-lite2", "lite0-pixels"),
        methods=NETWORK_METHODS,
    )
    args = parser.parse_args()
    if args.part == "networks":
        args.seeds = args.seeds or 2
        run_networks(args)
        return
    args.seeds = args.seeds or 5
    table = (run_toy if args.part == "toy" else run_hard)(args.seeds)
    print_table(f"{args.part}, {args.seeds} seeds, mean ± standard deviation", table)
    if args.json:
        write_json(args.json, table=table)


if __name__ == "__main__":
    main()

"""Compares half-shared networks with peers: the document's toy, hard cases, networks.

    python benchmarks/half_shared.py toy
    python benchmarks/half_shared.py hard
    python benchmarks/half_shared.py networks [--pairs lite0-lite1] [--n-paired 1000]
    python benchmarks/half_shared.py networks --a A.npy --b B.npy --labels y.npy

The toy is the 30 dots of the feature-alignment document with its choices of Z. Measured
are the dots themselves and 300 fresh ones of the same clusters, each searched for among
30 and among all. The hard cases are those maps of the document that no shift, rotation
and common scale undo. The networks are those of retrieval.py. Both directions are
measured: retrieval, and a classifier that is trained on one network and used on the
other and on its own.
"""

import time
from functools import partial

import _dots
import _methods
import _runs
import numpy as np
from _pairs import compare_pairs, make_pair_parser, split_rows
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler, normalize

from sklearn_featalign.metrics import mean_reciprocal_rank, retrieval_accuracy

# The document's five choices of Z, by the parameters that select them.
CHOICES = {
    "index": {"target": "index"},
    "permutation": {"target": "permutation"},
    "random 0 to 9": {"target": "random", "n_classes": 10},
    "ground truth": {"target": "y"},
    "random 0 to 2": {"target": "random", "n_classes": 3},
}
anisotropic = partial(_dots.linear, shift_first=True)
float64_mlp = partial(_dots.random_mlp, dtype=np.float64)
# The map from set 1 to set 2.
HARD_CASES = {
    "anisotropic [0.25, 4]": partial(anisotropic, scale=[0.25, 4]),
    "anisotropic [0.001, 1]": partial(anisotropic, scale=[0.001, 1]),
    "4-layer MLP": partial(float64_mlp, n_hidden=3, standardize=True),
    "12-layer MLP": partial(float64_mlp, n_hidden=13, standardize=False),
}
NETWORK_METHODS = (
    "HalfSharedMLPAligner",
    "HalfSharedMLPAligner from kernels",
    "HalfSharedMLPAligner, linear",
    "KernelGCCAAligner",
    "KernelGCCAAligner no hubness",
    "RBFAutoScaleAligner ridge",
    "regularised CCA",
)
RAW = "raw features, a classifier each"
N_TEST, N_LABELLED = 4000, 5000

# The length of rows and LogisticRegression's C were fixed beforehand.
LENGTH, C = 128**0.5, 0.1


def align_by(X, Y, clusters, seed, method):
    """Return the maps of a method of `_methods`, fitted on z-scored dots."""
    scalers = [StandardScaler().fit(Z) for Z in (X, Y)]
    scaled = (scaler.transform(Z) for scaler, Z in zip(scalers, (X, Y), strict=True))
    _, *maps = next(method(*scaled))
    return [
        _methods.chain(scaler.transform, f)
        for scaler, f in zip(scalers, maps, strict=True)
    ]


# The mean squared singular value of 30 z-scored dots is 30: Ridge's alpha is 0.001.
ridge_of_dots = partial(_methods.ridge, penalties=(0.001 / 30,))
PEERS = {
    "RBFAutoScaleAligner": partial(_methods.ours, aligner=_methods.rbf),
    "RBFAutoScaleAligner, ridge": partial(_methods.ours, aligner=_methods.rbf_ridge),
    "orthogonal Procrustes": _methods.procrustes,
    "ridge regression": ridge_of_dots,
    "CCA": partial(_methods.cca, penalties=(0,)),
}
PEERS = {name: partial(align_by, method=method) for name, method in PEERS.items()}
half_shared = _dots.align_half_shared
HARD_METHODS = {
    "HalfSharedMLPAligner": half_shared,
    "HalfSharedMLPAligner, pull 10": partial(half_shared, pull_weight=10.0),
    "the same, 1000 epochs": partial(half_shared, pull_weight=10.0, max_epochs=1000),
    **PEERS,
}
TOP_1 = ("top-1, the dots", "top-1, fresh, of 30", "top-1, fresh, of 300")
DOT_MEASURES = (*TOP_1, "cluster, fresh", "contrast, fresh", "seconds")


def run_dots(transform, align, seed):
    """Align the dots and their image; return `DOT_MEASURES` of them and fresh ones.

    The top-1 accuracy of 300 fresh dots is measured among 30 and among all.
    """
    dots, clusters, _ = _dots.make_dots()
    queries, their_clusters = _dots.make_queries(seed)
    sets = [np.asarray(Z, float) for Z in (dots, queries)]
    dots, queries = [(Z, np.asarray(transform(Z), float)) for Z in sets]
    start = time.perf_counter()
    maps = align(*dots, clusters, seed)
    seconds = time.perf_counter() - start
    own = _dots.judge(*(f(Z) for f, Z in zip(maps, dots, strict=True)), clusters)
    F, G = (f(Z) for f, Z in zip(maps, queries, strict=True))
    fresh = _dots.judge(F, G, their_clusters)
    thirty = [slice(i, i + 30) for i in range(0, 300, 30)]
    of_thirty = [_dots.judge(F[i], G[i], their_clusters[i])["top1"] for i in thirty]
    fresh = [fresh[name] for name in ("top1", "cluster", "contrast")]
    measured = own["top1"], np.mean(of_thirty), *fresh, seconds
    return dict(zip(DOT_MEASURES, measured, strict=True))


def run_toy(Z, pull, seed):
    """Return the measures of one of the choices of Z."""
    align = partial(half_shared, pull_weight=pull, **CHOICES[Z])
    return run_dots(partial(anisotropic, scale=[0.25, 4]), align, seed)


def run_hard(case, method, seed):
    """Return the measures of a method in a hard case."""
    transform = partial(HARD_CASES[case], seed=seed)
    return run_dots(transform, HARD_METHODS[method], seed)


def compare_dots(part, n_seeds, json):
    """Run the toy or the hard cases, and print their table."""
    values, measure = {
        "toy": ({"Z": CHOICES, "pull": (0.0, 10.0)}, run_toy),
        "hard": ({"case": HARD_CASES, "method": HARD_METHODS}, run_hard),
    }[part]
    runs = _runs.run(_runs.grid(**values, seed=range(n_seeds)), measure, part)
    rows = _runs.table(runs, list(values), dict.fromkeys(DOT_MEASURES, _runs.spread))
    _runs.print_table(f"{part}, {n_seeds} seeds, mean ± standard deviation", rows)
    _runs.write_json(json, table=rows)


def run_network(name, pair, rows):
    """Fit and choose a method, and score both directions once."""
    paired, validation, test = map(pair.take, rows[:3])
    start = time.perf_counter()
    params, *maps = _methods.choose(name, paired, validation)
    seconds = time.perf_counter() - start
    F, G = (f(X) for f, X in zip(maps, test, strict=True))
    both = [(F, G), (G, F)]
    metric = _methods.METRICS[name]
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
    features = zip(labelled, *zip(*both, strict=True), strict=True)
    scores = [accuracies(*of_view, *labels) for of_view in features]
    own, other = np.mean(scores, axis=0)
    return result | {"stitching %": other, "in-model %": own}


def accuracies(labelled, own, other, y, y_test):
    """Return accuracies of a classifier on test rows of its own view and another.

    Rows have one length, which is the same for every method.
    """
    labelled, own, other = (LENGTH * normalize(F) for F in (labelled, own, other))
    model = LogisticRegression(C=C, max_iter=1000).fit(labelled, y)
    return model.score(own, y_test), model.score(other, y_test)


def raw_accuracy(pair, rows):
    """Return the accuracy of classifiers on standardised features, mean of both."""
    y, y_test = pair.y[rows.labelled], pair.y[rows.test]
    scores = []
    for X, X_test in zip(pair.take(rows.labelled), pair.take(rows.test), strict=True):
        scaler = StandardScaler().fit(X)
        F, F_test = scaler.transform(X), scaler.transform(X_test)
        scores.append(accuracies(F, F_test, F_test, y, y_test)[0])
    return float(np.mean(scores))


def measure(pair, largest, seed, method, **setting):
    """Return the measures of a method, or of the features without alignment.

    The paired rows of a smaller number are the first ones of a larger.
    """
    n_labelled = 0 if pair.y is None else N_LABELLED
    rows = split_rows(len(pair.A), largest, seed, n_labelled, N_TEST)
    found = {"test rows": len(rows.test)}
    if method == RAW:
        return found | {"in-model %": raw_accuracy(pair, rows)}
    rows = rows._replace(paired=rows.paired[: setting["paired rows"]])
    return found | run_network(method, pair, rows)


def summarize(runs):
    """Return a row for each method: mean and spread over the seeds."""
    percent = partial(_runs.percent, digits=1)
    columns = {
        "top-1 %": percent,
        "MRR": partial(_runs.spread, digits=3),
        "stitching %": percent,
        "in-model %": percent,
        "seconds": _runs.median_text,
    }
    aligned = [run for run in runs if run["method"] != RAW]
    raw = [run for run in runs if run["method"] == RAW]
    rows = _runs.table(aligned, ["method"], columns)
    return rows + _runs.table(raw, ["method"], {"in-model %": percent})


def compare_networks(args):
    """Compare the methods on each pair of networks."""
    values = {"paired rows": args.n_paired, "method": args.methods}
    raw = [] if args.a and not args.labels else [RAW]
    settings = []
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        settings += _runs.grid(seed=[seed], method=raw)
        settings += _runs.grid(seed=[seed], **values)
    title = "{test rows} test rows, {seeds} seeds, both directions"
    measure_pair = partial(measure, largest=max(args.n_paired))
    compare_pairs(args, settings, measure_pair, summarize, title)


def main():
    """Run one of the three parts and print its table."""
    methods = _methods.METHODS | _methods.ABLATIONS
    parser = make_pair_parser(__doc__, [1000, 5000, 20000], methods)
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
        compare_networks(args)
    else:
        compare_dots(args.part, args.seeds or 5, args.json)


if __name__ == "__main__":
    main()

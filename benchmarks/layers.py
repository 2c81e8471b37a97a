"""Compares the layers of a network: which agree, and which one to align.

    python benchmarks/layers.py
    python benchmarks/layers.py --data fashion-mnist --network lite0 --other mobilenet
    python benchmarks/layers.py --data emoji --network minilm --other mobilenet

All layers are views in one fit of KernelGCCAAligner. The matrix shows how often each of
them finds each other one on test rows, beside the linear CKA of layers as they are.

Then each layer is aligned with another network by itself, and three figures of it are
compared. The first needs no other rows than the pairs: how often rows that the fit
leaves out are found (`loo_score_`). The others are how often test rows are found in the
other network, and the accuracy of a LogisticRegression of the layer alone.
"""

from functools import partial
from itertools import permutations

import _runs
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from _data import DATA, load_features, load_layers
from _methods import fit_gcca
from _pairs import split_rows
from scipy.stats import spearmanr
from stitching import train

from sklearn_featalign.displays import AgreementDisplay
from sklearn_featalign.metrics import linear_cka, retrieval_accuracy

FIGURES = ("left out %", "other network %", "classes %")
MATRICES = ("linear CKA before", "top-1 % after")


def agreement(layers, rows):
    """Return the agreement before and after alignment of each ordered pair of layers.

    Keys are pairs of names, and values have the keys `MATRICES`.
    """
    aligner = fit_gcca({name: X[rows.paired] for name, X in layers.items()})
    before = {name: X[rows.test] for name, X in layers.items()}
    after = {name: aligner.transform_view(X, name) for name, X in before.items()}
    accuracy = partial(retrieval_accuracy, metric=aligner._metric)
    return {
        (u, v): {
            MATRICES[0]: linear_cka(before[u], before[v]),
            MATRICES[1]: accuracy(after[u], after[v]),
        }
        for u, v in permutations(layers, 2)
    }


def figures_of_layer(X, other, y, rows):
    """Return what one layer is good for: see `FIGURES`."""
    aligner = fit_gcca({"layer": X[rows.paired], "other": other[rows.paired]})
    parts = rows.paired, rows.validation
    classifier = train(*(values for part in parts for values in (X[part], y[part])))
    return {
        FIGURES[0]: aligner.loo_score_,
        FIGURES[1]: aligner.score(np.hstack([X, other])[rows.test]),
        FIGURES[2]: classifier.score(X[rows.test], y[rows.test]),
    }


def measure(layers, other, y, n_paired, seed):
    """Return a run for each layer, and one for each ordered pair of layers."""
    rows = split_rows(len(y), n_paired, seed)
    runs = [
        {"layer": name, "test rows": len(rows.test)}
        | figures_of_layer(X, other, y, rows)
        for name, X in layers.items()
    ]
    for (u, v), values in agreement(layers, rows).items():
        runs.append({"searched with": u, "found": v} | values)
    return runs


def rank_correlations(runs):
    """Return how the figures of layers agree in their order, as rows of a table.

    The Spearman correlation of each seed, and how far the layer that the first figure
    would choose is from the best one.
    """
    frame = pd.DataFrame(runs).dropna(subset=["layer"])
    rows = []
    for name in FIGURES[1:]:
        by_seed = [group for _, group in frame.groupby("seed")]
        correlations = [spearmanr(g[FIGURES[0]], g[name])[0] for g in by_seed]
        lost = [g[name].max() - g[name].loc[g[FIGURES[0]].idxmax()] for g in by_seed]
        rows.append(
            {
                "figure": name,
                f"rank correlation with {FIGURES[0]}": _runs.spread(correlations),
                "lost by its choice": _runs.percent(lost, digits=1),
            }
        )
    return rows


def matrix(runs, name, layers):
    """Return the mean over the seeds of a figure of each pair of layers."""
    frame = pd.DataFrame(runs).dropna(subset=["found"])
    means = frame.pivot_table(name, "searched with", "found")
    return means.reindex(index=layers, columns=layers)


def draw(runs, layers, path):
    """Save a figure of the matrices."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for ax, name in zip(axes, MATRICES, strict=True):
        display = AgreementDisplay(
            agreement=matrix(runs, name, layers).to_numpy(),
            view_names=layers,
            measure_name="retrieval accuracy" if "top" in name else "linear CKA",
        )
        display.plot(ax=ax, colorbar=False)
        ax.set_title(name.replace(" %", ""))
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main():
    """Compare the layers and print tables."""
    parser = _runs.make_parser(__doc__, seeds=3)
    parser.add_argument("--data", choices=DATA, default="wordnet")
    parser.add_argument("--network", default="minilm", help="whose layers are compared")
    parser.add_argument("--other", default="e5")
    parser.add_argument("--n-samples", type=int, default=12000, help="at most")
    parser.add_argument("--n-paired", type=int, default=1000)
    parser.add_argument("--figure", metavar="FILE.png")
    args = parser.parse_args()
    layers, y = load_layers(args.data, args.network, args.n_samples)
    other, _ = load_features(args.data, args.other, args.n_samples)
    measure_seed = partial(measure, layers, other, y, args.n_paired)
    settings = _runs.grid(seed=range(args.seeds))
    runs = _runs.run(settings, measure_seed, f"layers of {args.network}")
    columns = dict.fromkeys(FIGURES, partial(_runs.percent, digits=1))
    of_layers = [run for run in runs if "layer" in run]
    tables = {
        f"layers of {args.network} and {args.other}": _runs.table(
            of_layers, ["layer"], columns
        ),
        "choice of a layer": rank_correlations(runs),
    }
    for name in MATRICES:
        scale = 100 if "%" in name else 1
        means = (scale * matrix(runs, name, list(layers))).round(2 if scale == 1 else 1)
        tables[name] = means.reset_index().to_dict("records")
    for title, rows in tables.items():
        _runs.print_table(
            f"{title}: {args.n_paired} pairs, {of_layers[0]['test rows']} test rows, "
            f"{args.seeds} seeds",
            rows,
        )
    if args.figure:
        draw(runs, list(layers), args.figure)
    _runs.write_json(args.json, runs=runs, tables=tables)


if __name__ == "__main__":
    main()

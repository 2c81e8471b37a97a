"""Downstream accuracy: LogisticRegression on raw, scaled and aligned features.

    python benchmarks/downstream.py
    python benchmarks/downstream.py --data fashion-mnist --features lite0
    python benchmarks/downstream.py --npy X.npy y.npy

Each seed draws a split into training and test rows. All that a method leaves open,
and C, is chosen on the training rows by 3-fold cross-validation, with the same values
of C for every method; the test rows are scored once.
"""

import argparse
import warnings

import numpy as np
import pandas as pd
from _data import DATA, NETWORKS, load_features, subsample
from _report import print_table, spread, write_json
from rich.progress import Progress
from sklearn.decomposition import PCA
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from sklearn_featalign import RBFAutoScaleAligner

C_GRID = np.logspace(-4, 3, 8)
MAX_ITER = 1000
CONSTANTS = [0.05, 0.1, 0.3, 0.5]
BASELINES = ("raw", "StandardScaler", "PCA whitening", "QuantileTransformer")


def methods(X, n_landmarks, seed):
    """Return for each method its transformer and the values of its parameters."""
    n_rows = len(X)
    scale = 1 / X.var(0, dtype=float).sum()
    shared = {"n_landmarks": n_landmarks, "random_state": seed}
    return {
        "raw": ("passthrough", {}),
        "StandardScaler": (StandardScaler(), {}),
        "PCA whitening": (PCA(whiten=True), {"n_components": [0.8, 0.9, 0.95, 0.99]}),
        "QuantileTransformer": (
            QuantileTransformer(n_quantiles=min(1000, n_rows // 2)),
            {"output_distribution": ["uniform", "normal"]},
        ),
        "Nystroem": (
            Nystroem(n_components=n_landmarks, random_state=seed),
            {"gamma": [0.1 * scale, 0.3 * scale, scale, 3 * scale]},
        ),
        "RBFAutoScaleAligner": (
            RBFAutoScaleAligner(**shared),
            {"c": CONSTANTS},
        ),
        "RBFAutoScaleAligner ridge": (
            RBFAutoScaleAligner(normalize="ridge", **shared),
            {"c": CONSTANTS},
        ),
    }


def run_method(transformer, values, X, y, X_test, y_test):
    """Choose on the training rows, score the test rows once.

    Returns
    -------
    result : dict
        Test ``accuracy``, the chosen ``C`` with the classifier's ``iterations`` (at
        most `MAX_ITER`) and, if any, the chosen ``parameter``.
    """
    classifier = LogisticRegression(max_iter=MAX_ITER)
    pipeline = Pipeline([("features", transformer), ("clf", classifier)])
    grid = {f"features__{name}": value for name, value in values.items()}
    search = GridSearchCV(pipeline, {**grid, "clf__C": C_GRID}, cv=3, n_jobs=-1)
    search.fit(X, y)
    chosen = [search.best_params_[name] for name in grid]
    return {
        "accuracy": search.score(X_test, y_test),
        "C": search.best_params_["clf__C"],
        "iterations": int(search.best_estimator_["clf"].n_iter_.max()),
        "parameter": chosen[0] if chosen else None,
    }


def split(X, y, seed, test_size):
    """Return training and test rows of X, then of y, for a seed."""
    return train_test_split(X, y, test_size=test_size, random_state=seed, stratify=y)


def compare(X, y, n_landmarks, seeds, test_size):
    """Run every method on every seed, with a progress bar.

    Returns
    -------
    runs : list of dict
        One for each seed and method, as from `run_method`.
    """
    runs = []
    with Progress() as progress:
        task = progress.add_task("starting", total=None)
        for seed in seeds:
            X_train, X_test, y_train, y_test = split(X, y, seed, test_size)
            candidates = methods(X_train, n_landmarks, seed)
            total = len(seeds) * len(candidates)
            for name, (transformer, values) in candidates.items():
                text = f"seed {seed}: {name}"
                progress.update(task, description=text, total=total)
                result = run_method(
                    transformer, values, X_train, y_train, X_test, y_test
                )
                runs.append({"seed": seed, "method": name, **result})
                progress.advance(task)
    return runs


def summarize(runs):
    """Return a row for each method: accuracy, and difference to the best scaling."""
    accuracy = pd.DataFrame(runs).pivot(index="seed", columns="method")["accuracy"]
    best = accuracy[list(BASELINES)].mean().idxmax()
    table = []
    for name in dict.fromkeys(run["method"] for run in runs):
        chosen = [run for run in runs if run["method"] == name]
        table.append(
            {
                "features": name,
                "accuracy %": spread(accuracy[name]),
                f"minus {best}": spread(accuracy[name] - accuracy[best]),
                "chosen C": values_of(chosen, "C"),
                "iterations (refit)": max(run["iterations"] for run in chosen),
                "chosen parameter": values_of(chosen, "parameter"),
            }
        )
    return table


def values_of(runs, name):
    """Return the different values that were chosen, as text."""
    values = sorted(run[name] for run in runs if run[name] is not None)
    texts = [v if isinstance(v, str) else f"{v:.2g}" for v in values]
    return " ".join(dict.fromkeys(texts))


def search_bandwidth(X, y, n_landmarks):
    """Search c and gamma in one GridSearchCV; a float gamma overrides c.

    Returns
    -------
    table : list of dict
        Cross-validated accuracy of each candidate, best first.
    """
    aligner = RBFAutoScaleAligner(
        n_landmarks=n_landmarks, normalize="ridge", random_state=0
    )
    pipeline = Pipeline([("align", aligner), ("clf", LogisticRegression(C=10))])
    grids = [{"align__c": CONSTANTS}, {"align__gamma": [0.01, 0.1, 1.0]}]
    search = GridSearchCV(pipeline, grids, cv=3, n_jobs=-1).fit(X, y)
    results = search.cv_results_
    order = np.argsort(results["rank_test_score"], kind="stable")
    return [
        {
            "c": results["params"][i].get("align__c", "-"),
            "gamma": results["params"][i].get("align__gamma", "auto"),
            "cross-validated accuracy %": round(100 * results["mean_test_score"][i], 2),
        }
        for i in order
    ]


def parse_arguments():
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", choices=DATA, default="digits")
    parser.add_argument("--features", choices=("pixels", *NETWORKS), default="pixels")
    parser.add_argument("--npy", nargs=2, metavar=("X", "Y"), help="your own features")
    parser.add_argument("--n-samples", type=int, default=4000, help="at most")
    parser.add_argument("--n-landmarks", type=int, default=200)
    parser.add_argument("--test-size", type=float, default=0.25)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def main():
    """Compare the methods on a data set and print the tables."""
    args = parse_arguments()
    # Some folds at the largest C stop at MAX_ITER, which would be said for each.
    warnings.filterwarnings("ignore", "lbfgs failed to converge")
    if args.npy:
        X, y = subsample(*map(np.load, args.npy), n_samples=args.n_samples)
        name = args.npy[0]
    else:
        X, y = load_features(args.data, args.features, args.n_samples)
        name = f"{args.data}, {args.features}"
    runs = compare(X, y, args.n_landmarks, range(args.seeds), args.test_size)
    table = summarize(runs)
    print_table(
        f"LogisticRegression on {name}: {X.shape[0]} rows, {X.shape[1]} columns, "
        f"{args.n_landmarks} landmarks, {args.seeds} seeds, mean ± standard deviation",
        table,
    )
    X_train, _, y_train, _ = split(X, y, 0, args.test_size)
    grid = search_bandwidth(X_train, y_train, args.n_landmarks)
    print_table("GridSearchCV over c and gamma, ridge, training rows of seed 0", grid)
    if args.json:
        write_json(args.json, runs=runs, table=table, grid=grid)


if __name__ == "__main__":
    main()

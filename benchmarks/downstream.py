"""Compares features by the accuracy of LogisticRegression: raw, scaled and aligned.

    python benchmarks/downstream.py
    python benchmarks/downstream.py --data fashion-mnist --features lite0
    python benchmarks/downstream.py --npy X.npy y.npy

Each seed draws a split into training and test rows. The hyperparameters of a method
and C are chosen on the training rows by 3-fold cross-validation, with the same values
of C for every method; the test rows are scored once.
"""

import warnings
from functools import partial

import _runs
import numpy as np
import pandas as pd
from _data import DATA, load_features, subsample
from _networks import NETWORKS
from sklearn.base import clone
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
    """Return for each method its transformer and a grid of its parameters."""
    scale = 1 / X.var(0, dtype=float).sum()
    rbf = RBFAutoScaleAligner(n_landmarks=n_landmarks, random_state=seed)
    shares = {"n_components": [0.8, 0.9, 0.95, 0.99]}
    quantiles = QuantileTransformer(n_quantiles=min(1000, len(X) // 2))
    distributions = {"output_distribution": ["uniform", "normal"]}
    nystroem = Nystroem(n_components=n_landmarks, random_state=seed)
    gammas = {"gamma": [0.1 * scale, 0.3 * scale, scale, 3 * scale]}
    ridge = clone(rbf).set_params(normalize="ridge")
    return {
        "raw": ("passthrough", {}),
        "StandardScaler": (StandardScaler(), {}),
        "PCA whitening": (PCA(whiten=True), shares),
        "QuantileTransformer": (quantiles, distributions),
        "Nystroem": (nystroem, gammas),
        "RBFAutoScaleAligner": (rbf, {"c": CONSTANTS}),
        "RBFAutoScaleAligner ridge": (ridge, {"c": CONSTANTS}),
    }


def run_method(transformer, values, X, y, X_test, y_test):
    """Choose hyperparameters on the training rows, and score the test rows once."""
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


def measure(X, y, n_landmarks, test_size, seed, method):
    """Return the result of a method for the split of a seed."""
    X_train, X_test, y_train, y_test = split(X, y, seed, test_size)
    transformer, values = methods(X_train, n_landmarks, seed)[method]
    return run_method(transformer, values, X_train, y_train, X_test, y_test)


def compare(X, y, n_landmarks, seeds, test_size):
    """Return a run for each seed and method."""
    settings = _runs.grid(seed=seeds, method=methods(X, n_landmarks, seed=None))
    measure_data = partial(measure, X, y, n_landmarks, test_size)
    return _runs.run(settings, measure_data, "methods")


def summarize(runs):
    """Return a row for each method: accuracy, and difference to the best scaling."""
    frame = pd.DataFrame(runs)
    means = frame.groupby("method")["accuracy"].mean()
    best = means[list(BASELINES)].idxmax()
    accuracy_of_best = _runs.of_method(frame, "accuracy", best)
    frame[f"minus {best}"] = frame["accuracy"] - accuracy_of_best
    names = {
        "method": "features",
        "accuracy": "accuracy %",
        "C": "chosen C",
        "iterations": "iterations (refit)",
        "parameter": "chosen parameter",
    }
    columns = {
        "accuracy %": _runs.percent,
        f"minus {best}": _runs.percent,
        "chosen C": distinct,
        "iterations (refit)": max,
        "chosen parameter": distinct,
    }
    return _runs.table(frame.rename(columns=names), ["features"], columns)


def distinct(values):
    """Return the different values that were chosen, as text."""
    texts = [v if isinstance(v, str) else f"{v:.2g}" for v in sorted(values)]
    return " ".join(dict.fromkeys(texts))


def search_bandwidth(X, y, n_landmarks):
    """Return the candidates of one search of c and gamma, best first.

    A gamma that is a number overrides c.
    """
    aligner = RBFAutoScaleAligner(
        n_landmarks=n_landmarks, normalize="ridge", random_state=0
    )
    pipeline = Pipeline([("align", aligner), ("clf", LogisticRegression(C=10))])
    grids = [{"align__c": CONSTANTS}, {"align__gamma": [0.01, 0.1, 1.0]}]
    search = GridSearchCV(pipeline, grids, cv=3, n_jobs=-1).fit(X, y)
    order = np.argsort(search.cv_results_["rank_test_score"], kind="stable")
    params, scores = (search.cv_results_[key] for key in ("params", "mean_test_score"))
    return [
        {
            "c": params[i].get("align__c", "-"),
            "gamma": params[i].get("align__gamma", "auto"),
            "cross-validated accuracy %": round(100 * scores[i], 2),
        }
        for i in order
    ]


def parse_arguments():
    """Return the command line's arguments."""
    parser = _runs.make_parser(__doc__, seeds=3)
    parser.add_argument("--data", choices=DATA, default="digits")
    parser.add_argument("--features", choices=("pixels", *NETWORKS), default="pixels")
    parser.add_argument("--npy", nargs=2, metavar=("X", "Y"), help="your own features")
    parser.add_argument("--n-samples", type=int, default=4000, help="at most")
    parser.add_argument("--n-landmarks", type=int, default=200)
    parser.add_argument("--test-size", type=float, default=0.25)
    return parser.parse_args()


def main():
    """Compare the methods on a data set and print the tables."""
    args = parse_arguments()
    # At the largest C some folds stop at MAX_ITER, and each would warn.
    warnings.filterwarnings("ignore", "lbfgs failed to converge")
    if args.npy:
        X, y = subsample(*map(np.load, args.npy), n_samples=args.n_samples)
        name = args.npy[0]
    else:
        X, y = load_features(args.data, args.features, args.n_samples)
        name = f"{args.data}, {args.features}"
    runs = compare(X, y, args.n_landmarks, range(args.seeds), args.test_size)
    rows = summarize(runs)
    _runs.print_table(
        f"LogisticRegression on {name}: {X.shape[0]} rows, {X.shape[1]} columns, "
        f"{args.n_landmarks} landmarks, {args.seeds} seeds, mean ± standard deviation",
        rows,
    )
    X_train, _, y_train, _ = split(X, y, 0, args.test_size)
    searched = search_bandwidth(X_train, y_train, args.n_landmarks)
    _runs.print_table(
        "GridSearchCV over c and gamma, ridge, training rows of seed 0", searched
    )
    _runs.write_json(args.json, runs=runs, table=rows, grid=searched)


if __name__ == "__main__":
    main()

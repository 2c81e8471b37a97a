"""Compares what a Poisson flow and its peers bring to a classifier.

    python benchmarks/poisson_downstream.py
    python benchmarks/poisson_downstream.py --data cifar-10 --networks 3
    python benchmarks/poisson_downstream.py --features digits

The uniformity document compares the head of a network, on augmented training images,
with a LogisticRegression fitted to the flow's output. Here the same LogisticRegression
is fitted to all features, divided by one number so that C has the same meaning. C is
chosen by 3-fold cross-validation in training, and is 1 with few labels. Transformers
see the training rows without labels; test rows are scored once.
"""

import argparse
import warnings
from functools import partial

import _runs
import _uniform
import numpy as np
import pandas as pd
from _alexnet import alexnet_features
from _data import load_features
from _probes import few_labels, scaled
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from sklearn_featalign import PoissonDenoiser

C_GRID = (0.01, 0.1, 1.0, 10.0, 100.0)
MAX_ITER = 300
N_DRAWS = 10


class NeighborAverage(TransformerMixin, BaseEstimator):
    """The mean of the nearest training rows, without the row itself in training."""

    def __init__(self, n_neighbors=10):
        self.n_neighbors = n_neighbors

    def fit(self, X, y=None):
        """Keep the rows."""
        self.X_ = X
        self.index_ = NearestNeighbors(n_neighbors=self.n_neighbors).fit(X)
        return self

    def fit_transform(self, X, y=None):
        """Average the neighbours of training rows among the others."""
        rows = self.fit(X).index_.kneighbors(return_distance=False)
        return X[rows].mean(1)

    def transform(self, X):
        """Average the neighbours of new rows."""
        return self.X_[self.index_.kneighbors(X, return_distance=False)].mean(1)


def methods(X, seed):
    """Return transformers by name."""
    gamma, n_landmarks = 1 / (X.shape[1] * X.var()), min(300, len(X))
    quantiles = QuantileTransformer(
        n_quantiles=min(1000, len(X)), output_distribution="normal"
    )
    return {
        "raw": None,
        "StandardScaler": StandardScaler(),
        "PCA whitening": PCA(whiten=True),
        "QuantileTransformer": quantiles,
        "Nystroem": Nystroem(n_components=n_landmarks, gamma=gamma, random_state=seed),
        "10-neighbour average": NeighborAverage(),
        "published flow": _uniform.published_flow(random_state=seed),
        "same, untrained": _uniform.published_flow(
            max_epochs=1, lr=1e-12, random_state=seed
        ),
        "same, PFGM's M and gamma": _uniform.published_flow(
            **_uniform.PFGM, random_state=seed
        ),
        "network, E_x / E_z": _uniform.network_flow(random_state=seed),
        "exact flow": _uniform.exact_flow(),
        "exact flow, contracted": PoissonDenoiser(),
    }


def load(features, data, seed, n_train, n_test, epochs):
    """Return training rows and labels, test rows and labels, and runs of the head.

    There is one such run if the features are of a network that we train, else none.
    """
    if features == "alexnet":
        train, augmented, test = alexnet_features(data, seed, epochs=epochs)
        head = {"seed": seed, "method": "the network's own head"}
        head |= {"train": augmented.accuracy, "test": test.accuracy}
        X, y = train.features[:n_train], train.y[:n_train]
        return X, y, test.features[:n_test], test.y[:n_test], [head]
    if features == "digits":
        X, y = load_features("digits", "pixels", 1797)
    else:
        X, y = load_features("fashion-mnist", features, 12000)
    return *_uniform.split_components(X, y, n_train, n_test, seed), []


def run_method(transformer, X, y, X_test, y_test):
    """Return accuracies of training and test rows, with all labels and with few."""
    train, test = X, X_test
    if transformer is not None:
        train = transformer.fit_transform(X)
        test = transformer.transform(X_test)
    train, test = scaled(train, test)
    classifier = LogisticRegression(max_iter=MAX_ITER)
    search = GridSearchCV(classifier, {"C": C_GRID}, cv=3).fit(train, y)
    result = {"C": search.best_params_["C"]}
    result |= {"train": search.score(train, y), "test": search.score(test, y_test)}
    for n_labels in (1, 5):
        scores = []
        for draw in range(N_DRAWS):
            known = few_labels(y, n_labels, draw)
            few = LogisticRegression(max_iter=MAX_ITER).fit(train[known], y[known])
            scores.append(few.score(test, y_test))
        result[f"{n_labels} a class"] = np.mean(scores)
    return result


def compare(args):
    """Return a run for each network (or split) and method."""
    runs = []
    for seed in range(args.networks):
        sizes = args.n_train, args.n_test, args.epochs
        *rows, head = load(args.features, args.data, seed, *sizes)
        candidates = methods(rows[0], seed)
        settings = _runs.grid(seed=[seed], method=args.methods or candidates)
        runs += head
        runs += _runs.run(settings, partial(measure, candidates, rows), "methods")
        _runs.write_json(args.json, runs=runs)
    return runs


def measure(candidates, rows, seed, method):
    """Return the accuracies of a method."""
    return run_method(candidates[method], *rows)


def summarize(runs):
    """Return a row for each method: accuracies, and differences to raw by seed."""
    frame = pd.DataFrame(runs)
    for key in ("test", "1 a class", "5 a class"):
        frame[f"{key} minus raw"] = frame[key] - _runs.of_method(frame, key, "raw")
    names = {"method": "features", "train": "train %", "test": "test %"}
    columns = ["train %", "test %", "test minus raw"]
    columns += ["1 a class", "1 a class minus raw", "5 a class", "5 a class minus raw"]
    return _runs.table(
        frame.rename(columns=names), ["features"], dict.fromkeys(columns, _runs.percent)
    )


def parse_arguments():
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--features",
        choices=("alexnet", "digits", "pixels", "lite0"),
        default="alexnet",
        help="those of the document's network, or others, by PCA to 64",
    )
    parser.add_argument(
        "--data", choices=("fashion-mnist", "cifar-10"), default="fashion-mnist"
    )
    parser.add_argument("--networks", type=int, default=3, help="or splits")
    parser.add_argument("--epochs", type=int, default=8, help="of a network")
    parser.add_argument("--n-train", type=int, default=3000)
    parser.add_argument("--n-test", type=int, default=4000)
    parser.add_argument("--methods", nargs="+", metavar="METHOD")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def main():
    """Compare and print the table."""
    args = parse_arguments()
    if args.methods:
        args.methods = list(dict.fromkeys(["raw", *args.methods]))
    warnings.filterwarnings("ignore", "lbfgs failed to converge")
    # The flow warns of many dimensions; what they cost is what the table shows.
    warnings.filterwarnings("ignore", "Rows flow in")
    name = args.features
    if name == "alexnet":
        name = f"a small AlexNet of {args.data}"
    title = f"LogisticRegression on features of {name}: accuracy in %"
    _runs.print_table(title, summarize(compare(args)))


if __name__ == "__main__":
    main()

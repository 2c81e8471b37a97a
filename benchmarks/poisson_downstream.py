"""Does a Poisson flow help a classifier? The uniformity document's table, with peers.

    python benchmarks/poisson_downstream.py
    python benchmarks/poisson_downstream.py --data cifar-10 --networks 3
    python benchmarks/poisson_downstream.py --features digits

The document compares the head of a network, on augmented training images, with a
LogisticRegression fitted anew on what the flow makes of its features. Here one and the
same LogisticRegression is fitted on all features, divided by one number so that C means
the same; C is chosen by 3-fold cross-validation in training, and is 1 with few labels.
Transformers see the training rows without their labels; test rows are scored once.
"""

import argparse
import warnings

import numpy as np
import pandas as pd
from _alexnet import alexnet_features
from _data import load_features
from _report import print_table, spread, write_json
from _uniform import PUBLISHED
from rich.progress import track
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from sklearn_featalign import PoissonUniformizer

C_GRID = (0.01, 0.1, 1.0, 10.0, 100.0)
MAX_ITER = 300
N_DRAWS = 10
N_COMPONENTS = 64
# PFGM's hyperparameters: those of the signature.
CORRECTED = PUBLISHED | {"M": "auto", "gamma": 5.0}


class NeighborAverage(TransformerMixin, BaseEstimator):
    """The mean of the 10 nearest training rows, which leaves a training row out."""

    def __init__(self, n_neighbors=10):
        self.n_neighbors = n_neighbors

    def fit(self, X, y=None):
        """Keep the rows."""
        self.X_ = X
        self.index_ = NearestNeighbors(n_neighbors=self.n_neighbors).fit(X)
        return self

    def fit_transform(self, X, y=None):
        """Average others, for training rows."""
        rows = self.fit(X).index_.kneighbors(return_distance=False)
        return X[rows].mean(1)

    def transform(self, X):
        """Average, for new rows."""
        return self.X_[self.index_.kneighbors(X, return_distance=False)].mean(1)


def methods(X, seed):
    """Return transformers by name."""
    gamma = 1 / (X.shape[1] * X.var())
    n_rows = len(X)
    return {
        "raw": None,
        "StandardScaler": StandardScaler(),
        "PCA whitening": PCA(whiten=True),
        "QuantileTransformer": QuantileTransformer(
            n_quantiles=min(1000, n_rows), output_distribution="normal"
        ),
        "Nystroem": Nystroem(
            n_components=min(300, n_rows), gamma=gamma, random_state=seed
        ),
        "10-neighbour average": NeighborAverage(),
        "published flow": PoissonUniformizer(**PUBLISHED, random_state=seed),
        "same, untrained": PoissonUniformizer(
            **PUBLISHED, max_epochs=1, lr=1e-12, random_state=seed
        ),
        "same, PFGM's M and gamma": PoissonUniformizer(**CORRECTED, random_state=seed),
        "network, E_x / E_z": PoissonUniformizer(
            field="network", output="flow", random_state=seed
        ),
        "exact flow": PoissonUniformizer(output="normal"),
        "exact flow, contracted": PoissonUniformizer(direction="contract"),
    }


def load(features, data, seed, n_train, n_test, epochs):
    """Return training rows and labels, then test rows and labels, and the head's row.

    The last is None where there is no network of ours.
    """
    if features == "alexnet":
        train, augmented, test = alexnet_features(data, seed, epochs=epochs)
        head = {
            "seed": seed,
            "method": "the network's own head",
            "train": augmented.accuracy,
            "test": test.accuracy,
        }
        X, y = train.features[:n_train], train.y[:n_train]
        return X, y, test.features[:n_test], test.y[:n_test], head
    if features == "digits":
        X, y = load_features("digits", "pixels", 1797)
    else:
        X, y = load_features("fashion-mnist", features, 12000)
    n_train = min(n_train, 2 * len(X) // 3)
    rows = np.random.default_rng(seed).permutation(len(X))
    train, test = rows[:n_train], rows[n_train : n_train + n_test]
    if X.shape[1] > N_COMPONENTS:
        pca = PCA(N_COMPONENTS, random_state=0).fit(X[train])
        X = pca.transform(X).astype(np.float32)
    return X[train], y[train], X[test], y[test], None


def few_labels(y, n_labels, draw):
    """Return the indices of so many rows of each class."""
    rng = np.random.default_rng(draw)
    classes = [np.flatnonzero(y == label) for label in np.unique(y)]
    return np.concatenate([rng.choice(rows, n_labels, False) for rows in classes])


def run_method(transformer, X, y, X_test, y_test):
    """Return accuracies in training and test, with all labels and with few."""
    train, test = X, X_test
    if transformer is not None:
        train = transformer.fit_transform(X)
        test = transformer.transform(X_test)
    size = np.sqrt(np.mean(np.square(train - train.mean(0), dtype=float)))
    train, test = train / size, test / size
    classifier = LogisticRegression(max_iter=MAX_ITER)
    search = GridSearchCV(classifier, {"C": C_GRID}, cv=3).fit(train, y)
    result = {
        "C": search.best_params_["C"],
        "train": search.score(train, y),
        "test": search.score(test, y_test),
    }
    for n_labels in (1, 5):
        scores = []
        for draw in range(N_DRAWS):
            known = few_labels(y, n_labels, draw)
            few = LogisticRegression(max_iter=MAX_ITER).fit(train[known], y[known])
            scores.append(few.score(test, y_test))
        result[f"{n_labels} a class"] = np.mean(scores)
    return result


def compare(args):
    """Return a run for each network or split and method."""
    runs = []
    for seed in range(args.networks):
        *rows, head = load(
            args.features, args.data, seed, args.n_train, args.n_test, args.epochs
        )
        if head is not None:
            runs.append(head)
        candidates = methods(rows[0], seed)
        for name in track(args.methods or candidates, f"seed {seed}"):
            runs.append(
                {"seed": seed, "method": name, **run_method(candidates[name], *rows)}
            )
        if args.json:
            write_json(args.json, runs=runs)
    return runs


def summarize(runs):
    """Return a row for each method: accuracies, and differences to raw by seed."""
    frame = pd.DataFrame(runs).set_index(["method", "seed"])
    table = []
    for name in frame.index.unique("method"):
        own, raw = frame.loc[name], frame.loc["raw"]
        table.append(
            {
                "features": name,
                "train %": spread(own["train"]),
                "test %": spread(own["test"]),
                "test minus raw": spread(own["test"] - raw["test"]),
            }
        )
        for few in ("1 a class", "5 a class"):
            known = own[few].notna().all()
            table[-1][few] = spread(own[few]) if known else ""
            difference = spread(own[few] - raw[few]) if known else ""
            table[-1][f"{few} minus raw"] = difference
    return table


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
    # That the flow is not for so many dimensions is what the table shows.
    warnings.filterwarnings("ignore", "Rows flow in")
    name = args.features
    if name == "alexnet":
        name = f"a small AlexNet of {args.data}"
    title = f"LogisticRegression on features of {name}: accuracy in %"
    print_table(title, summarize(compare(args)))


if __name__ == "__main__":
    main()

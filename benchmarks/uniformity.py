"""Measures uses of PoissonUniformizer: uniform rows, the way back, subsets, outliers.

    python benchmarks/uniformity.py
    python benchmarks/uniformity.py energy --sources digits --seeds 1
    python benchmarks/uniformity.py isotropy --sources lite0 alexnet minilm e5

A seed splits rows into two halves. PCA and all methods are fitted on one half, and all
figures that are not marked as of training are of the other. Nothing is tuned on either.
"""

import time
from functools import cache, partial

import _runs
import _skewed
import _uniform
import numpy as np
import pandas as pd
from _alexnet import alexnet_features
from _data import load_features
from _generated import make_clusters
from scipy.spatial.distance import cdist
from scipy.stats import kstest
from scipy.stats.qmc import Sobol
from sklearn.cluster import KMeans
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity, LocalOutlierFactor

from sklearn_featalign import PoissonUniformizer
from sklearn_featalign._poisson import _flow
from sklearn_featalign.metrics import sliced_epps_pulley

SOURCES = ("digits", "pixels", "lite0", "alexnet")
# Encoders of texts, which are read where they are asked for.
ENCODERS = ("minilm", "e5")
DIMENSIONS = (2, 4, 8)
N_LITE0, N_TEXTS = 12000, 4680
# The numbers of steps of each solver make 48, 96 and 800 evaluations.
SOLVERS = {
    "euler": (48, 96),
    "midpoint": (24, 48),
    "rk4": (12, 24, 200),
    "dopri5": (1,),
}
# Generated rows, and numbers of columns, that are transformed and back by default.
GENERATED = ("clusters", "exponentials")
BACK_DIMENSIONS = (1, 2, 3, 4, 6, 8)
# The number of rows of each half that are transformed and back.
N_ROUND_TRIPS = 300
# Of generated rows, the number of new ones, and the methods that are compared.
N_NEW = 2000
COMPARED = ("QuantileTransformer", "RBIG", "PoissonUniformizer")
# The size of a subset.
N_CHOSEN = 64
N_DRAWS = 20


@cache
def load(source):
    """Return all rows and labels of a source."""
    if source == "alexnet":
        test = alexnet_features("fashion-mnist", seed=0)[-1]
        return test.features, test.y
    if source == "digits":
        return load_features("digits", "pixels", 1797)
    if source in ENCODERS:
        return load_features("wordnet", source, N_TEXTS)
    return load_features("fashion-mnist", source, N_LITE0)


@cache
def halves(data, seed, n_rows):
    """Return components of training and held-out rows, at most n_rows, and all labels.

    Data are named by their source and the number of components, such as "digits 2".
    """
    source, d = data.split()
    X, y = load(source)
    n_rows = min(n_rows, len(X) // 2)
    X, y, X_test, y_test = _uniform.split_components(X, y, n_rows, n_rows, seed, int(d))
    return X.astype(float), X_test.astype(float), y, y_test


def measure_energy(n_rows, data, seed, method):
    """Return energy distance and loss of a method."""
    X, X_test, _, _ = halves(data, seed, n_rows)
    fitted = _uniform.methods(len(X))[method].fit(X)
    train, test = fitted.transform(X), fitted.transform(X_test)
    energy, energy_train = (
        1e3 * _uniform.energy_to_uniform(_uniform.to_cube(Z)) for Z in (test, train)
    )
    gap, loss = energy - energy_train, _uniform.loss_on_sphere(test)
    return {"energy": energy, "gap": gap, "loss": loss}


def measure_isotropy(n_rows, data, seed):
    """Return a run for each method: how far new rows are from isotropic normal ones."""
    X, X_test, _, _ = halves(data, seed, n_rows)
    scores = {"unchanged": X_test} | {
        name: method.fit(X).transform(X_test)
        for name, method in _uniform.methods(len(X)).items()
    }
    return [
        {"method": name, "distance": 1e3 * sliced_epps_pulley(Z, random_state=seed)}
        for name, Z in scores.items()
    ]


def by_method(runs, value, text=_runs.spread):
    """Return a frame of texts of a value, with a row for each data set."""
    groups = pd.DataFrame(runs).groupby(["data", "method"], sort=False)[value]
    return groups.agg(text).unstack(sort=False).reset_index()


def energy_table(runs):
    """Return a row for each data set with the energy of each method."""
    frame = by_method(runs, "energy")
    frame["held out minus train"] = by_method(runs, "gap")["PoissonUniformizer"]
    return frame


loss_table = partial(by_method, value="loss")
isotropy_table = partial(by_method, value="distance")


def measure_columns(data, rows, seed, method):
    """Return how uniform new rows are, jointly and in each column."""
    X = _skewed.make_skewed(data, rows, seed)
    # Outliers are in the first row.
    X_test = _skewed.make_skewed(data, N_NEW, N_DRAWS + seed)[1:]
    U = _uniform.to_cube(_uniform.methods(len(X))[method].fit(X).transform(X_test))
    distances = [kstest(u, "uniform").statistic for u in U.T]
    return {"energy": 1e3 * _uniform.energy_to_uniform(U), "distances": distances}


def columns_table(runs):
    """Return a row for each data set: energies, and distances beside quantiles."""
    frame = pd.DataFrame(runs)
    frame["data"] += " " + frame["rows"].astype(str)
    table = by_method(frame, "energy")
    for name in ("RBIG", "PoissonUniformizer"):
        table[f"distance, {name}"] = [
            f"x{largest_ratio(own, name):.2f}"
            for _, own in frame.groupby("data", sort=False)
        ]
    return table


def largest_ratio(frame, name):
    """Return the largest ratio of a column's mean distance to that of quantiles."""
    ours, theirs = (
        np.mean(list(frame.loc[frame["method"] == method, "distances"]), axis=0)
        for method in (name, "QuantileTransformer")
    )
    return (ours / theirs).max()


def generated(data, n_rows, d, seed):
    """Return rows of bent clusters, or their exponentials."""
    X = make_clusters(n_rows, d, seed)
    return X if data == "clusters" else np.exp(X)


def measure_back(n_rows, data, d, seed):
    """Return how many rows are off after the way there and back, with the defaults.

    These are percentages of training rows and of new rows that have a column off by
    more than a hundredth of a standard deviation, at most of a hundred times half the
    middle 68 %; and of new rows outside the range of the training rows.
    """
    if data in GENERATED:
        X, X_new = (generated(data, n_rows, d, seed + i) for i in (0, N_DRAWS))
    else:
        X, X_new, _, _ = halves(f"{data} {d}", seed, n_rows)
    u = PoissonUniformizer().fit(X)
    low, high = np.quantile(X, [0.16, 0.84], axis=0)
    unit = np.minimum(X.std(0), 50 * (high - low))
    off = [
        100 * np.mean((np.abs(back - rows) > 0.01 * unit).any(1))
        for rows in (X, X_new)
        for back in [u.inverse_transform(u.transform(rows))]
    ]
    outside = 100 * np.mean(((X_new < X.min(0)) | (X_new > X.max(0))).any(1))
    measures = ("steps", "training rows", "new rows", "outside")
    return dict(zip(measures, (u.n_steps_, *off, outside), strict=True))


def back_table(runs):
    """Return a row for each number of columns, with shares in % for each data set."""
    frame = pd.DataFrame(runs)
    measures = ["training rows", "new rows", "outside"]
    means = frame.groupby(["d", "data"], sort=False)[measures].mean()
    texts = means.apply(lambda row: "{:.2f} / {:.2f} ({:.2f})".format(*row), axis=1)
    return texts.unstack(sort=False).reset_index()


def measure_inverse(n_rows, data, solver):
    """Return a run for each number of steps and half: error of the way back, cost.

    The output is the end of the flow, from which distant rows come back as well.
    """
    X, X_test, _, _ = halves(data, 0, min(n_rows, N_ROUND_TRIPS))
    runs = []
    for n_steps in SOLVERS[solver]:
        u = PoissonUniformizer(
            output="flow", solver=solver, n_steps=n_steps, batch_size=10**6
        ).fit(X)
        start = time.perf_counter()
        out, evaluations = counted(partial(u.transform, X_test))
        cost = {"evaluations": evaluations, "seconds": time.perf_counter() - start}
        halves_there = ("held out", X_test, out), ("train", X, u.transform(X))
        for half, rows, there in halves_there:
            error = np.linalg.norm(u.inverse_transform(there) - rows, axis=1)
            error /= np.linalg.norm(rows, axis=1)
            errors = {"max": error.max(), "median": np.median(error)}
            runs.append({"rows": half} | cost | errors)
    return runs


def counted(function):
    """Return the result of a function, and the number of evaluations of the field."""
    calls, original = [], _flow.velocity

    def counting(*args, **kwargs):
        calls.append(None)
        return original(*args, **kwargs)

    _flow.velocity = counting
    try:
        return function(), len(calls)
    finally:
        _flow.velocity = original


def inverse_table(runs):
    """Return a row for each solver and number of steps, of the worst data set."""
    frame = pd.DataFrame(runs)
    frame["steps"] = frame.groupby(["data", "rows", "solver"]).cumcount()
    rows = []
    for (solver, _), group in frame.groupby(["solver", "steps"], sort=False):
        counts = group["evaluations"].agg(["min", "max"]).unique()
        row = {"solver": solver, "evaluations": "-".join(map(str, counts))}
        for kind in ("held out", "train"):
            errors = group[group["rows"] == kind]
            for measure in ("max", "median"):
                row[f"{kind}, {measure}"] = f"{errors[measure].max():.1e}"
        rows.append(row)
    return rows


def measure_subsets(n_rows, data, seed):
    """Return a run for each draw of 64 rows and method: how well they represent all.

    Measures are mean squared errors of means, in standard deviations, and of shares of
    classes.
    """
    X, _, y, _ = halves(data, seed, n_rows)
    cubes = {
        name: _uniform.to_cube(method.fit(X).transform(X))
        for name, method in _uniform.methods(len(X)).items()
        if name not in ("whitening", "PowerTransformer")
    }
    runs = []
    for draw in range(N_DRAWS):
        rng = np.random.default_rng(draw)
        chosen = {"random": rng.choice(len(X), N_CHOSEN, replace=False)}
        if draw < 5:
            chosen["k-means"] = nearest(centers(X, draw), X)
        points = Sobol(d=X.shape[1], seed=draw).random(N_CHOSEN)
        chosen |= {name: nearest(points, U) for name, U in cubes.items()}
        for name, rows in chosen.items():
            offsets = (X[rows].mean(0) - X.mean(0)) / X.std(0)
            prevalence = np.square(shares(y[rows]) - shares(y)).mean()
            means = np.square(offsets).mean()
            runs.append({"method": name, "means": means, "prevalence": prevalence})
    return runs


def centers(X, seed):
    """Return the centres of 64 clusters."""
    return KMeans(N_CHOSEN, n_init=1, random_state=seed).fit(X).cluster_centers_


def nearest(points, U):
    """Return for each point the nearest row, each row once."""
    distances = cdist(points, U)
    rows = []
    for i in np.arange(len(points)):
        rows.append(int(distances[i].argmin()))
        distances[:, rows[-1]] = np.inf
    return np.array(rows)


def shares(y):
    """Return the share of each class."""
    return np.bincount(y, minlength=10) / len(y)


def subset_table(runs, value):
    """Return a row for each data set: root mean square errors relative to random."""
    frame = by_method(runs, value, "mean").set_index("data") ** 0.5
    base = frame["random"]
    ratios = frame.div(base, axis=0).map("x{:.2f}".format)
    return ratios.assign(random=base.map("{:.4f}".format)).reset_index()


means_table = partial(subset_table, value="means")
prevalence_table = partial(subset_table, value="prevalence")


def detectors(X):
    """Return fitted detectors by name; their scores are low for outliers."""
    width = np.sqrt(X.var(0).mean())
    grid = {"bandwidth": width * np.logspace(-1.5, 0.5, 9)}
    return {
        "field strength": PoissonUniformizer().fit(X),
        "LocalOutlierFactor": LocalOutlierFactor(novelty=True).fit(X),
        "IsolationForest": IsolationForest(random_state=0).fit(X),
        "KernelDensity": GridSearchCV(KernelDensity(), grid, cv=3)
        .fit(X)
        .best_estimator_,
        "Gaussian": GaussianMixture(reg_covar=1e-2 * width**2, random_state=0).fit(X),
    }


def measure_outliers(data, seed):
    """Return a run for each detector and class: the ROC-AUC if that class is known."""
    X, y, X_test, y_test = _uniform.split_components(*load(data), 6000, 2000, seed)
    runs = []
    for label in range(10):
        of_class = {"data": f"{data}, {'odd' if label % 2 else 'even'} classes"}
        for name, detector in detectors(X[y == label].astype(float)).items():
            scores = detector.score_samples(X_test.astype(float))
            auc = roc_auc_score(y_test == label, scores)
            runs.append(of_class | {"method": name, "auc": auc})
    return runs


def outlier_table(runs):
    """Return a row for each data set: mean and spread over seeds."""
    keys = ["data", "method", "seed"]
    means = pd.DataFrame(runs).groupby(keys, sort=False)["auc"].mean()
    return by_method(means.reset_index(), "auc", _runs.percent)


def verdict(runs):
    """Return the number of data sets that meet each requirement of the energy."""
    energy, gap = (by_method(runs, value, "mean") for value in ("energy", "gap"))
    ours = energy["PoissonUniformizer"]
    few = ours <= energy["QuantileTransformer"] / 3
    return [
        {
            "data sets": len(ours),
            "at most 1/3 of QuantileTransformer": int(few.sum()),
            "below RBIG": int((ours < energy["RBIG"]).sum()),
            "largest mean gap to train": round(gap["PoissonUniformizer"].max(), 2),
        }
    ]


def parse_arguments():
    """Return the command line's arguments."""
    parser = _runs.make_parser(__doc__, seeds=3)
    parser.add_argument("parts", nargs="*", metavar="part", help=" ".join(PARTS))
    parser.add_argument(
        "--sources", nargs="+", choices=SOURCES + ENCODERS, default=SOURCES
    )
    parser.add_argument("--dimensions", nargs="+", type=int, default=DIMENSIONS)
    parser.add_argument("--n-generated", nargs="+", type=int, default=[500, 10000])
    parser.add_argument("--n-rows", type=int, default=2000, help="in a half, at most")
    args = parser.parse_args()
    if not set(args.parts) <= set(PARTS):
        parser.error(f"parts are {', '.join(PARTS)}")
    return args


def measure_part(part, args):
    """Return the runs of a part."""
    data = [f"{source} {d}" for source in args.sources for d in args.dimensions]
    seeds, n_rows = range(args.seeds), args.n_rows
    measure, settings = {
        "energy": (
            partial(measure_energy, n_rows),
            {"data": data, "seed": seeds, "method": _uniform.methods(n_rows)},
        ),
        "isotropy": (
            partial(measure_isotropy, n_rows),
            {"data": data, "seed": seeds},
        ),
        "columns": (
            measure_columns,
            {
                "data": _skewed.KINDS,
                "rows": args.n_generated,
                "seed": seeds,
                "method": COMPARED,
            },
        ),
        "back": (
            partial(measure_back, n_rows),
            {
                "data": [*GENERATED, *args.sources],
                "d": BACK_DIMENSIONS,
                "seed": seeds,
            },
        ),
        "inverse": (
            partial(measure_inverse, n_rows),
            {"data": data, "solver": SOLVERS},
        ),
        "subsets": (
            partial(measure_subsets, n_rows),
            {"data": data, "seed": seeds},
        ),
        "outliers": (measure_outliers, {"data": args.sources, "seed": seeds}),
    }[part]
    return _runs.run(_runs.grid(**settings), measure, part)


# The tables of each part: title, and function of the runs.
PARTS = {
    "energy": {
        "Energy distance to the uniform cube, x 1000, held-out rows": energy_table,
        "Of these": verdict,
        "Uniformity loss of Wang and Isola, of directions of normal scores": loss_table,
    },
    "isotropy": {
        "Epps and Pulley's distance from isotropic normal rows, x 1000": isotropy_table
    },
    "columns": {
        "Generated rows: energy x 1000; Kolmogorov distance of the column that is "
        "farthest beside QuantileTransformer": columns_table
    },
    "back": {
        "There and back: % off by .01 deviations of training / new rows (% of new rows "
        "outside the training rows)": back_table
    },
    "inverse": {
        "There and back: relative error of rows, in the worst data set": inverse_table
    },
    "subsets": {
        f"{N_CHOSEN} rows for all: error of the means, in deviations": means_table,
        "The same: class shares": prevalence_table,
    },
    "outliers": {
        "One class known, ROC-AUC in %, mean and deviation over seeds": outlier_table
    },
}


def main():
    """Measure the parts and print their tables."""
    args = parse_arguments()
    runs = {}
    for part, tables in PARTS.items():
        if part in (args.parts or PARTS):
            runs[part] = measure_part(part, args)
            for title, summarize in tables.items():
                _runs.print_table(title, summarize(runs[part]))
    _runs.write_json(args.json, **runs)


if __name__ == "__main__":
    main()

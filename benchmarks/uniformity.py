"""What PoissonUniformizer is good for: uniform rows, the way back, subsets, outliers.

    python benchmarks/uniformity.py
    python benchmarks/uniformity.py energy --sources digits --seeds 1

Rows are split into two halves by a seed; PCA and all methods are fitted on the one, and
all figures but those marked so are of the other. Nothing is tuned on either.
"""

import argparse
import time
from functools import partial

import numpy as np
import pandas as pd
from _alexnet import alexnet_features
from _data import load_features
from _report import print_table, spread, write_json
from _uniform import energy_to_uniform, loss_on_sphere, methods, to_cube
from rich.progress import track
from scipy.spatial.distance import cdist
from scipy.stats.qmc import Sobol
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity, LocalOutlierFactor

from sklearn_featalign import PoissonUniformizer, _flow

SOURCES = ("digits", "pixels", "lite0", "alexnet")
DIMENSIONS = (2, 4, 8)
N_LITE0 = 12000
# Solvers with their numbers of steps, for 48, 96 and 800 evaluations.
SOLVERS = {
    "euler": (48, 96),
    "midpoint": (24, 48),
    "rk4": (12, 24, 200),
    "dopri5": (1,),
}
# Rows of each half that go there and back.
N_ROUND_TRIPS = 300
N_CHOSEN = 64
# Columns that outliers are looked for in, at most.
N_COMPONENTS = 64
N_DRAWS = 20


def load(source, network=0):
    """Return all rows and labels of a source."""
    if source == "alexnet":
        test = alexnet_features("fashion-mnist", network)[-1]
        return test.features, test.y
    if source == "digits":
        return load_features("digits", "pixels", 1797)
    return load_features("fashion-mnist", source, N_LITE0)


def halves(source, d, seed, n_rows):
    """Return d principal components of training and held-out rows, and all labels."""
    X, y = load(source)
    rows = np.random.default_rng(seed).permutation(len(X))
    n_rows = min(n_rows, len(X) // 2)
    train, test = rows[:n_rows], rows[n_rows : 2 * n_rows]
    pca = PCA(d, random_state=0).fit(X[train])
    parts = (pca.transform(X[part]).astype(float) for part in (train, test))
    return *parts, y[train], y[test]


def data_sets(args):
    """Yield source and number of dimensions, with progress."""
    pairs = [(s, d) for s in args.sources for d in args.dimensions]
    yield from track(pairs, "data sets")


def measure_energy(args):
    """Return energy distance and loss of each method, data set and seed."""
    runs = []
    for source, d in data_sets(args):
        for seed in range(args.seeds):
            X, X_test, _, _ = halves(source, d, seed, args.n_rows)
            for name, method in methods(len(X)).items():
                train, test = (method.fit(X).transform(Z) for Z in (X, X_test))
                energy, energy_train = (
                    1e3 * energy_to_uniform(to_cube(Z)) for Z in (test, train)
                )
                runs.append(
                    {
                        "data": f"{source} {d}",
                        "seed": seed,
                        "method": name,
                        "energy": energy,
                        "gap": energy - energy_train,
                        "loss": loss_on_sphere(test),
                    }
                )
    return runs


def energy_table(runs, value="energy"):
    """Return a row for each data set with the value of each method."""
    table = []
    for data, of_data in group(runs, "data"):
        row = {"data": data}
        for method, of_method in group(of_data, "method"):
            row[method] = spread([run[value] for run in of_method], scale=1)
        poisson = [r for r in of_data if r["method"] == "PoissonUniformizer"]
        if value == "energy":
            row["held out minus train"] = spread([r["gap"] for r in poisson], scale=1)
        table.append(row)
    return table


def group(runs, key):
    """Yield the different values of a key with their runs, in order."""
    for value in dict.fromkeys(run[key] for run in runs):
        yield value, [run for run in runs if run[key] == value]


def measure_inverse(args):
    """Return error and cost of the way there and back for each solver."""
    runs = []
    for source, d in data_sets(args):
        X, X_test, _, _ = halves(source, d, 0, min(args.n_rows, N_ROUND_TRIPS))
        for solver, steps in SOLVERS.items():
            for n_steps in steps:
                u = PoissonUniformizer(
                    output="normal", solver=solver, n_steps=n_steps, batch_size=10**6
                ).fit(X)
                start = time.perf_counter()
                out, evaluations = counted(partial(u.transform, X_test))
                seconds = time.perf_counter() - start
                for rows, kind in ((X_test, "held out"), (X, "train")):
                    there = out if rows is X_test else u.transform(rows)
                    back = u.inverse_transform(there)
                    error = np.linalg.norm(back - rows, axis=1)
                    error /= np.linalg.norm(rows, axis=1)
                    runs.append(
                        {
                            "data": f"{source} {d}",
                            "rows": kind,
                            "solver": solver,
                            "evaluations": evaluations,
                            "max": error.max(),
                            "median": np.median(error),
                            "seconds": seconds,
                        }
                    )
    return runs


def counted(function):
    """Return what a function returns, and how often it evaluates the field."""
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
    """Return a row for each solver and number of steps: the worst data set counts."""
    frame = pd.DataFrame(runs)
    frame["steps"] = frame.groupby(["data", "rows", "solver"]).cumcount()
    table = []
    for (solver, _), of_solver in frame.groupby(["solver", "steps"], sort=False):
        held_out = of_solver[of_solver["rows"] == "held out"]
        train = of_solver[of_solver["rows"] == "train"]
        evaluations = sorted(set(held_out["evaluations"]))
        table.append(
            {
                "solver": solver,
                "evaluations": "-".join(map(str, (evaluations[0], evaluations[-1])))
                if len(evaluations) > 1
                else evaluations[0],
                "held out, max": f"{held_out['max'].max():.1e}",
                "held out, median": f"{held_out['median'].max():.1e}",
                "train, max": f"{train['max'].max():.1e}",
                "train, median": f"{train['median'].max():.1e}",
            }
        )
    return table


def measure_subsets(args):
    """Return how well 64 chosen rows stand for all, for each way to choose them."""
    runs = []
    for source, d in data_sets(args):
        for seed in range(args.seeds):
            X, _, y, _ = halves(source, d, seed, args.n_rows)
            cubes = {
                name: to_cube(method.fit(X).transform(X))
                for name, method in methods(len(X)).items()
                if name not in ("whitening", "PowerTransformer")
            }
            for draw in range(N_DRAWS):
                rng = np.random.default_rng(draw)
                chosen = {"random": rng.choice(len(X), N_CHOSEN, replace=False)}
                if draw < 5:
                    chosen["k-means"] = nearest(centers(X, draw), X)
                points = Sobol(d, seed=draw).random(N_CHOSEN)
                chosen |= {name: nearest(points, U) for name, U in cubes.items()}
                for name, rows in chosen.items():
                    runs.append(
                        {
                            "data": f"{source} {d}",
                            "method": name,
                            "seed": seed,
                            "means": np.square(
                                (X[rows].mean(0) - X.mean(0)) / X.std(0)
                            ).mean(),
                            "prevalence": np.square(shares(y[rows]) - shares(y)).mean(),
                        }
                    )
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
    """Return a row for each data set: root mean square error, over that of random."""
    table = []
    for data, of_data in group(runs, "data"):
        errors = {
            method: np.sqrt(np.mean([run[value] for run in of_method]))
            for method, of_method in group(of_data, "method")
        }
        row = {"data": data, "random": f"{errors['random']:.4f}"}
        row |= {
            name: f"x{error / errors['random']:.2f}"
            for name, error in errors.items()
            if name != "random"
        }
        table.append(row)
    return table


def detectors(X):
    """Return fitted detectors by name; more is less of an outlier."""
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


def measure_outliers(args):
    """Return the ROC-AUC of each detector, where one class alone is known."""
    runs = []
    for source in args.sources:
        X, y = load(source)
        for seed in track(range(args.seeds), f"outliers in {source}"):
            rows = np.random.default_rng(seed).permutation(len(X))
            n_train = min(2 * len(X) // 3, 6000)
            train, test = rows[:n_train], rows[n_train : n_train + 2000]
            Z_train, Z_test = X[train], X[test]
            if X.shape[1] > N_COMPONENTS:
                pca = PCA(N_COMPONENTS, random_state=0).fit(X[train])
                Z_train, Z_test = pca.transform(Z_train), pca.transform(Z_test)
            for label in range(10):
                known = Z_train[y[train] == label].astype(float)
                for name, detector in detectors(known).items():
                    scores = detector.score_samples(Z_test.astype(float))
                    auc = roc_auc_score(y[test] == label, scores)
                    parity = "odd" if label % 2 else "even"
                    runs.append(
                        {
                            "data": f"{source}, {parity} classes",
                            "method": name,
                            "seed": seed,
                            "auc": auc,
                        }
                    )
    return runs


def outlier_table(runs):
    """Return a row for each data set: mean and spread over seeds."""
    table = []
    for data, of_data in group(runs, "data"):
        row = {"data": data}
        for method, of_method in group(of_data, "method"):
            means = [
                np.mean([run["auc"] for run in of_seed])
                for _, of_seed in group(of_method, "seed")
            ]
            row[method] = spread(means)
        table.append(row)
    return table


def verdict(runs):
    """Return how many data sets meet what is asked of the energy."""
    frame = pd.DataFrame(runs)
    energy = frame.pivot_table("energy", "data", "method", "mean", sort=False)
    ours = energy["PoissonUniformizer"]
    gap = frame[frame["method"] == "PoissonUniformizer"].groupby("data")["gap"].mean()
    return [
        {
            "data sets": len(ours),
            "at most 1/3 of QuantileTransformer": int(
                (ours <= energy["QuantileTransformer"] / 3).sum()
            ),
            "below RBIG": int((ours < energy["RBIG"]).sum()),
            "largest mean gap to train": round(gap.max(), 2),
        }
    ]


PARTS = ("energy", "inverse", "subsets", "outliers")


def parse_arguments():
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=" ".join(PARTS))
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=SOURCES)
    parser.add_argument("--dimensions", nargs="+", type=int, default=DIMENSIONS)
    parser.add_argument("--n-rows", type=int, default=2000, help="in a half, at most")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    if not set(args.parts) <= set(PARTS):
        parser.error(f"parts are {', '.join(PARTS)}")
    args.parts = args.parts or PARTS
    return args


def main():
    """Measure and print the tables."""
    args = parse_arguments()
    tables = {}
    if "energy" in args.parts:
        runs = tables["energy"] = measure_energy(args)
        title = "Energy distance to the uniform cube, x 1000, held-out rows"
        print_table(title, energy_table(runs))
        print_table("Of these", verdict(runs))
        title = "Uniformity loss of Wang and Isola, of directions of normal scores"
        print_table(title, energy_table(runs, "loss"))
    if "inverse" in args.parts:
        runs = tables["inverse"] = measure_inverse(args)
        title = "There and back: relative error of rows, in the worst data set"
        print_table(title, inverse_table(runs))
    if "subsets" in args.parts:
        runs = tables["subsets"] = measure_subsets(args)
        title = f"{N_CHOSEN} rows for all: error of the means, in deviations"
        print_table(title, subset_table(runs, "means"))
        print_table("The same: class shares", subset_table(runs, "prevalence"))
    if "outliers" in args.parts:
        runs = tables["outliers"] = measure_outliers(args)
        title = "One class known, ROC-AUC in %, mean and deviation over seeds"
        print_table(title, outlier_table(runs))
    if args.json:
        write_json(args.json, **tables)


if __name__ == "__main__":
    main()

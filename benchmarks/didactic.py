"""The cases of the feature-alignment document, on rows that were not landmarks.

Two sets of dots come from the same dots by different maps. The landmarks are the
document's 30 dots; what is measured are 300 fresh dots of the same three clusters,
since a row that is its own landmark finds its pair whatever the features are.

    python benchmarks/didactic.py [--json FILE] [--figure FILE.png] [--seeds 20]
"""

import argparse
from itertools import product

import numpy as np
import torch
from _report import print_table, spread, write_json
from rich.progress import track
from sklearn.datasets import make_blobs
from sklearn.metrics.pairwise import cosine_similarity, euclidean_distances, rbf_kernel

from sklearn_featalign import RBFAutoScaleAligner

N_QUERIES = 300
ROTATION = np.array([[1.0, -1.0], [1.0, 1.0]]) / np.sqrt(2)
OUTLIERS = [4, 12]


def make_dots():
    """Return the document's 30 dots, ordered by cluster, their clusters and centres."""
    X, y, centers = make_blobs(30, centers=3, random_state=42, return_centers=True)
    order = np.argsort(y, kind="stable")
    return X[order].astype(np.float32), y[order], centers


def make_queries(seed):
    """Return fresh dots of the same clusters, and their clusters."""
    centers = make_dots()[2]
    X, y = make_blobs(N_QUERIES, centers=centers, random_state=1000 + seed)
    return X.astype(np.float32), y


def linear(scale, shift_first):
    """Return the map ``(z R + 10) * scale``, or ``scale * z R + 10``."""

    def transform(Z):
        Z = Z @ ROTATION
        Z = (Z + 10) * scale if shift_first else Z * scale + 10
        return Z.astype(np.float32)

    return transform


def random_mlp(seed, n_hidden, standardize, dtype=np.float32):
    """Return an untrained GELU network 2-8-...-8-2 with torch's initial weights."""
    widths = [2] + [8] * n_hidden + [2]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = []
        for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
            layers += [torch.nn.Linear(n_in, n_out), torch.nn.GELU()]
        network = torch.nn.Sequential(*layers[:-1])
    network.to(torch.from_numpy(np.empty(0, dtype)).dtype)
    dots = make_dots()[0].astype(dtype)
    mean, std = (dots.mean(0), dots.std(0, ddof=1)) if standardize else (0, 1)

    def transform(Z):
        with torch.inference_mode():
            return network(torch.from_numpy((Z.astype(dtype) - mean) / std)).numpy()

    return transform


def move_outliers(dots):
    """Return the dots with two of them moved away, as in the document."""
    dots = dots.copy()
    dots[OUTLIERS, 0] = 50
    return dots


# For each seed the map from set 1 to set 2, and a change of set 2's landmarks alone.
CASES = {
    "isotropic": (lambda seed: linear(0.25, False), None),
    "outliers": (lambda seed: linear(0.25, False), move_outliers),
    "anisotropic [0.25, 4]": (lambda seed: linear([0.25, 4], True), None),
    "anisotropic [0.001, 1]": (lambda seed: linear([0.001, 1], True), None),
    "4-layer MLP": (lambda seed: random_mlp(seed, 3, True), None),
    # As in the author's script: twelve layers between the first and the last.
    "12-layer MLP, raw": (lambda seed: random_mlp(seed, 13, False), None),
}


class CentredCosine:
    """Relative representations: cosine to the landmarks, seen from their mean."""

    def fit(self, X):
        """Take all rows as landmarks."""
        self.mean_ = X.mean(0, dtype=float)
        self.landmarks_ = X - self.mean_
        return self

    def transform(self, X):
        """Return cosines."""
        return cosine_similarity(X - self.mean_, self.landmarks_)


def rbf(**params):
    """Return a function that makes an aligner with every row as a landmark."""
    return lambda: RBFAutoScaleAligner(n_landmarks=None, **params)


METHODS = {
    "centred cosine": CentredCosine,
    "gamma=1": rbf(gamma=1.0),
    "c=0.3": rbf(c=0.3),
    "c=0.1": rbf(c=0.1),
    "c=0.3 whiten": rbf(c=0.3, whiten="pca"),
    "c=0.3 ridge": rbf(c=0.3, normalize="ridge"),
    "c=0.1 ridge": rbf(c=0.1, normalize="ridge"),
    "c=0.3 whiten ridge=.01": rbf(c=0.3, whiten="pca", normalize="ridge", ridge=0.01),
}


def document_affinity(F, G):
    """Return the document's final picture: affinity, gamma=1, of both sets stacked."""
    stacked = np.vstack([F, G]).astype(float)
    total_variance = stacked.var(0, ddof=1).sum()
    return rbf_kernel(stacked, gamma=1 / (2 * total_variance))


def judge(F, G, clusters):
    """Measure how well aligned rows of set 1 find their own pair in set 2.

    Returns
    -------
    measures : dict
        ``top1`` and ``mrr`` (mean reciprocal rank) of the pair, ties counting half;
        ``cluster``: how often the nearest row is of the same cluster; ``contrast``:
        document's affinity across sets, same cluster minus another.
    """
    D = euclidean_distances(F.astype(float), G.astype(float))
    own = D.diagonal()[:, None]
    rank = 1 + (D < own).sum(1) + ((D == own).sum(1) - 1) / 2
    same = clusters[:, None] == clusters
    across = document_affinity(F, G)[: len(F), len(F) :]
    return {
        "top1": (rank == 1).mean(),
        "mrr": (1 / rank).mean(),
        "cluster": same[np.arange(len(F)), D.argmin(1)].mean(),
        "contrast": across[same].mean() - across[~same].mean(),
    }


def paired_dots(case, seed):
    """Return the document's dots in both sets."""
    make_map, change = CASES[case]
    dots = make_dots()[0]
    dots_2 = make_map(seed)(dots)
    return dots, dots_2 if change is None else change(dots_2)


def run_case(case, method, seed):
    """Align both sets of a case by their landmarks; judge fresh dots.

    Returns
    -------
    measures : dict
        As from `judge`, with the fitted ``gamma 1`` and ``gamma 2``. Empty where
        rounding has left so many equal landmarks that no bandwidth reaches c.
    """
    queries, clusters = make_queries(seed)
    try:
        first, second = (METHODS[method]().fit(Z) for Z in paired_dots(case, seed))
    except ValueError as error:
        if "must lie strictly between" not in str(error):
            raise
        return {}
    queries_2 = CASES[case][0](seed)(queries)
    measures = judge(first.transform(queries), second.transform(queries_2), clusters)
    for name, aligner in (("gamma 1", first), ("gamma 2", second)):
        measures[name] = getattr(aligner, "gamma_", np.nan)
    return measures


def last_five(seed):
    """Return the document's poor choice: five dots of one cluster."""
    return lambda Z: RBFAutoScaleAligner(n_landmarks=None).fit(Z), slice(-5, None)


def five(landmarks):
    """Return a choice of five landmarks by the aligner itself."""

    def choose(seed):
        params = {"n_landmarks": 5, "landmarks": landmarks, "random_state": seed}
        return lambda Z: RBFAutoScaleAligner(**params).fit(Z), slice(None)

    return choose


FEW_LANDMARKS = {
    "last 5": last_five,
    "5 random": five("random"),
    "5 k-means++": five("kmeans++"),
    "5 farthest": five("farthest"),
}


def run_few_landmarks(choice, seed):
    """Judge fresh dots of the isotropic case with few landmarks."""
    transform = CASES["isotropic"][0](seed)
    fit, columns = FEW_LANDMARKS[choice](seed)
    dots, (queries, clusters) = make_dots()[0], make_queries(seed)
    F = fit(dots).transform(queries)[:, columns]
    G = fit(transform(dots)).transform(transform(queries))[:, columns]
    return judge(F, G, clusters)


def summarize(runs, **names):
    """Return one row of a table: means and standard deviations over the seeds."""
    runs = [run for run in runs if run]
    row = names | {"seeds": len(runs)}
    for name in ("top1", "mrr", "cluster", "contrast"):
        row[name] = spread([run[name] for run in runs], scale=1, digits=3)
    for name in ("gamma 1", "gamma 2"):
        if runs and name in runs[0]:
            row[name] = f"{np.mean([run[name] for run in runs]):.6g}"
    return row


def align_dots(case, fit):
    """Return the aligned dots of both sets of a case, for the document's figure."""
    return [fit(Z).transform(Z) for Z in paired_dots(case, seed=0)]


def pictures():
    """Yield for each row of the figure its case and the features of both sets."""
    shown = ["gamma=1", "c=0.3", "c=0.3 whiten"]
    for case in CASES:
        features = {"before": paired_dots(case, seed=0)}
        for method in shown:
            fit = METHODS[method]().fit
            features[f"after, {method}"] = align_dots(case, fit)
        yield case, features
    features = {"before": paired_dots("isotropic", seed=0)}
    for choice in ("last 5", "5 random", "5 farthest"):
        fit, columns = FEW_LANDMARKS[choice](seed=0)
        aligned = [F[:, columns] for F in align_dots("isotropic", fit)]
        features[f"after, {choice} landmarks"] = aligned
    yield "isotropic", features


def draw(path):
    """Draw the document's figure: dots, and affinities before and after alignment."""
    import matplotlib.pyplot as plt

    n_rows = len(CASES) + 1
    figure, axes = plt.subplots(
        n_rows, 5, figsize=(16, 3.3 * n_rows), layout="constrained"
    )
    clusters = make_dots()[1]
    for row, (case, features) in zip(axes, pictures(), strict=True):
        sets = zip(features["before"], ("set 1", "set 2"), "os", strict=True)
        for dots, label, marker in sets:
            row[0].scatter(*dots.T, c=clusters, marker=marker, label=label)
        row[0].set(title=case, aspect="equal", adjustable="datalim")
        row[0].legend(fontsize=8)
        for ax, (title, (F, G)) in zip(row[1:], features.items(), strict=True):
            image = ax.imshow(document_affinity(F, G), cmap="magma", vmin=0, vmax=1)
            ax.axhline(29.5, color="white", linewidth=1)
            ax.axvline(29.5, color="white", linewidth=1)
            ax.set(title=title, xticks=range(0, 60, 10), yticks=range(0, 60, 10))
    figure.colorbar(image, ax=axes[:, 1:], shrink=0.3, label="affinity")
    figure.savefig(path, dpi=80)
    print(f"figure: {path}")


def main():
    """Run every case with every method and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--figure", metavar="FILE", default="didactic.png")
    args = parser.parse_args()
    seeds = range(args.seeds)
    cases = [
        summarize(
            [run_case(case, method, seed) for seed in seeds], case=case, method=method
        )
        for case, method in track(list(product(CASES, METHODS)), "cases")
    ]
    title = (
        f"Landmarks: the 30 dots. Queries: {N_QUERIES} fresh dots, {args.seeds} seeds, "
        "mean ± standard deviation"
    )
    print_table(title, cases)
    few = [
        summarize([run_few_landmarks(choice, seed) for seed in seeds], landmarks=choice)
        for choice in FEW_LANDMARKS
    ]
    print_table("Few landmarks: isotropic, c=0.3", few)
    if args.json:
        write_json(args.json, cases=cases, few_landmarks=few)
    draw(args.figure)


if __name__ == "__main__":
    main()

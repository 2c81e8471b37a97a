"""Measures alignment in the cases of the feature-alignment document, on fresh dots.

Two sets of dots are images of the same dots under different maps. The landmarks are the
document's 30 dots. Measured are 300 fresh dots of the same three clusters, since a row
that is its own landmark finds its pair whatever the features are.

    python benchmarks/didactic.py [--json FILE] [--figure FILE.png] [--seeds 20]
"""

from functools import partial

import _dots
import _runs
import numpy as np
from _methods import RelativeRepresentations
from sklearn.base import clone

from sklearn_featalign import RBFAutoScaleAligner

OUTLIERS = [4, 12]


def move_outliers(dots):
    """Return the dots with two of them moved away, as in the document."""
    dots = dots.copy()
    dots[OUTLIERS, 0] = 50
    return dots


isotropic = partial(_dots.linear, scale=0.25, shift_first=False)
anisotropic = partial(_dots.linear, shift_first=True)
# The map from set 1 to set 2. The author's script has twelve layers between the first
# and the last. In the case with outliers `move_outliers` changes landmarks of set 2.
CASES = {
    "isotropic": isotropic,
    "outliers": isotropic,
    "anisotropic [0.25, 4]": partial(anisotropic, scale=[0.25, 4]),
    "anisotropic [0.001, 1]": partial(anisotropic, scale=[0.001, 1]),
    "4-layer MLP": partial(_dots.random_mlp, n_hidden=3, standardize=True),
    "12-layer MLP, raw": partial(_dots.random_mlp, n_hidden=13, standardize=False),
}
RBF = RBFAutoScaleAligner(n_landmarks=None)
METHODS = {
    "centred cosine": RelativeRepresentations(),
    "gamma=1": clone(RBF).set_params(gamma=1.0),
    "c=0.3": clone(RBF).set_params(c=0.3),
    "c=0.1": clone(RBF).set_params(c=0.1),
    "c=0.3 whiten": clone(RBF).set_params(c=0.3, whiten="pca"),
    "c=0.3 ridge": clone(RBF).set_params(c=0.3, normalize="ridge"),
    "c=0.1 ridge": clone(RBF).set_params(c=0.1, normalize="ridge"),
    "c=0.3 whiten ridge=.01": clone(RBF).set_params(
        c=0.3, whiten="pca", normalize="ridge", ridge=0.01
    ),
}
MEASURES = ("top1", "mrr", "cluster", "contrast")
# The parameter `landmarks` that chooses five dots. The document's poor choice, five
# dots of one cluster, has none.
FEW_LANDMARKS = {
    "last 5": None,
    "5 random": "random",
    "5 k-means++": "kmeans++",
    "5 farthest": "farthest",
}


def paired_dots(case, seed):
    """Return the document's dots in both sets."""
    dots = _dots.make_dots()[0]
    dots_2 = CASES[case](dots, seed=seed)
    return dots, move_outliers(dots_2) if case == "outliers" else dots_2


def run_case(case, method, seed):
    """Align both sets of a case by their landmarks, and judge fresh dots.

    The measures are those of `judge`, with the fitted gammas. There are none where
    rounding has left too many equal landmarks for any bandwidth to reach c.
    """
    queries, clusters = _dots.make_queries(seed)
    try:
        first, second = (clone(METHODS[method]).fit(Z) for Z in paired_dots(case, seed))
    except ValueError as error:
        if "must lie strictly between" not in str(error):
            raise
        return {}
    queries_2 = CASES[case](queries, seed=seed)
    aligned = first.transform(queries), second.transform(queries_2)
    measures = _dots.judge(*aligned, clusters)
    for name, aligner in (("gamma 1", first), ("gamma 2", second)):
        measures[name] = getattr(aligner, "gamma_", np.nan)
    return measures


def few_features(choice, Z, rows, seed):
    """Return the affinities of rows to five landmarks chosen from the dots Z."""
    aligner = clone(RBF)
    if choice == "last 5":
        return aligner.fit(Z).transform(rows)[:, -5:]
    params = {"n_landmarks": 5, "landmarks": FEW_LANDMARKS[choice]}
    return aligner.set_params(**params, random_state=seed).fit(Z).transform(rows)


def run_few_landmarks(landmarks, seed):
    """Judge fresh dots of the isotropic case with few landmarks."""
    queries, clusters = _dots.make_queries(seed)
    dots, dots_2 = paired_dots("isotropic", seed)
    F = few_features(landmarks, dots, queries, seed)
    G = few_features(landmarks, dots_2, isotropic(queries), seed)
    return _dots.judge(F, G, clusters)


def summarize(runs, by):
    """Return a row for each group: number of seeds, and measures over these seeds."""
    runs = [run | {"seeds": run.get("top1")} for run in runs]
    rates = dict.fromkeys(MEASURES, partial(_runs.spread, digits=3))
    gammas = dict.fromkeys(("gamma 1", "gamma 2"), mean_gamma)
    return _runs.table(runs, by, {"seeds": len} | rates | gammas)


def mean_gamma(values):
    """Return the mean of values as text."""
    return f"{values.mean():.6g}"


def pictures():
    """Yield for each row of the figure its case and the features of both sets."""
    for case in CASES:
        dots = paired_dots(case, seed=0)
        features = {"before": dots}
        for method in ("gamma=1", "c=0.3", "c=0.3 whiten"):
            aligned = [clone(METHODS[method]).fit_transform(Z) for Z in dots]
            features[f"after, {method}"] = aligned
        yield case, features
    dots = paired_dots("isotropic", seed=0)
    features = {"before": dots}
    for choice in ("last 5", "5 random", "5 farthest"):
        aligned = [few_features(choice, Z, Z, seed=0) for Z in dots]
        features[f"after, {choice} landmarks"] = aligned
    yield "isotropic", features


def draw(path):
    """Draw the document's figure: dots, and affinities before and after alignment."""
    import matplotlib.pyplot as plt

    n_rows = len(CASES) + 1
    size = (16, 3.3 * n_rows)
    figure, axes = plt.subplots(n_rows, 5, figsize=size, layout="constrained")
    clusters = _dots.make_dots()[1]
    for row, (case, features) in zip(axes, pictures(), strict=True):
        sets = zip(features["before"], ("set 1", "set 2"), "os", strict=True)
        for dots, label, marker in sets:
            row[0].scatter(*dots.T, c=clusters, marker=marker, label=label)
        row[0].set(title=case, aspect="equal", adjustable="datalim")
        row[0].legend(fontsize=8)
        for ax, (title, (F, G)) in zip(row[1:], features.items(), strict=True):
            image = ax.imshow(_dots.joint_affinity(F, G), cmap="magma", vmin=0, vmax=1)
            ax.axhline(29.5, color="white", linewidth=1)
            ax.axvline(29.5, color="white", linewidth=1)
            ax.set(title=title, xticks=range(0, 60, 10), yticks=range(0, 60, 10))
    figure.colorbar(image, ax=axes[:, 1:], shrink=0.3, label="affinity")
    figure.savefig(path, dpi=80)
    print(f"figure: {path}")


def main():
    """Run every case with every method and print the tables."""
    parser = _runs.make_parser(__doc__, seeds=20)
    parser.add_argument("--figure", metavar="FILE", default="didactic.png")
    args = parser.parse_args()
    seeds = range(args.seeds)
    settings = _runs.grid(case=CASES, method=METHODS, seed=seeds)
    runs = _runs.run(settings, run_case, "cases")
    cases = summarize(runs, ["case", "method"])
    title = (
        f"Landmarks: the 30 dots. Queries: {_dots.N_QUERIES} fresh dots, "
        f"{args.seeds} seeds, mean ± standard deviation"
    )
    _runs.print_table(title, cases)
    settings = _runs.grid(landmarks=FEW_LANDMARKS, seed=seeds)
    runs = _runs.run(settings, run_few_landmarks, "few landmarks")
    few = summarize(runs, ["landmarks"])
    _runs.print_table("Few landmarks: isotropic, c=0.3", few)
    _runs.write_json(args.json, cases=cases, few_landmarks=few)
    draw(args.figure)


if __name__ == "__main__":
    main()

"""Dense features of two networks at two depths: the same patch, before and after.

    python benchmarks/dense_features.py
    python benchmarks/dense_features.py --images faces --seeds 1
    python benchmarks/dense_features.py --networks timm:vit_small_patch16_224.dino lite0

Rows are patches. Landmarks are the same patches in every view, of other images than
those shown and measured; aligners see nothing else. Measured on the shown patches: how
often a patch finds itself in another network or depth; how well colours agree, whose
axes are fitted on the landmarks alone, by one rule before and after; whether patches
of one colour are at one place of a face or garment. Beside these stand controls:
landmarks paired at random, an untrained network, and colours without what their place
in the image explains. What a method of retrieval leaves open is chosen on other patches
of the images that landmarks come from.
"""

import argparse
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from _data import NETWORKS
from _dense import IMAGES, dense_features
from _report import print_table, spread, write_json
from didactic import CentredCosine
from retrieval import run_method, settings
from rich.progress import Progress
from sklearn.base import clone
from sklearn.metrics.pairwise import euclidean_distances

from sklearn_featalign import KernelGCCAAligner, RBFAutoScaleAligner
from sklearn_featalign.displays import FeatureColorDisplay, feature_colors
from sklearn_featalign.metrics import concordance_correlation

RIDGE, GCCA = "RBFAutoScaleAligner ridge", "KernelGCCAAligner"
RETRIEVAL = ("relative, centred", "RBFAutoScaleAligner", RIDGE, GCCA)
COLORS = {
    "before": None,
    "relative, centred": CentredCosine,
    "RBFAutoScaleAligner c=0.05": RBFAutoScaleAligner(c=0.05),
    RIDGE: RBFAutoScaleAligner(normalize="ridge"),
    GCCA: KernelGCCAAligner(hub_neighbors=0),
}
SHUFFLED = (RIDGE, GCCA)
PARTS = ("faces", "garments")
N_VALIDATION = 1000
N_DRAWN = 6


def color(method, landmarks, views, mask):
    """Return colours of patches of each view by a method of `COLORS`."""
    if method == "before":
        return feature_colors(views, landmarks, mask=mask)
    maps = fit_maps(COLORS[method], landmarks)
    return feature_colors(
        {name: f(rows) for f, (name, rows) in zip(maps, views.items(), strict=True)},
        [f(rows) for f, rows in zip(maps, landmarks, strict=True)],
        mask=mask,
    )


def fit_maps(aligner, landmarks):
    """Return for each view the map to features, fitted on landmarks of all views."""
    if aligner is CentredCosine:
        return [CentredCosine().fit(rows).transform for rows in landmarks]
    views = [rows.shape[1] for rows in landmarks]
    aligner = clone(aligner).set_params(views=views, n_landmarks=None)
    aligner.fit(np.hstack(landmarks))
    return [partial(aligner.transform_view, view=i) for i in range(len(views))]


def shuffle(landmarks, seed):
    """Return landmarks with those of each view in an order of its own."""
    rng = np.random.default_rng(seed)
    return [rng.permutation(rows) for rows in landmarks]


def measure_colors(colors, images, mask, with_parts):
    """Return how well colours agree, and what of that place and image explain.

    Parameters
    ----------
    colors : dict of str to ndarray of shape (n_patches, 3)
        By view, whose names begin with that of the network.
    images : Images
    mask : ndarray of bool of shape (n_patches,)
    with_parts : bool
        Whether images of one class show the same parts at about the same place.
    """
    grid = images.foreground.shape
    colors = {name: C.reshape(*grid, 3) for name, C in colors.items()}
    pairs = list(combinations(colors, 2))
    across = [(a, b) for a, b in pairs if a.split()[0] != b.split()[0]]
    shown = mask.reshape(grid)

    def agreement(values, pairs):
        return np.mean(
            [
                concordance_correlation(values[a][shown], values[b][shown])
                for a, b in pairs
            ]
        )

    result = {
        "agreement": agreement(colors, pairs),
        "across networks": agreement(colors, across),
        "within images": agreement(without_mean(colors, (1, 2)), pairs),
        "without place": agreement(without_mean(colors, 0), pairs),
    }
    if with_parts:
        same = [part_distance(C, C, images) for C in colors.values()]
        cross = [part_distance(colors[a], colors[b], images) for a, b in pairs]
        result |= {"part, same view": np.mean(same), "part, across": np.mean(cross)}
    return result


def without_mean(colors, axis):
    """Return colours less their mean over an axis, of patches that are shown."""
    centred = {}
    for name, C in colors.items():
        count = (~np.isnan(C)).sum(axis, keepdims=True)
        centred[name] = C - np.nansum(C, axis, keepdims=True) / np.maximum(count, 1)
    return centred


def part_distance(C, D, images):
    """Return how far in an image the nearest colour of another one is from a patch.

    Parameters
    ----------
    C, D : ndarray of shape (n_images, n_rows, n_columns, 3)
        Colours in one view, and in that where the nearest is looked for: in each of the
        other images of the same class.
    images : Images

    Returns
    -------
    distance : float
        Mean distance in the grid, as a multiple of that to all patches shown.
    """
    places = np.stack(np.indices(C.shape[1:3]), axis=-1)
    shown = [~np.isnan(tile[..., 0]) for tile in C]
    nearest, anywhere = [], []
    for i, j in np.argwhere(images.classes[:, None] == images.classes):
        if i == j or not (shown[i].any() and shown[j].any()):
            continue
        found = euclidean_distances(C[i][shown[i]], D[j][shown[j]]).argmin(1)
        here, there = (places[shown[k]] for k in (i, j))
        nearest.append(np.linalg.norm(here - there[found], axis=1).mean())
        anywhere.append(euclidean_distances(here, there).mean())
    return np.mean(nearest) / np.mean(anywhere)


class Patches:
    """Dense features of the images shown and of others, in one table by view.

    Parameters
    ----------
    kind : str
        Of `IMAGES`, and "photographs, unrelated landmarks".
    networks : sequence of str
        As for `_dense.dense_features`.
    """

    def __init__(self, kind, networks):
        self.kind = kind
        self.shown, other = IMAGES[kind.split(",")[0]]()
        pixels = np.concatenate([self.shown.pixels, other.pixels])
        self.views = {
            f"{name} {depth}".strip(): features
            for name in networks
            for depth, features in dense_features(pixels, name).items()
        }
        foreground = self.shown.foreground.ravel()
        self.n_shown = len(foreground)
        self.shown_rows = np.flatnonzero(foreground)
        self.other_rows = self.n_shown + np.flatnonzero(other.foreground)
        if kind == "photographs":
            self.other_rows = self.shown_rows

    def draw(self, n_landmarks, seed, n_validation=0):
        """Return random landmarks, rows for validation, and the rest of those shown.

        Patches that are equal in any view, such as those of an even sky, are one.
        """
        order = np.random.default_rng(seed).permutation(self.other_rows)
        keep = np.ones(len(order), dtype=bool)
        for features in self.views.values():
            keep &= ~pd.DataFrame(features[order]).duplicated().to_numpy()
        order = order[keep][: n_landmarks + n_validation]
        if len(order) < n_landmarks + n_validation:
            raise SystemExit(f"{self.kind} has only {len(order)} different patches.")
        rest = np.setdiff1d(self.shown_rows, order)
        return order[:n_landmarks], order[n_landmarks:], rest

    def take(self, names, rows):
        """Return rows of some views."""
        return [self.views[name][rows] for name in names]


def compare_retrieval(patches, pairs, n_landmarks, seeds, advance):
    """Return one row of a table for each pair of views, method and seed."""
    runs = []

    def run(label, method, pair, paired, *rows):
        setting = {"images": patches.kind, "pair": " - ".join(pair), "method": label}
        found = run_method(method, paired, *(patches.take(pair, r) for r in rows))
        runs.append(setting | found)
        advance()

    for seed in seeds:
        landmarks, *rows = patches.draw(n_landmarks, seed, N_VALIDATION)
        for pair in pairs:
            for method in RETRIEVAL:
                run(method, method, pair, patches.take(pair, landmarks), *rows)
        paired = shuffle(patches.take(pairs[0], landmarks), seed)
        for method in SHUFFLED:
            run(f"{method}, shuffled", method, pairs[0], paired, *rows)
    return runs


def compare_colors(patches, trained, controls, n_landmarks, seeds, advance):
    """Return one row of a table for each method and seed, controls at the end."""
    with_parts = patches.kind in PARTS
    runs = []
    for seed in seeds:
        landmarks, _, queries = patches.draw(n_landmarks, seed)
        mask = np.isin(np.arange(patches.n_shown), queries)

        def measure(label, method, names, rows, mask=mask):
            views = dict(
                zip(names, patches.take(names, slice(patches.n_shown)), strict=True)
            )
            colors = color(method, rows, views, mask)
            measured = measure_colors(colors, patches.shown, mask, with_parts)
            setting = {"images": patches.kind, "method": label}
            runs.append(setting | measured)
            advance()

        rows = patches.take(trained, landmarks)
        for method in COLORS:
            measure(method, method, trained, rows)
        for method in SHUFFLED:
            measure(f"{method}, shuffled", method, trained, shuffle(rows, seed))
        for method in SHUFFLED:
            rows = patches.take(controls, landmarks)
            measure(f"{method}, untrained partner", method, controls, rows)
    return runs


def summarize_retrieval(runs):
    """Return a row for each pair and method: mean and spread over the seeds."""
    table = []
    for (images, pair, method), group in pd.DataFrame(runs).groupby(
        ["images", "pair", "method"], sort=False
    ):
        row = {"images": images, "pair": pair, "method": method}
        row |= {k: spread(group[k], digits=1) for k in ("top-1 %", "top-10 %")}
        table.append(row | {"chosen": settings(group["chosen"])})
    return table


def summarize_colors(runs):
    """Return a row for each method: mean and spread over the seeds."""
    table = []
    for (images, method), group in pd.DataFrame(runs).groupby(
        ["images", "method"], sort=False
    ):
        row = {"images": images, "method": method}
        for measure in group.columns[2:]:
            known = group[measure].notna().all()
            row[measure] = spread(group[measure], scale=1) if known else ""
        table.append(row)
    return table


def draw(patches, trained, n_landmarks, path):
    """Draw images in colours, before and after both aligners."""
    import matplotlib.pyplot as plt

    landmarks, _, queries = patches.draw(n_landmarks, seed=0)
    mask = np.isin(np.arange(patches.n_shown), queries)
    grid = patches.shown.foreground.shape
    rows = patches.take(trained, landmarks)
    views = patches.take(trained, slice(patches.n_shown))
    # Of each class some, but the agreement is that of all.
    first = np.linspace(0, grid[0] - 1, N_DRAWN).astype(int)
    order = [*first, *np.setdiff1d(np.arange(grid[0]), first)]
    figure, axes = plt.subplots(1, 3, figsize=(15, 4), layout="constrained")
    for ax, method in zip(axes, ("before", RIDGE, GCCA), strict=True):
        colors = color(method, rows, dict(zip(trained, views, strict=True)), mask)
        FeatureColorDisplay(
            colors={name: C.reshape(*grid, 3)[order] for name, C in colors.items()},
            images=patches.shown.pixels[order],
        ).plot(ax, title=method, max_images=N_DRAWN)
    figure.savefig(path, dpi=100)
    print(f"figure: {path}")


def make_parser():
    """Return the parser of the command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    kinds = [*IMAGES, "photographs, unrelated landmarks"]
    parser.add_argument("--images", nargs="+", choices=kinds, default=kinds)
    parser.add_argument(
        "--networks",
        nargs=2,
        default=["lite0", "lite2"],
        help="two of lite0, lite1, lite2, timm:NAME (default: %(default)s)",
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--n-landmarks", type=int, default=1000, help="for retrieval")
    parser.add_argument("--n-landmarks-colors", type=int, default=500)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--figures", metavar="FOLDER", default=".")
    return parser


def main():
    """Measure, print the tables and draw the figures."""
    args = make_parser().parse_args()
    seeds = range(args.seeds)
    retrieval, colors = [], []
    for kind in args.images:
        first, second = args.networks
        extra = [f"{second}-native"] if second in NETWORKS else []
        patches = Patches(kind, [first, second, *extra, "untrained", "pixels"])
        views = list(patches.views)
        (a, b), (c, d) = (
            [name for name in views if name.split()[0] == network]
            for network in (first, second)
        )
        pairs = [(a, c), (b, d), (a, b), (a, "pixels"), (a, "untrained s16")]
        pairs += [(a, f"{name} s16") for name in extra]
        with Progress() as progress:
            n_runs = len(pairs) * len(RETRIEVAL) + len(COLORS) + 3 * len(SHUFFLED)
            task = progress.add_task(kind, total=n_runs * len(seeds))
            advance = partial(progress.advance, task)
            retrieval += compare_retrieval(
                patches, pairs, args.n_landmarks, seeds, advance
            )
            trained, controls = [a, b, c, d], [a, b, "untrained s16", "untrained s32"]
            colors += compare_colors(
                patches, trained, controls, args.n_landmarks_colors, seeds, advance
            )
        name = f"dense_{kind.replace(', ', '_').replace(' ', '_')}.png"
        draw(patches, trained, args.n_landmarks_colors, Path(args.figures, name))
    tables = {
        f"Same patch found, {args.n_landmarks} landmarks": summarize_retrieval(
            retrieval
        ),
        f"Colours, {args.n_landmarks_colors} landmarks, four views": summarize_colors(
            colors
        ),
    }
    for title, table in tables.items():
        print_table(title, table)
    if args.json:
        write_json(args.json, retrieval=retrieval, colors=colors, tables=tables)


if __name__ == "__main__":
    main()

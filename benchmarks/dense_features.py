"""Measures whether aligned dense features of two networks agree, patch by patch.

    python benchmarks/dense_features.py
    python benchmarks/dense_features.py --images faces --seeds 1
    python benchmarks/dense_features.py --networks timm:vit_small_patch16_224.dino lite0

Rows are patches, and views are two depths of two networks. Landmarks are the same
patches in every view, of other images than those shown and measured; aligners see
nothing else. Three things are measured on the shown patches, before and after
alignment: how often a patch finds itself in another view; how well colours agree, whose
axes are fitted to the landmarks alone; and whether patches of one colour are at one
place of a face or garment. The controls are landmarks paired at random, an untrained
network, and colours without the part that the place in the image explains. The
hyperparameters of a method are chosen by retrieval on other patches of the landmarks'
images.
"""

from functools import partial
from itertools import chain, combinations
from pathlib import Path

import _runs
import numpy as np
import pandas as pd
from _dense import IMAGES, dense_features
from _methods import RelativeRepresentations, measure_retrieval
from _networks import EFFICIENTNETS
from sklearn.base import clone
from sklearn.metrics.pairwise import euclidean_distances

from sklearn_featalign import KernelGCCAAligner, RBFAutoScaleAligner
from sklearn_featalign.displays import FeatureColorDisplay, feature_colors
from sklearn_featalign.metrics import concordance_correlation

RIDGE, GCCA = "RBFAutoScaleAligner ridge", "KernelGCCAAligner"
RETRIEVAL = ("relative, centred", "RBFAutoScaleAligner", RIDGE, GCCA)
COLORS = {
    "before": None,
    "relative, centred": RelativeRepresentations(),
    "RBFAutoScaleAligner c=0.05": RBFAutoScaleAligner(c=0.05),
    RIDGE: RBFAutoScaleAligner(normalize="ridge"),
    GCCA: KernelGCCAAligner(hub_neighbors=0),
}
SHUFFLED = (RIDGE, GCCA)
PARTS = ("faces", "garments")
AGREEMENTS = ("agreement", "across networks", "within images", "without place")
COLOR_MEASURES = (*AGREEMENTS, "part, same view", "part, across")
N_VALIDATION = 1000
N_DRAWN = 6


def color(method, landmarks, views, mask):
    """Return the colours of patches in each view by a method of `COLORS`."""
    if method == "before":
        return feature_colors(views, landmarks, mask=mask)
    maps = fit_maps(COLORS[method], landmarks)
    landmarks = [f(rows) for f, rows in zip(maps, landmarks, strict=True)]
    features = [f(rows) for f, rows in zip(maps, views.values(), strict=True)]
    return feature_colors(dict(zip(views, features, strict=True)), landmarks, mask=mask)


def fit_maps(aligner, landmarks):
    """Return each view's map to features, fitted on landmarks of all views."""
    if isinstance(aligner, RelativeRepresentations):
        return [clone(aligner).fit(rows).transform for rows in landmarks]
    views = [rows.shape[1] for rows in landmarks]
    aligner = clone(aligner).set_params(views=views, n_landmarks=None)
    aligner.fit(np.hstack(landmarks))
    return [partial(aligner.transform_view, view=i) for i in range(len(views))]


def shuffle(landmarks, seed):
    """Return landmarks that are permuted in each view, so that they are not paired."""
    rng = np.random.default_rng(seed)
    return [rng.permutation(rows) for rows in landmarks]


def measure_colors(colors, images, mask, with_parts):
    """Return the agreement of colours, in all and without what place or image explain.

    Colours of patches are by view, whose name begins with that of the network. Parts
    are measured if images of one class show them at about the same place.
    """
    grid = images.foreground.shape
    colors = {name: C.reshape(*grid, 3) for name, C in colors.items()}
    pairs = list(combinations(colors, 2))
    across = [(a, b) for a, b in pairs if a.split()[0] != b.split()[0]]
    shown = mask.reshape(grid)
    result = {
        "agreement": agreement(colors, pairs, shown),
        "across networks": agreement(colors, across, shown),
        "within images": agreement(without_mean(colors, (1, 2)), pairs, shown),
        "without place": agreement(without_mean(colors, 0), pairs, shown),
    }
    if with_parts:
        same = [part_distance(C, C, images) for C in colors.values()]
        cross = [part_distance(colors[a], colors[b], images) for a, b in pairs]
        result |= {"part, same view": np.mean(same), "part, across": np.mean(cross)}
    return result


def agreement(colors, pairs, shown):
    """Return the mean concordance of the colours in pairs of views."""
    return np.mean(
        [concordance_correlation(colors[a][shown], colors[b][shown]) for a, b in pairs]
    )


def without_mean(colors, axis):
    """Return colours less their mean over an axis; NaN is left out and stays NaN."""
    centred = {}
    for name, C in colors.items():
        count = (~np.isnan(C)).sum(axis, keepdims=True)
        centred[name] = C - np.nansum(C, axis, keepdims=True) / np.maximum(count, 1)
    return centred


def part_distance(C, D, images):
    """Return the distance from patches to those of the nearest colour in other images.

    The colours in C are searched for in D, another view of shape (n_images, n_rows,
    n_columns, 3), in each of the other images of the same class. The mean distance in
    the grid of patches is relative to that of all patches shown.
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
    """Dense features of the images shown, followed by those of other images, by view.

    The kind is a key of `IMAGES` or "photographs, unrelated landmarks". Networks are
    named as for `_dense.dense_features`.
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
        """Return random landmarks, rows for validation, and the other rows shown.

        Only one is drawn of patches that are equal in any view, as in an even sky.
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


def compare_retrieval(patches, pairs, n_landmarks, seeds):
    """Return a run for each seed, pair of views and method, shuffled landmarks last."""
    pairs = {" - ".join(pair): pair for pair in pairs}
    shuffled = [f"{method}, shuffled" for method in SHUFFLED]
    settings = []
    for seed in seeds:
        fixed = {"images": [patches.kind], "seed": [seed]}
        settings += _runs.grid(**fixed, pair=pairs, method=RETRIEVAL)
        settings += _runs.grid(**fixed, pair=list(pairs)[:1], method=shuffled)
    drawn = {seed: patches.draw(n_landmarks, seed, N_VALIDATION) for seed in seeds}
    measure = partial(measure_pair, patches, pairs, drawn)
    return _runs.run(settings, measure, "retrieval")


def measure_pair(patches, pairs, drawn, images, seed, pair, method):
    """Return the retrieval of a method across a pair of views."""
    paired, validation, test = (patches.take(pairs[pair], rows) for rows in drawn[seed])
    if method.endswith(", shuffled"):
        paired = shuffle(paired, seed)
    name = method.removesuffix(", shuffled")
    return measure_retrieval(name, paired, validation, test)


def compare_colors(patches, trained, controls, n_landmarks, seeds):
    """Return a run for each seed and method, controls last."""
    methods = [*COLORS, *(f"{method}, shuffled" for method in SHUFFLED)]
    methods += [f"{method}, untrained partner" for method in SHUFFLED]
    settings = _runs.grid(images=[patches.kind], seed=seeds, method=methods)
    drawn = {seed: patches.draw(n_landmarks, seed) for seed in seeds}
    measure = partial(measure_method, patches, trained, controls, drawn)
    return _runs.run(settings, measure, "colours")


def measure_method(patches, trained, controls, drawn, images, seed, method):
    """Return the measures of the colours that a method gives to patches."""
    names = controls if method.endswith(", untrained partner") else trained
    landmarks, _, queries = drawn[seed]
    rows = patches.take(names, landmarks)
    if method.endswith(", shuffled"):
        rows = shuffle(rows, seed)
    mask = np.isin(np.arange(patches.n_shown), queries)
    shown = patches.take(names, slice(patches.n_shown))
    views = dict(zip(names, shown, strict=True))
    name = method.removesuffix(", untrained partner").removesuffix(", shuffled")
    colors = color(name, rows, views, mask)
    return measure_colors(colors, patches.shown, mask, patches.kind in PARTS)


def summarize_retrieval(runs):
    """Return a row for each pair and method: mean and spread over the seeds."""
    columns = dict.fromkeys(("top-1 %", "top-10 %"), partial(_runs.percent, digits=1))
    columns["chosen"] = _runs.chosen_values
    return _runs.table(runs, ["images", "pair", "method"], columns)


def summarize_colors(runs):
    """Return a row for each method: mean and spread over the seeds."""
    columns = dict.fromkeys(COLOR_MEASURES, _runs.spread)
    return _runs.table(runs, ["images", "method"], columns)


def draw(patches, trained, n_landmarks, path):
    """Draw images in the colours of features, before and after both aligners."""
    import matplotlib.pyplot as plt

    landmarks, _, queries = patches.draw(n_landmarks, seed=0)
    mask = np.isin(np.arange(patches.n_shown), queries)
    grid = patches.shown.foreground.shape
    rows = patches.take(trained, landmarks)
    views = patches.take(trained, slice(patches.n_shown))
    # The images drawn come first; the agreement in the title is that of all.
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


def parse_arguments():
    """Return the command line's arguments."""
    parser = _runs.make_parser(__doc__, seeds=3)
    kinds = [*IMAGES, "photographs, unrelated landmarks"]
    parser.add_argument("--images", nargs="+", choices=kinds, default=kinds)
    parser.add_argument(
        "--networks",
        nargs=2,
        default=["lite0", "lite2"],
        help="two of lite0, lite1, lite2, timm:NAME (default: %(default)s)",
    )
    parser.add_argument("--n-landmarks", type=int, default=1000, help="for retrieval")
    parser.add_argument("--n-landmarks-colors", type=int, default=500)
    parser.add_argument("--figures", metavar="FOLDER", default=".")
    return parser.parse_args()


def compare(kind, args):
    """Measure images of a kind and draw them; return runs of retrieval and colours."""
    first, second = args.networks
    extra = [f"{second}-native"] if second in EFFICIENTNETS else []
    patches = Patches(kind, [first, second, *extra, "untrained", "pixels"])
    (a, b), (c, d) = (
        [name for name in patches.views if name.split()[0] == network]
        for network in (first, second)
    )
    pairs = [(a, c), (b, d), (a, b), (a, "pixels"), (a, "untrained s16")]
    pairs += [(a, f"{name} s16") for name in extra]
    trained, controls = [a, b, c, d], [a, b, "untrained s16", "untrained s32"]
    seeds, n_landmarks = range(args.seeds), args.n_landmarks_colors
    retrieval = compare_retrieval(patches, pairs, args.n_landmarks, seeds)
    colors = compare_colors(patches, trained, controls, n_landmarks, seeds)
    name = f"dense_{kind.replace(', ', '_').replace(' ', '_')}.png"
    draw(patches, trained, n_landmarks, Path(args.figures, name))
    return retrieval, colors


def main():
    """Measure, print the tables and draw the figures."""
    args = parse_arguments()
    of_kinds = [compare(kind, args) for kind in args.images]
    retrieval, colors = (list(chain(*runs)) for runs in zip(*of_kinds, strict=True))
    n_retrieval, n_colors = args.n_landmarks, args.n_landmarks_colors
    tables = {
        f"Same patch found, {n_retrieval} landmarks": summarize_retrieval(retrieval),
        f"Colours, {n_colors} landmarks, four views": summarize_colors(colors),
    }
    for title, rows in tables.items():
        _runs.print_table(title, rows)
    _runs.write_json(args.json, retrieval=retrieval, colors=colors, tables=tables)


if __name__ == "__main__":
    main()

"""Compares methods by search between pictures and texts: emoji, in four languages.

    python benchmarks/pictures_and_words.py
    python benchmarks/pictures_and_words.py --encoder minilm --languages en
    python benchmarks/pictures_and_words.py --encoder minilm --figure words.png

The image network and the text encoder were not trained together. Each seed draws the
paired emoji; all others are searched, and their texts are names with keywords. What
methods other than ours choose, they choose by mean reciprocal rank on a fifth of the
pairs, and they are then fitted on all of them. Corrections for hubs are those of
retrieval.py. The seconds are those of both fits and of all settings.

Pairs in the first language are searched in all of them, and pairs in the others in
their own. Two controls have pairs with shuffled partners, and pairs of other kinds than
what is searched, by Unicode's subgroups: no bird is among the pairs when birds are
searched. The figure shows what a few words find, without any table.
"""

import time
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from _data import load_features, load_inputs
from _encoders import encode
from _methods import (
    METHODS,
    RETRIEVAL_MEASURES,
    choose_inside,
    fit_gcca,
    score_choices,
)
from _runs import (
    grid,
    make_parser,
    median_text,
    percent,
    print_table,
    run,
    spread,
    table,
    write_json,
)
from sklearn.metrics.pairwise import cosine_similarity

LANGUAGES = ("en", "fr", "es", "de")
DIRECTIONS = ("picture to text", "text to picture")
N_EMOJI = 10000
# The first that came to mind, whatever they find.
WORDS = (
    "a farm animal",
    "something to drink",
    "winter",
    "a vehicle with two wheels",
    "love",
    "tools of a craftsman",
    "at the beach",
    "fruit",
    "an angry face",
    "time of day",
    "music",
    "sports with a ball",
)
N_SHOWN = 5
PAIRS = ("at random", "with shuffled partners", "of other kinds")
PEERS = (
    "KernelGCCAAligner",
    "HalfSharedMLPAligner from kernels",
    "RBFAutoScaleAligner ridge",
    "relative, centred",
    "orthogonal Procrustes",
    "ridge, query to gallery",
    "ridge, gallery to query",
    "regularised CCA",
    "kernel CCA",
)


def split(kinds, n_paired, seed, pairs):
    """Return the indices of the paired rows and of those that are searched.

    Of other kinds, rows come kind by kind, and the kind at the end of the pairs is not
    searched.
    """
    rng = np.random.default_rng(1000 + seed)
    order = rng.permutation(len(kinds))
    if pairs != "of other kinds":
        return order[:n_paired], order[n_paired:]
    names, numbers = np.unique(kinds, return_inverse=True)
    places = rng.permutation(len(names))[numbers]
    order = order[np.argsort(places[order], kind="stable")]
    paired, searched = order[:n_paired], order[n_paired:]
    return paired, searched[kinds[searched] != kinds[paired[-1]]]


def measure(emoji, n_paired, languages, centre, seed, method, direction, pairs):
    """Return the measures of a method, for searches in each of some languages.

    Parameters
    ----------
    emoji : dict of str to ndarray
        The features of the pictures, of the texts by language, and the kinds.
    n_paired : int
    languages : tuple of str
        Those of the searches; the texts of the pairs are in the first.
    centre : bool
        Whether texts of other languages are moved by the difference of the means of the
        languages, which needs texts of both, but not of the same emoji.
    seed, method
    direction : str
        What is searched with what, of `DIRECTIONS`.
    pairs : str
        Of `PAIRS`.
    """
    paired, searched = split(emoji["kinds"], n_paired, seed, pairs)
    partners = paired
    if pairs == "with shuffled partners":
        partners = np.random.default_rng(seed).permutation(paired)
    backward = direction == DIRECTIONS[1]
    fitted = in_order(
        emoji["pictures"][paired], emoji[languages[0]][partners], backward
    )
    start = time.perf_counter()
    best = choose_inside(method, fitted)
    common = {"emoji": len(searched), "seconds": time.perf_counter() - start}
    runs = []
    for language in languages:
        texts = emoji[language][searched]
        if centre:
            means = (emoji[k][paired].mean(0) for k in (languages[0], language))
            texts = texts + np.subtract(*means)
        views = emoji["pictures"][searched], texts
        found = score_choices(method, best, fitted[0], in_order(*views, backward))
        runs.append({"pairs in": languages[0], "search in": language} | common | found)
    return runs


def in_order(pictures, texts, backward):
    """Return queries and what is searched."""
    return (texts, pictures) if backward else (pictures, texts)


def load(network, encoder, languages):
    """Return the features of pictures, of texts by language, and kinds, as a dict."""
    pictures, kinds = load_features("emoji", network, N_EMOJI)
    texts = {
        language: load_features("emoji", f"{encoder}:{language}", N_EMOJI)[0]
        for language in languages
    }
    return {"pictures": pictures, "kinds": kinds} | texts


def compare(emoji, n_paired, languages, centre, settings, title):
    """Run settings for pairs in the first language, and print a table."""
    runs = run(settings, partial(measure, emoji, n_paired, languages, centre), title)
    measures = dict.fromkeys(RETRIEVAL_MEASURES, partial(percent, digits=1))
    by = ["pairs in", "search in", "direction", "pairs", "method"]
    measures = {"emoji": partial(spread, digits=0)} | measures
    rows = table(runs, by, measures | {"seconds": median_text})
    print_table(title, rows)
    return runs, rows


def search(words, network, encoder, n_paired, seed=0):
    """Return the nearest pictures to words before and after alignment.

    The words are those of a search, not of any emoji. Before alignment, the columns of
    a word are compared with as many columns of a picture.

    Returns
    -------
    found : dict of str to ndarray of shape (n_words, 5, height, width, 3)
        Pictures, "before" and "after". None of them is among the pairs.
    """
    features = load(network, encoder, ("en",))
    pictures, texts = features["pictures"], features["en"]
    paired, searched = split(features["kinds"], n_paired, seed, PAIRS[0])
    images, _ = load_inputs("emoji", network, N_EMOJI)
    aligner = fit_gcca({"picture": pictures[paired], "text": texts[paired]})
    queries = encode(words, encoder)
    width = min(queries.shape[1], pictures.shape[1])
    similarities = {
        "before": cosine_similarity(queries[:, :width], pictures[searched][:, :width]),
        "after": aligner.transform_view(queries, "text")
        @ aligner.transform_view(pictures[searched], "picture").T,
    }
    return {
        name: images[searched][np.argsort(-S, axis=1, kind="stable")[:, :N_SHOWN]]
        for name, S in similarities.items()
    }


def draw(words, found):
    """Return a figure with a row for each word: what it finds before and after."""
    height = 0.5 * (len(words) + 1)
    figure, axes = plt.subplots(
        1, 2, figsize=(7.6, height), layout="constrained", sharey=True
    )
    for ax, (name, pictures) in zip(axes, found.items(), strict=True):
        side = pictures.shape[2]
        ax.imshow(np.vstack([np.hstack(row) for row in pictures]))
        ax.set_title(f"{name} alignment")
        ax.set_xticks([])
        ax.set_yticks(side * (np.arange(len(words)) + 0.5), words)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    return figure


def main():
    """Compare the methods and print a table for each language of pairs and control."""
    parser = make_parser(__doc__, seeds=3)
    parser.add_argument("--network", default="mobilenet")
    parser.add_argument("--encoder", default="e5")
    parser.add_argument("--languages", nargs="+", default=LANGUAGES)
    parser.add_argument("--n-paired", type=int, default=800)
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=PAIRS)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=PEERS)
    parser.add_argument("--centre", action="store_true", help="the languages")
    parser.add_argument("--figure", metavar="FILE.png", help="in place of tables")
    args = parser.parse_args()
    if args.figure:
        found = search(WORDS, args.network, args.encoder, args.n_paired)
        draw(WORDS, found).savefig(args.figure, dpi=150)
        return
    first, *others = args.languages
    emoji = load(args.network, args.encoder, args.languages)
    runs, tables = [], {}
    for pairs in args.pairs:
        # All languages are searched with pairs in the first, and each with its own.
        plain = pairs == PAIRS[0]
        cases = [tuple(args.languages)] if plain else [(first,)]
        cases += [(language,) for language in others] if plain else []
        settings = grid(
            pairs=[pairs],
            direction=DIRECTIONS,
            method=args.methods,
            seed=range(args.seeds),
        )
        for languages in cases:
            title = (
                f"{args.network} and {args.encoder}, {args.n_paired} pairs {pairs} in "
                f"{languages[0]}, {args.seeds} seeds"
            )
            found, tables[title] = compare(
                emoji, args.n_paired, languages, args.centre, settings, title
            )
            runs += found
            write_json(args.json, runs=runs, tables=tables)


if __name__ == "__main__":
    main()

"""Pairs of networks' features of the same rows: sources, splits, and comparisons."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _data import DATA, load_features, subsample
from _encoders import ENCODERS
from _methods import METHODS
from _networks import NETWORKS
from _runs import make_parser, print_table, run, write_json

PAIRS = ("lite0-lite1", "lite0-lite2", "lite0-pixels", "lite0-random")
TEXT_PAIRS = (
    "wordllama-minilm",
    "e5-minilm",
    "glove-minilm",
    "wordllama-e5",
    "glove-e5",
    "glove-wordllama",
)


class Pair(NamedTuple):
    """Features A and B of the same rows, and labels or None."""

    name: str
    A: np.ndarray
    B: np.ndarray
    y: np.ndarray | None

    def take(self, rows):
        """Return some rows of A and of B."""
        return self.A[rows], self.B[rows]


class Split(NamedTuple):
    """Indices of paired, validation and test rows, and of a classifier's rows."""

    paired: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    labelled: np.ndarray


def make_pair_parser(doc, n_paired, methods=METHODS):
    """Return a parser with the options that all commands about pairs have in common."""
    parser = make_parser(doc, seeds=3)
    parser.add_argument("--data", choices=DATA, default="fashion-mnist")
    parser.add_argument(
        "--pairs",
        nargs="+",
        metavar="FIRST-SECOND",
        help=f"of pixels, random, {', '.join(NETWORKS)}, timm:NAME, or of "
        f"{', '.join(ENCODERS)} for wordnet (default: {' '.join(PAIRS)}; "
        f"{' '.join(TEXT_PAIRS)})",
    )
    parser.add_argument("--a", metavar="A.npy", help="your own features of one network")
    parser.add_argument("--b", metavar="B.npy", help="and of another, of the same rows")
    parser.add_argument("--labels", metavar="y.npy")
    parser.add_argument("--n-samples", type=int, default=12000, help="at most")
    parser.add_argument("--n-paired", type=int, nargs="+", default=n_paired)
    parser.add_argument("--methods", nargs="+", choices=methods, default=list(methods))
    return parser


def load_pairs(args):
    """Yield the pairs that the options of a command select."""
    if args.a or args.b:
        yield load_files(args.a, args.b, args.labels, args.n_samples)
        return
    for name in args.pairs or (TEXT_PAIRS if args.data == "wordnet" else PAIRS):
        # Names of timm may contain hyphens, but no colon.
        first, _, second = name.partition("-timm:")
        first, second = (first, f"timm:{second}") if second else name.rsplit("-", 1)
        A, y = load_features(args.data, first, args.n_samples)
        B, _ = load_features(args.data, second, args.n_samples)
        yield Pair(name, A, B, y)


def load_files(path_a, path_b, path_y, n_samples):
    """Return a pair from files, of at most `n_samples` rows drawn at random."""
    if not (path_a and path_b):
        raise SystemExit("--a and --b go together.")
    files = [np.load(path) for path in (path_a, path_b, path_y) if path]
    lengths = [len(values) for values in files]
    if len(set(lengths)) > 1:
        raise SystemExit(f"The files differ in their numbers of rows: {lengths}.")
    A, B, *y = subsample(*files, n_samples=n_samples)
    # Sums of squares overflow in half precision.
    A, B = (X.astype(np.float32) if X.dtype == np.float16 else X for X in (A, B))
    name = f"{Path(path_a).stem}-{Path(path_b).stem}"
    return Pair(name, A, B, y[0] if y else None)


def split_rows(n_rows, n_paired, seed, n_labelled=0, n_test=2000, n_validation=1000):
    """Return disjoint random rows for a seed.

    If there are too few rows, validation takes what the test leaves, or a third of
    those that paired and labelled rows leave if that is more, and the test takes the
    rest. Rows are in random order, so that the first of the paired ones are a random
    choice too.
    """
    left = n_rows - n_paired - n_labelled
    n_validation = min(n_validation, max(left // 3, left - n_test))
    n_test = min(n_test, left - n_validation)
    if n_test < 10:
        raise SystemExit(
            f"{n_rows} rows are too few for {n_paired} paired ones and {n_labelled} "
            "labelled ones: see --n-paired."
        )
    sizes = (n_paired, n_validation, n_test, n_labelled)
    rows = np.random.default_rng(1000 + seed).permutation(n_rows)
    return Split(*np.split(rows, np.cumsum(sizes))[:4])


def compare_pairs(args, settings, measure, summarize, title, why_not=None):
    """Measure settings on each pair; print a table for each number of paired rows.

    Runs of settings (list of dict) without the key "paired rows" are part of each
    table. Measure takes a pair, and a setting as keyword arguments; summarize takes
    runs and returns a table. The title is a format with the keys of a run, and "seeds".
    Why_not takes what measure takes; where it returns a reason, the setting is left out
    and the reason is printed.
    """
    runs, tables = [], {}
    for pair in load_pairs(args):
        possible = print_reasons(pair, settings, why_not) if why_not else settings
        found = run(possible, partial(measure, pair), pair.name)
        found = [{"pair": pair.name} | r for r in found]
        runs += found
        for n_paired in args.n_paired:
            group = [r for r in found if r.get("paired rows", n_paired) == n_paired]
            if not group:
                continue
            heading = title.format_map(group[0] | {"seeds": args.seeds})
            heading = f"{pair.name}: {n_paired} paired, {heading}"
            tables[heading] = summarize(group)
            print_table(heading, tables[heading])
        write_json(args.json, runs=runs, tables=tables)


def print_reasons(pair, settings, why_not):
    """Print why settings are left out, and return the others."""
    reasons = [why_not(pair, **setting) for setting in settings]
    for reason in filter(None, dict.fromkeys(reasons)):
        print(f"{pair.name}: {reason}", flush=True)
    return [s for s, reason in zip(settings, reasons, strict=True) if not reason]

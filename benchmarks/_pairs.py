"""Two networks' features of the same rows: where they come from, how rows are split."""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _data import DATA, load_features, subsample
from _methods import METHODS

PAIRS = ("lite0-lite1", "lite0-lite2", "lite0-pixels", "lite0-random")


class Pair(NamedTuple):
    """Features A and B of the same rows, and labels or None."""

    name: str
    A: np.ndarray
    B: np.ndarray
    y: np.ndarray | None

    def take(self, rows):
        """Return A and B of some rows."""
        return self.A[rows], self.B[rows]


class Split(NamedTuple):
    """Rows for paired training, validation, test, and a classifier's training."""

    paired: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    labelled: np.ndarray


def make_parser(description, n_paired, methods=METHODS):
    """Return a parser of what all commands about pairs take."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--data", choices=DATA, default="fashion-mnist")
    parser.add_argument(
        "--pairs",
        nargs="+",
        default=PAIRS,
        metavar="FIRST-SECOND",
        help="of pixels, random, lite0, lite1, lite2, timm:NAME (default: %(default)s)",
    )
    parser.add_argument("--a", metavar="A.npy", help="your own features of one network")
    parser.add_argument("--b", metavar="B.npy", help="and of another, of the same rows")
    parser.add_argument("--labels", metavar="y.npy")
    parser.add_argument("--n-samples", type=int, default=12000, help="at most")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--n-paired", type=int, nargs="+", default=n_paired)
    parser.add_argument("--methods", nargs="+", choices=methods, default=list(methods))
    parser.add_argument("--json", metavar="FILE")
    return parser


def load_pairs(args):
    """Yield the pairs that a command asks for."""
    if args.a or args.b:
        yield load_files(args.a, args.b, args.labels, args.n_samples)
        return
    for name in args.pairs:
        # Names of timm have hyphens too, but no colon within.
        first, _, second = name.partition("-timm:")
        first, second = (first, f"timm:{second}") if second else name.rsplit("-", 1)
        A, y = load_features(args.data, first, args.n_samples)
        B, _ = load_features(args.data, second, args.n_samples)
        yield Pair(name, A, B, y)


def load_files(path_a, path_b, path_y, n_samples):
    """Return a pair from files; at most so many rows, chosen at random."""
    if not (path_a and path_b):
        raise SystemExit("--a and --b go together.")
    files = [np.load(path) for path in (path_a, path_b, path_y) if path]
    lengths = [len(values) for values in files]
    if len(set(lengths)) > 1:
        raise SystemExit(f"The files differ in their numbers of rows: {lengths}.")
    A, B, *y = subsample(*files, n_samples=n_samples)
    # In half precision sums of squares overflow.
    A, B = (X.astype(np.float32) if X.dtype == np.float16 else X for X in (A, B))
    name = f"{Path(path_a).stem}-{Path(path_b).stem}"
    return Pair(name, A, B, y[0] if y else None)


def split_rows(n_rows, n_paired, seed, n_labelled=0, n_test=2000, n_validation=1000):
    """Return disjoint random rows for a seed.

    Where there are too few rows, validation takes a third of what the others leave, and
    the test the rest. The first of the paired rows are themselves a random choice.
    """
    left = n_rows - n_paired - n_labelled
    n_validation = min(n_validation, left // 3)
    n_test = min(n_test, left - n_validation)
    if n_test < 10:
        raise SystemExit(
            f"{n_rows} rows are too few for {n_paired} paired ones and {n_labelled} "
            "labelled ones: see --n-paired."
        )
    sizes = (n_paired, n_validation, n_test, n_labelled)
    rows = np.random.default_rng(1000 + seed).permutation(n_rows)
    return Split(*np.split(rows, np.cumsum(sizes))[:4])

"""What things cost, as ratios of two that are timed in turn in one process.

    python benchmarks/speed.py
    python benchmarks/speed.py rbf field
    python benchmarks/speed.py aligners --n-landmarks 3000 --n-rounds 1

Random features of 64 hidden dimensions. Medians of as many rounds (A B A B ...) as are
asked for, after one that is not counted, with the least and the most time. Where a
ratio was asked for it stands beside it. The parts:

rbf        fits with all rows as landmarks beside one bare pass over the affinities and
           the document's grid search, transforms beside one matrix product and peers;
           errors to float64 of direct differences
memory     what fit and transform take in a process of their own, by number of rows
networks   an epoch of half-shared networks beside a bare loop; the document's toy
           beside its author's recipe
field      one evaluation of the exact field beside its matrix products; rows that
           see few of many charges; the published network flow
imports    of the package beside those of torch, scikit-learn and skorch
aligners   KernelGCCAAligner beside RBFAutoScaleAligner
"""

import argparse
import platform
from functools import partial

import numpy as np
import torch
from _report import print_table, write_json
from _speed.field import time_compressed, time_evaluations, time_flows
from _speed.networks import time_epochs, time_toy
from _speed.process import time_imports, time_rows
from _speed.rbf import make_rows, time_fits, time_transforms
from _timing import compare
from rich.progress import track

from sklearn_featalign import KernelGCCAAligner, RBFAutoScaleAligner


def run_rbf(args):
    """Return the tables of fits and transforms of the RBF aligner."""
    n_fitted, n_samples, width = args.n_fitted, args.n_samples, args.n_features
    fits = f"Fit, {n_fitted} rows of {width} columns, all landmarks, c=0.05"
    transforms = f"Transform, {n_samples} rows of {width} columns to {args.n_landmarks}"
    tables = {}
    for dtype in track((np.float32, np.float64), "rbf"):
        kind = np.dtype(dtype).name
        tables[f"{fits}, {kind}"] = time_fits(dtype, n_fitted, width, args.n_rounds)
        tables[f"{transforms} landmarks, {kind}"] = time_transforms(
            dtype, n_samples, width, args.n_landmarks, args.n_rounds
        )
    return tables


def run_memory(args):
    """Return the table of memory and time by number of rows."""
    title = f"{args.n_features} columns, {args.n_landmarks} landmarks, float32"
    sizes = args.n_features, args.n_landmarks
    return {title: time_rows(args.n_rows, *sizes, min(3, args.n_rounds))}


def run_networks(args):
    """Return the tables of training."""
    epochs = time_epochs(args.n_rounds, args.n_paired, args.n_features)
    title = f"An epoch: {args.n_paired} rows, two views of {args.n_features} columns"
    toy = time_toy(args.n_rounds, args.n_epochs, args.n_seeds)
    return {title: epochs, f"The document's toy, {args.n_epochs} epochs a view": toy}


def run_field(args):
    """Return the tables of the field."""
    compressed = time_compressed(args.n_charged, args.n_charges, (2, 3, 4))
    flows = time_flows(args.n_flowing, 4, args.n_charges)
    return {
        "Evaluations of the field, float64": time_evaluations(
            args.n_charged, (2, 3, 4, 8), args.n_rounds
        ),
        "Charges that a row sees": compressed,
        "Flows": flows,
    }


def run_imports(args):
    """Return the table of imports."""
    return {"Imports": time_imports(args.n_rounds)}


def run_aligners(args):
    """Return the tables of the two aligners with landmarks."""
    n_landmarks, width = args.n_landmarks, args.n_features
    X = make_rows(n_landmarks + args.n_samples // 2, 2 * width)
    landmarks, rows = X[:n_landmarks], X[n_landmarks:, :width]
    params = {"views": [width] * 2, "n_landmarks": None}
    base = "RBFAutoScaleAligner, ridge"
    aligners = {
        base: RBFAutoScaleAligner(normalize="ridge", **params),
        "KernelGCCAAligner, no hubness": KernelGCCAAligner(hub_neighbors=0, **params),
        "KernelGCCAAligner": KernelGCCAAligner(**params),
    }
    title = f"{n_landmarks} landmarks, two views of {width} columns"
    fits = {name: partial(a.fit, landmarks) for name, a in aligners.items()}
    transforms = {
        name: partial(a.transform_view, rows, 0) for name, a in aligners.items()
    }
    return {
        f"Fit, {title}": compare(fits, args.n_rounds, base),
        f"Transform, {len(rows)} rows of one view, {title}": compare(
            transforms, args.n_rounds, base
        ),
    }


PARTS = {
    "rbf": run_rbf,
    "memory": run_memory,
    "networks": run_networks,
    "field": run_field,
    "imports": run_imports,
    "aligners": run_aligners,
}


def main():
    """Run the parts and print their tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="part", help="all by default")
    sizes = {
        "n-fitted": (4000, "rows of a fit, all landmarks"),
        "n-samples": (20000, "rows to transform"),
        "n-features": (1280, ""),
        "n-landmarks": (1000, ""),
        "n-paired": (5000, "rows to train on"),
        "n-epochs": (3000, "of the author's recipe"),
        "n-seeds": (5, "of the toy"),
        "n-charged": (10000, "rows with an exact field"),
        "n-charges": (1000, "that stand for them"),
        "n-rounds": (5, ""),
    }
    for name, (default, text) in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=text)
    for name, default in (
        ("n-rows", [50000, 100000, 200000]),
        ("n-flowing", [10000, 50000]),
    ):
        parser.add_argument(f"--{name}", type=int, nargs="+", default=default)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    unknown = set(args.parts) - set(PARTS)
    if unknown:
        parser.error(f"no parts: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads"
    print(f"{machine}, torch {torch.__version__}")
    tables = {}
    for part in args.parts or PARTS:
        for title, table in PARTS[part](args).items():
            print_table(title, table)
            tables[title] = table
        if args.json:
            write_json(args.json, machine=machine, tables=tables)


if __name__ == "__main__":
    main()

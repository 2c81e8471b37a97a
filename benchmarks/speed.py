"""Prints what things cost, as ratios of times taken in turn in one process.

    python benchmarks/speed.py
    python benchmarks/speed.py rbf field
    python benchmarks/speed.py gcca --n-fitted-pairs 3000 --n-rounds 1

Data are random features with 64 hidden dimensions. Times are medians of several rounds
(A B A B ...) after one that is not counted, with the least and the most. Ratios that
are required stand beside those measured. The parts:

rbf        fits with all rows as landmarks beside one bare pass over the affinities and
           the document's grid search, transforms beside one matrix product and peers;
           errors relative to float64 and explicit differences
memory     time and memory of fit and transform in processes of their own, by number of
           rows
networks   an epoch of half-shared networks beside a bare loop; the document's toy
           beside its author's recipe
field      one evaluation of the exact field beside its matrix products; flows with few
           of many charges; the published network flow
imports    of the package beside those of torch, scikit-learn and skorch
gcca       KernelGCCAAligner: its fit beside its own products and factorisations, its
           transform beside RBFAutoScaleAligner; pairs that stream through a process
serve      single rows by compiled maps beside their products; rows that are translated
           beside one matrix product
"""

import argparse
import platform

import torch
from _runs import print_table, write_json
from _speed.field import time_compressed, time_evaluations, time_flows
from _speed.gcca import time_gcca, time_stream
from _speed.networks import time_epochs, time_toy
from _speed.process import time_imports, time_rows
from _speed.rbf import time_fits, time_transforms
from _speed.serve import time_serving


def run_rbf(args):
    """Return the tables of fits and transforms of the RBF aligner."""
    width, n_landmarks, n_rounds = args.n_features, args.n_landmarks, args.n_rounds
    sizes = args.n_samples, width, n_landmarks
    fits = f"Fit, {args.n_fitted} rows of {width} columns, all landmarks, c=0.05"
    transforms = "Transform, {} rows of {} columns to {} landmarks".format(*sizes)
    tables = {}
    for dtype in ("float32", "float64"):
        tables[f"{fits}, {dtype}"] = time_fits(dtype, args.n_fitted, width, n_rounds)
        tables[f"{transforms}, {dtype}"] = time_transforms(dtype, *sizes, n_rounds)
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
    n_rows, n_charges, n_rounds = args.n_charged, args.n_charges, args.n_rounds
    evaluations = time_evaluations(n_rows, (2, 3, 4, 8), n_rounds)
    return {
        "Evaluations of the field, float64": evaluations,
        "All rows, or cells, as charges": time_compressed(n_rows, n_charges, (2, 3, 4)),
        "Flows": time_flows(args.n_flowing, (3, 8), n_charges),
    }


def run_imports(args):
    """Return the table of imports."""
    return {"Imports": time_imports(args.n_rounds)}


def run_gcca(args):
    """Return the tables of KernelGCCAAligner."""
    sizes = args.n_fitted_pairs, args.n_samples // 2, args.n_features, args.n_landmarks
    tables = time_gcca(*sizes, min(3, args.n_rounds))
    title = f"Streams of pairs, 2 x {args.n_streamed_features} columns, whole process"
    return tables | {title: time_stream(args.n_streamed, args.n_streamed_features)}


def run_serve(args):
    """Return the tables of single rows and of an index that is moved."""
    tables = {}
    for width in args.n_served_features:
        sizes = args.n_moved, args.n_served_pairs, width, args.n_landmarks
        tables |= time_serving(*sizes, args.n_rounds)
    return tables


PARTS = {
    "rbf": run_rbf,
    "memory": run_memory,
    "networks": run_networks,
    "field": run_field,
    "imports": run_imports,
    "gcca": run_gcca,
    "serve": run_serve,
}
SIZES = {
    "n-fitted": (4000, "rows of a fit, all landmarks"),
    "n-samples": (20000, "rows to transform"),
    "n-features": (1280, ""),
    "n-landmarks": (1000, ""),
    "n-fitted-pairs": (10000, "of KernelGCCAAligner"),
    "n-streamed-features": (128, "of a view"),
    "n-paired": (5000, "rows to train on"),
    "n-epochs": (3000, "of the author's recipe"),
    "n-seeds": (5, "of the toy"),
    "n-charged": (10000, "rows with an exact field"),
    "n-charges": (4096, "at most, in place of these rows"),
    "n-served-pairs": (3000, "of KernelGCCAAligner"),
    "n-moved": (100000, "rows to translate"),
    "n-rounds": (5, ""),
}


def parse_arguments():
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="part", help="all by default")
    for name, (default, text) in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=text)
    many = {"type": int, "nargs": "+"}
    parser.add_argument("--n-rows", default=[50000, 100000, 200000], **many)
    parser.add_argument("--n-streamed", default=[100000, 300000, 1000000], **many)
    parser.add_argument("--n-served-features", default=[384, 1280], **many)
    parser.add_argument("--n-flowing", default=[20000, 100000], **many)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    unknown = set(args.parts) - set(PARTS)
    if unknown:
        parser.error(f"no parts: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return args


def main():
    """Run the parts and print their tables."""
    args = parse_arguments()
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads"
    print(f"{machine}, torch {torch.__version__}")
    tables = {}
    for part in args.parts or PARTS:
        found = PARTS[part](args)
        for title, table in found.items():
            print_table(title, table)
        tables |= found
        write_json(args.json, machine=machine, tables=tables)


if __name__ == "__main__":
    main()

"""What KernelGCCAAligner costs beside RBFAutoScaleAligner, in time and in memory.

    python benchmarks/speed.py
    python benchmarks/speed.py --n-landmarks 3000 --n-rounds 1

Random features: two views, all rows landmarks. The aligners are timed in turn in one
process (A B A B ...); the ratio is that of the medians. Memory is the largest that the
process had by the end of the first fit of each.
"""

import argparse
import resource
import time
from statistics import median

import numpy as np
from _report import print_table, write_json

from sklearn_featalign import KernelGCCAAligner, RBFAutoScaleAligner


def seconds(function):
    """Return the time that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def timed(functions, n_rounds):
    """Return the times of functions, called in turn.

    Parameters
    ----------
    functions : dict of str to callable
    n_rounds : int

    Returns
    -------
    times : dict of str to list of float
    """
    rounds = [
        {name: seconds(function) for name, function in functions.items()}
        for _ in range(n_rounds)
    ]
    return {name: [times[name] for times in rounds] for name in functions}


def make_views(n_samples, n_features):
    """Return two views of the same hidden rows, side by side."""
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(n_samples, 64))
    maps = rng.normal(size=(64, 2 * n_features))
    return np.maximum(Z @ maps, 0).astype(np.float32)


def peak_memory():
    """Return the largest memory that this process had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    """Time both aligners and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n-landmarks", type=int, default=1000)
    parser.add_argument("--n-features", type=int, default=1280)
    parser.add_argument("--n-samples", type=int, default=10000, help="to transform")
    parser.add_argument("--n-rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    X = make_views(args.n_landmarks + args.n_samples, args.n_features)
    landmarks, rows = X[: args.n_landmarks], X[args.n_landmarks :, : args.n_features]
    params = {"views": [args.n_features] * 2, "n_landmarks": None}
    base = "RBFAutoScaleAligner, ridge"
    aligners = {
        base: RBFAutoScaleAligner(normalize="ridge", **params),
        "KernelGCCAAligner, no hubness": KernelGCCAAligner(hub_neighbors=0, **params),
        "KernelGCCAAligner": KernelGCCAAligner(**params),
    }
    memory = {}
    for name, aligner in aligners.items():
        aligner.fit(landmarks)
        memory[name] = peak_memory()
    fits = timed(
        {k: lambda a=a: a.fit(landmarks) for k, a in aligners.items()}, args.n_rounds
    )
    transforms = timed(
        {k: lambda a=a: a.transform_view(rows, 0) for k, a in aligners.items()},
        args.n_rounds,
    )
    table = [
        {
            "aligner": name,
            "fit s": f"{median(fits[name]):.2f}",
            "fit ratio": f"{median(fits[name]) / median(fits[base]):.2f}",
            "peak MiB": f"{memory[name]:.0f}",
            "transform s": f"{median(transforms[name]):.2f}",
            "transform ratio": (
                f"{median(transforms[name]) / median(transforms[base]):.2f}"
            ),
        }
        for name in aligners
    ]
    print_table(
        f"{args.n_landmarks} landmarks, two views of {args.n_features} columns; "
        f"{args.n_samples} rows of one view transformed",
        table,
    )
    if args.json:
        write_json(args.json, table=table)


if __name__ == "__main__":
    main()

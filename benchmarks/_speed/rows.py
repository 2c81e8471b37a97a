"""Prints the seconds and MiB of a fit or transform; other imports would hide memory."""

import json
import sys
import time

import numpy as np
from _generated import make_features

from sklearn_featalign import RBFAutoScaleAligner


def peak_memory():
    """Return the largest memory that this process has had, in KiB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main():
    """Print the seconds and MiB of a fit or transform beside its output, as JSON."""
    step, *sizes = sys.argv[1:]
    n_samples, n_features, n_landmarks = map(int, sizes)
    X = np.empty((n_samples, n_features), np.float32)
    for part in np.array_split(X, 1 + n_samples // 10000):
        part[:] = make_features(len(part), n_features)
    aligner = RBFAutoScaleAligner(0.05, n_landmarks=n_landmarks, random_state=0)
    # Code and workspaces of the libraries are loaded before anything is measured.
    aligner.fit(X[: 2 * n_landmarks]).transform(X[:1000])
    before = peak_memory()
    start = time.perf_counter()
    result = getattr(aligner, step)(X)
    elapsed = time.perf_counter() - start
    taken = peak_memory() - before
    # A fit has landmarks as its output.
    output = getattr(result, "nbytes", aligner.landmarks_.nbytes)
    mib = (taken - output / 1024) / 1024
    print(json.dumps({f"{step} s": elapsed, f"{step} MiB": mib}))


if __name__ == "__main__":
    main()

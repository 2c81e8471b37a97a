"""Prints the seconds and MiB of rows that stream through `partial_fit`, as JSON."""

import json
import sys
import time

import numpy as np
from _generated import make_features

from _speed.rows import peak_memory
from sklearn_featalign import KernelGCCAAligner

BATCH = 10000


def main():
    """Print seconds, and the memory of the whole process."""
    n_samples, width = map(int, sys.argv[1:])
    aligner = KernelGCCAAligner(views=[width] * 2, random_state=0)
    found = {"partial_fit s": 0.0}
    rng = np.random.default_rng(1)
    shared = make_features(min(n_samples, BATCH), 2 * width)
    for first in range(0, n_samples, BATCH):
        rows = shared[: n_samples - first]
        X = rows + rng.normal(size=rows.shape).astype(np.float32)
        start = time.perf_counter()
        aligner.partial_fit(X)
        found["partial_fit s"] += time.perf_counter() - start
    found["partial_fit MiB"] = peak_memory() / 1024
    start = time.perf_counter()
    aligner.loo_score_  # noqa: B018
    found["solution s"] = time.perf_counter() - start
    found["solution MiB"] = peak_memory() / 1024
    print(json.dumps(found))


if __name__ == "__main__":
    main()

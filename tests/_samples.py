"""Rows that several test files take."""

import numpy as np


def blobs(seed=0, n_samples=120, n_features=4):
    rng = np.random.default_rng(seed)
    centers = rng.normal(scale=4, size=(3, n_features))
    return centers[rng.integers(3, size=n_samples)] + rng.normal(
        size=(n_samples, n_features)
    )

"""Makes data whose time and memory are measured, and thus imports numpy alone."""

import numpy as np


def make_features(n_samples, n_features, dtype=np.float32):
    """Return non-negative features with 64 hidden dimensions, as networks have."""
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(n_samples, 64)).astype(np.float32)
    maps = rng.normal(size=(64, n_features)).astype(np.float32)
    return np.maximum(Z @ maps, 0).astype(dtype)


def make_clusters(n_samples, d, seed=0):
    """Return rows of a mixture of three bent clusters."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(0).normal(scale=2, size=(3, d))
    X = centers[rng.integers(3, size=n_samples)] + rng.normal(size=(n_samples, d))
    X[:, 1:] += 0.3 * X[:, :1] ** 2
    return X


def make_noisy_features(n_samples, n_features):
    """Return random features with noise, which gives them full rank."""
    X = make_features(n_samples, n_features)
    X += np.random.default_rng(1).normal(size=X.shape).astype(X.dtype)
    return X

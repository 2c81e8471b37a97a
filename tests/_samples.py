"""Rows that several test files take."""

import numpy as np
from scipy.linalg import eigh


def blobs(seed=0, n_samples=120, n_features=4):
    rng = np.random.default_rng(seed)
    centers = rng.normal(scale=4, size=(3, n_features))
    return centers[rng.integers(3, size=n_samples)] + rng.normal(
        size=(n_samples, n_features)
    )


def generalised(views, ridge):
    """Return eigenvalues s and eigenvectors a of ``(C - D) a = s (D + ridge) a``.

    That is regularised CCA: D has the covariances within views and C those of all, the
    ridge is in multiples of a view's mean eigenvalue.
    """
    C = np.cov(np.hstack(views).T)
    owner = np.repeat(np.arange(len(views)), [X.shape[1] for X in views])
    D = np.where(owner[:, None] == owner, C, 0)
    penalties = [np.full(X.shape[1], np.var(X, 0, ddof=1).mean()) for X in views]
    values, vectors = eigh(C - D, D + ridge * np.diag(np.concatenate(penalties)))
    return values[::-1], vectors[:, ::-1]

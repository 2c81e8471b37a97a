"""The dots of the feature-alignment document: data, maps between sets, and measures."""

from functools import partial

import numpy as np
import torch
from sklearn.datasets import make_blobs
from sklearn.metrics.pairwise import euclidean_distances

from sklearn_featalign import HalfSharedMLPAligner

N_QUERIES = 300
ROTATION = np.array([[1.0, -1.0], [1.0, 1.0]]) / np.sqrt(2)


def make_dots():
    """Return the document's 30 dots, ordered by cluster, their clusters and centres."""
    X, y, centers = make_blobs(30, centers=3, random_state=42, return_centers=True)
    order = np.argsort(y, kind="stable")
    return X[order].astype(np.float32), y[order], centers


def make_queries(seed):
    """Return fresh dots of the same clusters, and their clusters."""
    centers = make_dots()[2]
    X, y = make_blobs(N_QUERIES, centers=centers, random_state=1000 + seed)
    return X.astype(np.float32), y


def linear(Z, scale, shift_first, seed=None):
    """Return ``(Z R + 10) * scale``, or ``scale * Z R + 10``, for any seed."""
    Z = Z @ ROTATION
    Z = (Z + 10) * scale if shift_first else Z * scale + 10
    return Z.astype(np.float32)


def random_mlp(Z, seed, n_hidden, standardize, dtype=np.float32):
    """Return the output of an untrained GELU network 2-8-...-8-2, as torch starts it.

    Standardised inputs are z-scored by the statistics of the document's dots.
    """
    widths = [2] + [8] * n_hidden + [2]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = []
        for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
            layers += [torch.nn.Linear(n_in, n_out), torch.nn.GELU()]
    dots = make_dots()[0].astype(dtype)
    mean, std = (dots.mean(0), dots.std(0, ddof=1)) if standardize else (0, 1)
    X = torch.from_numpy((Z.astype(dtype) - mean) / std)
    with torch.inference_mode():
        return torch.nn.Sequential(*layers[:-1]).to(X.dtype)(X).numpy()


def align_half_shared(X, Y, clusters, seed, **params):
    """Return the maps of both sets to the features of half-shared networks."""
    aligner = HalfSharedMLPAligner(views=[2, 2], random_state=seed, **params)
    aligner.fit(np.hstack([X, Y]), clusters)
    return [partial(aligner.transform_view, view=view) for view in (0, 1)]


def document_affinity(X, gamma=1.0):
    """Return the affinities of the rows of a tensor as the document computes them."""
    D = torch.pow(torch.cdist(X, X, p=2), 2)
    return torch.exp(-D / (2 * gamma * X.var(dim=0).sum()))


def joint_affinity(F, G):
    """Return the document's final picture: the affinities of both sets, stacked."""
    return document_affinity(torch.from_numpy(np.vstack([F, G]).astype(float))).numpy()


def judge(F, G, clusters):
    """Measure how well aligned dots of set 1 find their own pair in set 2.

    The measures are ``top1`` and ``mrr`` (mean reciprocal rank) of the pair, where ties
    count half; ``cluster``, how often the nearest dot is of the same cluster; and
    ``contrast``, the document's mean affinity across sets in one cluster less that
    across clusters.
    """
    D = euclidean_distances(F.astype(float), G.astype(float))
    own = D.diagonal()[:, None]
    rank = 1 + (D < own).sum(1) + ((D == own).sum(1) - 1) / 2
    same = clusters[:, None] == clusters
    across = joint_affinity(F, G)[: len(F), len(F) :]
    return {
        "top1": (rank == 1).mean(),
        "mrr": (1 / rank).mean(),
        "cluster": same[np.arange(len(F)), D.argmin(1)].mean(),
        "contrast": across[same].mean() - across[~same].mean(),
    }

"""Metrics of retrieval and of neighbours across two feature spaces."""

import torch

from sklearn_featalign._similarity import (
    comparable,
    neighbor_means,
    neighbors_within,
    own_ranks,
)
from sklearn_featalign.metrics._checks import check_count, check_option, load_pairs


def retrieval_ranks(X, Y, *, metric="cosine", csls=None):
    r"""Return the rank of the paired row of Y among the neighbours of each row of X.

    Parameters
    ----------
    X, Y : {array-like, tensor} of shape (n_samples, n_features)
        Aligned features; row i of both is the same object.
    metric : {"cosine", "dot", "euclidean"}, default="cosine"
        Similarity or distance by which rows are compared.
    csls : int or None, default=None
        Number of neighbours (10 in the paper) for cross-domain similarity local
        scaling, which corrects for hubs, rows that are near to many others. With
        :math:`r_X(y)` the mean similarity of y to its nearest rows of X,

        .. math:: \mathrm{CSLS}(x, y) = 2 \langle x, y \rangle - r_Y(x) - r_X(y)

        Ranks then depend on all rows of X. It is not defined for "euclidean".

    Returns
    -------
    ranks : ndarray of shape (n_samples,)
        1 if the paired row is the nearest. Each other row that is equally near, within
        1e-12 of the product of the norms, adds one half.

    References
    ----------
    Conneau et al. (2018), "Word translation without parallel data", for CSLS.

    Examples
    --------
    >>> from sklearn_featalign.metrics import retrieval_ranks
    >>> X = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    >>> retrieval_ranks(X, [[1.0, 0.1], [1.0, 1.0], [1.0, 0.9]]).tolist()
    [1.0, 1.0, 2.0]
    """
    X, Y = load_pairs(X, Y, same_width=True)
    check_option("metric", metric, ("cosine", "dot", "euclidean"))
    X, Y, bias = comparable(X, Y, metric)
    if csls is not None:
        if metric == "euclidean":
            raise ValueError("csls is defined for metric='cosine' and 'dot'.")
        check_count("csls", csls, len(X))
        bias = -neighbor_means(Y, X, csls) / 2
    return own_ranks(X, Y, bias).cpu().numpy()


def retrieval_accuracy(X, Y, *, k=1, metric="cosine", csls=None):
    """Return the share of rows of X whose paired row is among the k nearest of Y.

    Parameters
    ----------
    X, Y : {array-like, tensor} of shape (n_samples, n_features)
        Aligned features; row i of both is the same object.
    k : int, default=1
        Number of nearest rows of Y.
    metric : {"cosine", "dot", "euclidean"}, default="cosine"
        Similarity or distance by which rows are compared.
    csls : int or None, default=None
        Number of neighbours for local scaling: see :func:`retrieval_ranks`.

    Returns
    -------
    accuracy : float
        Share of ranks up to k; unrelated features have about ``k / n_samples``. A row
        that is tied with another for the first place has rank 1.5, above ``k=1``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_featalign.metrics import retrieval_accuracy
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> retrieval_accuracy(X, 2 * X)
    1.0
    """
    check_count("k", k)
    return float((retrieval_ranks(X, Y, metric=metric, csls=csls) <= k).mean())


def mean_reciprocal_rank(X, Y, *, metric="cosine", csls=None):
    """Return the mean of the reciprocal ranks of paired rows.

    Parameters
    ----------
    X, Y : {array-like, tensor} of shape (n_samples, n_features)
        Aligned features; row i of both is the same object.
    metric : {"cosine", "dot", "euclidean"}, default="cosine"
        Similarity or distance by which rows are compared.
    csls : int or None, default=None
        Number of neighbours for local scaling: see :func:`retrieval_ranks`.

    Returns
    -------
    mrr : float
        Between 0 and 1. Ties count half, as in :func:`retrieval_ranks`.

    Examples
    --------
    >>> from sklearn_featalign.metrics import mean_reciprocal_rank
    >>> X = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    >>> Y = [[1.0, 0.1], [1.0, 1.0], [1.0, 0.9]]  # of ranks 1, 1 and 2
    >>> round(mean_reciprocal_rank(X, Y), 3)
    0.833
    """
    return float((1 / retrieval_ranks(X, Y, metric=metric, csls=csls)).mean())


def mutual_knn(X, Y, *, k=10, metric="cosine"):
    """Return the share of nearest neighbours that two feature spaces have in common.

    Parameters
    ----------
    X, Y : {array-like, tensor} of shape (n_samples, n_features)
        Features of the same objects, of any widths.
    k : int, default=10
        Number of neighbours of a row, itself excluded.
    metric : {"cosine", "dot", "euclidean"}, default="cosine"
        Similarity or distance by which rows are compared.

    Returns
    -------
    share : float
        Between 0 and 1, and about ``k / (n_samples - 1)`` if features are unrelated or
        all rows are tied.

    References
    ----------
    Huh et al. (2024), "The platonic representation hypothesis".

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_featalign.metrics import mutual_knn
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> mutual_knn(X, 2 * X)
    1.0
    """
    X, Y = load_pairs(X, Y)
    check_option("metric", metric, ("cosine", "dot", "euclidean"))
    check_count("k", k, len(X) - 1)
    # Shuffle Y so that ties are broken independently in X and in Y.
    generator = torch.Generator("cpu").manual_seed(0)
    order = torch.randperm(len(Y), generator=generator, device="cpu")
    Y = Y[order.to(Y.device)]
    near_X = neighbors_within(*comparable(X, X, metric)[1:], k).cpu()[order]
    near_Y = order[neighbors_within(*comparable(Y, Y, metric)[1:], k).cpu()]
    common = sum((near_X == near_Y.roll(j, 1)).sum().item() for j in range(k))
    return common / near_X.numel()

"""Metrics of retrieval and of neighbours across two feature spaces."""

import numpy as np
import torch
from sklearn.utils import check_consistent_length

from sklearn_featalign._similarity import (
    common_neighbors,
    comparable,
    neighbor_means,
    own_ranks,
)
from sklearn_featalign.metrics._checks import (
    check_count,
    check_labels,
    check_option,
    check_width,
    load,
    load_pairs,
)

METRICS = ("cosine", "dot", "euclidean")


def retrieval_ranks(X, Y, *, metric="cosine", csls=None, groups=None):
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
    groups : array-like of shape (n_samples,), default=None
        Groups of rows of which any counts as found, such as the images of several
        captions: the rank is that of the nearest row of Y in the group of row i, and
        other rows of the group do not count.

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
    check_option("metric", metric, METRICS)
    X, Y, bias = comparable(X, Y, metric)
    if csls is not None:
        if metric == "euclidean":
            raise ValueError("csls is defined for metric='cosine' and 'dot'.")
        check_count("csls", csls, len(X))
        bias = -neighbor_means(Y, X, csls) / 2
    if groups is not None:
        groups = load_groups(groups, X)
    return own_ranks(X, Y, bias, groups).cpu().numpy()


def retrieval_accuracy(X, Y, *, k=1, metric="cosine", csls=None, groups=None):
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
    groups : array-like of shape (n_samples,), default=None
        Groups of rows of which any counts as found: see :func:`retrieval_ranks`.

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
    ranks = retrieval_ranks(X, Y, metric=metric, csls=csls, groups=groups)
    check_count("k", k, len(ranks))
    return float((ranks <= k).mean())


def mean_reciprocal_rank(X, Y, *, metric="cosine", csls=None, groups=None):
    """Return the mean of the reciprocal ranks of paired rows.

    Parameters
    ----------
    X, Y : {array-like, tensor} of shape (n_samples, n_features)
        Aligned features; row i of both is the same object.
    metric : {"cosine", "dot", "euclidean"}, default="cosine"
        Similarity or distance by which rows are compared.
    csls : int or None, default=None
        Number of neighbours for local scaling: see :func:`retrieval_ranks`.
    groups : array-like of shape (n_samples,), default=None
        Groups of rows of which any counts as found: see :func:`retrieval_ranks`.

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
    ranks = retrieval_ranks(X, Y, metric=metric, csls=csls, groups=groups)
    return float((1 / ranks).mean())


def mutual_knn(X, Y, *, k=10, metric="cosine", groups=None):
    """Return the share of nearest neighbours that two feature spaces have in common.

    Parameters
    ----------
    X, Y : {array-like, tensor} of shape (n_samples, n_features)
        Features of the same objects, of any widths.
    k : int, default=10
        Number of neighbours of a row, itself excluded.
    metric : {"cosine", "dot", "euclidean"}, default="cosine"
        Similarity or distance by which rows are compared.
    groups : array-like of shape (n_samples,), default=None
        Groups of rows that are no neighbours of each other, such as several captions of
        an image: the neighbours of a row are in other groups than its own.

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
    check_option("metric", metric, METRICS)
    groups = load_groups(groups, X)
    check_count("k", k, n_in_other_groups(groups))
    searches = (comparable(Z, Z, metric) for Z in (X, Y))
    return common_neighbors(*searches, k, k, groups)


def neighbor_recall(
    X_true,
    Y_true,
    X,
    Y,
    *,
    k=10,
    n=None,
    metric="cosine",
    metric_true="cosine",
    leave_own_out=False,
    groups=None,
):
    """Return the share of the true nearest rows that another search finds.

    The truth is a search of `Y_true` for the k nearest rows of each row of `X_true`,
    for instance in the features of a new embedding model. The other search, of `Y` by
    `X`, is among the same objects in the same order, for instance in an index that was
    moved to the new model. With `n` larger than `k` this is what a cascade can reach at
    most, which fetches n rows and has them ordered by the truth.

    Parameters
    ----------
    X_true : {array-like, tensor} of shape (n_queries, n_true_features)
        Queries of the true search.
    Y_true : {array-like, tensor} of shape (n_rows, n_true_features)
        Rows that it searches.
    X : {array-like, tensor} of shape (n_queries, n_features)
        The same queries of the other search.
    Y : {array-like, tensor} of shape (n_rows, n_features)
        The same rows of the other search.
    k : int, default=10
        Number of true nearest rows.
    n : int, optional
        Number of nearest rows among which they are looked for, `k` by default.
    metric : {"cosine", "dot", "euclidean"}, default="cosine"
        Similarity or distance of the other search.
    metric_true : {"cosine", "dot", "euclidean"}, default="cosine"
        That of the true search.
    leave_own_out : bool, default=False
        Whether query i and row i are the same object, which is then not searched.
    groups : array-like of shape (n_rows,), default=None
        Groups of rows with ``leave_own_out=True``, such as several captions of an
        image: rows of the group of query i are not searched either.

    Returns
    -------
    recall : float
        Between 0 and 1, about ``n / n_rows`` for unrelated features. Where rows tie for
        the last place, it is the mean over random orders.

    See Also
    --------
    mutual_knn : The same for two spaces, each with its own queries.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_featalign.metrics import neighbor_recall
    >>> rng = np.random.default_rng(0)
    >>> queries, rows = rng.normal(size=(20, 8)), rng.normal(size=(500, 8))
    >>> worse = rows + 0.3 * rng.normal(size=rows.shape)
    >>> recall = neighbor_recall(queries, rows, queries, worse)
    >>> cascade = neighbor_recall(queries, rows, queries, worse, n=100)
    >>> 0.5 < recall < 0.9 < cascade
    True
    """
    truth = load_search(X_true, Y_true, metric_true, "_true")
    search = load_search(X, Y, metric, "")
    search = [values.to(truth[0].device) for values in search]
    for first, second in zip(truth[:2], search[:2], strict=True):
        check_consistent_length(first, second)
    if groups is not None and not leave_own_out:
        raise ValueError(
            "groups are for leave_own_out=True: query i is in that of row i."
        )
    most = len(truth[1])
    if leave_own_out:
        check_consistent_length(*truth[:2])
        groups = load_groups(groups, truth[1])
        most = n_in_other_groups(groups)
    check_count("k", k, most)
    n = k if n is None else n
    check_count("n", n, most)
    return common_neighbors(truth, search, k, n, groups)


def load_groups(groups, X):
    """Return the groups of rows of X as integers, by default one for each row."""
    if groups is None:
        return torch.arange(len(X), device=X.device)
    codes = np.unique(check_labels(groups, X), return_inverse=True)[1]
    return torch.tensor(codes, device=X.device)


def n_in_other_groups(groups):
    """Return how many rows are in other groups than that of any row, at least."""
    return len(groups) - int(groups.bincount().max())


def load_search(X, Y, metric, suffix):
    """Return checked queries and rows, comparable by their dot products and a bias."""
    X, Y = load(X, f"X{suffix}"), load(Y, f"Y{suffix}")
    check_option(f"metric{suffix}", metric, METRICS)
    check_width(X, Y, f"X{suffix}", f"Y{suffix}")
    return comparable(X, Y.to(X.device), metric)

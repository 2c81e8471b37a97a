"""How well rows find their own row, or their neighbours, in another feature space."""

import torch

from sklearn_featalign._similarity import (
    comparable,
    neighbor_means,
    neighbors_within,
    own_ranks,
)
from sklearn_featalign.metrics._checks import check_count, check_option, load_pairs


def retrieval_ranks(X, Y, *, metric="cosine", csls=None):
    r"""Return the rank at which each row of X finds its own row among all rows of Y.

    Parameters
    ----------
    X, Y : {array-like, tensor} of shape (n_samples, n_features)
        Aligned features; row i of both is the same object.
    metric : {"cosine", "dot", "euclidean"}, default="cosine"
        What near means.
    csls : int or None, default=None
        Number of neighbours (10 in the paper) for cross-domain similarity local
        scaling, which corrects for hubs, rows that are near to everything. With
        :math:`r_X(y)` the mean similarity of y to its nearest rows of X,

        .. math:: \mathrm{CSLS}(x, y) = 2 \langle x, y \rangle - r_Y(x) - r_X(y)

        It looks at all rows of X at once. Not for the Euclidean metric.

    Returns
    -------
    ranks : ndarray of shape (n_samples,)
        1 is the nearest. Each row of Y that is as near as the own one, to 1e-12 of
        the product of the norms, adds a half.

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
    """Return how often a row of X finds its own row among the k nearest of Y.

    Parameters
    ----------
    X, Y : {array-like, tensor} of shape (n_samples, n_features)
        Aligned features; row i of both is the same object.
    k : int, default=1
        How many nearest rows are looked at.
    metric : {"cosine", "dot", "euclidean"}, default="cosine"
        What near means.
    csls : int or None, default=None
        Number of neighbours: see :func:`retrieval_ranks`.

    Returns
    -------
    accuracy : float
        Share of the rows of rank k or better. Chance is ``k / n_samples``. A row that
        is tied with another for the first place has rank 1.5 and is not found at
        ``k=1``.

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
    """Return the mean of one over the rank at which rows of X find their own in Y.

    Parameters
    ----------
    X, Y : {array-like, tensor} of shape (n_samples, n_features)
        Aligned features; row i of both is the same object.
    metric : {"cosine", "dot", "euclidean"}, default="cosine"
        What near means.
    csls : int or None, default=None
        Number of neighbours: see :func:`retrieval_ranks`.

    Returns
    -------
    mrr : float
        Between 0 and 1; ties count half.

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
        Number of neighbours, a row itself not counted.
    metric : {"cosine", "dot", "euclidean"}, default="cosine"
        What near means.

    Returns
    -------
    share : float
        Between 0 and 1; for unrelated features, and for features that are all tied,
        about ``k / (n_samples - 1)``.

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
    # Y is shuffled, so that ties break independently in X and in Y.
    generator = torch.Generator("cpu").manual_seed(0)
    order = torch.randperm(len(Y), generator=generator, device="cpu")
    near_X = neighbors_within(*comparable(X, X, metric)[1:], k).cpu()
    shuffled = Y[order.to(Y.device)]
    near_Y = torch.empty_like(near_X)
    near_shuffled = neighbors_within(*comparable(shuffled, shuffled, metric)[1:], k)
    near_Y[order] = order[near_shuffled.cpu()]
    common = sum((near_X == near_Y.roll(j, 1)).sum().item() for j in range(k))
    return common / near_X.numel()

"""How well features of two networks agree: retrieval, neighbours, kernels, clusters.

Row i of X and row i of Y are features of the same object. The functions take arrays or
tensors, compute in float64 on CUDA where there is one, and hold one block of the
similarities at a time, so that 50,000 rows against 50,000 fit into little memory.
"""

from functools import partial
from inspect import signature
from numbers import Integral

import numpy as np
import torch
from sklearn.metrics import check_scoring
from sklearn.utils import _safe_indexing, check_consistent_length, column_or_1d

from sklearn_featalign._similarity import (
    affinity_by_label,
    centred_overlap,
    comparable,
    log_mean_gaussian,
    neighbor_means,
    neighbors_within,
    own_ranks,
    unit_rows,
)
from sklearn_featalign._torch import Rows, check_rows, resolve_device
from sklearn_featalign._views import keep_view, resolve_views, view_name

__all__ = [
    "alignment_loss",
    "cluster_contrast",
    "concordance_correlation",
    "linear_cka",
    "make_retrieval_scorer",
    "make_view_scorer",
    "mean_reciprocal_rank",
    "mutual_knn",
    "retrieval_accuracy",
    "retrieval_ranks",
    "uniformity_loss",
]


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
    X, Y = _load_pairs(X, Y, same_width=True)
    _check_option("metric", metric, ("cosine", "dot", "euclidean"))
    X, Y, bias = comparable(X, Y, metric)
    if csls is not None:
        if metric == "euclidean":
            raise ValueError("csls is defined for metric='cosine' and 'dot'.")
        _check_count("csls", csls, len(X))
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
    _check_count("k", k)
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
    X, Y = _load_pairs(X, Y)
    _check_option("metric", metric, ("cosine", "dot", "euclidean"))
    _check_count("k", k, len(X) - 1)
    # In another order, so that ties break by chance and not alike in both.
    generator = torch.Generator("cpu").manual_seed(0)
    order = torch.randperm(len(Y), generator=generator, device="cpu")
    near_X = neighbors_within(*comparable(X, X, metric)[1:], k).cpu()
    shuffled = Y[order.to(Y.device)]
    near_Y = torch.empty_like(near_X)
    near_shuffled = neighbors_within(*comparable(shuffled, shuffled, metric)[1:], k)
    near_Y[order] = order[near_shuffled.cpu()]
    common = sum((near_X == near_Y.roll(j, 1)).sum().item() for j in range(k))
    return common / near_X.numel()


def linear_cka(X, Y):
    r"""Return the centred kernel alignment of two feature spaces, with linear kernels.

    .. math:: \frac{\|X^T Y\|_F^2}{\|X^T X\|_F \|Y^T Y\|_F}

    of the centred features: 1 for features that are equal up to rotation, shift and
    scale. With fewer rows than features it is large for unrelated features too.

    Parameters
    ----------
    X, Y : {array-like, tensor} of shape (n_samples, n_features)
        Features of the same objects, of any widths.

    Returns
    -------
    cka : float
        Between 0 and 1.

    References
    ----------
    Kornblith et al. (2019), "Similarity of neural network representations revisited".

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_featalign.metrics import linear_cka
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> round(linear_cka(X, 0.5 * X[:, ::-1] + 3), 6)
    1.0
    """
    X, Y = (_unit_spread(Z) for Z in _load_pairs(X, Y))
    own = centred_overlap(X, X) * centred_overlap(Y, Y)
    return centred_overlap(X, Y) / own**0.5


def cluster_contrast(X, Y, labels, *, gamma=1.0):
    r"""Return how much nearer rows of two networks are within clusters than between.

    The mean affinity :math:`\exp(-\|x - y\|^2 / \sigma)` of rows x of X and y of Y with
    the same label, minus that of rows with different ones. As in the document
    :math:`\sigma = 2 \gamma v` with v the total variance (``ddof=1``) of X and Y
    stacked.

    Parameters
    ----------
    X, Y : {array-like, tensor} of shape (n_samples, n_features)
        Aligned features; row i of both is the same object.
    labels : array-like of shape (n_samples,)
        Clusters or classes, at least two of them.
    gamma : float, default=1.0
        Bandwidth, as in :class:`~sklearn_featalign.RBFAutoScaleAligner`.

    Returns
    -------
    contrast : float
        Below 1; 0 where clusters do not show. It compares only between features of
        about the same mean affinity.

    References
    ----------
    The document "Feature Alignment", whose last picture shows these affinities.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_featalign.metrics import cluster_contrast
    >>> X, y = make_blobs(60, centers=3, cluster_std=0.1, random_state=0)
    >>> cluster_contrast(X, X, y) > 0.5
    True
    """
    X, Y = _load_pairs(X, Y, same_width=True)
    labels = column_or_1d(labels)
    check_consistent_length(X, labels)
    if not gamma > 0:
        raise ValueError(f"gamma must be positive, got {gamma!r}.")
    names, numbers = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"labels need at least two values, got {names.tolist()}.")
    if torch.equal(X, X[:1].expand_as(X)) and torch.equal(Y, X[:1].expand_as(Y)):
        raise ValueError("All rows are equal, so there is no scale of affinities.")
    numbers = torch.from_numpy(numbers.ravel()).to(X.device)
    within, between = affinity_by_label(X, Y, numbers, float(gamma))
    return within - between


def concordance_correlation(X, Y):
    r"""Return how well paired rows agree, offsets and scales included.

    .. math:: 1 - \frac{E \|x - y\|^2}{E \|x - y'\|^2}

    with :math:`y'` a row of Y at random: Lin's concordance correlation coefficient,
    with squares summed over the columns.

    Parameters
    ----------
    X, Y : {array-like, tensor} of shape (n_samples, n_features)
        Aligned features, or colours of them; row i of both is the same object.

    Returns
    -------
    agreement : float
        1 where paired rows coincide, 0 where they are as far apart as random ones, and
        -1 at least.

    Raises
    ------
    ValueError
        If all rows of both are equal.

    References
    ----------
    Lin (1989), "A concordance correlation coefficient to evaluate reproducibility".

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_featalign.metrics import concordance_correlation
    >>> X = np.random.default_rng(0).normal(size=(1000, 3))
    >>> round(concordance_correlation(X, X), 6)
    1.0
    >>> abs(concordance_correlation(X, X[::-1])) < 0.1
    True
    """
    X, Y = _load_pairs(X, Y, same_width=True)
    # The origin, which has no part in it, may be far away, and so may the scale.
    origin = X.mean(0)
    X, Y = X - origin, Y - origin
    scale = max(X.abs().max(), Y.abs().max())
    if scale == 0:
        raise ValueError("All rows are equal, so there is nothing to agree on.")
    X, Y = X / scale, Y / scale
    apart = X.square().mean(0) + Y.square().mean(0) - 2 * X.mean(0) * Y.mean(0)
    return float(1 - (X - Y).square().mean(0).sum() / apart.sum())


def alignment_loss(X, Y, *, alpha=2, normalize=True):
    r"""Return the mean of :math:`\|x - y\|^\alpha` over pairs.

    Parameters
    ----------
    X, Y : {array-like, tensor} of shape (n_samples, n_features)
        Aligned features; row i of both is the same object.
    alpha : float, default=2
        Power of the distance.
    normalize : bool, default=True
        Whether rows are scaled to unit length first, as the paper has them.

    Returns
    -------
    loss : float
        0 where paired rows coincide; with unit rows at most ``2 ** alpha``.

    References
    ----------
    Wang and Isola (2020), "Understanding contrastive representation learning through
    alignment and uniformity on the hypersphere".

    Examples
    --------
    >>> from sklearn_featalign.metrics import alignment_loss
    >>> alignment_loss([[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [0.0, -1.0]])
    2.0
    """
    X, Y = _load_pairs(X, Y, same_width=True)
    if normalize:
        X, Y = unit_rows(X), unit_rows(Y)
    return float((X - Y).norm(dim=1).pow(alpha).mean())


def uniformity_loss(X, *, t=2, normalize=True):
    r"""Return the log of the mean of :math:`e^{-t \|x - x'\|^2}` over pairs of rows.

    Parameters
    ----------
    X : {array-like, tensor} of shape (n_samples, n_features)
        At least two rows.
    t : float, default=2
        Sharpness of the Gaussian.
    normalize : bool, default=True
        Whether rows are scaled to unit length first, as the paper has them.

    Returns
    -------
    loss : float
        0 where all rows coincide, lower for rows spread more evenly; with unit rows at
        least about ``-2 * t``.

    References
    ----------
    Wang and Isola (2020), "Understanding contrastive representation learning through
    alignment and uniformity on the hypersphere".

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_featalign.metrics import uniformity_loss
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> uniformity_loss(X) < uniformity_loss(X + 3) < 0
    True
    """
    X = _load(X, "X", min_samples=2)
    X = unit_rows(X) if normalize else X
    return log_mean_gaussian(X, t)


def make_retrieval_scorer(score_func=retrieval_accuracy, **kwargs):
    """Make a scorer of paired views for GridSearchCV.

    It scores an aligner with views, or a pipeline that ends in one, by the mean of
    ``score_func(features of one view, features of another, **kwargs)`` over all
    ordered pairs of views, on the rows that have both. No labels are needed.

    Parameters
    ----------
    score_func : callable, default=retrieval_accuracy
        Such as :func:`retrieval_accuracy`, :func:`mean_reciprocal_rank` or
        :func:`mutual_knn`; larger is better.
    **kwargs
        Passed on. `metric` is that of the aligner, where this has one and it is not
        among them.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y=None)``.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn_featalign import RBFAutoScaleAligner
    >>> from sklearn_featalign.metrics import make_retrieval_scorer
    >>> search = GridSearchCV(
    ...     RBFAutoScaleAligner(views=[64, 32], normalize="ridge"),
    ...     {"c": [0.1, 0.3, 0.5]},
    ...     scoring=make_retrieval_scorer(k=5),
    ... )
    """
    return partial(_score_pairs, score_func=score_func, kwargs=kwargs)


def _score_pairs(estimator, X, y=None, *, score_func, kwargs):
    estimator, X = last_step(estimator, X)
    if not hasattr(estimator, "score_pairs"):
        raise TypeError(
            "A retrieval scorer scores an aligner with two views or more, or a "
            f"pipeline that ends in one, got {type(estimator).__name__}."
        )
    if hasattr(estimator, "metric") and "metric" in signature(score_func).parameters:
        kwargs = {"metric": estimator.metric} | kwargs
    return estimator.score_pairs(X, partial(score_func, **kwargs))


def last_step(estimator, X=None):
    """Return what searches and pipelines end in, and the rows that this sees."""
    while hasattr(estimator, "best_estimator_") or hasattr(estimator, "steps"):
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
            continue
        if len(estimator.steps) > 1 and X is not None:
            X = estimator[:-1].transform(X)
        estimator = estimator[-1]
    return estimator, X


def make_view_scorer(view, *, scoring=None, views=None):
    """Make a scorer that shows the estimator one view only.

    All other columns become NaN before the estimator, such as a pipeline
    from an aligner with ``output="coalesce"`` to a classifier, is scored, on the rows
    that have this view. With one scorer a view, GridSearchCV tells how a classifier
    does on each network alone.

    Parameters
    ----------
    view : str or int
        Name or index of the view that stays.
    scoring : str, callable or None, default=None
        As in scikit-learn; None is the estimator's own ``score``.
    views : list or dict, optional
        The views of X. By default those of the aligner found in the estimator, which
        must then see as many columns as the estimator does.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y)``.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.pipeline import Pipeline
    >>> from sklearn_featalign import RBFAutoScaleAligner
    >>> from sklearn_featalign.metrics import make_view_scorer
    >>> aligner = RBFAutoScaleAligner(views=[64, 32], output="coalesce")
    >>> search = GridSearchCV(
    ...     Pipeline([("align", aligner), ("classify", LogisticRegression())]),
    ...     {"align__c": [0.1, 0.3, 0.5]},
    ...     scoring={"first": make_view_scorer(0), "second": make_view_scorer(1)},
    ...     refit="second",
    ... )
    """
    return partial(_score_view, view=view, scoring=scoring, views=views)


def _score_view(estimator, X, y=None, *, view, scoring, views):
    if views is None:
        aligner = _find_aligner(estimator)
        if aligner is None or aligner.n_features_in_ != np.shape(X)[1]:
            raise ValueError(
                "No fitted aligner with views sees the columns of X: give the views of "
                "X to make_view_scorer."
            )
        columns = aligner.view_columns_
    else:
        columns = resolve_views(views, X)
    X, rows = keep_view(X, view_name(view, columns), columns)
    y = None if y is None else _safe_indexing(y, rows)
    return check_scoring(estimator, scoring)(estimator, X, y)


def _find_aligner(estimator):
    """Return the first fitted aligner in an estimator, or None."""
    if hasattr(estimator, "view_columns_"):
        return estimator
    inner = [step for _, step in getattr(estimator, "steps", ())]
    inner += [getattr(estimator, "best_estimator_", None)]
    found = (_find_aligner(step) for step in inner if step is not None)
    return next((aligner for aligner in found if aligner is not None), None)


def _load(X, name, min_samples=1):
    """Return rows in float64 on the device."""
    X = check_rows(None, X, min_samples=min_samples, input_name=name)
    return Rows(X, resolve_device("auto", X), 1, 1).load().to(torch.float64)


def _load_pairs(X, Y, same_width=False):
    """Return paired rows in float64 on the device."""
    X, Y = _load(X, "X"), _load(Y, "Y")
    check_consistent_length(X, Y)
    if same_width and X.shape[1] != Y.shape[1]:
        raise ValueError(
            f"X has {X.shape[1]} features and Y has {Y.shape[1]}: they need to be "
            "aligned in one space first."
        )
    return X, Y.to(X.device)


def _unit_spread(X):
    """Return centred features, scaled so that products neither overflow nor vanish."""
    X = X - X.mean(0)
    scale = X.abs().max()
    if scale == 0:
        raise ValueError("All rows are equal, so there is no kernel to compare.")
    return X / scale


def _check_option(name, value, options):
    if value not in options:
        raise ValueError(
            f"{name} must be one of {', '.join(map(repr, options))}, got {value!r}."
        )


def _check_count(name, value, largest=None):
    """Refuse what is no integer from 1, up to the largest if given."""
    is_count = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_count or value < 1 or (largest is not None and value > largest):
        bounds = "of at least 1" if largest is None else f"from 1 to {largest}"
        raise ValueError(f"{name} must be an integer {bounds}, got {value!r}.")

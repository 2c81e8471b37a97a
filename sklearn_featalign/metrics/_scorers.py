"""Scorers of views for searches, and the final estimator of searches and pipelines."""

from functools import partial
from inspect import signature

import numpy as np
from sklearn.metrics import check_scoring
from sklearn.utils import _safe_indexing

from sklearn_featalign._views import (
    block,
    hide_other_views,
    resolve_views,
    view_masks,
    view_name,
)
from sklearn_featalign.metrics._checks import check_option
from sklearn_featalign.metrics._retrieval import neighbor_recall, retrieval_accuracy


def make_retrieval_scorer(score_func=retrieval_accuracy, **kwargs):
    """Make a scorer of paired views for GridSearchCV.

    It scores an aligner with views, or a pipeline that ends in one, by the mean of
    ``score_func(features of one view, features of another, **kwargs)`` over all ordered
    pairs of views, on the rows that have both. It needs no labels.

    Parameters
    ----------
    score_func : callable, default=retrieval_accuracy
        Function whose larger values are better, such as :func:`mean_reciprocal_rank`.
    **kwargs : dict
        Passed to `score_func`. If this has a parameter `metric` that is not given, it
        gets the metric by which the aligner's own ``score`` compares rows.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y=None, groups=None)``, with groups of the rows of X as
        for :func:`retrieval_ranks`.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn_featalign import RBFAutoScaleAligner
    >>> from sklearn_featalign.metrics import make_retrieval_scorer
    >>> aligner = RBFAutoScaleAligner(views=[64, 32], normalize="ridge")
    >>> scorer = make_retrieval_scorer(k=5)
    >>> search = GridSearchCV(aligner, {"c": [0.1, 0.3, 0.5]}, scoring=scorer)
    """
    return partial(_score_pairs, score_func=score_func, kwargs=kwargs)


def _score_pairs(estimator, X, y=None, groups=None, *, score_func, kwargs):
    estimator, X = final_estimator(estimator, X)
    if not hasattr(estimator, "score_pairs"):
        raise TypeError(
            "A retrieval scorer scores an aligner with two views or more, or a "
            f"pipeline that ends in one, got {type(estimator).__name__}."
        )
    if "metric" in signature(score_func).parameters and hasattr(estimator, "_metric"):
        # A partial function may hold a metric of its own.
        given = getattr(score_func, "keywords", {}) | kwargs
        kwargs = {"metric": estimator._metric} | given
    given = {} if groups is None else {"groups": groups}
    return estimator.score_pairs(X, partial(score_func, **kwargs), **given)


def make_neighbor_scorer(
    source,
    target,
    *,
    move="index",
    k=10,
    n=None,
    metric="cosine",
    metric_true="cosine",
):
    """Make a scorer of bridges between two networks for GridSearchCV.

    It scores an aligner that can ``translate``, or a pipeline that ends in one. A row
    is searched among the others by :func:`neighbor_recall`, with what the target's own
    features find as the truth. It needs no labels.

    Parameters
    ----------
    source, target : str or int
        Names or indices of two views: of the old model, and of the new one, whose
        neighbours are the truth.
    move : {"index", "queries"}, default="index"
        What is translated: the searched rows, from the source to the target, which
        leaves queries as they are; or the queries, from the target to the source.
    k : int, default=10
        Number of true nearest rows.
    n : int, optional
        Number of nearest rows among which they are looked for, `k` by default.
    metric, metric_true : {"cosine", "dot", "euclidean"}, default="cosine"
        Similarity or distance of the search, and of the true one.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y=None)``. Scores fall with the number of rows: compare
        those of equally many.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn_featalign import KernelGCCAAligner
    >>> from sklearn_featalign.metrics import make_neighbor_scorer
    >>> aligner = KernelGCCAAligner(views={"old": 256, "new": 384})
    >>> scorer = make_neighbor_scorer("old", "new", k=10)
    >>> search = GridSearchCV(aligner, {"linear": [0.4, 0.7, 0.9]}, scoring=scorer)
    """
    check_option("move", move, ("index", "queries"))
    kwargs = {"k": k, "n": n, "metric": metric, "metric_true": metric_true}
    return partial(
        _score_bridge, source=source, target=target, move=move, kwargs=kwargs
    )


def _score_bridge(estimator, X, y=None, *, source, target, move, kwargs):
    estimator, X = final_estimator(estimator, X)
    if not hasattr(estimator, "translate"):
        raise TypeError(
            "A neighbour scorer scores an aligner that can translate between views, "
            f"or a pipeline that ends in one, got {type(estimator).__name__}."
        )
    X = estimator._check_rows(X)
    columns = estimator.view_columns_
    names = [view_name(view, columns) for view in (source, target)]
    masks = view_masks(X, {name: columns[name] for name in names})
    both = np.flatnonzero(masks[names[0]] & masks[names[1]])
    if not len(both):
        raise ValueError(f"No row of X has both {names[0]!r} and {names[1]!r}.")
    old, new = (block(X, columns[name])[both] for name in names)
    if move == "index":
        search = new, estimator.translate(old, source, target)
    else:
        search = estimator.translate(new, target, source), old
    return neighbor_recall(new, new, *search, leave_own_out=True, **kwargs)


def final_estimator(estimator, X=None):
    """Return the final estimator of searches and pipelines, and the X that it sees."""
    while hasattr(estimator, "best_estimator_") or hasattr(estimator, "steps"):
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
            continue
        # Steps of resampling, as in imbalanced-learn, are for the fit alone.
        for _, step in estimator.steps[:-1]:
            if X is not None and hasattr(step, "transform"):
                X = step.transform(X)
        estimator = estimator[-1]
    return estimator, X


def make_view_scorer(view, *, scoring=None, views=None):
    """Make a scorer that shows a single view to the estimator.

    It scores an estimator, such as a pipeline of an aligner with ``output="coalesce"``
    and a classifier, on the rows that have this view, with NaN in all other columns.
    One scorer for each view tells how well a classifier does on each network alone.

    Parameters
    ----------
    view : str or int
        Name or index of the view that is shown.
    scoring : str, callable or None, default=None
        Score as in scikit-learn; None is the estimator's own ``score``.
    views : list or dict, optional
        The views of X. By default they are those of the first aligner in the
        estimator, which must then see all columns of X.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y)``.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_featalign import RBFAutoScaleAligner
    >>> from sklearn_featalign.metrics import make_view_scorer
    >>> aligner = RBFAutoScaleAligner(views=[64, 32], output="coalesce")
    >>> pipeline = make_pipeline(aligner, LogisticRegression())
    >>> grid = {"rbfautoscalealigner__c": [0.1, 0.3, 0.5]}
    >>> scorers = {"first": make_view_scorer(0), "second": make_view_scorer(1)}
    >>> search = GridSearchCV(pipeline, grid, scoring=scorers, refit="second")
    """
    # joblib, which hashes dicts whatever their order, sees that of the names.
    names = list(views) if isinstance(views, dict) else None
    return partial(_score_view, view=view, scoring=scoring, views=views, names=names)


def _score_view(estimator, X, y=None, *, view, scoring, views, names):
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
    X, rows = hide_other_views(X, view_name(view, columns), columns)
    y = None if y is None else _safe_indexing(y, rows)
    return check_scoring(estimator, scoring)(estimator, X, y)


def _find_aligner(estimator):
    """Return the first fitted aligner in searches and pipelines, or None."""
    if hasattr(estimator, "view_columns_"):
        return estimator
    inner = [step for _, step in getattr(estimator, "steps", ())]
    inner += [getattr(estimator, "best_estimator_", None)]
    found = (_find_aligner(step) for step in inner if step is not None)
    return next((aligner for aligner in found if aligner is not None), None)

"""Colours of features: their ranks along three axes that all views share."""

import numpy as np
from scipy.linalg import eigh
from scipy.stats import rankdata
from sklearn.decomposition import PCA
from sklearn.utils import check_consistent_length

from sklearn_featalign.displays._plotting import check_complete, named_views

# Number of axes of a colour, and maximum number of principal components of a view.
_N_CHANNELS, _MAX_COMPONENTS = 3, 64


def feature_colors(features, axes_features, *, mask=None):
    r"""Return a colour for each row of features, by one rule for all views.

    A colour is the rank of the row along three axes, among the rows of all views. The
    axes are the top eigenvectors of :math:`\sum_{a \neq b} G_a^T G_b`, where
    :math:`G_a` holds the `axes_features` of view a, less the mean over all views: the
    directions in which paired rows vary together. For one view they are its principal
    axes.

    Parameters
    ----------
    features : list or dict of array-like of shape (n_samples, n_features)
        Features of each view, in order or by name.
    axes_features : list or dict of array-like of shape (n_rows, n_features)
        Features of each view on which the axes are fitted, with at least three rows;
        row i of every view is the same object. Views of different widths are first
        replaced by their own principal components, up to 64, of unit total variance.
    mask : array-like of bool of shape (n_samples,), default=None
        Rows that get a colour; the colour of others is NaN. None colours all rows.

    Returns
    -------
    colors : dict of str to ndarray of shape (n_samples, 3)
        Colours of each view, from 0 to 1, spread evenly over the rows of all views.

    Raises
    ------
    ValueError
        If numbers of rows, views or columns do not match.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_featalign.displays import feature_colors
    >>> X = np.random.default_rng(0).normal(size=(200, 5))
    >>> colors = feature_colors({"a": X[:100], "b": X[:100]}, [X[100:], X[100:]])
    >>> bool((colors["a"] == colors["b"]).all())
    True
    """
    features, axes_features = named_views(features), named_views(axes_features)
    rows, fit_rows = match_views(features, axes_features)
    check_consistent_length(*rows, mask)
    check_consistent_length(*fit_rows)
    shown = np.ones(len(rows[0]), bool) if mask is None else np.asarray(mask, bool)
    if not shown.any():
        raise ValueError("No row is shown.")
    rows = [F[shown] for F in rows]
    for views in (rows, fit_rows):
        check_complete(dict(zip(features, views, strict=True)))
    if len({F.shape[1] for F in rows}) > 1:
        rows, fit_rows = own_components(rows, fit_rows)
    if min(fit_rows[0].shape) < _N_CHANNELS:
        raise ValueError(
            f"A colour has {_N_CHANNELS} axes: {len(fit_rows[0])} rows to fit them on "
            f"and {fit_rows[0].shape[1]} columns (principal components where views "
            "differ in width) are too few."
        )
    colors = np.full((len(rows), len(shown), _N_CHANNELS), np.nan)
    colors[:, shown] = rank_colors(rows, *shared_axes(fit_rows))
    return dict(zip(features, colors, strict=True))


def match_views(features, axes_features):
    """Return the features and the axes features as lists of views in the same order."""
    if len(axes_features) != len(features):
        raise ValueError(
            f"axes_features has {len(axes_features)} views, and features has "
            f"{len(features)}."
        )
    if set(axes_features) == set(features):
        axes_features = {name: axes_features[name] for name in features}
    rows, fit_rows = list(features.values()), list(axes_features.values())
    for name, F, G in zip(features, rows, fit_rows, strict=True):
        if F.shape[1] != G.shape[1]:
            raise ValueError(
                f"View {name!r} has {F.shape[1]} features, and {G.shape[1]} in the "
                "rows that axes are fitted on."
            )
    return rows, fit_rows


def shared_axes(features):
    """Return the center and the axes, as columns, that `feature_colors` describes."""
    center = np.mean([F.mean(0, dtype=float) for F in features], axis=0)
    centred = [F - center for F in features]
    total = sum(centred)
    products = total.T @ total
    if len(features) > 1:
        products -= sum(F.T @ F for F in centred)
    d = len(products)
    _, axes = eigh(products, subset_by_index=(d - _N_CHANNELS, d - 1))
    axes = axes[:, ::-1]
    # The sign of an eigenvector is arbitrary: make its largest entry positive.
    return center, axes * np.sign(axes[np.abs(axes).argmax(0), range(_N_CHANNELS)])


def rank_colors(features, center, axes):
    """Return ranks along axes, from 0 to 1, of shape (n_views, n_samples, n_axes)."""
    values = np.stack([(F - center) @ axes for F in features])
    ranks = rankdata(values.reshape(-1, axes.shape[1]), axis=0) - 0.5
    return (ranks / len(ranks)).reshape(values.shape)


def own_components(features, fit_features):
    """Return both lists of features in each view's own principal components.

    The components are fitted on `fit_features` and scaled to unit total variance. They
    give views of different widths the same width, without aligning them. Rows of NaN
    stay as they are.
    """
    k = min(_MAX_COMPONENTS, *(min(F.shape) for F in fit_features))
    pairs = []
    for F, rows in zip(features, fit_features, strict=True):
        pca = PCA(k, svd_solver="full").set_output(transform="default").fit(rows)
        scale = pca.explained_variance_.sum() ** 0.5 or 1.0
        # Not by `transform`, which refuses NaN.
        maps = [(Z - pca.mean_) @ pca.components_.T / scale for Z in (F, rows)]
        pairs.append(maps)
    return tuple(map(list, zip(*pairs, strict=True)))

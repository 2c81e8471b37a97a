"""Colours of feature rows: three axes that views share, and ranks along them."""

import numpy as np
from scipy.linalg import eigh
from scipy.stats import rankdata
from sklearn.decomposition import PCA


def shared_axes(features, n_axes=3):
    r"""Return the directions in which paired rows of views vary together.

    The top eigenvectors of :math:`\sum_{a \neq b} F_a^T F_b`, where :math:`F_a` are the
    rows of view a less the mean over the rows of all views. Of a single view these are
    its principal axes.

    Parameters
    ----------
    features : list of ndarray of shape (n_samples, n_features)
        Row i of each is the same object.
    n_axes : int

    Returns
    -------
    center : ndarray of shape (n_features,)
    axes : ndarray of shape (n_features, n_axes)
    """
    center = np.mean([F.mean(0, dtype=float) for F in features], axis=0)
    centred = [F - center for F in features]
    total = sum(centred)
    products = total.T @ total
    if len(features) > 1:
        products -= sum(F.T @ F for F in centred)
    d = len(products)
    _, axes = eigh(products, subset_by_index=(d - n_axes, d - 1))
    axes = axes[:, ::-1]
    # An eigenvector has no sign of its own.
    return center, axes * np.sign(axes[np.abs(axes).argmax(0), range(n_axes)])


def rank_colors(features, center, axes, shown):
    """Return colours from 0 to 1: ranks along each axis, over the rows of all views.

    Parameters
    ----------
    features : list of ndarray of shape (n_shown, n_features)
        Of the rows that have a colour.
    center, axes
        As from `shared_axes`.
    shown : ndarray of bool of shape (n_samples,)
        The rows that have a colour; others are NaN.

    Returns
    -------
    colors : ndarray of shape (n_views, n_samples, n_axes)
    """
    values = np.stack([(F - center) @ axes for F in features])
    ranks = rankdata(values.reshape(-1, axes.shape[1]), axis=0) - 0.5
    colors = np.full((len(features), len(shown), axes.shape[1]), np.nan)
    colors[:, shown] = (ranks / len(ranks)).reshape(values.shape)
    return colors


def own_components(features, fit_features, n_components=64):
    """Return each view's rows in principal components of its own, of unit variance.

    Rows of different widths so have a common width, and nothing else in common.

    Parameters
    ----------
    features, fit_features : list of ndarray of shape (n_samples, n_features)
        Rows of each view, and those that its components are fitted on.
    n_components : int
        At most.

    Returns
    -------
    features, fit_features : list of ndarray of shape (n_samples, n_components)
    """
    k = min(n_components, *(min(F.shape) for F in fit_features))
    pairs = []
    for F, rows in zip(features, fit_features, strict=True):
        pca = PCA(k, svd_solver="full").set_output(transform="default").fit(rows)
        scale = pca.explained_variance_.sum() ** 0.5 or 1.0
        pairs.append((pca.transform(F) / scale, pca.transform(rows) / scale))
    return tuple(map(list, zip(*pairs, strict=True)))

"""Metrics of feature spaces as a whole: kernels, clusters and distances of pairs."""

import numpy as np
import torch

from sklearn_featalign._linalg import unit_rows
from sklearn_featalign._similarity import (
    affinity_by_label,
    centred_overlap,
    log_mean_gaussian,
)
from sklearn_featalign.metrics._checks import check_labels, load, load_pairs


def linear_cka(X, Y):
    r"""Return the linear centred kernel alignment (CKA) of two feature spaces.

    .. math:: \frac{\|X^T Y\|_F^2}{\|X^T X\|_F \|Y^T Y\|_F}

    for centred features. It is 1 if features are equal up to rotation, shift and scale.
    With fewer rows than features it is also large for unrelated features.

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
    X, Y = (centred_and_scaled(Z) for Z in load_pairs(X, Y))
    own = centred_overlap(X, X) * centred_overlap(Y, Y)
    return centred_overlap(X, Y) / own**0.5


def cluster_contrast(X, Y, labels, *, gamma=1.0):
    r"""Return the mean affinity within clusters minus that between clusters.

    The affinity of rows x of X and y of Y is :math:`\exp(-\|x - y\|^2 / \sigma)`, with
    :math:`\sigma = 2 \gamma v` and v the total variance (``ddof=1``) of all rows.

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
        Below 1, and about 0 if clusters are not separated. Compare it only between
        features of about the same mean affinity.

    References
    ----------
    The document "Feature Alignment", whose last figure shows these affinities.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_featalign.metrics import cluster_contrast
    >>> X, y = make_blobs(60, centers=3, cluster_std=0.1, random_state=0)
    >>> cluster_contrast(X, X, y) > 0.5
    True
    """
    X, Y = load_pairs(X, Y, same_width=True)
    labels = check_labels(labels, X)
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
    r"""Return how well paired rows agree in their values, offset and scale included.

    .. math:: 1 - \frac{E \|x - y\|^2}{E \|x - y'\|^2}

    with :math:`y'` a random row of Y. This is Lin's concordance correlation coefficient
    with squares summed over columns.

    Parameters
    ----------
    X, Y : {array-like, tensor} of shape (n_samples, n_features)
        Aligned features, or colours of them; row i of both is the same object.

    Returns
    -------
    agreement : float
        1 if paired rows are equal, 0 if as far apart as random rows, and at least -1.

    Raises
    ------
    ValueError
        If all rows of X and Y are equal.

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
    X, Y = load_pairs(X, Y, same_width=True)
    # The result is invariant to shift and scale: removing both keeps precision.
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
        Whether rows are scaled to unit length first, as in the paper.

    Returns
    -------
    loss : float
        0 if paired rows are equal; for unit rows at most ``2 ** alpha``.

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
    X, Y = load_pairs(X, Y, same_width=True)
    if normalize:
        X, Y = unit_rows(X), unit_rows(Y)
    return float((X - Y).norm(dim=1).pow(alpha).mean())


def uniformity_loss(X, *, t=2, normalize=True):
    r"""Return the log of the mean of :math:`e^{-t \|x - x'\|^2}` over pairs of rows.

    Parameters
    ----------
    X : {array-like, tensor} of shape (n_samples, n_features)
        Features of at least two rows.
    t : float, default=2
        Rate of decay with the squared distance.
    normalize : bool, default=True
        Whether rows are scaled to unit length first, as in the paper.

    Returns
    -------
    loss : float
        0 if all rows are equal, and lower the more evenly they are spread; for unit
        rows at least about ``-2 * t``.

    References
    ----------
    Wang and Isola (2020): see :func:`alignment_loss`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_featalign.metrics import uniformity_loss
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> uniformity_loss(X) < uniformity_loss(X + 3) < 0
    True
    """
    X = load(X, "X", min_samples=2)
    X = unit_rows(X) if normalize else X
    return log_mean_gaussian(X, t)


def centred_and_scaled(X):
    """Return centred features, scaled so that their products stay in range."""
    X = X - X.mean(0)
    scale = X.abs().max()
    if scale == 0:
        raise ValueError("All rows are equal, so there is no kernel to compare.")
    return X / scale

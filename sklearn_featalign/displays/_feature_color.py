"""Images in the colours of their patches' features."""

from itertools import combinations

import numpy as np
from sklearn.utils import check_consistent_length

from sklearn_featalign.displays._colors import own_components, rank_colors, shared_axes
from sklearn_featalign.displays._plotting import (
    check_matplotlib,
    features_of_views,
    make_axes,
    named_views,
    to_array,
)
from sklearn_featalign.metrics import concordance_correlation
from sklearn_featalign.metrics._scorers import final_estimator

# Between images, as a share of their width.
_GAP = 0.03

N_CHANNELS = 3


class FeatureColorDisplay:
    """Images in the colours of their patches' features, a row of images for each view.

    Each colour channel is an axis that all views share, fitted on other rows than those
    shown: the directions in which paired rows of the views vary together. Colours are
    ranks along them, over the shown patches of all views. Where views are aligned a
    patch has the same colour in each. The title says how much so, from 0, as in random
    patches, to 1: see :func:`~sklearn_featalign.metrics.concordance_correlation`, of
    which it is the mean over pairs of views.

    Parameters
    ----------
    colors : dict of str to ndarray of shape (n_images, n_rows, n_columns, 3)
        Of each view, from 0 to 1; NaN is background.
    images : ndarray of shape (n_images, height, width[, 3]) or None, default=None
        The images themselves, shown above.

    Attributes
    ----------
    agreement : float
        Of the colours of views, mean over pairs. NaN of a single view.
    ax_ : matplotlib Axes
        Axes with the images.
    figure_ : matplotlib Figure
        Figure that holds the axes.

    Notes
    -----
    The figures of the results section of the document "Feature Alignment" have colours
    by other means (spectral embeddings of the rows shown). Axes that have seen the rows
    shown as pairs make agreement of their own, in features that are not aligned too.

    Much agreement can be had by what networks share without having learned anything,
    such as brightness and the position in the image: compare with an untrained network,
    as ``benchmarks/dense_features.py`` does.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_featalign import RBFAutoScaleAligner
    >>> from sklearn_featalign.displays import FeatureColorDisplay
    >>> rng = np.random.default_rng(0)
    >>> Z = rng.normal(size=(300, 5))
    >>> X = np.hstack([Z @ rng.normal(size=(5, 8)), Z @ rng.normal(size=(5, 12))])
    >>> aligner = RBFAutoScaleAligner(views=[8, 12], n_landmarks=100, random_state=0)
    >>> display = FeatureColorDisplay.from_estimator(
    ...     aligner.set_params(normalize="ridge").fit(X[:200]), X[200:], (1, 10, 10)
    ... )
    >>> display.agreement > 0.8
    True
    """

    def __init__(self, *, colors, images=None):
        self.colors = colors
        self.images = images

    @property
    def agreement(self):
        """How much views agree."""
        shown = [values[~np.isnan(values[..., 0])] for values in self.colors.values()]
        pairs = [concordance_correlation(a, b) for a, b in combinations(shown, 2)]
        return float(np.mean(pairs)) if pairs else float("nan")

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        grid,
        *,
        aligned=True,
        axes_rows=None,
        mask=None,
        images=None,
        ax=None,
        **kwargs,
    ):
        """Draw images in the colours of features before or after alignment.

        Parameters
        ----------
        estimator : estimator
            A fitted aligner with `views`, or a pipeline or search that ends in one.
        X : {array-like, tensor} of shape (n_samples, n_features_in_)
            Dense features, one row for each patch: image by image, and within these row
            by row. Every row has every view.
        grid : tuple of int
            Number of images, and the rows and columns of patches in each.
        aligned : bool, default=True
            False shows the features as they came, by principal components of each view
            (up to 64, of unit total variance), and by the same rule for the axes.
        axes_rows : {array-like, tensor} of shape (n_rows, n_features_in_), default=None
            Rows that axes (and those components) are fitted on. None takes the
            landmarks of the aligner.
        mask : ndarray of bool of shape grid, default=None
            The patches that have a colour; others are background. None is all.
        images : array-like of shape (n_images, height, width[, 3]), default=None
            The images themselves, shown above: from 0 to 1, or integers up to 255.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes new ones.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : FeatureColorDisplay
            With its axes in ``ax_``.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        features = features_of_views(estimator, X, aligned)
        if axes_rows is None:
            aligner, _ = final_estimator(estimator, None)
            if not hasattr(aligner, "landmarks_"):
                raise ValueError(
                    f"{type(aligner).__name__} has no landmarks to fit axes on: give "
                    "axes_rows, other rows than those of X."
                )
            fit_features = features_of_views(aligner, aligner.landmarks_, aligned)
        else:
            fit_features = features_of_views(estimator, axes_rows, aligned)
        if not aligned:
            both = own_components(list(features.values()), list(fit_features.values()))
            features, fit_features = (dict(zip(features, F, strict=True)) for F in both)
        return cls.from_features(
            features, grid, fit_features, mask=mask, images=images, ax=ax, **kwargs
        )

    @classmethod
    def from_features(
        cls, features, grid, axes_features, *, mask=None, images=None, ax=None, **kwargs
    ):
        """Draw images in the colours of features.

        Parameters
        ----------
        features : list or dict of array-like of shape (n_samples, n_features)
            Dense features of each view, one row for each patch: image by image, and
            within these row by row.
        grid : tuple of int
            Number of images, and the rows and columns of patches in each.
        axes_features : list or dict of array-like of shape (n_rows, n_features)
            Features of each view that axes are fitted on, three rows at least: paired
            rows, such as landmarks, of other images than those shown. Where views
            differ in width, each first becomes its own principal components.
        mask : ndarray of bool of shape grid, default=None
            The patches that have a colour; others are background. None is all.
        images : array-like of shape (n_images, height, width[, 3]), default=None
            The images themselves, shown above: from 0 to 1, or integers up to 255.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes new ones.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : FeatureColorDisplay
            With its axes in ``ax_``.

        Raises
        ------
        ValueError
            If the numbers of rows are not those of the grid.
        """
        check_matplotlib(f"{cls.__name__}.from_features")
        features = named_views(features)
        if len(grid) != 3:
            raise ValueError(
                "grid is the number of images, and the rows and columns of patches in "
                f"each, got {grid!r}."
            )
        for name, F in features.items():
            if len(F) != np.prod(grid):
                raise ValueError(
                    f"View {name!r} has {len(F)} rows, and {grid[0]} images of "
                    f"{grid[1]} x {grid[2]} patches have {np.prod(grid)}."
                )
        mask = None if mask is None else np.asarray(mask).ravel()
        colors = feature_colors(features, axes_features, mask=mask)
        display = cls(
            colors={k: values.reshape(*grid, 3) for k, values in colors.items()},
            images=None if images is None else check_images(images, grid[0]),
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax=None, *, max_images=8, title=None):
        """Draw the images.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes new ones.
        max_images : int, default=8
            At most so many are drawn, the first ones.
        title : str, default=None
            Before the agreement.

        Returns
        -------
        display : FeatureColorDisplay
            With its axes in ``ax_``.
        """
        words = [] if title is None else [title]
        if len(self.colors) > 1:
            words.append(f"agreement {self.agreement:.2f}")
        # A view may be called "image" too.
        rows = [] if self.images is None else [("image", self.images)]
        rows += self.colors.items()
        n_images = min(max_images, len(next(iter(self.colors.values()))))
        figsize = (1.1 * n_images + 1.2, 1.1 * len(rows) + 0.5)
        self.ax_, self.figure_ = make_axes(ax, f"{type(self).__name__}.plot", figsize)
        for i, (_, tiles) in enumerate(rows):
            for j, tile in enumerate(tiles[:n_images]):
                self._draw_tile(tile, i, j)
        self.ax_.set(
            xlim=(-_GAP, n_images + _GAP),
            ylim=(len(rows) + _GAP, -_GAP),
            xticks=[],
            yticks=np.arange(len(rows)) + 0.5,
            yticklabels=[name for name, _ in rows],
            aspect="equal",
        )
        self.ax_.tick_params(length=0)
        self.ax_.spines[:].set_visible(False)
        self.ax_.set_title(", ".join(words))
        return self

    def _draw_tile(self, tile, i, j):
        """Draw an image in the place of row i and column j."""
        kwargs = {"cmap": "gray", "vmin": 0, "vmax": 1}
        if tile.shape[2:] == (3,):
            background = np.isnan(tile).any(-1, keepdims=True)
            tile = np.concatenate([np.where(background, 0, tile), ~background], axis=-1)
        box = (j + _GAP, j + 1 - _GAP, i + 1 - _GAP, i + _GAP)
        self.ax_.imshow(tile, extent=box, interpolation="nearest", **kwargs)


def check_images(images, n_images):
    """Return images as numbers from 0 to 1."""
    images = to_array(images)
    if len(images) != n_images or images.ndim not in (3, 4):
        raise ValueError(
            "images have the shape (n_images, height, width[, n_channels]), of "
            f"{n_images} images, got {images.shape}."
        )
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    return images / 255 if images.dtype.kind in "iu" else images


def feature_colors(features, axes_features, *, mask=None):
    r"""Return colours of rows, by one rule for the features of all views.

    Each channel is one of the top three eigenvectors of :math:`\sum_{a \neq b} G_a^T
    G_b`, where :math:`G_a` are the rows of view a that axes are fitted on, less the
    mean over those of all views: the directions in which paired rows vary together. Of
    one view they are its principal axes. Colours are ranks along these.

    Parameters
    ----------
    features : list or dict of array-like of shape (n_samples, n_features)
        Features of each view.
    axes_features : list or dict of array-like of shape (n_rows, n_features)
        Features of each view that axes are fitted on, three rows at least; row i of
        each is the same object. Where views differ in width, each first becomes its own
        principal components, up to 64, of unit total variance.
    mask : array-like of bool of shape (n_samples,), default=None
        The rows that have a colour; others are NaN. None is all.

    Returns
    -------
    colors : dict of str to ndarray of shape (n_samples, 3)
        Of each view, from 0 to 1, evenly spread over the rows of all views.

    Raises
    ------
    ValueError
        If numbers of rows, views or columns do not go together.

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
    rows = [F[shown] for F in rows]
    check_values(features, rows, fit_rows)
    if len({F.shape[1] for F in rows}) > 1:
        rows, fit_rows = own_components(rows, fit_rows)
    if min(fit_rows[0].shape) < N_CHANNELS:
        raise ValueError(
            f"A colour has {N_CHANNELS} axes: {len(fit_rows[0])} rows to fit them on "
            f"and {fit_rows[0].shape[1]} columns (principal components where views "
            "differ in width) are too few."
        )
    colors = rank_colors(rows, *shared_axes(fit_rows), shown)
    return dict(zip(features, colors, strict=True))


def match_views(features, axes_features):
    """Return features of views, and those that axes are fitted on, in one order."""
    if len(axes_features) != len(features):
        raise ValueError(
            f"axes_features has {len(axes_features)} views, and features has "
            f"{len(features)}."
        )
    if set(axes_features) == set(features):
        axes_features = {name: axes_features[name] for name in features}
    for (name, F), G in zip(features.items(), axes_features.values(), strict=True):
        if F.shape[1] != G.shape[1]:
            raise ValueError(
                f"View {name!r} has {F.shape[1]} features, and {G.shape[1]} in the "
                "rows that axes are fitted on."
            )
    return list(features.values()), list(axes_features.values())


def check_values(features, rows, fit_rows):
    """Refuse rows that have no colour, and values that are not finite."""
    if not len(rows[0]):
        raise ValueError("No row is shown.")
    for name, F, G in zip(features, rows, fit_rows, strict=True):
        if not (np.isfinite(F).all() and np.isfinite(G).all()):
            raise ValueError(f"View {name!r} contains NaN or infinity.")

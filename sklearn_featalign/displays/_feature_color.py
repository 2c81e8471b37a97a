"""Display of images in the colours of their patches' features."""

from itertools import combinations

import numpy as np

from sklearn_featalign.displays._colors import feature_colors, own_components
from sklearn_featalign.displays._plotting import (
    check_complete,
    check_matplotlib,
    features_of_views,
    make_axes,
    named_views,
    to_array,
)
from sklearn_featalign.metrics import concordance_correlation
from sklearn_featalign.metrics._scorers import final_estimator

# Margin around each image, as a share of the width of its place.
_GAP = 0.03


class FeatureColorDisplay:
    """Images in the colours of their patches' features, with a row for each view.

    A colour is the rank of a patch along three axes, among the patches of all views:
    see :func:`feature_colors`. The axes are fitted on other rows than those shown. If
    views are aligned, a patch has the same colour in each of them. The title has the
    agreement of the colours, the mean over pairs of views of
    :func:`~sklearn_featalign.metrics.concordance_correlation`: 1 for equal colours, and
    0 for colours of random patches.

    Parameters
    ----------
    colors : dict of str to ndarray of shape (n_images, n_rows, n_columns, 3)
        Colours of each view, from 0 to 1; NaN is background.
    images : ndarray of shape (n_images, height, width[, 3]) or None, default=None
        The images themselves, drawn above their colours.

    Attributes
    ----------
    agreement : float
        Agreement of the colours, averaged over pairs of views; NaN for a single view.
    ax_, figure_ : matplotlib Axes and Figure
        Axes that are drawn on, and their figure.

    Notes
    -----
    The figures of the document "Feature Alignment" have colours of another kind, from
    spectral embeddings of the rows shown. Axes that are fitted on the shown pairs
    create agreement, even if features are not aligned.

    Untrained networks agree too, for example on brightness and on the position in the
    image: compare with one of them, as ``benchmarks/dense_features.py`` does.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_featalign import RBFAutoScaleAligner
    >>> from sklearn_featalign.displays import FeatureColorDisplay
    >>> rng = np.random.default_rng(0)
    >>> Z = rng.normal(size=(300, 5))
    >>> X = np.hstack([Z @ rng.normal(size=(5, 8)), Z @ rng.normal(size=(5, 9))])
    >>> aligner = RBFAutoScaleAligner(views=[8, 9], n_landmarks=None, normalize="ridge")
    >>> aligner = aligner.fit(X[:200])
    >>> display = FeatureColorDisplay.from_estimator(aligner, X[200:], (1, 10, 10))
    >>> display.agreement > 0.8
    True
    """

    def __init__(self, *, colors, images=None):
        self.colors = colors
        self.images = images

    @property
    def agreement(self):
        """Agreement of the colours of views."""
        shown = [values[~np.isnan(values[..., 0])] for values in self.colors.values()]
        pairs = [concordance_correlation(a, b) for a, b in combinations(shown, 2)]
        return float(np.mean(pairs)) if pairs else float("nan")

    @classmethod
    def from_estimator(
        cls, estimator, X, grid, *, aligned=True, axes_rows=None, **kwargs
    ):
        """Draw images in the colours of their features before or after alignment.

        Parameters
        ----------
        estimator : estimator
            A fitted aligner with `views`, or a pipeline or search that ends in one.
        X : {array-like, tensor} of shape (n_samples, n_features_in_)
            Dense features with every view, one row for each patch: image by image, and
            row by row within an image.
        grid : tuple of int
            Number of images, and the rows and columns of patches in each.
        aligned : bool, default=True
            False colours the features before alignment, by principal components of each
            view (up to 64, of unit total variance).
        axes_rows : {array-like, tensor} of shape (n_rows, n_features_in_), default=None
            Rows on which the axes (and those components) are fitted. None takes the
            landmarks of the aligner.
        **kwargs : dict
            Passed to :meth:`from_features`: `mask`, `images`, `ax` and the parameters
            of :meth:`plot`.

        Returns
        -------
        display : FeatureColorDisplay
            The display, with its axes in ``ax_``.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        features = features_of_views(estimator, X, aligned)
        if axes_rows is None:
            aligner, _ = final_estimator(estimator)
            if not hasattr(aligner, "landmarks_"):
                raise ValueError(
                    f"{type(aligner).__name__} has no landmarks to fit axes on: give "
                    "axes_rows, other rows than those of X."
                )
            fit_features = features_of_views(aligner, aligner.landmarks_, aligned)
        else:
            fit_features = features_of_views(estimator, axes_rows, aligned)
        if not aligned:
            check_complete(fit_features)
            both = own_components(list(features.values()), list(fit_features.values()))
            features, fit_features = (dict(zip(features, F, strict=True)) for F in both)
        return cls.from_features(features, grid, fit_features, **kwargs)

    @classmethod
    def from_features(
        cls, features, grid, axes_features, *, mask=None, images=None, ax=None, **kwargs
    ):
        """Draw images in the colours of features.

        Parameters
        ----------
        features : list or dict of array-like of shape (n_samples, n_features)
            Dense features of each view, one row for each patch: image by image, and
            row by row within an image.
        grid : tuple of int
            Number of images, and the rows and columns of patches in each.
        axes_features : list or dict of array-like of shape (n_rows, n_features)
            Features of each view on which the axes are fitted, such as landmarks from
            other images than those shown: see :func:`feature_colors`.
        mask : ndarray of bool of shape grid, default=None
            Patches that get a colour; others are background. None colours all.
        images : array-like of shape (n_images, height, width[, 3]), default=None
            The images themselves, from 0 to 1 or as integers up to 255.
        ax : matplotlib Axes, default=None
            Axes to draw on; None creates new ones.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : FeatureColorDisplay
            The display, with its axes in ``ax_``.

        Raises
        ------
        ValueError
            If the number of rows is not the number of patches in the grid.
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
            Axes to draw on; None creates new ones.
        max_images : int, default=8
            Maximum number of images to draw, from the first on.
        title : str, default=None
            Text that precedes the agreement in the title.

        Returns
        -------
        display : FeatureColorDisplay
            The display, with its axes in ``ax_``.
        """
        title = [] if title is None else [title]
        if len(self.colors) > 1:
            title.append(f"agreement {self.agreement:.2f}")
        # The rows are not a dict, since a view may have the name "image" too.
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
            title=", ".join(title),
        )
        self.ax_.tick_params(length=0)
        self.ax_.spines[:].set_visible(False)
        return self

    def _draw_tile(self, tile, i, j):
        """Draw an image at row i and column j, with a transparent background."""
        if tile.shape[2:] == (3,):
            background = np.isnan(tile).any(-1, keepdims=True)
            tile = np.concatenate([np.where(background, 0, tile), ~background], axis=-1)
        box = (j + _GAP, j + 1 - _GAP, i + 1 - _GAP, i + _GAP)
        style = {"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "nearest"}
        self.ax_.imshow(tile, extent=box, **style)


def check_images(images, n_images):
    """Return images as numbers from 0 to 1."""
    images = to_array(images)
    if len(images) != n_images or images.ndim not in (3, 4):
        raise ValueError(
            "images have the shape (n_images, height, width[, n_channels]), of "
            f"{n_images} images, got {images.shape}."
        )
    if images.ndim == 4 and images.shape[3] not in (1, 3, 4):
        raise ValueError(
            "images have 1, 3 or 4 channels in their last dimension, got the shape "
            f"{images.shape}. If channels come first: np.moveaxis(images, 1, -1)."
        )
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    return images / 255 if images.dtype.kind in "iu" else images

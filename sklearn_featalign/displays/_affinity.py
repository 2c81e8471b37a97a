"""Display of affinities as a heat map."""

import numpy as np
from sklearn.utils import check_consistent_length, column_or_1d

from sklearn_featalign._kernels._rbf_aligner import RBFAutoScaleAligner
from sklearn_featalign._torch import to_labels
from sklearn_featalign.displays._plotting import (
    check_complete,
    check_matplotlib,
    choose_rows,
    features_of_views,
    make_axes,
    named_views,
)

# Labels with more letters than this are written upright below the columns.
_MAX_HORIZONTAL = 2

# Approximate width of a letter, in points.
_LETTER_WIDTH = 5


class AffinityDisplay:
    r"""Heat map of the affinities of rows within views and across them.

    The affinities :math:`\exp(-\|x - y\|^2 / \sigma)` are those of the rows of all
    views stacked, with :math:`\sigma = 2 \gamma v` and v their total variance
    (``ddof=1``), as in the last figure of the document "Feature Alignment". Blocks on
    the diagonal are affinities within a view, the others across views: if the views are
    aligned, all blocks look the same. Rows are ordered by label.

    Parameters
    ----------
    affinities : ndarray of shape (n_views * n_rows, n_views * n_rows)
        Affinities of all rows, view by view; NaN between views of different widths.
    view_names : list of str
        Names of the views.
    labels : ndarray of shape (n_rows,) or None, default=None
        Label of each row of a view, in ascending order.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Axes that are drawn on, and their figure.
    im_ : matplotlib AxesImage
        The heat map.

    See Also
    --------
    sklearn_featalign.metrics.cluster_contrast : Contrast of the affinities as a number.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_featalign import RBFAutoScaleAligner
    >>> from sklearn_featalign.displays import AffinityDisplay
    >>> X, y = make_blobs(60, centers=3, random_state=0)
    >>> X = np.hstack([X, 0.25 * X[:, ::-1] + 10])
    >>> aligner = RBFAutoScaleAligner(views=[2, 2], n_landmarks=None).fit(X)
    >>> before = AffinityDisplay.from_estimator(aligner, X, y, aligned=False)
    >>> after = AffinityDisplay.from_estimator(aligner, X, y)
    """

    def __init__(self, *, affinities, view_names, labels=None):
        self.affinities = affinities
        self.view_names = view_names
        self.labels = labels

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, aligned=True, **kwargs):
        """Draw the affinities of rows before or after alignment.

        Parameters
        ----------
        estimator : estimator
            A fitted aligner with `views`, or a pipeline or search that ends in one.
        X : {array-like, tensor} of shape (n_samples, n_features_in_)
            Rows that have every view.
        y : array-like of shape (n_samples,), default=None
            Labels by which rows are ordered.
        aligned : bool, default=True
            False shows the rows before alignment. Views of different widths then have
            no affinities with each other, and each is scaled by its own variance.
        **kwargs : dict
            Passed to :meth:`from_features`: `gamma`, `max_rows`, `random_state`, `ax`
            and the parameters of :meth:`plot`.

        Returns
        -------
        display : AffinityDisplay
            The display, with its axes in ``ax_``.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        features = features_of_views(estimator, X, aligned)
        return cls.from_features(features, y, **kwargs)

    @classmethod
    def from_features(
        cls,
        features,
        y=None,
        *,
        gamma=1.0,
        max_rows=500,
        random_state=0,
        ax=None,
        **kwargs,
    ):
        """Draw the affinities of features.

        Parameters
        ----------
        features : list or dict of array-like of shape (n_samples, n_features)
            Features of each view, in order or by name; row i of all is the same object.
        y : array-like of shape (n_samples,), default=None
            Labels by which rows are ordered.
        gamma : float, default=1.0
            Bandwidth, as in :class:`~sklearn_featalign.RBFAutoScaleAligner`.
        max_rows : int, default=500
            Maximum number of rows of each view, chosen at random if there are more.
        random_state : int, RandomState instance or None, default=0
            Seeds the choice of these rows.
        ax : matplotlib Axes, default=None
            Axes to draw on; None creates new ones.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : AffinityDisplay
            The display, with its axes in ``ax_``.

        Raises
        ------
        ValueError
            If views differ in their number of rows, if a row lacks a view, or if all
            rows are equal.
        """
        check_matplotlib(f"{cls.__name__}.from_features")
        features = named_views(features)
        check_consistent_length(*features.values(), y)
        n_rows = len(next(iter(features.values())))
        rows = choose_rows(n_rows, max_rows, random_state)
        if y is not None:
            y = column_or_1d(to_labels(y))[rows]
            order = np.argsort(y, kind="stable")
            rows, y = rows[order], y[order]
        features = {name: F[rows] for name, F in features.items()}
        check_complete(features)
        affinities = _stacked_affinities(list(features.values()), gamma)
        display = cls(affinities=affinities, view_names=list(features), labels=y)
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax=None, *, cmap="magma", colorbar=True, im_kw=None):
        """Draw the heat map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None creates new ones.
        cmap : str or matplotlib Colormap, default="magma"
            Colours of affinities from 0 to 1; blocks without affinities are grey.
        colorbar : bool, default=True
            Whether to draw the scale of the colours.
        im_kw : dict, default=None
            Passed to matplotlib's ``imshow``.

        Returns
        -------
        display : AffinityDisplay
            The display, with its axes in ``ax_``.
        """
        self.ax_, self.figure_ = make_axes(ax, f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        cmap = plt.get_cmap(cmap).with_extremes(bad="0.75")
        kwargs = {"vmin": 0, "vmax": 1, "cmap": cmap, "interpolation": "nearest"}
        self.im_ = self.ax_.imshow(self.affinities, **(kwargs | (im_kw or {})))
        n_rows = len(self.affinities) // len(self.view_names)
        starts = np.arange(len(self.view_names)) * n_rows - 0.5
        for start in starts[1:]:
            self.ax_.axhline(start, color="white", linewidth=1.5)
            self.ax_.axvline(start, color="white", linewidth=1.5)
        for axis in (self.ax_.xaxis, self.ax_.yaxis):
            axis.set_ticks(starts + n_rows / 2, self.view_names)
            axis.remove_overlapping_locs = False
        if self.labels is not None:
            self._label_rows(starts)
        self.ax_.tick_params(which="both", length=0)
        for label in self.ax_.get_yticklabels():
            label.set(rotation=90, verticalalignment="center")
        if colorbar:
            self.figure_.colorbar(self.im_, ax=self.ax_, label="affinity", shrink=0.8)
        return self

    def _label_rows(self, starts):
        """Write the labels along both axes, and leave room for them."""
        labels, first, counts = np.unique(
            self.labels, return_index=True, return_counts=True
        )
        ticks = np.add.outer(starts + 0.5, first + (counts - 1) / 2).ravel()
        names = [str(label) for label in labels] * len(starts)
        longest = max(map(len, names))
        upright = longest > _MAX_HORIZONTAL
        kwargs = {"minor": True, "fontsize": "small"}
        self.ax_.xaxis.set_ticks(ticks, names, rotation=90 * upright, **kwargs)
        self.ax_.yaxis.set_ticks(ticks, names, **kwargs)
        pad = 10 + _LETTER_WIDTH * longest
        self.ax_.tick_params(axis="x", which="major", pad=pad if upright else 16)
        self.ax_.tick_params(axis="y", which="major", pad=pad)


def _stacked_affinities(features, gamma):
    """Return the affinities of all rows; NaN between views of different widths."""
    aligner = RBFAutoScaleAligner(gamma=gamma, n_landmarks=None)
    aligner.set_output(transform="default")
    if len({F.shape[1] for F in features}) == 1:
        return aligner.fit_transform(np.vstack(features))
    n = len(features[0])
    affinities = np.full((len(features) * n,) * 2, np.nan)
    for i, F in enumerate(features):
        block = slice(i * n, (i + 1) * n)
        affinities[block, block] = aligner.fit_transform(F)
    return affinities

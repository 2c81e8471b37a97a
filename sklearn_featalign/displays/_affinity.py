"""Heat maps of affinities."""

import numpy as np
from sklearn.utils import check_consistent_length, column_or_1d

from sklearn_featalign._kernels._rbf_aligner import RBFAutoScaleAligner
from sklearn_featalign.displays._plotting import (
    check_matplotlib,
    choose_rows,
    features_of_views,
    make_axes,
    named_views,
)

# Letters of a short name, and points that a letter takes.
_SHORT, _POINTS = 2, 5


class AffinityDisplay:
    r"""Heat map of the affinities of rows within views and across them.

    The last picture of the document "Feature Alignment": the affinities
    :math:`\exp(-\|x - y\|^2 / \sigma)` of the rows of all views stacked, with
    :math:`\sigma = 2 \gamma v` and v their total variance (``ddof=1``). Blocks beside
    the diagonal are those across views; where views are aligned these look like the
    blocks on it. Rows are ordered by label.

    Parameters
    ----------
    affinities : ndarray of shape (n_views * n_rows, n_views * n_rows)
        View by view. NaN where views have no space in common.
    view_names : list of str
        What views are called.
    labels : ndarray of shape (n_rows,) or None, default=None
        Label of each row of a view, in the order of the rows.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the heat map.
    figure_ : matplotlib Figure
        Figure that holds the axes.
    im_ : matplotlib AxesImage
        The heat map.

    See Also
    --------
    sklearn_featalign.metrics.cluster_contrast : A number for what it shows.

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
    def from_estimator(
        cls,
        estimator,
        X,
        y=None,
        *,
        aligned=True,
        gamma=1.0,
        max_rows=500,
        random_state=0,
        ax=None,
        **kwargs,
    ):
        """Draw the affinities of rows before or after alignment.

        Parameters
        ----------
        estimator : estimator
            A fitted aligner with `views`, or a pipeline or search that ends in one.
        X : {array-like, tensor} of shape (n_samples, n_features_in_)
            Rows that have every view.
        y : array-like of shape (n_samples,), default=None
            Labels, by which rows are ordered.
        aligned : bool, default=True
            False shows the rows as they came. Across views of different widths they
            have no affinities, and within them each has the total variance of its own.
        gamma : float, default=1.0
            Bandwidth, as in :class:`~sklearn_featalign.RBFAutoScaleAligner`.
        max_rows : int, default=500
            At most so many rows of each view are shown, chosen at random.
        random_state : int, RandomState instance or None, default=0
            For that choice.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes new ones.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : AffinityDisplay
            With its axes in ``ax_``.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        features = features_of_views(estimator, X, aligned)
        return cls.from_features(
            features,
            y,
            gamma=gamma,
            max_rows=max_rows,
            random_state=random_state,
            ax=ax,
            **kwargs,
        )

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
            Of each view, or a dict of these by name. Row i of each is the same object.
        y : array-like of shape (n_samples,), default=None
            Labels, by which rows are ordered.
        gamma : float, default=1.0
            Bandwidth, as in :class:`~sklearn_featalign.RBFAutoScaleAligner`.
        max_rows : int, default=500
            At most so many rows of each view are shown, chosen at random.
        random_state : int, RandomState instance or None, default=0
            For that choice.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes new ones.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : AffinityDisplay
            With its axes in ``ax_``.

        Raises
        ------
        ValueError
            If views differ in their numbers of rows, or all rows are equal.
        """
        check_matplotlib(f"{cls.__name__}.from_features")
        features = named_views(features)
        check_consistent_length(*features.values(), y)
        n_rows = len(next(iter(features.values())))
        rows = choose_rows(n_rows, max_rows, random_state)
        if y is not None:
            y = column_or_1d(y)[rows]
            order = np.argsort(y, kind="stable")
            rows, y = rows[order], y[order]
        chosen = [F[rows] for F in features.values()]
        affinities = _stacked_affinities(chosen, gamma)
        display = cls(affinities=affinities, view_names=list(features), labels=y)
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax=None, *, cmap="magma", colorbar=True, im_kw=None):
        """Draw the heat map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes new ones.
        cmap : str or matplotlib Colormap, default="magma"
            Colours of affinities from 0 to 1; blocks that do not exist are grey.
        colorbar : bool, default=True
            Whether a bar tells what the colours mean.
        im_kw : dict, default=None
            Passed to matplotlib's ``imshow``.

        Returns
        -------
        display : AffinityDisplay
            With its axes in ``ax_``.
        """
        self.ax_, self.figure_ = make_axes(ax, f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        cmap = plt.get_cmap(cmap).with_extremes(bad="0.75")
        kwargs = {"vmin": 0, "vmax": 1, "cmap": cmap, "interpolation": "nearest"}
        self.im_ = self.ax_.imshow(self.affinities, **(kwargs | (im_kw or {})))
        n_views = len(self.view_names)
        n_rows = len(self.affinities) // n_views
        starts = np.arange(n_views) * n_rows - 0.5
        for start in starts[1:]:
            self.ax_.axhline(start, color="white", linewidth=1.5)
            self.ax_.axvline(start, color="white", linewidth=1.5)
        for axis in (self.ax_.xaxis, self.ax_.yaxis):
            axis.set_ticks(starts + n_rows / 2, self.view_names)
            axis.remove_overlapping_locs = False
        pads = (4, 4) if self.labels is None else self._label_rows(starts)
        for axis, pad in zip("xy", pads, strict=True):
            self.ax_.tick_params(axis=axis, which="major", pad=pad)
        self.ax_.tick_params(which="both", length=0)
        for label in self.ax_.get_yticklabels():
            label.set(rotation=90, verticalalignment="center")
        if colorbar:
            self.figure_.colorbar(self.im_, ax=self.ax_, label="affinity", shrink=0.8)
        return self

    def _label_rows(self, starts):
        """Name the labels along both axes; return the points below and beside them."""
        labels, first, counts = np.unique(
            self.labels, return_index=True, return_counts=True
        )
        ticks = np.add.outer(starts + 0.5, first + (counts - 1) / 2).ravel()
        names = [str(label) for label in labels] * len(starts)
        longest = max(map(len, names))
        # Long names stand upright below the columns.
        upright = longest > _SHORT
        kwargs = {"minor": True, "fontsize": "small"}
        self.ax_.xaxis.set_ticks(ticks, names, rotation=90 * upright, **kwargs)
        self.ax_.yaxis.set_ticks(ticks, names, **kwargs)
        room = 10 + _POINTS * longest
        return room if upright else 16, room


def _stacked_affinities(features, gamma):
    """Return the affinities of all rows, NaN across views of different widths."""
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

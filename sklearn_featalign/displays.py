"""Figures of aligned features, by matplotlib and in scikit-learn's manner.

Each display is made by ``from_estimator`` or ``from_features``, which compute and then
draw; its ``plot`` draws again, and its attributes hold what was computed.
"""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from sklearn.utils import check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.validation import check_is_fitted

from sklearn_featalign._colors import own_components, rank_colors, shared_axes
from sklearn_featalign._poisson_uniformizer import PoissonUniformizer
from sklearn_featalign._rbf_aligner import RBFAutoScaleAligner
from sklearn_featalign._views import split_views
from sklearn_featalign.metrics import (
    concordance_correlation,
    last_step,
    retrieval_ranks,
)

__all__ = [
    "AffinityDisplay",
    "FeatureColorDisplay",
    "FlowDisplay",
    "RetrievalDisplay",
    "feature_colors",
]

# Okabe and Ito (2008): colours that the colour-blind tell apart.
_OKABE_ITO = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#000000",
    "#F0E442",
)
_LINE_STYLES = ("-", "--", "-.", ":")
_MARKERS = "osD^vP*X"

# Between images, as a share of their width.
_GAP = 0.03


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
        _check_matplotlib(f"{cls.__name__}.from_estimator")
        features = _features_of_views(estimator, X, aligned)
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
        _check_matplotlib(f"{cls.__name__}.from_features")
        features = _named_views(features)
        check_consistent_length(*features.values(), y)
        n_rows = len(next(iter(features.values())))
        rows = np.arange(n_rows)
        if n_rows > max_rows:
            rows = check_random_state(random_state).permutation(n_rows)[:max_rows]
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
        self.ax_, self.figure_ = _axes(ax, f"{type(self).__name__}.plot")
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
        ticks, names = starts + n_rows / 2, self.view_names
        if self.labels is not None:
            # One tick a label, and the view below or beside them.
            labels, first, counts = np.unique(
                self.labels, return_index=True, return_counts=True
            )
            middle = first + (counts - 1) / 2
            minor = np.add.outer(starts + 0.5, middle).ravel()
            minor_names = np.tile(labels, n_views)
            for axis in (self.ax_.xaxis, self.ax_.yaxis):
                axis.set_ticks(minor, minor_names, minor=True, fontsize="small")
        for axis in (self.ax_.xaxis, self.ax_.yaxis):
            axis.set_ticks(ticks, names)
            axis.set_tick_params(which="both", length=0)
            axis.remove_overlapping_locs = False
        pad = 16 if self.labels is not None else 4
        self.ax_.tick_params(axis="both", which="major", pad=pad)
        for label in self.ax_.get_yticklabels():
            label.set(rotation=90, verticalalignment="center")
        if colorbar:
            self.figure_.colorbar(self.im_, ax=self.ax_, label="affinity", shrink=0.8)
        return self


class RetrievalDisplay:
    """How often rows are found across views, by how many places are looked at.

    Curves of several aligners go onto the same axes: pass ``ax=display.ax_``.

    Parameters
    ----------
    k : ndarray of shape (n_points,)
        Numbers of nearest rows that are looked at.
    accuracy : ndarray of shape (n_points,)
        Share of rows that find their own among them.
    chance : ndarray of shape (n_points,)
        What it is of unrelated features.
    name : str or None, default=None
        What the curve is called in the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the curve.
    figure_ : matplotlib Figure
        Figure that holds the axes.
    line_ : matplotlib Line2D
        The curve.
    chance_level_ : matplotlib Line2D or None
        That of chance, where it was asked for.

    See Also
    --------
    sklearn_featalign.metrics.retrieval_accuracy : The number at one k.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_featalign import RBFAutoScaleAligner
    >>> from sklearn_featalign.displays import RetrievalDisplay
    >>> rng = np.random.default_rng(0)
    >>> Z = rng.normal(size=(300, 8))
    >>> X = np.hstack([np.tanh(Z @ rng.normal(size=(8, 20))) for _ in range(2)])
    >>> plain = RBFAutoScaleAligner(views=[20, 20], n_landmarks=None, c=0.05)
    >>> ridge = RBFAutoScaleAligner(
    ...     views=[20, 20], n_landmarks=None, normalize="ridge"
    ... )
    >>> display = RetrievalDisplay.from_estimator(
    ...     plain.fit(X[:200]), X[200:], name="plain"
    ... )
    >>> display = RetrievalDisplay.from_estimator(
    ...     ridge.fit(X[:200]), X[200:], name="ridge", ax=display.ax_
    ... )
    """

    def __init__(self, *, k, accuracy, chance, name=None):
        self.k = k
        self.accuracy = accuracy
        self.chance = chance
        self.name = name

    @classmethod
    def from_estimator(
        cls, estimator, X, *, csls=None, max_k=None, name=None, ax=None, **kwargs
    ):
        """Draw how often an aligner finds rows, mean over all ordered pairs of views.

        Parameters
        ----------
        estimator : estimator
            A fitted aligner with two views or more, or a pipeline or search that ends
            in one. Rows are compared by its `metric`, or by cosine if it has none.
        X : {array-like, tensor} of shape (n_samples, n_features_in_)
            Rows that were not used for fitting.
        csls : int or None, default=None
            As for :func:`~sklearn_featalign.metrics.retrieval_ranks`.
        max_k : int, default=None
            The largest number of places; None is 100, or as many as there are rows.
        name : str, default=None
            What the curve is called; None is the name of the class.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes new ones.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : RetrievalDisplay
            With its axes in ``ax_``.
        """
        _check_matplotlib(f"{cls.__name__}.from_estimator")
        aligner, X = last_step(estimator, X)
        if not hasattr(aligner, "score_pairs"):
            raise TypeError(
                "RetrievalDisplay needs an aligner with two views or more, got "
                f"{type(aligner).__name__}."
            )
        metric = getattr(aligner, "metric", "cosine")
        ranks = aligner._map_pairs(
            X, lambda F, G: retrieval_ranks(F, G, metric=metric, csls=csls)
        )
        name = type(aligner).__name__ if name is None else name
        return cls._of_ranks(ranks, max_k, name).plot(ax=ax, **kwargs)

    @classmethod
    def from_features(
        cls,
        X,
        Y,
        *,
        metric="cosine",
        csls=None,
        max_k=None,
        name=None,
        ax=None,
        **kwargs,
    ):
        """Draw how often rows of X find their own among those of Y.

        Parameters
        ----------
        X, Y : {array-like, tensor} of shape (n_samples, n_features)
            Aligned features; row i of both is the same object.
        metric : {"cosine", "dot", "euclidean"}, default="cosine"
            What near means.
        csls : int or None, default=None
            As for :func:`~sklearn_featalign.metrics.retrieval_ranks`.
        max_k : int, default=None
            The largest number of places; None is 100, or as many as there are rows.
        name : str, default=None
            What the curve is called.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes new ones.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : RetrievalDisplay
            With its axes in ``ax_``.
        """
        _check_matplotlib(f"{cls.__name__}.from_features")
        ranks = retrieval_ranks(X, Y, metric=metric, csls=csls)
        return cls._of_ranks([ranks], max_k, name).plot(ax=ax, **kwargs)

    @classmethod
    def _of_ranks(cls, ranks, max_k, name):
        """Return the display of ranks of each pair of views, not drawn yet."""
        n_rows = np.array([len(of_pair) for of_pair in ranks])
        largest = n_rows.min() if max_k is None else max_k
        k = np.arange(1, (min(largest, 100) if max_k is None else largest) + 1)
        found = [
            np.searchsorted(np.sort(of_pair), k, side="right") / len(of_pair)
            for of_pair in ranks
        ]
        chance = np.minimum(k / n_rows[:, None], 1).mean(0)
        return cls(k=k, accuracy=np.mean(found, axis=0), chance=chance, name=name)

    def plot(
        self,
        ax=None,
        *,
        name=None,
        plot_chance_level=False,
        chance_level_kw=None,
        **kwargs,
    ):
        """Draw the curve.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes new ones.
        name : str, default=None
            What the curve is called in the legend, in place of that of the display.
        plot_chance_level : bool, default=False
            Whether to draw the curve of chance too.
        chance_level_kw : dict, default=None
            Passed to matplotlib's ``plot`` for it.
        **kwargs : dict
            Passed to matplotlib's ``plot`` for the curve.

        Returns
        -------
        display : RetrievalDisplay
            With its axes in ``ax_``.
        """
        self.ax_, self.figure_ = _axes(ax, f"{type(self).__name__}.plot")
        name = self.name if name is None else name
        n_curves = sum(line.get_gid() == "retrieval" for line in self.ax_.get_lines())
        style = {
            "color": _OKABE_ITO[n_curves % len(_OKABE_ITO)],
            "linestyle": _LINE_STYLES[n_curves % len(_LINE_STYLES)],
            "label": name,
            "gid": "retrieval",
        }
        (self.line_,) = self.ax_.plot(self.k, self.accuracy, **(style | kwargs))
        self.chance_level_ = None
        if plot_chance_level:
            style = {"color": "0.5", "linestyle": (0, (1, 3)), "label": "chance"}
            (self.chance_level_,) = self.ax_.plot(
                self.k, self.chance, **(style | (chance_level_kw or {}))
            )
        self.ax_.set(
            xscale="log",
            xlabel="k nearest rows looked at",
            ylabel="share of rows found",
            xlim=(1, max(self.k[-1], 2)),
            ylim=(0, 1.02),
        )
        self.ax_.xaxis.set_major_formatter("{x:g}")
        self.ax_.xaxis.set_minor_formatter("")
        self.ax_.grid(alpha=0.3)
        if self.ax_.get_legend_handles_labels()[1]:
            self.ax_.legend(loc="best", fontsize="small")
        return self


class FlowDisplay:
    r"""Rows of two columns on their way along the lines of force.

    With ``direction="expand"`` rows are drawn in the square that they come to fill
    evenly. On their way, at a height r, they are drawn at the place that a row on a
    hemisphere of the height :math:`\sqrt{r^2 + s^2}` would have, s being the size of
    the data, which is in the end that of the radius. With ``direction="contract"`` they
    are drawn in the units of X.

    Parameters
    ----------
    paths : ndarray of shape (n_samples, n_points, 2)
        Where each row is, from the start height to the end height.
    lines : ndarray of shape (n_lines, n_points, 2)
        The same for lines of force, from places spread evenly over the data.
    labels : ndarray of shape (n_samples,) or None, default=None
        Label of each row.
    feature_names : sequence of str, default=("x0", "x1")
        What the two columns are called.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the rows and lines.
    figure_ : matplotlib Figure
        Figure that holds the axes.
    lines_ : matplotlib LineCollection
        The lines of force.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_featalign import PoissonUniformizer
    >>> from sklearn_featalign.displays import FlowDisplay
    >>> X = np.random.default_rng(0).normal(size=(200, 2)) ** 3
    >>> display = FlowDisplay.from_estimator(PoissonUniformizer().fit(X), X)
    """

    def __init__(self, *, paths, lines, labels=None, feature_names=("x0", "x1")):
        self.paths = paths
        self.lines = lines
        self.labels = labels
        self.feature_names = feature_names

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y=None,
        *,
        n_points=25,
        n_lines=12,
        max_rows=500,
        random_state=0,
        ax=None,
        **kwargs,
    ):
        """Let rows flow and draw their ways.

        Parameters
        ----------
        estimator : PoissonUniformizer, or pipeline or search
            Fitted on two columns; a pipeline or search ends in one.
        X : {array-like, tensor} of shape (n_samples, n_features_in_)
            Rows to draw.
        y : array-like of shape (n_samples,), default=None
            Labels, for their colours.
        n_points : int, default=25
            Places that each line is drawn through.
        n_lines : int, default=12
            Lines of force in each direction, from a grid over the data; 0 draws none.
        max_rows : int, default=500
            At most so many rows are drawn, chosen at random.
        random_state : int, RandomState instance or None, default=0
            For that choice.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes new ones.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : FlowDisplay
            With its axes in ``ax_``.

        Raises
        ------
        ValueError
            If the rows that flow do not have two columns, or the estimator has
            ``parametrization="projected"``, whose rows do not share their heights.
        """
        _check_matplotlib(f"{cls.__name__}.from_estimator")
        uniformizer, X = last_step(estimator, X)
        if not isinstance(uniformizer, PoissonUniformizer):
            raise TypeError(
                "FlowDisplay needs a PoissonUniformizer, got "
                f"{type(uniformizer).__name__}."
            )
        check_is_fitted(uniformizer)
        if uniformizer.n_features_in_ != 2:
            raise ValueError(
                "FlowDisplay draws two columns, but this PoissonUniformizer has "
                f"{uniformizer.n_features_in_}: take two, by PCA for example."
            )
        X = _to_array(uniformizer._check_rows(X)).astype(float)
        check_consistent_length(X, y)
        if len(X) > max_rows:
            rows = check_random_state(random_state).permutation(len(X))[:max_rows]
            X, y = X[rows], None if y is None else column_or_1d(y)[rows]
        sides = [
            np.linspace(*np.quantile(column, (0.01, 0.99)), n_lines) for column in X.T
        ]
        grid = np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2)
        display = cls(
            paths=uniformizer._paths(X, n_points),
            lines=uniformizer._paths(grid, n_points) if n_lines else [],
            labels=y,
            feature_names=tuple(uniformizer.get_feature_names_out()),
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax=None, *, line_kw=None, start_kw=None, end_kw=None):
        """Draw lines of force, and rows where they start and where they end.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes new ones.
        line_kw : dict, default=None
            Passed to matplotlib's ``LineCollection``.
        start_kw, end_kw : dict, default=None
            Passed to matplotlib's ``scatter`` for rows where they start (small and
            grey) and where they end (in the colour of their label).

        Returns
        -------
        display : FlowDisplay
            With its axes in ``ax_``.
        """
        self.ax_, self.figure_ = _axes(ax, f"{type(self).__name__}.plot")
        from matplotlib.collections import LineCollection

        style = {"colors": "0.6", "linewidths": 0.8, "zorder": 1}
        self.lines_ = LineCollection(self.lines, **(style | (line_kw or {})))
        self.ax_.add_collection(self.lines_)
        style = {"s": 5, "color": "0.3", "marker": ".", "label": "start"}
        self.ax_.scatter(*self.paths[:, 0].T, **(style | (start_kw or {})))
        style = {"s": 16, "zorder": 2}
        for label, rows, color, marker in _groups(self.labels, len(self.paths)):
            style |= {"color": color, "marker": marker, "label": label}
            ends = self.paths[rows, -1]
            self.ax_.scatter(*ends.T, **(style | (end_kw or {})))
        self.ax_.set(
            xlabel=self.feature_names[0], ylabel=self.feature_names[1], aspect="equal"
        )
        self.ax_.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
        return self


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

    Agreement of about a half can be had by what networks share without having learned
    anything, such as brightness and the position in the image: compare with an
    untrained network.

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
            The images themselves, from 0 to 1, shown above.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes new ones.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : FeatureColorDisplay
            With its axes in ``ax_``.
        """
        _check_matplotlib(f"{cls.__name__}.from_estimator")
        features = _features_of_views(estimator, X, aligned)
        if axes_rows is None:
            aligner, _ = last_step(estimator, None)
            if not hasattr(aligner, "landmarks_"):
                raise ValueError(
                    f"{type(aligner).__name__} has no landmarks to fit axes on: give "
                    "axes_rows, other rows than those of X."
                )
            fit_features = _features_of_views(aligner, aligner.landmarks_, aligned)
        else:
            fit_features = _features_of_views(estimator, axes_rows, aligned)
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
            The images themselves, from 0 to 1, shown above.
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
        _check_matplotlib(f"{cls.__name__}.from_features")
        features = _named_views(features)
        for name, F in features.items():
            if len(F) != np.prod(grid):
                raise ValueError(
                    f"View {name!r} has {len(F)} rows, and {grid[0]} images of "
                    f"{grid[1]} x {grid[2]} patches have {np.prod(grid)}."
                )
        mask = None if mask is None else np.asarray(mask, dtype=bool).ravel()
        colors = feature_colors(features, axes_features, mask=mask)
        display = cls(
            colors={k: values.reshape(*grid, 3) for k, values in colors.items()},
            images=None if images is None else np.asarray(images),
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
        rows = {} if self.images is None else {"image": self.images}
        rows |= self.colors
        n_images = min(max_images, len(next(iter(self.colors.values()))))
        figsize = (1.1 * n_images + 1.2, 1.1 * len(rows) + 0.5)
        self.ax_, self.figure_ = _axes(ax, f"{type(self).__name__}.plot", figsize)
        for i, tiles in enumerate(rows.values()):
            for j, tile in enumerate(tiles[:n_images]):
                self._draw_tile(tile, i, j)
        self.ax_.set(
            xlim=(-_GAP, n_images + _GAP),
            ylim=(len(rows) + _GAP, -_GAP),
            xticks=[],
            yticks=np.arange(len(rows)) + 0.5,
            yticklabels=list(rows),
            aspect="equal",
        )
        self.ax_.tick_params(length=0)
        self.ax_.spines[:].set_visible(False)
        words = [] if title is None else [title]
        if len(self.colors) > 1:
            words.append(f"agreement {self.agreement:.2f}")
        self.ax_.set_title(", ".join(words))
        return self

    def _draw_tile(self, tile, i, j):
        """Draw an image in the place of row i and column j."""
        kwargs = {"cmap": "gray", "vmin": 0, "vmax": 1}
        if tile.ndim == 3:
            background = np.isnan(tile).any(-1, keepdims=True)
            tile = np.concatenate([np.where(background, 0, tile), ~background], axis=-1)
        box = (j + _GAP, j + 1 - _GAP, i + 1 - _GAP, i + _GAP)
        self.ax_.imshow(tile, extent=box, interpolation="nearest", **kwargs)


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
    mask : ndarray of bool of shape (n_samples,), default=None
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
    features, axes_features = _named_views(features), _named_views(axes_features)
    names, rows = list(features), list(features.values())
    fit_rows = list(axes_features.values())
    if len(fit_rows) != len(rows):
        raise ValueError(
            f"axes_features has {len(fit_rows)} views, and features has {len(rows)}."
        )
    check_consistent_length(*rows, mask)
    check_consistent_length(*fit_rows)
    if len({F.shape[1] for F in rows}) > 1:
        rows, fit_rows = own_components(rows, fit_rows)
    colors = rank_colors(rows, *shared_axes(fit_rows), mask)
    return dict(zip(names, colors, strict=True))


def _check_matplotlib(name):
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{name} needs matplotlib: pip install 'sklearn-featalign[plot]'."
        ) from error


def _axes(ax, name, figsize=None):
    """Return the axes to draw on, new ones if there are none, and their figure."""
    _check_matplotlib(name)
    import matplotlib.pyplot as plt

    if ax is None:
        _, ax = plt.subplots(figsize=figsize, layout="constrained")
    return ax, ax.figure


def _named_views(features):
    """Return features of views as arrays by name."""
    if not isinstance(features, Mapping):
        features = {f"view{i}": F for i, F in enumerate(features)}
    features = {name: _to_array(F) for name, F in features.items()}
    for name, F in features.items():
        if F.ndim != 2:
            raise ValueError(
                f"Features of a view are two-dimensional, but view {name!r} has the "
                f"shape {F.shape}."
            )
    return features


def _features_of_views(estimator, X, aligned):
    """Return the rows of each view as an array by name, aligned or as they came."""
    aligner, X = last_step(estimator, X)
    if getattr(aligner, "views", None) is None:
        raise TypeError(
            f"An aligner with views is needed, got {type(aligner).__name__}."
        )
    check_is_fitted(aligner)
    blocks = dict(zip(aligner.view_columns_, split_views(X, aligner), strict=True))
    if aligned:
        blocks = {k: aligner.transform_view(F, k) for k, F in blocks.items()}
    return {name: _to_array(F) for name, F in blocks.items()}


def _to_array(F):
    return F.cpu().numpy() if hasattr(F, "cpu") else np.asarray(F)


def _stacked_affinities(features, gamma):
    """Return the affinities of all rows, NaN across views of different widths."""
    aligner = RBFAutoScaleAligner(gamma=gamma, n_landmarks=None)
    if len({F.shape[1] for F in features}) == 1:
        return aligner.fit_transform(np.vstack(features))
    n = len(features[0])
    affinities = np.full((len(features) * n,) * 2, np.nan)
    for i, F in enumerate(features):
        block = slice(i * n, (i + 1) * n)
        affinities[block, block] = aligner.fit_transform(F)
    return affinities


def _groups(labels, n_rows):
    """Yield for each label its rows, a colour and a marker."""
    if labels is None:
        yield "end", slice(None), _OKABE_ITO[0], "o"
        return
    for i, label in enumerate(np.unique(labels)):
        n = len(_OKABE_ITO)
        color, marker = _OKABE_ITO[i % n], _MARKERS[(i + i // n) % n]
        yield label, np.asarray(labels) == label, color, marker

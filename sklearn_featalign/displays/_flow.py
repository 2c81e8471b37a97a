"""Display of lines of force, and of rows that follow them."""

import numpy as np
from sklearn.utils import check_consistent_length, column_or_1d

from sklearn_featalign._poisson._transformer import PoissonTransformer
from sklearn_featalign._torch import to_labels
from sklearn_featalign.displays._plotting import (
    OKABE_ITO,
    check_matplotlib,
    choose_rows,
    make_axes,
    to_array,
)
from sklearn_featalign.metrics._scorers import final_estimator

_MARKERS = "osD^vP*X"

# Numeric labels with more values than this are drawn on a colour scale.
_MAX_CLASSES = 20


class FlowDisplay:
    r"""Rows of two columns on their way along the lines of force.

    A :class:`~sklearn_featalign.PoissonUniformizer` is drawn in the square that rows
    finally fill evenly: a row at height r has the place that the output "cube" gives to
    a row at the height :math:`\sqrt{r^2 + s^2}`, with s the size of the data. A
    :class:`~sklearn_featalign.PoissonDenoiser` is drawn in the units of X.

    Parameters
    ----------
    paths : ndarray of shape (n_samples, n_points, 2)
        Places of each row, from the start height to the end height.
    lines : ndarray of shape (n_lines, n_points, 2)
        Places along lines of force that start on a grid over the data.
    labels : ndarray of shape (n_samples,) or None, default=None
        Label of each row.
    feature_names : sequence of str, default=("x0", "x1")
        Names of the two columns.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Axes that are drawn on, and their figure.
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
        """Let rows flow and draw where they start and end, with lines of force.

        Parameters
        ----------
        estimator : PoissonUniformizer, PoissonDenoiser, pipeline or search
            Fitted on two columns. A pipeline or search ends in one of the first two.
        X : {array-like, tensor} of shape (n_samples, n_features_in_)
            Rows to draw.
        y : array-like of shape (n_samples,), default=None
            Labels of the rows, drawn as colours.
        n_points : int, default=25
            Number of places along each line.
        n_lines : int, default=12
            Number of rows and columns of the grid where lines start; 0 draws none.
        max_rows : int, default=500
            Maximum number of rows to draw, chosen at random if there are more.
        random_state : int, RandomState instance or None, default=0
            Seeds the choice of these rows.
        ax : matplotlib Axes, default=None
            Axes to draw on; None creates new ones.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : FlowDisplay
            The display, with its axes in ``ax_``.

        Raises
        ------
        ValueError
            If the estimator is not fitted on two columns, or if rows do not share their
            heights, as with a projected :class:`~sklearn_featalign.PoissonField`.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        transformer, X = final_estimator(estimator, X)
        name = type(transformer).__name__
        if not isinstance(transformer, PoissonTransformer):
            raise TypeError(
                "FlowDisplay needs a PoissonUniformizer or PoissonDenoiser, got "
                f"{name}."
            )
        X = to_array(transformer._check_rows(X)).astype(float)
        if X.shape[1] != 2:
            raise ValueError(
                f"FlowDisplay draws two columns, but this {name} has {X.shape[1]}: "
                "take two, by PCA for example."
            )
        check_consistent_length(X, y)
        if n_points < 2:
            raise ValueError(f"n_points must be at least 2, got {n_points!r}.")
        rows = choose_rows(len(X), max_rows, random_state)
        X, y = X[rows], None if y is None else column_or_1d(to_labels(y))[rows]
        starts = _line_starts(X, n_lines)
        display = cls(
            paths=transformer._paths(X, n_points),
            lines=transformer._paths(starts, n_points) if n_lines else [],
            labels=y,
            feature_names=tuple(transformer.get_feature_names_out()),
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax=None, *, line_kw=None, start_kw=None, end_kw=None):
        """Draw lines of force, and rows where they start and end.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None creates new ones.
        line_kw : dict, default=None
            Passed to matplotlib's ``LineCollection``.
        start_kw, end_kw : dict, default=None
            Passed to matplotlib's ``scatter`` for the starts (small and grey) and the
            ends (in the colour of the label) of rows.

        Returns
        -------
        display : FlowDisplay
            The display, with its axes in ``ax_``.
        """
        self.ax_, self.figure_ = make_axes(ax, f"{type(self).__name__}.plot")
        from matplotlib.collections import LineCollection

        style = {"colors": "0.6", "linewidths": 0.8, "zorder": 1}
        self.lines_ = LineCollection(self.lines, **(style | (line_kw or {})))
        self.ax_.add_collection(self.lines_)
        starts, ends = self.paths[:, 0], self.paths[:, -1]
        style = {"s": 5, "color": "0.3", "marker": ".", "label": "start"}
        self.ax_.scatter(*starts.T, **_scatter_style(style, start_kw))
        style = {"s": 16, "zorder": 2}
        for rows, group in _groups(self.labels):
            group_style = _scatter_style(style | group, end_kw)
            dots = self.ax_.scatter(*ends[rows].T, **group_style)
            if "c" in group:
                self.figure_.colorbar(dots, ax=self.ax_, shrink=0.8)
        xlabel, ylabel = self.feature_names[:2]
        self.ax_.set(xlabel=xlabel, ylabel=ylabel, aspect="equal")
        self.ax_.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
        return self


def _line_starts(X, n_lines):
    """Return the centers of a grid of cells that covers all but outliers of X."""
    low, high = np.quantile(X, (0.01, 0.99), axis=0)
    shares = (np.arange(n_lines)[:, None] + 0.5) / max(n_lines, 1)
    sides = (low + shares * (high - low)).T
    return np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2)


def _scatter_style(style, given):
    """Return a style updated by given properties, of which ``c`` replaces ``color``."""
    given = given or {}
    if "c" in given:
        style = {key: value for key, value in style.items() if key != "color"}
    return style | given


def _groups(labels):
    """Yield the rows of each label with a style, or all rows on one colour scale.

    Up to 64 labels have different pairs of a colour and a marker.
    """
    if labels is None:
        yield slice(None), {"color": OKABE_ITO[0], "label": "end"}
        return
    names = np.unique(labels)
    if len(names) > _MAX_CLASSES and labels.dtype.kind in "iuf":
        yield slice(None), {"c": labels, "cmap": "viridis", "label": "end"}
        return
    n = len(OKABE_ITO)
    for i, name in enumerate(names):
        color, marker = OKABE_ITO[i % n], _MARKERS[(i + i // n) % n]
        yield labels == name, {"color": color, "marker": marker, "label": name}

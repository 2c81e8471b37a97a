"""Lines of force, and rows that follow them."""

import numpy as np
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.validation import check_is_fitted

from sklearn_featalign._poisson._uniformizer import PoissonUniformizer
from sklearn_featalign.displays._plotting import (
    OKABE_ITO,
    check_matplotlib,
    choose_rows,
    make_axes,
    to_array,
)
from sklearn_featalign.metrics._scorers import final_estimator

_MARKERS = "osD^vP*X"

# More numbers than these are a scale and not names.
_MANY_LABELS = 20


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
        check_matplotlib(f"{cls.__name__}.from_estimator")
        uniformizer, X = final_estimator(estimator, X)
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
        X = to_array(uniformizer._check_rows(X)).astype(float)
        y = None if y is None else column_or_1d(y)
        check_consistent_length(X, y)
        if n_points < 2:
            raise ValueError(f"n_points must be at least 2, got {n_points!r}.")
        rows = choose_rows(len(X), max_rows, random_state)
        X, y = X[rows], None if y is None else y[rows]
        ends = np.quantile(X, (0.01, 0.99), axis=0)
        # In the middle of cells, so that a single line is that of the middle.
        shares = (np.arange(n_lines)[:, None] + 0.5) / max(n_lines, 1)
        sides = (ends[0] + shares * (ends[1] - ends[0])).T
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
        self.ax_, self.figure_ = make_axes(ax, f"{type(self).__name__}.plot")
        from matplotlib.collections import LineCollection

        style = {"colors": "0.6", "linewidths": 0.8, "zorder": 1}
        self.lines_ = LineCollection(self.lines, **(style | (line_kw or {})))
        self.ax_.add_collection(self.lines_)
        starts, ends = self.paths[:, 0], self.paths[:, -1]
        style = {"s": 5, "color": "0.3", "marker": ".", "label": "start"}
        self.ax_.scatter(*starts.T, **_scatter_style(style, start_kw))
        style = {"s": 16, "zorder": 2}
        for rows, look in _groups(self.labels):
            dots = self.ax_.scatter(
                *ends[rows].T, **_scatter_style(style | look, end_kw)
            )
            if "c" in look:
                self.figure_.colorbar(dots, ax=self.ax_, shrink=0.8)
        self.ax_.set(
            xlabel=self.feature_names[0], ylabel=self.feature_names[1], aspect="equal"
        )
        self.ax_.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
        return self


def _scatter_style(style, given):
    """Return a style, and above it what is given; colours by ``c`` or ``color``."""
    given = given or {}
    if "c" in given:
        style = {key: value for key, value in style.items() if key != "color"}
    return style | given


def _groups(labels):
    """Yield groups of rows and how they look: by label, or by number if there are many.

    A colour or a marker tells each of 64 labels from the others.
    """
    if labels is None:
        yield slice(None), {"color": OKABE_ITO[0], "label": "end"}
        return
    names = np.unique(labels)
    n = len(OKABE_ITO)
    if len(names) > _MANY_LABELS and labels.dtype.kind in "iuf":
        yield slice(None), {"c": labels, "cmap": "viridis", "label": "end"}
        return
    for i, name in enumerate(names):
        marker = _MARKERS[(i + i // n) % n]
        look = {"color": OKABE_ITO[i % n], "marker": marker, "label": name}
        yield labels == name, look

"""Curves of retrieval."""

from functools import partial

import numpy as np

from sklearn_featalign.displays._plotting import (
    OKABE_ITO,
    check_matplotlib,
    make_axes,
    normalize_style,
)
from sklearn_featalign.metrics import retrieval_ranks
from sklearn_featalign.metrics._scorers import final_estimator

_LINE_STYLES = ("-", "--", "-.", ":")


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
        check_matplotlib(f"{cls.__name__}.from_estimator")
        aligner, X = final_estimator(estimator, X)
        if not hasattr(aligner, "score_pairs"):
            raise TypeError(
                "RetrievalDisplay needs an aligner with two views or more, got "
                f"{type(aligner).__name__}."
            )
        ranks_of_pair = partial(retrieval_ranks, metric=aligner._metric, csls=csls)
        ranks = aligner._pair_values(X, ranks_of_pair)
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
        check_matplotlib(f"{cls.__name__}.from_features")
        ranks = retrieval_ranks(X, Y, metric=metric, csls=csls)
        return cls._of_ranks([ranks], max_k, name).plot(ax=ax, **kwargs)

    @classmethod
    def _of_ranks(cls, ranks, max_k, name):
        """Return the display of ranks of each pair of views, not drawn yet."""
        if max_k is not None and max_k < 1:
            raise ValueError(f"max_k must be at least 1, got {max_k!r}.")
        n_rows = np.array([len(of_pair) for of_pair in ranks])
        k = np.arange(1, (min(n_rows.min(), 100) if max_k is None else max_k) + 1)
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
        self.ax_, self.figure_ = make_axes(ax, f"{type(self).__name__}.plot")
        from matplotlib.lines import Line2D

        name = self.name if name is None else name
        n_curves = sum(line.get_gid() == "retrieval" for line in self.ax_.get_lines())
        style = {
            "color": OKABE_ITO[n_curves % len(OKABE_ITO)],
            "linestyle": _LINE_STYLES[n_curves % len(_LINE_STYLES)],
            "label": name,
            "gid": "retrieval",
        }
        style = normalize_style(style, kwargs, Line2D)
        (self.line_,) = self.ax_.plot(self.k, self.accuracy, **style)
        self.chance_level_ = None
        if plot_chance_level:
            known = "chance" in self.ax_.get_legend_handles_labels()[1]
            style = {"color": "0.5", "linestyle": (0, (1, 3))}
            style["label"] = None if known else "chance"
            style = normalize_style(style, chance_level_kw, Line2D)
            (self.chance_level_,) = self.ax_.plot(self.k, self.chance, **style)
        self.ax_.set(
            xscale="log",
            xlabel="k nearest rows looked at",
            ylabel="share of rows found",
            xlim=(1, max(2, *(line.get_xdata()[-1] for line in self.ax_.get_lines()))),
            ylim=(0, 1.02),
        )
        self.ax_.xaxis.set_major_formatter("{x:g}")
        self.ax_.xaxis.set_minor_formatter("")
        self.ax_.grid(alpha=0.3)
        if self.ax_.get_legend_handles_labels()[1]:
            self.ax_.legend(loc="best", fontsize="small")
        return self

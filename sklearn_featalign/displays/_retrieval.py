"""Display of retrieval accuracy as a curve."""

from functools import partial

import numpy as np
from scipy.stats import hypergeom

from sklearn_featalign.displays._plotting import OKABE_ITO, check_matplotlib, make_axes
from sklearn_featalign.metrics import retrieval_ranks
from sklearn_featalign.metrics._checks import check_labels
from sklearn_featalign.metrics._scorers import final_estimator

_LINE_STYLES = ("-", "--", "-.", ":")


class RetrievalDisplay:
    """Curve of the retrieval accuracy across views over the number k of neighbours.

    Pass ``ax=display.ax_`` to draw the curves of several aligners on the same axes.

    Parameters
    ----------
    k : ndarray of shape (n_points,)
        Numbers of nearest neighbours, from 1 on.
    accuracy : ndarray of shape (n_points,)
        Share of rows whose paired row is among the k nearest.
    chance : ndarray of shape (n_points,)
        Expected accuracy of unrelated features.
    name : str or None, default=None
        Name of the curve in the legend.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Axes that are drawn on, and their figure.
    line_ : matplotlib Line2D
        The curve.
    chance_level_ : matplotlib Line2D or None
        The curve of chance, if it was drawn.

    See Also
    --------
    sklearn_featalign.metrics.retrieval_accuracy : The accuracy at one k.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_featalign import RBFAutoScaleAligner
    >>> from sklearn_featalign.displays import RetrievalDisplay
    >>> rng = np.random.default_rng(0)
    >>> Z = rng.normal(size=(300, 8))
    >>> X = np.hstack([np.tanh(Z @ rng.normal(size=(8, 20))) for _ in range(2)])
    >>> aligner = RBFAutoScaleAligner(views=[20, 20], n_landmarks=None).fit(X[:200])
    >>> plain = RetrievalDisplay.from_estimator(aligner, X[200:], name="plain")
    >>> aligner = aligner.set_params(normalize="ridge").fit(X[:200])
    >>> ridge = RetrievalDisplay.from_estimator(aligner, X[200:], ax=plain.ax_)
    """

    def __init__(self, *, k, accuracy, chance, name=None):
        self.k = k
        self.accuracy = accuracy
        self.chance = chance
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        *,
        csls=None,
        groups=None,
        max_k=None,
        name=None,
        ax=None,
        **kwargs,
    ):
        """Draw the accuracy of an aligner, averaged over all ordered pairs of views.

        Parameters
        ----------
        estimator : estimator
            A fitted aligner with two views or more, or a pipeline or search that ends
            in one. Rows are compared by the same metric as in its ``score``.
        X : {array-like, tensor} of shape (n_samples, n_features_in_)
            Rows that were not used for fitting.
        csls : int or None, default=None
            As in :func:`~sklearn_featalign.metrics.retrieval_ranks`.
        groups : array-like of shape (n_samples,), default=None
            As in :func:`~sklearn_featalign.metrics.retrieval_ranks`.
        max_k : int, default=None
            Largest k; None is 100, or the number of rows if that is smaller.
        name : str, default=None
            Name of the curve; None is the class name of the aligner.
        ax : matplotlib Axes, default=None
            Axes to draw on; None creates new ones.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : RetrievalDisplay
            The display, with its axes in ``ax_``.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        aligner, X = final_estimator(estimator, X)
        if not hasattr(aligner, "score_pairs"):
            raise TypeError(
                "RetrievalDisplay needs an aligner with two views or more, got "
                f"{type(aligner).__name__}."
            )
        search = partial(_ranks_and_sizes, metric=aligner._metric, csls=csls)
        searches = aligner._pair_values(X, search, groups)
        name = type(aligner).__name__ if name is None else name
        return cls._from_searches(searches, max_k, name).plot(ax=ax, **kwargs)

    @classmethod
    def from_features(
        cls,
        X,
        Y,
        *,
        metric="cosine",
        csls=None,
        groups=None,
        max_k=None,
        name=None,
        ax=None,
        **kwargs,
    ):
        """Draw how often the paired row of Y is among the nearest of a row of X.

        Parameters
        ----------
        X, Y : {array-like, tensor} of shape (n_samples, n_features)
            Aligned features; row i of both is the same object.
        metric : {"cosine", "dot", "euclidean"}, default="cosine"
            Similarity or distance by which rows are compared.
        csls : int or None, default=None
            As in :func:`~sklearn_featalign.metrics.retrieval_ranks`.
        groups : array-like of shape (n_samples,), default=None
            As in :func:`~sklearn_featalign.metrics.retrieval_ranks`.
        max_k : int, default=None
            Largest k; None is 100, or the number of rows if that is smaller.
        name : str, default=None
            Name of the curve.
        ax : matplotlib Axes, default=None
            Axes to draw on; None creates new ones.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : RetrievalDisplay
            The display, with its axes in ``ax_``.
        """
        check_matplotlib(f"{cls.__name__}.from_features")
        search = _ranks_and_sizes(X, Y, metric=metric, csls=csls, groups=groups)
        return cls._from_searches([search], max_k, name).plot(ax=ax, **kwargs)

    @classmethod
    def _from_searches(cls, searches, max_k, name):
        """Return the display of what `_ranks_and_sizes` returns, not drawn yet."""
        if max_k is not None and max_k < 1:
            raise ValueError(f"max_k must be at least 1, got {max_k!r}.")
        most = min(100, *(len(ranks) for ranks, _ in searches))
        k = np.arange(1, (most if max_k is None else max_k) + 1)
        found = [
            np.searchsorted(np.sort(ranks), k, side="right") / len(ranks)
            for ranks, _ in searches
        ]
        chance = [_chance(sizes, k) for _, sizes in searches]
        return cls(
            k=k,
            accuracy=np.mean(found, axis=0),
            chance=np.mean(chance, axis=0),
            name=name,
        )

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
            Axes to draw on; None creates new ones.
        name : str, default=None
            Name of the curve in the legend, if other than that of the display.
        plot_chance_level : bool, default=False
            Whether to draw the curve of chance as well.
        chance_level_kw : dict, default=None
            Passed to matplotlib's ``plot`` for the curve of chance.
        **kwargs : dict
            Passed to matplotlib's ``plot`` for the curve.

        Returns
        -------
        display : RetrievalDisplay
            The display, with its axes in ``ax_``.
        """
        self.ax_, self.figure_ = make_axes(ax, f"{type(self).__name__}.plot")
        from matplotlib.cbook import normalize_kwargs
        from matplotlib.lines import Line2D

        n = sum(line.get_gid() == "retrieval" for line in self.ax_.get_lines())
        style = {"label": self.name if name is None else name, "gid": "retrieval"}
        style["color"] = OKABE_ITO[n % len(OKABE_ITO)]
        style["linestyle"] = _LINE_STYLES[n % len(_LINE_STYLES)]
        style |= normalize_kwargs(kwargs, Line2D)
        (self.line_,) = self.ax_.plot(self.k, self.accuracy, **style)
        self.chance_level_ = None
        if plot_chance_level:
            known = "chance" in self.ax_.get_legend_handles_labels()[1]
            style = {"color": "0.5", "linestyle": (0, (1, 3))}
            style["label"] = None if known else "chance"
            style |= normalize_kwargs(chance_level_kw, Line2D)
            (self.chance_level_,) = self.ax_.plot(self.k, self.chance, **style)
        self.ax_.set(
            xscale="log",
            xlabel="number k of nearest neighbours",
            ylabel="retrieval accuracy",
            xlim=(1, max(2, *(line.get_xdata()[-1] for line in self.ax_.get_lines()))),
            ylim=(0, 1.02),
        )
        self.ax_.xaxis.set_major_formatter("{x:g}")
        self.ax_.xaxis.set_minor_formatter("")
        self.ax_.grid(alpha=0.3)
        if self.ax_.get_legend_handles_labels()[1]:
            self.ax_.legend(loc="best", fontsize="small")
        return self


def _ranks_and_sizes(X, Y, *, groups=None, **kwargs):
    """Return the ranks of paired rows, and the number of rows in the group of each."""
    ranks = retrieval_ranks(X, Y, groups=groups, **kwargs)
    if groups is None:
        return ranks, np.ones(len(ranks), dtype=np.int64)
    groups = check_labels(groups, ranks)
    _, codes, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return ranks, counts[codes]


def _chance(sizes, k):
    """Return the mean chance that one of the group is among k of all rows at random."""
    n = len(sizes)
    sizes, counts = np.unique(sizes, return_counts=True)
    return counts @ hypergeom.sf(0, n, sizes[:, None], np.minimum(k, n)) / n

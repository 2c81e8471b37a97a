"""Display of the agreement of each pair of views as a matrix."""

from functools import partial
from itertools import permutations

import numpy as np
from sklearn.utils import check_consistent_length

from sklearn_featalign.displays._plotting import (
    check_matplotlib,
    features_of_views,
    make_axes,
    named_views,
)
from sklearn_featalign.metrics import linear_cka, retrieval_accuracy
from sklearn_featalign.metrics._scorers import final_estimator

_RETRIEVAL = "retrieval accuracy"


class AgreementDisplay:
    """Matrix of how well each view agrees with each other one.

    Views are layers of one network, or several networks. Of retrieval, the entry in row
    u and column v is how often a sample's features in view u find its features in v.

    Parameters
    ----------
    agreement : ndarray of shape (n_views, n_views)
        Agreement of the views of rows and columns; NaN on the diagonal, and where it is
        not defined.
    view_names : list of str
        Names of the views.
    measure_name : str, default="agreement"
        Name of what was measured, at the scale of colours.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Axes that are drawn on, and their figure.
    im_ : matplotlib AxesImage
        The matrix.
    text_ : ndarray of shape (n_views, n_views), dtype=matplotlib Text, or None
        The values that are written, None where there is no value.

    See Also
    --------
    RetrievalDisplay : Retrieval over the number of neighbours, the mean of all pairs.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_featalign import KernelGCCAAligner
    >>> from sklearn_featalign.displays import AgreementDisplay
    >>> rng = np.random.default_rng(0)
    >>> first = np.tanh(rng.normal(size=(300, 8)) @ rng.normal(size=(8, 20)))
    >>> second = np.tanh(first @ rng.normal(size=(20, 30)))
    >>> X = np.hstack([first, second])
    >>> views = {"layer 1": 20, "layer 2": 30}
    >>> aligner = KernelGCCAAligner(views=views, n_landmarks=None).fit(X[:200])
    >>> before = AgreementDisplay.from_estimator(
    ...     aligner, X[200:], measure="cka", aligned=False
    ... )
    >>> after = AgreementDisplay.from_estimator(aligner, X[200:])
    """

    def __init__(self, *, agreement, view_names, measure_name="agreement"):
        self.agreement = agreement
        self.view_names = view_names
        self.measure_name = measure_name

    @classmethod
    def from_estimator(
        cls, estimator, X, *, measure="retrieval", aligned=True, ax=None, **kwargs
    ):
        """Draw the agreement of views before or after alignment.

        Parameters
        ----------
        estimator : estimator
            A fitted aligner with `views`, or a pipeline or search that ends in one.
            Aligned rows are compared by the same metric as in its ``score``, others by
            their cosine.
        X : {array-like, tensor} of shape (n_samples, n_features_in_)
            Rows that were not used for fitting. A pair of views is measured on the rows
            that have both.
        measure : {"retrieval", "cka"} or callable, default="retrieval"
            As in :meth:`from_features`.
        aligned : bool, default=True
            False measures the rows before alignment.
        ax : matplotlib Axes, default=None
            Axes to draw on; None creates new ones.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : AgreementDisplay
            The display, with its axes in ``ax_``.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        aligner, X = final_estimator(estimator, X)
        features = features_of_views(aligner, X, aligned)
        metric = aligner._metric if aligned else "cosine"
        return cls.from_features(
            features, measure=measure, metric=metric, ax=ax, **kwargs
        )

    @classmethod
    def from_features(
        cls, features, *, measure="retrieval", metric="cosine", ax=None, **kwargs
    ):
        """Draw the agreement of features.

        Parameters
        ----------
        features : list or dict of array-like of shape (n_samples, n_features)
            Features of each view, in order or by name; row i of all is the same object.
            Rows of NaN lack the view.
        measure : {"retrieval", "cka"} or callable, default="retrieval"
            :func:`~sklearn_featalign.metrics.retrieval_accuracy` at one neighbour,
            which is not defined between views of different widths, or
            :func:`~sklearn_featalign.metrics.linear_cka`. A callable takes the features
            of two views and returns a number, mostly between 0 and 1.
        metric : {"cosine", "dot", "euclidean"}, default="cosine"
            By which retrieval compares rows.
        ax : matplotlib Axes, default=None
            Axes to draw on; None creates new ones.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : AgreementDisplay
            The display, with its axes in ``ax_``.

        Raises
        ------
        ValueError
            If there are fewer than two views, or if they differ in their number of
            rows.
        """
        check_matplotlib(f"{cls.__name__}.from_features")
        features = named_views(features)
        check_consistent_length(*features.values())
        if len(features) < 2:
            raise ValueError(f"At least two views are needed, got {len(features)}.")
        name, function = _named_measure(measure, metric)
        display = cls(
            agreement=_pairwise(list(features.values()), function),
            view_names=list(features),
            measure_name=name,
        )
        return display.plot(ax=ax, **kwargs)

    def plot(
        self,
        ax=None,
        *,
        include_values=True,
        values_format=".2f",
        cmap="viridis",
        colorbar=True,
        im_kw=None,
        text_kw=None,
    ):
        """Draw the matrix.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None creates new ones.
        include_values : bool, default=True
            Whether to write the values.
        values_format : str, default=".2f"
            Format of the values.
        cmap : str or matplotlib Colormap, default="viridis"
            Colours of values from 0 to 1; undefined ones are grey.
        colorbar : bool, default=True
            Whether to draw the scale of the colours.
        im_kw : dict, default=None
            Passed to matplotlib's ``imshow``.
        text_kw : dict, default=None
            Passed to matplotlib's ``text``.

        Returns
        -------
        display : AgreementDisplay
            The display, with its axes in ``ax_``.
        """
        self.ax_, self.figure_ = make_axes(ax, f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        cmap = plt.get_cmap(cmap).with_extremes(bad="0.85")
        kwargs = {"cmap": cmap, "interpolation": "nearest"} | (im_kw or {})
        if "norm" not in kwargs:
            kwargs = {"vmin": 0, "vmax": 1} | kwargs
        self.im_ = self.ax_.imshow(self.agreement, **kwargs)
        ticks = np.arange(len(self.view_names))
        self.ax_.xaxis.set_ticks(ticks, self.view_names, rotation=45, ha="right")
        self.ax_.yaxis.set_ticks(ticks, self.view_names)
        self.ax_.tick_params(length=0)
        if self.measure_name == _RETRIEVAL:
            self.ax_.set(ylabel="searched with", xlabel="found in")
        self.text_ = None
        if include_values:
            self._write_values(values_format, text_kw or {})
        if colorbar:
            self.figure_.colorbar(
                self.im_, ax=self.ax_, label=self.measure_name, shrink=0.8
            )
        return self

    def _write_values(self, values_format, text_kw):
        """Write the values, in black on light colours and in white on dark ones."""
        from matplotlib.cbook import normalize_kwargs
        from matplotlib.text import Text

        self.text_ = np.full(self.agreement.shape, None)
        colors = self.im_.to_rgba(self.agreement)
        # The luma of sRGB.
        light = colors[..., :3] @ (0.299, 0.587, 0.114) > 0.5
        style = {"ha": "center", "va": "center", "fontsize": "small"}
        style = normalize_kwargs(style, Text) | normalize_kwargs(text_kw, Text)
        for (i, j), value in np.ndenumerate(self.agreement):
            if np.isfinite(value):
                color = {"color": "black" if light[i, j] else "white"}
                text = format(value, values_format)
                self.text_[i, j] = self.ax_.text(j, i, text, **(color | style))


def _named_measure(measure, metric):
    """Return the name of a measure, and its function of two views' features."""
    if callable(measure):
        return getattr(measure, "__name__", "agreement"), measure
    if measure == "cka":
        return "linear CKA", linear_cka
    if measure != "retrieval":
        raise ValueError(
            f"measure must be 'retrieval', 'cka' or a callable, got {measure!r}."
        )
    accuracy = partial(retrieval_accuracy, metric=metric)
    return (
        _RETRIEVAL,
        lambda F, G: accuracy(F, G) if F.shape[1] == G.shape[1] else np.nan,
    )


def _pairwise(features, function):
    """Return the function of each ordered pair of different views, as a matrix."""
    agreement = np.full((len(features),) * 2, np.nan)
    present = [~np.isnan(F).all(1) for F in features]
    for i, j in permutations(range(len(features)), 2):
        both = present[i] & present[j]
        # One row finds itself whatever its features.
        if both.sum() > 1:
            agreement[i, j] = function(features[i][both], features[j][both])
    return agreement

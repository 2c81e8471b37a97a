"""Base class of the aligners: rows split into views, output, names, and the score."""

import warnings
from contextlib import contextmanager
from functools import partial
from itertools import permutations
from numbers import Integral
from typing import NamedTuple

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from sklearn_featalign._compiled import CompiledMap
from sklearn_featalign._mixin import TorchTransformerMixin
from sklearn_featalign._torch import (
    Rows,
    as_like,
    check_names,
    check_rows,
    feature_attributes,
    full_like,
    resolve_device,
    torch_dtype,
)
from sklearn_featalign._views import (
    block,
    check_view_names,
    has_columns,
    hide_unselected,
    is_adjacent,
    output_plan,
    resolve_views,
    view_masks,
    view_name,
)
from sklearn_featalign.metrics import retrieval_accuracy
from sklearn_featalign.metrics._checks import check_labels


def check_training_rows(estimator, X, views):
    """Return checked training rows of an estimator, and the columns of each view.

    Columns that no view selects may hold anything, and are NaN in the result.
    """
    shown, columns = X, None
    if views is not None and has_columns(X):
        columns = resolve_views(views, X)
        shown = hide_unselected(X, columns)
    values = check_rows(estimator, shown, min_samples=2, allow_nan=views is not None)
    return values, columns or resolve_views(views, values)


def has_views(estimator):
    return estimator.views is not None


def has_pairs(estimator):
    views = estimator.views
    return isinstance(views, list | tuple | dict) and len(views) > 1


class Training(NamedTuple):
    """Training rows split into views.

    Attributes
    ----------
    rows : Rows
        All rows, with all columns of X.
    columns : dict of str to ndarray of int
        The columns of each view.
    views : dict of str to Rows
        The rows that have a view, for each view.
    paired : ndarray of int
        Indices of the rows that have every view.
    present : dict of str to ndarray of bool
        Whether rows have a view, for each view.
    """

    rows: Rows
    columns: dict
    views: dict
    paired: np.ndarray
    present: dict

    @property
    def n_present(self):
        """Numbers of views that rows have."""
        return count_views(self.present)


def count_views(present):
    """Return how many views each row has, from the mask of each view."""
    return np.sum(list(present.values()), axis=0)


class BaseAligner(
    ClassNamePrefixFeaturesOutMixin, TorchTransformerMixin, BaseEstimator
):
    """Base class of the aligners.

    A subclass has the parameters `views`, `output`, `device` and `random_state`. Its
    ``fit`` splits the rows by `_split_training` and ends with `_torch.set_fitted`. It
    defines

    - ``_load_view(name, rows)``: returns a function that maps a batch of these rows of
      a view to their features;
    - ``_view_feature_names``: the names of these features;

    and, where the defaults do not fit, ``_metric``, by which aligned rows are compared,
    ``_n_work_columns``, how many numbers are computed for a row, and
    ``_row_batch_size``, how many rows at a time.
    """

    _parameter_constraints = {
        "views": [None, list, tuple, dict],
        "output": [str, Integral],
        "device": [str],
        "random_state": ["random_state"],
    }

    def transform(self, X):
        """Return the aligned features of rows.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features_in_)
            Rows, all views side by side; a view is absent from a row if it is NaN.

        Returns
        -------
        X_new : {ndarray, tensor} of shape (n_samples, n_features_out)
            NaN where a view, or with ``output="coalesce"`` and "mean" every view, is
            absent.
        """
        X = self._check_rows(X)
        present = self._view_masks(X, self.view_columns_)
        is_mean = self.output == "mean"
        width = len(self._view_feature_names)
        is_complete = all(mask.all() for mask in present.values())
        padding = 0.0 if is_mean else None if is_complete else np.nan
        out = full_like(X, self._n_features_out, padding)
        for name, slot, mask in output_plan(self.output, present):
            if not mask.any():
                continue
            rows = self._rows(block(X, self.view_columns_[name]), mask)
            target = out[:, slot * width : (slot + 1) * width]
            rows.collect(self._load_view(name, rows), target, is_mean)
        if is_mean:
            n_present = count_views(present).astype(float)
            n_present[n_present == 0] = np.nan
            out /= as_like(n_present[:, None], out)
        return out

    @available_if(has_views)
    def transform_view(self, X_view, view):
        """Return the aligned features of rows of which only one view is given.

        Parameters
        ----------
        X_view : {array-like, tensor} of shape (n_samples, n_view_features)
            The columns of one view.
        view : str or int
            Name or index of the view.

        Returns
        -------
        X_new : {ndarray, tensor} of shape (n_samples, n_view_features_out)
            Aligned features of this view; `output` has no effect.
        """
        check_is_fitted(self)
        name = view_name(view, self.view_columns_)
        return self._align(name, *self._check_view(X_view, name))

    @available_if(has_views)
    def compile_view(self, view, *, dtype="float32"):
        """Return :meth:`transform_view` of a view as a function, for serving.

        A call of it skips all checks of values and loads nothing, which takes most of
        the time of a single row. It does not follow later changes of the aligner.

        Parameters
        ----------
        view : str or int
            Name or index of the view.
        dtype : {"float32", "float64"}, default="float32"
            Precision of its output.

        Returns
        -------
        compiled : callable
            ``compiled(X_view)`` takes an array or tensor of shape (n_samples,
            n_view_features) and returns one. It can be pickled, for the same version of
            this package; where it is loaded, it computes on the CPU if its device is
            not there.
        """
        check_is_fitted(self)
        name = view_name(view, self.view_columns_)
        width = len(self._view_feature_names)
        return self._compile(name, width, partial(self._load_view, name), dtype)

    def _compile(self, name, width, load, dtype):
        """Return the map of a view as for `_map_view`."""
        dtype = np.dtype(dtype)
        if dtype not in (np.float32, np.float64):
            raise ValueError(f"dtype must be float32 or float64, got {dtype}.")
        none = np.empty((0, len(self.view_columns_[name])), dtype)
        rows = self._rows(none, np.ones(0, dtype=bool))
        return CompiledMap(load(rows), rows, width, torch_dtype(none))

    def _check_view(self, X_view, name):
        """Return checked rows of a view, and a mask of those that are present."""
        columns = self.view_columns_[name]
        X = check_rows(self, X_view, allow_nan=True)
        if X.shape[1] != len(columns):
            raise ValueError(
                f"X has {X.shape[1]} features, but view {name!r} of "
                f"{type(self).__name__} is expecting {len(columns)} features as input."
            )
        if hasattr(self, "feature_names_in_"):
            check_view_names(X_view, name, columns, self.feature_names_in_)
        return X, view_masks(X, {name: np.arange(len(columns))})[name]

    def _align(self, name, X, mask):
        """Return the aligned features of rows of a view, NaN outside of a mask."""
        width = len(self._view_feature_names)
        return self._map_view(X, mask, width, partial(self._load_view, name))

    def _map_view(self, X, mask, width, load):
        """Return a map of rows of a view to some columns, NaN outside of a mask.

        ``load(rows)`` returns the function of a batch; see `_load_view`.
        """
        out = full_like(X, width, None if mask.all() else np.nan)
        rows = self._rows(X, mask)
        rows.collect(load(rows), out)
        return out

    @available_if(has_pairs)
    def score(self, X, y=None, *, groups=None):
        """Return the top-1 accuracy of retrieval across views.

        Each row is searched, by its aligned features of one view, among the aligned
        features that the same rows have in another view. The score is the share of
        rows whose nearest neighbour is the row itself, averaged over all ordered pairs
        of views. Neighbours are nearest by the aligner's `metric` if it has this
        parameter; otherwise the class says by which metric. The score falls with the
        number of rows that are searched: compare scores of equally many rows only.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features_in_)
            Rows that were not used for fitting, with two views at least in some.
        y : None
            Ignored.
        groups : array-like of shape (n_samples,), default=None
            Groups of rows of one object, such as several captions of an image, of which
            any counts as found: see :func:`~sklearn_featalign.metrics.retrieval_ranks`.

        Returns
        -------
        score : float
            Between 0 and 1.

        Warns
        -----
        UserWarning
            If most rows are equal to others in a view, and there are no `groups`.
        """
        accuracy = partial(retrieval_accuracy, metric=self._metric)
        if groups is None:
            self._warn_of_repeated_rows(X)
        return self.score_pairs(X, accuracy, groups=groups)

    def _warn_of_repeated_rows(self, X):
        """Warn if most rows are equal to others in a view."""
        X = self._check_rows(X)
        for name, present in self._view_masks(X, self.view_columns_).items():
            rows = torch.as_tensor(block(X, self.view_columns_[name])[present])
            n_objects = len(rows.unique(dim=0))
            if 0 < 2 * n_objects <= len(rows):
                warnings.warn(
                    f"View {name!r} has only {n_objects} different rows among "
                    f"{len(rows)}. Equal rows tie, so that most are not found in the "
                    "first place: pass groups=, the number of the object of each row.",
                    UserWarning,
                    stacklevel=3,
                )

    @available_if(has_pairs)
    def score_pairs(self, X, score_func, *, groups=None):
        """Return the mean of a function of the features of two views.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features_in_)
            Rows that were not used for fitting, with two views at least in some.
        score_func : callable
            Takes the aligned features of two views, on the rows that have both, and
            returns a float; see :mod:`sklearn_featalign.metrics`.
        groups : array-like of shape (n_samples,), default=None
            If given, `score_func` gets those of these rows as ``groups=``.

        Returns
        -------
        score : float
            Mean over all ordered pairs of views.
        """
        return float(np.mean(self._pair_values(X, score_func, groups)))

    def _pair_values(self, X, function, groups=None):
        """Return ``function(F, G)`` of the features of all ordered pairs of views.

        With groups of the rows of X, their part is its argument ``groups``.
        """
        X = self._check_rows(X)
        if groups is not None:
            groups = check_labels(groups, X)
        present = self._view_masks(X, self.view_columns_)
        features = {
            name: self._align(name, block(X, self.view_columns_[name]), mask)
            for name, mask in present.items()
        }
        values = []
        for pair in permutations(present, 2):
            both = np.flatnonzero(np.logical_and(*(present[name] for name in pair)))
            if len(both):
                kwargs = {} if groups is None else {"groups": groups[both]}
                F, G = (features[name][both] for name in pair)
                values.append(function(F, G, **kwargs))
        if not values:
            raise ValueError("No row of X has two views, so there is nothing to score.")
        return values

    def get_feature_names_out(self, input_features=None):
        """Return the names of the output features.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        names : ndarray of str of shape (n_features_out,)
            The class name and a number, or with `views` names such as ``clip__rbf0``:
            the name of the view, the kind of feature and a number.
        """
        check_is_fitted(self)
        if self.views is None or self.output in ("coalesce", "mean"):
            return super().get_feature_names_out(input_features)
        if self.output == "concat":
            names = list(self.view_columns_)
        else:
            names = [view_name(self.output, self.view_columns_)]
        features = self._view_feature_names
        return np.asarray(
            [f"{name}__{feature}" for name in names for feature in features],
            dtype=object,
        )

    @property
    def _row_batch_size(self):
        """Number of rows computed at a time."""
        return self.batch_size

    @property
    def _n_work_columns(self):
        """Number of values computed for a row of a view."""
        return len(self._view_feature_names)

    @property
    def _metric(self):
        """Metric by which aligned rows of different views are compared."""
        return "cosine"

    @property
    def _n_features_out(self):
        n_slots = len(self.view_columns_) if self.output == "concat" else 1
        return n_slots * len(self._view_feature_names)

    def _split_training(self, X, n_outputs):
        """Check training rows and return them split into views, as `Training`.

        `n_outputs` numbers are computed for each row, by default as many as there are
        paired rows.
        """
        self._refuse_list_of_arrays(X)
        values, columns = check_training_rows(self, X, self.views)
        present = self._view_masks(values, columns)
        # This raises an error if `output` names no view.
        output_plan(self.output, present)
        paired = np.flatnonzero(np.logical_and.reduce(list(present.values())))
        if len(paired) < 2:
            counts = ", ".join(
                f"{name!r} {mask.sum()}" for name, mask in present.items()
            )
            raise ValueError(
                f"{len(paired)} of {len(values)} rows have every view, and the fit "
                f"needs at least 2. Rows with a view: {counts}."
            )
        n_outputs = n_outputs or len(paired)
        views = {
            name: self._rows(block(values, indices), present[name], n_outputs)
            for name, indices in columns.items()
        }
        device = resolve_device(self.device, values)
        rows = Rows(values, device, self._row_batch_size, n_outputs)
        return Training(rows, columns, views, paired, present)

    def _has_same_columns(self, X, columns):
        """Return whether views have the same columns of X as in the fit, in any order.

        Columns are told apart by their names, or by their positions if X or the rows of
        the fit have none. Adjacent views, as by widths, may change places then.
        """
        fitted = self.view_columns_
        attributes = feature_attributes(X)
        names = attributes.get("feature_names_in_")
        before = getattr(self, "feature_names_in_", None)
        if names is None or before is None:
            n_features = max(attributes["n_features_in_"], self.n_features_in_)
            names = before = np.arange(n_features)
            if is_adjacent(columns) and is_adjacent(fitted):
                names = before = np.zeros_like(names)
        return set(columns) == set(fitted) and all(
            np.array_equal(names[indices], before[fitted[view]])
            for view, indices in columns.items()
        )

    def _check_rows(self, X):
        """Check rows against those of the fit."""
        if self.views is None:
            return super()._check_rows(X)
        check_is_fitted(self)
        self._refuse_list_of_arrays(X)
        is_wide = has_columns(X) and X.shape[1] == self.n_features_in_
        shown = hide_unselected(X, self.view_columns_) if is_wide else X
        array = check_rows(self, shown, allow_nan=True)
        columns = self.view_columns_.items()
        widths = ", ".join(f"{name!r} ({len(indices)})" for name, indices in columns)
        hint = (
            f" Its views are {widths}: use transform_view for one of them alone, or "
            "sklearn_featalign.stack_views([A, None], aligner), which puts NaN where "
            "a view is absent."
        )
        # The message on a wrong number of columns says more than the one on names.
        self._check_width(array, self.n_features_in_, hint=hint)
        check_names(self, X)
        return array

    @property
    def _hint_on_lists(self):
        if self.views is None:
            return ""
        return ", sklearn_featalign.stack_views(X, widths) views side by side"

    def _view_masks(self, X, columns):
        if self.views is None:
            return {name: np.ones(len(X), dtype=bool) for name in columns}
        return view_masks(X, columns)

    def _rows(self, X, mask, n_outputs=None):
        """Return the rows of a view where a mask is true."""
        n_outputs = n_outputs or self._n_work_columns
        where = None if mask.all() else np.flatnonzero(mask)
        device = resolve_device(self.device, X)
        return Rows(X, device, self._row_batch_size, n_outputs, where)

    @contextmanager
    def _errors_of_view(self, name):
        """Begin the message of each ValueError with the view, if there are views."""
        try:
            yield
        except ValueError as error:
            if self.views is None:
                raise
            raise ValueError(f"View {name!r}: {error}") from error

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = has_views(self)
        return tags

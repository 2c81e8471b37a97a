"""What all aligners do alike: views in, output out, names, tags and the score."""

from contextlib import contextmanager
from itertools import permutations
from numbers import Integral
from typing import NamedTuple

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from sklearn_featalign._persistence import VersionedMixin
from sklearn_featalign._torch import (
    Rows,
    as_like,
    check_names,
    check_rows,
    full_like,
    resolve_device,
)
from sklearn_featalign._views import (
    block,
    check_view_names,
    find_present,
    output_plan,
    resolve_views,
    view_name,
)
from sklearn_featalign.metrics import make_retrieval_scorer


def _has_views(estimator):
    return estimator.views is not None


def _has_pairs(estimator):
    views = estimator.views
    return isinstance(views, list | tuple | dict) and len(views) > 1


class Training(NamedTuple):
    """Training rows split into views.

    ``rows`` are all of them, ``columns`` the columns of each view, ``views`` for each
    view the rows that have it, and ``paired`` the indices of those that have all.
    """

    rows: Rows
    columns: dict
    views: dict
    paired: np.ndarray


class BaseAligner(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, VersionedMixin, BaseEstimator
):
    """Base of the aligners.

    A subclass has the parameters `views`, `output`, `device` and `random_state`, and
    `batch_size` or ``_row_batch_size``. Its fit
    goes through `_open_training` and ends with `_torch.write_fit`. It provides
    ``_view_function(name, rows)``, which returns a function from a batch of these rows
    of a view to their features, and ``_view_feature_names``, what these are
    called.
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
        check_is_fitted(self)
        X = self._check_rows(X)
        present = self._find_present(X, self.view_columns_)
        adding = self.output == "mean"
        width = self._n_view_features
        everything = all(mask.all() for mask in present.values())
        filling = 0.0 if adding else None if everything else np.nan
        out = full_like(X, self._n_features_out, filling)
        for name, slot, mask in output_plan(self.output, present):
            if not mask.any():
                continue
            rows = self._rows(X, self.view_columns_[name], mask)
            target = out[:, slot * width : (slot + 1) * width]
            rows.collect(self._view_function(name, rows), target, adding)
        if adding:
            n_present = np.sum(list(present.values()), axis=0, dtype=float)
            n_present[n_present == 0] = np.nan
            out /= as_like(n_present[:, None], out)
        return out

    @available_if(_has_views)
    def transform_view(self, X_view, view):
        """Return the aligned features of rows of which one view is at hand.

        Parameters
        ----------
        X_view : {array-like, tensor} of shape (n_samples, n_view_features)
            The columns of one view.
        view : str or int
            Its name or index.

        Returns
        -------
        X_new : {ndarray, tensor} of shape (n_samples, n_features_out)
            Aligned features of this view, whatever `output` says.
        """
        check_is_fitted(self)
        name = view_name(view, self.view_columns_)
        columns = self.view_columns_[name]
        X = check_rows(self, X_view, allow_nan=True)
        if X.shape[1] != len(columns):
            raise ValueError(
                f"X has {X.shape[1]} features, but view {name!r} of "
                f"{type(self).__name__} is expecting {len(columns)} features as input."
            )
        if hasattr(X_view, "columns") and hasattr(self, "feature_names_in_"):
            check_view_names(X_view, name, columns, self.feature_names_in_)
        own = {name: np.arange(len(columns))}
        return self._align(X, name, own[name], find_present(X, own)[name])

    @available_if(_has_pairs)
    def score(self, X, y=None):
        """Return how often a row is found across views.

        Each row is looked up by its aligned features of one view among those that the
        same rows have in another view. The score is the share of rows whose nearest one
        (by cosine, or by the aligner's `metric` if it has one) is their own (top-1),
        averaged over all ordered pairs of views. It falls with the number of rows that
        are looked among, so that only scores of equally many rows compare.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features_in_)
            Rows that were not used for fitting, with two views at least in some.
        y : None
            Ignored.

        Returns
        -------
        score : float
            Between 0 and 1.
        """
        return make_retrieval_scorer()(self, X)

    @available_if(_has_pairs)
    def score_pairs(self, X, score_func):
        """Return the mean of a function of the features of two views.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features_in_)
            Rows that were not used for fitting, with two views at least in some.
        score_func : callable
            Takes the aligned features of two views, on the rows that have both, and
            returns a float; see :mod:`sklearn_featalign.metrics`.

        Returns
        -------
        score : float
            Mean over all ordered pairs of views.
        """
        return float(np.mean(self._map_pairs(X, score_func)))

    def _map_pairs(self, X, function):
        """Return a function of the features of two views, of all ordered pairs."""
        check_is_fitted(self)
        X = self._check_rows(X)
        present = self._find_present(X, self.view_columns_)
        features = {
            name: self._align(X, name, self.view_columns_[name], mask)
            for name, mask in present.items()
        }
        values = []
        for pair in permutations(present, 2):
            both = np.flatnonzero(np.logical_and(*(present[name] for name in pair)))
            if len(both):
                values.append(function(*(features[name][both] for name in pair)))
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
            The class name with a number, or for views of their own such as
            ``clip__rbf0`` the name of the view and the kind of feature with a number.
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
        return self.batch_size

    @property
    def _n_view_features(self):
        return len(self._view_feature_names)

    @property
    def _n_numbers(self):
        """How many numbers are computed for a row of a view."""
        return self._n_view_features

    @property
    def _n_features_out(self):
        n_slots = len(self.view_columns_) if self.output == "concat" else 1
        return n_slots * self._n_view_features

    def _open_training(self, X, n_outputs):
        """Check training rows and split them into views.

        Returns
        -------
        training : Training
        """
        self._refuse_list_of_views(X)
        values = check_rows(self, X, min_samples=2, allow_nan=_has_views(self))
        columns = resolve_views(self.views, X if hasattr(X, "columns") else values)
        present = self._find_present(values, columns)
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
            name: self._rows(values, indices, present[name], n_outputs)
            for name, indices in columns.items()
        }
        device = resolve_device(self.device, values)
        rows = Rows(values, device, self._row_batch_size, n_outputs)
        return Training(rows, columns, views, paired)

    def _check_rows(self, X):
        """Check rows against those of the fit."""
        self._refuse_list_of_views(X)
        # scikit-learn's order; with views a wrong number of columns says more.
        if self.views is None:
            check_names(self, X)
        array = check_rows(self, X, allow_nan=_has_views(self))
        if array.shape[1] != self.n_features_in_:
            raise ValueError(self._width_message(array.shape[1]))
        if self.views is not None:
            check_names(self, X)
        return array

    def _refuse_list_of_views(self, X):
        if isinstance(X, list | tuple) and X and getattr(X[0], "ndim", 1) == 2:
            raise ValueError(
                "X is one array with all views side by side, got a list of arrays: "
                "sklearn_featalign.stack_views(X, widths) makes one of them."
            )

    def _width_message(self, n_features):
        message = (
            f"X has {n_features} features, but {type(self).__name__} is expecting "
            f"{self.n_features_in_} features as input."
        )
        if self.views is None:
            return message
        columns = self.view_columns_.items()
        widths = ", ".join(f"{name!r} ({len(indices)})" for name, indices in columns)
        return (
            f"{message} Its views are {widths}: use transform_view for one of them "
            "alone, or sklearn_featalign.stack_views([A, None], aligner), which puts "
            "NaN where a view is absent."
        )

    def _find_present(self, X, columns):
        if self.views is None:
            return {name: np.ones(len(X), dtype=bool) for name in columns}
        return find_present(X, columns)

    def _rows(self, X, columns, mask, n_outputs=None):
        """Return the rows of a view that a mask selects."""
        n_outputs = n_outputs or self._n_numbers
        where = None if mask.all() else np.flatnonzero(mask)
        device = resolve_device(self.device, X)
        return Rows(block(X, columns), device, self._row_batch_size, n_outputs, where)

    def _align(self, X, name, columns, mask):
        """Return features of a view in some columns of X, NaN outside of a mask."""
        out = full_like(X, self._n_view_features, None if mask.all() else np.nan)
        rows = self._rows(X, columns, mask)
        rows.collect(self._view_function(name, rows), out)
        return out

    @contextmanager
    def _naming(self, name):
        """Name the view that an error is about, where there are views."""
        try:
            yield
        except ValueError as error:
            if self.views is None:
                raise
            raise ValueError(f"View {name!r}: {error}") from error

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = _has_views(self)
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

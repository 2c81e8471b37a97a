"""Base class of the landmark aligners: landmarks, and an RBF kernel for each view."""

from functools import partial
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.callback import CallbackSupportMixin
from sklearn.utils._param_validation import Interval, StrOptions

from sklearn_featalign._base import BaseAligner
from sklearn_featalign._callbacks import FitTask
from sklearn_featalign._kernels._bandwidth import as_kernel, fit_bandwidth
from sklearn_featalign._kernels._landmarks import SPREAD_OUT, select_landmarks
from sklearn_featalign._kernels._scaling import coordinates, fit_scaling
from sklearn_featalign._linalg import every_nth
from sklearn_featalign._torch import (
    feature_attributes,
    in_plain_torch,
    set_fitted,
    to_device,
    to_numpy,
    to_torch,
    with_smaller_batches,
)
from sklearn_featalign._views import block


class LandmarkAligner(CallbackSupportMixin, BaseAligner):
    """Base class of the aligners that compare rows with landmark rows.

    A subclass has the parameters in `_parameter_constraints`, and ``_feature_prefix``
    for the names of features. It defines ``_fit_view(rows, scaling, indices)``, which
    returns the fit of a view, its gamma and its mean affinity, and may define

    - ``_fit_scaling(rows)``: returns the `Scaling` of a view;
    - ``_join_views(fits, training, indices)``: returns further fitted attributes, from
      the fits of all views by name, the rows, and the indices of the landmarks. By
      default this is ``_states``, with a dict of arrays for each view.
    """

    _parameter_constraints = {
        **BaseAligner._parameter_constraints,
        "c": [Interval(Real, 0, 1, closed="neither")],
        "n_landmarks": [None, Interval(Integral, 1, None, closed="left")],
        "landmarks": [StrOptions({"random", *SPREAD_OUT})],
        "batch_size": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
    }

    @in_plain_torch
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Choose the landmarks and fit each view, and what the views share.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features)
            Training rows, of which at least two differ.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted aligner.

        Raises
        ------
        ValueError
            If all rows are equal, if `c` is not above the share of zero distances, if
            fewer than two rows have every view, or if the device is not available.
        """
        task = self._fit_task(X, y)
        training, fits, fitted = self._fit_landmarks(X, task)
        with task.subtask("all views"):
            fitted |= self._join_views(fits, training, fitted["landmark_indices_"])
        task.finish(fitted)
        set_fitted(self, fitted)
        return self

    def _fit_task(self, X, y):
        """Return the task of a fit: a subtask for each view, and one for all."""
        n_views = 1 if self.views is None else len(self.views)
        return FitTask(self, X, y, max_subtasks=n_views + 1)

    def _fit_landmarks(self, X, task):
        """Return the training rows, the fits of all views, and fitted attributes."""
        training = self._split_training(X, self.n_landmarks)
        scalings = {}
        for name, rows in training.views.items():
            with self._errors_of_view(name):
                scalings[name] = self._fit_scaling(rows)
        indices = self._select_landmarks(training, scalings)
        fits, gammas, mean_affinities = {}, [], []
        for name, rows in training.views.items():
            with task.subtask("view"), self._errors_of_view(name):
                fit, gamma, mean_affinity = self._fit_view(
                    rows, scalings[name], indices
                )
            fits[name] = fit
            gammas.append(gamma)
            mean_affinities.append(mean_affinity)
        is_one = self.views is None
        fitted = {
            **feature_attributes(X),
            "view_columns_": training.columns,
            "gamma_": gammas[0] if is_one else np.array(gammas),
            "mean_affinity_": (
                mean_affinities[0] if is_one else np.array(mean_affinities)
            ),
            "landmarks_": training.rows.at(indices).to_numpy(),
            "landmark_indices_": indices,
            "n_landmarks_": len(indices),
        }
        return training, fits, fitted

    def _fit_scaling(self, rows, whiten=None):
        return with_smaller_batches(
            fit_scaling,
            rows,
            rows.load(every_nth(len(rows))),
            len(rows),
            whiten,
            rows.rounding,
        )

    def _join_views(self, fits, training, indices):
        return {"_states": {name: to_numpy(fit) for name, fit in fits.items()}}

    def _select_landmarks(self, training, scalings):
        """Return the indices of the landmarks among the training rows."""
        chosen = select_landmarks(
            len(training.paired),
            self.n_landmarks,
            self.landmarks,
            partial(joint_coordinates, training, scalings),
            self.random_state,
        )
        return training.paired[chosen]

    def _fit_kernel(self, rows, scaling, indices, gamma="auto"):
        """Return what `fit_bandwidth` does, with the landmarks as they were given."""
        landmarks = rows.at(indices).load()
        fitted = with_smaller_batches(
            fit_kernel, rows, scaling, landmarks, float(self.c), gamma
        )
        return *fitted, landmarks

    def _load_kernel(self, state, name, rows):
        """Return the kernel of a view and its landmarks, ready for rows on a device.

        `state` is the kernel at rest. The result is in float32 if this is exact enough
        and the rows are float32; the landmarks are in the coordinates of the view.
        """
        dtype = rows.dtype if state["allows_single"] else torch.float64
        state = to_torch(state, rows.device, dtype)
        kernel = as_kernel(state)
        landmarks = block(self.landmarks_, self.view_columns_[name])
        landmarks = to_device(landmarks, rows.device)
        return kernel, coordinates(landmarks, kernel.scaling)

    @property
    def _view_feature_names(self):
        return [f"{self._feature_prefix}{i}" for i in range(self.n_landmarks_)]


def fit_kernel(rows, scaling, landmarks, c, gamma):
    """Return what `fit_bandwidth` does of rows, as far as memory allows."""
    sample = rows.load(every_nth(len(rows)))
    return fit_bandwidth(
        rows, sample, len(rows), scaling, landmarks, c, gamma, rows.kept_bytes
    )


def joint_coordinates(training, scalings):
    """Return paired rows in the coordinates of all views, each of unit variance."""
    blocks = []
    for name, rows in training.views.items():
        Z = with_smaller_batches(
            unit_coordinates, rows.at(training.paired), scalings[name]
        )
        blocks.append(Z)
    return torch.cat(blocks, dim=1)


def unit_coordinates(rows, scaling):
    """Return all rows in float64 coordinates of unit total variance."""
    Z = torch.cat([coordinates(X, scaling.in_float64()) for X in rows])
    return Z / scaling.total_variance**0.5

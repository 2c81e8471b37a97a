"""What the aligners that compare rows with landmark rows do alike."""

from contextlib import contextmanager
from functools import partial
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.callback import CallbackSupportMixin
from sklearn.utils._param_validation import Interval, StrOptions

from sklearn_featalign._affinity import fit_rate
from sklearn_featalign._base import BaseAligner
from sklearn_featalign._coordinates import (
    coordinates,
    fit_frame,
    in_dtype,
    some_rows,
)
from sklearn_featalign._landmarks import SPREAD_OUT, select_landmarks
from sklearn_featalign._torch import (
    Rows,
    seen_columns,
    to_numpy,
    to_torch,
    torch_dtype,
    write_fit,
)
from sklearn_featalign._views import block


class LandmarkAligner(CallbackSupportMixin, BaseAligner):
    """Base of the aligners with landmarks and an auto-scaled RBF kernel.

    A subclass has the parameters in `_parameter_constraints` and ``_feature_prefix``
    for the names of features. Its ``_fit_view(rows, frame, indices)`` returns the state
    of a view, a dict of tensors and numbers that begins with what `_fit_kernel`
    returns; ``_join_views(states)`` completes those of all views with what they share.
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

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Choose the landmarks and fit each view, and what the views share.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features)
            Training rows, at least two different ones.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted aligner.

        Raises
        ------
        ValueError
            If all rows are equal, if `c` is not above the share of zero distances,
            if fewer than two rows have every view, or if the device is not there.
        """
        n_views = 1 if self.views is None else len(self.views)
        # One task for each view, and one for what they share.
        task = self._init_callback_context(max_subtasks=n_views + 1)
        hooks = {"estimator": self, "X": X, "y": y}
        task.call_on_fit_task_begin(**hooks)
        training = self._open_training(X, self.n_landmarks)
        views, paired = training.views, training.paired
        frames = {}
        for name, rows in views.items():
            with self._naming(name):
                frames[name] = self._fit_frame(rows)
        chosen = select_landmarks(
            len(paired),
            self.n_landmarks,
            self.landmarks,
            lambda: joint_coordinates(views, frames, paired),
            self.random_state,
            "samples" if self.views is None else "rows with every view",
        )
        indices = paired[chosen]
        states = {}
        for name, rows in views.items():
            with _subtask(task, "view", hooks), self._naming(name):
                states[name] = self._fit_view(rows, frames[name], indices)
        with _subtask(task, "all views", hooks):
            states = self._join_views(states)
        # One view at a time gives way to its arrays.
        states = {name: to_numpy(states.pop(name)) for name in list(states)}
        gammas = [state.pop("gamma") for state in states.values()]
        means = [state.pop("mean_affinity") for state in states.values()]
        one = self.views is None
        fitted = {
            **seen_columns(X),
            "view_columns_": training.columns,
            "gamma_": gammas[0] if one else np.array(gammas),
            "mean_affinity_": means[0] if one else np.array(means),
            "landmarks_": training.rows.at(indices).to_numpy(),
            "landmark_indices_": indices,
            "n_landmarks_": len(indices),
            "_states": states,
        }
        task.call_on_fit_task_end(**hooks, reconstruction_attributes=lambda: fitted)
        write_fit(self, fitted)
        return self

    def _fit_frame(self, rows, whiten=None):
        sample = rows.load(some_rows(len(rows)))
        return fit_frame(rows.map, sample, len(rows), whiten, rows.rounding)

    def _fit_kernel(self, rows, frame, indices, gamma="auto"):
        """Return the state of the RBF kernel of a view, and its landmarks as they came.

        The state has the precision that rows are to be transformed in.
        """
        landmarks = rows.at(indices).load()
        sample = rows.load(some_rows(len(rows)))
        state = fit_rate(
            rows.map, sample, len(rows), frame, landmarks, float(self.c), gamma
        )
        return state, landmarks

    def _join_views(self, states):
        return states

    def _load_kernel(self, name, rows):
        """Return the state of a view for rows, and the landmarks in its coordinates.

        Both are of float32 where the fit has found that exact enough, and rows are.
        """
        state = self._states[name]
        dtype = torch.promote_types(rows.dtype, torch_dtype(state["offset"]))
        state = to_torch(state, rows.device, dtype)
        landmarks = block(self.landmarks_, self.view_columns_[name])
        landmarks = Rows(landmarks, rows.device, 1, 1).load()
        return state, coordinates(landmarks, state)

    @property
    def _view_feature_names(self):
        return [f"{self._feature_prefix}{i}" for i in range(self.n_landmarks_)]


@contextmanager
def _subtask(task, name, hooks):
    """Tell callbacks of a part of the fit."""
    part = task.subcontext(task_name=name)
    part.call_on_fit_task_begin(**hooks)
    yield
    part.call_on_fit_task_end(**hooks)


def joint_coordinates(views, frames, indices):
    """Return rows in the coordinates of all views, each scaled to unit variance."""
    blocks = []
    for rows, frame in zip(views.values(), frames.values(), strict=True):
        frame = in_dtype(frame, torch.float64)
        Z = rows.at(indices).map(partial(coordinates, frame=frame))
        blocks.append(torch.cat(list(Z)) / frame["total_variance"] ** 0.5)
    return torch.cat(blocks, dim=1)

"""Base class of the Poisson estimators: charges, heights, and rows that flow."""

from functools import partial
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, _fit_context
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_featalign._callbacks import FitTask
from sklearn_featalign._mixin import TorchTransformerMixin
from sklearn_featalign._poisson._cells import (
    cell_levels,
    fit_cells,
    largest_norm,
    number_of_cells,
)
from sklearn_featalign._poisson._charges import charges_in_plane
from sklearn_featalign._poisson._fields import CellField, ChargeField
from sklearn_featalign._poisson._flow import SOLVERS, Flow
from sklearn_featalign._poisson._heights import (
    data_size,
    neighbor_distances,
    perplexity_height,
    sample_charges,
    spacing_height,
)
from sklearn_featalign._poisson._quantiles import Quantiles
from sklearn_featalign._poisson._whitening import (
    Coordinates,
    clipped_distances,
    fit_coordinates,
    to_coordinates,
    unit_of,
)
from sklearn_featalign._progress import Progress
from sklearn_featalign._standardize import ZScore
from sklearn_featalign._torch import (
    Rows,
    check_rows,
    feature_attributes,
    full_like,
    in_plain_torch,
    is_single,
    resolve_device,
    set_fitted,
    to_numpy,
    to_torch,
    with_smaller_batches,
)

# Median perplexity of the field weights at the height where rows see their neighbours.
_PERPLEXITY = 15

# Copies of the place of a row that a step of a solver makes, about.
_N_PLACES = 64

# A batch takes no more rows than over so many times as many charges as it has numbers,
# so that none takes minutes.
_MOST_CHARGES = 32

# Largest number of charges by default.
_N_CHARGES = 4096


class PoissonTransformer(
    CallbackSupportMixin, OneToOneFeatureMixin, TorchTransformerMixin, BaseEstimator
):
    """Base class of the estimators whose rows follow a field of the training rows.

    A subclass has the parameters in `_parameter_constraints` and `scaling`. It defines

    - ``_fit_heights(rows, log_counts, spacing, size)``: returns ``start_height_``,
      ``end_height_`` and other attributes that follow from the rows, in a dict;
    - ``_flow_output`` and ``_path_output``: the outputs of its `Flow`, and of paths.

    It may define checks (``_check_parameters``, ``_check_inverse_rows``),
    ``_n_outputs``, ``_fit_depths`` of cells, ``_fit_steps`` with ``_steps`` and
    ``_last``, and, for a field that a network learns, ``_n_epochs``, ``_fit_field``,
    ``_field`` and ``_n_work_columns``.
    """

    # The last map of the columns, where there is one.
    _last = None

    _parameter_constraints = {
        "start_height": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "solver": [StrOptions(set(SOLVERS))],
        "n_steps": [Interval(Integral, 1, None, closed="left")],
        "n_charges": [None, Interval(Integral, 2, None, closed="left")],
        "device": [str],
        "batch_size": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    @in_plain_torch
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Place the charges and choose the heights.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features)
            Training rows, of which at least two differ.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted transformer.

        Raises
        ------
        ValueError
            If all rows are equal, if the heights do not suit the data, if parameters
            exclude each other, if a network's loss or weights are no longer finite, or
            if the device is not available.
        """
        self._check_parameters()
        self._refuse_list_of_arrays(X)
        task = FitTask(self, X, y, max_subtasks=self._n_epochs)
        values = check_rows(self, X, min_samples=2)
        random_state = check_random_state(self.random_state)
        rows = Rows(values, resolve_device(self.device, values), self.batch_size)
        coordinates = self._fit_coordinates(rows, self.scaling)
        metric = coordinates
        if self.scaling != "view":
            metric = self._fit_coordinates(rows, "view")
        distinct, counts = rows.load().unique(dim=0, return_counts=True)
        fitted = {"_coordinates": coordinates}
        fitted |= self._fit_scores(to_coordinates(distinct, metric), counts, metric)
        fitted |= self._fit_charges(to_coordinates(distinct, coordinates), counts)
        fitted = to_numpy(fitted) | feature_attributes(X)
        fitted = self._fit_field(rows, coordinates, fitted, task, random_state)
        fitted |= self._fit_steps(rows, fitted)
        task.finish(fitted)
        set_fitted(self, fitted, optional=("M_", "loss_curve_", "n_iter_"))
        return self

    def transform(self, X):
        """Let rows flow.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features_in_)

        Returns
        -------
        X_new : {ndarray, tensor} of shape (n_samples, n_features_out)
            The rows at the end of the flow.
        """
        X = self._check_rows(X)
        return self._map_rows(X, "forward", self._n_outputs, told="transform")

    def inverse_transform(self, X):
        """Let rows flow back.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features_out)
            As :meth:`transform` returns them.

        Returns
        -------
        X_original : {ndarray, tensor} of shape (n_samples, n_features_in_)
            Rows in the units of the training rows. With ``output="cube"``, 0 and what
            lies below are where the outermost training rows are, and so are 1 and what
            lies above. With "cube" and "normal" no column comes back more than four
            standard deviations outside the range of the training rows (those of the
            normal scores with ``scaling="quantile"``), so that predictions, as in a
            :class:`~sklearn.compose.TransformedTargetRegressor`, stay reasonable. Its
            check that both ways are inverse to 1e-5 wants ``n_steps=50`` with several
            columns.

        Raises
        ------
        ValueError
            If points of a hemisphere are not above the plane.
        """
        check_is_fitted(self)
        X = check_rows(self, X)
        self._check_width(X, self._n_outputs, method=".inverse_transform")
        self._check_inverse_rows(X)
        return self._map_rows(
            X,
            "backward",
            self.n_features_in_,
            told="inverse_transform",
            largest=largest_number(X),
        )

    def score_samples(self, X):
        """Return scores that are low for outliers.

        The score is the negative distance of each sample from the field-weighted mean
        of the charges, in the units of X. It is taken at the height where the median
        perplexity of the weights is 15 (or half the number of charges, if that is
        less), but at least a share of their spacing. The field is the exact field of
        all training rows, whatever rows flow along.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features_in_)

        Returns
        -------
        scores : {ndarray, tensor} of shape (n_samples,)
            At most zero.
        """
        X = self._check_rows(X)
        charges = self._score_rows
        rows, out = self._open(X, 1, len(charges))
        score = partial(
            negative_distance,
            coordinates=load_coordinates(self._metric, rows.device),
            field=charge_field(
                charges,
                self._score_counts,
                self._score_spacing,
                self.score_height_ / self._unit,
                rows.device,
            ),
            height=self.score_height_ / self._unit,
            unit=self._unit,
            largest=largest_number(X),
        )
        rows.collect(score, out, progress=self._progress("score_samples", X))
        return out[:, 0]

    def _fit_coordinates(self, rows, scaling):
        return with_smaller_batches(
            fit_coordinates, rows, len(rows), scaling, rows.rounding
        )

    def _check_parameters(self):
        """Raise an error if parameters exclude each other."""

    def _check_inverse_rows(self, X):
        """Raise an error if rows cannot be an output of the flow."""

    @property
    def _n_epochs(self):
        return 0

    def _fit_field(self, rows, coordinates, fitted, task, random_state):
        """Return the fitted attributes with those of a field that is learned."""
        return fitted

    @property
    def _n_outputs(self):
        return self.n_features_in_

    def _fit_steps(self, rows, fitted):
        """Return further fitted attributes, for which rows have to flow."""
        return {}

    def _fit_scores(self, rows, counts, metric):
        """Return what `score_samples` needs: all rows, in their own units."""
        log_counts, unit = counts.to(rows).log(), unit_of(metric)
        spacing = self._spacing(rows, data_size(rows, log_counts))
        height = self._neighbor_height(rows, log_counts, spacing)
        return {
            "score_height_": unit * height,
            "_metric": metric,
            "_unit": unit,
            "_score_rows": rows,
            "_score_counts": counts,
            "_score_spacing": spacing,
        }

    def _fit_charges(self, rows, counts):
        """Return the charges, and what is measured of them and of all rows."""
        log_counts = counts.to(rows).log()
        size, charges = data_size(rows, log_counts), rows
        n_cells = self._n_cells(int(counts.sum()))
        if n_cells is not None:
            arrays = (values.cpu().numpy() for values in (rows, counts))
            charges, counts = fit_cells(*arrays, n_cells)
            charges = torch.from_numpy(charges).to(rows.device)
        spacing = self._spacing(charges, size)
        fitted = {
            "charges_": charges,
            "charge_counts_": counts,
            "_levels": None,
            "_size": size,
            "_spacing_height": spacing,
            **self._fit_heights(rows, log_counts, spacing, size),
        }
        if n_cells is not None:
            depths = self._fit_depths(charges, fitted["start_height_"])
            places, depths = (values.cpu().numpy() for values in (charges, depths))
            fitted["_levels"] = cell_levels(places, counts, depths)
        return fitted

    def _fit_depths(self, charges, height):
        """Return the depths of cells below the plane."""
        return torch.zeros_like(charges[:, 0])

    def _spacing(self, charges, size):
        """Return the spacing height of charges."""
        distances = with_smaller_batches(
            neighbor_distances, self._sampled_rows(charges), charges
        )
        return spacing_height(distances, charges.shape[1], size)

    def _neighbor_height(self, rows, log_counts, spacing):
        """Return the height at which rows see their neighbours: the spacing or more."""
        perplexity = min(_PERPLEXITY, len(rows) / 2)
        height = with_smaller_batches(
            perplexity_height_of,
            self._sampled_rows(rows),
            rows,
            log_counts,
            perplexity,
        )
        return max(height, spacing)

    def _n_cells(self, n_rows):
        """Return the number of cells, or None where each row is a charge."""
        if self.n_charges is None:
            return None
        most = _N_CHARGES if self.n_charges == "auto" else self.n_charges
        return number_of_cells(n_rows, most)

    def _sampled_rows(self, charges):
        """Return some of the charges as rows that are compared with all charges."""
        sampled = sample_charges(charges)
        return Rows(sampled, charges.device, self.batch_size, len(charges))

    @property
    def _n_work_columns(self):
        """Numbers that are computed for a row, without those of a block of weights."""
        n_charges, d = self.charges_.shape
        return max(_N_PLACES * d, n_charges // _MOST_CHARGES)

    def _open(self, X, n_outputs, n_work_columns):
        """Return X as rows on the device, and the container of their outputs."""
        rows = Rows(X, resolve_device(self.device, X), self.batch_size, n_work_columns)
        return rows, full_like(X, n_outputs)

    def _progress(self, method, X):
        """Return who tells how far a method is with the rows of X."""
        return Progress(f"{type(self).__name__}.{method}", len(X), self.verbose)

    def _map_rows(self, X, method, n_outputs, told=None, **arguments):
        """Return what a method of `Flow` makes of rows, told as another method."""
        rows, out = self._open(X, n_outputs, self._n_work_columns)
        flow = self._make_flow(rows.device)
        progress = None if told is None else self._progress(told, X)
        rows.collect(
            partial(getattr(flow, method), **arguments), out, progress=progress
        )
        return out

    def _field(self, device):
        """Return the field that rows follow, on a device."""
        lowest = min(self.start_height_, self.end_height_)
        if self._levels is None:
            return charge_field(
                self.charges_, self.charge_counts_, self._spacing_height, lowest, device
            )
        return CellField(to_torch(self._levels, device).values(), lowest)

    def _make_flow(self, device):
        """Return the flow of rows on a device."""
        self._check_solver()
        return Flow(
            load_coordinates(self._coordinates, device),
            self._field(device),
            self.start_height_,
            self.end_height_,
            self._size,
            int(self.charge_counts_.sum()),
            self._flow_output,
            self.solver,
            self._steps,
            quantiles_of(to_torch(self._last, device)),
        )

    @property
    def _steps(self):
        return self.n_steps

    def _check_solver(self):
        """Raise an error if what was set after the fit cannot be used."""
        if self.solver not in SOLVERS:
            raise ValueError(f"solver={self.solver!r} is none of {SOLVERS}.")
        check_scalar(self._steps, "n_steps", Integral, min_val=1)

    def _paths(self, X, n_points):
        """Return the places of rows on their way, as an array of three dimensions."""
        n_outputs = n_points * self.n_features_in_
        paths = self._map_rows(
            X, "path", n_outputs, n_points=n_points, output=self._path_output
        )
        return paths.reshape(len(paths), n_points, -1)


def load_coordinates(state, device):
    """Return fitted coordinates on a device."""
    state = to_torch(state, device)
    state["zscore"] = ZScore(**state["zscore"])
    state["quantiles"] = quantiles_of(state["quantiles"])
    return Coordinates(**state)


def quantiles_of(state):
    """Return fitted quantiles, or None without any."""
    return None if state is None else Quantiles(**state)


def charge_field(charges, counts, spacing, lowest, device):
    """Return the field of charges on a device."""
    places = torch.tensor(charges, device=device)
    counts = torch.tensor(counts, dtype=torch.float64, device=device)
    return ChargeField(
        charges_in_plane(places, counts.log()),
        # Computed on the host, which then need not wait for the device.
        max_norm=largest_norm(charges),
        spacing=spacing,
        lowest=lowest,
    )


def negative_distance(X, coordinates, field, height, unit, largest):
    """Return the score of rows: see `PoissonTransformer.score_samples`.

    No score is below the negative of `largest`.
    """
    X = X.to(torch.float64)
    Z = to_coordinates(X, coordinates)
    distances = unit * field.distance_to_mean_charge(Z, height)
    # So far away, the middle of the training rows is as good as any mean charge.
    distances = torch.maximum(distances, clipped_distances(X, coordinates))
    return -distances.clamp(max=largest)


def largest_number(X):
    """Return the largest number in the precision of X."""
    return float(np.finfo(np.float32 if is_single(X) else np.float64).max)


def perplexity_height_of(rows, charges, log_counts, perplexity):
    """Return `perplexity_height`, with distances kept only if rows have the memory."""
    n_bytes = len(rows) * len(charges) * charges.element_size()
    is_kept = n_bytes <= rows.kept_bytes
    return perplexity_height(rows, charges, log_counts, perplexity, is_kept)

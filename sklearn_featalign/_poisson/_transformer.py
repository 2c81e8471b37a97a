"""Base class of the Poisson estimators: charges, heights, and rows that flow."""

from functools import partial
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, _fit_context
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_featalign._callbacks import FitTask
from sklearn_featalign._linalg import squared_distances
from sklearn_featalign._mixin import TorchTransformerMixin
from sklearn_featalign._poisson._fields import ChargeField
from sklearn_featalign._poisson._flow import SOLVERS, FloatLimits, Flow
from sklearn_featalign._poisson._heights import (
    data_size,
    perplexity_height,
    sample_charges,
    spacing_height,
)
from sklearn_featalign._poisson._regions import Regions, fit_regions
from sklearn_featalign._poisson._whitening import (
    Coordinates,
    fit_coordinates,
    metric_factor,
    to_coordinates,
)
from sklearn_featalign._standardize import ZScore
from sklearn_featalign._torch import (
    Rows,
    check_rows,
    feature_attributes,
    full_like,
    is_single,
    resolve_device,
    set_fitted,
    to_numpy,
    to_torch,
    with_smaller_batches,
)

# Perplexity of the field weights at the height of the neighbours of a row.
_PERPLEXITY = 15

# Number of regions that are tried as the one that a row came from.
_N_CANDIDATE_REGIONS = 4


class PoissonTransformer(
    CallbackSupportMixin, OneToOneFeatureMixin, TorchTransformerMixin, BaseEstimator
):
    """Base class of the estimators whose rows follow a field of the training rows.

    A subclass has the parameters in `_parameter_constraints` and `scaling`. It defines

    - ``_fit_heights(charges, log_counts, spacing, size)``: returns ``start_height_``
      and ``end_height_`` in a dict of fitted attributes;
    - ``_flow_output`` and ``_path_output``: the outputs of its `Flow`, and of paths.

    Where the field is that of a network, it also defines how that is fitted and
    followed: ``_n_epochs``, ``_fit_field``, ``_make_flow``, ``_n_work_columns``.
    """

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
    }

    # Tensors made in inference mode could not be trained on.
    @torch.inference_mode(False)
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
        task = FitTask(self, X, y, max_subtasks=self._n_epochs)
        self._check_parameters()
        values = check_rows(self, X, min_samples=2)
        random_state = check_random_state(self.random_state)
        rows = Rows(values, resolve_device(self.device, values), self.batch_size)
        coordinates = with_smaller_batches(
            fit_coordinates, rows, len(rows), self.scaling, rows.rounding
        )
        fitted = self._fit_charges(rows, coordinates, random_state)
        fitted |= feature_attributes(X)
        fitted |= self._fit_field(rows, coordinates, fitted, task, random_state)
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
        return self._map_rows(self._check_rows(X), "forward", self._n_outputs)

    def inverse_transform(self, X):
        """Let rows flow back.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features_out)
            As :meth:`transform` returns them.

        Returns
        -------
        X_original : {ndarray, tensor} of shape (n_samples, n_features_in_)
            Rows in the units of the training rows. In a cube 0 and 1 stand for the
            nearest numbers between them: rows so far out that their output was rounded
            to these come back nearer.

        Raises
        ------
        ValueError
            If numbers lie outside of the cube, or points of a hemisphere are not above
            the plane.
        """
        check_is_fitted(self)
        X = check_rows(self, X)
        self._check_width(X, self._n_outputs, method=".inverse_transform")
        self._check_flow_output(X)
        finfo = np.finfo(np.float32 if is_single(X) else np.float64)
        limits = FloatLimits(float(finfo.tiny), float(finfo.eps), float(finfo.max))
        return self._map_back(X, "backward", limits=limits)

    def score_samples(self, X):
        """Return scores that are low for outliers.

        The score is the negative distance of each sample from the field-weighted mean
        of the charges, in the units of X. It is taken at the height where the median
        perplexity of the weights is 15 (or half the number of charges, if that is
        less), and not below the height by the spacing of the rows. Columns that did not
        vary in training are ignored.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features_in_)

        Returns
        -------
        scores : {ndarray, tensor} of shape (n_samples,)
            At most zero.
        """
        rows, out = self._open(self._check_rows(X), 1, len(self.charges_))
        flow = self._charge_flow(rows.device, self.charges_, self.charge_counts_)
        distances = partial(
            flow.distance_to_mean_charge,
            height=self.score_height_ / self._unit,
            factor=torch.tensor(self._metric_factor, device=rows.device),
            unit=self._unit,
        )
        rows.collect(distances, out)
        return -out[:, 0]

    def _check_parameters(self):
        """Raise an error if parameters exclude each other."""

    def _check_flow_output(self, X):
        """Raise an error if rows cannot be an output of the flow."""

    @property
    def _n_epochs(self):
        return 0

    def _fit_field(self, rows, coordinates, fitted, task, random_state):
        """Return the attributes of a field other than that of the charges."""
        return {}

    @property
    def _n_outputs(self):
        return self.n_features_in_

    def _fit_charges(self, rows, coordinates, random_state):
        """Return the charges and what follows from them, as fitted attributes."""
        distinct, counts = rows.load().unique(dim=0, return_counts=True)
        charges = to_coordinates(distinct, coordinates)
        log_counts = counts.to(charges).log()
        size = data_size(charges, log_counts)
        sampled = self._sampled_rows(charges)
        spacing = with_smaller_batches(spacing_height, sampled, charges, size)
        regions = None
        if self._sees_part_of(charges):
            arrays = (values.cpu().numpy() for values in (charges, counts))
            regions = fit_regions(*arrays, self.n_charges, random_state)
        factor, unit = metric_factor(coordinates)
        score_height = unit * self._neighbor_height(charges @ factor, log_counts)
        fitted = {
            "charges_": charges,
            "charge_counts_": log_counts.exp().round(),
            "score_height_": score_height,
            "_coordinates": coordinates,
            "_metric_factor": factor,
            "_unit": unit,
            "_size": size,
            "_spacing": spacing,
            "_regions": regions,
        }
        fitted |= self._fit_heights(charges, log_counts, spacing, size)
        return to_numpy(fitted)

    def _sees_part_of(self, charges):
        """Return whether rows see some of the charges and centroids of the others."""
        return self.n_charges is not None and self.n_charges < len(charges)

    def _sampled_rows(self, charges):
        """Return some of the charges as rows that are compared with all charges."""
        sampled = sample_charges(charges)
        return Rows(sampled, charges.device, self.batch_size, len(charges))

    def _neighbor_height(self, charges, log_counts):
        """Return the height at which rows see their neighbours."""
        rows = self._sampled_rows(charges)
        perplexity = min(_PERPLEXITY, len(charges) / 2)
        size = data_size(charges, log_counts)
        return max(
            with_smaller_batches(
                median_perplexity_height, rows, charges, log_counts, perplexity
            ),
            with_smaller_batches(spacing_height, rows, charges, size),
        )

    @property
    def _n_work_columns(self):
        """Number of charges that a row sees."""
        return len(self.charges_) if self._regions is None else self._seen.n_seen

    @property
    def _seen(self):
        return Regions(**self._regions)

    def _see_from(self, region):
        """Return the charges that are seen from a region, and their counts."""
        return self._seen.near_charges_and_centroids(
            region, self.charges_, self.charge_counts_
        )

    def _open(self, X, n_outputs, n_work_columns):
        """Return X as rows on the device, and the container of their outputs."""
        # Field weights are multiplied up in blocks, which should stay in the cache.
        n_numbers = 4 * (n_work_columns + self.charges_.shape[1])
        rows = Rows(X, resolve_device(self.device, X), self.batch_size, n_numbers)
        return rows, full_like(X, n_outputs)

    def _map_rows(self, X, method, n_outputs, **arguments):
        """Return what a method of `Flow` makes of rows.

        With `n_charges` each row sees the charges that are seen from its region.
        """
        rows, out = self._open(X, n_outputs, self._n_work_columns)
        if self._regions is None:
            self._collect(rows, method, out, **arguments)
            return out
        regions = self._nearest_regions(rows)[:, 0]
        for region in np.unique(regions):
            where = np.flatnonzero(regions == region)
            seen = self._see_from(region)
            self._collect(rows.at(where), method, out, seen, **arguments)
        return out

    def _map_back(self, X, method, **arguments):
        """Return the rows that a method of `Flow` carries outputs back to.

        With `n_charges` a row is first carried back with centroids alone. The regions
        nearest to where it ends are then tried in turn, until with the charges that are
        seen from one of them the row ends in that region.
        """
        rows, out = self._open(X, self.n_features_in_, self._n_work_columns)
        if self._regions is None:
            self._collect(rows, method, out, **arguments)
            return out
        self._collect(rows, method, out, self._see_from(None), **arguments)
        ends = Rows(out, rows.device, rows.batch_size)
        candidates = self._nearest_regions(ends, _N_CANDIDATE_REGIONS)
        left = np.arange(len(candidates))
        # A row that ends in none of its regions is taken to come from the nearest.
        for regions in [*candidates.T, candidates[:, 0]]:
            for region in np.unique(regions[left]):
                where = left[regions[left] == region]
                seen = self._see_from(region)
                self._collect(rows.at(where), method, out, seen, **arguments)
            found = self._nearest_regions(ends.at(left))[:, 0]
            left = left[found != regions[left]]
        return out

    def _collect(self, rows, method, out, seen=None, **arguments):
        """Write what a method of the flow makes of rows into a container.

        `seen` are the charges and counts that the rows see, by default all; the other
        arguments are passed to the method.
        """
        charges, counts = seen or (self.charges_, self.charge_counts_)
        flow = self._make_flow(rows.device, charges, counts)
        rows.collect(partial(getattr(flow, method), **arguments), out)

    def _nearest_regions(self, rows, n_regions=1):
        """Return the regions with the nearest centers, for each row."""
        coordinates = self._load_coordinates(rows.device)
        centers = torch.tensor(self._seen.centers, device=rows.device)
        n_regions = min(n_regions, len(centers))
        return with_smaller_batches(
            nearest_centers, rows, coordinates, centers, n_regions
        )

    def _load_coordinates(self, device):
        state = to_torch(self._coordinates, device)
        return Coordinates(**state | {"zscore": ZScore(**state["zscore"])})

    def _charge_flow(self, device, charges, counts):
        """Return the flow of rows in the field of charges, on a device."""
        field = ChargeField(
            torch.tensor(charges, device=device),
            torch.tensor(counts, device=device).log(),
            # Computed on the host, which then need not wait for the device.
            max_norm=float(np.linalg.norm(charges, axis=1).max()),
            spacing=self._spacing,
            lowest=min(self.start_height_, self.end_height_),
        )
        return self._flow(field, device)

    def _flow(self, field, device):
        return Flow(
            self._load_coordinates(device),
            field,
            (self.start_height_, self.end_height_),
            self._size,
            self._flow_output,
            self.solver,
            self.n_steps,
        )

    # A subclass with other fields makes another flow for them.
    _make_flow = _charge_flow

    def _paths(self, X, n_points):
        """Return the places of rows on their way, as an array of three dimensions."""
        n_outputs = n_points * self.n_features_in_
        paths = self._map_rows(
            X, "path", n_outputs, n_points=n_points, output=self._path_output
        )
        return paths.reshape(len(paths), n_points, -1)


def median_perplexity_height(rows, charges, log_counts, perplexity):
    """Return `perplexity_height` of rows, with distances kept as memory allows."""
    return perplexity_height(rows, charges, log_counts, perplexity, rows.kept_bytes)


def nearest_centers(rows, coordinates, centers, n_centers):
    """Return the indices of the nearest centers of each row, as an array."""
    found = [torch.empty((0, n_centers), dtype=torch.int64, device=rows.device)]
    for X in rows:
        D = squared_distances(to_coordinates(X, coordinates), centers)
        found.append(D.topk(n_centers, dim=1, largest=False).indices)
    return torch.cat(found).cpu().numpy()

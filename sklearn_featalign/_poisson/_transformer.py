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

# Median perplexity of the field weights at the height where rows see their neighbours.
_PERPLEXITY = 15

# Number of regions that are tried as the one that a row came from.
_N_CANDIDATE_REGIONS = 4


class PoissonTransformer(
    CallbackSupportMixin, OneToOneFeatureMixin, TorchTransformerMixin, BaseEstimator
):
    """Base class of the estimators whose rows follow a field of the training rows.

    A subclass has the parameters in `_parameter_constraints` and `scaling`. It defines

    - ``_fit_heights(charges, log_counts, spacing, size)``: returns ``start_height_``,
      ``end_height_`` and other attributes that follow from the charges, in a dict;
    - ``_flow_output`` and ``_path_output``: the outputs of its `Flow`, and of paths.

    It may define checks (``_check_parameters``, ``_check_inverse_rows``),
    ``_n_outputs`` and, for a field that a network learns, ``_n_epochs``,
    ``_fit_field``, ``_make_flow``, ``_n_work_columns`` and ``_is_approximated``.
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
        self._check_parameters()
        task = FitTask(self, X, y, max_subtasks=self._n_epochs)
        values = check_rows(self, X, min_samples=2)
        random_state = check_random_state(self.random_state)
        rows = Rows(values, resolve_device(self.device, values), self.batch_size)
        coordinates = with_smaller_batches(
            fit_coordinates, rows, len(rows), self.scaling, rows.rounding
        )
        distinct, counts = rows.load().unique(dim=0, return_counts=True)
        charges = to_coordinates(distinct, coordinates)
        log_counts = counts.to(charges).log()
        fitted = self._fit_charges(charges, log_counts, coordinates, random_state)
        fitted |= self._fit_heights(
            charges, log_counts, fitted["_spacing_height"], fitted["_size"]
        )
        fitted = to_numpy(fitted) | feature_attributes(X)
        fitted = self._fit_field(rows, coordinates, fitted, task, random_state)
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
            Rows in the units of the training rows. With ``output="cube"``, 0 and 1 are
            replaced by the nearest numbers between them, so that very distant rows come
            back closer than they were.

        Raises
        ------
        ValueError
            If numbers lie outside of the cube, or points of a hemisphere are not above
            the plane.
        """
        check_is_fitted(self)
        X = check_rows(self, X)
        self._check_width(X, self._n_outputs, method=".inverse_transform")
        self._check_inverse_rows(X)
        finfo = np.finfo(np.float32 if is_single(X) else np.float64)
        limits = FloatLimits(float(finfo.tiny), float(finfo.eps), float(finfo.max))
        return self._map_back(X, "backward", limits=limits)

    def score_samples(self, X):
        """Return scores that are low for outliers.

        The score is the negative distance of each sample from the field-weighted mean
        of the charges, in the units of X. It is taken at the height where the median
        perplexity of the weights is 15 (or half the number of charges, if that is
        less), but at least the height at which rows start to spread. The field is the
        exact field of all charges, also with `n_charges` or a learned field. Columns
        that did not vary in training are ignored.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features_in_)

        Returns
        -------
        scores : {ndarray, tensor} of shape (n_samples,)
            At most zero.
        """
        rows, out = self._open(self._check_rows(X), 1, len(self.charges_))
        score = partial(
            negative_distance,
            coordinates=self._load_coordinates(rows.device),
            field=self._charge_field(rows.device, self.charges_, self.charge_counts_),
            height=self.score_height_ / self._unit,
            factor=torch.tensor(self._metric_factor, device=rows.device),
            unit=self._unit,
        )
        rows.collect(score, out)
        return out[:, 0]

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

    def _fit_charges(self, charges, log_counts, coordinates, random_state):
        """Return the charges, their regions, and what is measured of them."""
        size = data_size(charges, log_counts)
        sampled = self._sampled_rows(charges)
        counts, regions = log_counts.exp().round(), None
        if self._is_approximated(charges):
            arrays = (values.cpu().numpy() for values in (charges, counts))
            regions = fit_regions(*arrays, self.n_charges, random_state)
        factor, unit = metric_factor(coordinates)
        return {
            "charges_": charges,
            "charge_counts_": counts,
            "score_height_": unit * self._neighbor_height(charges @ factor, log_counts),
            "_coordinates": coordinates,
            "_metric_factor": factor,
            "_unit": unit,
            "_size": size,
            "_spacing_height": with_smaller_batches(
                spacing_height, sampled, charges, size
            ),
            "_regions": regions,
        }

    def _is_approximated(self, charges):
        """Return whether the field is approximated by some charges and centroids."""
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
                perplexity_height_of, rows, charges, log_counts, perplexity
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
        # Batches of a quarter of the usual size stay in the cache.
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
        # `ends` sees what is written into `out` below.
        ends = Rows(out, rows.device, rows.batch_size)
        candidates = self._nearest_regions(ends, _N_CANDIDATE_REGIONS)
        left = np.arange(len(candidates))
        # A row that ends in none of its regions is taken to come from the nearest.
        for regions in [*candidates.T, candidates[:, 0]]:
            if not len(left):
                break
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

    def _charge_field(self, device, charges, counts):
        """Return the field of charges on a device."""
        return ChargeField(
            torch.tensor(charges, device=device),
            torch.tensor(counts, device=device).log(),
            # Computed on the host, which then need not wait for the device.
            max_norm=float(np.linalg.norm(charges, axis=1).max()),
            spacing=self._spacing_height,
            lowest=min(self.start_height_, self.end_height_),
        )

    def _make_flow(self, device, charges, counts):
        """Return the flow of rows that see some charges, on a device."""
        return self._flow_in(self._charge_field(device, charges, counts), device)

    def _flow_in(self, field, device):
        return Flow(
            self._load_coordinates(device),
            field,
            (self.start_height_, self.end_height_),
            self._size,
            self._flow_output,
            self.solver,
            self.n_steps,
        )

    def _paths(self, X, n_points):
        """Return the places of rows on their way, as an array of three dimensions."""
        n_outputs = n_points * self.n_features_in_
        paths = self._map_rows(
            X, "path", n_outputs, n_points=n_points, output=self._path_output
        )
        return paths.reshape(len(paths), n_points, -1)


def negative_distance(X, coordinates, field, height, factor, unit):
    """Return the score of rows: see `PoissonTransformer.score_samples`."""
    Z = to_coordinates(X.to(torch.float64), coordinates)
    return -unit * field.distance_to_mean_charge(Z, height, factor)


def perplexity_height_of(rows, charges, log_counts, perplexity):
    """Return `perplexity_height`, with distances kept only if rows have the memory."""
    n_bytes = len(rows) * len(charges) * charges.element_size()
    is_kept = n_bytes <= rows.kept_bytes
    return perplexity_height(rows, charges, log_counts, perplexity, is_kept)


def nearest_centers(rows, coordinates, centers, n_centers):
    """Return the indices of the nearest centers of each row, as an array."""
    found = []
    for X in rows:
        D = squared_distances(to_coordinates(X, coordinates), centers)
        found.append(D.topk(n_centers, dim=1, largest=False).indices)
    return torch.cat(found).cpu().numpy()

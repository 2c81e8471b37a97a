"""What `PoissonUniformizer` does where a network learns the field."""

from functools import partial

import numpy as np
import torch

from sklearn_featalign._mlp import detached
from sklearn_featalign._poisson._fields import LearnedField
from sklearn_featalign._poisson._network import (
    largest_exponent,
    make_network,
    train_network,
    trained_height,
)
from sklearn_featalign._poisson._projected import ProjectedFlow
from sklearn_featalign._poisson._transformer import load_coordinates
from sklearn_featalign._poisson._whitening import to_coordinates
from sklearn_featalign._torch import (
    to_numpy,
    to_torch,
    torch_generator,
    with_smaller_batches,
)
from sklearn_featalign._training import SklearnCallbacks

# Sizes of unscaled rows whose squares float32 holds.
_TRAINED_SIZES = (1e-15, 1e15)


class LearnedFieldMixin:
    """The parts of a `PoissonTransformer` that depend on its parameter `field`.

    This is "exact" or a `PoissonField`. Fitted attributes are `_weights`, None for the
    exact field, and `_is_projected`.
    """

    @property
    def _trains_projected(self):
        return self.field != "exact" and self.field.parametrization == "projected"

    @property
    def _n_epochs(self):
        return 0 if self.field == "exact" else self.field.max_epochs

    @property
    def _n_work_columns(self):
        if self._weights is None:
            return super()._n_work_columns
        return sum(len(weight) for weight in self._weights.values())

    def _fit_field(self, rows, coordinates, fitted, task, random_state):
        if self.field == "exact":
            return fitted
        return fit_network(rows, coordinates, self.field, fitted, task, random_state)

    def _field(self, device):
        if self._weights is None:
            return super()._field(device)
        return LearnedField(to_torch(self._weights, device, torch.float64))

    def _make_flow(self, device):
        if not self._is_projected:
            return super()._make_flow(device)
        self._check_solver()
        return ProjectedFlow(
            load_coordinates(self._coordinates, device),
            to_torch(self._weights, device, torch.float64),
            self.start_height_,
            self.end_height_,
            self.solver,
            self._steps,
        )

    def _paths(self, X, n_points):
        if self._is_projected:
            raise ValueError(
                "With parametrization='projected' rows do not share their heights."
            )
        return super()._paths(X, n_points)


def exponent_and_height(rows, log_counts, settings):
    """Return the M of a network, and the largest height that it is trained for.

    The settings are those of a `PoissonField`.
    """
    sigma, tau, M = float(settings.sigma), float(settings.tau), settings.M
    if M == "auto":
        norm = float(log_counts.softmax(0) @ rows.norm(dim=1))
        M = largest_exponent(norm, rows.shape[1], sigma, tau)
    return float(M), trained_height(sigma, tau, M)


def check_trained_size(size):
    """Raise an error if float32 cannot square unscaled rows."""
    low, high = _TRAINED_SIZES
    if not low <= size <= high:
        raise ValueError(
            f"The root mean square of X about its mean is {size:.6g}. With "
            f"scaling=None it must lie between {low:.6g} and {high:.6g} for a "
            "network to be trained: scale X first, or use scaling='view'."
        )


def fit_network(rows, coordinates, settings, fitted, task, random_state):
    """Train a network of the field, and return the fitted attributes with its own."""
    Z = with_smaller_batches(coordinates_of_all, rows, coordinates)
    generator = torch_generator(random_state)
    of_points = torch_generator(random_state, Z.device)
    network = make_network(Z, settings, fitted["M_"], generator, of_points)
    fitted_attributes = partial(with_weights, fitted, network)
    callbacks = SklearnCallbacks(task, fitted_attributes)
    history = train_network(network, Z, settings, generator, callbacks)
    losses = np.array(history[:, "train_loss"])
    return fitted_attributes() | {"loss_curve_": losses, "n_iter_": len(losses)}


def coordinates_of_all(rows, coordinates):
    """Return the coordinates of all rows."""
    return torch.cat([to_coordinates(X, coordinates) for X in rows])


def with_weights(fitted, network):
    """Return fitted attributes with the weights of a network."""
    return fitted | {"_weights": to_numpy(detached(network.weights))}

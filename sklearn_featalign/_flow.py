"""Lines of force followed by torchdiffeq, and a network trained to know the field."""

import torch
from torch.nn.functional import mse_loss
from torchdiffeq import odeint

from sklearn_featalign._modules import encoder_weights
from sklearn_featalign._poisson import (
    field,
    network_field,
    normalized_field,
    perturb,
    start_time,
    stretch,
    velocity,
)
from sklearn_featalign._training import PairedRows, train

SOLVERS = ("euler", "midpoint", "rk4", "dopri5")

# Relative and absolute error that a step of dopri5 may have, in the worst row.
_TOLERANCE = 1e-7


def integrate(function, Y, start, end, solver, n_steps):
    """Solve ``dy / dt = function(t, y)`` from a start to an end.

    Parameters
    ----------
    function : callable
    Y : tensor of shape (n_samples, n_features), float64
    start, end : float
    solver : {"euler", "midpoint", "rk4", "dopri5"}
        Of torchdiffeq. "dopri5" chooses its own steps, the same for all rows.
    n_steps : int
        Number of equal steps of the others.

    Returns
    -------
    Y : tensor of shape (n_samples, n_features)
    """

    def times(*_):
        return torch.linspace(start, end, n_steps + 1, dtype=Y.dtype, device=Y.device)

    def worst_row(error):
        return error.square().mean(1).sqrt().max()

    adaptive = solver == "dopri5"
    options = {"norm": worst_row} if adaptive else {"grid_constructor": times}
    # torchdiffeq makes some tensors on the default device.
    with torch.device(Y.device):
        ends = torch.tensor([start, end], dtype=Y.dtype)
        path = odeint(
            function,
            Y,
            ends,
            method=solver,
            options=options,
            rtol=_TOLERANCE,
            atol=_TOLERANCE,
        )
    return path[-1]


def follow(mean, X, start, end, size, solver, n_steps):
    """Follow lines of force from one height to another.

    Parameters
    ----------
    mean : callable
        ``mean(X, height)`` is the mean charge that rows see.
    X : tensor of shape (n_samples, n_features)
        Rows at the start height.
    start, end : float
        Heights; lines are followed downwards where the end is lower.
    size : float
        Of the data.
    solver, n_steps
        As for `integrate`.

    Returns
    -------
    X : tensor of shape (n_samples, n_features)
        Rows at the end height.
    """

    def function(t, V):
        return velocity(t, V, mean, size)

    V = X / stretch(start, size)
    times = (start_time(height, size) for height in (start, end))
    return integrate(function, V, *times, solver, n_steps) * stretch(end, size)


class FieldNetwork(torch.nn.Module):
    """A network of the field, and the points that it is trained at.

    Parameters
    ----------
    weights : dict of str to tensor
        As from `_modules.encoder_weights`.
    n_points : int
        Rows of a batch that are perturbed; all of them are charges.
    gamma : float
    perturbation : dict
        ``sigma``, ``tau``, ``M`` and ``generator``: see `_poisson.perturb`.
    """

    def __init__(self, weights, n_points, gamma, perturbation):
        super().__init__()
        self.weights = torch.nn.ParameterDict(weights)
        self.n_points = n_points
        self.gamma = gamma
        self.perturbation = perturbation

    def forward(self, view0):
        """Return what the network says of the field at fresh points, and the truth."""
        with torch.no_grad():
            # A batch of all rows comes in their order.
            order = torch.randperm(
                len(view0),
                generator=self.perturbation["generator"],
                device=view0.device,
            )
            points = perturb(view0[order[: self.n_points]], **self.perturbation)
            goal = normalized_field(field(points, view0), self.gamma)
        return network_field(points, self.weights), goal


def field_loss(network, output, goals, inputs):
    """Return the mean squared error of a field."""
    return mse_loss(*output)


def field_weights(width, hidden_layer_sizes, generator, device):
    """Return the weights with which a network of the field starts.

    Parameters
    ----------
    width : int
        Number of coordinates, the height included.
    hidden_layer_sizes : sequence of int
    generator : torch.Generator
        On the CPU, so that weights do not depend on the device.
    device : torch.device
    """
    weights = encoder_weights([width, *hidden_layer_sizes, width], generator)
    return {name: weight.to(device) for name, weight in weights.items()}


def train_field(network, rows, **training):
    """Train a network of the field by Adam, at a constant rate.

    Parameters
    ----------
    network : FieldNetwork
    rows : tensor of shape (n_samples, n_features)
    **training
        ``max_epochs``, ``lr``, ``batch_size``, ``generator`` and ``bridge``: see
        `_training.train`.

    Returns
    -------
    history : skorch.history.History
    """
    dataset = PairedRows([rows.to(torch.float32)], {})
    return train(
        network, dataset, field_loss, weight_decay=0.0, schedule=None, **training
    )

"""A network that is trained by skorch to know the field of the charges."""

import torch
from torch.nn.functional import mse_loss

from sklearn_featalign._modules import encoder_weights
from sklearn_featalign._poisson import (
    field,
    network_field,
    normalized_field,
    perturb,
)
from sklearn_featalign._training import PairedRows, train


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

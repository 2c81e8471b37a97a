"""Multilayer perceptrons as dicts of weights, which train and which transform."""

import torch
from torch.nn.functional import gelu, linear, normalize

from sklearn_featalign._views import is_width


def check_hidden_layer_sizes(widths):
    """Raise an error unless widths of layers are integers of at least one."""
    if not all(is_width(n) and n >= 1 for n in widths):
        raise ValueError(
            f"hidden_layer_sizes must be integers of at least 1, got {widths}."
        )


def linear_weights(n_inputs, n_outputs, generator):
    """Return the initial weight and bias of a linear layer, drawn from a generator.

    Both are uniform within ``n_inputs ** -0.5``, as in `torch.nn.Linear`.
    """
    bound = n_inputs**-0.5
    return (
        torch.empty(shape, dtype=torch.float32, device=generator.device).uniform_(
            -bound, bound, generator=generator
        )
        for shape in ((n_outputs, n_inputs), (n_outputs,))
    )


def encoder_weights(widths, generator, start=None):
    """Return the initial weights of an encoder.

    Parameters
    ----------
    widths : sequence of int
        Of the input, the hidden layers and the output.
    generator : torch.Generator
    start : tuple of tensors of shape (n_components, n_features) and (n_components,)
        Optional weight and bias of a linear map that is added to the layers. The last
        layer then starts at zero, so that the encoder starts as this map.

    Returns
    -------
    weights : dict of str to tensor
        ``weight0``, ``bias0``, ``weight1`` and so on, and ``skip``, the weight of the
        linear map, if there is one.
    """
    weights = {}
    for i, (n_in, n_out) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        weights[f"weight{i}"], weights[f"bias{i}"] = linear_weights(
            n_in, n_out, generator
        )
    if start is not None:
        weights["skip"], bias = start
        weights[f"weight{i}"].zero_()
        weights[f"bias{i}"] = bias
    return weights


def encoder_widths(weights):
    """Return the widths of an encoder, from its weights."""
    layers = [w for name, w in weights.items() if name.startswith("weight")]
    return [layers[0].shape[1], *(len(weight) for weight in layers)]


def encode(Z, weights, activation=gelu):
    """Return the features of standardised rows.

    An activation stands between linear layers. With ``skip`` among the weights a linear
    map of the rows is added, and the features are scaled to unit length.

    Parameters
    ----------
    Z : tensor of shape (n_samples, n_features)
    weights : mapping of str to tensor
        As from `encoder_weights`, in the dtype of Z.
    activation : callable

    Returns
    -------
    F : tensor of shape (n_samples, n_components)
    """
    n_layers = sum(name.startswith("weight") for name in weights)
    F = Z
    for i in range(n_layers):
        F = linear(
            activation(F) if i else F, weights[f"weight{i}"], weights[f"bias{i}"]
        )
    return normalize(F + linear(Z, weights["skip"])) if "skip" in weights else F


def detached(weights):
    """Return weights without their gradients."""
    return {name: weight.detach() for name, weight in weights.items()}

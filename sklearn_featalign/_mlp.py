"""Multilayer perceptrons as dicts of weights, for training and for transform."""

import torch
from torch.nn.functional import gelu, linear, normalize

from sklearn_featalign._views import is_width


def check_hidden_layer_sizes(widths):
    """Raise an error unless the widths of layers are positive integers."""
    if not all(is_width(n) and n >= 1 for n in widths):
        raise ValueError(
            f"hidden_layer_sizes must be integers of at least 1, got {widths}."
        )


def linear_weights(n_inputs, n_outputs, generator):
    """Return weight and bias, uniform within ``n_inputs ** -0.5`` as torch's Linear."""
    bound = n_inputs**-0.5
    weight, bias = (
        torch.empty(shape, dtype=torch.float32, device=generator.device)
        for shape in ((n_outputs, n_inputs), (n_outputs,))
    )
    weight.uniform_(-bound, bound, generator=generator)
    bias.uniform_(-bound, bound, generator=generator)
    return weight, bias


def encoder_weights(widths, generator, start=None):
    """Return the initial weights of an encoder, ``weight0``, ``bias0``, ``weight1``...

    `widths` are those of the input, the hidden layers and the output. `start` has the
    weight, called ``skip``, and the bias of a linear map that is added to the layers:
    the last layer then starts at zero, so that the encoder starts as this map.
    """
    weights = {}
    for i, (n_in, n_out) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        weight, bias = linear_weights(n_in, n_out, generator)
        weights |= {f"weight{i}": weight, f"bias{i}": bias}
    if start is not None:
        weight.zero_()
        weights["skip"], weights[f"bias{i}"] = start
    return weights


def encoder_widths(weights):
    """Return the widths of an encoder with these weights."""
    layers = [w for name, w in weights.items() if name.startswith("weight")]
    return [layers[0].shape[1], *(len(weight) for weight in layers)]


def encode(Z, weights, activation=gelu):
    """Return the output of an encoder, of shape (n_samples, n_components).

    The activation is applied between linear layers. If the weights from
    `encoder_weights` have a ``skip``, this linear map of Z is added and the output is
    scaled to unit length.
    """
    n_layers = sum(name.startswith("weight") for name in weights)
    F = Z
    for i in range(n_layers):
        F = activation(F) if i else F
        F = linear(F, weights[f"weight{i}"], weights[f"bias{i}"])
    return normalize(F + linear(Z, weights["skip"])) if "skip" in weights else F


def detached(weights):
    """Return weights without their gradients."""
    return {name: weight.detach() for name, weight in weights.items()}

"""The networks: one encoder per view, and the linear head that they share.

Weights are dicts of tensors; `encode` is what trains and what transforms.
"""

import math

import torch
from torch.nn.functional import gelu, linear, normalize

# Start and largest value of the learned scale of cosines, as in CLIP.
_SCALE = (1 / 0.07, 100.0)


def linear_weights(n_inputs, n_outputs, generator):
    """Return weight and bias as `torch.nn.Linear` starts them, from a generator.

    Both uniform within ``n_inputs ** -0.5``.
    """
    bound = n_inputs**-0.5
    return (
        torch.empty(shape, dtype=torch.float32, device=generator.device).uniform_(
            -bound, bound, generator=generator
        )
        for shape in ((n_outputs, n_inputs), (n_outputs,))
    )


def encoder_weights(widths, generator, start=None):
    """Return the weights with which an encoder starts.

    Parameters
    ----------
    widths : sequence of int
        Of the input, the hidden layers and the output.
    generator : torch.Generator
    start : tuple of tensors of shape (n_components, n_features) and (n_components,)
        Optional weight and bias of a linear map beside the layers. The last of these
        starts at zero then, so that the encoder starts as this map.

    Returns
    -------
    weights : dict of str to tensor
        ``weight0``, ``bias0``, ``weight1`` and so on, and ``skip`` if there is one.
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
    """Return the widths that an encoder was made with, from its weights."""
    layers = [w for name, w in weights.items() if name.startswith("weight")]
    return [layers[0].shape[1], *(len(weight) for weight in layers)]


def encode(Z, weights, activation=gelu):
    """Return the features of z-scored rows.

    Linear layers with GELU (or another activation) between them, plus a linear map if
    the weights have one; rows are then brought to unit length.

    Parameters
    ----------
    Z : tensor of shape (n_samples, n_features)
    weights : mapping of str to tensor
        As from `encoder_weights`, of the dtype of Z.

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
    """Return weights cut off from their gradients."""
    return {name: weight.detach() for name, weight in weights.items()}


class HalfSharedNetwork(torch.nn.Module):
    """Encoders of all views and one linear head.

    Parameters
    ----------
    encoders : list of dict
        Weights as from `encoder_weights`, one dict for each view.
    head : dict
        Weights as from `head_weights`.
    input_noise : float
        Standard deviation of the noise that is added to rows in training.
    generator : torch.Generator
        Of the noise, on the device of the rows.
    """

    def __init__(self, encoders, head, input_noise, generator):
        super().__init__()
        self.encoders = torch.nn.ModuleList(map(torch.nn.ParameterDict, encoders))
        self.head = torch.nn.ParameterDict(head)
        self.input_noise = input_noise
        self.generator = generator

    def forward(self, **views):
        """Return the features of each view, a list in the order of the encoders."""
        if self.training and self.input_noise:
            views = {name: self.blur(Z) for name, Z in views.items()}
        return [
            encode(Z, weights)
            for Z, weights in zip(views.values(), self.encoders, strict=True)
        ]

    def blur(self, Z):
        """Return rows with fresh noise."""
        noise = torch.empty_like(Z).normal_(generator=self.generator)
        return noise.mul_(self.input_noise).add_(Z)

    def predict(self, F, outputs=None):
        """Return what the head makes of features, for all outputs or for some."""
        head = self.head
        if outputs is not None:
            head = {k: v[outputs] if v.ndim else v for k, v in head.items()}
        if "bias" in head:
            return linear(F, head["weight"], head["bias"])
        return self.scale * linear(F, normalize(head["weight"]))

    @property
    def scale(self):
        """Learned scale of cosines."""
        return self.head["log_scale"].exp().clamp(max=_SCALE[1])


def head_weights(n_components, n_outputs, generator, start=None):
    """Return the weights with which the head starts.

    Parameters
    ----------
    n_components, n_outputs : int
    generator : torch.Generator
    start : tensor of shape (n_outputs, n_components), optional
        Where given, the head compares by cosine, has no bias, and starts here.

    Returns
    -------
    weights : dict of str to tensor
        ``weight``, ``bias`` unless the head compares by cosine, and ``log_scale``, the
        logarithm of the scale of cosines.
    """
    weight, bias = linear_weights(n_components, n_outputs, generator)
    weights = {"weight": weight, "bias": bias}
    if start is not None:
        weights = {"weight": start}
    return weights | {"log_scale": weight.new_tensor(math.log(_SCALE[0]))}

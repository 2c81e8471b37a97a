"""The networks: one encoder per view, and the linear head that they share.

Weights are dicts of tensors; `encode` is what trains and what transforms.
"""

import math

import torch
from torch.nn.functional import linear, normalize

from sklearn_featalign._mlp import encode, linear_weights

# Start and largest value of the learned scale of cosines, as in CLIP.
_SCALE = (1 / 0.07, 100.0)


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

    def forward(self, views):
        """Return the features of each view, a list in the order of the encoders."""
        if self.training and self.input_noise:
            views = [self.blur(Z) for Z in views]
        return [
            encode(Z, weights) for Z, weights in zip(views, self.encoders, strict=True)
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

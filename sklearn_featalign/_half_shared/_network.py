"""The half-shared network: one encoder for each view, and one linear head for all."""

import math

import torch
from torch.nn.functional import linear, normalize

from sklearn_featalign._mlp import detached, encode, linear_weights

# Initial and largest scale of cosines as logits, as in CLIP.
_LOGIT_SCALE = 1 / 0.07
_MAX_LOGIT_SCALE = 100.0


class HalfSharedNetwork(torch.nn.Module):
    """Encoders of all views and one linear head.

    Parameters
    ----------
    encoders : list of dict
        Weights of each view from `_mlp.encoder_weights`.
    head : dict
        Weights from `head_weights`.
    input_noise : float
        Standard deviation of the noise that is added to inputs in training.
    generator : torch.Generator
        It draws the noise, on the device of the inputs.
    trained_share : float, default=1.0
        Share of the trained weights in `averaged`.
    """

    def __init__(self, encoders, head, input_noise, generator, trained_share=1.0):
        super().__init__()
        self.trained_share = trained_share
        # Parameters share the memory of the tensors that they are made of.
        self.start = [
            {name: weight.clone() for name, weight in weights.items()}
            for weights in encoders
        ]
        self.encoders = torch.nn.ModuleList(map(torch.nn.ParameterDict, encoders))
        self.head = torch.nn.ParameterDict(head)
        self.input_noise = input_noise
        self.generator = generator

    def forward(self, views):
        """Return a list with the features of each view."""
        if self.training and self.input_noise:
            views = [self.add_noise(Z) for Z in views]
        return [
            encode(Z, weights) for Z, weights in zip(views, self.encoders, strict=True)
        ]

    def averaged(self):
        """Return the weights of each encoder, averaged with those of the start.

        Wortsman et al. (2022), "Robust fine-tuning of zero-shot models".
        """
        encoders = map(detached, self.encoders)
        if self.trained_share == 1:
            return list(encoders)
        return [
            {
                name: first[name].to(weight.device).lerp(weight, self.trained_share)
                for name, weight in weights.items()
            }
            for first, weights in zip(self.start, encoders, strict=True)
        ]

    def add_noise(self, Z):
        """Return inputs with noise that is drawn anew."""
        noise = torch.empty_like(Z).normal_(generator=self.generator)
        return noise.mul_(self.input_noise).add_(Z)

    def predict(self, F, outputs=None):
        """Return the outputs of the head for features, all of them or some."""
        head = self.head
        if outputs is not None:
            head = {k: v[outputs] if v.ndim else v for k, v in head.items()}
        if "bias" in head:
            return linear(F, head["weight"], head["bias"])
        return self.scale * linear(F, normalize(head["weight"]))

    @property
    def scale(self):
        """Learned scale of cosines."""
        return self.head["log_scale"].exp().clamp(max=_MAX_LOGIT_SCALE)


def head_weights(n_components, n_outputs, generator, centers=None):
    """Return the initial ``weight``, ``bias`` and ``log_scale`` (of cosines) of a head.

    With centers, of shape (n_outputs, n_components), it has no bias: it compares
    features by cosine with its weight, which starts at the centers.
    """
    weight, bias = linear_weights(n_components, n_outputs, generator)
    layer = {"weight": weight, "bias": bias} if centers is None else {"weight": centers}
    return layer | {"log_scale": weight.new_tensor(math.log(_LOGIT_SCALE))}

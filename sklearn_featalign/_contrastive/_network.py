"""The network of contrastive training: one encoder for two views of each row."""

from contextlib import contextmanager
from functools import partial

import torch

from sklearn_featalign._mlp import encode, encoder_weights


class MLP(torch.nn.Module):
    """A multilayer perceptron with the weights of `encoder_weights`."""

    def __init__(self, widths, generator):
        super().__init__()
        self.weights = torch.nn.ParameterDict(encoder_weights(widths, generator))

    def forward(self, Z):
        """Return the features of rows."""
        return encode(Z, self.weights)


class ContrastiveNetwork(torch.nn.Module):
    """An encoder of two views of each row, drawn from those that it has.

    Parameters
    ----------
    encoder : torch.nn.Module
        Maps a tensor of shape (n_samples, n_features) to (n_samples, n_components).
    input_noise : float
        Standard deviation of the noise that is added to both views.
    generator : torch.Generator
        It draws views, noise, and the negatives of a loss.
    """

    def __init__(self, encoder, input_noise, generator):
        super().__init__()
        self.encoder = encoder
        self.input_noise = input_noise
        self.generator = generator

    def forward(self, views):
        """Return the features of two views of each row."""
        Z = torch.cat(draw_pairs(views, self.generator))
        if self.input_noise:
            noise = torch.empty_like(Z).normal_(generator=self.generator)
            Z = Z + self.input_noise * noise
        return self.encoder(Z).chunk(2)


def draw_pairs(views, generator):
    """Return two different views of each row, or one of them twice if it has no other.

    A view is NaN in the rows that lack it; each row has a view.
    """
    if len(views) == 1:
        return views * 2
    stacked = torch.stack(views, dim=1)
    present = ~stacked[:, :, 0].isnan()
    order = torch.empty(present.shape, device=stacked.device, dtype=torch.float32)
    order.uniform_(generator=generator)
    first, second = order.masked_fill_(~present, -1).topk(2, dim=1).indices.T
    rows = torch.arange(len(stacked), device=stacked.device)
    second = torch.where(present[rows, second], second, first)
    return [stacked[rows, first], stacked[rows, second]]


@contextmanager
def seeded(seed, device):
    """Seed torch's own generators within the context, and leave them as they were.

    A module of the user draws its weights and its dropout from these.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        for each in devices:
            with torch.cuda.device(each):
                torch.cuda.manual_seed(seed)
        yield


def build_module(factory, n_features, n_components):
    """Return a module of a factory on the CPU, in float32.

    Raises
    ------
    TypeError
        If the factory returns something else.
    """
    with torch.device("cpu"):
        module = factory(n_features, n_components)
    if not isinstance(module, torch.nn.Module):
        raise TypeError(
            "encoder(n_features, n_components) must return a torch.nn.Module, got "
            f"{type(module).__name__}."
        )
    return module.float()


def check_outputs(module, n_features, n_components, device):
    """Raise an error if a module does not map rows to rows of `n_components`."""
    rows = torch.zeros((2, n_features), dtype=torch.float32, device=device)
    with torch.no_grad():
        shape = tuple(module.eval()(rows).shape)
    if shape != (2, n_components):
        raise ValueError(
            f"The encoder maps 2 rows of {n_features} features to an output of shape "
            f"{shape}; n_components={n_components} needs (2, {n_components})."
        )


def load_encoder(state, factory, n_features, n_components, device):
    """Return the encoder with these weights as a function, and its dtype."""
    if factory is None:
        weights = {
            name.removeprefix("weights."): weight.to(torch.float64)
            for name, weight in state.items()
        }
        return partial(encode, weights=weights), torch.float64
    with seeded(0, torch.device("cpu")):
        module = build_module(factory, n_features, n_components)
    module.load_state_dict(state)
    return module.to(device).eval().requires_grad_(False), torch.float32

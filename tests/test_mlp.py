"""Encoders against torch's own modules."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from sklearn_featalign._half_shared._network import HalfSharedNetwork, head_weights
from sklearn_featalign._mlp import (
    encode,
    encoder_weights,
    encoder_widths,
    linear_weights,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_linear_weights_start_as_those_of_torch():
    for weight in linear_weights(400, 30, generator()):
        share = (weight.flatten().numpy() * 20 + 1) / 2
        assert weight.dtype == torch.float32
        assert kstest(share, "uniform").pvalue > 0.01
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = torch.nn.Linear(400, 30).weight.detach().flatten() * 20
    assert kstest((theirs.numpy() + 1) / 2, "uniform").pvalue > 0.01


def test_an_encoder_is_a_sequence_of_layers():
    weights = encoder_weights([5, 7, 6, 3], generator())
    layers = [torch.nn.Linear(5, 7), torch.nn.Linear(7, 6), torch.nn.Linear(6, 3)]
    for i, layer in enumerate(layers):
        state = {"weight": weights[f"weight{i}"], "bias": weights[f"bias{i}"]}
        layer.load_state_dict(state)
    GELU = torch.nn.GELU()
    network = torch.nn.Sequential(layers[0], GELU, layers[1], GELU, layers[2])
    Z = torch.randn((11, 5), generator=generator(1))
    np.testing.assert_allclose(encode(Z, weights), network(Z).detach(), atol=1e-6)
    assert encoder_widths(weights) == [5, 7, 6, 3]


@pytest.mark.parametrize("hidden", [[], [7], [7, 6]])
def test_an_encoder_starts_at_the_map_it_is_given(hidden):
    rng = np.random.default_rng(0)
    A, b = rng.normal(size=(3, 5)), rng.normal(size=3)
    start = [torch.tensor(value, dtype=torch.float32) for value in (A, b)]
    weights = encoder_weights([5, *hidden, 3], generator(), start)
    Z = rng.normal(size=(11, 5))
    F = encode(torch.tensor(Z, dtype=torch.float32), weights)
    expected = Z @ A.T + b
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(F, expected, atol=1e-6)


def make_network(input_noise=0.0, centers=None):
    encoders = [encoder_weights([5, 4, 3], generator(seed)) for seed in (0, 1)]
    head = head_weights(3, 6, generator(2), centers)
    return HalfSharedNetwork(encoders, head, input_noise, generator(3))


def test_noise_is_there_in_training_alone():
    network = make_network(0.5)
    Z = torch.zeros((4000, 5))
    noise = network.add_noise(Z).flatten().numpy()
    assert kstest(noise / 0.5, "norm").pvalue > 0.01
    first, second = network([Z, Z])[0], network([Z, Z])[0]
    assert not torch.equal(first, second)
    network.eval()
    still = network([Z, Z])[0]
    torch.testing.assert_close(still, encode(Z, network.encoders[0]))


def test_heads():
    F = torch.randn((8, 3), generator=generator(4))
    network = make_network()
    weight, bias = (network.head[name].detach() for name in ("weight", "bias"))
    np.testing.assert_allclose(
        network.predict(F).detach(), F @ weight.T + bias, atol=1e-6
    )
    some = torch.tensor([4, 1])
    torch.testing.assert_close(network.predict(F, some), network.predict(F)[:, some])
    centers = torch.randn((6, 3), generator=generator(5))
    cosines = torch.cosine_similarity(F[:, None], centers, dim=2)
    F = torch.nn.functional.normalize(F)
    network = make_network(centers=centers)
    torch.testing.assert_close(network.predict(F).detach(), cosines / 0.07)
    network.head["log_scale"].data.fill_(9.0)
    assert network.scale.item() == 100


def test_global_generator_is_left_alone():
    before = torch.get_rng_state()
    make_network(0.5)(2 * [torch.zeros((2, 5))])
    assert torch.equal(torch.get_rng_state(), before)

"""Training against a bare loop of torch, and losses against their sums by hand."""

import copy

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from torch.nn.functional import cross_entropy, mse_loss, normalize

from sklearn_featalign._half_shared._losses import (
    Targets,
    affinity_loss,
    batch_affinity,
    contrastive_loss,
    half_shared_loss,
)
from sklearn_featalign._half_shared._network import HalfSharedNetwork, head_weights
from sklearn_featalign._mlp import encode, encoder_weights
from sklearn_featalign._training import (
    _WEIGHT_DECAY,
    Batches,
    StopTraining,
    ViewDataset,
    train,
    warm_up_and_cosine,
)

WEIGHTS = {"affinity": 0.0, "pull": 0.0, "contrastive": 0.0}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make_rows(n_samples=50):
    Z = [torch.randn((n_samples, d), generator=generator(d)) for d in (5, 4)]
    return ViewDataset(Z, Targets(torch.arange(n_samples)))


def make_network(n_outputs=50, input_noise=0.0, centers=None):
    encoders = [encoder_weights([d, 8, 3], generator(d)) for d in (5, 4)]
    head = head_weights(3, n_outputs, generator(), centers)
    return HalfSharedNetwork(encoders, head, input_noise, generator(1))


@pytest.mark.parametrize("n_samples", [2, 7, 50, 51])
@pytest.mark.parametrize("batch_size", [2, 10, 50, 1000])
def test_batches_hold_each_row_once_and_none_is_alone(n_samples, batch_size):
    batches = Batches(make_rows(n_samples), batch_size, generator())
    epochs = [[targets.head for _, targets in batches] for _ in range(2)]
    for parts in epochs:
        assert torch.equal(torch.cat(parts).sort().values, torch.arange(n_samples))
        sizes = [len(part) for part in parts]
        assert min(sizes) >= 2 and max(sizes) - min(sizes) <= 1
        # In batches of two one of an odd number would be left alone.
        assert max(sizes) <= (3 if batch_size == 2 and n_samples % 2 else batch_size)
    if n_samples > 10 and batch_size == 10:
        assert not torch.equal(torch.cat(epochs[0]), torch.cat(epochs[1]))


def test_views_and_targets_stay_together():
    rows = make_rows()
    for views, targets in Batches(rows, 10, generator()):
        for Z, part in zip(rows.views, views, strict=True):
            assert torch.equal(part, Z[targets.head])


class Stop(Callback):
    """A callback that calls no other, and stops after some epochs."""

    def __init__(self, after=None):
        self.after = after

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.after:
            raise StopTraining


@pytest.mark.parametrize("batch_size", [16, 50])
def test_training_is_that_of_a_bare_loop(batch_size):
    rows, network = make_rows(), make_network(input_noise=0.3)
    weights = {"affinity": 2.0, "pull": 0.5, "contrastive": 0.0}

    def loss(network, features, targets, views):
        return half_shared_loss(
            network,
            features,
            targets,
            views,
            weights=weights,
            loss="cross_entropy",
            row_is_class=True,
        )

    bare = copy.deepcopy(network)
    bare.generator = generator(1)
    optimizer = torch.optim.AdamW(bare.parameters(), 1e-2, weight_decay=_WEIGHT_DECAY)
    batches = Batches(rows, batch_size, generator(2))
    n_steps = 5 * batches.n_batches
    # Up over a tenth of the steps, then down as a cosine.
    rising = max(1, round(n_steps / 10))
    falling = np.arange(n_steps - rising) / (n_steps - rising)
    schedule = np.append(
        np.arange(1, rising + 1) / (rising + 1), (1 + np.cos(np.pi * falling)) / 2
    )
    losses, step = [], 0
    for _ in range(5):
        sums = 0.0
        for views, targets in batches:
            optimizer.param_groups[0]["lr"] = 1e-2 * schedule[step]
            optimizer.zero_grad()
            value = loss(bare, bare(views), targets, views)
            value.backward()
            optimizer.step()
            sums += value.item() * len(targets.head)
            step += 1
        losses.append(sums / len(rows))
    history = train(
        network,
        rows,
        loss,
        max_epochs=5,
        lr=1e-2,
        batch_size=batch_size,
        generator=generator(2),
        sklearn_callbacks=Stop(),
    )
    np.testing.assert_allclose(history[:, "train_loss"], losses, rtol=1e-5)
    for ours, theirs in zip(network.parameters(), bare.parameters(), strict=True):
        np.testing.assert_allclose(ours.detach(), theirs.detach(), rtol=1e-3, atol=1e-6)
    assert losses[-1] < losses[0]


def test_a_callback_stops_training():
    history = train(
        make_network(),
        make_rows(),
        lambda network, features, targets, views: features[0].square().sum(),
        max_epochs=10,
        lr=1e-2,
        batch_size=50,
        generator=generator(),
        sklearn_callbacks=Stop(after=3),
    )
    assert len(history) == 3


def test_an_interrupt_is_not_swallowed():
    def interrupt(*args):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(
            make_network(),
            make_rows(),
            interrupt,
            max_epochs=2,
            lr=1e-2,
            batch_size=50,
            generator=generator(),
            sklearn_callbacks=Stop(),
        )


@pytest.mark.parametrize("n_steps", [1, 2, 10, 300])
def test_the_rate_rises_and_falls(n_steps):
    factors = [warm_up_and_cosine(step, n_steps) for step in range(n_steps)]
    assert all(0 < factor <= 1 for factor in factors)
    top = int(np.argmax(factors))
    rise, fall = np.diff(factors[: top + 1]), np.diff(factors[top:])
    assert np.all(rise > 0) and np.all(fall < 0)
    if n_steps >= 10:
        assert factors[top] == 1 and top == n_steps // 10
    # skorch asks for the factor of one more step.
    warm_up_and_cosine(n_steps, n_steps)


def evaluate(network, rows, targets=None, **params):
    views, own = rows[:]
    options = {"weights": WEIGHTS, "loss": "cross_entropy", "row_is_class": False}
    features = network(views)
    targets = own._replace(**(targets or {}))
    loss = half_shared_loss(network, features, targets, views, **(options | params))
    return loss.item(), [F.detach() for F in features], views


def test_terms_add_up():
    network, rows = make_network(), make_rows()
    weights = {"affinity": 3.0, "pull": 2.0, "contrastive": 0.5}
    found, (F, G), (X, Y) = evaluate(network, rows, weights=weights)
    target = torch.arange(50)
    expected = (
        (
            cross_entropy(network.predict(F), target)
            + cross_entropy(network.predict(G), target)
        )
        / 2
        + 3
        * (affinity_loss(F, batch_affinity(X)) + affinity_loss(G, batch_affinity(Y)))
        / 2
        + 2 * (F - G).square().mean()
        + 0.5 * contrastive_loss(normalize(F), normalize(G), 1 / 0.07)
    )
    assert found == pytest.approx(expected.item(), rel=1e-6)


def test_classes_of_the_batch_are_all_that_single_rows_are_told_from():
    network, rows = make_network(), make_rows()
    views, targets = rows[torch.tensor([7, 3, 44])]
    features = network(views)
    found = half_shared_loss(
        network,
        features,
        targets,
        views,
        weights=WEIGHTS,
        loss="cross_entropy",
        row_is_class=True,
    )
    expected = sum(
        cross_entropy(network.predict(F)[:, [7, 3, 44]], torch.arange(3))
        for F in features
    )
    assert found.item() == pytest.approx(expected.item() / 2, rel=1e-6)
    # With all rows in the batch these are all there are.
    assert evaluate(network, rows)[0] == pytest.approx(
        evaluate(network, rows, row_is_class=True)[0], rel=1e-6
    )


def test_values_are_told_by_their_squared_error():
    network = make_network(n_outputs=2)
    values = torch.randn((50, 2), generator=generator(9))
    found, features, _ = evaluate(network, make_rows(), {"head": values}, loss="mse")
    expected = sum(mse_loss(network.predict(F), values) for F in features) / 2
    assert found == pytest.approx(expected.item(), rel=1e-6)


def test_kept_affinities_are_those_of_other_rows_where_given():
    network, rows = make_network(), make_rows()
    others = [torch.randn((50, 6), generator=generator(v)) for v in (0, 1)]
    weights = WEIGHTS | {"affinity": 1.0}
    plain, features, _ = evaluate(network, rows)
    found, *_ = evaluate(network, rows, {"affinity_targets": others}, weights=weights)
    expected = [
        affinity_loss(F, batch_affinity(T))
        for F, T in zip(features, others, strict=True)
    ]
    assert found - plain == pytest.approx(sum(expected).item() / 2, rel=1e-4)


@pytest.mark.parametrize("row_is_class", [False, True])
def test_absent_views_have_no_say(row_is_class):
    network, rows = make_network(), make_rows()
    present = torch.ones((50, 2), dtype=torch.bool)
    present[:10, 0] = present[40:, 1] = False
    weights = {"affinity": 3.0, "pull": 2.0, "contrastive": 0.5}
    params = {"weights": weights, "row_is_class": row_is_class}
    found, (F, G), (X, Y) = evaluate(network, rows, {"present": present}, **params)
    target = torch.arange(50)
    x, y, both = slice(10, None), slice(None, 40), slice(10, 40)
    expected = (
        (
            cross_entropy(network.predict(F[x]), target[x])
            + cross_entropy(network.predict(G[y]), target[y])
        )
        / 2
        + 3
        * (
            affinity_loss(F[x], batch_affinity(X[x]))
            + affinity_loss(G[y], batch_affinity(Y[y]))
        )
        / 2
        + 2 * (F[both] - G[both]).square().mean()
        + 0.5 * contrastive_loss(normalize(F[both]), normalize(G[both]), 1 / 0.07)
    )
    assert found == pytest.approx(expected.item(), rel=1e-6)
    rows.views[0][:10] = 1e3
    assert evaluate(network, rows, {"present": present}, **params)[0] == found


def test_a_batch_in_which_no_view_has_two_rows_teaches_nothing():
    network, rows = make_network(), make_rows(2)
    present = torch.eye(2, dtype=torch.bool)
    weights = {"affinity": 3.0, "pull": 2.0, "contrastive": 0.5}
    loss, *_ = evaluate(network, rows, {"present": present}, weights=weights)
    assert loss == 0


def test_features_are_those_of_the_encoders():
    network, rows = make_network(), make_rows()
    _, features, Z = evaluate(network, rows)
    for F, X, encoder in zip(features, Z, network.encoders, strict=True):
        torch.testing.assert_close(F, encode(X, encoder).detach())

"""Times the training of half-shared networks beside bare loops of torch."""

import math
from functools import partial
from itertools import chain
from statistics import median

import numpy as np
import pandas as pd
import torch
from _dots import align_half_shared, document_affinity, judge, linear, make_dots
from _methods import HALF_SHARED
from _runs import compare_times, timed
from skorch.callbacks import Callback
from torch import nn

from sklearn_featalign import HalfSharedMLPAligner
from sklearn_featalign._half_shared._losses import Targets, half_shared_loss
from sklearn_featalign._half_shared._network import HalfSharedNetwork, head_weights
from sklearn_featalign._mlp import encoder_weights
from sklearn_featalign._training import ViewDataset, train


def make_training(n_samples, n_features):
    """Return two functions that train for an epoch: by skorch, and by a bare loop.

    Both have the same network, of the recommended setting, losses and batches. That by
    skorch also has the learning rate's schedule, the history and callbacks.
    """
    *seeds, generator = (torch.Generator().manual_seed(seed) for seed in range(3))
    Z = [torch.randn((n_samples, n_features), generator=seed) for seed in seeds]
    setting = HalfSharedMLPAligner(**HALF_SHARED)._setting
    width = setting.n_components
    widths = [n_features, *setting.hidden_layer_sizes, width]
    start = torch.randn((width, n_features), generator=generator), torch.zeros(width)
    centers = torch.randn((n_samples, width), generator=generator)
    network = HalfSharedNetwork(
        [encoder_weights(widths, generator, start) for _ in Z],
        head_weights(width, n_samples, generator, centers),
        setting.input_noise,
        generator,
    )
    weights = {"affinity": float(setting.affinity_weight), "pull": 0.0}
    weights["contrastive"] = float(setting.contrastive_weight)
    loss = partial(half_shared_loss, weights=weights, loss="cross_entropy")
    loss = partial(loss, row_is_class=True)
    params = {"lr": setting.lr, "batch_size": math.ceil(8 * n_samples**0.5)}
    training = network, Z, loss, generator
    return {
        "bare loop": partial(train_bare, *training, **params),
        "HalfSharedMLPAligner": partial(train_ours, *training, **params),
    }


def train_ours(network, Z, loss, generator, **params):
    """Train a network for an epoch as HalfSharedMLPAligner does."""
    rows = ViewDataset(Z, Targets(torch.arange(len(Z[0]))))
    params |= {"generator": generator, "max_epochs": 1}
    train(network, rows, loss, sklearn_callbacks=Callback(), **params)


def train_bare(network, Z, loss, generator, lr, batch_size):
    """Train a network for an epoch in a loop of torch."""
    optimizer = torch.optim.AdamW(network.parameters(), lr, fused=True)
    network.train()
    for part in torch.randperm(len(Z[0]), generator=generator).split(batch_size):
        views = [X[part] for X in Z]
        optimizer.zero_grad()
        value = loss(network, network(views), Targets(part), views)
        value.backward()
        optimizer.step()
        value.item()


def time_epochs(n_rounds, n_samples, n_features):
    """Return the table of training epochs."""
    asked = {"HalfSharedMLPAligner": "<= 1.2"}
    training = make_training(n_samples, n_features)
    return compare_times(training, n_rounds, "bare loop", asked)


def align_by_recipe(X, Y, clusters, seed, n_epochs):
    """Return features of two views by the recipe of the document's author.

    One encoder after the other is trained with the affinity regulariser (the norm of
    the difference in place of its mean square), batches of 16 and Adam, and the head
    with the first encoder. The features are those before the last GELU.
    """
    torch.manual_seed(seed)
    head = nn.Linear(32, len(X))
    features = []
    for view, rows in enumerate((X, Y)):
        rows = torch.from_numpy(rows).float()
        rows = (rows - rows.mean(0)) / rows.std(0)
        layers = nn.Linear(2, 32), nn.GELU(), nn.Linear(32, 32), nn.GELU()
        encoder = nn.Sequential(*layers, nn.Linear(32, 32))
        trained = encoder.parameters()
        trained = trained if view else chain(trained, head.parameters())
        optimizer = torch.optim.Adam(trained, lr=1e-3)
        for _ in range(n_epochs):
            for part in torch.randperm(len(rows)).split(16):
                out = nn.functional.gelu(encoder(rows[part]))
                value = nn.functional.cross_entropy(head(out), part)
                change = document_affinity(out) - document_affinity(rows[part])
                value = value + torch.norm(change)
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
        features.append(encoder(rows).detach().numpy())
    return features


def align(X, Y, clusters, seed, **params):
    """Return features of two views by half-shared networks."""
    maps = align_half_shared(X, Y, clusters, seed, **params)
    return [f(Z) for f, Z in zip(maps, (X, Y), strict=True)]


def time_toy(n_rounds, n_epochs, n_seeds):
    """Return the table of the document's toy, by its author's recipe and by ours."""
    dots, clusters, _ = make_dots()
    image = linear(dots, scale=[0.25, 4], shift_first=True)
    toy = np.asarray(dots, float), np.asarray(image, float), clusters
    base, ours = "the author's recipe", "HalfSharedMLPAligner"
    recipes = {
        base: partial(align_by_recipe, *toy, n_epochs=n_epochs),
        ours: partial(align, *toy),
        "the same, pull_weight=10": partial(align, *toy, pull_weight=10.0),
    }
    times = timed({k: partial(r, seed=0) for k, r in recipes.items()}, n_rounds)
    table = []
    for name, recipe in recipes.items():
        judged = [judge(*recipe(seed=seed), clusters) for seed in range(n_seeds)]
        row = {
            "": name,
            "s": f"{median(times[name]):.2f}",
            "ratio": f"{median(times[name]) / median(times[base]):.3f}",
            "asked": "<= 0.1" if name == ours else "",
        }
        means = pd.DataFrame(judged).rename(columns={"top1": "top-1, the dots"}).mean()
        means = means.drop("mrr").map("{:.2f}".format)
        table.append(row | means.to_dict())
    return table

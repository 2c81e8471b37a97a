"""Training of half-shared networks beside bare loops of torch."""

import math
from functools import partial
from itertools import chain
from statistics import median

import numpy as np
import torch
from _timing import compare, timed
from didactic import judge, linear, make_dots
from half_shared import half_shared
from rich.progress import track
from skorch.callbacks import Callback

from sklearn_featalign._modules import (
    HalfSharedNetwork,
    encoder_weights,
    head_weights,
)
from sklearn_featalign._training import PairedRows, half_shared_loss, train


def make_training(n_samples, n_features):
    """Return two training epochs of half-shared networks: ours, and in a bare loop.

    Both with the same network, of the recommended setting, losses and batches; ours by
    skorch, with learning rate, history and callbacks.

    Returns
    -------
    functions : dict of str to callable
    """
    Z = [
        torch.randn((n_samples, n_features), generator=torch.Generator().manual_seed(v))
        for v in (0, 1)
    ]
    rows = PairedRows(Z, {"target": torch.arange(n_samples)})
    generator = torch.Generator().manual_seed(2)
    widths = [n_features, 256, 256, 128]
    start = torch.randn((128, n_features), generator=generator), torch.zeros(128)
    centers = torch.randn((n_samples, 128), generator=generator)
    network = HalfSharedNetwork(
        [encoder_weights(widths, generator, start) for _ in Z],
        head_weights(128, n_samples, generator, centers),
        0.5,
        generator,
    )
    loss = partial(
        half_shared_loss,
        weights={"affinity": 100.0, "pull": 0.0, "contrastive": 1.0},
        loss="cross_entropy",
        one_by_one=True,
    )
    batch_size = math.ceil(8 * n_samples**0.5)

    def ours():
        params = {"max_epochs": 1, "lr": 6e-4, "batch_size": batch_size}
        train(network, rows, loss, generator=generator, bridge=Callback(), **params)

    def bare():
        optimizer = torch.optim.AdamW(network.parameters(), 6e-4, fused=True)
        network.train()
        for part in torch.randperm(n_samples, generator=generator).split(batch_size):
            views = {f"view{v}": X[part] for v, X in enumerate(Z)}
            goals = {"target": part}
            optimizer.zero_grad()
            value = loss(network, network(**views), goals, views)
            value.backward()
            optimizer.step()
            value.item()

    return {"bare loop": bare, "HalfSharedMLPAligner": ours}


def time_epochs(n_rounds, n_samples, n_features):
    """Return the table of training epochs."""
    training = make_training(n_samples, n_features)
    return compare(training, n_rounds, "bare loop", {"HalfSharedMLPAligner": "<= 1.2"})


def authors_recipe(X, Y, seed, n_epochs):
    """Return features of two views by the recipe of the document's author.

    One encoder after the other, each with the affinity regulariser (the norm of the
    difference in place of its mean square), batches of 16, Adam; the head is trained
    with the first one. The features are taken ahead of the last GELU.
    """
    torch.manual_seed(seed)
    gelu, layer = torch.nn.GELU, torch.nn.Linear
    head = layer(32, len(X))
    features = []
    for view, rows in enumerate((X, Y)):
        rows = torch.from_numpy(rows).float()
        rows = (rows - rows.mean(0)) / rows.std(0)
        layers = layer(2, 32), gelu(), layer(32, 32), gelu(), layer(32, 32)
        encoder = torch.nn.Sequential(*layers)
        trained = encoder.parameters()
        trained = trained if view else chain(trained, head.parameters())
        optimizer = torch.optim.Adam(trained, lr=1e-3)
        for _ in range(n_epochs):
            for part in torch.randperm(len(rows)).split(16):
                out = torch.nn.functional.gelu(encoder(rows[part]))
                value = torch.nn.functional.cross_entropy(head(out), part)
                value = value + torch.norm(rbf(out) - rbf(rows[part]))
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
        features.append(encoder(rows).detach().numpy())
    return features


def rbf(X):
    """Return affinities within rows, with the document's bandwidth."""
    return torch.exp(-torch.cdist(X, X).square() / (2 * X.var(dim=0).sum()))


def time_toy(n_rounds, n_epochs, n_seeds):
    """Return the table of the document's toy, by its author's recipe and by ours."""
    dots, clusters, _ = make_dots()
    X, Y = (np.asarray(Z, float) for Z in (dots, linear([0.25, 4], True)(dots)))

    def ours(seed=0, **params):
        maps = half_shared(**params)(X, Y, clusters, seed)
        return [f(Z) for f, Z in zip(maps, (X, Y), strict=True)]

    recipes = {
        "the author's recipe": partial(authors_recipe, X, Y, n_epochs=n_epochs),
        "HalfSharedMLPAligner": ours,
        "the same, pull_weight=10": partial(ours, pull_weight=10.0),
    }
    measured = {
        name: [judge(*recipe(seed=seed), clusters) for seed in range(n_seeds)]
        for name, recipe in track(recipes.items(), "toy")
    }
    times = timed({k: partial(r, seed=0) for k, r in recipes.items()}, n_rounds)
    base = median(times["the author's recipe"])
    return [
        {
            "": name,
            "s": f"{median(times[name]):.2f}",
            "ratio": f"{median(times[name]) / base:.3f}",
            "asked": "<= 0.1" if name == "HalfSharedMLPAligner" else "",
            "top-1, the dots": f"{np.mean([j['top1'] for j in judged]):.2f}",
            "cluster": f"{np.mean([j['cluster'] for j in judged]):.2f}",
            "contrast": f"{np.mean([j['contrast'] for j in judged]):.2f}",
        }
        for name, judged in measured.items()
    ]

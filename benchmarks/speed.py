"""What aligners cost beside one another, and training beside a bare loop of torch.

    python benchmarks/speed.py
    python benchmarks/speed.py --n-landmarks 3000 --n-rounds 1

Random features: two views, all rows landmarks. The aligners are timed in turn in one
process (A B A B ...); the ratio is that of the medians. Memory is the largest that the
process had by the end of the first fit of each. An epoch of half-shared networks is
timed beside the same network, losses and batches in a loop without anything else.
"""

import argparse
import math
import resource
import time
from functools import partial
from statistics import median

import numpy as np
import torch
from _report import print_table, write_json
from skorch.callbacks import Callback

from sklearn_featalign import KernelGCCAAligner, RBFAutoScaleAligner
from sklearn_featalign._modules import (
    HalfSharedNetwork,
    encoder_weights,
    head_weights,
)
from sklearn_featalign._training import PairedRows, half_shared_loss, train


def seconds(function):
    """Return the time that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def timed(functions, n_rounds):
    """Return the times of functions, called in turn.

    Parameters
    ----------
    functions : dict of str to callable
    n_rounds : int

    Returns
    -------
    times : dict of str to list of float
    """
    rounds = [
        {name: seconds(function) for name, function in functions.items()}
        for _ in range(n_rounds)
    ]
    return {name: [times[name] for times in rounds] for name in functions}


def make_views(n_samples, n_features):
    """Return two views of the same hidden rows, side by side."""
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(n_samples, 64))
    maps = rng.normal(size=(64, 2 * n_features))
    return np.maximum(Z @ maps, 0).astype(np.float32)


def peak_memory():
    """Return the largest memory that this process had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


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


def time_training(n_rounds, n_samples=5000, n_features=1280):
    """Return the table of training epochs."""
    times = timed(make_training(n_samples, n_features), n_rounds)
    base = median(times["bare loop"])
    return [
        {
            "epoch": name,
            "s": f"{median(values):.2f}",
            "ratio": f"{median(values) / base:.2f}",
        }
        for name, values in times.items()
    ]


def main():
    """Time aligners and training, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n-landmarks", type=int, default=1000)
    parser.add_argument("--n-features", type=int, default=1280)
    parser.add_argument("--n-samples", type=int, default=10000, help="to transform")
    parser.add_argument("--n-paired", type=int, default=5000, help="to train on")
    parser.add_argument("--n-rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    X = make_views(args.n_landmarks + args.n_samples, args.n_features)
    landmarks, rows = X[: args.n_landmarks], X[args.n_landmarks :, : args.n_features]
    params = {"views": [args.n_features] * 2, "n_landmarks": None}
    base = "RBFAutoScaleAligner, ridge"
    aligners = {
        base: RBFAutoScaleAligner(normalize="ridge", **params),
        "KernelGCCAAligner, no hubness": KernelGCCAAligner(hub_neighbors=0, **params),
        "KernelGCCAAligner": KernelGCCAAligner(**params),
    }
    memory = {}
    for name, aligner in aligners.items():
        aligner.fit(landmarks)
        memory[name] = peak_memory()
    fits = timed(
        {k: lambda a=a: a.fit(landmarks) for k, a in aligners.items()}, args.n_rounds
    )
    transforms = timed(
        {k: lambda a=a: a.transform_view(rows, 0) for k, a in aligners.items()},
        args.n_rounds,
    )
    table = [
        {
            "aligner": name,
            "fit s": f"{median(fits[name]):.2f}",
            "fit ratio": f"{median(fits[name]) / median(fits[base]):.2f}",
            "peak MiB": f"{memory[name]:.0f}",
            "transform s": f"{median(transforms[name]):.2f}",
            "transform ratio": (
                f"{median(transforms[name]) / median(transforms[base]):.2f}"
            ),
        }
        for name in aligners
    ]
    print_table(
        f"{args.n_landmarks} landmarks, two views of {args.n_features} columns; "
        f"{args.n_samples} rows of one view transformed",
        table,
    )
    epochs = time_training(args.n_rounds, args.n_paired, args.n_features)
    print_table(
        f"An epoch of training: {args.n_paired} rows, two views of {args.n_features} "
        "columns",
        epochs,
    )
    if args.json:
        write_json(args.json, table=table, epochs=epochs)


if __name__ == "__main__":
    main()

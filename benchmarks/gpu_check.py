"""Whether a GPU gives what the CPU gives, and in how much of the time.

    python benchmarks/gpu_check.py

One command for those who have a GPU. The first table compares every estimator on random
rows: the same fit transforms on both devices, a fit on the GPU is compared with one on
the CPU, and repeated. Of trained networks the last loss is compared in place of the
output: they drift apart by rounding, and noise and points of the field are drawn on the
device, which has numbers of its own. The second table has the times: CPU and GPU in
turn (A B A B ...), medians, arrays in and out and tensors that stay on the GPU. The
command fails if a check does.
"""

import argparse
import pickle
import sys
import warnings
from functools import partial
from statistics import median

import numpy as np
import torch
from _report import print_table, write_json
from _timing import timed
from rich.progress import track
from sklearn.base import clone

from sklearn_featalign import (
    HalfSharedMLPAligner,
    KernelGCCAAligner,
    PoissonUniformizer,
    RBFAutoScaleAligner,
)

# Largest error of what a fit gives on another device, in units of the output's spread,
# and of a fit on another; of networks the share by which the last loss may differ, and
# the factor where they draw on the device. On the CPU with another seed of these draws
# alone it was up to 2.05.
TRANSFORM_ERROR = 1e-9
FIT_ERROR = 1e-6
LOSS_ERROR = 0.05
LOSS_FACTOR = 4


def settings(n_features, n_landmarks, n_epochs):
    """Return the estimators that are checked and timed, by name."""
    views = {"views": 2 * [n_features // 2], "random_state": 0}
    landmarks = {"n_landmarks": n_landmarks, "random_state": 0}
    trained = {"max_epochs": n_epochs, "random_state": 0}
    return {
        "RBF": RBFAutoScaleAligner(**landmarks),
        "RBF ridge": RBFAutoScaleAligner(normalize="ridge", **landmarks),
        "RBF whitened": RBFAutoScaleAligner(whiten="pca", **landmarks),
        "RBF farthest": RBFAutoScaleAligner(landmarks="farthest", **landmarks),
        "GCCA, two views": KernelGCCAAligner(n_landmarks=n_landmarks, **views),
        "MLP": HalfSharedMLPAligner(**trained),
        "MLP from CCA, two views": HalfSharedMLPAligner(
            init="rcca", finish="rcca", input_noise=0.1, max_epochs=n_epochs, **views
        ),
        "Poisson": PoissonUniformizer(output="flow"),
        "Poisson, contract": PoissonUniformizer(direction="contract"),
        "Poisson, network": PoissonUniformizer(
            output="flow", field="network", **trained
        ),
    }


def make_rows(n_samples, n_features, seed):
    """Return rows of a few clusters in a space of few dimensions, and noise."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(0).normal(scale=3, size=(5, 8))
    hidden = centers[rng.integers(5, size=n_samples)] + rng.normal(size=(n_samples, 8))
    mixing = np.random.default_rng(1).normal(size=(8, n_features))
    return hidden @ mixing + 0.5 * rng.normal(size=(n_samples, n_features))


def error(out, expected):
    """Return the largest difference, in units of the spread."""
    return float(np.abs(out - expected).max() / expected.std())


def check(name, estimator, X, X_new):
    """Return what an estimator does on a GPU beside the CPU, as a row of a table."""
    cpu, gpu = (clone(estimator).set_params(device=d) for d in ("cpu", "cuda"))
    expected = cpu.fit(X).transform(X_new)
    same_fit = clone_of(cpu).set_params(device="cuda").transform(X_new)
    out = gpu.fit(X).transform(X_new)
    again = clone(gpu).fit(X).transform(X_new)
    rows = torch.from_numpy(X_new).cuda()
    stays = gpu.transform(rows)
    back = clone_of(gpu).set_params(device="cpu").transform(X_new)
    own_fit = f"{error(out, expected):.1e}"
    agree = error(out, expected) <= FIT_ERROR
    if hasattr(gpu, "loss_curve_"):
        ratio = gpu.loss_curve_[-1] / cpu.loss_curve_[-1]
        own_fit, agree = f"loss x {ratio:.4f}", losses_agree(gpu, ratio)
    checks = {
        "transform": error(same_fit, expected) <= TRANSFORM_ERROR,
        "fit": agree,
        "refit": np.array_equal(again, out),
        "back on the CPU": error(back, out) <= TRANSFORM_ERROR,
        "tensors": stays.is_cuda and error(stays.cpu().numpy(), out) == 0,
    }
    return {
        "estimator": name,
        "same fit": f"{error(same_fit, expected):.1e}",
        "own fit": own_fit,
        "refit": "equal" if checks["refit"] else f"{error(again, out):.1e}",
        "failed": ", ".join(name for name, passed in checks.items() if not passed),
    }


def losses_agree(fitted, ratio):
    """Return whether the ratio of the last losses of two devices is as it should be."""
    draws = isinstance(fitted, PoissonUniformizer) or fitted.input_noise > 0
    factor = LOSS_FACTOR if draws else 1 + LOSS_ERROR
    return bool(1 / factor <= ratio <= factor)


def check_safely(name, *args):
    """Return what `check` does, or the error as what failed."""
    try:
        return check(name, *args)
    except Exception as raised:
        failed = f"{type(raised).__name__}: {raised}".splitlines()[0]
        return {"estimator": name, "failed": failed}


def clone_of(fitted):
    """Return a copy of a fitted estimator, which went through a pickle."""
    return pickle.loads(pickle.dumps(fitted))


def waited(function, X):
    """Do something and wait until the GPU has done it."""
    function(X)
    torch.cuda.synchronize()


def time_both(name, estimator, X, X_new, n_rounds):
    """Return how long fit and transform take on both devices, as a row of a table."""
    cpu, gpu = (clone(estimator).set_params(device=d) for d in ("cpu", "cuda"))
    X_there, X_new_there = (torch.from_numpy(rows).cuda() for rows in (X, X_new))
    # Fitted beforehand, which also takes what a first call costs out of the times.
    cpu.fit(X), gpu.fit(X), waited(gpu.transform, X_new_there)
    times = timed(
        {
            "fit, CPU": partial(clone(cpu).fit, X),
            "fit, GPU": partial(waited, clone(gpu).fit, X),
            "fit, tensors": partial(waited, clone(gpu).fit, X_there),
            "transform, CPU": partial(cpu.transform, X_new),
            "transform, GPU": partial(waited, gpu.transform, X_new),
            "transform, tensors": partial(waited, gpu.transform, X_new_there),
        },
        n_rounds,
    )
    medians = {what: median(values) for what, values in times.items()}
    row = {"estimator": name}
    for step in ("fit", "transform"):
        base = medians[f"{step}, CPU"]
        row[f"{step}, CPU s"] = f"{base:.3g}"
        for where in ("GPU", "tensors"):
            row[f"{step}, {where}"] = f"{base / medians[f'{step}, {where}']:.3g} x"
    return row


def main(arguments=None):
    """Run all checks and print both tables; return how many checks failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--n-checked", type=int, default=500)
    parser.add_argument("--n-samples", type=int, default=10_000)
    parser.add_argument("--n-features", type=int, default=1024)
    parser.add_argument("--n-landmarks", type=int, default=1000)
    parser.add_argument("--n-charges", type=int, default=2000)
    parser.add_argument("--n-epochs", type=int, default=20)
    parser.add_argument("--n-rounds", type=int, default=5)
    parser.add_argument("--json")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        sys.exit("There is no CUDA device on this machine (torch.cuda.is_available()).")
    warnings.filterwarnings("ignore", "Rows flow in")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")

    X, X_new = (make_rows(options.n_checked, 8, seed) for seed in (2, 3))
    known = settings(8, min(100, options.n_checked), 5)
    checks = [
        check_safely(name, estimator, X, X_new)
        for name, estimator in track(known.items(), "checks")
    ]
    print_table("Errors, in units of the spread of the output", checks)

    times = []
    known = settings(options.n_features, options.n_landmarks, options.n_epochs)
    for name, estimator in track(known.items(), "times"):
        poisson = isinstance(estimator, PoissonUniformizer)
        shape = (
            (options.n_charges, 8)
            if poisson
            else (options.n_samples, options.n_features)
        )
        X, X_new = (make_rows(*shape, seed).astype(np.float32) for seed in (2, 3))
        times.append(time_both(name, estimator, X, X_new, options.n_rounds))
    print_table("Times: seconds on the CPU, and how many times faster", times)
    if options.json:
        write_json(options.json, checks=checks, times=times)
    failed = [row["estimator"] for row in checks if row["failed"]]
    print(f"\nFailed: {', '.join(failed)}" if failed else "\nAll checks passed.")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())

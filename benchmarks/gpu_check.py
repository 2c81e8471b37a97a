"""Checks that a GPU gives what the CPU gives, and measures how much faster it is.

    python benchmarks/gpu_check.py

One command for those who have a GPU. The first table compares every estimator on random
rows: one fit transforms on both devices, a fit on the GPU is compared with one on the
CPU, and repeated. Trained networks are compared by their last loss and not by their
output, since rounding makes them drift apart, and noise and points of the field are
drawn by the generator of the device. The second table has the times: CPU and GPU in
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
from _generated import make_clusters
from _runs import print_table, run, timed, write_json
from _uniform import network_flow
from sklearn.base import clone

from sklearn_featalign import (
    HalfSharedMLPAligner,
    KernelGCCAAligner,
    PoissonDenoiser,
    PoissonUniformizer,
    RBFAutoScaleAligner,
)

# The largest errors, relative to the spread of the output, of one fit on two devices
# and of two fits.
TRANSFORM_ERROR = 1e-9
FIT_ERROR = 1e-6
# The share by which the last losses of networks may differ, and the factor if they draw
# on the device. On the CPU, last losses of twelve random states are within 1.91.
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
            init="rcca", max_epochs=n_epochs, **views
        ),
        "Poisson": PoissonUniformizer(output="flow"),
        "Poisson, denoiser": PoissonDenoiser(),
        "Poisson, network": network_flow(**trained),
    }


def error(out, expected):
    """Return the largest difference, relative to the spread."""
    return float(np.abs(out - expected).max() / expected.std())


def check(estimator, X, X_new):
    """Return what an estimator does on a GPU beside the CPU, as a row of a table."""
    cpu, gpu = (clone(estimator).set_params(device=d) for d in ("cpu", "cuda"))
    expected = cpu.fit(X).transform(X_new)
    same_fit = clone_of(cpu).set_params(device="cuda").transform(X_new)
    out = gpu.fit(X).transform(X_new)
    again = clone(gpu).fit(X).transform(X_new)
    stays = gpu.transform(torch.from_numpy(X_new).cuda())
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
        "same fit": f"{error(same_fit, expected):.1e}",
        "own fit": own_fit,
        "refit": "equal" if checks["refit"] else f"{error(again, out):.1e}",
        "failed": ", ".join(name for name, passed in checks.items() if not passed),
    }


def losses_agree(fitted, ratio):
    """Return whether the last losses of two devices have an admissible ratio."""
    draws = isinstance(fitted, PoissonUniformizer) or fitted.init == "rcca"
    factor = LOSS_FACTOR if draws else 1 + LOSS_ERROR
    return bool(1 / factor <= ratio <= factor)


def check_safely(known, X, X_new, estimator):
    """Return the result of `check`, or the error that it raises."""
    try:
        return check(known[estimator], X, X_new)
    except Exception as raised:
        return {"failed": f"{type(raised).__name__}: {raised}".splitlines()[0]}


def clone_of(fitted):
    """Return a copy of a fitted estimator by way of a pickle."""
    return pickle.loads(pickle.dumps(fitted))


def waited(function, X):
    """Call a function and wait until the GPU is done."""
    function(X)
    torch.cuda.synchronize()


def time_both(known, options, estimator):
    """Return how long fit and transform take on both devices, as a row of a table."""
    made = known[estimator]
    sizes = options.n_samples, options.n_features
    if isinstance(made, PoissonUniformizer | PoissonDenoiser):
        sizes = options.n_charges, 8
    X, X_new = (make_clusters(*sizes, seed).astype(np.float32) for seed in (2, 3))
    cpu, gpu = (clone(made).set_params(device=d) for d in ("cpu", "cuda"))
    X_there, X_new_there = (torch.from_numpy(rows).cuda() for rows in (X, X_new))
    # These first calls are not timed: they also load libraries and start the device.
    cpu.fit(X), gpu.fit(X), waited(gpu.transform, X_new_there)
    functions = {
        "fit, CPU": partial(clone(cpu).fit, X),
        "fit, GPU": partial(waited, clone(gpu).fit, X),
        "fit, tensors": partial(waited, clone(gpu).fit, X_there),
        "transform, CPU": partial(cpu.transform, X_new),
        "transform, GPU": partial(waited, gpu.transform, X_new),
        "transform, tensors": partial(waited, gpu.transform, X_new_there),
    }
    times = timed(functions, options.n_rounds)
    medians = {what: median(values) for what, values in times.items()}
    row = {}
    for step in ("fit", "transform"):
        base = medians[f"{step}, CPU"]
        row[f"{step}, CPU s"] = f"{base:.3g}"
        for where in ("GPU", "tensors"):
            row[f"{step}, {where}"] = f"{base / medians[f'{step}, {where}']:.3g} x"
    return row


SIZES = {
    "n-checked": 500,
    "n-samples": 10_000,
    "n-features": 1024,
    "n-landmarks": 1000,
    "n-charges": 2000,
    "n-epochs": 20,
    "n-rounds": 5,
}


def main(arguments=None):
    """Run all checks and print both tables; return how many checks failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    for name, default in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        sys.exit("There is no CUDA device on this machine (torch.cuda.is_available()).")
    warnings.filterwarnings("ignore", "Rows flow in")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")

    rows = (make_clusters(options.n_checked, 8, seed) for seed in (2, 3))
    known = settings(8, min(100, options.n_checked), 5)
    names = [{"estimator": name} for name in known]
    checks = run(names, partial(check_safely, known, *rows), "checks")
    print_table("Errors, in units of the spread of the output", checks)
    known = settings(options.n_features, options.n_landmarks, options.n_epochs)
    times = run(names, partial(time_both, known, options), "times")
    print_table("Times: seconds on the CPU, and how many times faster", times)
    write_json(options.json, checks=checks, times=times)
    failed = [row["estimator"] for row in checks if row["failed"]]
    print(f"\nFailed: {', '.join(failed)}" if failed else "\nAll checks passed.")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())

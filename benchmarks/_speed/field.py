"""Times the exact field beside its own matrix products, and flows of many rows."""

from functools import partial

import numpy as np
import torch
from _generated import make_clusters
from _runs import compare_times, grid, run, seconds
from _uniform import published_flow

from sklearn_featalign import PoissonUniformizer
from sklearn_featalign._poisson._charges import (
    augment_charges,
    charges_in_plane,
    mean_charge_by_powers,
)


def bare_evaluation(X, charges, operator, *args):
    """Multiply, apply an in-place operator to the absolute products, and multiply."""
    return operator((X @ charges.T).abs_(), *args) @ charges


def repeat(function, n_times):
    """Call a function several times."""
    for _ in range(n_times):
        function()


def time_evaluation(n_rounds, charges, d):
    """Return the time of an evaluation of the field beside those of bare products."""
    n_rows, n_times = 2**19 // charges, 10 * n_rounds
    Y, X = (
        torch.from_numpy(make_clusters(n, d, seed))
        for seed, n in enumerate((charges, n_rows))
    )
    data = augment_charges(charges_in_plane(Y, torch.zeros_like(Y[:, 0])))
    height = torch.tensor(0.1, dtype=X.dtype)
    root = torch.Tensor.rsqrt_ if d % 2 == 0 else torch.Tensor.reciprocal_
    evaluations = {
        "one power": partial(bare_evaluation, X, Y, torch.Tensor.pow_, -(d + 1) / 2),
        "one root or reciprocal": partial(bare_evaluation, X, Y, root),
        "the field": partial(mean_charge_by_powers, X, height, data),
    }
    repeated = {name: partial(repeat, f, n_times) for name, f in evaluations.items()}
    times = compare_times(repeated, n_rounds, "one power")
    n_pairs = n_rows * charges * n_times
    power, root, ours = (float(row["s"]) / n_pairs * 1e9 for row in times)
    return {
        "products and a power, ns a pair": f"{power:.2f}",
        "and a root or reciprocal": f"{root:.2f}",
        "the field": f"{ours:.2f}",
        "ratios": f"{ours / power:.2f}, {ours / root:.2f}",
        "asked": "<= 1.5",
    }


def time_evaluations(n_charges, dimensions, n_rounds):
    """Return the table of single evaluations of the field, each for a block of rows."""
    settings = grid(charges=[n_charges], d=dimensions)
    return run(settings, partial(time_evaluation, n_rounds), "evaluations")


def append_transform(outputs, uniformizer, X):
    """Transform rows and append the output to a list."""
    outputs.append(uniformizer.transform(X))


def time_charges(d, n_charges, **setting):
    """Return the time of flows with cells as charges beside that with all rows."""
    n_rows = setting["rows and charges"]
    X, X_new = make_clusters(n_rows, d), make_clusters(n_rows, d, seed=1)
    outputs, times = [], []
    for number in (None, n_charges):
        uniformizer = PoissonUniformizer(n_charges=number, n_steps=24).fit(X)
        times.append(seconds(partial(append_transform, outputs, uniformizer, X_new)))
    change = np.sqrt(np.square(outputs[0] - outputs[1]).mean())
    return {
        "all rows, s": f"{times[0]:.1f}",
        "n_charges, s": f"{times[1]:.1f}",
        "times faster": f"{times[0] / times[1]:.1f}",
        "change, rms": f"{change:.4f}",
    }


def time_compressed(n_rows, n_charges, dimensions):
    """Return the table of flows with cells as charges, beside those with all rows."""
    sizes = {"rows and charges": [n_rows], "d": dimensions, "n_charges": [n_charges]}
    return run(grid(**sizes), time_charges, "charges seen")


def time_flow(flows, rows, d, flow):
    """Return the seconds that a flow takes to fit rows and to transform as many."""
    uniformizer, share = flows[flow]
    X = make_clusters(rows, d)
    fit = seconds(partial(uniformizer.fit, X))
    transform = share * seconds(partial(uniformizer.transform, X[::share]))
    return {
        "fit s": f"{fit:.1f}",
        "transform s": f"{transform:.1f}",
        "sum s": f"{fit + transform:.1f}",
    }


def time_flows(numbers, dimensions, n_charges):
    """Return the table of flows; with all rows as charges a hundredth is timed."""
    flows = {
        "all rows as charges": (PoissonUniformizer(n_charges=None, n_steps=24), 100),
        f"n_charges={n_charges}": (PoissonUniformizer(n_charges=n_charges), 1),
        "published network": (published_flow(random_state=0), 1),
    }
    settings = grid(rows=numbers, d=dimensions, flow=flows)
    return run(settings, partial(time_flow, flows), "flows")

"""The exact field beside its own matrix products, and the published network flow."""

from functools import partial
from itertools import product

import numpy as np
import torch
from _timing import compare, seconds, timed
from _uniform import PUBLISHED
from rich.progress import track

from sklearn_featalign import PoissonUniformizer
from sklearn_featalign._poisson import mean_charge_by_powers, tabulate


def make_rows(n_samples, d, seed=0):
    """Return rows of a mixture of three bent clusters."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(0).normal(scale=2, size=(3, d))
    X = centers[rng.integers(3, size=n_samples)] + rng.normal(size=(n_samples, d))
    X[:, 1:] += 0.3 * X[:, :1] ** 2
    return X


def bare_evaluation(X, charges, pass_):
    """Multiply, let one operator pass over the products, multiply."""
    return pass_(X @ charges.T) @ charges


def time_evaluations(n_charges, dimensions, n_rounds):
    """Return the table of single evaluations of the field, for some rows at a time."""
    table, repeats = [], 10 * n_rounds
    for d in track(dimensions, "evaluations"):
        charges = torch.from_numpy(make_rows(n_charges, d))
        X = torch.from_numpy(make_rows(2**19 // n_charges, d, seed=1))
        data = tabulate(charges, torch.zeros_like(charges[:, 0]))
        height = torch.tensor(0.1, dtype=X.dtype)
        root = torch.Tensor.rsqrt_ if d % 2 == 0 else torch.Tensor.reciprocal_
        evaluations = {
            "one power": partial(
                bare_evaluation,
                X,
                charges,
                lambda D, d=d: D.abs_().pow_(-(d + 1) / 2),
            ),
            "one root or reciprocal": partial(
                bare_evaluation, X, charges, lambda D, root=root: root(D.abs_())
            ),
            "the field": partial(mean_charge_by_powers, X, height, data),
        }
        times = compare(
            {
                name: lambda f=f: [f() for _ in range(repeats)]
                for name, f in evaluations.items()
            },
            n_rounds,
            "one power",
        )
        power, root, ours = (float(row["s"]) for row in times)
        pairs = len(X) * n_charges * repeats
        table.append(
            {
                "charges": n_charges,
                "d": d,
                "products and a power, ns a pair": f"{power / pairs * 1e9:.2f}",
                "and a root or reciprocal": f"{root / pairs * 1e9:.2f}",
                "the field": f"{ours / pairs * 1e9:.2f}",
                "ratios": f"{ours / power:.2f}, {ours / root:.2f}",
                "asked": "<= 1.5",
            }
        )
    return table


def time_compressed(n_rows, n_charges, dimensions):
    """Return the table of rows that see few charges, beside those that see all."""
    table = []
    for d in track(dimensions, "charges seen"):
        X, X_new = make_rows(n_rows, d), make_rows(n_rows, d, seed=1)
        exact = PoissonUniformizer(random_state=0).fit(X)
        some = PoissonUniformizer(n_charges=n_charges, random_state=0).fit(X)
        out = {}
        functions = {
            name: partial(keep_output, out, name, uniformizer, X_new)
            for name, uniformizer in (("all", exact), ("some", some))
        }
        times = {name: values[0] for name, values in timed(functions, 1).items()}
        change = np.sqrt(((out["all"] - out["some"]) ** 2).mean())
        table.append(
            {
                "rows and charges": n_rows,
                "d": d,
                "n_charges": n_charges,
                "all seen, s": f"{times['all']:.1f}",
                "n_charges, s": f"{times['some']:.1f}",
                "times faster": f"{times['all'] / times['some']:.1f} (>= 5)",
                "change, rms": f"{change:.4f} (<= 0.01)",
            }
        )
    return table


def keep_output(out, name, uniformizer, X):
    """Transform rows and keep the output under a name."""
    out[name] = uniformizer.transform(X)


def time_flows(numbers, d, n_charges):
    """Return the table of flows, of as many rows as were fitted.

    With all charges a tenth of the rows is timed.
    """
    flows = {
        "exact, all charges": ({}, 10),
        f"exact, n_charges={n_charges}": ({"n_charges": n_charges}, 1),
        "published network": (PUBLISHED, 1),
    }
    table = []
    for n, (name, (params, share)) in track(list(product(numbers, flows.items()))):
        X = make_rows(n, d)
        uniformizer = PoissonUniformizer(random_state=0, **params)
        fit = seconds(partial(uniformizer.fit, X))
        transform = share * seconds(partial(uniformizer.transform, X[::share]))
        row = {"rows": n, "d": d, "flow": name, "fit s": f"{fit:.1f}"}
        row["transform s"] = f"{transform:.1f}"
        table.append(row | {"sum s": f"{fit + transform:.1f}"})
    return table

"""Small random problems: an estimator with random settings, and rows for it."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator

from sklearn_featalign import (
    ContrastiveEncoder,
    HalfSharedMLPAligner,
    KernelGCCAAligner,
    PoissonDenoiser,
    PoissonField,
    PoissonUniformizer,
    RBFAutoScaleAligner,
    SelfTrainingAligner,
)


class Problem(NamedTuple):
    """An estimator, training rows and their targets, and further rows.

    Rows are float64 arrays, of which `container` makes what the estimator is given.
    """

    estimator: BaseEstimator
    X: np.ndarray
    y: np.ndarray
    new: np.ndarray
    container: str
    quirks: tuple


CONTAINERS = {
    "float64": lambda X: X,
    "float32": lambda X: X.astype(np.float32),
    "fortran": np.asfortranarray,
    "read-only": lambda X: _read_only(X),
    "reversed": lambda X: X[::-1].copy()[::-1],
    "frame": lambda X: pd.DataFrame(X, columns=[f"c{i}" for i in range(X.shape[1])]),
    "tensor": lambda X: torch.from_numpy(X.copy()),
    "float32 tensor": lambda X: torch.from_numpy(X.astype(np.float32, "C")),
}


def _read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def make_problem(seed):
    """Return a problem, the same for the same seed."""
    rng = np.random.default_rng(seed)
    make = MAKERS[rng.integers(len(MAKERS))]
    n_views = int(rng.integers(1, 4))
    widths = rng.integers(1, 6, n_views).tolist()
    if make is make_contrastive:
        widths = widths[:1] * n_views
    n, n_new = int(rng.integers(5, 60)), int(rng.integers(1, 9))
    rows = correlated_rows(rng, n + n_new, widths)
    quirks = [name for name in QUIRKS if rng.random() < 0.12]
    for name in quirks:
        QUIRKS[name](rng, rows)
    estimator, takes_views = make(rng, n, widths)
    if takes_views and n_views > 1 and rng.random() < 0.4:
        remove_views(rng, rows, widths, n)
        quirks.append("absent views")
    container = str(rng.choice(list(CONTAINERS)))
    if "float32" in container:
        rows = rows.astype(np.float32).astype(float)
    y = rng.integers(0, 3, n)
    return Problem(estimator, rows[:n], y, rows[n:], container, tuple(quirks))


def correlated_rows(rng, n, widths):
    """Return views of a few hidden dimensions side by side."""
    Z = rng.normal(size=(n, int(rng.integers(1, 5))))
    noise = rng.choice([0.0, 0.01, 0.3])
    views = []
    for width in widths:
        view = Z @ rng.normal(size=(Z.shape[1], width))
        view = np.tanh(view) if rng.random() < 0.3 else view
        views.append(view + noise * rng.normal(size=view.shape))
    return np.hstack(views)


def remove_views(rng, rows, widths, n):
    """Make views absent from some rows, but from none of the first three."""
    ends = np.cumsum(widths)
    for row in range(3, len(rows)):
        for end, width in zip(ends, widths, strict=True):
            if rng.random() < 0.2:
                rows[row, end - width : end] = np.nan


def some_column(rng, rows):
    return int(rng.integers(rows.shape[1]))


def scale_all(rng, rows):
    rows *= 10.0 ** rng.integers(-12, 13)


def scale_column(rng, rows):
    rows[:, some_column(rng, rows)] *= 10.0 ** rng.integers(-4, 5)


def shift(rng, rows):
    rows += 10.0 ** rng.integers(0, 5)


def round_all(rng, rows):
    rows[:] = rows.round(int(rng.integers(0, 2)))


def constant(rng, rows):
    rows[:, some_column(rng, rows)] = rng.normal()


def binary(rng, rows):
    column = some_column(rng, rows)
    rows[:, column] = rows[:, column] > np.median(rows[:, column])


def skewed(rng, rows):
    column = some_column(rng, rows)
    rows[:, column] = np.exp(2 * rows[:, column] / (rows[:, column].std() or 1.0))


def outlier(rng, rows):
    rows[int(rng.integers(len(rows))), some_column(rng, rows)] += 10.0 ** rng.integers(
        2, 7
    )


def equal_columns(rng, rows):
    rows[:, some_column(rng, rows)] = rows[:, some_column(rng, rows)]


def repeat(rng, rows):
    rows[:] = rows[rng.integers(0, max(3, len(rows) // 2), len(rows))]


def zero_rows(rng, rows):
    rows[rng.random(len(rows)) < 0.2] = 0.0


def clusters(rng, rows):
    rows += 50 * rng.integers(0, 2, (len(rows), 1))


QUIRKS = {
    function.__name__: function
    for function in (
        skewed, binary, constant, equal_columns, round_all, clusters, repeat, zero_rows,
        outlier, shift, scale_column, scale_all,
    )
}  # fmt: skip


def views_of(rng, widths):
    """Return `views` in one of the ways to say it, None for one view at times."""
    ends = np.cumsum(widths)
    spans = [range(end - width, end) for end, width in zip(ends, widths, strict=True)]
    names = [f"v{i}" for i in range(len(widths))]
    if len(widths) == 1 and rng.random() < 0.5:
        return None
    return [
        widths,
        dict(zip(names, widths, strict=True)),
        [list(span) for span in spans],
        {
            name: slice(span.start, span.stop)
            for name, span in zip(names, spans, strict=True)
        },
    ][rng.integers(4)]


def pick(rng, **options):
    """Return one option of each parameter, or nothing of it at times."""
    return {
        name: values[rng.integers(len(values))]
        for name, values in options.items()
        if rng.random() < 0.6
    }


def aligner_params(rng, n, widths):
    views = views_of(rng, widths)
    outputs = ["concat"] if views is None else ["concat", "coalesce", "mean", 0]
    return {
        "views": views,
        "output": outputs[rng.integers(len(outputs))],
        "random_state": 0,
    }


def landmark_params(rng, n, widths):
    return aligner_params(rng, n, widths) | pick(
        rng,
        c=[0.05, 0.1, 0.5, 0.9],
        n_landmarks=[None, 1, 2, 5, n // 2 + 1, 10 * n],
        landmarks=["random", "farthest", "kmeans++"],
        batch_size=["auto", 1, 7, 1000],
    )


def make_rbf(rng, n, widths):
    params = landmark_params(rng, n, widths)
    params |= pick(
        rng, normalize=[None, "ridge"], ridge=[0.01, 1.0, 10.0], whiten=[None, "pca"]
    )
    return RBFAutoScaleAligner(**params), params["views"] is not None


def make_gcca(rng, n, widths):
    params = landmark_params(rng, n, widths)
    params |= pick(
        rng,
        n_components=[1, 3, 512],
        linear=[0.0, 0.5, 1.0, "auto"],
        ridge=[1e-4, 0.1, 1.0],
        power=["auto", 0.0, 1.0, 2.5],
        hub_neighbors=[0, 1, 10, 1000],
        metric=["dot", "cosine"],
        fit_translations=[True, False],
    )
    return KernelGCCAAligner(**params), params["views"] is not None


def make_mlp(rng, n, widths):
    params = aligner_params(rng, n, widths) | {"max_epochs": 2, "n_components": 2}
    params |= pick(
        rng,
        n_components=[1, 3, 40],
        hidden_layer_sizes=[(), (5,), (4, 4)],
        scaling=["columns", "view"],
        target=["index", "y", "random", "cluster", "joint_pca"],
        loss=["cross_entropy", "mse"],
        affinity_weight=[0.0, 1.0],
        pull_weight=[0.0, 1.0],
        contrastive_weight=[0.0, 1.0],
        init=[None, "rcca", "gcca"],
        finish=[None, "rcca"],
        hub_neighbors=[0, 3],
        input_noise=[0.0, 0.2],
        batch_size=[None, 2, 16],
        early_stopping=[False, True],
    )
    return HalfSharedMLPAligner(**without_clashes(params)), params["views"] is not None


def without_clashes(params):
    """Return parameters of `HalfSharedMLPAligner` less those that exclude others."""
    if len(params["views"] or "x") < 2:
        params = params | {"init": None, "finish": None, "early_stopping": False}
        params |= {"pull_weight": 0.0, "contrastive_weight": 0.0}
    if params.get("target") == "joint_pca":
        params = params | {"loss": "mse"}
    if params.get("target") == "cluster":
        params = params | {"loss": "cross_entropy"}
    if params.get("init") or params.get("finish"):
        return params | {"n_components": max(2, params["n_components"])}
    return params | {"hub_neighbors": 0}


def make_contrastive(rng, n, widths):
    params = aligner_params(rng, n, widths) | {"max_epochs": 2, "n_components": 3}
    params |= pick(
        rng,
        n_components=[2, 40],
        loss=["l2", "alignment_uniformity", "infonce"],
        n_negatives=[None, 1, 5],
        margin=[None, 1.0],
        normalize=[True, False],
        hidden_layer_sizes=[(), (5,), (4, 4)],
        scaling=["columns", "view"],
        input_noise=[0.2],
        batch_size=[2, 16],
        early_stopping=[False, True],
    )
    return ContrastiveEncoder(**params), params["views"] is not None


def make_self_training(rng, n, widths):
    make = make_rbf if rng.random() < 0.5 else make_gcca
    inner, takes_views = make(rng, n, widths)
    if not takes_views or len(widths) < 2:
        return inner, takes_views
    params = pick(rng, max_rounds=[1, 3], n_groups=[2, 10], group_size=[1, 5])
    return SelfTrainingAligner(inner, random_state=0, **params), True


def flow_params(rng, n):
    return pick(
        rng,
        solver=["rk4", "midpoint", "euler"],
        n_steps=[1, 6, 12],
        n_charges=[None, 2, 5, 100],
        batch_size=["auto", 7],
        start_height=["auto", 0.1],
    ) | {"random_state": 0}


def make_uniformizer(rng, n, widths):
    params = flow_params(rng, n)
    params |= pick(
        rng,
        output=["cube", "normal", "hemisphere", "flow"],
        scaling=["quantile", "whiten", "view"],
    )
    if rng.random() < 0.25:
        params |= {"n_steps": "auto"}
    params.setdefault("n_steps", 12)
    return PoissonUniformizer(**params), False


def make_network_flow(rng, n, widths):
    field = PoissonField(max_epochs=2, **pick(rng, small_batch_size=[4, 128]))
    params = pick(rng, output=["cube", "normal", "hemisphere"], n_steps=[3, "auto"])
    return PoissonUniformizer(field=field, random_state=0, **params), False


def make_denoiser(rng, n, widths):
    params = flow_params(rng, n) | pick(rng, contraction=[0.1, 0.6, 0.9])
    return PoissonDenoiser(**params | pick(rng, scaling=["view", "whiten"])), False


MAKERS = [
    make_rbf, make_rbf, make_gcca, make_gcca, make_mlp, make_self_training,
    make_contrastive,
    make_uniformizer, make_uniformizer, make_network_flow, make_denoiser,
]  # fmt: skip

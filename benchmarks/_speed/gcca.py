"""Times KernelGCCAAligner beside its own products, and streams rows through it."""

import json
from functools import partial

import numpy as np
import pandas as pd
import torch
from _generated import make_noisy_features
from _runs import compare_times, grid, median_text, run, table

from _speed import process
from sklearn_featalign import KernelGCCAAligner, RBFAutoScaleAligner

# A fit of many pairs solves for three shares of the linear kernel, then for one.
SOLUTIONS = 4
# A translation tries about sixteen penalties, by five hundred rows that are left out.
PENALTIES, LEFT_OUT = 16, 500
# Products of the large matrix in its subspace iteration, and dimensions of that.
PRODUCTS, OVERSAMPLING = 11, 9 / 8


def random_matrix(*shape):
    """Return random numbers in float64."""
    return torch.from_numpy(np.random.default_rng(0).normal(size=shape))


def make_bare_fit(n_pairs, width, n_landmarks, n_components):
    """Return a function of the products and factorisations that a fit needs."""
    D = width + n_landmarks
    Z, L = random_matrix(n_pairs, width), random_matrix(width, n_landmarks)
    R = random_matrix(n_landmarks, n_landmarks)
    F, B = random_matrix(n_pairs, 2 * D), random_matrix(D, n_components)
    X = random_matrix(2 * D, round(n_components * OVERSAMPLING))
    S = F[: 2 * D].T @ F[: 2 * D]
    S.diagonal().add_(2 * D)
    C, K = S[:D, :D].clone(), R @ R.T
    left_out, cross = F[:, :D].T.clone(), Z.T @ F[:, :D]

    def bare_fit():
        for _ in range(2):
            (Z @ L) @ R
            torch.linalg.eigh(K)
        for rows in F.split(1000):
            for start in range(0, 2 * D, 1024):
                rows[:, start : start + 1024].T @ rows[:, start:]
        for _ in range(SOLUTIONS):
            bare_solution(S, C, B, X, left_out)
        for _ in range(2 * PENALTIES):
            bare_regression(C, cross, left_out[:, :LEFT_OUT])

    return bare_fit


def bare_solution(S, C, B, X, left_out):
    """Compute what the solution for one share of the linear kernel needs."""
    solve = torch.linalg.solve_triangular
    factors = [torch.linalg.cholesky(C) for _ in range(2)]
    for _ in range(3):
        solve(factors[0], solve(factors[1], C, upper=False).T, upper=False)
    for _ in range(PRODUCTS):
        S @ X
    for _ in range(2):
        torch.linalg.qr(X)
        torch.linalg.eigh(X.T @ X)
        solve(factors[0].T, B, upper=True)
        solve(factors[0], left_out, upper=False)


def bare_regression(C, cross, left_out):
    """Compute what one penalty of a translation needs."""
    factor = torch.linalg.cholesky(C)
    solution = torch.linalg.solve_triangular(factor, cross.T, upper=False)
    W = torch.linalg.solve_triangular(factor, left_out, upper=False)
    W.T @ solution


def time_gcca(n_pairs, n_rows, width, n_landmarks, n_rounds):
    """Return the tables of fits and transforms of two views."""
    X = make_noisy_features(n_pairs, 2 * width)
    rows = X[np.arange(n_rows) % n_pairs, :width]
    aligners = {
        "KernelGCCAAligner": KernelGCCAAligner(),
        "the same, linear=0.7, power=8": KernelGCCAAligner(linear=0.7, power=8),
        "the same, no hubness": KernelGCCAAligner(linear=0.7, power=8, hub_neighbors=0),
        "no translations": KernelGCCAAligner(fit_translations=False),
    }
    params = {"views": [width] * 2, "n_landmarks": n_landmarks, "random_state": 0}
    bare, base = "its products and factorisations", "RBFAutoScaleAligner"
    n_components = aligners["KernelGCCAAligner"].n_components
    fits = {bare: make_bare_fit(n_pairs, width, n_landmarks, n_components)}
    for name, aligner in aligners.items():
        fits[name] = partial(aligner.set_params(**params).fit, X)
    asked = {"KernelGCCAAligner": "<= 2"}, {"KernelGCCAAligner": "<= 1.5"}
    fit_times = compare_times(fits, n_rounds, bare, asked[0])
    rbf = RBFAutoScaleAligner(n_landmarks=n_landmarks, random_state=0).fit(X[:, :width])
    transforms = {base: partial(rbf.transform, rows)}
    for name in ("KernelGCCAAligner", "the same, no hubness"):
        transforms[name] = partial(aligners[name].transform_view, rows, 0)
    size = f"two views of {width} columns, {n_landmarks} landmarks, {n_pairs} pairs"
    return {
        f"Fit, {size}": fit_times,
        f"Transform, {len(rows)} rows of one view, {size}": compare_times(
            transforms, n_rounds, base, asked[1]
        ),
    }


def run_stream(width, rows):
    """Return the seconds and MiB of rows that stream through a process."""
    return json.loads(process.python("-m", "_speed.stream", rows, width))


def time_stream(numbers, width):
    """Return the table of streams by number of rows, with the slope."""
    runs = run(grid(rows=numbers), partial(run_stream, width), "rows")
    columns = ("partial_fit s", "partial_fit MiB", "solution s", "solution MiB")
    frame = pd.DataFrame(runs)
    slope = np.polyfit(np.log(frame["rows"]), np.log(frame["partial_fit s"]), 1)[0]
    found = table(runs, ["rows"], dict.fromkeys(columns, median_text))
    slopes = {"rows": "slope of logs", "partial_fit s": f"{slope:.2f} (asked <= 1.05)"}
    return [*found, slopes, {"rows": "asked", "partial_fit MiB": "<= 1024"}]

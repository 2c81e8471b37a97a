"""Times RBF affinities beside the least that they need, and beside peers."""

import importlib
from functools import partial

import numpy as np
import torch
from _dots import document_affinity
from _generated import make_features
from _runs import compare_times
from sklearn.base import clone
from sklearn.kernel_approximation import Nystroem
from sklearn.metrics.pairwise import rbf_kernel

from sklearn_featalign import RBFAutoScaleAligner

# The document's grid has a thousand bandwidths, of which ten are timed.
GRID, TIMED = 1000, 10
# The number of rows whose errors are computed.
CHECKED = 500


def bare_pass(X, rate=1e-4):
    """Return the mean affinity of all pairs of rows, for one rate."""
    norms = X.square().sum(1)
    D = torch.addmm(norms + norms[:, None], X, X.T, alpha=-2)
    return D.mul_(-rate).exp_().mean()


def exact_affinity(X, landmarks, gamma, variance):
    """Return affinities in float64, by explicit differences."""
    X, landmarks = (torch.from_numpy(rows).double() for rows in (X, landmarks))
    mode = "donot_use_mm_for_euclid_dist"
    D = torch.cdist(X, landmarks, compute_mode=mode).square()
    return torch.exp(-D / (2 * gamma * variance)).numpy()


def grid_search(rows):
    """Compute the mean affinity for some bandwidths of the document's grid."""
    for gamma in np.linspace(0.01, 1, TIMED):
        document_affinity(rows, gamma).mean()


def time_fits(dtype, n_samples, n_features, n_rounds, c=0.05):
    """Return the table of fits with all rows as landmarks."""
    X = make_features(n_samples, n_features, dtype)
    rows = torch.from_numpy(X)
    aligner = RBFAutoScaleAligner(c, n_landmarks=None)
    base, ours = "one bare pass", "RBFAutoScaleAligner.fit"
    functions = {
        base: partial(bare_pass, rows),
        ours: partial(aligner.fit, X),
        f"grid search, {TIMED} of {GRID} gammas": partial(grid_search, rows),
    }
    table = compare_times(functions, n_rounds, base, {ours: "<= 1.5"})
    fit, searched = (float(row["s"]) for row in table[1:])
    times_faster = searched * GRID / TIMED / fit
    table[2]["asked"] = f">= 500 x fit, all: {times_faster:.0f}"
    variance = X.var(0, ddof=1, dtype=np.float64).sum()
    sums = [
        exact_affinity(some, X, aligner.gamma_, variance).sum()
        for some in np.array_split(X, 1 + n_samples // CHECKED)
    ]
    for row in table:
        row["error of c"] = ""
    table[1]["error of c"] = f"{abs(sum(sums) / len(X) ** 2 - c):.0e} (<= 1e-6)"
    return table


def row_sums(lazy, rows, landmarks, gamma):
    """Return sums of affinities by row, by the lazy tensors of pykeops."""
    D = ((lazy(rows[:, None]) - lazy(landmarks[None])) ** 2).sum(-1)
    return (-gamma * D).exp() @ torch.ones(len(landmarks), 1, dtype=rows.dtype)


def tensor_peers(rows, landmarks, gamma):
    """Return functions that compute affinities by packages for torch, if these run."""
    functions = {}
    try:
        rbf_affinity = importlib.import_module("ncut_pytorch.utils.math").rbf_affinity
    except ImportError as error:
        print(f"ncut-pytorch does not run here: {error}")
    else:
        sigma = (1 / (2 * gamma)) ** 0.5
        functions["ncut-pytorch"] = partial(rbf_affinity, rows, landmarks, sigma=sigma)
    try:
        lazy = importlib.import_module("pykeops.torch").LazyTensor
        sums = partial(row_sums, lazy, rows, landmarks, gamma)
        sums()
    # Without a compiler pykeops raises errors of several types.
    except Exception as error:
        print(f"pykeops does not run here: {type(error).__name__}: {error}")
    else:
        functions["pykeops, sums of rows"] = sums
    return functions


def time_transforms(dtype, n_samples, n_features, n_landmarks, n_rounds, c=0.05):
    """Return the table of transforms, by us and by peers."""
    X = make_features(n_samples, n_features, dtype)
    fitted = X[: max(n_landmarks, n_samples // 5)]
    plain = RBFAutoScaleAligner(c, n_landmarks=n_landmarks, random_state=0).fit(fitted)
    ridge = clone(plain).set_params(normalize="ridge").fit(fitted)
    landmarks = plain.landmarks_
    variance = fitted.var(0, ddof=1, dtype=np.float64).sum()
    gamma = float(1 / (2 * plain.gamma_ * variance))
    rows, others = torch.from_numpy(X), torch.from_numpy(landmarks)
    bias = torch.zeros(n_landmarks, dtype=rows.dtype)
    nystroem = Nystroem(n_components=n_landmarks, gamma=gamma, random_state=0)
    functions = {
        "torch.addmm": partial(torch.addmm, bias, rows, others.T),
        "RBFAutoScaleAligner": partial(plain.transform, X),
        "the same, ridge": partial(ridge.transform, X),
        "sklearn rbf_kernel": partial(rbf_kernel, X, landmarks, gamma=gamma),
        "sklearn Nystroem.transform": partial(nystroem.fit(landmarks).transform, X),
        **tensor_peers(rows, others, gamma),
    }
    # The affinity of a landmark to itself has the largest error.
    some = np.vstack([landmarks[:CHECKED], X[-CHECKED:]])
    exact = exact_affinity(some, landmarks, plain.gamma_, variance)
    double = clone(ridge).fit(fitted.astype(np.float64))
    exact_ridge = double.transform(some.astype(np.float64))
    errors = {
        "RBFAutoScaleAligner": plain.transform(some) - exact,
        "the same, ridge": ridge.transform(some) - exact_ridge,
        "sklearn rbf_kernel": rbf_kernel(some, landmarks, gamma=gamma) - exact,
    }
    errors = {name: np.abs(values).max() for name, values in errors.items()}
    asked = {
        "RBFAutoScaleAligner": "<= 1.5",
        "the same, ridge": f"<= {1.4 * (n_landmarks / n_features + 1):.2f}",
        "sklearn rbf_kernel": ">= 1.8 x ours",
        "sklearn Nystroem.transform": ">= 2 x ours",
    }
    return compare_times(functions, n_rounds, "torch.addmm", asked, errors)

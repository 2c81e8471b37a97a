"""RBF affinities beside what they cannot do without, and beside peers."""

import importlib
from functools import partial

import numpy as np
import torch
from _timing import compare
from sklearn.base import clone
from sklearn.kernel_approximation import Nystroem
from sklearn.metrics.pairwise import rbf_kernel

from sklearn_featalign import RBFAutoScaleAligner

# Of the thousand bandwidths of a grid so many are timed, and rows of which errors are.
_GRID, _TIMED = 1000, 10
_CHECKED = 500


def make_rows(n_samples, n_features, dtype=np.float32):
    """Return non-negative features of 64 hidden dimensions, as networks have."""
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(n_samples, 64)).astype(np.float32)
    maps = rng.normal(size=(64, n_features)).astype(np.float32)
    return np.maximum(Z @ maps, 0).astype(dtype)


def bare_pass(X, rate=1e-4):
    """Return the mean affinity of all pairs of rows, for one rate."""
    norms = X.square().sum(1)
    D = torch.addmm(norms + norms[:, None], X, X.T, alpha=-2)
    return D.mul_(-rate).exp_().mean()


def document_affinity(X, gamma):
    """Return affinities as the code of the feature-alignment document does."""
    D = torch.pow(torch.cdist(X, X, p=2), 2)
    return torch.exp(-D / (2 * gamma * X.var(dim=0).sum()))


def exact_affinity(X, landmarks, gamma, variance):
    """Return affinities in float64, of differences."""
    X, landmarks = (torch.from_numpy(rows).double() for rows in (X, landmarks))
    mode = "donot_use_mm_for_euclid_dist"
    D = torch.cdist(X, landmarks, compute_mode=mode).square()
    return torch.exp(-D / (2 * gamma * variance)).numpy()


def time_fits(dtype, n_samples, n_features, n_rounds, c=0.05):
    """Return the table of fits with all rows as landmarks."""
    X = make_rows(n_samples, n_features, dtype)
    rows = torch.from_numpy(X)
    aligner = RBFAutoScaleAligner(c, n_landmarks=None)

    def grid_search():
        for gamma in np.linspace(0.01, 1, _TIMED):
            document_affinity(rows, gamma).mean()

    base, ours = "one bare pass", "RBFAutoScaleAligner.fit"
    part = f"grid search, {_TIMED} of {_GRID} gammas"
    functions = {
        base: partial(bare_pass, rows),
        ours: partial(aligner.fit, X),
        part: grid_search,
    }
    table = compare(functions, n_rounds, base, {ours: "<= 1.5"})
    fit, grid = (float(row["s"]) for row in table[1:])
    times_faster = grid * _GRID / _TIMED / fit
    table[2]["asked"] = f">= 500 x fit, all: {times_faster:.0f}"
    variance = X.var(0, ddof=1, dtype=np.float64).sum()
    mean = (
        sum(
            exact_affinity(some, X, aligner.gamma_, variance).sum()
            for some in np.array_split(X, 1 + n_samples // _CHECKED)
        )
        / len(X) ** 2
    )
    errors = {ours: f"{abs(mean - c):.0e} (<= 1e-6)"}
    return [{**row, "error of c": errors.get(row[""], "")} for row in table]


def tensor_peers(rows, landmarks, gamma):
    """Return functions by which packages of torch compute affinities, if they run."""
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
        ones = torch.ones(len(landmarks), 1, dtype=rows.dtype)

        def row_sums():
            D = ((lazy(rows[:, None]) - lazy(landmarks[None])) ** 2).sum(-1)
            return (-gamma * D).exp() @ ones

        row_sums()
    # What a compiler that is not there raises.
    except Exception as error:
        print(f"pykeops does not run here: {type(error).__name__}: {error}")
    else:
        functions["pykeops, sums of rows"] = row_sums
    return functions


def time_transforms(dtype, n_samples, n_features, n_landmarks, n_rounds, c=0.05):
    """Return the table of transforms, and of what peers do."""
    X = make_rows(n_samples, n_features, dtype)
    fitted = X[: max(n_landmarks, n_samples // 5)]
    params = {"n_landmarks": n_landmarks, "random_state": 0}
    plain = RBFAutoScaleAligner(c, **params).fit(fitted)
    ridge = RBFAutoScaleAligner(c, normalize="ridge", **params).fit(fitted)
    landmarks = plain.landmarks_
    variance = fitted.var(0, ddof=1, dtype=np.float64).sum()
    gamma = float(1 / (2 * plain.gamma_ * variance))
    rows, others = torch.from_numpy(X), torch.from_numpy(landmarks)
    bias = torch.zeros(n_landmarks, dtype=rows.dtype)
    base, ours, normalised = "torch.addmm", "RBFAutoScaleAligner", "the same, ridge"
    kernel, nystroem = "sklearn rbf_kernel", "sklearn Nystroem.transform"
    functions = {
        base: partial(torch.addmm, bias, rows, others.T),
        ours: partial(plain.transform, X),
        normalised: partial(ridge.transform, X),
        kernel: partial(rbf_kernel, X, landmarks, gamma=gamma),
        nystroem: Nystroem(n_components=n_landmarks, gamma=gamma, random_state=0).fit(
            landmarks
        ),
        **tensor_peers(rows, others, gamma),
    }
    functions[nystroem] = partial(functions[nystroem].transform, X)
    # A landmark's affinity to itself has the largest error.
    some = np.vstack([landmarks[:_CHECKED], X[-_CHECKED:]])
    exact = exact_affinity(some, landmarks, plain.gamma_, variance)
    double = clone(ridge).fit(fitted.astype(np.float64))
    errors = {
        ours: plain.transform(some) - exact,
        normalised: ridge.transform(some) - double.transform(some.astype(np.float64)),
        kernel: rbf_kernel(some, landmarks, gamma=gamma) - exact,
    }
    errors = {name: np.abs(values).max() for name, values in errors.items()}
    asked = {
        ours: "<= 1.5",
        normalised: f"<= {1.4 * (n_landmarks / n_features + 1):.2f}",
        kernel: ">= 1.8 x ours",
        nystroem: ">= 2 x ours",
    }
    return compare(functions, n_rounds, base, asked, errors)

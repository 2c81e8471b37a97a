"""Lines of force in one dimension: one charge, scipy's own solver, distant rows."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from sklearn.base import clone

from sklearn_featalign import PoissonDenoiser, PoissonUniformizer, _memory
from sklearn_featalign._poisson._charges import (
    Charges,
    charges_in_plane,
    coincident_charges,
)
from sklearn_featalign._poisson._line import follow_flux


def make_charges(n_charges=7, seed=0):
    rng = np.random.default_rng(seed)
    return Charges(
        torch.from_numpy(rng.normal(size=(n_charges, 1))),
        torch.from_numpy(np.log(rng.integers(1, 5, size=n_charges).astype(float))),
        torch.from_numpy(rng.uniform(-0.15, 2, size=n_charges)),
    )


def rows_of(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def reference_line(x, start, end, charges, without=None):
    """Return where a line goes by scipy, in ``dx / dr = E_x / E_r``."""
    y, log_counts, depths = (part.numpy().ravel() for part in charges)
    counts = np.exp(log_counts)
    if without is not None:
        counts[without] -= 1

    def slope(r, x):
        squares = (x - y) ** 2 + (r + depths) ** 2
        up = (counts * (r + depths) / squares).sum()
        return [(counts * (x - y) / squares).sum() / up]

    path = solve_ivp(slope, (start, end), [x], method="DOP853", rtol=1e-12, atol=1e-12)
    return path.y[0, -1]


def test_over_one_charge_lines_are_straight():
    charge = Charges(rows_of(0.5), torch.zeros(1).double(), torch.full((1,), 0.1))
    X = rows_of(-1e9, -3, 0.5, 0.6, 2, 1e12)
    out = follow_flux(X, (0.2, charge), (8.9, charge))
    torch.testing.assert_close(out - 0.5, 30 * (X - 0.5), rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("block", [1, 40, 10**6])
def test_lines_are_those_of_an_ordinary_solver(block, monkeypatch):
    monkeypatch.setattr(_memory, "BLOCK_WEIGHTS", block)
    charges = make_charges()
    X = rows_of(*np.linspace(-3, 3, 13))
    up = follow_flux(X, (0.2, charges), (30.0, charges))
    expected = [reference_line(float(x), 0.2, 30.0, charges) for x in X]
    np.testing.assert_allclose(up[:, 0], expected, rtol=1e-7, atol=1e-7)
    down = follow_flux(up, (30.0, charges), (0.2, charges))
    torch.testing.assert_close(down, X, rtol=1e-13, atol=1e-13)


def test_a_row_on_a_charge_does_not_see_itself():
    charges = charges_in_plane(*make_charges()[:2])
    X = torch.cat([charges.places[:3], rows_of(0.123)])
    own = coincident_charges(X, charges.places, charges.log_counts, 1e-9)
    up = follow_flux(X, (0.2, charges), (30.0, charges), own)
    for i, x in enumerate(X):
        without = i if i < 3 else None
        expected = reference_line(float(x), 0.2, 30.0, charges, without)
        assert abs(float(up[i]) - expected) < 1e-6


@pytest.mark.parametrize("spread", [1e-12, 1.0, 1e12])
def test_distant_rows_and_sparse_charges_come_back(spread):
    """Newton's method alone runs in circles between charges that are far apart."""
    places = rows_of(*np.random.default_rng(0).normal(size=50) ** 5 * 100) * spread
    charges = charges_in_plane(places, torch.zeros(50).double())
    X = torch.cat([places, places * (1 + 1e-9), rows_of(-1e8, 1e-5, 7, 1e9) * spread])
    ends = (1e-4 * spread, charges), (100 * spread, charges)
    back = follow_flux(follow_flux(X, *ends), *ends[::-1])
    scale = X.abs().clamp(min=float(places.abs().max()))
    assert ((back - X).abs() / scale).max() < 1e-13


def columns(n_samples, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n_samples)
    return {
        "normal": x,
        "lognormal": np.exp(3 * x),
        "Cauchy": rng.standard_cauchy(n_samples),
        "counts": rng.poisson(4, size=n_samples).astype(float),
        "far": 1e9 + x,
        "tiny": 1e-200 * x,
        "an outlier": np.append(x[1:], 1e6),
    }


@pytest.mark.parametrize("kind", list(columns(2, 0)))
@pytest.mark.parametrize(
    "estimator",
    [
        PoissonUniformizer(),
        PoissonUniformizer(output="normal"),
        PoissonUniformizer(scaling="whiten"),
        PoissonUniformizer(n_charges=None),
        PoissonDenoiser(n_charges=64),
    ],
    ids=str,
)
def test_one_column_comes_back_exactly(kind, estimator):
    X, new = (columns(600, seed)[kind][:, None] for seed in range(2))
    estimator = clone(estimator).fit(X)
    for rows in (X, new[(new >= X.min()) & (new <= X.max())][:, None]):
        out = estimator.transform(rows)
        scale = np.abs(rows) + np.median(np.abs(X - np.median(X)))
        error = np.abs(estimator.inverse_transform(out) - rows) / scale
        # With a charge for each row, some are taken for rows on a charge next to them.
        is_shared = estimator.n_charges is not None
        assert np.quantile(error, 1 if is_shared else 0.98) < 1e-7
        if is_shared:
            assert (np.diff(out[rows[:, 0].argsort(), 0]) >= -1e-12).all()

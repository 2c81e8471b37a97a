"""The field and its lines: direct sums, closed forms, and scipy's own solver."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.spatial.distance import cdist
from scipy.special import softmax

from sklearn_featalign._poisson._charges import (
    Charges,
    augment_charges,
    charges_in_plane,
    coincident_charges,
    field,
    mean_charge,
    mean_charge_by_powers,
    power_,
    safe_height,
)
from sklearn_featalign._poisson._flow import follow, integrate
from sklearn_featalign._poisson._heights import (
    data_size,
    depths_below,
    neighbor_distances,
    perplexity_height,
    root,
    sample_charges,
    spacing_height,
)
from sklearn_featalign._poisson._network import (
    largest_exponent,
    network_mean,
    normalized_field,
    perturb,
    projected_velocity,
    trained_height,
)


def make_charges(n_charges=20, d=3, seed=0):
    rng = np.random.default_rng(seed)
    counts = torch.from_numpy(rng.integers(1, 4, size=n_charges)).double()
    return torch.from_numpy(rng.normal(size=(n_charges, d))), counts.log()


def sunk(places, log_counts, seed=2):
    """Return charges at depths of their own, below the plane and above it."""
    depths = np.random.default_rng(seed).uniform(-0.005, 0.5, size=len(places))
    return Charges(places, log_counts, torch.from_numpy(depths))


def make_points(n_samples=10, d=3, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n_samples, d)))


def true_field(x, r, charges, counts):
    """Return E as it is written down."""
    d = charges.shape[1]
    steps = np.column_stack([x - charges, np.full(len(charges), r)])
    weights = counts / np.linalg.norm(steps, axis=1) ** (d + 1)
    return weights @ steps


def true_slope(x, r, charges):
    """Return r E_x / E_r of charges below a plane, as it is written down."""
    places, log_counts, depths = (values.numpy() for values in charges)
    steps = np.column_stack([x - places, r + depths])
    d = places.shape[1]
    weights = np.exp(log_counts) / np.linalg.norm(steps, axis=1) ** (d + 1)
    E = weights @ steps
    return r * E[:-1] / E[-1]


@pytest.mark.parametrize("is_sunk", [False, True])
@pytest.mark.parametrize("height", [0.01, 1.0, 100.0])
def test_the_mean_charge_is_what_the_field_points_away_from(height, is_sunk):
    charges = (sunk if is_sunk else charges_in_plane)(*make_charges())
    X = make_points()
    Y = mean_charge(X, height, charges)
    for x, y in zip(X.numpy(), Y.numpy(), strict=True):
        np.testing.assert_allclose(x - y, true_slope(x, height, charges), rtol=1e-8)


@pytest.mark.parametrize("is_sunk", [False, True])
@pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 6, 7, 8, 13, 22])
@pytest.mark.parametrize("height", [0.01, 1.0, 100.0])
def test_the_mean_charge_by_powers(d, height, is_sunk, monkeypatch):
    # Rows are in several blocks.
    monkeypatch.setattr("sklearn_featalign._memory.BLOCK_WEIGHTS", 60)
    places, log_counts = make_charges(d=d)
    charges = (sunk if is_sunk else charges_in_plane)(places, log_counts)
    assert height - 0.005 * is_sunk >= safe_height(float(places.norm(dim=1).max()), d)
    # On a charge, among them, far away and very far away.
    X = torch.cat([places[:3], make_points(d=d), 1e6 * make_points(5, d)])
    X = torch.cat([X, 1e100 * make_points(2, d)])
    table = augment_charges(charges)
    own = coincident_charges(X, places, log_counts, 1e-6)
    assert (own[1][:3] < 0).all() and (own[1][3:] == 0).all()
    for r in (height, torch.tensor(height, dtype=torch.float64)):
        for chosen in (None, own):
            Y = mean_charge_by_powers(X, r, table, chosen)
            expected = mean_charge(X, height, charges, chosen)
            torch.testing.assert_close(Y, expected, rtol=1e-7, atol=1e-9)
    Y = mean_charge_by_powers(X[3:8], height, table)
    for x, y in zip(X[3:8].numpy(), Y.numpy(), strict=True):
        np.testing.assert_allclose(x - y, true_slope(x, height, charges), rtol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("d", [2, 3, 8, 30, 200])
def test_where_powers_are_called_safe_they_are_exact(d, dtype):
    places, log_counts = make_charges(100, d)
    charges = charges_in_plane(places, log_counts)
    reach = float(places.norm(dim=1).max())
    lowest = safe_height(reach, d, dtype)
    assert 0 < lowest < 30 * reach
    X = torch.cat([places, make_points(d=d), 1e3 * make_points(d=d)])
    most = 1e-4
    if dtype == torch.float32:
        lowest, most = 30 * lowest, 1e-3
    Y = mean_charge_by_powers(X, lowest, augment_charges(charges, dtype))
    expected = mean_charge(X, lowest, charges)
    torch.testing.assert_close(Y, expected, rtol=most, atol=most)


def test_powers_of_many_numbers(monkeypatch):
    monkeypatch.setattr("sklearn_featalign._memory.CACHED_WEIGHTS", 7)
    X = torch.rand(5, 8, dtype=torch.float64) + 0.5
    for exponent in range(1, 40):
        out = power_(X.clone(), exponent)
        torch.testing.assert_close(out, X**exponent, rtol=1e-13, atol=0)


def test_nothing_overflows_in_hundreds_of_dimensions():
    charges = charges_in_plane(*make_charges(d=600))
    for X in (make_points(d=600) * 1e-3, make_points(d=600) * 1e60):
        assert mean_charge(X, 1e-3, charges).isfinite().all()


def test_a_row_on_a_charge_takes_one_row_off_it():
    charges, _ = make_charges(4)
    counts = torch.tensor([1.0, 3.0, 2.0, 1.0], dtype=torch.float64)
    X = torch.cat([charges, charges[:1] + 0.5])
    own = coincident_charges(X, charges, counts.log(), 1e-3)
    assert own[0][:4, 0].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(
        own[1][:, 0], [-np.inf, np.log(2 / 3), np.log(1 / 2), -np.inf, 0], atol=1e-12
    )
    Y = mean_charge(X, 0.7, charges_in_plane(charges, counts.log()), own)
    for i in range(5):
        left = counts.clone()
        if i < 4:
            left[i] -= 1
        kept = left > 0
        others = charges_in_plane(charges[kept], left[kept].log())
        expected = mean_charge(X[[i]], 0.7, others)
        torch.testing.assert_close(Y[[i]], expected)


def test_the_lines_of_one_charge_are_straight():
    """Over one charge x - y grows as the height does, whatever the solver's order."""
    charge = torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    X = make_points(d=2)

    def mean(X, height):
        return mean_charge(X, height, charges_in_plane(charge, torch.zeros(1).double()))

    out = follow(mean, X, 0.1, 5.0, 1.0, "rk4", 200)
    torch.testing.assert_close(out - charge, 50 * (X - charge), rtol=1e-6, atol=1e-6)
    back = follow(mean, out, 5.0, 0.1, 1.0, "rk4", 200)
    torch.testing.assert_close(back, X, rtol=1e-6, atol=1e-6)


def two_charges(X, height):
    charges = torch.tensor([[1.0, 0.0], [-1.0, 0.5]], dtype=torch.float64)
    log_counts = torch.tensor([0.0, 0.7]).double()
    return mean_charge(X, height, charges_in_plane(charges, log_counts))


def reference_line(x, start, end):
    """Return where a line goes by scipy, in ``dx / dr = E_x / E_r``."""
    charges = np.array([[1.0, 0.0], [-1.0, 0.5]])
    counts = np.exp([0.0, np.float32(0.7)])

    def slope(r, x):
        E = true_field(x, r, charges, counts)
        return E[:-1] / E[-1]

    path = solve_ivp(slope, (start, end), x, method="DOP853", rtol=1e-12, atol=1e-12)
    return path.y[:, -1]


@pytest.mark.parametrize(
    ("solver", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4)]
)
def test_the_order_of_each_solver(solver, order):
    X = make_points(6, 2)
    expected = np.array([reference_line(x, 0.2, 30.0) for x in X.numpy()])
    errors = []
    for n_steps in (40, 80, 160):
        out = follow(two_charges, X, 0.2, 30.0, 1.0, solver, n_steps)
        errors.append(np.abs(out.numpy() - expected).max())
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (orders > order - 0.35).all() and orders[-1] < order + 0.9


def test_the_adaptive_solver_keeps_its_tolerance_in_each_row():
    X = torch.cat([make_points(6, 2), make_points(300, 2) * 1e-3 + 5])
    expected = np.array([reference_line(x, 0.2, 30.0) for x in X[:6].numpy()])
    out = follow(two_charges, X, 0.2, 30.0, 1.0, "dopri5", 1)
    np.testing.assert_allclose(out[:6], expected, rtol=1e-5, atol=1e-5)


def test_infinity_is_near():
    """From a height of 1e6 on lines are straight to a millionth."""
    X = make_points(6, 2)
    low, high = (
        follow(two_charges, X, 0.2, height, 1.0, "rk4", 100) / height
        for height in (1e6, 1e9)
    )
    torch.testing.assert_close(low, high, rtol=0, atol=1e-5)


def test_the_size_of_the_data_counts_rows():
    charges, log_counts = make_charges()
    rows = np.repeat(charges.numpy(), log_counts.exp().round().int().numpy(), axis=0)
    expected = np.sqrt(rows.var(0).mean())
    assert data_size(charges, log_counts) == pytest.approx(expected)


def in_batches_of_seven(charges):
    return sample_charges(charges).split(7)


def test_the_spacing_height_follows_the_fifth_neighbor():
    charges, _ = make_charges(300, 4)
    fifth = np.sort(cdist(charges, charges), axis=1)[:, 5]
    distances = neighbor_distances(in_batches_of_seven(charges), charges)
    np.testing.assert_allclose(distances, fifth)
    middle = np.sort(fifth)[(len(fifth) - 1) // 2]
    height = spacing_height(distances, 4, 1.0)
    assert height == pytest.approx(middle / 5 / 4**0.25)
    # Charges are seen from a height in proportion to the distance, within limits.
    depths = depths_below(height, distances).numpy()
    np.testing.assert_allclose(height + depths, height * fifth / middle)
    wide = torch.tensor([1e-9, 1.0, 1.0, 1.0, 1e9], dtype=torch.float64)
    np.testing.assert_allclose(2 + depths_below(2.0, wide), [0.5, 2, 2, 2, 32])
    assert (depths_below(2.0, wide * 0) == 0).all()
    # Of two charges there is one neighbour; a floor holds where all but coincide.
    assert neighbor_distances([charges[:2]], charges[:2])[0] == pytest.approx(
        float((charges[0] - charges[1]).norm())
    )
    assert spacing_height(wide[:1], 4, 1.0) == 1e-6


@pytest.mark.parametrize("goal", [-9.0, -0.3, 0.0, 2.0, 9.0])
def test_a_root_or_the_nearest_end(goal):
    calls = []

    def function(x):
        calls.append(x)
        return np.sinh(x) - np.sinh(goal)

    expected = np.clip(goal, -4, 4)
    assert root(function, -4, 4) == pytest.approx(expected, abs=1e-7)
    assert len(calls) < 40


@pytest.mark.parametrize("perplexity", [30, 100])
def test_the_perplexity_height(perplexity):
    charges, _ = make_charges(200, 4)
    log_counts = torch.zeros(200, dtype=torch.float64)
    batches = in_batches_of_seven(charges)
    height = perplexity_height(batches, charges, log_counts, perplexity)
    D = cdist(charges, charges) ** 2 + height**2
    logits = -5 / 2 * np.log(D)
    np.fill_diagonal(logits, -np.inf)
    P = softmax(logits, axis=1)
    entropy = -np.sum(P * np.log(np.maximum(P, 1e-300)), axis=1)
    middle = np.sort(entropy)[(len(entropy) - 1) // 2]
    assert np.exp(middle) == pytest.approx(perplexity, rel=1e-6)
    lowest = perplexity_height(batches, charges, log_counts, 1)
    assert lowest == pytest.approx(np.sqrt((D - height**2).mean()) / np.exp(7))


def test_perturbed_points_are_those_of_the_paper():
    """Heights and distances over their reach are normal and chi; directions uniform."""
    X = torch.zeros(20000, 3, dtype=torch.float64) + 5
    generator = torch.Generator().manual_seed(0)
    points = perturb(X, 0.1, 0.03, 50.0, generator).numpy()
    steps, heights = points[:, :-1] - 5, points[:, -1]
    assert (heights > 0).all()
    # E (1 + tau)^(2 m) with m uniform, in closed form.
    rate = 2 * 50 * math.log(1.03)
    reach = 0.1**2 * (math.exp(rate) - 1) / rate
    assert np.mean(heights**2) == pytest.approx(reach, rel=0.05)
    assert np.mean(np.square(steps).sum(1)) == pytest.approx(3 * reach, rel=0.05)
    directions = steps / np.linalg.norm(steps, axis=1, keepdims=True)
    assert np.abs(directions.mean(0)).max() < 0.02
    np.testing.assert_allclose(
        directions.T @ directions / len(X), np.eye(3) / 3, atol=0.02
    )
    again = perturb(X, 0.1, 0.03, 50.0, torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(again, points)


def test_what_a_network_is_trained_for():
    charges, _ = make_charges()
    points = torch.cat([make_points(), torch.linspace(0.1, 3, 10)[:, None]], dim=1)
    E = field(points, charges)
    for point, own in zip(points.numpy(), E.numpy(), strict=True):
        true = true_field(point[:-1], point[-1], charges.numpy(), np.ones(20))
        np.testing.assert_allclose(own, true * (point[-1] / true[-1]), rtol=1e-9)
    goal = normalized_field(E, 5.0)
    torch.testing.assert_close(
        goal.norm(dim=1), 3**0.5 * E.norm(dim=1) / (E.norm(dim=1) + 5)
    )
    unit = torch.nn.functional.normalize
    torch.testing.assert_close(unit(goal), unit(E))


def one_charge_network(d, charge=0.0):
    """Return the weights of a network that knows the field of one charge."""
    bias = torch.zeros(d + 1, dtype=torch.float64)
    bias[:d] = -charge
    return {"weight0": torch.eye(d + 1, dtype=torch.float64), "bias0": bias}


def test_a_network_that_knows_one_charge():
    weights = one_charge_network(3, charge=2.0)
    Y = network_mean(make_points(), 0.5, weights)
    torch.testing.assert_close(Y, torch.full_like(Y, 2.0))
    # Where its lines point down they are taken to rise by a little.
    down = {"weight0": -weights["weight0"], "bias0": -weights["bias0"]}
    assert network_mean(make_points(), 0.5, down).isfinite().all()


def test_the_documents_equation():
    """The squared length of y grows by twice the time, along rays for one charge."""
    points = torch.cat([make_points(), torch.ones(10, 1)], dim=1)
    weights = one_charge_network(3)
    out = integrate(
        lambda t, y: projected_velocity(t, y, weights), points, 0.0, 1.0, "rk4", 50
    )
    length = (points.square().sum(1) + 2).sqrt()
    torch.testing.assert_close(out.norm(dim=1), length, rtol=1e-6, atol=0)
    unit = torch.nn.functional.normalize
    torch.testing.assert_close(unit(out), unit(points))
    other = one_charge_network(3, charge=0.7)
    velocity = projected_velocity(0.0, points, other)
    torch.testing.assert_close((velocity * points).sum(1), torch.ones(10).double())


def test_the_papers_formula_for_the_largest_exponent():
    assert largest_exponent(1.0, 128, 0.01, 0.03) == 155
    # So that rows are moved by their own norm, about: here by twice of it.
    M = largest_exponent(30.0, 3072, 0.01, 0.03)
    assert 1 < 3072**0.5 * 0.01 * 1.03**M / 30 < 100
    assert trained_height(0.01, 0.03, 20) == pytest.approx(0.0144, abs=1e-4)

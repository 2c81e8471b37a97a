"""From the hemisphere to the cube: scipy's distributions, closed forms, and back."""

import numpy as np
import pytest
import torch
from scipy import special, stats

from sklearn_featalign._poisson._hemisphere import (
    from_cube,
    from_hemisphere,
    from_normal,
    hemisphere_log_density,
    hemisphere_tails,
    normal_log_density,
    normal_tails,
    to_hemisphere,
    to_normal,
)

DIMENSIONS = [1, 2, 3, 4, 7, 8, 33, 64, 129, 1280]


def above(values, smallest=1e-290):
    return values > smallest


@pytest.mark.parametrize("d", DIMENSIONS)
def test_tails_of_the_hemisphere_are_an_incomplete_beta_function(d):
    w = torch.linspace(-8, 14, 100, dtype=torch.float64)
    log_p, log_q = (tail.numpy() for tail in hemisphere_tails(w, d))
    p = special.betainc(d / 2, 0.5, special.expit(w.numpy()))
    q = special.betainc(0.5, d / 2, special.expit(-w.numpy()))
    np.testing.assert_allclose(log_p[above(p)], np.log(p[above(p)]), atol=2e-11)
    np.testing.assert_allclose(log_q[above(q)], np.log(q[above(q)]), atol=2e-12)


@pytest.mark.parametrize("d", DIMENSIONS)
def test_tails_of_the_normal_are_an_incomplete_gamma_function(d):
    t = torch.linspace(-6, 7, 100, dtype=torch.float64)
    log_p, log_q = (tail.numpy() for tail in normal_tails(t, d))
    x = t.exp().numpy()
    p, q = special.gammainc(d / 2, x), special.gammaincc(d / 2, x)
    np.testing.assert_allclose(log_p[above(p)], np.log(p[above(p)]), atol=2e-11)
    np.testing.assert_allclose(log_q[above(q)], np.log(q[above(q)]), atol=2e-12)


@pytest.mark.parametrize("d", [1, 2, 5, 8])
@pytest.mark.parametrize(
    ("tails", "log_density"),
    [(hemisphere_tails, hemisphere_log_density), (normal_tails, normal_log_density)],
)
def test_densities_are_the_slopes_of_tails(tails, log_density, d):
    t = torch.linspace(-3, 2, 30, dtype=torch.float64)
    (low, _), (high, _) = (tails(t + step, d) for step in (-1e-5, 1e-5))
    slope = (high.exp() - low.exp()) / 2e-5
    torch.testing.assert_close(slope.log(), log_density(t, d), rtol=1e-4, atol=1e-6)


def test_closed_forms_in_one_and_two_dimensions():
    """A line's angle is uniform; of the sphere the height is (Archimedes)."""
    x = torch.linspace(-30, 30, 101, dtype=torch.float64)[:, None]
    angle = 0.5 + torch.atan(x / 2) / np.pi
    normal = to_normal(x, 2.0)
    torch.testing.assert_close(torch.special.ndtr(normal), angle, rtol=0, atol=1e-12)
    X = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)).double()
    length = X.norm(dim=1)
    height = 3 / torch.hypot(length, torch.tensor(3.0).double())
    expected = (-2 * height.log()).sqrt()
    G = to_normal(X, 3.0)
    torch.testing.assert_close(G.norm(dim=1), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(G / expected[:, None], X / length[:, None])


@pytest.mark.parametrize("d", [1, 2, 3, 8, 30])
def test_a_uniform_hemisphere_becomes_normal(d):
    points = np.random.default_rng(d).normal(size=(4000, d + 1))
    points[:, -1] = abs(points[:, -1])
    X = from_hemisphere(torch.from_numpy(points), 5.0)
    G = to_normal(X, 5.0).numpy()
    for column in G.T[:3]:
        assert stats.kstest(column, "norm").pvalue > 1e-3
    assert stats.kstest(np.square(G).sum(1), stats.chi2(d).cdf).pvalue > 1e-3


@pytest.mark.parametrize("d", [1, 2, 3, 8, 64, 129, 1280])
def test_there_and_back(d):
    generator = torch.Generator().manual_seed(d)
    X = torch.randn(40, d, generator=generator, dtype=torch.float64)
    X *= torch.logspace(-3, 3, 40, dtype=torch.float64)[:, None]
    back = from_normal(to_normal(X, 10.0), 10.0)
    torch.testing.assert_close(back, X, rtol=1e-9, atol=0)
    points = to_hemisphere(X, 10.0)
    torch.testing.assert_close(points.norm(dim=1), torch.ones(40).double())
    torch.testing.assert_close(from_hemisphere(points, 10.0), X)


def test_the_middle_stays_in_the_middle():
    zeros = torch.zeros(2, 3, dtype=torch.float64)
    assert to_normal(zeros, 100.0).norm() < 1e-100
    assert from_normal(zeros, 100.0).norm() < 1e-100


def test_far_points_are_finite():
    X = torch.full((1, 4), 1e120, dtype=torch.float64)
    G = to_normal(X, 100.0)
    assert 15 < G.norm() < 30
    back = from_normal(G, 100.0)
    assert ((back > 1e100) & (back <= X)).all()
    assert from_normal(2 * G, 100.0).square().isfinite().all()
    edge = torch.tensor([[1.0, 0.0, 1e-160]], dtype=torch.float64)
    assert from_hemisphere(edge, 100.0).square().isfinite().all()


@pytest.mark.parametrize("d", [1, 2, 3, 8, 64])
def test_any_normal_numbers_have_a_place(d):
    """They are farther out the longer they are, up to a limit, and never undefined."""
    lengths = [1, 10, 38, 39, 45, 60, 1e3, 1e4, 1e100, 1e200, 1e300]
    direction = torch.ones(1, d, dtype=torch.float64)
    G = torch.tensor(lengths, dtype=torch.float64)[:, None] * direction
    places = from_normal(G, 100.0)
    assert places.square().isfinite().all()
    torch.testing.assert_close(places, places[:, :1] * direction)
    assert (places[1:, 0] >= places[:-1, 0] * (1 - 1e-12)).all()
    assert places[-1, 0] > 1e90
    # In one dimension the share beyond is that of the angle.
    if d == 1:
        share = torch.atan2(torch.full_like(places[:2], 100.0), places[:2]) / torch.pi
        expected = stats.norm.sf(G[:2, 0])
        np.testing.assert_allclose(share[:, 0], expected, rtol=1e-9)


def test_the_ends_of_the_cube_are_a_little_off():
    U = torch.tensor([-0.2, 0.0, 1e-9, 0.3, 1.0, 7.0], dtype=torch.float64)
    G = from_cube(U, 0.01)
    np.testing.assert_allclose(G, stats.norm.ppf([0.01, 0.01, 1e-9, 0.3, 0.99, 0.99]))

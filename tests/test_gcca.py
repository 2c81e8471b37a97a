"""The parts of kernel generalised CCA against numpy's linear algebra and refits."""

from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.preprocessing import normalize

from sklearn_featalign._kernels import _eigen
from sklearn_featalign._kernels._eigen import leading_eigenpairs
from sklearn_featalign._kernels._gcca import (
    filtered,
    fit_maps,
    fit_variates,
    fixed_rotation,
    joint_filter,
    left_out,
)
from sklearn_featalign._kernels._hubness import append_hubness, hubness
from sklearn_featalign._kernels._moments import (
    add,
    moments_of,
    subtract,
    sum_of_products,
)


def extended_views(n_samples=40, widths=(5, 4, 6), seed=0):
    """Return centred views that share two hidden columns, with columns of ones."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n_samples, 2))
    views = []
    for d in widths:
        X = Z @ rng.normal(size=(2, d)) + 0.5 * rng.normal(size=(n_samples, d))
        views.append(np.hstack([X - X.mean(0), np.ones((n_samples, 1))]))
    return [torch.from_numpy(X) for X in views]


def solve(views, ridge=0.1, power=3.0, n_components=99):
    F = torch.cat(views, dim=1)
    moments = moments_of(F, torch.full((len(F),), len(views)))
    ranks = [X.shape[1] - 1 for X in views]
    variates = fit_variates(moments, ranks, ridge, n_components)
    return variates, rotated_maps(variates, power)


def rotated_maps(variates, power):
    maps = fit_maps(variates)
    rotation = fixed_rotation(maps, [None] * len(maps.features))
    return filtered(maps, variates, power, rotation)


def test_sums_of_products_are_complete_and_add_up():
    F = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 2100)))
    total = sum_of_products(F.split(7), 2100)
    np.testing.assert_allclose(total, F.T @ F, atol=1e-12)
    counts = torch.arange(50) % 3
    parts = [moments_of(F[rows], counts[rows]) for rows in (slice(20), slice(20, 50))]
    summed, whole = add(*parts), moments_of(F, counts)
    assert summed.keys() == whole.keys() == {0, 1, 2}
    for count in whole:
        np.testing.assert_allclose(summed[count], whole[count], atol=1e-12)
        left = subtract(summed, parts[1])[count]
        np.testing.assert_allclose(left, parts[0][count], atol=1e-12)


def test_leading_eigenpairs_of_a_large_matrix(monkeypatch):
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.normal(size=(600, 600)))[0]
    values = np.exp(-np.arange(600) / 40)
    S = torch.from_numpy(Q * values @ Q.T)
    exact = leading_eigenpairs(S, 50)
    np.testing.assert_allclose(exact[0], values[:50], rtol=1e-10)
    monkeypatch.setattr(_eigen, "_COMPLETE", 100)
    found, vectors = leading_eigenpairs(S, 50)
    np.testing.assert_allclose(found, values[:50], rtol=1e-3)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(50), atol=1e-10)
    overlaps = np.abs((vectors.numpy() * Q[:, :50]).sum(0))
    np.testing.assert_allclose(overlaps[:30], 1, atol=1e-8)
    assert overlaps.min() > 0.9


def test_variates_are_the_eigenvectors_of_the_mean_hat_matrix():
    views = extended_views()
    variates, _ = solve(views, ridge=0.3)
    hats = [hat_matrix(X[:, :-1].numpy(), 0.3) for X in views]
    values = np.linalg.eigvalsh(sum(hats) / 3)[::-1]
    np.testing.assert_allclose(variates.values, values[:15], atol=1e-12)


def hat_matrix(F, ridge):
    return F @ np.linalg.solve(F.T @ F + ridge * np.eye(F.shape[1]), F.T)


def test_the_rotation_does_not_depend_on_the_basis_of_the_eigensolver():
    variates, expected = solve(extended_views())
    signs = torch.from_numpy(np.random.default_rng(0).choice([-1.0, 1.0], 15))
    flipped = variates._replace(vectors=[Q * signs for Q in variates.vectors])
    for M, N in zip(
        rotated_maps(flipped, 3.0).features, expected.features, strict=True
    ):
        np.testing.assert_allclose(M, N, atol=1e-10)


def test_a_direction_that_two_of_three_views_share_is_kept():
    # Columns of hat matrices: everywhere, in two views, in one.
    values = torch.tensor([1.0, 2 / 3, 1 / 3], dtype=torch.float64)
    hats = np.array([[1, 1, 0], [1, 1, 1], [1, 0, 0]])
    roots = [torch.from_numpy(np.diag(h**0.5) / 3**0.5) / values.sqrt() for h in hats]
    W = joint_filter(values, roots, 8.0).numpy()
    kept, half, lost = W.diagonal()
    # One pair of three has it, where the mean of all views would keep (2/3)**8.
    assert half / kept == pytest.approx((1 / 3) ** 0.25, rel=1e-6)
    assert lost / kept == pytest.approx((2 / 3) ** 0.25 * 0.5**8, rel=1e-6)


@pytest.mark.parametrize("power", [0.0, 2.5, 1e5])
def test_the_filter_of_three_views_is_a_power_mean_over_pairs(power):
    views = extended_views()
    variates, _ = solve(views)
    T = [Q * (3 * variates.values).sqrt() for Q in variates.vectors]
    hats = [(t.T @ t).numpy() for t in T]
    powers = []
    largest = max(np.linalg.norm(a + b, 2) / 2 for a, b in combinations(hats, 2))
    for a, b in combinations(hats, 2):
        values, vectors = np.linalg.eigh((a + b) / 2 / largest)
        powers.append(vectors * np.maximum(values, 0) ** (4 * power) @ vectors.T)
    values, vectors = np.linalg.eigh(sum(powers))
    expected = vectors * np.maximum(values, 1e-12 * values[-1]) ** 0.25 @ vectors.T
    W = joint_filter(variates.values, variates.vectors, power).numpy()
    scale = np.linalg.norm(expected, 2)
    np.testing.assert_allclose(W / np.linalg.norm(W, 2), expected / scale, atol=1e-6)


@pytest.mark.parametrize("ridge", [0.01, 0.1, 2.0])
def test_left_out_rows_are_those_of_refits(ridge):
    views = extended_views()
    variates, maps = solve(views, ridge)
    n_present = torch.full((40,), 3.0)
    predictions = left_out(views, n_present, variates, maps)
    W = [
        torch.linalg.solve_triangular(L, X[:, :-1].T, upper=False).T
        for X, L in zip(views, variates.factors, strict=True)
    ]
    G = (sum(w @ T for w, T in zip(W, maps.variates, strict=True)) / 3).numpy()
    for v, X in enumerate(X[:, :-1].numpy() for X in views):
        for i in range(0, 40, 7):
            rest = np.delete(np.arange(40), i)
            C = X[rest].T @ X[rest] + ridge * np.eye(X.shape[1])
            expected = X[i] @ np.linalg.solve(C, X[rest].T @ G[rest])
            np.testing.assert_allclose(predictions[v][i], expected, atol=1e-9)


def unit(shape, seed):
    return normalize(np.random.default_rng(seed).normal(size=shape))


def test_hubness_is_the_mean_of_the_largest_similarities():
    F, others = unit((30, 8), 0), [unit((20, 8), 1), unit((25, 8), 2)]
    means = [np.sort(F @ G.T, axis=1)[:, -5:].mean(1) for G in others]
    hub = hubness(torch.from_numpy(F), [torch.from_numpy(G) for G in others], 5)
    np.testing.assert_allclose(hub, np.mean(means, axis=0))


def test_columns_of_hubness_make_dot_products_of_csls_scores():
    F, G = unit((30, 8), 0), unit((20, 8), 1)
    r_f, r_g = (np.random.default_rng(2).uniform(-1.9, 1.9, n) for n in (30, 20))
    csls = 2 * F @ G.T - r_f[:, None] - r_g
    expected = 1 + csls / 2 + np.outer(r_f, r_g) / 4

    def append(X, hub, metric, slot):
        X, hub = torch.from_numpy(X), torch.from_numpy(hub)
        return append_hubness(X, hub, metric, slot, 3).numpy()

    dots = append(F, r_f, "dot", 0) @ append(G, r_g, "dot", 2).T
    np.testing.assert_allclose(dots, expected, atol=1e-12)
    A, B = append(F, r_f, "cosine", 0), append(G, r_g, "cosine", 2)
    assert A.shape == (30, 8 + 1 + 3)
    np.testing.assert_allclose(np.linalg.norm(A, axis=1), 1)
    np.testing.assert_allclose(np.linalg.norm(B, axis=1), 1)
    np.testing.assert_allclose(A @ B.T, expected / 5, atol=1e-12)

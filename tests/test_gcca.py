"""The parts of kernel generalised CCA against numpy's linear algebra and refits."""

from functools import reduce
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.preprocessing import normalize

from sklearn_featalign import _memory
from sklearn_featalign._kernels import _eigen
from sklearn_featalign._kernels._eigen import leading_eigenpairs
from sklearn_featalign._kernels._frames import (
    fit_frame,
    frame_features,
    mixed_frame,
)
from sklearn_featalign._kernels._gcca import (
    fit_maps,
    fit_variates,
    fixed_rotation,
    left_out,
    shared_components,
)
from sklearn_featalign._kernels._hubness import STRENGTH, append_hubness, hubness
from sklearn_featalign._kernels._moments import (
    add,
    moments_of,
    subtract,
    sum_moments,
    sum_of_products,
)
from sklearn_featalign._similarity import mean_log_likelihoods


def extended_views(n_samples=40, widths=(5, 4, 6), seed=0):
    """Return centred views that share two hidden columns, with columns of ones."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n_samples, 2))
    views = []
    for d in widths:
        X = Z @ rng.normal(size=(2, d)) + 0.5 * rng.normal(size=(n_samples, d))
        views.append(np.hstack([X - X.mean(0), np.ones((n_samples, 1))]))
    return [torch.from_numpy(X) for X in views]


def solve(views, ridge=0.1, n_components=99):
    ranks = [X.shape[1] - 1 for X in views]
    return fit_variates(moments_of(views), ranks, ridge, n_components)


def output_maps(variates, power, n_components=99):
    shares, axes = shared_components(variates.values, variates.vectors, n_components)
    matrices = [M @ axes * shares**power for M in fit_maps(variates).features]
    rotation = fixed_rotation(matrices, [None] * len(matrices))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(len(rotation)), atol=1e-12)
    return [M @ rotation for M in matrices]


def test_sums_of_products_are_complete_and_add_up():
    F = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 2100)))
    total = sum_of_products(F.split(7))
    np.testing.assert_allclose(total, F.T @ F, atol=1e-12)


def all_moments(F):
    """Return all moments of rows, which are summed apart by their numbers of views."""
    counts = sum((X[:, -1] > 0).long() for X in F)
    parts = []
    for count in counts.unique().tolist():
        own = [X[counts == count] for X in F]
        batches = zip(*(X.split(7) for X in own), strict=True)
        parts.append(sum_moments(map(list, batches), count, len(F)))
    return reduce(add, parts)


def test_moments_are_sums_that_add_up_whatever_views_rows_have():
    F = extended_views(50)
    # Rows have the views 0 and 2, all of them, or 1 and 2.
    kinds = torch.arange(50) % 3
    F[1][kinds == 0], F[0][kinds == 2] = 0, 0
    whole = all_moments(F)
    parts = [all_moments([X[rows] for X in F]) for rows in (slice(20), slice(20, 50))]
    stacked = torch.cat(F, dim=1)
    expected = {
        ("stacked", 2): stacked[kinds != 1].T @ stacked[kinds != 1],
        ("stacked", 3): stacked[kinds == 1].T @ stacked[kinds == 1],
        ("own", 0, 2): F[0][kinds == 0].T @ F[0][kinds == 0],
        ("own", 2, 0): F[2][kinds == 0].T @ F[2][kinds == 0],
        ("own", 2, 1): F[2][kinds == 2].T @ F[2][kinds == 2],
        ("own", 0, 1): torch.zeros(6, 6),
    }
    for moments in (whole, add(*parts), add(*parts[::-1])):
        assert set(moments["stacked"]) == {2, 3}
        for keys, value in expected.items():
            found = reduce(lambda part, key: part[key], keys, moments)
            np.testing.assert_allclose(found, value, atol=1e-12)
    rest = subtract(whole, parts[1])
    for count, value in parts[0]["stacked"].items():
        np.testing.assert_allclose(rest["stacked"][count], value, atol=1e-12)
    # Complete rows need no more than the stacked sums.
    assert not all_moments([X[kinds == 1] for X in F])["own"]
    alone = moments_of(F)["stacked"]
    assert alone.keys() == whole["stacked"].keys()
    for count, value in whole["stacked"].items():
        np.testing.assert_allclose(alone[count], value, atol=1e-12)


def test_leading_eigenpairs_of_a_large_matrix(monkeypatch):
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.normal(size=(600, 600)))[0]
    values = np.exp(-np.arange(600) / 40)
    S = torch.from_numpy(Q * values @ Q.T)
    exact = leading_eigenpairs(S, 50, 600)
    np.testing.assert_allclose(exact[0], values[:50], rtol=1e-10)
    monkeypatch.setattr(_eigen, "_COMPLETE", 100)
    found, vectors = leading_eigenpairs(S, 50, 600)
    np.testing.assert_allclose(found, values[:50], rtol=1e-3)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(50), atol=1e-10)
    overlaps = np.abs((vectors.numpy() * Q[:, :50]).sum(0))
    np.testing.assert_allclose(overlaps[:30], 1, atol=1e-8)
    assert overlaps.min() > 0.9


def test_eigenpairs_of_a_matrix_of_low_rank():
    rng = np.random.default_rng(0)
    B = torch.from_numpy(rng.normal(size=(90, 40)) * np.exp(-np.arange(40) / 4))
    values, vectors = leading_eigenpairs(B @ B.T, 30, 40)
    np.testing.assert_allclose(values, torch.linalg.svdvals(B)[:30] ** 2, rtol=1e-8)
    np.testing.assert_allclose(B @ (B.T @ vectors), vectors * values, atol=1e-10)


@pytest.mark.parametrize("n_samples", [12, 60])
@pytest.mark.parametrize("linear", [0, 0.3, 1])
def test_mixed_frames_have_the_kernel_of_both_parts(n_samples, linear):
    rng = np.random.default_rng(0)
    widths, mean = (7, 20), rng.normal(size=27)
    new = rng.normal(size=(5, 27)) + mean
    X = rng.normal(size=(n_samples, 27)) + mean
    F, G = (torch.from_numpy(np.c_[rows, np.ones(len(rows))]) for rows in (X, new))
    balanced = fit_frame(F.T @ F, widths)
    frame, factors = mixed_frame(balanced, widths, linear)
    framed = frame_features(F, frame)[:, :-1]
    again = frame_features(F, balanced)[:, :-1] * factors
    np.testing.assert_allclose(framed, again, atol=1e-10)
    parts = np.split(X - X.mean(0), [7], axis=1), np.split(new - X.mean(0), [7], axis=1)
    kernel = sum(
        share * n_samples * A_new @ A.T / np.square(A).sum()
        for share, A, A_new in zip((linear, 1 - linear), *parts, strict=True)
    )
    found = frame_features(G, frame)[:, :-1] @ framed.T
    np.testing.assert_allclose(found, kernel, atol=1e-10)


def test_variates_are_the_eigenvectors_of_the_mean_hat_matrix():
    views = extended_views()
    variates = solve(views, ridge=0.3)
    hats = [hat_matrix(X[:, :-1].numpy(), 0.3) for X in views]
    values = np.linalg.eigvalsh(sum(hats) / 3)[::-1]
    np.testing.assert_allclose(variates.values, values[:15], atol=1e-12)


def hat_matrix(F, ridge):
    return F @ np.linalg.solve(F.T @ F + ridge * np.eye(F.shape[1]), F.T)


@pytest.mark.parametrize("widths", [(5, 4), (5, 4, 6)])
def test_the_output_does_not_depend_on_the_basis_of_the_eigensolver(widths):
    variates = solve(extended_views(widths=widths))
    expected = output_maps(variates, 3.0)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], len(variates.values))
    flipped = [Q * torch.from_numpy(signs) for Q in variates.vectors]
    found = output_maps(variates._replace(vectors=flipped), 3.0)
    for M, N in zip(found, expected, strict=True):
        np.testing.assert_allclose(M, N, atol=1e-10)


def test_a_direction_that_two_of_three_views_share_is_kept():
    # Columns of hat matrices: everywhere, in two views, in one.
    values = torch.tensor([1.0, 2 / 3, 1 / 3], dtype=torch.float64)
    hats = np.array([[1, 1, 0], [1, 1, 1], [1, 0, 0]])
    roots = [torch.from_numpy(np.diag(h**0.5) / 3**0.5) / values.sqrt() for h in hats]
    shares, axes = shared_components(values, roots, 3)
    # One pair of three has it, where the mean of all views would keep 2/3.
    lost = max((2 / 3) ** (1 / 24) * 0.5, 1e-12 ** (1 / 24))
    np.testing.assert_allclose(shares, [1, (1 / 3) ** (1 / 24), lost], rtol=1e-6)
    np.testing.assert_allclose(axes.abs(), np.eye(3), atol=1e-6)
    # The last one is the first to go.
    fewer, two = shared_components(values, roots, 2)
    np.testing.assert_allclose(fewer, shares[:2], atol=1e-12)
    np.testing.assert_allclose(two, axes[:, :2], atol=1e-12)


def test_components_of_three_views_are_those_of_the_power_mean_over_pairs():
    variates = solve(extended_views())
    T = [Q * (3 * variates.values).sqrt() for Q in variates.vectors]
    hats = [(t.T @ t).numpy() for t in T]
    powers = [np.linalg.matrix_power((a + b) / 2, 24) for a, b in combinations(hats, 2)]
    expected = np.linalg.eigvalsh(sum(powers))[::-1]
    expected = np.maximum(expected / expected[0], 1e-12) ** (1 / 24)
    shares, axes = shared_components(variates.values, variates.vectors, 99)
    np.testing.assert_allclose(shares, expected, rtol=1e-4)
    np.testing.assert_allclose(axes.T @ axes, np.eye(15), atol=1e-12)
    M = (axes * shares**24 @ axes.T).numpy()
    np.testing.assert_allclose(
        M / np.trace(M), sum(powers) / np.trace(sum(powers)), atol=1e-9
    )


@pytest.mark.parametrize("ridge", [0.01, 0.1, 2.0])
def test_left_out_rows_are_those_of_refits(ridge):
    views = extended_views()
    variates = solve(views, ridge)
    maps = fit_maps(variates)
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
    F, G = unit((30, 8), 0), unit((25, 8), 1)
    for k in (1, 5, 25, 99):
        hub = hubness(torch.from_numpy(F), torch.from_numpy(G), k)
        np.testing.assert_allclose(hub, np.sort(F @ G.T, axis=1)[:, -k:].mean(1))
    assert not hubness(torch.from_numpy(F), torch.zeros(0, 8), 5).any()


def test_columns_of_hubness_subtract_it_from_dot_products():
    F, G = unit((30, 8), 0), unit((20, 8), 1)
    r_f, r_g = (STRENGTH * np.random.default_rng(2).uniform(-2, 2, n) for n in (30, 20))
    expected = 1 + F @ G.T - r_f[:, None] - r_g + np.outer(r_f, r_g)

    def append(X, r, metric, slot):
        X, hub = torch.from_numpy(X), torch.from_numpy(r / STRENGTH)
        return append_hubness(X, hub, metric, slot, 3).numpy()

    dots = append(F, r_f, "dot", 0) @ append(G, r_g, "dot", 2).T
    np.testing.assert_allclose(dots, expected, atol=1e-12)
    A, B = append(F, r_f, "cosine", 0), append(G, r_g, "cosine", 2)
    assert A.shape == (30, 8 + 1 + 3)
    np.testing.assert_allclose(np.linalg.norm(A, axis=1), 1)
    np.testing.assert_allclose(np.linalg.norm(B, axis=1), 1)
    length = 1 + (1 + 2 * STRENGTH) ** 2
    np.testing.assert_allclose(A @ B.T, expected / length, atol=1e-12)


def test_log_likelihoods_are_those_of_a_softmax(monkeypatch):
    monkeypatch.setattr(_memory, "BLOCK_NUMBERS", 100)
    X, Y, bias = unit((20, 6), 0), unit((20, 6), 1), np.linspace(0, 1, 20)
    temperatures = (0.1, 2.0)
    found = mean_log_likelihoods(*map(torch.from_numpy, (X, Y, bias)), temperatures)
    for t, value in zip(temperatures, found, strict=True):
        shares = softmax((X @ Y.T + bias) / t, axis=1)
        np.testing.assert_allclose(value, np.log(shares.diagonal()).mean())

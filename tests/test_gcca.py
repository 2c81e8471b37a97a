"""Kernel generalised CCA against scipy's linear algebra and refits."""

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.linalg import fractional_matrix_power, qr, svd
from sklearn.preprocessing import normalize

from sklearn_featalign._kernels._gcca import (
    append_hubness,
    hat_matrix,
    held_out_features,
    hubness,
    joint_filter,
)
from sklearn_featalign._kernels._ridge import ridge_inverse


def centred_views(n_samples=40, widths=(5, 4, 6), seed=0):
    """Return centred views that share two hidden columns."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n_samples, 2))
    views = [
        Z @ rng.normal(size=(2, d)) + 0.5 * rng.normal(size=(n_samples, d))
        for d in widths
    ]
    return [X - X.mean(0) for X in views]


def linear_kernel(X):
    """Return the kernel of centred rows with trace m."""
    K = X @ X.T
    return torch.from_numpy(K * len(K) / np.trace(K))


def inverses_of(views, ridge):
    return [ridge_inverse(linear_kernel(X), ridge) for X in views]


def test_hat_matrix_fits_as_ridge_regression_does():
    X, Y, _ = centred_views()
    K = linear_kernel(X).numpy()
    expected = K @ np.linalg.solve(K + 0.3 * np.eye(40), Y)
    H = hat_matrix(ridge_inverse(linear_kernel(X), 0.3), 0.3)
    np.testing.assert_allclose(H.numpy() @ Y, expected, atol=1e-12)


def test_without_a_ridge_the_filter_holds_the_canonical_variates():
    X, Y, _ = centred_views()
    Q_x, Q_y = (qr(Z, mode="economic")[0] for Z in (X, Y))
    U, correlations, Vt = svd(Q_x.T @ Q_y, full_matrices=False)
    variates = normalize((Q_x @ U + Q_y @ Vt.T).T)
    W = joint_filter(inverses_of([X, Y], 1e-9), 1e-9, 1.0).numpy()
    values, vectors = np.linalg.eigh(W)
    largest = slice(-1, -1 - len(correlations), -1)
    # W is scaled to a largest eigenvalue of 1.
    expected = (1 + correlations) / (1 + correlations[0])
    np.testing.assert_allclose(values[largest], expected, atol=1e-7)
    cosines = np.abs(np.sum(vectors.T[largest] * variates, axis=1))
    np.testing.assert_allclose(cosines, 1, atol=1e-7)


@pytest.mark.parametrize("power", [0, 1, 2.5, 8])
@pytest.mark.parametrize("n_views", [1, 2, 3])
def test_joint_filter_agrees_with_fractional_powers(power, n_views):
    inverses = inverses_of(centred_views()[:n_views], 0.1)
    hats = [np.eye(40) - 0.1 * P.numpy() for P in inverses]
    if n_views < 3:
        expected = fractional_matrix_power(sum(hats) / n_views, power)
    else:
        A, B, C = hats
        pairs = [
            fractional_matrix_power((G + H) / 2, 4 * power)
            for G, H in ((A, B), (A, C), (B, C))
        ]
        values, vectors = np.linalg.eigh(sum(pairs).real / 3)
        expected = vectors * np.maximum(values, 1e-12 * values[-1]) ** 0.25 @ vectors.T
    expected = expected.real / np.linalg.norm(expected, 2)
    W = joint_filter(inverses, 0.1, float(power)).numpy()
    # Rows are made of unit length, whatever the scale of W.
    np.testing.assert_allclose(W / np.linalg.norm(W, 2), expected, atol=1e-7)


@pytest.mark.parametrize("ridge", [0.1, 100.0])
@pytest.mark.parametrize("n_views", [1, 2, 3])
def test_a_large_power_leaves_the_leading_direction(ridge, n_views):
    inverses = inverses_of(centred_views()[:n_views], ridge)
    hats = [np.eye(40) - ridge * P.numpy() for P in inverses]
    pairs = [(A + B) / 2 for A, B in combinations(hats, 2)] or hats
    values, vectors = zip(*map(np.linalg.eigh, pairs), strict=True)
    leading = vectors[np.argmax([v[-1] for v in values])][:, -1]
    W = joint_filter(inverses, ridge, 1e5).numpy()
    # Of three views the others keep a thousandth.
    atol = 1.1e-3 if n_views == 3 else 1e-9
    W /= np.linalg.norm(W, 2)
    np.testing.assert_allclose(W, np.outer(leading, leading), atol=atol)


def test_a_direction_that_two_of_three_views_share_is_kept():
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 3)))[0]
    everywhere, twice, once = (np.outer(u, u) for u in basis.T)
    hats = [everywhere + twice, everywhere + twice + once, everywhere]
    inverses = [torch.from_numpy(np.eye(6) - H) for H in hats]
    W = joint_filter(inverses, 1.0, 8.0).numpy()
    kept, half, lost = (u @ W @ u for u in basis.T)
    # One pair of three has it, where the mean of all views would keep (2/3)**8.
    assert half / kept == pytest.approx((1 / 3) ** 0.25, rel=1e-6)
    assert lost / kept == pytest.approx((2 / 3) ** 0.25 * 0.5**8, rel=1e-6)


@pytest.mark.parametrize("ridge", [0.01, 0.1, 2.0])
def test_held_out_features_are_those_of_refits(ridge):
    views = centred_views()
    K = linear_kernel(views[0])
    P = ridge_inverse(K, ridge)
    W = joint_filter(inverses_of(views[:2], ridge), ridge, 3.0)
    held_out = held_out_features(P, W).numpy()
    for i in range(40):
        rest = np.delete(np.arange(40), i)
        K_rest = K.numpy()[np.ix_(rest, rest)] + ridge * np.eye(39)
        predicted = np.linalg.solve(K_rest, K.numpy()[rest, i])
        expected = normalize((predicted @ W.numpy()[rest])[None])[0]
        np.testing.assert_allclose(held_out[i], expected, atol=1e-9)


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

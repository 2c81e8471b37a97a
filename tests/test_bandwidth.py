import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from sklearn.preprocessing import KernelCenterer

from sklearn_featalign._kernels._bandwidth import (
    distance_resolution,
    rbf_affinity_,
    solve_bandwidth,
    zero_share,
)
from sklearn_featalign._kernels._ridge import ridge_projection
from sklearn_featalign._linalg import squared_distances


def test_the_share_of_zeros_is_of_all_pairs():
    blocks = [torch.tensor([[0.0, 1.0]]), torch.tensor([[1e-9, 2.0]])]
    assert zero_share(blocks, 0.0) == 0.25 and zero_share(blocks, 1e-8) == 0.5


def exact_squared_distances(X, Y):
    X, Y = np.asarray(X, np.longdouble), np.asarray(Y, np.longdouble)
    return np.stack([((X - y) ** 2).sum(1) for y in Y], axis=1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_features", [1, 2, 50, 1280, 5000])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_expanded_distances_are_as_exact_as_the_resolution_says(
    n_features, offset, dtype
):
    rng = np.random.default_rng(0)
    X, Y = (rng.normal(size=(2, 40, n_features)) + offset).astype(dtype)
    # Equal rows lose most.
    Y[:10] = X[:10]
    D = squared_distances(torch.from_numpy(X), torch.from_numpy(Y)).numpy()
    error = np.abs(D - exact_squared_distances(X, Y)).max()
    assert error <= distance_resolution(torch.from_numpy(np.vstack([X, Y])))


def test_direct_distances_do_not_cancel():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(2, 40, 30)) + 1e6
    D = squared_distances(torch.from_numpy(X), torch.from_numpy(Y), direct=True)
    np.testing.assert_allclose(D, exact_squared_distances(X, Y), rtol=1e-13)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("c", [0.02, 0.3, 0.9])
def test_solve_bandwidth_agrees_with_bracketing(c, seed):
    rng = np.random.default_rng(seed)
    # Five orders of magnitude: the far pairs are gone before the near ones decay.
    D = torch.from_numpy(10 ** rng.uniform(-2, 3, size=500))
    visited = []

    def moments(rate):
        visited.append(rate)
        A = rbf_affinity_(D.clone(), rate)
        return float(A.mean()), float((A * D).mean())

    rate, mean, _ = solve_bandwidth(moments, c)
    from_beyond, _, _ = solve_bandwidth(moments, c, start=3 * rate)
    assert from_beyond == pytest.approx(rate, rel=1e-9)
    assert solve_bandwidth(moments, c, largest=rate / 2) is None
    del visited[visited.index(3 * rate) :]

    def excess(log_rate):
        return np.exp(-np.exp(log_rate) * D.numpy()).mean() - c

    expected = math.exp(brentq(excess, -20, 20, xtol=1e-14))
    assert rate == pytest.approx(expected, rel=1e-9)
    assert mean == pytest.approx(c, rel=1e-9)
    assert visited == sorted(visited), "Newton's method passed the root"


@pytest.mark.parametrize("ridge", [0.01, 1.0, 10.0])
def test_ridge_projection_agrees_with_kernel_centerer_and_solve(ridge):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(20, 4)), rng.normal(size=(35, 4))
    K = np.exp(-exact_squared_distances(X, X).astype(float) / 5)
    A = np.exp(-exact_squared_distances(Y, X).astype(float) / 5)
    centerer = KernelCenterer().fit(K)
    K_centred = centerer.transform(K.copy())
    penalty = ridge * np.trace(K_centred) / len(K)
    expected = np.linalg.solve(
        K_centred + penalty * np.eye(len(K)), centerer.transform(A.copy()).T
    ).T
    projection, intercept = ridge_projection(torch.from_numpy(K), ridge)
    np.testing.assert_allclose(A @ projection.numpy() + intercept.numpy(), expected)


@pytest.mark.parametrize("noise", [0, 1e-15])
def test_ridge_projection_of_equal_landmarks_is_refused(noise):
    K = 1 - noise * torch.rand(3, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match="needs two landmarks or more that differ"):
        ridge_projection(K, 1.0)


@pytest.mark.parametrize("ridge", [1e-300, 1e-15])
def test_a_ridge_that_vanishes_in_float64_is_named(ridge):
    # Centred affinities are singular: their rows sum to zero.
    K = torch.full((5, 5), 0.5, dtype=torch.float64) + 0.5 * torch.eye(5)
    with pytest.raises(ValueError, match=f"ridge={ridge} is too small"):
        ridge_projection(K, ridge)


@pytest.mark.parametrize("c", [1e-6, 1 - 1e-11])
def test_solve_bandwidth_at_the_ends(c):
    D = torch.tensor([1.0, 2.0], dtype=torch.float64)

    def moments(rate):
        A = rbf_affinity_(D.clone(), rate)
        return float(A.mean()), float((A * D).mean())

    rate, mean, _ = solve_bandwidth(moments, c)
    assert np.exp(-rate * D.numpy()).mean() == pytest.approx(c, rel=1e-10)
    assert mean == pytest.approx(c, rel=1e-10)
    assert rate > 0


def test_the_share_of_zeros_does_not_depend_on_the_default_dtype():
    D = torch.tensor([0.0] * 4 + [1.0] * 6, dtype=torch.float64)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    try:
        assert zero_share([D], 0.0) == 0.4
    finally:
        torch.set_default_dtype(before)

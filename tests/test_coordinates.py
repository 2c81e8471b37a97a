import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from sklearn_featalign._coordinates import coordinates, fit_frame, rescale


def fit(X, n_batches=3, whiten=None):
    batches = torch.from_numpy(X).tensor_split(n_batches)
    return fit_frame(lambda function: map(function, batches), len(X), whiten)


@pytest.mark.parametrize("exponent", [-1074, -1023, -3, 0, 5, 1024])
def test_rescale_is_exact_in_the_whole_range(exponent):
    X = torch.tensor([1.0, -0.75, 1.5], dtype=torch.float64)
    big = torch.tensor([float(x) * 2.0**-20 for x in X], dtype=torch.float64)
    there = rescale(big, exponent // 2)
    assert torch.equal(rescale(there, exponent // -2 + exponent % 2), big)


@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1.0, 1e200, 1e307])
@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_coordinates_are_centred_and_of_unit_order(scale, offset):
    X = (np.random.default_rng(0).normal(size=(100, 4)) + offset) * scale
    Z = coordinates(torch.from_numpy(X), fit(X)).numpy()
    np.testing.assert_allclose(Z.mean(0), 0, atol=1e-15)
    assert 0.25 < np.abs(Z).max() <= 1
    expected = (X / scale - (X / scale).mean(0)).std()
    # Rounding of subnormal numbers, of which 1e-310 keeps 13 digits.
    np.testing.assert_allclose(
        Z / Z.std(), (X / scale - (X / scale).mean(0)) / expected, atol=1e-9
    )


def test_total_variance_does_not_depend_on_the_batches():
    X = np.random.default_rng(0).normal(size=(50, 3)) * [1, 2, 3] + 7
    frames = [fit(X, n_batches) for n_batches in (1, 7, 50)]
    unit = 2.0 ** (frames[0]["exponent"] + frames[0]["spread_exponent"])
    for frame in frames:
        variance = frame["total_variance"] * unit**2
        assert variance == pytest.approx(X.var(0, ddof=1).sum(), rel=1e-14)


def test_a_huge_constant_column_leaves_the_others_exact():
    X = np.random.default_rng(0).normal(size=(50, 3))
    with_constant = np.column_stack([X, np.full(50, 0.1 + 1e200)])
    Z = coordinates(torch.from_numpy(with_constant), fit(with_constant)).numpy()
    assert (Z[:, 3] == 0).all()
    np.testing.assert_allclose(
        Z[:, :3] / Z[0, 0], (X - X.mean(0)) / (X - X.mean(0))[0, 0], rtol=1e-12
    )


def test_whitening_agrees_with_pca():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 5)) @ rng.normal(size=(5, 5)) + 10
    frame = fit(X, whiten="pca")
    Z = coordinates(torch.from_numpy(X), frame).numpy()
    expected = PCA(whiten=True).fit_transform(X)
    np.testing.assert_allclose(Z @ Z.T, expected @ expected.T, atol=1e-10)
    assert frame["total_variance"] == 5


def test_whitening_drops_directions_without_spread():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 3)) @ rng.normal(size=(3, 10))
    assert fit(X, whiten="pca")["whitening"].shape == (10, 3)
    few = rng.normal(size=(4, 10))
    assert fit(few, whiten="pca")["whitening"].shape == (10, 3)


def test_equal_rows_are_refused():
    with pytest.raises(ValueError, match="X has no spread: all rows are equal"):
        fit(np.full((5, 2), 0.1))

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from sklearn_featalign._kernels._scaling import coordinates, fit_scaling


def fit(X, n_batches=3, whiten=None, rounding=2.0**-53):
    rows = torch.from_numpy(X)
    return fit_scaling(rows.tensor_split(n_batches), rows, len(X), whiten, rounding)


@pytest.mark.parametrize("scale", [1e-200, 1e-100, 1.0, 1e100, 1e200])
@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_coordinates_are_shifted_and_of_unit_order(scale, offset):
    X = (np.random.default_rng(0).normal(size=(100, 4)) + offset) * scale
    Z = coordinates(torch.from_numpy(X), fit(X)).numpy()
    # The origin is a value of each column, in its middle.
    assert (np.sort(Z, axis=0)[50] == 0).all()
    assert 0.25 < np.abs(Z).max() <= 1
    Z, expected = Z - Z.mean(0), X / scale - (X / scale).mean(0)
    np.testing.assert_allclose(Z * (expected.std() / Z.std()), expected, atol=1e-9)


def test_total_variance_does_not_depend_on_the_batches():
    X = np.random.default_rng(0).normal(size=(50, 3)) * [1, 2, 3] + 7
    scalings = [fit(X, n_batches) for n_batches in (1, 7, 50)]
    unit = 2.0 ** scalings[0].exponent
    for scaling in scalings:
        variance = scaling.total_variance * unit**2
        assert variance == pytest.approx(X.var(0, ddof=1).sum(), rel=1e-14)


@pytest.mark.parametrize("constant", [0.1, 1e16 / 3, 1e200 / 3])
def test_a_huge_constant_column_leaves_the_others_exact(constant):
    X = np.random.default_rng(0).normal(size=(60, 3))
    with_constant = np.column_stack([X, np.full(60, constant)])
    Z = coordinates(torch.from_numpy(with_constant), fit(with_constant)).numpy()
    assert (Z[:, 3] == 0).all()
    expected = coordinates(torch.from_numpy(X), fit(X)).numpy()
    np.testing.assert_allclose(Z[:, :3], expected, rtol=1e-13)


@pytest.mark.parametrize("far", [1e8, 1e16, 1e30])
def test_a_far_row_leaves_the_others_their_digits(far):
    X = np.random.default_rng(0).normal(size=(60, 3))
    with_far = X.copy()
    with_far[7] = far
    scaling = fit(with_far)
    Z = coordinates(torch.from_numpy(with_far), scaling).numpy()
    unit = 2.0**scaling.exponent
    others = np.arange(60) != 7
    differences = (Z[others] - Z[0]) * unit
    np.testing.assert_allclose(differences, X[others] - X[0], atol=1e-14)
    variance = scaling.total_variance * unit**2
    assert variance == pytest.approx(with_far.var(0, ddof=1).sum(), rel=1e-13)


def test_whitening_agrees_with_pca():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 5)) @ rng.normal(size=(5, 5)) + 10
    scaling = fit(X, whiten="pca")
    Z = coordinates(torch.from_numpy(X), scaling).numpy()
    Z -= Z.mean(0)
    expected = PCA(whiten=True).fit_transform(X)
    np.testing.assert_allclose(Z @ Z.T, expected @ expected.T, atol=1e-10)
    assert scaling.total_variance == 5


def test_whitening_drops_directions_without_spread():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 3)) @ rng.normal(size=(3, 10))
    assert fit(X, whiten="pca").whitening.shape == (10, 3)
    constant = np.column_stack([X, np.full(100, 1e200)])
    assert fit(constant, whiten="pca").whitening.shape == (11, 3)
    few = rng.normal(size=(4, 10))
    assert fit(few, whiten="pca").whitening.shape == (10, 3)


@pytest.mark.parametrize("offset", [0, 100, 1000])
def test_whitening_does_not_amplify_the_rounding_of_float32(offset):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 3)) @ rng.normal(size=(3, 10)) + offset
    X = X.astype(np.float32).astype(np.float64)
    whitening = fit(X, whiten="pca", rounding=2.0**-24 / 3**0.5).whitening
    assert whitening.shape == (10, 3)


@pytest.mark.parametrize("unit", [1e-100, 1e-7, 1e7, 1e100])
def test_whitening_does_not_depend_on_the_unit_of_a_column(unit):
    X = np.random.default_rng(0).normal(size=(100, 3))
    Z = coordinates(torch.from_numpy(X), fit(X, whiten="pca"))
    in_units = X * [1, unit, 1]
    Z_units = coordinates(torch.from_numpy(in_units), fit(in_units, whiten="pca"))
    np.testing.assert_allclose(Z_units @ Z_units.T, Z @ Z.T, atol=1e-10)


def test_equal_rows_are_refused():
    with pytest.raises(ValueError, match="X has no spread: all rows are equal"):
        fit(np.full((5, 2), 0.1))

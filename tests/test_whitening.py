"""Invertible coordinates: their definition, and the way back."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist
from scipy.stats import norm, rankdata

from sklearn_featalign._poisson._quantiles import to_scores
from sklearn_featalign._poisson._whitening import (
    column_lengths,
    fit_coordinates,
    from_columns,
    from_coordinates,
    to_columns,
    to_coordinates,
    unit_of,
)


def make_rows(n_samples=200, n_features=5, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features)) @ rng.normal(size=(n_features,) * 2)
    return X * np.logspace(-2, 2, n_features) + rng.normal(size=n_features)


def fit(X, scaling="whiten", rounding=1e-16):
    X = torch.from_numpy(X)
    return X, fit_coordinates(X.tensor_split(2), len(X), scaling, rounding)


def test_whitening_is_by_the_symmetric_root_of_the_correlations():
    X = make_rows()
    rows, coordinates = fit(X)
    whitened = to_columns(to_coordinates(rows, coordinates), coordinates)
    standard = (X - X.mean(0)) / X.std(0, ddof=1)
    root = np.real(sqrtm(np.linalg.inv(np.corrcoef(X.T))))
    np.testing.assert_allclose(whitened, standard @ root, atol=1e-9)
    np.testing.assert_allclose(np.cov(whitened.T), np.eye(5), atol=1e-10)


def test_view_scaling_keeps_the_shape():
    X = make_rows()
    rows, coordinates = fit(X, "view")
    Z = to_coordinates(rows, coordinates)
    expected = (X - X.mean(0)) / np.sqrt(X.var(0, ddof=1).mean())
    np.testing.assert_allclose(Z, expected, atol=1e-12)


def test_none_leaves_rows_as_they_are():
    rows, coordinates = fit(make_rows(), None)
    assert torch.equal(to_coordinates(rows, coordinates), rows)
    assert torch.equal(from_coordinates(rows, coordinates), rows)


HARD_ROWS = {
    "plain": make_rows(),
    "constant column": np.column_stack([make_rows(), np.full(200, 7.0)]),
    "equal columns": make_rows()[:, [0, 1, 1, 2, 0]],
    "more columns than rows": make_rows(8, 20),
    "tiny": make_rows() * 1e-200,
    "huge": make_rows() * 1e200,
    "far away": make_rows() + 1e6,
}


@pytest.mark.parametrize("scaling", ["quantile", "whiten", "view"])
@pytest.mark.parametrize("case", HARD_ROWS)
def test_there_and_back(case, scaling):
    X = HARD_ROWS[case]
    rows, coordinates = fit(X, scaling)
    Z = to_coordinates(rows, coordinates)
    turned = from_columns(to_columns(Z, coordinates), coordinates)
    np.testing.assert_allclose(turned, Z, atol=1e-9)
    back = from_coordinates(turned, coordinates).numpy()
    size = abs(X).max()
    np.testing.assert_allclose(back / size, X / size, rtol=1e-9, atol=1e-11)


def test_a_constant_column_has_no_part_and_comes_back_as_it_was():
    X = HARD_ROWS["constant column"]
    rows, coordinates = fit(X)
    Z = to_coordinates(rows, coordinates)
    assert Z.shape == (200, 5)
    assert (to_columns(Z, coordinates)[:, 5] == 0).all() and column_lengths(
        coordinates
    )[5] == 1
    assert (from_coordinates(Z, coordinates)[:, 5] == 7).all()


def test_equal_columns_stay_equal():
    rows, coordinates = fit(HARD_ROWS["equal columns"])
    columns = to_columns(to_coordinates(rows, coordinates), coordinates)
    assert len(coordinates.scale) == 3
    torch.testing.assert_close(columns[:, 1], columns[:, 2])
    torch.testing.assert_close(columns[:, 0], columns[:, 4])
    deviations = columns.std(dim=0)
    torch.testing.assert_close(deviations, column_lengths(coordinates))


def test_what_rounding_made_is_not_whitened():
    X = make_rows()
    X = np.column_stack([X, X[:, 0] + X[:, 1]]).astype(np.float16).astype(float)
    _, coordinates = fit(X, rounding=2.0**-11)
    assert len(coordinates.scale) == 5
    _, coordinates = fit(X)
    assert len(coordinates.scale) == 6


@pytest.mark.parametrize("case", ["plain", "constant column", "tiny", "huge"])
def test_the_unit_of_a_view(case):
    X = HARD_ROWS[case]
    rows, coordinates = fit(X, "view")
    Z = to_coordinates(rows, coordinates).numpy()
    unit = unit_of(coordinates)
    expected = cdist(X / unit, X / unit)
    np.testing.assert_allclose(cdist(Z, Z), expected, rtol=1e-7, atol=1e-12)


def test_columns_of_normal_scores_are_whitened():
    X = np.exp(make_rows() / 50)
    rows, coordinates = fit(X, "quantile")
    Z = to_coordinates(rows, coordinates)
    np.testing.assert_allclose(np.cov(Z.T), np.eye(5), atol=1e-9)
    # As monotone functions of columns do not change ranks.
    scores = to_scores(rows, coordinates.quantiles).numpy()
    expected = norm.ppf((rankdata(X, axis=0) - 0.5) / len(X))
    assert np.abs(scores - expected).mean() < 0.05
    np.testing.assert_allclose(
        Z.norm(dim=1), np.sqrt(np.square(whitened(scores)).sum(1)), rtol=1e-9
    )


def whitened(Z):
    Z = Z - Z.mean(0)
    return Z @ np.linalg.inv(np.linalg.cholesky(np.cov(Z.T))).T


def test_rows_without_spread_are_refused():
    with pytest.raises(ValueError, match="no spread"):
        fit(np.ones((5, 3)))

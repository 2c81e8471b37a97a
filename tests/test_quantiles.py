"""Maps of columns by their quantiles: ranks, the way back, hard columns."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm, rankdata

from sklearn_featalign._poisson._quantiles import (
    fit_quantiles,
    from_scores,
    to_scores,
)


def column(kind, n_samples=500, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n_samples)
    if kind == "outlier":
        x[0] = 1e290
    if kind == "equal outliers":
        x[:3], x[3:6] = 1e9, -1e9
    kinds = {
        "lognormal": lambda x: np.exp(3 * x),
        "integers": lambda x: np.floor(3 * x),
        "constant": lambda x: np.full(n_samples, 7.0),
        "tiny": lambda x: 1e-300 * x,
        "huge": lambda x: 1e299 * x,
        "mostly zero": lambda x: np.maximum(x - 1, 0),
    }
    return kinds.get(kind, np.array)(x)


KINDS = ["normal", "lognormal", "integers", "tiny", "huge", "mostly zero", "outlier"]
KINDS += ["equal outliers"]


def fit(*kinds, n_samples=500):
    X = np.column_stack([column(kind, n_samples) for kind in kinds])
    return X, fit_quantiles(torch.from_numpy(X))


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_ranks(kind):
    X, quantiles = fit(kind)
    scores = to_scores(torch.from_numpy(X), quantiles).numpy()
    expected = (rankdata(X, axis=0) - 0.5) / len(X)
    # Every eighth value is a knot, and between knots the map is linear: also next to a
    # value that many rows have.
    assert (np.abs(norm.cdf(scores) - expected) > 9 / len(X)).sum() <= 8
    assert (np.diff(scores[X[:, 0].argsort(), 0]) >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(kind):
    X, quantiles = fit(kind)
    low, high = X.min(), X.max()
    beyond = [low - (high / 4 - low / 4), high + (high / 4 - low / 4)]
    X = np.append(X[:, 0], beyond)[:, None]
    back = from_scores(to_scores(torch.from_numpy(X), quantiles), quantiles).numpy()
    np.testing.assert_allclose(back / abs(X).max(), X / abs(X).max(), atol=1e-12)


def test_new_values_are_normal():
    _, quantiles = fit("lognormal", n_samples=20000)
    new = column("lognormal", 2000, seed=1)[:, None]
    scores = to_scores(torch.from_numpy(new), quantiles)[:, 0]
    assert kstest(scores, "norm").pvalue > 1e-3


def test_columns_have_maps_of_their_own():
    X, together = fit(*KINDS)
    scores = to_scores(torch.from_numpy(X), together)
    for own, kind in zip(scores.T, KINDS, strict=True):
        x, alone = fit(kind)
        torch.testing.assert_close(own, to_scores(torch.from_numpy(x), alone)[:, 0])


def test_a_constant_column_has_one_score():
    X, quantiles = fit("constant", "normal")
    rows = torch.from_numpy(np.vstack([X, [[1e300, 0.0]]]))
    scores = to_scores(rows, quantiles)
    assert (scores[:, 0] == 0).all()
    assert (from_scores(scores + 1, quantiles)[:, 0] == 7).all()


@pytest.mark.parametrize("n_samples", [2, 3, 9, 10, 79, 80, 81])
def test_few_values(n_samples):
    X, quantiles = fit("normal", n_samples=n_samples)
    scores = to_scores(torch.from_numpy(X), quantiles).numpy()
    expected = norm.ppf((rankdata(X) - 0.5) / n_samples)
    if n_samples <= 10:
        np.testing.assert_allclose(scores[:, 0], expected)
    np.testing.assert_allclose(
        scores[[X.argmin(), X.argmax()], 0], expected[[X.argmin(), X.argmax()]]
    )


def test_slopes_are_those_of_several_ranks():
    """Values that happen to be close do not make the map steep."""
    X, quantiles = fit("normal", n_samples=5000)
    x = np.linspace(-2, 2, 1_000_001)[:, None]
    p = norm.cdf(to_scores(torch.from_numpy(x), quantiles)[:, 0])
    assert np.max(np.diff(p)) / 4e-6 < 3

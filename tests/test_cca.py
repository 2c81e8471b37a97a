"""Regularised CCA in closed form, against scipy's generalised eigenproblem."""

import numpy as np
import pytest
import torch
from _samples import generalised

from sklearn_featalign import _memory
from sklearn_featalign._half_shared._cca import (
    RidgeCCA,
    apply_affine,
    choose_ridge,
    pairwise_mrr,
    stacked_moments,
    weighted,
    whitening,
)
from sklearn_featalign.metrics import mean_reciprocal_rank


def make_views(n_samples=300, widths=(9, 7), n_hidden=4, noise=0.5, seed=0):
    """Return views that share hidden columns."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n_samples, n_hidden))
    return [
        torch.from_numpy(
            Z @ rng.normal(size=(n_hidden, width))
            + noise * rng.normal(size=(n_samples, width))
            + rng.normal(size=width)
        )
        for width in widths
    ]


def arrays(views):
    return [X.numpy() for X in views]


def test_moments_are_those_of_numpy(monkeypatch):
    monkeypatch.setattr(_memory, "FLOAT64_ROWS", 7)
    rows = 5 + np.random.default_rng(0).normal(size=(50, 4))
    mean, covariance = stacked_moments(torch.from_numpy(rows).split([3, 1], dim=1))
    np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-13)
    np.testing.assert_allclose(covariance, np.cov(rows.T), atol=1e-12)


def test_whitening_whitens_with_the_ridge():
    C = torch.from_numpy(np.cov(np.random.default_rng(0).normal(size=(5, 30))))
    B = whitening(torch.linalg.eigh(C), 0.3)
    penalised = C + 0.3 * C.diagonal().mean() * torch.eye(5, dtype=C.dtype)
    np.testing.assert_allclose(B.T @ penalised @ B, np.eye(5), atol=1e-12)


@pytest.mark.parametrize("ridge", [1e-6, 0.3, 3.0])
@pytest.mark.parametrize("widths", [(9, 7), (5, 5), (3, 12), (6, 5, 4), (4, 3, 5, 4)])
def test_maps_solve_the_generalised_eigenproblem(widths, ridge):
    views = make_views(widths=widths)
    k = min(widths)
    maps, correlations = RidgeCCA(views, k).solve(ridge)
    values, vectors = generalised(arrays(views), ridge)
    expected = values[:k] / (len(widths) - 1)
    np.testing.assert_allclose(correlations, np.maximum(expected, 0), atol=1e-9)
    stacked = torch.cat([affine.matrix for affine in maps]).numpy()
    vectors = vectors[:, :k] * len(widths) ** 0.5
    np.testing.assert_allclose(
        stacked * np.sign(stacked[0]), vectors * np.sign(vectors[0]), atol=1e-6
    )


def test_two_views_are_narrowed_without_loss():
    views = make_views(widths=(30, 25), n_hidden=10)
    _, correlations = RidgeCCA(views, 3).solve(0.1)
    np.testing.assert_allclose(
        correlations, generalised(arrays(views), 0.1)[0][:3], atol=1e-9
    )


def test_more_views_are_narrowed_with_little_loss():
    views = make_views(widths=(30, 25, 20), n_hidden=10, noise=2.0)
    _, correlations = RidgeCCA(views, 5).solve(0.1)
    expected = generalised(arrays(views), 0.1)[0][:5] / 2
    assert (correlations.numpy() <= expected + 1e-9).all()
    np.testing.assert_allclose(correlations, expected, rtol=0.02)


def test_without_a_ridge_they_are_canonical_correlations():
    X, Y = make_views()
    maps, correlations = RidgeCCA([X, Y], 7).solve(1e-10)
    F, G = map(apply_affine, (X, Y), maps)
    np.testing.assert_allclose(F.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(np.cov(F.T), np.eye(7), atol=1e-6)
    np.testing.assert_allclose(
        np.cov(F.T, G.T)[:7, 7:], np.diag(correlations), atol=1e-6
    )


def test_missing_components_are_zero():
    maps, correlations = RidgeCCA(make_views(widths=(2, 5)), 4).solve(0.1)
    assert [A.shape[1] for A, _ in maps] == [4, 4]
    assert (correlations[:2] > 0).all() and (correlations[2:] == 0).all()
    assert all((A[:, 2:] == 0).all() and (b[2:] == 0).all() for A, b in maps)


@pytest.mark.parametrize("seed", range(3))
def test_the_ridge_finds_most_of_the_pairs_that_are_left_out(seed):
    ridges, k = (1e-4, 0.03, 1.0, 30.0), 6
    views = make_views(90, (40, 30), 8, 1.5, seed)
    order = torch.randperm(90, generator=torch.Generator().manual_seed(seed))
    held, rest = order[:18], order[18:]

    def score(ridge):
        values, vectors = generalised(arrays(X[rest] for X in views), ridge)
        parts = np.split(vectors[:, :k] * values[:k], [40])
        F, G = (
            (X[held] - X[rest].mean(0)).numpy() @ part
            for X, part in zip(views, parts, strict=True)
        )
        return mean_reciprocal_rank(F, G) + mean_reciprocal_rank(G, F)

    scores = [score(ridge) for ridge in ridges]
    assert len(set(scores)) > 2
    generator = torch.Generator().manual_seed(seed)
    assert choose_ridge(views, ridges, k, generator) == ridges[np.argmax(scores)]
    assert choose_ridge(views, [7.0], k, generator) == 7
    assert choose_ridge([X[:9] for X in views], ridges, k, generator) == 1


def test_the_leading_outputs_are_weighted():
    X, _ = make_views()
    maps, correlations = RidgeCCA([X, X[:, :5]], 5).solve(0.1)
    (narrow, _) = weighted(maps, correlations[:3])
    np.testing.assert_allclose(
        apply_affine(X, narrow),
        apply_affine(X, maps[0])[:, :3] * correlations[:3],
        atol=1e-12,
    )


def test_pairwise_mrr_is_the_mean_over_ordered_pairs():
    F, G, H = (X[:, :4] for X in make_views(40, (4, 4, 5)))
    expected = np.mean(
        [
            mean_reciprocal_rank(A.numpy(), B.numpy())
            for A, B in [(F, G), (G, F), (F, H), (H, F), (G, H), (H, G)]
        ]
    )
    assert pairwise_mrr([F, G, H]) == pytest.approx(expected, abs=1e-12)


def test_errors():
    constant = torch.zeros((3, 3), dtype=torch.float64)
    identity = torch.eye(3, dtype=torch.float64)
    with pytest.raises(ValueError, match="the same in all paired rows"):
        whitening(torch.linalg.eigh(constant), 0.1)
    with pytest.raises(ValueError, match="ridge=1e-20 is too small for float64"):
        whitening(torch.linalg.eigh(identity), 1e-20)

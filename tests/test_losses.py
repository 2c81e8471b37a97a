"""Losses against scikit-learn, scipy and finite differences."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.preprocessing import normalize

from sklearn_featalign._half_shared._losses import (
    affinity_loss,
    batch_affinity,
    contrastive_loss,
)


def features(seed=0, n_samples=9, n_components=4):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_samples, n_components)) * [1, 2, 3, 0.5] + 3


def affinity(F):
    return rbf_kernel(F, gamma=1 / (2 * F.var(0, ddof=1).sum()))


def test_affinities_are_those_of_the_document():
    F = features()
    np.testing.assert_allclose(batch_affinity(torch.tensor(F)), affinity(F), atol=1e-13)


def test_affinities_of_equal_rows_are_one():
    F = torch.ones((3, 2), requires_grad=True)
    A = batch_affinity(F)
    A.sum().backward()
    assert (A == 1).all() and (F.grad == 0).all()


def test_affinity_loss():
    F, X = features(0), features(1)
    expected = np.mean((affinity(F) - affinity(X)) ** 2)
    kept = batch_affinity(torch.tensor(X))
    assert float(affinity_loss(torch.tensor(F), kept)) == pytest.approx(expected)
    assert float(affinity_loss(torch.tensor(X), kept)) == 0


def test_contrastive_loss():
    F, G = normalize(features(0)), normalize(features(1))
    logits = 7 * F @ G.T
    expected = -np.mean(
        [log_softmax(logits, axis).diagonal().mean() for axis in (0, 1)]
    )
    found = contrastive_loss(*map(torch.tensor, (F, G)), torch.tensor(7.0))
    assert float(found) == pytest.approx(expected)


@pytest.mark.parametrize(
    "loss",
    [
        lambda F, G: affinity_loss(F, batch_affinity(G).detach()),
        lambda F, G: contrastive_loss(F, G, torch.tensor(2.0, dtype=F.dtype)),
    ],
    ids=["affinity", "contrastive"],
)
def test_gradients(loss):
    F, G = (torch.tensor(features(seed), requires_grad=True) for seed in (0, 1))
    assert torch.autograd.gradcheck(lambda F: loss(F, G.detach()), F)

"""The benchmarks' corrections for hubs, compared with their definitions."""

import _hubs
import _methods
import numpy as np
import pytest
import torch

from sklearn_featalign.metrics import mean_reciprocal_rank, retrieval_ranks


def views(n_samples=60, noise=1.5, seed=0):
    """Return noisy views of the same rows, with lengths that differ, and a bank."""
    rng = np.random.default_rng(seed)
    F = rng.normal(size=(n_samples, 5))
    G = F + noise * rng.normal(size=F.shape)
    # Rows in the direction of the mean query are hubs.
    G[::7] += 3
    F, G = (X * rng.uniform(0.5, 2, size=(len(X), 1)) for X in (F + 0.5, G))
    return F, G, rng.normal(size=(n_samples // 2, 5)) + 0.5


def cosines(F, G):
    """Return the cosine of each row of F with each of G."""
    lengths = [np.sqrt(np.square(X).sum(1)) for X in (F, G)]
    return F @ G.T / np.outer(*lengths)


def nnn_ranks(F, G, bank, k, strength):
    """Return the ranks of pairs by the definition of NNN, one pair at a time."""
    ranks = []
    for i in range(len(F)):
        scores = []
        for y in G:
            near = sorted(cosines(bank, y[None])[:, 0])[-k:]
            similarity = cosines(F[i : i + 1], y[None])[0, 0]
            scores.append(similarity - strength * sum(near) / k)
        ranks.append(1 + sum(score > scores[i] for score in scores))
    return np.array(ranks)


@pytest.mark.parametrize(("k", "strength"), [(1, 0.5), (4, 0.75), (16, 1.0)])
def test_ranks_with_a_bank_are_those_of_the_definition(k, strength):
    F, G, bank = views()
    ranks = _hubs.corrected_ranks(F, G, "cosine", bank, k, strength)
    expected = nnn_ranks(F, G, bank, k, strength)
    np.testing.assert_array_equal(ranks, expected)
    assert (expected != retrieval_ranks(F, G)).any()


@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_strength_zero_is_no_correction(metric):
    F, G, bank = views()
    ranks = _hubs.corrected_ranks(F, G, metric, bank, k=4, strength=0)
    np.testing.assert_array_equal(ranks, retrieval_ranks(F, G, metric=metric))
    np.testing.assert_array_equal(ranks, _hubs.corrected_ranks(F, G, metric))


def test_a_bank_of_dot_products():
    F, G, bank = views()
    bias = np.sort(G @ bank.T)[:, -3:].mean(1)
    S = F @ G.T - 0.5 * bias
    expected = 1 + (S > S.diagonal()[:, None]).sum(1)
    ranks = _hubs.corrected_ranks(F, G, "dot", bank, k=3, strength=0.5)
    np.testing.assert_array_equal(ranks, expected)


def test_scores_of_corrections_and_the_best_bias(monkeypatch):
    monkeypatch.setattr(_hubs, "N_NEIGHBORS", (1, 4, 64))
    monkeypatch.setattr(_hubs, "STRENGTHS", (0.25, 1.0))
    F, G, bank = views()
    scores = _hubs.score_corrections(F, G, "cosine", bank)
    assert scores["nothing"] == (pytest.approx(mean_reciprocal_rank(F, G)), {})
    mrr = mean_reciprocal_rank(F, G, csls=10)
    assert scores["CSLS"] == (pytest.approx(mrr), {"csls": 10})
    # The bank has 30 rows, fewer than 64.
    by_bias = {
        (k, strength): (1 / nnn_ranks(F, G, bank, k, strength)).mean()
        for k in (1, 4)
        for strength in (0.25, 1.0)
    }
    k, strength = max(by_bias, key=by_bias.get)
    expected = pytest.approx(by_bias[k, strength]), {"k": k, "strength": strength}
    assert scores["NNN"] == expected
    assert "NNN" not in _hubs.score_corrections(F, G, "cosine")


def test_ties_count_half():
    S = torch.tensor([[2.0, 2.0, 1.0], [3.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
    expected = np.mean([1 / 1.5, 1 / 2.5, 1])
    assert _hubs.reciprocal_rank(S) == pytest.approx(expected)


def test_each_correction_has_its_own_setting(monkeypatch):
    n_rows = 60
    same, hub = np.eye(n_rows), 0.4 * (np.arange(n_rows) % 7 == 0)
    queries = np.column_stack([same, np.ones(n_rows), np.zeros(n_rows)])
    # Similarities are 0.3 to the own row, and 0.4 more to hubs: corrections undo it.
    hubs = np.column_stack([0.3 * same, hub, np.sqrt(1 - 0.3**2 - hub**2)])
    # Half of the partners are lost, which no correction undoes.
    lost = queries[np.append(np.roll(np.arange(30), 1), np.arange(30, n_rows))]

    def method(A, B):
        for name, gallery in {"hubs": hubs, "lost": lost}.items():
            yield {"name": name}, np.asarray, lambda X, gallery=gallery: gallery

    monkeypatch.setitem(_methods.ALL_METHODS, "PLSCanonical", method)
    rows = queries, queries
    best = _methods.choose_corrections("PLSCanonical", rows, rows)
    names = {correction: choice.params["name"] for correction, choice in best.items()}
    assert names == {"nothing": "lost", "CSLS": "hubs", "NNN": "hubs"}
    found = _methods.measure_retrieval("PLSCanonical", rows, rows, rows)
    assert found["top-1 %"] == 0.5
    assert found["top-1 % with NNN"] == found["top-1 % with CSLS"] == 1
    assert found["chosen with NNN"] == {"name": "hubs"} | best["NNN"].correction
    assert _methods.choose("PLSCanonical", rows, rows)[0] == {"name": "lost"}

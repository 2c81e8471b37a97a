"""The benchmark on few pairs, small: where the answer is known, and its rows."""

import json
import sys

import _unpaired
import few_pairs
import numpy as np
import pytest
from few_pairs import Rows
from sklearn.metrics.pairwise import cosine_similarity

from sklearn_featalign.metrics import retrieval_accuracy

PEERS = [name for name in _unpaired.METHODS if name != "SelfTrainingAligner"]


@pytest.fixture
def small_peers(monkeypatch):
    for name, value in {
        "N_RESTARTS": 4,
        "N_STARTS": 4,
        "N_REFINED": 10,
        "N_FIRST": 100,
        "BATCHES": ((100, 40), (200, 10)),
        "N_COUPLED": 200,
    }.items():
        monkeypatch.setattr(_unpaired, name, value)


def rotated(n_samples, seed=0):
    """Return clusters, and the same rotated, shifted and rescaled."""
    rng = np.random.default_rng(seed)
    centres = 2 * rng.normal(size=(12, 16)) * np.linspace(2, 1, 16)
    A = centres[rng.integers(12, size=n_samples)] + rng.normal(size=(n_samples, 16))
    rotation = np.linalg.qr(rng.normal(size=(16, 16)))[0]
    return A, 3 * A @ rotation + 5


@pytest.mark.parametrize("pool", few_pairs.POOLS)
@pytest.mark.parametrize("name", PEERS)
def test_every_peer_finds_a_rotation_from_forty_pairs(small_peers, name, pool):
    if name == "Gromov-Wasserstein":
        pytest.importorskip("ot")
    A, B = rotated(800)
    rows = few_pairs.split(len(A), 100, 40, 400, pool, seed=0)
    known = rows.known[:40]
    *maps, notes = _unpaired.METHODS[name](
        A[known], B[known], A[rows.pool_a], B[rows.pool_b], 0
    )
    F, G = (f(X[rows.test]) for f, X in zip(maps, (A, B), strict=True))
    # Unpaired rows say little of a row within its cluster if they are others.
    least = 0.9 if pool == "same" else 0.4
    assert retrieval_accuracy(F, G, metric=_unpaired.METRICS[name]) >= least
    assert notes == {}


@pytest.mark.parametrize("pool", few_pairs.POOLS)
def test_rows_of_a_split(pool):
    rows = few_pairs.split(1000, 200, 30, 10_000, pool, seed=3)
    parts = [rows.test, rows.known, rows.pool_a]
    if pool == "disjoint":
        parts.append(rows.pool_b)
    else:
        assert sorted(rows.pool_b) == sorted(rows.pool_a)
        assert (rows.pool_b == rows.pool_a).mean() < 0.1
    everyone = np.concatenate(parts)
    np.testing.assert_array_equal(np.sort(everyone), np.arange(1000))
    # A smaller number of pairs, or of unpaired rows, takes the first ones.
    fewer = few_pairs.split(1000, 200, 10, 50, pool, seed=3)
    np.testing.assert_array_equal(fewer.test, rows.test)
    np.testing.assert_array_equal(fewer.pool_a, rows.pool_a[:50])
    with pytest.raises(SystemExit, match="leave 10 unpaired"):
        few_pairs.split(465, 200, 300, 10_000, "same", 0)


def test_medoids_are_one_row_of_each_cluster():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), 50)
    X = 9 * np.eye(8)[labels] + 0.3 * rng.normal(size=(300, 8)) + 4
    found = few_pairs.medoids(X, 6, seed=0)
    np.testing.assert_array_equal(np.sort(labels[found]), np.arange(6))
    Z = X - X.mean(0)
    Z /= np.linalg.norm(Z, axis=1, keepdims=True)
    for row in found:
        own = np.flatnonzero(labels == labels[row])
        distances = np.linalg.norm(Z[own] - Z[own].mean(0), axis=1)
        assert own[distances.argmin()] == row
    rows = Rows(
        np.arange(50), np.arange(50, 60), np.arange(60, 200), np.arange(199, 59, -1)
    )
    paired = few_pairs.pair_medoids(rows, X, 4, seed=0)
    assert len(paired.known) == 4 and not np.isin(paired.known, rows.test).any()
    for pool, before in ((paired.pool_a, rows.pool_a), (paired.pool_b, rows.pool_b)):
        np.testing.assert_array_equal(pool, before[~np.isin(before, paired.known)])


def test_measures_of_a_search():
    rng = np.random.default_rng(0)
    F = rng.normal(size=(40, 5))
    G = F + 0.8 * rng.normal(size=F.shape)
    found = few_pairs.search(F, G, "cosine")
    S = cosine_similarity(F, G)
    ranks = np.concatenate([(T > np.diag(S)[:, None]).sum(1) + 1 for T in (S, S.T)])
    assert found["top-1 %"] == np.mean(ranks == 1)
    assert found["MRR %"] == pytest.approx(np.mean(1 / ranks))
    assert found["FOSCTTM %"] == pytest.approx(np.mean((ranks - 1) / 39))


# Without pairs the rows may tell too little.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("known", ["random", "medoids"])
def test_files_of_features(known, tmp_path, monkeypatch, capsys):
    A, B = rotated(900)
    paths = {name: tmp_path / f"{name}.npy" for name in ("a", "b", "labels", "json")}
    np.save(paths["a"], A)
    np.save(paths["b"], B)
    np.save(paths["labels"], (A[:, 0] > 0).astype(int))
    argv = ["few_pairs.py", "--known", known, "--n-paired", "0", "20", "--seeds", "1"]
    argv += [f for name, path in paths.items() for f in (f"--{name}", str(path))]
    argv += ["--pools", "same", "--methods", "SelfTrainingAligner", "pairs alone"]
    monkeypatch.setattr(sys, "argv", argv)
    few_pairs.main()
    out = capsys.readouterr().out
    assert "same pools of 300 rows" in out
    runs = json.loads(paths["json"].read_text())["runs"]
    settings = [(run["method"], run["paired rows"]) for run in runs]
    assert settings == [
        ("SelfTrainingAligner", 0),
        ("SelfTrainingAligner", 20),
        ("pairs alone", 20),
    ]
    assert runs[1]["top-1 %"] > 0.9 and runs[1]["trust"] == "worked"

"""The benchmark of moved indexes: its maps, merges and measures."""

import importlib.util
import pickle
from functools import cache, partial

import _bridges
import migration
import numpy as np
import pytest
from _pairs import Pair
from sklearn.linear_model import Ridge
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import normalize

from sklearn_featalign.metrics import neighbor_recall


class Index:
    """Stands in for faiss's exact index."""

    def __init__(self, rows):
        self.rows = rows

    def search(self, queries, n):
        S = queries @ self.rows.T
        order = np.argsort(-S, axis=1)[:, :n]
        return np.take_along_axis(S, order, axis=1), order


@pytest.fixture(autouse=True)
def index(monkeypatch):
    monkeypatch.setattr(migration, "flat_index", Index)


def make_pair(n_samples=700, seed=0):
    """Return two views of the same hidden rows, of unit length, with classes."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n_samples, 4))
    A, B = (np.tanh(Z @ rng.normal(size=(4, d))) for d in (8, 12))
    A, B = (X + 0.1 * rng.normal(size=X.shape) for X in (A, B))
    return Pair("a-b", normalize(A), normalize(B), (Z[:, 0] > 0).astype(int))


@pytest.mark.skipif(not importlib.util.find_spec("faiss"), reason="an extra")
def test_faiss_searches_as_the_stand_in_does(monkeypatch):
    monkeypatch.undo()
    pair = make_pair(50)
    found = migration.search(migration.flat_index(pair.A), pair.A[:7], 5)
    expected = Index(pair.A).search(pair.A[:7], 5)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-6)
    np.testing.assert_array_equal(found[1], expected[1])


def test_a_rotation_is_found_by_procrustes():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(50, 4)) + 3
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0][:4]
    move = _bridges.procrustes(A[:30], A[:30] @ rotation + 7)
    np.testing.assert_allclose(move(A[30:]), A[30:] @ rotation + 7, atol=1e-5)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_ridge_and_the_network_are_those_of_scikit_learn():
    pair = make_pair()
    A, B, new = pair.A[:300], pair.B[:300], pair.A[300:]
    unit = np.square(A - A.mean(0)).sum() / 8
    models = [Ridge(alpha * unit).fit(A, B) for alpha in _bridges.PENALTIES]
    found = _bridges.ridge(A, B)(new)
    errors = [np.abs(model.predict(new) - found).max() for model in models]
    assert min(errors) < 1e-5
    model = MLPRegressor(
        hidden_layer_sizes=_bridges.N_HIDDEN, early_stopping=True, random_state=0
    )
    model.fit((A - A.mean(0)) / A.std(), (B - B.mean(0)) / B.std())
    expected = model.predict((new - A.mean(0)) / A.std()) * B.std() + B.mean(0)
    np.testing.assert_allclose(_bridges.network(A, B)(new), expected, atol=1e-4)


def test_every_way_is_measured(monkeypatch):
    sizes = {"N_QUERIES": 60, "N_INDEX": 300, "CASCADE": 50, "TIMED_ROWS": 20}
    for name, value in sizes.items():
        monkeypatch.setattr(migration, name, value)
    ways = [way for way in _bridges.WAYS if "isotrieve" not in way]
    setting = {"paired rows": 200, "largest": 300, "n_landmarks": 50, "seed": 0}
    pair = make_pair()
    runs = migration.measure(pair, ways=ways, **setting)
    found = {run["way"]: run for run in runs}
    assert list(found) == ways
    recall = {way: run["recall@10 %"] for way, run in found.items()}
    assert recall["embed everything anew"] == 1
    assert min(recall.values()) > 0.2
    moved = {way for way in ways if found[way]["µs a row"] > 0}
    assert moved == {way for way in ways if way.startswith(("index", "quer", "shared"))}
    # The first of the larger number of pairs.
    parts, _ = migration.split(pair, 200, 300, 0)
    all_paired, _ = migration.split(pair, 300, 300, 0)
    np.testing.assert_array_equal(parts[0][0], all_paired[0][0][:200])
    rows = [X for part in parts for X in part[0]]
    assert len(np.unique(rows, axis=0)) == len(rows) == 560
    # The same by the metric of the package.
    (_, (old, new), (_, queries)) = parts
    bridge = _bridges.fit_aligner(*parts[0], n_landmarks=50)
    moved = bridge.translate(old, "old", "new")
    expected = neighbor_recall(queries, new, queries, moved)
    assert recall["index by translate"] == pytest.approx(expected)
    halves = migration.measure_half(pair, **setting)
    assert [run["way"] for run in halves] == [
        _bridges.FORWARD[name] for name in migration.HALVES
    ]
    for run in halves:
        assert run["in turn, moved %"] == 0.5
        assert all(0 < run[name] < 1 for name in migration.HALF)


def test_ranks_of_true_rows():
    found = np.array([[3, 1, 0, 2], [0, 1, 2, 3]])
    true = np.array([[1, 2], [0, 1]])
    measures = migration.ranks_of(true, found)
    assert measures["mean rank"] == (2 + 4 + 1 + 2) / 4


def test_merged_lists():
    rng = np.random.default_rng(0)
    rows = normalize(rng.normal(size=(300, 5)))
    merges = migration.merges(rows, rows, lambda X: X)
    own, moved = -np.sort(-rng.uniform(-1, 1, size=(2, 4, 10)), axis=2)
    exact = merges["as they are"](own, moved)
    np.testing.assert_array_equal(exact, np.hstack([own, moved]))
    # Rows that are moved without an error need no calibration.
    for name in ("isotonic", "quantiles"):
        np.testing.assert_allclose(merges[name](own, moved), exact, atol=0.02)
    order = np.argsort(-merges["in turn"](own, moved), axis=1)
    np.testing.assert_array_equal(order[2, :6], [0, 10, 1, 11, 2, 12])


def test_compiled_maps_have_a_size():
    pair = make_pair(200)
    aligner = cache(partial(_bridges.fit_aligner, pair.A, pair.B, 50))
    bridge = _bridges.fit_bridge("index by translate", pair.A, pair.B, aligner)
    numbers = 50 * 8 + 50 * 12 + 8 * 12
    assert 4 * numbers < 1e6 * bridge.megabytes < 4 * numbers + 10_000
    assert pickle.loads(pickle.dumps(bridge)).index.n_features_out == 12
    assert np.isnan(_bridges.Bridge(index=lambda X: X).megabytes)

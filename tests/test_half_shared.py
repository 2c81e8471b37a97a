"""The benchmark of half-shared networks, small: its peers and its toy."""

import sys
from functools import partial

import _pairs
import half_shared
import numpy as np
import pytest
from _dots import align_half_shared, linear, make_dots
from _methods import ABLATIONS
from sklearn.cross_decomposition import CCA
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.preprocessing import normalize


@pytest.mark.parametrize("method", half_shared.PEERS)
def test_peers_undo_what_they_can(method):
    """A shift and a stretch of columns are nothing to z-scored dots."""
    found = half_shared.run_dots(
        lambda Z: 3 * Z + [5, -2], half_shared.PEERS[method], seed=0
    )
    assert found["top-1, the dots"] == found["top-1, fresh, of 300"] == 1
    assert found["cluster, fresh"] == 1


@pytest.mark.parametrize("method", ["ridge regression", "CCA"])
def test_linear_peers_undo_any_linear_map(method):
    for scale in ([0.25, 4], [0.001, 1]):
        found = half_shared.run_dots(
            partial(linear, scale=scale, shift_first=True),
            half_shared.PEERS[method],
            seed=0,
        )
        assert found["top-1, fresh, of 300"] > 0.95


@pytest.mark.parametrize("noise", [0, 0.5])
def test_cca_looks_at_its_own_view_alone(noise):
    """Variates are scikit-learn's, up to one rotation and one scale of both views."""
    dots, clusters, _ = make_dots()
    others = dots @ [[1, 2], [0, 1]]
    others = others + noise * np.random.default_rng(0).normal(size=others.shape)
    map_a, map_b = half_shared.PEERS["CCA"](dots, others, clusters, seed=0)
    ours = np.vstack([map_a(dots), map_b(others)])
    model = CCA(2, max_iter=5000, tol=1e-12).fit(dots, others)
    F, G = model.transform(dots, others)
    expected = np.vstack([F / F.std(0), G / G.std(0)])
    np.testing.assert_allclose(
        euclidean_distances(ours) / ours.std(), euclidean_distances(expected), atol=1e-6
    )


def test_the_toy_of_the_document():
    """Its order of Z, and pairs by pulling, on dots that were not trained."""

    def top1(seeds=1, **params):
        runs = [
            half_shared.run_dots(
                partial(linear, scale=[0.25, 4], shift_first=True),
                partial(align_half_shared, **params),
                seed,
            )
            for seed in range(seeds)
        ]
        return [
            np.mean([run[name] for run in runs])
            for name in ("top-1, the dots", "top-1, fresh, of 30", "cluster, fresh")
        ]

    index = top1(2, target="index")
    truth = top1(target="y")
    nothing = top1(target="random", n_classes=3)
    assert index[0] > 0.45 and index[1] > 0.4 and index[2] > 0.98
    assert truth[0] < 0.3 and truth[2] > 0.98
    assert nothing[0] < 0.2 and nothing[2] < 0.7
    pulled = top1(target="index", pull_weight=10.0)
    assert pulled[0] > 0.95 and pulled[1] > 0.95


def test_classifiers_see_rows_of_one_length():
    X, y = load_digits(return_X_y=True)
    X = X - X.mean(0)
    own, other = half_shared.accuracies(
        X[:500], X[500:900], -X[500:900], y[:500], y[500:900]
    )
    model = LogisticRegression(C=half_shared.C, max_iter=1000)
    model.fit(128**0.5 * normalize(X[:500]), y[:500])
    assert own == model.score(128**0.5 * normalize(X[500:900]), y[500:900])
    assert other < 0.2 < 0.8 < own


def test_the_commands_print_tables(monkeypatch, capsys, tmp_path):
    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    for name, values in {
        "a": np.maximum(X @ rng.normal(size=(64, 30)), 0),
        "b": np.maximum(X @ rng.normal(size=(64, 40)), 0),
        "y": y,
    }.items():
        np.save(tmp_path / f"{name}.npy", values)
    monkeypatch.setattr(half_shared, "N_TEST", 300)
    monkeypatch.setattr(half_shared, "N_LABELLED", 300)
    files = ["--a", "a.npy", "--b", "b.npy", "--labels", "y.npy"]
    methods = ["KernelGCCAAligner", "RBFAutoScaleAligner ridge"]
    sizes = ["--n-paired", "50", "200"]
    monkeypatch.chdir(tmp_path)
    command = ["half_shared.py", "networks", *files, *sizes, "--methods", *methods]
    monkeypatch.setattr(sys, "argv", [*command, "--seeds", "2", "--json", "out.json"])
    half_shared.main()
    printed = capsys.readouterr().out
    assert "a-b: 50 paired, 300 test rows, 2 seeds" in printed
    assert "a-b: 200 paired" in printed and "stitching %" in printed
    assert (tmp_path / "out.json").exists()


@pytest.mark.slow
def test_every_part_of_the_setting_can_be_left_out(monkeypatch):
    X, y = load_digits(return_X_y=True)
    pair = _pairs.Pair("halves", X[:, :32], X[:, 32:], y)
    rows = _pairs.split_rows(len(X), 200, 0, n_labelled=200, n_test=200)
    monkeypatch.setattr(half_shared, "N_LABELLED", 200)
    for name in ABLATIONS:
        found = half_shared.run_network(name, pair, rows)
        assert found["top-1 %"] > 5 / 200 and found["in-model %"] > 0.5

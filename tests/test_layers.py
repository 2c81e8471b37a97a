"""The benchmark on layers, small: what it measures, and its tables."""

import json
import sys

import layers
import numpy as np
import pytest
from _pairs import split_rows
from sklearn.datasets import make_blobs

from sklearn_featalign.metrics import linear_cka


@pytest.fixture
def network(monkeypatch):
    """Let a network have two layers with less and less of the input, and a partner."""
    Z, y = make_blobs(400, 6, centers=8, random_state=0)
    rng = np.random.default_rng(0)
    blocks = {
        "layer 1": Z @ rng.normal(size=(6, 9)),
        "layer 2": Z @ rng.normal(size=(6, 7)) + rng.normal(size=(400, 7)),
        "layer 3": rng.normal(size=(400, 5)),
    }
    other = 3 - Z[:, ::-1]
    monkeypatch.setattr(layers, "load_layers", lambda *args: (blocks, y))
    monkeypatch.setattr(layers, "load_features", lambda *args: (other, y))
    return blocks, other, y


def test_a_layer_that_keeps_the_input_is_found(network):
    blocks, other, y = network
    rows = split_rows(400, 100, 0)
    found = [layers.figures_of_layer(X, other, y, rows) for X in blocks.values()]
    for name in layers.FIGURES:
        first, second, third = (figures[name] for figures in found)
        assert first >= second > third + 0.1
    assert found[0]["other network %"] > 0.5
    assert found[2]["other network %"] < 0.1


def test_agreement_is_of_test_rows(network):
    blocks, _, _ = network
    rows = split_rows(400, 100, 0)
    found = layers.agreement(blocks, rows)
    assert len(found) == 6
    before, after = (found["layer 1", "layer 2"][name] for name in layers.MATRICES)
    test = (blocks[name][rows.test] for name in ("layer 1", "layer 2"))
    assert before == linear_cka(*test)
    assert after > 0.3 > found["layer 3", "layer 1"][layers.MATRICES[1]]


def test_the_choice_of_a_layer():
    figures = {"left out %": (0.1, 0.3, 0.2), "other network %": (0.2, 0.6, 0.4)}
    figures["classes %"] = (0.9, 0.7, 0.8)
    runs = [
        {"seed": seed, "layer": f"layer {i}"} | {k: v[i] for k, v in figures.items()}
        for seed in range(2)
        for i in range(3)
    ]
    same, opposite = layers.rank_correlations(runs)
    key = "rank correlation with left out %"
    assert same[key] == "1.00 ± 0.00" and same["lost by its choice"] == "0.0 ± 0.0"
    assert opposite[key] == "-1.00 ± 0.00"
    assert opposite["lost by its choice"] == "20.0 ± 0.0"


def test_the_tables_and_the_figure(network, monkeypatch, tmp_path, capsys):
    command = "layers.py --n-paired 100 --seeds 2"
    files = ["--figure", str(tmp_path / "a.png"), "--json", str(tmp_path / "a.json")]
    monkeypatch.setattr(sys, "argv", [*command.split(), *files])
    layers.main()
    printed = capsys.readouterr().out
    assert "layers of minilm and e5: 100 pairs, 200 test rows, 2 seeds" in printed
    assert "linear CKA before" in printed and "top-1 % after" in printed
    assert (tmp_path / "a.png").stat().st_size > 1000
    tables = json.loads((tmp_path / "a.json").read_text())["tables"]
    matrix = tables["top-1 % after"]
    assert [row["searched with"] for row in matrix] == list(network[0])
    assert matrix[0]["layer 1"] is None or np.isnan(matrix[0]["layer 1"])
    assert matrix[0]["layer 2"] > 30 > matrix[0]["layer 3"]

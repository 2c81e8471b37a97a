"""The main job, small: the benchmark's own functions on few rows."""

import gzip
import struct
import sys

import _data
import downstream
import numpy as np
import pytest
from joblib import parallel_config
from sklearn.datasets import load_digits


@pytest.fixture
def small_grid(monkeypatch):
    monkeypatch.setattr(downstream, "C_GRID", [1.0, 30.0])
    # Workers would take longer to import torch than the small search takes.
    with parallel_config("sequential"):
        yield


def test_ridge_features_lose_nothing_on_digits(small_grid):
    X, y = _data.load_features("digits", "pixels", n_samples=2000)
    runs = downstream.compare(X, y, n_landmarks=150, seeds=range(2), test_size=0.25)
    accuracy = {
        name: np.mean([run["accuracy"] for run in runs if run["method"] == name])
        for name in dict.fromkeys(run["method"] for run in runs)
    }
    best = max(accuracy[name] for name in downstream.BASELINES)
    assert accuracy["RBFAutoScaleAligner ridge"] >= best - 0.005
    assert len(accuracy) == 7 and min(accuracy.values()) > 0.9
    table = downstream.summarize(runs)
    assert [row["features"] for row in table] == list(accuracy)


def test_main_runs_on_npy_files(small_grid, tmp_path, monkeypatch, capsys):
    X, y = load_digits(return_X_y=True)
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", y)
    files = [str(tmp_path / name) for name in ("X.npy", "y.npy", "out.json")]
    arguments = ["--npy", *files[:2], "--n-samples", "300", "--seeds", "1"]
    arguments += ["--n-landmarks", "50", "--json", files[2]]
    monkeypatch.setattr(sys, "argv", ["downstream.py", *arguments])
    downstream.main()
    printed = capsys.readouterr().out
    assert "300 rows, 64 columns, 50 landmarks" in printed
    assert "GridSearchCV over c and gamma" in printed
    assert '"accuracy"' in (tmp_path / "out.json").read_text()


def write_idx(path, array):
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(
        f">{array.ndim}i", *array.shape
    )
    path.write_bytes(gzip.compress(header + array.tobytes()))


def test_fashion_mnist_files(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(7, 28, 28), dtype=np.uint8)
    labels = rng.integers(10, size=7, dtype=np.uint8)
    for part, rows in (("train", slice(5)), ("t10k", slice(5, None))):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", images[rows])
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", labels[rows])
    X, y = _data.fashion_mnist(tmp_path)
    np.testing.assert_array_equal(X, images / np.float32(255))
    np.testing.assert_array_equal(y, labels)


def test_features_are_computed_once(tmp_path, monkeypatch):
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    calls = []

    def compute():
        calls.append(1)
        return np.arange(3)

    for _ in range(2):
        np.testing.assert_array_equal(_data.cached("name", compute), np.arange(3))
    assert len(calls) == 1

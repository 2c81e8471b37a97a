"""The benchmarks of the Poisson flow, small: their measures, peers and tables."""

import json
import sys

import _alexnet
import _data
import _skewed
import numpy as np
import poisson_downstream
import pytest
import torch
import uniformity
from _uniform import RBIG, energy_to_uniform, methods, to_cube
from scipy import stats
from sklearn.neighbors import NearestNeighbors


def test_energy_distance_in_closed_form():
    """On a line it is twice the squared distance of distribution functions."""
    U = np.random.default_rng(0).beta(2, 3, size=(3000, 1))
    grid = (np.arange(20000) + 0.5) / 20000
    expected = 2 * np.mean(np.square(stats.beta(2, 3).cdf(grid) - grid))
    assert energy_to_uniform(U) == pytest.approx(expected, abs=3e-3)
    uniform = np.random.default_rng(1).random((3000, 4))
    assert abs(energy_to_uniform(uniform)) < 1e-3


def test_rbig_makes_rows_jointly_normal():
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 2000)
    ring = np.column_stack([np.cos(angle), np.sin(angle)])
    ring += 0.1 * rng.normal(size=ring.shape)
    names = methods(1000)
    assert isinstance(names["RBIG"], RBIG)
    energy = {
        name: energy_to_uniform(to_cube(method.fit(ring[:1000]).transform(ring[1000:])))
        for name, method in names.items()
    }
    assert energy["RBIG"] < energy["QuantileTransformer"] / 2
    assert energy["PoissonUniformizer"] < energy["QuantileTransformer"] / 2


def test_each_row_is_chosen_once():
    rng = np.random.default_rng(0)
    points, U = rng.random((20, 2)), rng.random((30, 2))
    rows = uniformity.nearest(points, U)
    assert len(set(rows)) == 20
    first = np.linalg.norm(U - points[0], axis=1).argmin()
    assert rows[0] == first


def run_main(module, monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    module.main()
    return capsys.readouterr().out


def test_main_prints_all_tables(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(uniformity, "N_DRAWS", 2)
    monkeypatch.setattr(uniformity, "N_ROUND_TRIPS", 60)
    monkeypatch.setattr(uniformity, "SOLVERS", {"rk4": (12, 24)})
    monkeypatch.setattr(uniformity, "BACK_DIMENSIONS", (1, 2))
    file = tmp_path / "tables.json"
    out = run_main(
        uniformity,
        monkeypatch,
        capsys,
        *["energy", "isotropy", "columns", "back", "inverse", "subsets"],
        *["--sources", "digits", "--dimensions", "2", "--n-generated", "60"],
        *["--seeds", "1", "--n-rows", "150", "--json", str(file)],
    )
    for title in ("Energy distance", "There and back", "64 rows for all", "class shar"):
        assert title in out
    assert all(f"{kind} 60" in out for kind in _skewed.KINDS)
    tables = json.loads(file.read_text())
    assert {run["method"] for run in tables["isotropy"]} >= {"unchanged", "RBIG"}
    assert all(run["training rows"] < 1 for run in tables["back"])
    assert {run["d"] for run in tables["back"]} == {1, 2}
    evaluations = {run["evaluations"] for run in tables["inverse"]}
    assert evaluations == {48, 96}
    assert {run["method"] for run in tables["subsets"]} >= {"random", "k-means", "RBIG"}


def test_detectors_know_what_is_near(monkeypatch):
    X = np.random.default_rng(0).normal(size=(200, 5))
    for detector in uniformity.detectors(X).values():
        near, far = detector.score_samples(np.vstack([np.zeros(5), np.full(5, 4.0)]))
        assert near > far


def test_a_neighbor_average_leaves_the_row_out():
    X = np.random.default_rng(0).normal(size=(50, 3))
    average = poisson_downstream.NeighborAverage(4)
    near = NearestNeighbors(n_neighbors=5).fit(X)
    rows = near.kneighbors(X, return_distance=False)[:, 1:]
    np.testing.assert_allclose(average.fit_transform(X), X[rows].mean(1))
    near = NearestNeighbors(n_neighbors=4).fit(X)
    rows = near.kneighbors(X + 0.1, return_distance=False)
    np.testing.assert_allclose(average.transform(X + 0.1), X[rows].mean(1))


def test_the_downstream_table(monkeypatch, capsys, tmp_path):
    file = tmp_path / "runs.json"
    out = run_main(
        poisson_downstream,
        monkeypatch,
        capsys,
        *["--features", "digits", "--networks", "1", "--n-train", "200"],
        *["--n-test", "100", "--json", str(file)],
        *["--methods", "published flow", "exact flow, contracted"],
    )
    assert "published flow" in out and "5 a class minus raw" in out
    runs = json.loads(file.read_text())["runs"]
    assert [run["method"] for run in runs][0] == "raw" and len(runs) == 3
    assert runs[0]["test"] > 0.85


@pytest.fixture
def small_images(monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    images = rng.random((60, 3, 32, 32)).astype(np.float32) / 4
    images[np.arange(60), y] += 0.5
    monkeypatch.setattr(_data, "cifar_10", lambda: (images, y))
    monkeypatch.setattr(_data, "N_TEST", 20)
    monkeypatch.setattr(_data, "get_data_home", lambda: tmp_path)
    return images, y


def test_a_network_of_the_document(small_images):
    """On random images whose colour is their class; and again, from the cache."""
    train, augmented, test = _alexnet.alexnet_features("cifar-10", 0, epochs=3)
    for part, n_images in ((train, 40), (augmented, 40), (test, 20)):
        assert part.features.shape == (n_images, 128)
        np.testing.assert_allclose(np.linalg.norm(part.features, axis=1), 1, rtol=1e-5)
        np.testing.assert_array_equal(part.scores.shape, (n_images, 3))
    assert not np.array_equal(train.features, augmented.features)
    again, _, _ = _alexnet.alexnet_features("cifar-10", 0, epochs=3)
    np.testing.assert_array_equal(again.features, train.features)


def test_augmentation_moves_and_mirrors():
    images = torch.arange(32.0).expand(8, 1, 32, 32) + 1
    moved = _alexnet.augment(images, torch.Generator().manual_seed(0))
    assert moved.shape == images.shape
    for image in moved[:, 0]:
        inside = image[16]
        inside = inside[inside > 0]
        steps = inside.diff().unique()
        assert len(steps) == 1 and abs(float(steps)) == 1


def test_cifar_10_by_its_number(monkeypatch):
    class Bunch:
        data = np.full((4, 3072), 255)
        target = np.array(["0", "1", "2", "3"])

    monkeypatch.setattr(_data, "fetch_openml", lambda **kwargs: Bunch)
    images, y = _data.cifar_10()
    assert images.shape == (4, 3, 32, 32) and images.max() == 1
    assert y.tolist() == [0, 1, 2, 3]

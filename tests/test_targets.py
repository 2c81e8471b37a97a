"""The choices of Z."""

import numpy as np
import pytest
import torch
from _samples import blobs
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from sklearn_featalign._half_shared._targets import make_target


def make(target, loss="cross_entropy", y=None, n_classes=10, n_components=3, seed=0):
    random_state = np.random.RandomState(seed)
    views = torch.from_numpy(blobs()).split([3, 1], dim=1)
    return make_target(target, loss, y, views, n_classes, n_components, random_state)


def test_each_row_is_a_class():
    np.testing.assert_array_equal(make("index"), np.arange(120))
    permuted = make("permutation")
    assert not np.array_equal(permuted, np.arange(120))
    np.testing.assert_array_equal(np.sort(permuted), np.arange(120))


def test_random_classes():
    values = make("random", n_classes=4)
    assert values.dtype == np.int64
    assert np.bincount(values).min() > 15 and len(np.bincount(values)) == 4
    assert not np.array_equal(values, make("random", n_classes=4, seed=1))


def test_labels_become_numbers():
    y = np.array(["dog", "cat", "dog"] * 40)
    np.testing.assert_array_equal(make("y", y=y), np.array([1, 0, 1] * 40))


@pytest.mark.parametrize("target", ["index", "permutation", "random", "y"])
def test_numbers_are_standardised(target):
    y = np.random.default_rng(0).normal(5, 3, size=120)
    values = make(target, "mse", y)
    assert values.shape == (120, 1) and values.dtype == np.float32
    np.testing.assert_allclose(values.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(values.std(0), 1, rtol=1e-6)
    if target == "y":
        np.testing.assert_allclose(values[:, 0], (y - y.mean()) / y.std(), rtol=1e-5)


def test_several_numbers_a_row():
    y = np.column_stack([np.arange(120), np.ones(120)])
    values = make("y", "mse", y)
    np.testing.assert_allclose(values.std(0), [1, 0], rtol=1e-6)


def test_joint_codes():
    codes = make("joint_pca", "mse")
    expected = PCA(3, svd_solver="full").fit_transform(blobs())
    expected /= expected.std()
    correlation = np.corrcoef(codes.T, expected.T)[:3, 3:]
    np.testing.assert_allclose(np.abs(correlation.diagonal()), 1, atol=1e-6)
    np.testing.assert_allclose(codes.std(0), expected.std(0), rtol=1e-5)
    # No more than there are.
    assert make("joint_pca", "mse", n_components=50).shape == (120, 4)


def test_clusters():
    rng = np.random.default_rng(0)
    centers = rng.normal(scale=4, size=(3, 4))
    clusters = rng.integers(3, size=120)
    np.testing.assert_allclose(blobs().mean(0), centers[clusters].mean(0), atol=0.5)
    assert adjusted_rand_score(make("cluster", n_classes=3), clusters) > 0.9


def test_errors():
    with pytest.raises(ValueError, match="target='joint_pca' needs loss='mse'"):
        make("joint_pca")
    with pytest.raises(ValueError, match="'cluster' needs loss='cross_entropy'"):
        make("cluster", "mse")
    with pytest.raises(ValueError, match="target='y' requires y to be passed"):
        make("y")
    with pytest.raises(ValueError, match="at least 2 classes.*only one: 1"):
        make("y", y=np.ones(120, int))
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        make("y", y=np.linspace(0, 1, 120))
    with pytest.raises(ValueError, match="y contains NaN"):
        make("y", "mse", y=np.full(120, np.nan))

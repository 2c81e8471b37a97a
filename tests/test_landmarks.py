import numpy as np
import pytest
import torch
from sklearn.kernel_approximation import Nystroem

from sklearn_featalign._kernels._landmarks import select_landmarks

METHODS = ["random", "farthest", "kmeans++"]


def select(X, n_landmarks, method, random_state=0):
    return select_landmarks(
        len(X), n_landmarks, method, lambda: torch.from_numpy(X), random_state
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(3))
def test_landmarks_are_distinct_and_repeatable(method, seed):
    X = np.random.default_rng(seed).normal(size=(60, 3))
    indices = select(X, 20, method, seed)
    assert indices.dtype == np.int64 and len(np.unique(indices)) == 20
    np.testing.assert_array_equal(indices, select(X, 20, method, seed))
    assert (indices != select(X, 20, method, seed + 1)).any()


@pytest.mark.parametrize("method", METHODS)
def test_landmarks_are_distinct_rows_even_among_duplicates(method):
    X = np.repeat(np.eye(3), 10, axis=0)
    indices = select(X, 12, method)
    assert len(np.unique(indices)) == 12
    if method != "random":
        # All different rows come before any duplicate.
        assert len(np.unique(X[indices[:3]], axis=0)) == 3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_landmarks", [None, 5])
def test_all_rows_keep_their_order(method, n_landmarks):
    X = np.random.default_rng(0).normal(size=(5, 2))
    np.testing.assert_array_equal(select(X, n_landmarks, method), np.arange(5))


def test_more_landmarks_than_rows_warns():
    X = np.random.default_rng(0).normal(size=(5, 2))
    message = r"n_landmarks=6 is greater than the number of samples \(5\)"
    with pytest.warns(UserWarning, match=message):
        np.testing.assert_array_equal(select(X, 6, "random"), np.arange(5))


def test_random_landmarks_are_those_of_nystroem():
    X = np.random.default_rng(0).normal(size=(60, 3))
    nystroem = Nystroem(n_components=20, random_state=3).fit(X)
    np.testing.assert_array_equal(
        select(X, 20, "random", 3), nystroem.component_indices_
    )


def test_farthest_landmarks_are_greedy():
    X = np.random.default_rng(0).normal(size=(60, 3))
    indices = select(X, 20, "farthest")
    for k in range(1, 20):
        to_picked = np.linalg.norm(X[:, None] - X[indices[:k]], axis=2).min(1)
        assert indices[k] == to_picked.argmax()

"""Cells of rows: their moments, sizes, and what they do not depend on."""

import numpy as np
import pytest

from sklearn_featalign._poisson._cells import (
    cell_levels,
    divide,
    fit_cells,
    number_of_cells,
)


def make_rows(n_samples=500, d=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_samples, d)) * [1, 2, 4][:d]


def test_no_row_is_lost_and_cells_have_equal_numbers():
    rows, counts = make_rows(512), np.ones(512)
    means, sizes = fit_cells(rows, counts, 64)
    assert means.shape == (64, 3) and (sizes == 8).all()
    np.testing.assert_allclose(sizes @ means, rows.sum(0), atol=1e-9)
    cell = divide(rows, counts, 64)
    for k in range(64):
        np.testing.assert_allclose(means[k], rows[cell == k].mean(0))


def test_cells_are_halves_at_the_median_of_the_widest_column():
    rows, counts = make_rows(400), np.ones(400)
    first = divide(rows, counts, 2)
    np.testing.assert_array_equal(first, rows[:, 2] > np.median(rows[:, 2]))


def test_counts_are_rows():
    rows = make_rows(60)
    counts = np.random.default_rng(1).integers(1, 4, size=60).astype(float)
    means, sizes = fit_cells(rows, counts, 4)
    assert sizes.sum() == counts.sum() and sizes.max() - sizes.min() <= 3
    np.testing.assert_allclose(sizes @ means, counts @ rows)


def test_equal_rows_stay_together():
    rows, counts = np.array([[0.0], [1.0], [2.0]]), np.array([90.0, 5.0, 5.0])
    means, sizes = fit_cells(rows, counts, 16)
    np.testing.assert_array_equal(means[:, 0], [0, 1, 2])
    np.testing.assert_array_equal(sizes, counts)


@pytest.mark.parametrize("change", ["order", "signs", "shift"])
def test_what_cells_do_not_depend_on(change):
    # With an odd number, the row in the middle has to go somewhere.
    rows, counts = make_rows(301), np.ones(301)
    order, signs, shift = np.arange(301), np.ones(3), np.zeros(3)
    if change == "order":
        order = np.random.default_rng(1).permutation(301)
    elif change == "signs":
        signs = np.array([-1, 1, -1])
    else:
        shift = np.array([5.0, 0.0, -3.0])
    means, _ = fit_cells(rows, counts, 32)
    moved, _ = fit_cells(rows[order] * signs + shift, counts, 32)
    moved = (moved - shift) * signs
    distance = np.abs(means[:, None] - moved[None]).max(2).min(1)
    assert distance.max() < 1e-9


def test_levels_keep_moments():
    rows, counts = make_rows(4096), np.ones(4096)
    means, sizes = fit_cells(rows, counts, 512)
    depths = np.linspace(0, 1, 512)
    levels = cell_levels(means, sizes, depths)
    assert [len(level["charges"]["places"]) for level in levels.values()] == [512, 64]
    spreads = []
    for level in levels.values():
        places, log_counts, deep = level["charges"].values()
        np.testing.assert_allclose(np.exp(log_counts) @ places, rows.sum(0), atol=1e-8)
        np.testing.assert_allclose(np.exp(log_counts) @ deep, sizes @ depths)
        assert level["max_norm"] == np.linalg.norm(places, axis=1).max()
        assert level["lowest_depth"] == deep.min()
        spreads.append(level["spread"])
    assert spreads[0] < 1e-12 and 0.1 < spreads[1] < 2


@pytest.mark.parametrize(
    ("n_samples", "n_charges", "expected"),
    [(2, 4096, 2), (15, 4096, 8), (16, 4096, 16), (100, 4096, 16), (1000, 4096, 128),
     (10**6, 4096, 4096), (10**6, 3000, 2048), (10, 2, 2), (30, 3, 2)],
)  # fmt: skip
def test_the_number_of_cells(n_samples, n_charges, expected):
    assert number_of_cells(n_samples, n_charges) == expected

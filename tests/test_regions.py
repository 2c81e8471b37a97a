"""Regions of charges: the near ones as they are, the others in groups."""

import numpy as np
import pytest

from sklearn_featalign._regions import fit_regions, rows_by_region, seen_from


@pytest.fixture(scope="module")
def charges():
    rng = np.random.default_rng(0)
    return rng.normal(size=(500, 3)), rng.integers(1, 4, size=500).astype(float)


@pytest.fixture(scope="module")
def regions(charges):
    return fit_regions(*charges, 100, np.random.RandomState(0))


@pytest.mark.parametrize("n_seen", [2, 15, 100, 499])
def test_no_row_is_lost_and_no_moment(charges, n_seen):
    regions = fit_regions(*charges, n_seen, np.random.RandomState(0))
    points, counts = charges
    for region in (None, *range(len(regions["centers"]))):
        seen, seen_counts = seen_from(region, points, counts, regions)
        assert len(seen) <= n_seen and (seen_counts > 0).all()
        assert seen_counts.sum() == counts.sum()
        np.testing.assert_allclose(seen_counts @ seen, counts @ points, atol=1e-9)


def test_near_charges_are_seen_as_they_are(charges, regions):
    """First those of the region, then the others, by their distance from its centre."""
    points, counts = charges
    n_near = regions["n_near"]
    for region, center in enumerate(regions["centers"]):
        seen, seen_counts = seen_from(region, points, counts, regions)
        distances = np.linalg.norm(points - center, axis=1)
        own = np.flatnonzero(regions["region"] == region)
        others = np.flatnonzero(regions["region"] != region)
        order = [i for part in (own, others) for i in part[distances[part].argsort()]]
        np.testing.assert_array_equal(seen[:n_near], points[order[:n_near]])
        np.testing.assert_array_equal(seen_counts[:n_near], counts[order[:n_near]])


def test_groups_are_means_of_their_rows(charges, regions):
    points, counts = charges
    seen, seen_counts = seen_from(None, points, counts, regions)
    for group in range(len(seen)):
        members = regions["group"] == group
        mean = np.average(points[members], axis=0, weights=counts[members])
        np.testing.assert_allclose(seen[group], mean)
        assert seen_counts[group] == counts[members].sum()


def test_rows_by_region():
    region = np.array([2, 0, 2, 1])
    found = {one: list(rows) for one, rows in rows_by_region(region)}
    assert found == {0: [1], 1: [3], 2: [0, 2]}
    some = {one: list(rows) for one, rows in rows_by_region(region, np.array([2, 3]))}
    assert some == {1: [3], 2: [2]}

"""Regions of charges: the near ones as they are, the others in groups."""

import numpy as np
import pytest

from sklearn_featalign._poisson._regions import fit_regions


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
    for region in (None, *range(len(regions.centers))):
        seen, seen_counts = regions.near_charges_and_centroids(region, points, counts)
        assert len(seen) <= n_seen and (seen_counts > 0).all()
        assert seen_counts.sum() == counts.sum()
        np.testing.assert_allclose(seen_counts @ seen, counts @ points, atol=1e-9)


def test_near_charges_are_seen_as_they_are(charges, regions):
    """First those of the region, then the others, by their distance from its centre."""
    points, counts = charges
    n_near = regions.n_near
    for region, center in enumerate(regions.centers):
        seen, seen_counts = regions.near_charges_and_centroids(region, points, counts)
        distances = np.linalg.norm(points - center, axis=1)
        own = np.flatnonzero(regions.region == region)
        others = np.flatnonzero(regions.region != region)
        order = [i for part in (own, others) for i in part[distances[part].argsort()]]
        np.testing.assert_array_equal(seen[:n_near], points[order[:n_near]])
        np.testing.assert_array_equal(seen_counts[:n_near], counts[order[:n_near]])


def test_groups_are_means_of_their_rows(charges, regions):
    points, counts = charges
    seen, seen_counts = regions.near_charges_and_centroids(None, points, counts)
    for group in range(len(seen)):
        members = regions.group == group
        mean = np.average(points[members], axis=0, weights=counts[members])
        np.testing.assert_allclose(seen[group], mean)
        assert seen_counts[group] == counts[members].sum()

"""Regions of many charges: each sees the near charges, and centroids of the others.

A group of charges acts as one charge in its centroid only from far away. The charges
near to a row have to stay where they are.
"""

from typing import NamedTuple

import numpy as np

# Share of the charges seen from a region that are centroids of groups; the others are
# the charges nearest to it.
_CENTROID_SHARE = 0.3

# Mean ratio of near charges to the charges of a region, and the largest number of
# regions.
_OVERLAP = 3
_MOST_REGIONS = 64


class Regions(NamedTuple):
    """Two k-means clusterings of the charges: into regions, and into groups.

    Attributes
    ----------
    group, region : ndarray of shape (n_charges,)
        Cluster of each charge.
    centers : ndarray of shape (n_regions, n_features)
    n_near : int
        Number of charges that are seen as they are from a region.
    """

    group: np.ndarray
    region: np.ndarray
    centers: np.ndarray
    n_near: int

    @property
    def n_seen(self):
        """Largest number of charges and centroids that are seen from a region."""
        return self.n_near + int(self.group.max()) + 1

    def near_charges_and_centroids(self, region, charges, counts):
        """Return the charges that are seen from a region, and their counts.

        With None as the region these are centroids only.
        """
        order, n_near = np.arange(len(charges)), 0
        if region is not None:
            distances = np.square(charges - self.centers[region]).sum(1)
            order = np.lexsort([distances, self.region != region])
            n_near = self.n_near
        near, far = order[:n_near], order[n_near:]
        group, weights = self.group[far], counts[far]
        sums = np.bincount(group, weights)
        kept = sums > 0
        centroids = [np.bincount(group, weights * x)[kept] for x in charges[far].T]
        return (
            np.vstack([charges[near], np.transpose(centroids / sums[kept])]),
            np.append(counts[near], sums[kept]),
        )


def fit_regions(charges, counts, n_charges, random_state):
    """Divide charges into regions and, separately, into groups.

    From a region `n_charges` charges and centroids are seen, at least 2. The counts are
    the numbers of rows of the charges.
    """
    # scikit-learn's clustering is imported here because its import is slow.
    from sklearn.cluster import KMeans

    n_groups = max(1, int(_CENTROID_SHARE * n_charges))
    n_near = n_charges - n_groups
    n_regions = min(_MOST_REGIONS, -(-_OVERLAP * len(charges) // n_near))
    groups, regions = (
        KMeans(n, random_state=random_state).fit(charges, sample_weight=counts)
        for n in (n_groups, n_regions)
    )
    return Regions(groups.labels_, regions.labels_, regions.cluster_centers_, n_near)

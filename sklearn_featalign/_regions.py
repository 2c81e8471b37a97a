"""Regions of many charges: from each the near ones are seen, and groups of the others.

A group far away acts as one charge in its centre. Near a row it does not: there each
charge has to be where it is.
"""

import numpy as np

# Share of the charges seen from a region that are centres of groups; the others are the
# charges nearest to it.
_GROUPS = 0.3

# So many times as many charges are seen near to a region as are in it, on average, if
# there are not more regions for that.
_OVERLAP = 3
_MOST_REGIONS = 64


def fit_regions(charges, counts, n_seen, random_state):
    """Divide charges into regions, and in another way into groups.

    Both are k-means clusters.

    Parameters
    ----------
    charges : ndarray of shape (n_charges, n_features)
    counts : ndarray of shape (n_charges,)
        Number of rows that each stands for.
    n_seen : int
        Charges and groups that are seen from a region, 2 or more.
    random_state : RandomState instance

    Returns
    -------
    regions : dict
        ``region`` and ``group`` of each charge, ndarrays of shape (n_charges,),
        ``centers`` of the regions, of shape (n_regions, n_features), and ``n_near``.
    """
    # Imported where it is used: see `_landmarks`.
    from sklearn.cluster import KMeans

    n_groups = max(1, int(_GROUPS * n_seen))
    n_near = n_seen - n_groups
    n_regions = min(_MOST_REGIONS, -(-_OVERLAP * len(charges) // n_near))
    groups, regions = (
        KMeans(n, random_state=random_state).fit(charges, sample_weight=counts)
        for n in (n_groups, n_regions)
    )
    return {
        "group": groups.labels_,
        "region": regions.labels_,
        "centers": regions.cluster_centers_,
        "n_near": n_near,
    }


def seen_from(region, charges, counts, regions):
    """Return the charges that are seen from a region, and their counts.

    Parameters
    ----------
    region : int or None
        None sees groups alone.
    charges, counts
        As for `fit_regions`.
    regions : dict
        As from there.

    Returns
    -------
    charges : ndarray of shape (n_seen, n_features)
    counts : ndarray of shape (n_seen,)
    """
    order, n_near = np.arange(len(charges)), 0
    if region is not None:
        distances = np.square(charges - regions["centers"][region]).sum(1)
        order = np.lexsort([distances, regions["region"] != region])
        n_near = regions["n_near"]
    near, far = order[:n_near], order[n_near:]
    group, weights = regions["group"][far], counts[far]
    sums = np.bincount(group, weights)
    kept = sums > 0
    centers = [np.bincount(group, weights * x)[kept] for x in charges[far].T]
    return (
        np.vstack([charges[near], np.transpose(centers / sums[kept])]),
        np.append(counts[near], sums[kept]),
    )


def rows_by_region(region, rows=None):
    """Yield regions, and which of some rows are in them; of all by default."""
    rows = np.arange(len(region)) if rows is None else rows
    for one in np.unique(region[rows]):
        yield one, rows[region[rows] == one]

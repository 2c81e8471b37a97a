"""Second moments of the features of all views: sums over rows, which add up.

Features are extended by a column of ones for each view, so that the sums of products
hold counts and sums as well; where a row lacks a view they are zero. Moments are nested
dicts of such sums:

``moments["stacked"][count]``
    for the features of all views, side by side, in the rows that have so many views;
``moments["own"][u][v]``
    for the features of view u in the rows that have v too, but lack another view.
"""

from itertools import accumulate, pairwise, permutations

import torch

# Columns of one block of the sum: only blocks on and above the diagonal are computed.
_BLOCK_COLUMNS = 1024


def sum_moments(batches, n_present, n_views):
    """Return all moments of rows that have `n_present` of the views.

    Batches are lists of the extended features of each view.
    """
    total, own = None, {}
    for F in batches:
        total = add_products_(torch.cat(F, dim=1), total)
        if n_present < n_views:
            own = add(own, own_products(F))
    return {"stacked": {n_present: complete_(total)}, "own": own}


def own_products(F):
    """Return ``moments["own"]`` of a batch."""
    products = {}
    for u, v in permutations(range(len(F)), 2):
        both = F[u][F[v][:, -1] > 0]
        products.setdefault(u, {})[v] = both.T @ both
    return products


def sum_of_products(batches):
    """Return the sum of ``F.T @ F`` over batches F."""
    total = None
    for F in batches:
        total = add_products_(F, total)
    return complete_(total)


def add_products_(F, total=None):
    """Add ``F.T @ F`` to a matrix in place, in blocks on and above the diagonal."""
    if total is None:
        total = F.new_zeros((F.shape[1], F.shape[1]))
    for start in range(0, F.shape[1], _BLOCK_COLUMNS):
        rows = slice(start, start + _BLOCK_COLUMNS)
        total[rows, start:].addmm_(F[:, rows].T, F[:, start:])
    return total


def complete_(total):
    """Return the symmetric matrix of which the upper triangle is given."""
    upper = total.triu()
    return upper.add_(upper.triu(1).T)


def moments_of(F):
    """Return the stacked moments of rows, from a list of features of each view."""
    n_present = sum((X[:, -1] > 0).long() for X in F)
    stacked = torch.cat(F, dim=1)
    return {
        "stacked": {
            count: sum_of_products([stacked[n_present == count]])
            for count in n_present.unique().tolist()
        }
    }


def add(first, second):
    """Return the moments of two sets of rows together."""
    total = dict(first)
    for key, value in second.items():
        if key not in total:
            total[key] = value
        elif isinstance(value, dict):
            total[key] = add(total[key], value)
        else:
            total[key] = total[key] + value
    return total


def subtract(moments, part):
    """Return the stacked moments of the rows that are left without some of them."""
    stacked = moments["stacked"]
    rest = {count: stacked[count] - value for count, value in part["stacked"].items()}
    return moments | {"stacked": stacked | rest}


def extended_slices(widths):
    """Return the columns of each view, with its column of ones, side by side."""
    ends = accumulate((width + 1 for width in widths), initial=0)
    return [slice(*pair) for pair in pairwise(ends)]


def centred(products, mean_u, mean_v):
    """Return sums of products of two views' extended features less their means.

    Columns of ones stay as they are.
    """
    C = products.clone()
    C[:-1].addr_(mean_u, products[-1], alpha=-1)
    C[:, :-1].addr_(C[:, -1].clone(), mean_v, alpha=-1)
    return C


def symmetric(blocks):
    """Return the symmetric matrix of the blocks (u, v) with u <= v, a dict."""
    n = 1 + max(v for _, v in blocks)
    rows = [
        [blocks[u, v] if u <= v else blocks[v, u].T for v in range(n)] for u in range(n)
    ]
    return torch.cat([torch.cat(row, dim=1) for row in rows])

"""Second moments of the features of all views: sums over rows, which add up.

Features are extended by a column of ones for each view, so that the sums of products
hold counts and sums as well. Rows are counted apart by how many views they have.
"""

import torch

# Columns of one block of the sum: only blocks on and above the diagonal are computed.
_BLOCK_COLUMNS = 1024


def sum_of_products(batches, width):
    """Return the sum of ``F.T @ F`` over batches F, a matrix of a width.

    Parameters
    ----------
    batches : iterable of tensor of shape (n_batch, width)
    width : int
    """
    total = None
    for F in batches:
        if total is None:
            total = F.new_zeros((width, width))
        for start in range(0, width, _BLOCK_COLUMNS):
            rows = slice(start, start + _BLOCK_COLUMNS)
            total[rows, start:].addmm_(F[:, rows].T, F[:, start:])
    upper = total.triu()
    return upper.add_(upper.triu(1).T)


def moments_of(F, n_present):
    """Return the moments of stacked features of rows, by the rows' number of views."""
    return {
        count: sum_of_products([F[n_present == count]], F.shape[1])
        for count in n_present.unique().tolist()
    }


def add(first, second):
    """Return the moments of two sets of rows together."""
    total = dict(first)
    for count, products in second.items():
        total[count] = total[count] + products if count in total else products
    return total


def subtract(moments, part):
    """Return the moments of the rows that are left without some of them."""
    return moments | {count: moments[count] - part[count] for count in part}


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

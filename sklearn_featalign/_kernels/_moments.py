"""Second moments of the features of all views: sums over rows, which add up.

Features are extended by a column of ones for each view, so that the sums of products
hold counts and sums as well. Rows are summed apart by the views that they have. Moments
are a dict: its keys are numbers whose bit v tells whether the rows have view v, and its
values the sums of products of the extended features of these views, side by side.
"""

from itertools import accumulate, pairwise

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


def view_code(present):
    """Return the number whose bits tell which views rows have.

    Parameters
    ----------
    present : list of bool, ndarray or tensor of shape (n_samples,)
        Whether rows have each view.
    """
    return sum(mask * (1 << v) for v, mask in enumerate(present))


def views_of(code):
    """Return the positions of the views in a number of `view_code`."""
    return [v for v in range(code.bit_length()) if code >> v & 1]


def extended_slices(widths):
    """Return the columns of each view, with its column of ones, side by side."""
    ends = accumulate((width + 1 for width in widths), initial=0)
    return [slice(*pair) for pair in pairwise(ends)]


def moments_of(F):
    """Return the moments of rows from the extended features of each view, a list."""
    codes = view_code([(X[:, -1] > 0).long() for X in F])
    moments = {}
    for code in codes.unique().tolist():
        stacked = torch.cat([F[v][codes == code] for v in views_of(code)], dim=1)
        moments[code] = sum_of_products([stacked], stacked.shape[1])
    return moments


def pair_blocks(moments, widths, u, v):
    """Yield the codes of rows that have the views u and v, and their sums of products.

    Sums are those of the extended features of u, in rows, with those of v. Widths are
    the numbers of features of each view.
    """
    for code, products in moments.items():
        views = views_of(code)
        if u in views and v in views:
            columns = extended_slices(widths[i] for i in views)
            yield code, products[columns[views.index(u)], columns[views.index(v)]]


def own_sums(moments, widths, v):
    """Return the sums of products of a view over all rows that have it."""
    return sum(products for _, products in pair_blocks(moments, widths, v, v))


def count_rows(moments):
    """Return the number of rows that moments are sums over."""
    return sum(round(float(products[-1, -1])) for products in moments.values())


def add(first, second):
    """Return the moments of two sets of rows together."""
    total = dict(first)
    for code, products in second.items():
        total[code] = total[code] + products if code in total else products
    return total


def subtract(moments, part):
    """Return the moments of the rows that are left without some of them."""
    return moments | {code: moments[code] - part[code] for code in part}


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

"""Second moments of the features of all views: sums over rows, which add up.

Features are extended by a column of ones for each view, so that the sums of products
hold counts and sums as well. Rows are counted apart by how many views they have.
"""

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


def add(first, second, sign=1):
    """Return the sum, or the difference, of the moments of two sets of rows."""
    total = dict(first)
    for count, products in second.items():
        total[count] = total[count] + sign * products if count in total else products
    return total

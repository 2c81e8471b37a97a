"""Cells of rows: as many charges as can be summed, as dense as the rows are.

Rows are halved at the median of their widest coordinate, the halves again, and so on,
as in a k-d tree: cells have equal numbers of rows. A cell acts as one charge in its
mean.
"""

import numpy as np

# Rows of a cell, at least, where there are enough for this many cells.
_LEAST_ROWS = 4
_FEWEST_CELLS = 16

# From one level to the next, so many cells become one, as long as so many are left.
_COARSER = 8
_FEWEST_FAR = 32

# Of coordinates whose variances differ by less than this share the last one is halved:
# rounding must not decide where whitened rows are.
_EQUAL_RTOL = 1e-6


def number_of_cells(n_samples, n_charges):
    """Return the number of cells, a power of two that is at most `n_charges`."""
    n_cells = max(n_samples // _LEAST_ROWS, min(n_samples, _FEWEST_CELLS))
    return power_of_two(min(n_cells, int(n_charges)))


def power_of_two(n):
    """Return the largest power of two that is at most n."""
    return 1 << (n.bit_length() - 1)


def fit_cells(rows, counts, n_cells):
    """Return the means of cells, and how many rows each stands for.

    Parameters
    ----------
    rows : ndarray of shape (n_different, n_features)
    counts : ndarray of shape (n_different,)
        How often there is each row. Equal rows are not separated, so that there may be
        fewer cells than asked for.
    n_cells : int
        A power of two.
    """
    return cell_means(rows, counts, divide(rows, counts, n_cells))


def cell_levels(charges, counts, depths):
    """Return charges, and again with ever fewer cells of them in their place.

    Returns
    -------
    levels : dict of int to dict
        For each level, from the finest on, `charges` with arrays of the places, the
        logarithms of the counts, and the depths; the largest norm of a place, the
        lowest depth, and the spread of charges about the mean of their cell.
    """
    levels, cell = {}, np.arange(len(charges))
    n_cells = power_of_two(len(charges))
    while True:
        joined, sizes = cell_means(np.column_stack([charges, depths]), counts, cell)
        places, deep = joined[:, :-1], joined[:, -1]
        squares = np.square(charges - places[cell]).sum(1)
        spread = float(np.sqrt(np.average(squares, weights=counts)))
        levels[len(levels)] = {
            "charges": {"places": places, "log_counts": np.log(sizes), "depths": deep},
            "max_norm": largest_norm(places),
            "lowest_depth": float(deep.min()),
            "spread": spread,
        }
        n_cells //= _COARSER
        if n_cells < _FEWEST_FAR:
            return levels
        cell = divide(charges, counts, n_cells)


def largest_norm(places):
    """Return the largest norm of a row of an array."""
    return float(np.linalg.norm(places, axis=1).max())


def divide(rows, counts, n_cells):
    """Return the cell of each row, as numbers from 0 on."""
    cell = np.zeros(len(rows), dtype=np.int64)
    for _ in range(n_cells.bit_length() - 1):
        cell = halve(rows, counts, cell)
    return cell


def cell_means(rows, counts, cell):
    """Return the means and the numbers of rows of the cells."""
    sizes = np.bincount(cell, counts)
    sums = [np.bincount(cell, counts * column) for column in rows.T]
    return np.column_stack(sums) / sizes[:, None], sizes


def halve(rows, counts, cell):
    """Return the halves of the cells as numbers from 0 on.

    A row in the middle goes to the side of the mean on which it is, so that nothing
    depends on the signs of coordinates.
    """
    means, sizes = cell_means(rows, counts, cell)
    centred = rows - means[cell]
    scatter = np.stack(
        [np.bincount(cell, counts * column**2) for column in centred.T], axis=1
    )
    is_widest = scatter >= scatter.max(1, keepdims=True) * (1 - _EQUAL_RTOL)
    widest = rows.shape[1] - 1 - is_widest[:, ::-1].argmax(1)
    along = np.take_along_axis(centred, widest[cell][:, None], axis=1)[:, 0]
    order = np.lexsort([along, cell])
    centre = np.cumsum(counts[order]) - counts[order] / 2
    centre -= (np.cumsum(sizes) - sizes / 2)[cell[order]]
    is_right = np.empty(len(rows), dtype=bool)
    is_right[order] = np.where(centre == 0, along[order] > 0, centre > 0)
    return np.unique(2 * cell + is_right, return_inverse=True)[1]

"""Linear algebra that the methods share: norms, distances, medians, moments, axes.

`batches` is anything that yields the rows of X batch by batch, each time it is iterated
over: tensors of shape (n_batch, n_features).
"""

from typing import NamedTuple

import torch

# Coordinates are clipped here: their squares stay finite, and RBF affinities underflow
# to zero for any bandwidth below this.
FARTHEST = 2.0**400

# Smallest ratio of standard deviations that float64 resolves in a covariance matrix.
_RANK_RTOL = 1e-7

# A sample of at least this many rows, if there are as many, gives the column medians.
_MEDIAN_ROWS = 256


class Affine(NamedTuple):
    """The map from rows X to ``X @ matrix + intercept``."""

    matrix: torch.Tensor
    intercept: torch.Tensor


class Blocks:
    """What a function makes of each batch: ``for block in blocks``.

    With `is_kept` the blocks of the first pass are kept for the next ones; without,
    each pass computes them anew.
    """

    def __init__(self, batches, to_block, is_kept):
        self.batches = batches
        self.to_block = to_block
        self.is_kept = is_kept
        self.kept = None

    def __iter__(self):
        """Yield one block after the other."""
        if self.kept is not None:
            yield from self.kept
            return
        kept = []
        for X in self.batches:
            block = self.to_block(X)
            if self.is_kept:
                kept.append(block)
            yield block
            # A block that is not kept is freed before the next one is computed.
            del block
        if self.is_kept:
            self.kept = kept


def unit_projection(X, affine):
    """Return rows of X after an affine map, scaled to unit length.

    The map's outputs must have lengths near one, so that squares neither overflow nor
    underflow.
    """
    return scale_to_unit_(torch.addmm(affine.intercept, X, affine.matrix))


def scale_to_unit_(F):
    """Return rows whose lengths are near one at unit length, in place."""
    norms = torch.linalg.vector_norm(F, dim=1, keepdim=True)
    return F.div_(torch.where(norms > 0, norms, 1.0))


def unit_rows(X):
    """Return rows scaled to unit length; rows of zeros stay."""
    # Dividing by the largest value first keeps squares from overflow and underflow.
    scale = X.abs().amax(1, keepdim=True)
    X = X / torch.where(scale > 0, scale, 1.0)
    norms = X.norm(dim=1, keepdim=True)
    return X / torch.where(norms > 0, norms, 1.0)


def squared_norms(X):
    """Return the squared length of each row."""
    return torch.linalg.vector_norm(X, dim=1).square_()


def squared_distances(X, Y, direct=False, products=None):
    """Return squared Euclidean distances between the rows of X and those of Y.

    They are expanded as ``|x|^2 - 2 x.y + |y|^2``, with one matrix product (`products`,
    where ``X @ Y.T`` is known already). `direct` sums squared differences instead,
    which is slow and exact.
    """
    if direct:
        mode = "donot_use_mm_for_euclid_dist"
        return torch.cdist(X, Y, compute_mode=mode).square_()
    norms = squared_norms(X)[:, None] + squared_norms(Y)
    if products is not None:
        return norms.sub_(products, alpha=2).clamp_(min=0)
    return norms.addmm_(X, Y.T, alpha=-2).clamp_(min=0)


def every_nth(n_samples, n_rows=_MEDIAN_ROWS):
    """Return a slice of at least so many evenly spaced rows, enough for a median."""
    return slice(None, None, max(1, n_samples // n_rows))


def column_medians(sample):
    """Return the upper median of each column."""
    return sample.sort(dim=0).values[len(sample) // 2]


def column_range(batches):
    """Return the smallest and the largest value of each column, in float64."""
    low, high = None, None
    for X in batches:
        batch_low, batch_high = X.aminmax(dim=0)
        low = batch_low if low is None else torch.minimum(low, batch_low)
        high = batch_high if high is None else torch.maximum(high, batch_high)
    return low.to(torch.float64), high.to(torch.float64)


def sum_and_scatter(batches):
    """Return the sums of all rows x and of all their outer products x x^T."""
    total, scatter = 0.0, 0.0
    for X in batches:
        total = total + X.sum(0)
        scatter = scatter + X.T @ X
    return total, scatter


def resolved_axes(covariance, errors):
    """Return the eigenvalues and eigenvectors of a covariance that exceed rounding.

    `errors` are the rounding errors of the columns. Axes along which these reach the
    standard deviation are dropped, except for the widest axis.

    Returns
    -------
    values : tensor of shape (rank,)
    vectors : tensor of shape (n_features, rank)
    """
    values, vectors = torch.linalg.eigh(covariance)
    unresolved = vectors.square().T @ errors.square()
    kept = values > torch.maximum(values[-1] * _RANK_RTOL**2, unresolved)
    kept[-1] = True
    return values[kept], vectors[:, kept]

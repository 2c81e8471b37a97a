"""Similarities between two sets of rows, a block at a time: ranks, neighbours, means.

Every metric becomes ``X @ Y.T + bias``, with a bias for each row of Y, up to what is
the same for all rows of Y and thus changes no rank.
"""

import math

import torch

from sklearn_featalign._affinity import rbf_affinity, squared_distances

# Numbers in one block.
_BLOCK = 2**22

# Similarities this close, relative to the norms of their rows, are tied: above the
# rounding error of a dot product, which depends on where in a matrix product it stands.
_TIE_RTOL = 1e-12


def row_blocks(n_rows, n_columns):
    """Yield slices of rows, each of one block of `n_columns` numbers a row."""
    step = max(1, _BLOCK // n_columns)
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def unit_rows(X):
    """Return rows of unit length; rows of zeros stay."""
    # In two steps, so that squares neither overflow nor vanish.
    scale = X.abs().amax(1, keepdim=True)
    X = X / torch.where(scale > 0, scale, 1.0)
    norms = X.norm(dim=1, keepdim=True)
    return X / torch.where(norms > 0, norms, 1.0)


def comparable(X, Y, metric):
    """Return X, Y and the bias that make up the similarities of a metric.

    Parameters
    ----------
    X, Y : tensor of shape (n_samples, n_features), float64
    metric : {"cosine", "dot", "euclidean"}

    Returns
    -------
    X, Y : tensor of shape (n_samples, n_features)
    bias : tensor of shape (n_samples,)
    """
    bias = torch.zeros(len(Y), dtype=Y.dtype, device=Y.device)
    if metric == "cosine":
        return unit_rows(X), unit_rows(Y), bias
    if metric == "dot":
        return X / largest(X), Y / largest(Y), bias
    # A median stays among most rows when others are far away.
    origin = Y.median(0).values
    X, Y = X - origin, Y - origin
    scale = torch.maximum(largest(X), largest(Y))
    X, Y = X / scale, Y / scale
    # |x - y|^2 = |x|^2 - 2 (x.y - |y|^2 / 2), in which |x|^2 orders nothing.
    return X, Y, -Y.square().sum(1) / 2


def largest(X):
    """Return the largest absolute value, or one if all are zero."""
    value = X.abs().max()
    return torch.where(value > 0, value, 1.0)


def neighbor_means(X, Y, n_neighbors):
    """Return for each row of X its mean dot product with the nearest rows of Y."""
    return torch.cat(
        [
            (X[rows] @ Y.T).topk(n_neighbors).values.mean(1)
            for rows in row_blocks(len(X), len(Y))
        ]
    )


def own_ranks(X, Y, bias):
    """Return the rank of row i of Y among all rows of Y, seen from row i of X.

    Returns
    -------
    ranks : tensor of shape (n_samples,)
        From 1. Rows that are tied with the own one count half.
    """
    norms, sizes = Y.norm(dim=1), bias.abs()
    ranks = []
    for rows in row_blocks(len(X), len(Y)):
        S = torch.addmm(bias, X[rows], Y.T)
        own = S.diagonal(rows.start)[:, None]
        reach = X[rows].norm(dim=1, keepdim=True)
        # No two similarities of a row that differ by more are tied.
        widest = 2 * _TIE_RTOL * (reach * norms.max() + sizes.max())
        above, tied = ranks_within(S, own, widest)
        # Which is too wide where one row of Y is far out.
        unsure = tied.nonzero()[:, 0]
        if len(unsure):
            errors = _TIE_RTOL * (reach[unsure] * norms + sizes)
            own_errors = errors.gather(1, unsure[:, None] + rows.start)
            above[unsure], tied[unsure] = ranks_within(
                S[unsure], own[unsure], errors + own_errors
            )
        ranks.append(1 + above + tied.to(X.dtype) / 2)
    return torch.cat(ranks)


def ranks_within(S, own, margin):
    """Return how many similarities are above the own one, and tied with it."""
    # 32 bits, since sums of booleans in 64 take twice as long.
    above = (S > own + margin).sum(1, dtype=torch.int32)
    tied = (S >= own - margin).sum(1, dtype=torch.int32) - above - 1
    return above, tied


def neighbors_within(X, bias, n_neighbors):
    """Return the indices of the nearest other rows of each row.

    Returns
    -------
    indices : tensor of shape (n_samples, n_neighbors)
    """
    indices = []
    for rows in row_blocks(len(X), len(X)):
        S = torch.addmm(bias, X[rows], X.T)
        S.diagonal(rows.start).fill_(-torch.inf)
        indices.append(S.topk(n_neighbors).indices)
    return torch.cat(indices)


def log_mean_gaussian(X, t):
    r"""Return :math:`\log` of the mean of :math:`e^{-t \|x - x'\|^2}` over all pairs.

    The pairs are those of different rows.
    """
    scale = float(largest(X))
    X = X / scale
    # Finite, so that no distance of zero becomes NaN.
    rate = min(t * scale * scale, 1e300)
    sums = []
    for rows in row_blocks(len(X), len(X)):
        exponents = squared_distances(X[rows], X).mul_(-rate)
        exponents.diagonal(rows.start).fill_(-torch.inf)
        sums.append(exponents.flatten().logsumexp(0))
    return float(torch.stack(sums).logsumexp(0)) - math.log(len(X) * (len(X) - 1))


def affinity_by_label(X, Y, labels, gamma):
    """Return the mean affinity across X and Y of pairs of equal and of unequal label.

    The bandwidth is `gamma` times twice the total variance of X and Y stacked.
    """
    stacked = torch.cat([X, Y])
    origin = stacked.mean(0)
    scale = largest(stacked - origin)
    X, Y = (X - origin) / scale, (Y - origin) / scale
    total_variance = (X.square().sum() + Y.square().sum()) / (len(stacked) - 1)
    rate = float(1 / (2 * gamma * total_variance))
    sums = torch.zeros(2, dtype=X.dtype, device=X.device)
    n_equal = 0
    for rows in row_blocks(len(X), len(Y)):
        A = rbf_affinity(squared_distances(X[rows], Y), rate)
        equal = labels[rows, None] == labels
        n_equal += int(equal.sum())
        within = A[equal].sum()
        sums += torch.stack([within, A.sum() - within])
    counts = torch.tensor([n_equal, len(X) * len(Y) - n_equal]).to(sums)
    return (sums / counts).tolist()


def centred_overlap(X, Y):
    r"""Return :math:`\langle K_X, K_Y \rangle` of the centred linear kernels.

    By products of features, or of rows where those are fewer.
    """
    X, Y = X - X.mean(0), Y - Y.mean(0)
    if max(X.shape[1], Y.shape[1]) <= len(X):
        return float((X.T @ Y).square().sum())
    return float(
        sum(
            ((X[rows] @ X.T) * (Y[rows] @ Y.T)).sum()
            for rows in row_blocks(len(X), len(X))
        )
    )

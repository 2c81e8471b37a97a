"""Similarities between two sets of rows, a block at a time: ranks, neighbours, means.

Every metric becomes ``X @ Y.T + bias``, with a bias for each row of Y, up to what is
the same for all rows of Y and thus changes no rank.
"""

import math

import torch

from sklearn_featalign._coordinates import column_medians, some_rows

# Numbers in one block.
_BLOCK = 2**22

# Similarities this close, relative to the norms of their rows, are tied: above the
# rounding error of a dot product, which depends on where in a matrix product it stands.
_TIE_RTOL = 1e-12


def similarity_blocks(X, Y, bias=None):
    """Yield slices of the rows of X with their similarities to all rows of Y.

    All blocks share one piece of memory: allocated anew, blocks of this size can leave
    holes that the next one does not fit into, until all similarities take their place.
    """
    step = max(1, _BLOCK // len(Y))
    memory = X.new_empty((min(step, len(X)), len(Y)))
    bias = X.new_zeros(()) if bias is None else bias
    for start in range(0, len(X), step):
        rows = slice(start, min(start + step, len(X)))
        S = memory[: rows.stop - rows.start]
        yield rows, torch.addmm(bias, X[rows], Y.T, out=S)


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
    return euclidean(X, Y)[:3]


def euclidean(X, Y):
    """Return X and Y moved and scaled, the bias, and the scale.

    From :math:`|x - y|^2 = |x|^2 - 2 (x y - |y|^2 / 2)`, in which the first term orders
    nothing.
    """
    # A median stays among most rows when others are far away.
    origin = column_medians(Y[some_rows(len(Y))])
    X, Y = X - origin, Y - origin
    scale = torch.maximum(largest(X), largest(Y))
    X, Y = X / scale, Y / scale
    return X, Y, -Y.square().sum(1) / 2, float(scale)


def largest(X):
    """Return the largest absolute value, or one if all are zero."""
    value = X.abs().max()
    return torch.where(value > 0, value, 1.0)


def neighbor_means(X, Y, n_neighbors):
    """Return for each row of X its mean dot product with the nearest rows of Y."""
    means = X.new_empty(len(X))
    for rows, S in similarity_blocks(X, Y):
        means[rows] = S.topk(n_neighbors).values.mean(1)
    return means


def own_ranks(X, Y, bias):
    """Return the rank of row i of Y among all rows of Y, seen from row i of X.

    Returns
    -------
    ranks : tensor of shape (n_samples,)
        From 1. Rows that are tied with the own one count half.
    """
    norms, sizes = Y.norm(dim=1), bias.abs()
    ranks = X.new_empty(len(X))
    for rows, S in similarity_blocks(X, Y, bias):
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
        ranks[rows] = 1 + above + tied.to(X.dtype) / 2
    return ranks


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
    indices = X.new_empty((len(X), n_neighbors), dtype=torch.int64)
    for rows, S in similarity_blocks(X, X, bias):
        S.diagonal(rows.start).fill_(-torch.inf)
        indices[rows] = S.topk(n_neighbors).indices
    return indices


def log_mean_gaussian(X, t):
    r"""Return :math:`\log` of the mean of :math:`e^{-t \|x - x'\|^2}` over all pairs.

    The pairs are those of different rows.
    """
    X, _, bias, scale = euclidean(X, X)
    # Finite, so that no distance of zero becomes NaN.
    rate = min(t * scale * scale, 1e300)
    sums = X.new_empty(len(X))
    for rows, S in similarity_blocks(X, X, bias):
        exponents = S.add_(bias[rows, None]).mul_(2 * rate).clamp_(max=0)
        exponents.diagonal(rows.start).fill_(-torch.inf)
        sums[rows] = exponents.logsumexp(1)
    return float(sums.logsumexp(0)) - math.log(len(X) * (len(X) - 1))


def affinity_by_label(X, Y, labels, gamma):
    """Return the mean affinity across X and Y of pairs of equal and of unequal label.

    The bandwidth is `gamma` times twice the total variance of X and Y stacked.
    """
    X, Y, bias, _ = euclidean(X, Y)
    stacked = torch.cat([X, Y])
    rate = float(1 / (2 * gamma * stacked.var(0).sum()))
    halves = X.square().sum(1) / 2
    sums = X.new_zeros(2)
    n_equal = 0
    for rows, S in similarity_blocks(X, Y, bias):
        A = S.sub_(halves[rows, None]).mul_(2 * rate).clamp_(max=0).exp_()
        equal = labels[rows, None] == labels
        n_equal += int(equal.sum())
        within = A[equal].sum()
        sums += torch.stack([within, A.sum() - within])
    counts = sums.new_tensor([n_equal, len(X) * len(Y) - n_equal])
    return (sums / counts).tolist()


def centred_overlap(X, Y):
    r"""Return :math:`\langle K_X, K_Y \rangle` of the centred linear kernels.

    By products of features, or of rows where those are fewer.
    """
    X, Y = X - X.mean(0), Y - Y.mean(0)
    if max(X.shape[1], Y.shape[1]) <= len(X):
        return float((X.T @ Y).square().sum())
    blocks = zip(similarity_blocks(X, X), similarity_blocks(Y, Y), strict=True)
    return sum(float((K * L).sum()) for (_, K), (_, L) in blocks)

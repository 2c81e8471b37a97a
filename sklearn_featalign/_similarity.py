"""Similarities between two sets of rows, block by block: ranks, neighbours, means.

Every metric is written as ``X @ Y.T + bias`` with one bias for each row of Y. Terms
that are equal for all rows of Y are left out, since they change no rank.
"""

import math

import torch

from sklearn_featalign import _memory
from sklearn_featalign._linalg import column_medians, every_nth, unit_rows

# Tie tolerance, relative to the norms of the two rows. It exceeds the rounding error of
# a dot product, which depends on its place in the matrix product.
_TIE_RTOL = 1e-12


def similarity_blocks(X, Y, bias=None):
    """Yield slices of the rows of X with their similarities to all rows of Y.

    Each block overwrites the one before: separate allocations of this size would
    fragment the memory.
    """
    step = max(1, _memory.BLOCK_NUMBERS // len(Y))
    memory = X.new_empty((min(step, len(X)), len(Y)))
    bias = X.new_zeros(()) if bias is None else bias
    for start in range(0, len(X), step):
        rows = slice(start, min(start + step, len(X)))
        S = memory[: rows.stop - rows.start]
        yield rows, torch.addmm(bias, X[rows], Y.T, out=S)


def comparable(X, Y, metric):
    """Return X, Y and the bias with which ``X @ Y.T + bias`` ranks as a metric does.

    The metric is "cosine", "dot" or "euclidean".
    """
    bias = torch.zeros(len(Y), dtype=Y.dtype, device=Y.device)
    if metric == "cosine":
        return unit_rows(X), unit_rows(Y), bias
    if metric == "dot":
        return X / largest(X), Y / largest(Y), bias
    return euclidean(X, Y)[:3]


def euclidean(X, Y):
    """Return X and Y shifted and scaled, the bias, and the scale.

    In :math:`|x - y|^2 = |x|^2 - 2 (x y - |y|^2 / 2)` the first term changes no rank.
    """
    # The median, unlike the mean, stays among most rows if others are far away.
    origin = column_medians(Y[every_nth(len(Y))])
    X, Y = X - origin, Y - origin
    scale = torch.maximum(largest(X), largest(Y))
    X, Y = X / scale, Y / scale
    return X, Y, -Y.square().sum(1) / 2, float(scale)


def largest(X):
    """Return the largest absolute value, or one if all values are zero."""
    value = X.abs().max()
    return torch.where(value > 0, value, 1.0)


def neighbor_means(X, Y, n_neighbors):
    """Return the mean dot product of each row of X with its nearest rows of Y."""
    means = X.new_empty(len(X))
    for rows, S in similarity_blocks(X, Y):
        means[rows] = S.topk(n_neighbors).values.mean(1)
    return means


def own_ranks(X, Y, bias, groups=None):
    """Return the rank of row i of Y among all rows of Y by similarity to row i of X.

    The nearest has rank 1, and each row that is tied with row i adds a half. With
    groups, integers for each row, it is the rank of the nearest row of Y in the group
    of row i, among this one and all rows of other groups.
    """
    norms, sizes = Y.norm(dim=1), bias.abs()
    margins = tie_margins(X, Y, bias)
    ranks = X.new_empty(len(X))
    for rows, S in similarity_blocks(X, Y, bias):
        if groups is None:
            own_index = torch.arange(rows.start, rows.stop, device=X.device)[:, None]
        else:
            own_index = keep_nearest_of_group_(S, groups[rows, None] == groups)
        own = S.gather(1, own_index)
        above, tied = count_above_and_tied(S, own, margins[rows])
        # This bound is loose if Y has outliers: where it leaves rows tied, they are
        # counted anew with a tolerance for each row of Y.
        unsure = tied.nonzero()[:, 0]
        if len(unsure):
            margin = exact_margins(X[rows][unsure], norms, sizes, own_index[unsure])
            above[unsure], tied[unsure] = count_above_and_tied(
                S[unsure], own[unsure], margin
            )
        ranks[rows] = 1 + above + tied.to(X.dtype) / 2
    return ranks


def keep_nearest_of_group_(S, is_own):
    """Return the nearest row of the own group, and take its others out of S."""
    nearest = S.masked_fill(~is_own, -torch.inf).argmax(1, keepdim=True)
    S.masked_fill_(is_own.scatter(1, nearest, False), -torch.inf)
    return nearest


def mean_log_likelihoods(X, Y, bias, temperatures):
    """Return the mean logarithm of the share that row i of Y has for row i of X.

    The shares are a softmax of the similarities over a temperature, as in InfoNCE (van
    den Oord, Li and Vinyals 2018). There is one mean for each temperature.
    """
    totals = [0.0] * len(temperatures)
    for rows, S in similarity_blocks(X, Y, bias):
        own = S.diagonal(rows.start)
        for i, t in enumerate(temperatures):
            totals[i] += float((own / t - (S / t).logsumexp(1)).sum())
    return [total / len(X) for total in totals]


def count_above_and_tied(S, own, margin):
    """Return how many similarities exceed the own one, and how many tie with it."""
    # Sums of booleans in 32 bits take half the time of sums in 64.
    above = (S > own + margin).sum(1, dtype=torch.int32)
    tied = (S >= own - margin).sum(1, dtype=torch.int32) - above - 1
    return above, tied


def common_neighbors(first, second, k, n, groups=None):
    """Return the share of k nearest rows that are among n nearest ones elsewhere.

    Ties are broken at random, apart in the two searches: this is the mean.

    Parameters
    ----------
    first, second : tuple
        Two searches among the same objects: arguments of `similarity_blocks`.
    k, n : int
        Numbers of nearest rows in the first and in the second.
    groups : tensor of int, optional
        Row i of X does not search the rows of Y that have the number of row i.
    """
    total = 0.0
    blocks = zip(
        nearest_shares(*first, k, groups),
        nearest_shares(*second, n, groups),
        strict=True,
    )
    for shares, others in blocks:
        total += float((shares * others).sum())
    return total / (len(first[0]) * k)


def nearest_shares(X, Y, bias, n, groups=None):
    """Yield with what share each row of Y is among the n nearest of a block of X.

    Those that tie with the n-th have equal shares in what is left.
    """
    norms, sizes = Y.norm(dim=1), bias.abs()
    margins = tie_margins(X, Y, bias)
    for rows, S in similarity_blocks(X, Y, bias):
        if groups is not None:
            S.masked_fill_(groups[rows, None] == groups, -torch.inf)
        last = S.topk(n)
        smallest, index = last.values[:, -1:], last.indices[:, -1:]
        above, tied = above_and_tied(S, smallest, margins[rows])
        # As in `own_ranks`, the bound is loose if Y has outliers.
        unsure = (tied.sum(1) > 1).nonzero()[:, 0]
        if len(unsure):
            margin = exact_margins(X[rows][unsure], norms, sizes, index[unsure])
            found = above_and_tied(S[unsure], smallest[unsure], margin)
            above[unsure], tied[unsure] = found
        left = n - above.sum(1, keepdim=True)
        # A quotient of integers would be of the user's default dtype.
        yield above + tied * (left.to(S.dtype) / tied.sum(1, keepdim=True))


def above_and_tied(S, value, margin):
    """Return masks of the similarities that exceed a value, and that tie with it."""
    above = S > value + margin
    return above, (S >= value - margin) & ~above


def tie_margins(X, Y, bias):
    """Return for each row of X, in a column, an upper bound of its tie tolerances."""
    reach = X.norm(dim=1, keepdim=True)
    return 2 * _TIE_RTOL * (reach * Y.norm(dim=1).max() + bias.abs().max())


def exact_margins(X, norms, sizes, index):
    """Return the tie tolerances of rows of X with all rows of Y, and with one of these.

    `norms` and `sizes` are the lengths and the absolute biases of the rows of Y, and
    `index`, of shape (n_rows, 1), tells with which one each row of X is compared.
    """
    errors = _TIE_RTOL * (X.norm(dim=1, keepdim=True) * norms + sizes)
    return errors + errors.gather(1, index)


def log_mean_gaussian(X, t):
    r"""Return :math:`\log` of the mean of :math:`e^{-t \|x - x'\|^2}` over all pairs.

    A row and itself are no pair.
    """
    X, _, bias, scale = euclidean(X, X)
    # A finite rate keeps distances of zero from becoming NaN.
    rate = min(t * scale * scale, 1e300)
    sums = X.new_empty(len(X))
    for rows, S in similarity_blocks(X, X, bias):
        exponents = S.add_(bias[rows, None]).mul_(2 * rate).clamp_(max=0)
        exponents.diagonal(rows.start).fill_(-torch.inf)
        sums[rows] = exponents.logsumexp(1)
    return float(sums.logsumexp(0)) - math.log(len(X) * (len(X) - 1))


def affinity_by_label(X, Y, labels, gamma):
    """Return the mean affinity of rows of X and Y, with equal and with other labels.

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

    Computed from products of columns, or of rows if there are fewer rows than columns.
    """
    X, Y = X - X.mean(0), Y - Y.mean(0)
    if max(X.shape[1], Y.shape[1]) <= len(X):
        return float((X.T @ Y).square().sum())
    blocks = zip(similarity_blocks(X, X), similarity_blocks(Y, Y), strict=True)
    return sum(float((K * L).sum()) for (_, K), (_, L) in blocks)

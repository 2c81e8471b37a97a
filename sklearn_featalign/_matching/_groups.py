"""Groups of matches, whose means in each view serve as pairs."""

import torch

from sklearn_featalign import _memory
from sklearn_featalign._linalg import unit_rows

_N_ROUNDS = 4


def spherical_kmeans(Z, n_groups, generator, n_rounds=_N_ROUNDS):
    """Return the group of each row of unit length: a few rounds from random rows."""
    order = torch.randperm(len(Z), generator=generator, device=generator.device)
    centres = Z[order[:n_groups].to(Z.device)]
    for _ in range(n_rounds):
        labels = nearest(Z, centres)
        centres = unit_rows(group_sums(Z, labels, n_groups))
    return nearest(Z, centres)


def nearest(Z, centres):
    """Return the index of the centre with the largest dot product."""
    parts = Z.split(_memory.MATCHED_ROWS)
    return torch.cat([(part @ centres.T).argmax(1) for part in parts])


def group_sums(X, labels, n_groups):
    """Return the sum of the rows of each group."""
    # Unlike index_add_ this adds in the same order each time, on CUDA too.
    order = labels.argsort(stable=True)
    counts = torch.bincount(labels, minlength=n_groups)
    return torch.segment_reduce(X[order], "sum", lengths=counts, axis=0)


def group_means(X, labels, n_groups):
    """Return the mean of the rows of each group, and how many there are."""
    counts = torch.bincount(labels, minlength=n_groups)
    sums = group_sums(X.to(torch.float64), labels, n_groups)
    return sums / counts.clamp(min=1)[:, None], counts

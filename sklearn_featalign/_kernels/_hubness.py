"""Columns that lower the similarities of rows that are near to everything."""

import torch

from sklearn_featalign._similarity import neighbor_means


def hubness(F, others, n_neighbors):
    """Return the mean similarity of rows to their nearest reference rows.

    `others` are the reference rows in each of the other views.
    """
    return sum(neighbor_means(F, rows, n_neighbors) for rows in others) / len(others)


def append_hubness(F, hub, metric, slot, n_views):
    r"""Return rows with columns that lower their dot products by their hubness.

    With r the hubness less its mean in the view, a column ``h = 1 - r / 2`` turns the
    dot product of two rows into

    .. math:: \langle f, g \rangle + h_f h_g = 1 + \tfrac{1}{2}
              \bigl(2 \langle f, g \rangle - r_f - r_g\bigr) + \tfrac{1}{4} r_f r_g

    which is half their CSLS (Conneau et al. 2018) up to the last term. For the cosine
    each view has one more column, zero in the rows of other views, that pads the
    squared length of its rows to 5, so that dot products across views do not change.
    Bachrach et al. (2014), "Speeding up the Xbox recommender system using a Euclidean
    transformation for inner-product spaces", pad the searched rows in this way.

    Parameters
    ----------
    F : tensor of shape (n_samples, n_features)
        With rows of unit length.
    hub : tensor of shape (n_samples,)
        Hubness less its mean, below 2 in absolute value.
    metric : {"dot", "cosine"}
    slot, n_views : int
        The position of the rows' view, and the number of views.
    """
    h = 1 - hub[:, None] / 2
    if metric == "dot":
        return torch.cat([F, h], dim=1)
    padding = h.new_zeros((len(F), n_views))
    padding[:, slot] = (4 - h.square()).clamp(min=0).sqrt()[:, 0]
    return torch.cat([F, h, padding], dim=1) / 5**0.5

"""Columns that lower the similarities of rows that are near to everything."""

import torch

from sklearn_featalign._similarity import neighbor_means

# How much of the hubness of the two rows is subtracted from their similarity.
STRENGTH = 0.65


def hubness(F, references, n_neighbors):
    """Return the mean similarity of rows to their nearest reference rows.

    Without reference rows it is zero.
    """
    if not len(references):
        return F.new_zeros(len(F))
    return neighbor_means(F, references, min(n_neighbors, len(references)))


def append_hubness(F, hub, metric, slot, n_views):
    r"""Return rows with columns that lower their dot products by their hubness.

    With r the hubness less its mean in the view and s the strength .65, a column ``h =
    1 - s * r`` turns the dot product of two rows into

    .. math:: \langle f, g \rangle + h_f h_g
              = 1 + \langle f, g \rangle - s r_f - s r_g + s^2 r_f r_g

    which is, with a strength of one half and but for the last term, half their CSLS
    (Conneau et al. 2018). For the cosine each view has one more column, zero in the
    rows of other views, that pads all rows to one length, so that dot products across
    views do not change. Bachrach et al. (2014), "Speeding up the Xbox recommender
    system using a Euclidean transformation for inner-product spaces", pad the searched
    rows in this way.

    Parameters
    ----------
    F : tensor of shape (n_samples, n_features)
        With rows of unit length.
    hub : tensor of shape (n_samples,)
        Hubness less its mean, at most 2 in absolute value.
    metric : {"dot", "cosine"}
    slot, n_views : int
        The position of the rows' view, and the number of views.
    """
    h = 1 - STRENGTH * hub[:, None]
    if metric == "dot":
        return torch.cat([F, h], dim=1)
    largest = (1 + 2 * STRENGTH) ** 2
    padding = h.new_zeros((len(F), n_views))
    padding[:, slot] = (largest - h.square()).clamp(min=0).sqrt()[:, 0]
    return torch.cat([F, h, padding], dim=1) / (1 + largest) ** 0.5

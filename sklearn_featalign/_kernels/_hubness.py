"""Columns that lower the similarities of rows that are near to everything."""

from typing import NamedTuple

import torch

from sklearn_featalign._similarity import neighbor_means

# Reference rows of a view, at most.
N_REFERENCES = 10_000

# How much of the hubness of the two rows is subtracted from their similarity.
STRENGTH = 0.65


class Reference(NamedTuple):
    """Rows of a view by which the hubness of the rows of other views is measured.

    `axes` maps output rows to the components of these rows, and is None if they are
    output rows themselves. `mean_hubness` is the mean hubness of these rows, which is
    subtracted from that of the rows of their view.
    """

    rows: torch.Tensor
    axes: torch.Tensor | None
    n_neighbors: int
    mean_hubness: float


class HubColumns(NamedTuple):
    """The function that appends columns for hubness to output rows of a view.

    `reference` is that of the view, with the rows of all other views in place of its
    own. `slot` is the position of the view.
    """

    reference: Reference
    metric: str
    slot: int
    n_views: int

    def __call__(self, F):
        """Return rows with their columns."""
        others, axes, n_neighbors, mean = self.reference
        components = F if axes is None else F @ axes
        hub = hubness(components, others, n_neighbors) - mean
        return append_hubness(F, hub, self.metric, self.slot, self.n_views)


def fit_references(rows, n_neighbors, axes=None):
    """Return the `Reference` of each view from its rows."""
    hubs = all_hubness(rows, rows, n_neighbors)
    means = [float(hub.mean()) if len(hub) else 0.0 for hub in hubs]
    return [
        Reference(own, axes, n_neighbors, mean)
        for own, mean in zip(rows, means, strict=True)
    ]


def load_hub_columns(states, slot, metric, load):
    """Return the `HubColumns` of the view in a slot, or None if there are none.

    `states` are the references of all views that a fitted aligner keeps, dicts of
    arrays or None, and `load` returns such a dict with tensors.
    """
    if states[slot] is None:
        return None
    others = states[:slot] + states[slot + 1 :]
    rows = torch.cat([torch.tensor(other["rows"], device="cpu") for other in others])
    reference = Reference(**load(states[slot] | {"rows": rows.numpy()}))
    return HubColumns(reference, metric, slot, len(states))


def hubness(F, references, n_neighbors):
    """Return the mean similarity of rows to their nearest reference rows.

    Without reference rows it is zero.
    """
    if not len(references):
        return F.new_zeros(len(F))
    return neighbor_means(F, references, min(n_neighbors, len(references)))


def all_hubness(rows, references, n_neighbors):
    """Return the hubness of rows of each view, by references of each view."""
    return [
        hubness(own, torch.cat(references[:v] + references[v + 1 :]), n_neighbors)
        for v, own in enumerate(rows)
    ]


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

"""What an encoder is trained for: functions of a batch of features, one each.

Features F and G are tensors of shape (n_samples, n_components), n_samples >= 2; every
loss is a scalar tensor.
"""

from itertools import combinations
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy, mse_loss, normalize


class Targets(NamedTuple):
    """What rows are trained for.

    Attributes
    ----------
    head : tensor of shape (n_samples,) or (n_samples, n_outputs)
        Classes or values that the head predicts.
    present : tensor of shape (n_samples, n_views), bool, or None
        The views that rows have; None if they have all.
    kept : list of tensor of shape (n_samples, n_kept), or None
        Of each view, rows whose affinities are kept; None keeps those of the input.
    """

    head: torch.Tensor
    present: torch.Tensor | None = None
    kept: list | None = None

    def take(self, rows):
        """Return the targets of some rows."""
        present = None if self.present is None else self.present[rows]
        kept = None if self.kept is None else [F[rows] for F in self.kept]
        return Targets(self.head[rows], present, kept)


def batch_affinity(F):
    r"""Return the RBF affinities within a batch, with the document's bandwidth.

    .. math:: A_{ij} = \exp(-\|f_i - f_j\|^2 / \sigma), \qquad
              \sigma = 2 \sum_k \mathrm{var}(F_k)

    Returns
    -------
    A : tensor of shape (n_samples, n_samples)
    """
    F = F - F.mean(0)
    products = F @ F.T
    squares = products.diagonal()
    # Of equal rows all distances are zero, whatever they are divided by.
    smallest = torch.finfo(F.dtype).eps ** 2
    sigma = squares.sum().clamp(min=smallest) * (2 / (len(F) - 1))
    return torch.exp((2 * products - squares - squares[:, None]) / sigma)


def affinity_loss(F, target):
    r"""Return how far affinities are from those that they should be.

    .. math:: \frac{1}{n^2} \sum_{ij} (A_{ij}(F) - T_{ij})^2

    ("Regularization" of the feature-alignment document, method 2.)

    Parameters
    ----------
    F : tensor
    target : tensor of shape (n_samples, n_samples)
        As from `batch_affinity`.
    """
    return (batch_affinity(F) - target).square().mean()


def contrastive_loss(F, G, scale):
    r"""Return the cross-entropy of finding pairs in the batch, from either side.

    .. math:: -\frac{1}{2n} \sum_i \log \frac{e^{s f_i g_i}}{\sum_j e^{s f_i g_j}}
              - \frac{1}{2n} \sum_i \log \frac{e^{s f_i g_i}}{\sum_j e^{s f_j g_i}}

    InfoNCE (van den Oord et al. 2018) with a scale s, as in CLIP (Radford et al. 2021).

    Parameters
    ----------
    F, G : tensor
        Rows of unit length.
    scale : tensor of shape ()
    """
    logits = scale * (F @ G.T)
    own = torch.arange(len(F), device=F.device)
    return (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2


def half_shared_loss(network, features, goals, inputs, *, weights, loss, one_by_one):
    """Return the loss of a batch: the weighted sum of all that training is for.

    Each term is a mean over the views, or pairs of them, that two rows at least have.

    Parameters
    ----------
    network : HalfSharedNetwork
    features : list of tensor of shape (n_samples, n_components)
    goals : dict of str to tensor of length n_samples
        ``target``: classes, or values of shape (n_samples, n_outputs). Optionally
        ``present``, of shape (n_samples, n_views), where views are absent. Of each view
        ``affinity0`` and so on, rows whose affinities are to be kept.
    weights : dict of str to float
        Of ``affinity``, ``pull`` and ``contrastive``.
    loss : {"cross_entropy", "mse"}
    one_by_one : bool
        Whether each row is a class of its own. The classes of the batch's rows are all
        that it is told from then, so that this cost does not grow with their number.
    """
    views = range(len(features))
    target, present = goals.head, goals.present
    everywhere = torch.arange(len(target), device=target.device)
    here = [
        everywhere if present is None else present[:, v].nonzero()[:, 0] for v in views
    ]

    def at(values, rows):
        return values if rows is everywhere else values[rows]

    terms = {"head": [], "affinity": [], "pull": [], "contrastive": []}
    for v in views:
        rows = here[v]
        if len(rows) < 2:
            continue
        F = at(features[v], rows)
        terms["head"].append(head_loss(network, F, target, rows, loss, one_by_one))
        if weights["affinity"]:
            kept = at(inputs[v] if goals.kept is None else goals.kept[v], rows)
            terms["affinity"].append(affinity_loss(F, batch_affinity(kept)))
    for u, v in combinations(views, 2):
        rows = here[u] if present is None else here[u][present[here[u], v]]
        if len(rows) < 2:
            continue
        F, G = at(features[u], rows), at(features[v], rows)
        if weights["pull"]:
            # Over their variance it would let features shrink to nothing at no cost.
            terms["pull"].append(mse_loss(F, G))
        if weights["contrastive"]:
            F, G = normalize(F), normalize(G)
            terms["contrastive"].append(contrastive_loss(F, G, network.scale))
    means = [
        weights.get(name, 1) / len(losses) * sum(losses)
        for name, losses in terms.items()
        if losses
    ]
    return sum(means) if means else 0 * features[0].sum()


def head_loss(network, F, target, rows, loss, one_by_one):
    """Return the loss of what the head makes of a view's features.

    F has the rows of the batch where the view is at hand, target all of them.
    """
    if loss == "mse":
        return mse_loss(network.predict(F), target[rows])
    # Of all rows in one batch the classes are all there are.
    if one_by_one and len(target) < len(network.head["weight"]):
        return cross_entropy(network.predict(F, target), rows)
    return cross_entropy(network.predict(F), target[rows])

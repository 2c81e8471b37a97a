"""The losses of half-shared networks.

Features F and G of a batch are tensors of shape (n_samples, n_components) with at least
two rows. Every loss is a scalar tensor.
"""

from itertools import combinations
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy, mse_loss, normalize


class Targets(NamedTuple):
    """Targets of training rows.

    Attributes
    ----------
    head : tensor of shape (n_samples,) or (n_samples, n_outputs)
        Classes or values that the head predicts.
    present : tensor of shape (n_samples, n_views), bool, or None
        Which views each row has; None if every row has every view.
    affinity_targets : list of tensor of shape (n_samples, n_columns), or None
        Rows of each view whose affinities are preserved; None stands for the inputs.
    """

    head: torch.Tensor
    present: torch.Tensor | None = None
    affinity_targets: list | None = None

    def take(self, rows):
        """Return the targets of some rows."""
        head, present, references = self
        return Targets(
            head[rows],
            None if present is None else present[rows],
            None if references is None else [Z[rows] for Z in references],
        )


def batch_affinity(F):
    r"""Return the RBF affinities within a batch, with the document's bandwidth.

    .. math:: A_{ij} = \exp(-\|f_i - f_j\|^2 / \sigma), \qquad
              \sigma = 2 \sum_k \mathrm{var}(F_k)
    """
    F = F - F.mean(0)
    products = F @ F.T
    squares = products.diagonal()
    # If all rows are equal, their distances are zero for any positive sigma.
    smallest = torch.finfo(F.dtype).eps ** 2
    sigma = squares.sum().clamp(min=smallest) * (2 / (len(F) - 1))
    return torch.exp((2 * products - squares - squares[:, None]) / sigma)


def affinity_loss(F, target):
    r"""Return the mean squared error of affinities.

    .. math:: \frac{1}{n^2} \sum_{ij} (A_{ij}(F) - T_{ij})^2

    Method 2 of "Regularization" in the feature-alignment document; the target T is an
    output of `batch_affinity`.
    """
    return (batch_affinity(F) - target).square().mean()


def contrastive_loss(F, G, scale):
    r"""Return the cross-entropy of finding pairs in the batch, in both directions.

    .. math:: -\frac{1}{2n} \sum_i \log \frac{e^{s f_i g_i}}{\sum_j e^{s f_i g_j}}
              - \frac{1}{2n} \sum_i \log \frac{e^{s f_i g_i}}{\sum_j e^{s f_j g_i}}

    InfoNCE (van den Oord et al. 2018) with a scale s, as in CLIP (Radford et al. 2021).
    Rows of F and G have unit length.
    """
    logits = scale * (F @ G.T)
    own = torch.arange(len(F), device=F.device)
    return (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2


def head_loss(network, F, target, rows, loss, row_is_class):
    """Return the loss of the head's predictions from the features F of one view.

    F has the rows of the batch that have the view, at the positions `rows` (None: all
    rows have it); `target` has all rows of the batch.
    """
    if loss == "mse":
        return mse_loss(network.predict(F), select(target, rows))
    # With all rows in one batch, the batch's classes are all classes.
    if row_is_class and len(target) < len(network.head["weight"]):
        own = torch.arange(len(F), device=F.device) if rows is None else rows
        return cross_entropy(network.predict(F, target), own)
    return cross_entropy(network.predict(F), select(target, rows))


def half_shared_loss(
    network, features, targets, inputs, *, weights, loss, row_is_class
):
    """Return the loss of a batch, the weighted sum of all terms.

    Each term is a mean over views, or pairs of views, that at least two rows have.

    Parameters
    ----------
    network : HalfSharedNetwork
    features, inputs : list of tensor of shape (n_samples, n_columns)
        Output and input of the encoder of each view.
    targets : Targets
    weights : dict of str to float
        Weights of ``affinity``, ``pull`` and ``contrastive``; that of ``head`` is 1.
    loss : {"cross_entropy", "mse"}
    row_is_class : bool
        Whether each row is a class of its own. The head then discriminates among the
        classes of the batch only, so that its cost does not grow with their number.
    """
    present = targets.present
    references = targets.affinity_targets or inputs
    terms = {"head": [], "affinity": [], "pull": [], "contrastive": []}
    for v, F in enumerate(features):
        rows = rows_with(present, v, v)
        if rows is not None and len(rows) < 2:
            continue
        F = select(F, rows)
        head = head_loss(network, F, targets.head, rows, loss, row_is_class)
        terms["head"].append(head)
        if weights["affinity"]:
            A = batch_affinity(select(references[v], rows))
            terms["affinity"].append(affinity_loss(F, A))
    for u, v in combinations(range(len(features)), 2):
        rows = rows_with(present, u, v)
        if rows is not None and len(rows) < 2:
            continue
        F, G = select(features[u], rows), select(features[v], rows)
        if weights["pull"]:
            # Divided by the variance it would be scale-invariant, and nothing would
            # keep features from collapsing.
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


def rows_with(present, u, v):
    """Return the positions of the rows that have views u and v, or None for all."""
    if present is None:
        return None
    return (present[:, u] & present[:, v]).nonzero()[:, 0]


def select(values, rows):
    """Return some of the values, or all if rows is None."""
    return values if rows is None else values[rows]

"""What an encoder is trained for: functions of a batch of features, one each.

Features F and G are tensors of shape (n_samples, n_components), n_samples >= 2; every
loss is a scalar tensor.
"""

import torch
from torch.nn.functional import cross_entropy


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

"""Contrastive losses of a batch.

Features F and G are tensors of shape (n_samples, n_components) with at least two rows,
of which row i of both is a positive pair. Every loss is a scalar tensor.
"""

import math
from functools import partial
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy, normalize


class Loss(NamedTuple):
    """A loss and its constants: see `ContrastiveEncoder`."""

    name: str
    alpha: float
    beta: float
    lambda_: float
    margin: float | None
    temperature: float
    t: float
    n_negatives: int | None
    normalize: bool

    def __call__(self, F, G, generator):
        """Return the loss of a batch; the generator draws the negatives."""
        if self.normalize:
            F, G = normalize(F), normalize(G)
        negatives = partial(
            negative_squares, n_negatives=self.n_negatives, generator=generator
        )
        if self.name == "infonce":
            return info_nce(F, G, negatives, self.temperature)
        attraction = powers((F - G).square().sum(1), self.alpha).mean()
        if self.name == "l2":
            return attraction - self.lambda_ * self.repulsion(F, G, negatives)
        return attraction + self.lambda_ * self.uniformity(F, G, negatives)

    def repulsion(self, F, G, negatives):
        r"""Return the sum over negatives of :math:`\|f - f^-\|^\beta`, its mean."""
        lengths = torch.cat([negatives(F, G), negatives(G, F)])
        if self.margin is not None:
            lengths = lengths.clamp(max=self.margin**2)
        n_summed = 1 if self.n_negatives is None else self.n_negatives
        return n_summed * powers(lengths, self.beta).mean()

    def uniformity(self, F, G, negatives):
        r"""Return the log of the mean of :math:`e^{-t \|f - f^-\|^2}` within views."""
        exponents = [-self.t * negatives(Z, Z).flatten() for Z in (F, G)]
        return sum(e.logsumexp(0) - math.log(len(e)) for e in exponents) / 2


def info_nce(F, G, negatives, temperature):
    r"""Return the cross-entropy of finding the positive among the negatives.

    .. math:: -\log \frac{e^{f g / \tau}}{e^{f g / \tau} + \sum_i e^{f f_i^- / \tau}}

    Rows have unit length; negatives are in both views, as in SimCLR.
    """
    losses = []
    for Z, other in ((F, G), (G, F)):
        own = (Z - other).square().sum(1, keepdim=True)
        squares = torch.cat([own, negatives(Z, other), negatives(Z, Z)], dim=1)
        # The dot product of unit rows is 1 - |x - y|^2 / 2, and the 1 cancels.
        first = torch.zeros(len(Z), dtype=torch.long, device=Z.device)
        losses.append(cross_entropy(-squares / (2 * temperature), first))
    return sum(losses) / 2


def negative_squares(F, G, n_negatives, generator):
    """Return squared distances of rows of F from negatives, which are rows of G.

    Row i is no negative of row i. All others are, or some that are drawn at random, the
    shape being (n_samples, n_negatives).
    """
    n = len(F)
    if n_negatives is None:
        squares = (F.square().sum(1)[:, None] + G.square().sum(1) - 2 * F @ G.T).clamp(
            min=0
        )
        # Leave the diagonal out by shearing: row i begins after its own place.
        return squares.flatten()[1:].view(n - 1, n + 1)[:, :-1].reshape(n, n - 1)
    shape = (n, n_negatives)
    steps = torch.randint(1, n, shape, generator=generator, device=F.device)
    others = (torch.arange(n, device=F.device)[:, None] + steps) % n
    return (F[:, None] - G[others]).square().sum(2)


def powers(squares, exponent):
    """Return powers of distances from their squares.

    At zero the gradient of a power below two is infinite: distances below the rounding
    error of the features count as equal to it.
    """
    if exponent == 2:
        return squares
    smallest = torch.finfo(squares.dtype).eps * squares.detach().mean()
    smallest = smallest.clamp(min=torch.finfo(squares.dtype).tiny)
    return squares.clamp(min=smallest) ** (exponent / 2)

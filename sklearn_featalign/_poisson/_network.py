"""The field as a network: what it is trained for, and the lines that it gives.

Sources: Xu, Liu, Tegmark and Jaakkola (2022), "Poisson flow generative models"; the
uniformity document, Agrawal (2023), "Imposing uniformity through Poisson flow models".
"""

import math
from functools import partial

import torch
from torch.nn.functional import mse_loss, normalize

from sklearn_featalign._mlp import encode, encoder_weights
from sklearn_featalign._poisson._charges import field as charge_field
from sklearn_featalign._training import ViewDataset, train

# The largest growth of the heights of training points, as a power of e.
_LARGEST_LOG = 500.0

# The smallest sine of the angle at which a network's lines rise.
_SMALLEST_RISE = 1e-3


def perturb(X, sigma, tau, M, generator):
    r"""Return points above rows, at heights and distances of all orders of magnitude.

    A row x becomes :math:`(x + |\epsilon_x| (1 + \tau)^m u, |\epsilon_z| (1 + \tau)^m)`
    with m uniform between 0 and M, u uniform on the sphere and the components of
    :math:`\epsilon` normal with deviation sigma: Xu et al. (2022), algorithm 2. The
    height is the last column.
    """
    m = M * X.new_empty((len(X), 1)).uniform_(generator=generator)
    reach = sigma * (1 + tau) ** m
    # The order of the draws is part of what a seed gives.
    length = torch.empty_like(X).normal_(generator=generator).norm(dim=1, keepdim=True)
    direction = normalize(torch.empty_like(X).normal_(generator=generator))
    height = torch.empty_like(m).normal_(generator=generator).abs()
    return torch.cat([X + reach * length * direction, reach * height], dim=1)


def normalized_field(E, gamma):
    r"""Return :math:`\sqrt{d} E / (|E| + \gamma)`, the target of a network."""
    norm = E.norm(dim=1, keepdim=True)
    return (E.shape[1] - 1) ** 0.5 * E / (norm + gamma)


def largest_exponent(norm, d, sigma, tau):
    r"""Return the M with which perturbed rows reach well beyond the data.

    .. math:: \Bigl\lfloor \frac{3}{4} \log_{1 + \tau}
              \frac{\|x\|^2}{2 \sqrt d \sigma^2} \Bigr\rfloor + 1

    with the mean norm of the rows: Xu et al. (2022), appendix B, in the form of their
    code.
    """
    log_ratio = 2 * (math.log(norm) - math.log(sigma)) - math.log(2 * math.sqrt(d))
    return max(1, int(0.75 * log_ratio / math.log1p(tau)) + 1)


def trained_height(sigma, tau, M):
    """Return the mean height of the highest training points: PFGM's ``z_max``."""
    log_growth = min(M * math.log1p(tau), _LARGEST_LOG)
    return math.sqrt(2 / math.pi) * sigma * math.exp(log_growth)


def network_field(points, weights):
    """Return the field at points, as predicted by a network."""
    return encode(points, weights, torch.relu)


def network_mean(X, height, weights):
    """Return the mean charge that a network's field points away from.

    Where the field points down or along the plane, it is made to rise a little.
    """
    heights = height * torch.ones_like(X[:, :1])
    E = network_field(torch.cat([X, heights], dim=1), weights)
    rise = torch.maximum(E[:, -1:], _SMALLEST_RISE * E.norm(dim=1, keepdim=True))
    return X - height * E[:, :-1] / rise


def projected_velocity(t, points, weights):
    """Return E / (E . y) at points y: the equation of the document.

    The length of y grows as ``d|y|^2 / ds = 2``. The equation does not depend on the
    sign of E, and has a pole where E is orthogonal to y. The origin is a fixed point.
    """
    E = network_field(points, weights)
    product = (E * points).sum(1, keepdim=True)
    return torch.where(product == 0, 0.0, E / product)


class FieldNetwork(torch.nn.Module):
    """A network that learns the field, and the points that it is trained at.

    Parameters
    ----------
    weights : dict of str to tensor
    n_points : int
        Number of rows of a batch that are perturbed; all rows are charges.
    gamma : float
    to_points : callable
        Maps rows to points above them, as `perturb` does.
    generator : torch.Generator
        Of the rows that are perturbed.
    """

    def __init__(self, weights, n_points, gamma, to_points, generator):
        super().__init__()
        self.weights = torch.nn.ParameterDict(weights)
        self.n_points = n_points
        self.gamma = gamma
        self.to_points = to_points
        self.generator = generator

    def forward(self, views):
        """Return the predicted and the true normalised field at fresh points.

        The rows of the batch are the only view.
        """
        (X,) = views
        with torch.no_grad():
            # A single batch of all rows is not shuffled.
            order = torch.randperm(len(X), generator=self.generator, device=X.device)
            points = self.to_points(X[order[: self.n_points]])
            target = normalized_field(charge_field(points, X), self.gamma)
        return network_field(points, self.weights), target


def field_loss(network, output, targets, views):
    """Return the mean squared error of the predicted field."""
    return mse_loss(*output)


def make_network(Z, field, M, generator, point_generator):
    """Return the network that training starts from.

    `field` is a PoissonField. `generator` draws the weights; it is one of the CPU, so
    that these do not depend on the device. `point_generator` draws the points that the
    network is trained at, on the device of the rows Z.
    """
    width = Z.shape[1] + 1
    hidden = field.hidden_layer_sizes
    hidden = [width, width] if hidden is None else hidden
    weights = encoder_weights([width, *hidden, width], generator)
    return FieldNetwork(
        {name: weight.to(Z.device) for name, weight in weights.items()},
        field.small_batch_size,
        float(field.gamma),
        partial(
            perturb,
            sigma=float(field.sigma),
            tau=float(field.tau),
            M=M,
            generator=point_generator,
        ),
        point_generator,
    )


def train_network(network, Z, field, generator, sklearn_callbacks):
    """Train a network by Adam at a constant rate, and return skorch's history."""
    return train(
        network,
        ViewDataset([Z.to(torch.float32)]),
        field_loss,
        max_epochs=field.max_epochs,
        lr=float(field.lr),
        batch_size=field.large_batch_size,
        generator=generator,
        sklearn_callbacks=sklearn_callbacks,
        weight_decay=0.0,
        lr_factor=None,
    )

r"""The electric field of charges in a plane, and how rows move along it.

Each training row is a charge at height zero over a space of d dimensions. At a point x
and height r the field of charges :math:`y_j` that stand for :math:`w_j` rows each is

.. math:: E \propto \sum_j w_j \frac{(x - y_j, r)}{(|x - y_j|^2 + r^2)^{(d + 1) / 2}}

so that a line of force obeys

.. math:: \frac{dx}{d \ln r} = r \frac{E_x}{E_r} = x - \hat y(x, r)

with :math:`\hat y` the mean of the charges under the weights of the sum. Powers of
distances are formed where float64 holds them, and elsewhere their logarithms, so that
nothing overflows in hundreds of dimensions.

It is solved for :math:`v = x / s` with :math:`s^2 = 1 + (r / a)^2`, in the time
:math:`t = -\mathrm{arsinh}(a / r)`, a the length of a row, which makes of it

.. math:: \frac{dv}{dt} = \frac{v}{s} - \hat y(s v, r)

This is the equation above near the charges, where t is ln(r / a) but for a constant,
and far from them nothing is left to solve: infinity is the time 0.

Sources: Xu, Liu, Tegmark and Jaakkola (2022), "Poisson flow generative models"; the
document "Imposing uniformity through Poisson flow models", for what is trained.
"""

import math

import torch

from sklearn_featalign._affinity import keep, squared_distances
from sklearn_featalign._coordinates import squared_norms
from sklearn_featalign._modules import encode

# The start height is this much of the distance to the fifth neighbour, times
# d ** -0.25: measured for d from 2 to 8.
_HEIGHT_SHARE = 0.25
_NEIGHBORS = 5

# Rows whose distances or perplexities are looked at for a height: at most and at least,
# and so that there are no more distances than these.
_PROBES = (1000, 64)
_PROBED_DISTANCES = 2**24

# Steps of the bisection for a height, over this many powers of e either way.
_BISECTIONS = 24
_LOG_RANGE = 7.0

# Logarithm of a weight that is none, finite since it is multiplied by zero.
_NEVER = -1e6

# No height is less than this share of the size of the data, where squared distances
# lose their digits.
_SMALLEST_HEIGHT = 1e-6

# Squared heights are this share of squared distances or more, and powers of that share
# numbers of float64, for the field to be a sum of powers.
_SMALLEST_SHARE = 1e-10
_SMALLEST_POWER = 1e-290

# Numbers that are multiplied with copies of themselves at a time.
_IN_CACHE = 2**16

# A network's points are within this power of e of sigma.
_LARGEST_LOG = 500.0

# Least sine of the angle at which a network's lines rise.
_SMALLEST_RISE = 1e-3


def log_field_weights(X, height, charges, log_counts):
    """Return the logarithms of the weights in the sum of the field.

    Parameters
    ----------
    X : tensor of shape (n_samples, n_features)
    height : float, tensor of shape () or (n_samples, 1)
    charges : tensor of shape (n_charges, n_features)
    log_counts : tensor of shape (n_charges,)
        Logarithms of how many rows each charge stands for.

    Returns
    -------
    L : tensor of shape (n_samples, n_charges)
    """
    D = squared_distances(X, charges)
    return weigh(D, height, charges.shape[1], log_counts)


def weigh(D, height, d, log_counts):
    """Return logarithms of weights from squared distances, in place."""
    return D.add_(height**2).log_().mul_(-(d + 1) / 2).add_(log_counts)


def mean_charge(X, height, charges, log_counts, own=None):
    """Return the mean of the charges as the field weighs them at rows.

    Parameters
    ----------
    X, height, charges, log_counts
        As for `log_field_weights`.
    own : tuple of tensors of shape (n_samples, 1), optional
        As from `own_charges`.

    Returns
    -------
    Y : tensor of shape (n_samples, n_features)
    """
    L = log_field_weights(X, height, charges, log_counts)
    if own is not None:
        L.scatter_add_(1, *own)
    return L.softmax(1) @ charges


def tabulate(charges, log_counts):
    """Return charges as `mean_charge_by_powers` takes them.

    Returns
    -------
    table : tuple of tensors
        Of shape (n_features + 2, n_charges), for a charge y the column
        :math:`(-2y, 1, |y|^2)`, of shape (n_charges, n_features + 1), for one of w rows
        the row :math:`(w y, w)`, and of shape (), the largest :math:`|y|^2`.
    """
    squares = squared_norms(charges)[:, None]
    counts = log_counts.exp()[:, None]
    left = torch.cat([-2 * charges, torch.ones_like(squares), squares], dim=1)
    right = torch.cat([counts * charges, counts], dim=1)
    return left.T.contiguous(), right, squares.max()


def powers_are_safe(height, reach, d):
    """Return whether `mean_charge_by_powers` is exact, from a height on.

    Parameters
    ----------
    height : float
    reach : float
        The largest length of a charge.
    d : int
        Number of dimensions.
    """
    share = height**2 / (2 * reach**2 + height**2)
    return share > _SMALLEST_SHARE and share ** (d + 1) > _SMALLEST_POWER


def mean_charge_by_powers(X, height, table, own=None, memory=None):
    r"""Return what `mean_charge` does, without a logarithm or an exponential.

    Two matrix products, and a few multiplications in between. Squares are taken in
    units of :math:`|x|^2 + r^2 + \max |y|^2`, so that none of their powers is far from
    one where the charges are not small beside the height.

    Parameters
    ----------
    X : tensor of shape (n_samples, n_features)
    height : float or tensor of shape ()
    table : tuple of tensors
        As from `tabulate`.
    own : tuple of tensors of shape (n_samples, 1), optional
        As from `own_charges`.
    memory : tensor of shape (n_samples, n_charges), optional
        Where weights are computed: memory asked for anew takes longer than they do.

    Returns
    -------
    Y : tensor of shape (n_samples, n_features)
    """
    d = X.shape[1]
    left, right, largest = table
    squares = squared_norms(X)[:, None] + height**2
    rows = torch.cat([X, squares, torch.ones_like(squares)], dim=1)
    W = torch.mm(rows / (squares + largest), left, out=memory)
    # The power is (d + 1) / 2.
    if d % 2 == 0:
        W = power_(W, d + 1).rsqrt_()
    else:
        W = power_(W, (d + 1) // 2).reciprocal_()
    if own is not None:
        index, change = own
        W.scatter_(1, index, W.gather(1, index) * change.exp())
    sums = W @ right
    return sums[:, :-1] / sums[:, -1:]


def power_(X, exponent):
    """Return a power of numbers, which lie side by side, in place.

    By squares and cubes, and products with copies of a part that stays in the cache.
    """
    if exponent == 1:
        return X
    if exponent % 2 == 0:
        return power_(X.square_(), exponent // 2)
    if exponent % 3 == 0:
        return power_(X.pow_(3), exponent // 3)
    for part in X.view(-1).split(_IN_CACHE):
        base = part.clone()
        power_(part, exponent - 1).mul_(base)
    return X


def own_charges(X, charges, log_counts, within):
    """Return the charge that each row is nearest to, and what it loses by leaving it.

    A row that coincides with a charge takes one row off its count, so that it is not
    driven by itself: training rows and new ones are treated alike.

    Parameters
    ----------
    X, charges, log_counts
        As for `log_field_weights`.
    within : float
        Distance up to which a row coincides.

    Returns
    -------
    index : tensor of shape (n_samples, 1), int64
    change : tensor of shape (n_samples, 1)
        To be added to the logarithm of its count: zero for a row that does not
        coincide, minus infinity for one that is all of its charge.
    """
    D, index = squared_distances(X, charges).min(1, keepdim=True)
    change = change_of_leaving(index, log_counts)
    return index, torch.where(D <= within**2, change, 0.0)


def change_of_leaving(index, log_counts):
    """Return what one row less adds to the logarithms of counts."""
    return torch.log1p(-1 / log_counts[index].exp().round())


def start_time(height, size):
    """Return the time t of a height: see the module's docstring."""
    return -math.asinh(size / height)


def stretch(height, size):
    """Return s, by which v is shorter than x at a height."""
    return math.hypot(1, height / size)


def velocity(t, V, mean, size):
    """Return ``dv / dt`` where ``mean(X, height)`` is that of the charges.

    The time is a tensor, which nobody waits for.
    """
    r_over_a = 1 / torch.sinh(-t)
    s = torch.hypot(torch.ones_like(t), r_over_a)
    return V / s - mean(V * s, size * r_over_a)


def probes(charges):
    """Return some of the charges, evenly spread over their order."""
    most, least = _PROBES
    n_probes = max(least, min(most, _PROBED_DISTANCES // len(charges)))
    return charges[:: math.ceil(len(charges) / n_probes)]


def data_size(charges, log_counts):
    """Return the root mean square of the coordinates of rows around their mean."""
    weights = log_counts.softmax(0)[:, None]
    centered = charges - (weights * charges).sum(0)
    return float((weights * centered.square()).sum(0).mean().sqrt())


def spacing_height(map_rows, charges, size):
    """Return the height at which rows start to spread: a share of their spacing.

    Parameters
    ----------
    map_rows : callable
        ``map_rows(function)`` yields ``function(batch)`` for the rows that are looked
        at, one batch after the other: see `probes`.
    charges : tensor of shape (n_charges, n_features)
        Different from each other.
    size : float
        Of the data.
    """
    k = min(_NEIGHBORS, len(charges) - 1)

    def to_neighbor(X):
        D = squared_distances(X, charges)
        # Of kthvalue torch has no deterministic algorithm on CUDA.
        return D.topk(k + 1, dim=1, largest=False).values[:, -1]

    distance = float(torch.cat(list(map_rows(to_neighbor))).sqrt().median())
    share = _HEIGHT_SHARE * charges.shape[1] ** -0.25
    return max(share * distance, _SMALLEST_HEIGHT * size)


def perplexity_height(map_rows, charges, log_counts, perplexity):
    """Return the height at which the median row sees so many charges.

    The perplexity of a row is the exponential of the entropy of its weights, with
    itself left out. It grows with the height. In few dimensions it is large even in the
    plane, whose height is then a thousandth of the distances between charges.
    """

    def distances(X):
        D = squared_distances(X, charges)
        return D, D.argmin(1, keepdim=True)

    # Of more charges than that the fewest probes have more distances.
    fits = _PROBES[1] * len(charges) <= _PROBED_DISTANCES
    over_probes = keep(map_rows, distances, fits)

    def median_entropy(height):
        def entropies(block):
            D, index = block
            L = weigh(D.clone(), height, charges.shape[1], log_counts)
            change = change_of_leaving(index, log_counts)
            L.scatter_add_(1, index, change.clamp(min=_NEVER))
            # Of p = exp(L - l) it is l - the mean of L.
            return L.logsumexp(1) - (L.softmax(1) * L).sum(1)

        return torch.cat(over_probes(entropies, list)).median()

    means = torch.cat(over_probes(lambda block: block[0].mean(1), list))
    scale = float(means.mean().sqrt())
    low, high = -_LOG_RANGE, _LOG_RANGE
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        seen = float(median_entropy(scale * math.exp(middle)).exp())
        low, high = (middle, high) if seen < perplexity else (low, middle)
    return scale * math.exp(high)


def perturb(X, sigma, tau, M, generator):
    r"""Return points over rows, at heights and distances spread over orders.

    A row x becomes :math:`(x + |\epsilon_x| (1 + \tau)^m u, |\epsilon_z| (1 + \tau)^m)`
    with m uniform between 0 and M, u uniform on the sphere and the components of
    :math:`\epsilon` normal with deviation sigma: Xu et al. (2022), algorithm 2.

    Parameters
    ----------
    X : tensor of shape (n_samples, n_features)
    sigma, tau, M : float
    generator : torch.Generator

    Returns
    -------
    points : tensor of shape (n_samples, n_features + 1)
        The height is the last column.
    """
    n_samples = len(X)

    def normal(n_columns):
        return X.new_empty((n_samples, n_columns)).normal_(generator=generator)

    m = M * X.new_empty((n_samples, 1)).uniform_(generator=generator)
    reach = sigma * (1 + tau) ** m
    length = reach * normal(X.shape[1]).norm(dim=1, keepdim=True)
    direction = torch.nn.functional.normalize(normal(X.shape[1]))
    return torch.cat([X + length * direction, reach * normal(1).abs()], dim=1)


def field(points, charges):
    """Return the field of charges of one row each at points, in the unit of a length.

    It is divided by the sum of the weights, which leaves x minus their mean charge, and
    the height.

    Parameters
    ----------
    points : tensor of shape (n_samples, n_features + 1)
    charges : tensor of shape (n_charges, n_features)
    """
    X, z = points[:, :-1], points[:, -1:]
    log_counts = torch.zeros_like(charges[:, 0])
    return torch.cat([X - mean_charge(X, z, charges, log_counts), z], dim=1)


def normalized_field(E, gamma):
    r"""Return :math:`\sqrt{d} E / (|E| + \gamma)`, what a network is trained for."""
    norm = E.norm(dim=1, keepdim=True)
    return (E.shape[1] - 1) ** 0.5 * E / (norm + gamma)


def largest_exponent(norm, d, sigma, tau):
    r"""Return M so that perturbed rows reach well beyond the data.

    .. math:: \Bigl\lfloor \frac{3}{4} \log_{1 + \tau}
              \frac{\|x\|^2}{2 \sqrt d \sigma^2} \Bigr\rfloor + 1

    with the mean norm of the rows: Xu et al. (2022), appendix B, as their code has it.
    """
    log_ratio = 2 * (math.log(norm) - math.log(sigma)) - math.log(2 * math.sqrt(d))
    return max(1, int(0.75 * log_ratio / math.log1p(tau)) + 1)


def trained_height(sigma, tau, M):
    """Return the mean height of the highest training points: PFGM's ``z_max``."""
    log_growth = min(M * math.log1p(tau), _LARGEST_LOG)
    return math.sqrt(2 / math.pi) * sigma * math.exp(log_growth)


def network_field(points, weights):
    """Return the field that a network sees at points: see `_modules.encode`."""
    return encode(points, weights, torch.relu)


def network_mean(X, height, weights):
    """Return the mean charge that a network's field points away from.

    Where it points down or along the plane, lines are taken to rise by a little.
    """
    heights = height * torch.ones_like(X[:, :1])
    E = network_field(torch.cat([X, heights], dim=1), weights)
    rise = torch.maximum(E[:, -1:], _SMALLEST_RISE * E.norm(dim=1, keepdim=True))
    return X - height * E[:, :-1] / rise


def projected_velocity(t, points, weights):
    """Return E / (E . y) at points y: the equation of the document.

    The length of y grows as ``d|y|^2 / ds = 2``. It is blind to the sign of E, and has
    a pole where E is at a right angle to y. The origin stays where it is.
    """
    E = network_field(points, weights)
    product = (E * points).sum(1, keepdim=True)
    return torch.where(product == 0, 0.0, E / product)

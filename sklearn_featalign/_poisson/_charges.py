r"""The electric field of charges in a plane, as sums over the charges.

Each training row is a charge at height zero over a space of d dimensions. At a point x
and height r the field of charges :math:`y_j` that stand for :math:`w_j` rows each is

.. math:: E \propto \sum_j w_j \frac{(x - y_j, r)}{(|x - y_j|^2 + r^2)^{(d + 1) / 2}}

so that a line of force obeys

.. math:: \frac{dx}{d \ln r} = r \frac{E_x}{E_r} = x - \hat y(x, r)

with :math:`\hat y` the mean of the charges under the weights of the sum. A charge may
lie below the plane: with depths :math:`s_j` the height above it is :math:`r + s_j`, and

.. math:: \frac{dx}{d \ln r} = \frac{r (x - \hat y)}{r + \hat s}

with the mean :math:`\hat s` of the depths. The functions return x less this, which is
:math:`\hat y` without depths, and take part in the same equation. Weights are computed
from powers of distances where the floating-point numbers hold these, and from their
logarithms elsewhere, so that nothing overflows in hundreds of dimensions.

Source: Xu, Liu, Tegmark and Jaakkola (2022), "Poisson flow generative models".
"""

from typing import NamedTuple

import torch

from sklearn_featalign import _memory
from sklearn_featalign._linalg import squared_distances, squared_norms

# The field is a sum of powers only if squared heights are at least the first share of
# squared distances, and if the powers of that share are at least the second number. In
# float32 outputs then differ by some 1e-6 from those in float64.
_SMALLEST = {torch.float64: (1e-10, 1e-280), torch.float32: (1e-6, 1e-26)}


class Charges(NamedTuple):
    """Charges below a plane, or in it.

    Attributes
    ----------
    places : tensor of shape (n_charges, n_features)
    log_counts : tensor of shape (n_charges,)
        Logarithms of how many rows each charge stands for.
    depths : tensor of shape (n_charges,)
        Depths below the plane; above it if negative.
    """

    places: torch.Tensor
    log_counts: torch.Tensor
    depths: torch.Tensor


def charges_in_plane(places, log_counts):
    """Return charges that are no deeper than the plane."""
    return Charges(places, log_counts, torch.zeros_like(log_counts))


def log_weights_(D, height, d, log_counts):
    """Return the logarithms of the weights from squared distances, in place."""
    return D.add_(height**2).log_().mul_(-(d + 1) / 2).add_(log_counts)


def mean_charge(X, height, charges, own=None):
    """Return the mean of the charges under the field weights at each row.

    Parameters
    ----------
    X : tensor of shape (n_samples, n_features)
    height : float or tensor of shape ()
    charges : Charges
    own : tuple of tensors of shape (n_samples, 1), optional
        As from `coincident_charges`.
    """
    D = squared_distances(X, charges.places)
    heights = height + charges.depths
    L = log_weights_(D, heights, X.shape[1], charges.log_counts)
    if own is not None:
        L.scatter_add_(1, *own)
    W = L.softmax(1)
    return towards(X, height, W @ charges.places, W @ charges.depths[:, None])


def towards(X, height, places, depths):
    """Return x less its slope, for the mean places and depths of charges."""
    return (depths * X + height * places) / (height + depths)


def augment_charges(charges, dtype=torch.float64):
    """Return charges in the form that `mean_charge_by_powers` takes.

    Returns
    -------
    augmented : tuple of tensors
        The first, of shape (n_features + 3, n_charges), has the column :math:`(-2y, 1,
        |y|^2 + s^2, 2s)` for a charge y at the depth s; the second, of shape
        (n_charges, n_features + 2), has the row :math:`(w y, w s, w)` for a charge of w
        rows; the third is the largest :math:`|y|^2 + s^2`. The first two have the dtype
        of the weights.
    """
    places, depths = charges.places, charges.depths[:, None]
    squares = squared_norms(places)[:, None] + depths**2
    counts = charges.log_counts.exp()[:, None]
    left = torch.cat(
        [-2 * places, torch.ones_like(squares), squares, 2 * depths], dim=1
    )
    right = torch.cat([counts * places, counts * depths, counts], dim=1)
    return left.T.contiguous().to(dtype), right.to(dtype), squares.max()


def safe_height(reach, d, dtype=torch.float64):
    """Return the height from which on `mean_charge_by_powers` is exact enough.

    This depends on the largest distance of a charge from the origin, the number d of
    dimensions and the dtype of the weights.
    """
    share, power = _SMALLEST[dtype]
    share = max(share, power ** (2 / (d + 1)))
    return reach * (2 * share / (1 - share)) ** 0.5


def mean_charge_by_powers(X, height, augmented, own=None, memory=None):
    r"""Return what `mean_charge` does, without a logarithm or an exponential.

    This takes two matrix products with a few multiplications in between. Squares are in
    units of :math:`|x|^2 + r^2 + \max |y|^2`, so that their powers stay in the range
    of the dtype unless the height is small beside the charges: see `safe_height`.

    Parameters
    ----------
    X : tensor of shape (n_samples, n_features)
    height : float or tensor of shape ()
    augmented : tuple of tensors
        As from `augment_charges`.
    own : tuple of tensors of shape (n_samples, 1), optional
        As from `coincident_charges`.
    memory : tensor, optional
        As from `weights_memory`: a new allocation takes longer than the weights do.
    """
    left, right, largest = augmented
    if memory is None:
        memory = weights_memory(X, left.shape[1], left.dtype)
    squares = squared_norms(X)[:, None] + height**2
    ones = torch.ones_like(squares)
    rows = torch.cat([X, squares, ones, height * ones], dim=1)
    rows = rows.div_(squares + largest).to(left.dtype)
    sums = rows.new_empty((len(X), right.shape[1]))
    for start in range(0, len(X), len(memory)):
        part = slice(start, start + len(memory))
        block = rows[part]
        W = torch.mm(block, left, out=memory[: len(block)])
        W = to_weights_(W, X.shape[1])
        if own is not None:
            index, change = own[0][part], own[1][part]
            W.scatter_(1, index, W.gather(1, index) * change.exp())
        torch.mm(W, right, out=sums[part])
    means = (sums[:, :-1] / sums[:, -1:]).to(X.dtype)
    return towards(X, height, means[:, :-1], means[:, -1:])


def weights_memory(X, n_charges, dtype=torch.float64):
    """Return memory for the weights of a block of the rows of X."""
    is_cpu = X.device.type == "cpu"
    n_numbers = _memory.BLOCK_WEIGHTS if is_cpu else _memory.BLOCK_NUMBERS
    n_rows = max(1, min(len(X), n_numbers // n_charges))
    return X.new_empty((n_rows, n_charges), dtype=dtype)


def to_weights_(W, d):
    """Return the power -(d + 1) / 2 of a contiguous tensor, in place."""
    if d % 2 == 0:
        return power_(W.rsqrt_(), d + 1)
    return power_(W.reciprocal_(), (d + 1) // 2)


def power_(X, exponent):
    """Return a power of the numbers of a contiguous tensor, in place.

    The exponent is split into squares, cubes, and products with a copy of a part that
    stays in the cache.
    """
    if exponent == 1:
        return X
    if exponent % 2 == 0:
        return power_(X.square_(), exponent // 2)
    if exponent % 3 == 0:
        return power_(X.pow_(3), exponent // 3)
    for part in X.view(-1).split(_memory.CACHED_WEIGHTS):
        base = part.clone()
        power_(part, exponent - 1).mul_(base)
    return X


def coincident_charges(X, charges, log_counts, within):
    """Return the nearest charge of each row, and what a coincident row takes off it.

    The count of a charge is one less for a row that coincides with it, so that the row
    is not driven by itself: training rows and new rows are treated in the same way. A
    row coincides up to the distance `within`.

    Returns
    -------
    index : tensor of shape (n_samples, 1), int64
    change : tensor of shape (n_samples, 1)
        To be added to the logarithm of the count: zero for a row that does not
        coincide, minus infinity for the only row of its charge.
    """
    D, index = squared_distances(X, charges).min(1, keepdim=True)
    change = log_count_without_self(index, log_counts)
    return index, torch.where(D <= within**2, change, 0.0)


def log_count_without_self(index, log_counts):
    """Return the change of the logarithms of counts if one row is left out."""
    return torch.log1p(-1 / log_counts[index].exp().round())


def field(points, charges):
    """Return the field over the sum of its weights: x less the mean charge, height.

    Each charge is one row. The height is the last column of the points.
    """
    X, z = points[:, :-1], points[:, -1:]
    charges = charges_in_plane(charges, torch.zeros_like(charges[:, 0]))
    return torch.cat([X - mean_charge(X, z, charges), z], dim=1)

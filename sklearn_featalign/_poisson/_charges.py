r"""The electric field of charges in a plane, as sums over the charges.

Each training row is a charge at height zero over a space of d dimensions. At a point x
and height r the field of charges :math:`y_j` that stand for :math:`w_j` rows each is

.. math:: E \propto \sum_j w_j \frac{(x - y_j, r)}{(|x - y_j|^2 + r^2)^{(d + 1) / 2}}

so that a line of force obeys

.. math:: \frac{dx}{d \ln r} = r \frac{E_x}{E_r} = x - \hat y(x, r)

with :math:`\hat y` the mean of the charges under the weights of the sum. These weights
are computed from powers of distances where float64 holds the powers, and from their
logarithms elsewhere, so that nothing overflows in hundreds of dimensions.

Source: Xu, Liu, Tegmark and Jaakkola (2022), "Poisson flow generative models".
"""

import torch

from sklearn_featalign import _memory
from sklearn_featalign._linalg import squared_distances, squared_norms

# The field is a sum of powers only if squared heights are at least this share of
# squared distances, and if the powers of that share are at least this number.
_SMALLEST_SHARE = 1e-10
_SMALLEST_POWER = 1e-290


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
    return log_weights_(D, height, charges.shape[1], log_counts)


def log_weights_(D, height, d, log_counts):
    """Return the logarithms of the weights from squared distances, in place."""
    return D.add_(height**2).log_().mul_(-(d + 1) / 2).add_(log_counts)


def mean_charge(X, height, charges, log_counts, own=None):
    """Return the mean of the charges under the field weights at each row.

    The arguments are those of `log_field_weights`; `own` is as from
    `coincident_charges`.
    """
    L = log_field_weights(X, height, charges, log_counts)
    if own is not None:
        L.scatter_add_(1, *own)
    return L.softmax(1) @ charges


def augment_charges(charges, log_counts):
    """Return charges in the form that `mean_charge_by_powers` takes.

    Returns
    -------
    augmented : tuple of tensors
        The first, of shape (n_features + 2, n_charges), has the column :math:`(-2y, 1,
        |y|^2)` for a charge y; the second, of shape (n_charges, n_features + 1), has
        the row :math:`(w y, w)` for a charge of w rows; the third is the largest
        :math:`|y|^2`.
    """
    squares = squared_norms(charges)[:, None]
    counts = log_counts.exp()[:, None]
    left = torch.cat([-2 * charges, torch.ones_like(squares), squares], dim=1)
    right = torch.cat([counts * charges, counts], dim=1)
    return left.T.contiguous(), right, squares.max()


def powers_are_safe(height, max_norm, d):
    """Return whether `mean_charge_by_powers` is exact from a height upwards.

    This depends on the largest norm of a charge and the number d of dimensions.
    """
    share = height**2 / (2 * max_norm**2 + height**2)
    return share > _SMALLEST_SHARE and share ** (d + 1) > _SMALLEST_POWER


def mean_charge_by_powers(X, height, augmented, own=None, memory=None):
    r"""Return what `mean_charge` does, without a logarithm or an exponential.

    This takes two matrix products with a few multiplications in between. Squares are in
    units of :math:`|x|^2 + r^2 + \max |y|^2`, so that their powers stay in the range
    of float64 unless the height is small beside the charges: see `powers_are_safe`.

    Parameters
    ----------
    X : tensor of shape (n_samples, n_features)
    height : float or tensor of shape ()
    augmented : tuple of tensors
        As from `augment_charges`.
    own : tuple of tensors of shape (n_samples, 1), optional
        As from `coincident_charges`.
    memory : tensor of shape (n_samples, n_charges), optional
        The weights are computed here: a new allocation takes longer than they do.
    """
    d = X.shape[1]
    left, right, largest = augmented
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
    log_counts = torch.zeros_like(charges[:, 0])
    return torch.cat([X - mean_charge(X, z, charges, log_counts), z], dim=1)

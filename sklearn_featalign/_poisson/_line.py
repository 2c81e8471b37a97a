r"""Lines of force over charges in one dimension, in closed form.

The field of charges :math:`y_j` of :math:`w_j` rows at depths :math:`s_j` has no
divergence in the plane of x and r. So along a line of force the flux

.. math:: \varphi(x, r) =
              \frac{\sum_j w_j \, \mathrm{arccot} \frac{x - y_j}{r + s_j}}{\sum_j w_j}

which passes to the right of it does not change. Far above it is
:math:`\mathrm{arccot}(x / r)`, and uniform between zero and :math:`\pi`.
"""

import torch

from sklearn_featalign import _memory

# Where a line passes a height is known to within this share of its distance.
_RTOL = 1e-14
_MOST_STEPS = 200


def follow_flux(X, start, end, own=None):
    """Return where the lines of force through rows at one height pass another.

    Parameters
    ----------
    X : tensor of shape (n_samples, 1)
    start, end : tuple of (float, Charges)
        Heights, and the charges that drive rows there, in one dimension.
    own : tuple of tensors of shape (n_samples, 1), optional
        As from `coincident_charges`.

    Returns
    -------
    X : tensor of shape (n_samples, 1)
    """
    most = max(len(charges.places) for _, charges in (start, end))
    is_cpu = X.device.type == "cpu"
    n_numbers = _memory.BLOCK_WEIGHTS if is_cpu else _memory.BLOCK_NUMBERS
    size = max(1, n_numbers // most)
    blocks = (slice(first, first + size) for first in range(0, len(X), size))
    return torch.cat(
        [
            solve_flux(X[block], start, end, own and [part[block] for part in own])
            for block in blocks
        ]
    )


def solve_flux(X, start, end, own):
    """Return `follow_flux` of one block of rows.

    The cotangent of the flux is solved for, which is linear in x far from the charges.
    Rows on the left are mirrored, so that the small fluxes of distant rows keep their
    digits.
    """
    height, charges = end
    places = charges.places
    side = torch.where(X < places.mean(), -1.0, 1.0)
    goal = 1 / flux(X, *start, side, own)[0].tan()

    def excess(X, rows):
        owns = own and [part[rows] for part in own]
        angle, density = flux(X, *end, side[rows], owns)
        value = side[rows] * (1 / angle.tan() - goal[rows])
        return value, density / angle.sin().square()

    # Where the line would pass if one charge had all rows, for the outermost ones.
    ends = side * goal * (height + charges.depths) + places.T
    low, high = ends.amin(1, True), ends.amax(1, True)
    return increasing_root(excess, low, high, places.abs().max())


def increasing_root(function, low, high, scale):
    """Return where an increasing function of each row is zero, between two bounds.

    Newton's method, with bisection where a step leaves the bounds or is more than half
    of the last one, as in an endless cycle. ``function(X, rows)`` returns the values
    and slopes of the rows of these indices. Numbers are exact to rounding errors of
    themselves or of `scale`.
    """
    low, high = low.clone(), high.clone()
    found, last = (low + high) / 2, high - low
    rows = torch.arange(len(low), device=low.device)
    for _ in range(_MOST_STEPS):
        at = found[rows]
        value, slope = function(at, rows)
        low[rows] = torch.where(value < 0, at, low[rows])
        high[rows] = torch.where(value > 0, at, high[rows])
        new = at - value / slope
        is_good = (new >= low[rows]) & (new <= high[rows])
        is_good = is_good & ((new - at).abs() <= last[rows] / 2)
        new = torch.where(is_good, new, (low[rows] + high[rows]) / 2)
        found[rows], last[rows] = new, (new - at).abs()
        rows = rows[(last[rows] > _RTOL * new.abs().maximum(scale))[:, 0]]
        if not len(rows):
            break
    return found


def flux(X, height, charges, side, own=None):
    """Return the flux to a side of rows, and its density, both (n_samples, 1).

    The side is 1 (right) or -1 (left) for each row.
    """
    D = X - charges.places.T
    heights = (height + charges.depths).expand_as(D)
    angles = torch.atan2(heights, side * D)
    densities = heights / (heights.square() + D.square())
    counts = charges.log_counts.exp()[:, None]
    sums = [values @ counts for values in (angles, densities)]
    total = counts.sum()
    if own is not None:
        index, change = own
        less = counts[index[:, 0]] * change.expm1()
        sums = [
            of + less * values.gather(1, index)
            for of, values in zip(sums, (angles, densities), strict=True)
        ]
        total = total + less
    return [of / total for of in sums]

"""How far features are from an isotropic normal distribution."""

import math

import torch
from sklearn.utils import check_random_state

from sklearn_featalign import _memory
from sklearn_featalign._linalg import unit_rows
from sklearn_featalign.metrics._checks import check_count, load

# The integral over frequencies is a sum at the multiples of this, up to a number where
# weights vanish; it is exact for rows that are less than 2 pi / .25 - 6 = 19 apart.
_STEP = 0.25
_N_FREQUENCIES = 32


def sliced_epps_pulley(X, *, n_directions=256, random_state=None):
    r"""Return how far features are from an isotropic normal distribution.

    Rows are centred and divided by one number, the root mean variance of a column. In
    a random direction of the space their characteristic function
    :math:`\hat\varphi` is compared with that of the normal distribution:

    .. math:: \int |\hat\varphi(t) - e^{-t^2 / 2}|^2 \, w(t) \, dt

    with the standard normal density w, which is the statistic of Epps and Pulley over
    the number of rows. The result is the mean over directions, without the pairs of a
    row with itself. It tells whether variance is the same in all directions, and
    whether rows are normal in them, up to rotation, shift and scale.

    Parameters
    ----------
    X : {array-like, tensor} of shape (n_samples, n_features)
        At least two rows, and not all equal.
    n_directions : int, default=256
        Number of random directions.
    random_state : int, RandomState instance or None, default=None
        Seeds the directions.

    Returns
    -------
    distance : float
        0 for isotropic normal rows, up to noise of about one over the number of rows,
        which makes some values negative. At most 0.4.

    Notes
    -----
    In hundreds of dimensions the projections of almost any rows whose variance is
    spread over many directions look normal (Diaconis and Freedman, 1984): then only
    unequal variances are seen.

    References
    ----------
    Epps and Pulley (1983), "A test for normality based on the empirical characteristic
    function". Balestriero and LeCun (2025), "LeJEPA", take it in random directions, as
    a loss.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_featalign.metrics import sliced_epps_pulley
    >>> X = np.random.default_rng(0).normal(size=(2000, 4))
    >>> abs(sliced_epps_pulley(X, random_state=0)) < 0.001
    True
    >>> sliced_epps_pulley(X * [1, 1, 1, 5], random_state=0) > 0.02
    True
    """
    check_count("n_directions", n_directions)
    X = load(X, "X", min_samples=2)
    X = X - X.mean(0)
    largest = X.abs().max()
    if largest == 0:
        raise ValueError("X has no spread: all rows are equal.")
    X = X / largest
    X = X / (X.square().sum(0) / (len(X) - 1)).mean().sqrt()
    draws = check_random_state(random_state).normal(size=(n_directions, X.shape[1]))
    directions = unit_rows(torch.from_numpy(draws)).to(X.device)
    size = max(1, _memory.BLOCK_NUMBERS // len(X))
    distances = [epps_pulley(X @ block.T) for block in directions.split(size)]
    return float(torch.cat(distances).mean())


def epps_pulley(P):
    """Return the distance of each column from the standard normal distribution.

    It is an unbiased estimate: see `sliced_epps_pulley`.
    """
    n_samples = len(P)
    sums = torch.zeros_like(P[0])
    for k in range(_N_FREQUENCIES):
        t = k * _STEP
        real, imaginary = (f(t * P).mean(0) for f in (torch.cos, torch.sin))
        # Without the pairs of a row with itself.
        power = real.square() + imaginary.square() - 1 / n_samples
        power = power * n_samples / (n_samples - 1)
        normal = math.exp(-(t**2) / 2)
        weight = normal * _STEP / math.sqrt(2 * math.pi) * (1 if k == 0 else 2)
        sums += weight * (power - 2 * normal * real + normal**2)
    return sums

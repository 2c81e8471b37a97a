r"""From a uniform hemisphere to a normal distribution and a cube, and back.

Far from the charges, where lines of force end, rows are uniform on a hemisphere in d +
1 dimensions. For a point (x, r) on it the ratio :math:`|x|^2 / (d r^2)` has the F(d, 1)
distribution, and for a normal point g :math:`|g|^2` has the chi-squared distribution.
Rows keep their direction and take the length of equal probability.

Both distributions are those of the logarithm of the ratio. Its density is log-concave,
so that Newton's method on the logarithm of a tail converges from one side. Tails are
finite sums (upper) and power series (lower) of positive terms: DLMF 8.4, 8.17.
:func:`torch.special.gammainc` is faster, but its logarithms are finite in a part of the
range only.
"""

import math

import torch

# Lower tails below this are summed; others are one minus the upper tail.
_SMALL_TAIL = 1e-3

_NEWTON_STEPS = 40

# A row at the centre is given this length, so that it has a direction.
_SMALLEST_LENGTH = 1e-150

# Rows are no farther out than this many heights, so that squares are finite; normal
# points of this length are.
_LARGEST_RATIO = 1e100
_LARGEST_LENGTH = 1e3

# The arctangent is the angle itself from this w on.
_SMALL_ANGLE = 100.0


def log_series(log_terms, t):
    """Return ``log(sum_j exp(log_terms[j] + j * t))``, minus infinity without terms."""
    j = torch.arange(len(log_terms), device=t.device, dtype=t.dtype)
    return (log_terms + j * t[:, None]).logsumexp(1)


def n_terms(d):
    """Return the number of terms that a lower tail below `_SMALL_TAIL` needs."""
    return 4 * d + 40


def log_rising(a, n, like):
    """Return the logarithms of the rising factorials ``(a)_j`` for j below n."""
    j = torch.arange(n, device=like.device, dtype=like.dtype)
    return torch.lgamma(a + j) - math.lgamma(a)


def tails_of(log_upper, log_lower_series):
    """Return logarithms of both tails."""
    upper = log_upper.clamp(max=0)
    lower = torch.log1p(-upper.exp())
    small = lower < math.log(_SMALL_TAIL)
    return torch.where(small, log_lower_series, lower), upper


def hemisphere_tails(w, d):
    """Return log P and log Q of ``w = ln(|x|^2 / r^2)`` on a uniform hemisphere.

    P is the share of the hemisphere nearer to the pole.
    """
    log_s, log_c = torch.nn.functional.logsigmoid(w), torch.nn.functional.logsigmoid(-w)
    k = d // 2
    if d % 2:
        terms = log_rising(1, k, w) - log_rising(1.5, k, w)
        ratio = torch.exp(-w / 2)
        angle = torch.where(w > _SMALL_ANGLE, -w / 2, torch.atan(ratio).log())
        upper = log_series(terms, log_s) + (log_c + log_s) / 2
        upper = torch.logaddexp(angle, upper) + math.log(2 / math.pi)
    else:
        terms = log_rising(0.5, k, w) - log_rising(1, k, w)
        upper = log_series(terms, log_s) + log_c / 2
    a, n = d / 2, n_terms(d)
    terms = log_rising(a + 0.5, n, w) - log_rising(a + 1, n, w)
    lower = log_series(terms, log_s) + hemisphere_log_density(w, d) - math.log(a)
    return tails_of(upper, lower)


def hemisphere_log_density(w, d):
    """Return the logarithm of the density of w: see `hemisphere_tails`."""
    log_s, log_c = torch.nn.functional.logsigmoid(w), torch.nn.functional.logsigmoid(-w)
    return d / 2 * log_s + log_c / 2 - log_beta(d / 2)


def log_beta(a):
    """Return ``log B(a, 1/2)``."""
    return math.lgamma(a) + math.lgamma(0.5) - math.lgamma(a + 0.5)


def normal_tails(t, d):
    """Return log P and log Q of ``t = ln(|g|^2 / 2)`` of a normal distribution."""
    x = t.exp()
    k, a = d // 2, d / 2
    if d % 2:
        terms = -log_rising(1.5, k, t) - math.lgamma(1.5)
        rest = math.log(2) + torch.special.log_ndtr(-(2 * x).sqrt())
        upper = torch.logaddexp(rest, log_series(terms, t) + t / 2 - x)
    else:
        upper = log_series(-log_rising(1, k, t), t) - x
    terms = -log_rising(a + 1, n_terms(d), t)
    lower = log_series(terms, t) + normal_log_density(t, d) - math.log(a)
    return tails_of(upper, lower)


def normal_log_density(t, d):
    """Return the logarithm of the density of t: see `normal_tails`."""
    return d / 2 * t - t.exp() - math.lgamma(d / 2)


def solve_tails(tails, log_density, d, log_lower, log_upper, start_lower, start_upper):
    """Return where a distribution has given tails.

    Newton's method is applied to the logarithm of the smaller tail. This is concave, so
    that from a start with an even smaller tail it converges from one side.
    """
    is_lower = log_lower < log_upper
    t = torch.where(is_lower, start_lower, start_upper)
    goal = torch.where(is_lower, log_lower, log_upper)
    for _ in range(_NEWTON_STEPS):
        lower, upper = tails(t, d)
        tail = torch.where(is_lower, lower, upper)
        step = (goal - tail) / (log_density(t, d) - tail).exp()
        t = t + torch.where(is_lower, step, -step)
    return t


def to_normal_length(w, d):
    """Return ``ln(|g|^2 / 2)`` of the normal point of the same probability as w."""
    a = d / 2
    log_lower, log_upper = hemisphere_tails(w, d)
    start_lower = (log_lower + math.lgamma(a + 1)) / a
    start_upper = (a + (-2 * a * log_upper).sqrt() - log_upper).log()
    return solve_tails(
        normal_tails,
        normal_log_density,
        d,
        log_lower,
        log_upper,
        start_lower,
        start_upper,
    )


def to_hemisphere_ratio(t, d):
    """Return the ratio w of the same probability as ``t = ln(|g|^2 / 2)``."""
    a = d / 2
    log_lower, log_upper = normal_tails(t, d)
    start_lower = (log_lower + math.log(a) + log_beta(a)) / a
    start_upper = -2 * (log_upper + log_beta(a) - math.log(2))
    return solve_tails(
        hemisphere_tails,
        hemisphere_log_density,
        d,
        log_lower,
        log_upper,
        start_lower,
        start_upper,
    )


def to_normal(X, height):
    """Return points of a normal distribution for points of a uniform hemisphere.

    X has the places where lines of force pass a height; the points keep their
    directions.
    """
    length = X.norm(dim=1).clamp(min=_SMALLEST_LENGTH)
    t = to_normal_length(2 * (length / height).log(), X.shape[1])
    return X * ((2 * t.exp()).sqrt() / length)[:, None]


def from_normal(G, height):
    """Return points at a height for those of a normal distribution."""
    # Directions are as before, up to far beyond the largest length.
    G = G.clamp(-_LARGEST_RATIO, _LARGEST_RATIO)
    length = G.norm(dim=1).clamp(min=_SMALLEST_LENGTH)
    t = (length.clamp(max=_LARGEST_LENGTH).square() / 2).log()
    w = to_hemisphere_ratio(t, G.shape[1]).clamp(max=2 * math.log(_LARGEST_RATIO))
    return G * (height * (w / 2).exp() / length)[:, None]


def to_hemisphere(X, height):
    """Return directions of points at a height, with their height as the last column."""
    points = torch.cat([X, torch.full_like(X[:, :1], height)], dim=1)
    return torch.nn.functional.normalize(points)


def from_hemisphere(points, height):
    """Return where directions pass a height: `to_hemisphere`, undone."""
    ratios = points[:, :-1] / points[:, -1:]
    return height * ratios.clamp(-_LARGEST_RATIO, _LARGEST_RATIO)


def from_cube(U, least):
    """Return normal numbers for their probabilities.

    0 and what lies below are replaced by `least`, 1 and what lies above by one minus
    this.
    """
    U = torch.where(U > 0, U, least)
    return torch.special.ndtri(torch.where(U < 1, U, 1 - least))

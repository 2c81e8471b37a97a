"""Generated rows with skewed, heavy-tailed and discrete columns, and with outliers."""

import numpy as np

N_COLUMNS = 4


def lognormal(normal, rng):
    """Return a very skewed column, and a normal one that is correlated with it."""
    a, b = normal[:2]
    return np.exp(3 * a), b + a / 2


def lognormals(normal, rng):
    """Return three correlated lognormal columns."""
    a, b, c = normal[:3]
    return np.exp(1.5 * np.array([a + 0.3 * c, a / 2 + b, b / 2 + c]))


def cauchy(normal, rng):
    """Return a Cauchy column, a normal one, and its product with another one."""
    a, b = normal[:2]
    return rng.standard_cauchy(len(a)), a, a * b


def scales(normal, rng):
    """Return columns of a million and of a millionth, which depend on each other."""
    a, b = normal[:2]
    return 1e6 * a, 1e-6 * (a**2 + b), rng.exponential(size=len(a))


def integers(normal, rng):
    """Return counts, the same with noise, and integers from 0 to 19."""
    a = normal[0]
    counts = rng.poisson(3, size=len(a))
    return counts, counts + a, rng.integers(0, 20, size=len(a))


def function(normal, rng):
    """Return a column, and its exponential with little noise."""
    a, b = normal[:2]
    return a, np.exp(a) + 0.05 * b


def curve(normal, rng):
    """Return a column and its square."""
    return normal[0], normal[0] ** 2


def outlier(normal, rng):
    """Return a parabola with noise, and 999999 in its first row."""
    a, b = normal[:2]
    b = b + a**2
    a[0] = 999999.0
    return a, b


def clusters(normal, rng):
    """Return exponentials of five narrow clusters."""
    centers = np.random.default_rng(7).normal(size=(N_COLUMNS, 5))
    own = centers[:, rng.integers(0, 5, size=normal.shape[1])]
    return np.exp(1.5 * own + 0.2 * normal)


def gamma(normal, rng):
    """Return a column whose density has no bound, and another one times it."""
    a, b = rng.gamma(0.3, size=(2, normal.shape[1]))
    return a, b * (a + 0.1)


KINDS = {
    kind.__name__: kind
    for kind in (
        lognormal,
        lognormals,
        cauchy,
        scales,
        integers,
        function,
        curve,
        outlier,
        clusters,
        gamma,
    )
}


def make_skewed(kind, n_samples, seed):
    """Return rows of a kind."""
    rng = np.random.default_rng(seed)
    normal = rng.normal(size=(N_COLUMNS, n_samples))
    return np.column_stack(KINDS[kind](normal, rng)).astype(float)

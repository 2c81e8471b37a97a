r"""Ridge regression of the features of one view on the kernel features of another.

For the rows that have both views, let F be the framed features of the source view and
Y the columns of the target view, both less their means. Translation is

.. math:: \hat Y = F (F^T F + \lambda I)^{-1} F^T Y

whose products are sums over rows, which the moments hold. With the leverage h of a row,
which includes 1 / n for the mean, :math:`(y - \hat y) / (1 - h)` is its error if it is
left out. The penalty has the smallest sum of their squares.
"""

from functools import cache
from itertools import permutations
from typing import NamedTuple

import torch

from sklearn_featalign._kernels._bandwidth import Kernel
from sklearn_featalign._kernels._features import (
    Projection,
    as_projection,
    kernel_of_projection,
)
from sklearn_featalign._kernels._frames import Frame, frame_products, unframe
from sklearn_featalign._kernels._gcca import ridge_factor, rounding_of_sums, whiten
from sklearn_featalign._kernels._moments import centred, pair_blocks
from sklearn_featalign._kernels._scaling import coordinates
from sklearn_featalign._linalg import squared_norms

# The penalties to choose from, from the middle downhill.
PENALTIES = tuple(m * 10.0**e for e in range(-8, 4) for m in (1, 3))
_FIRST = PENALTIES.index(0.1)

# Rows that are left out, at most.
N_LEFT_OUT = 1000


class Translation(NamedTuple):
    """The map from the rows of one view to those of another.

    Attributes
    ----------
    kernel : Kernel
        That of the source view.
    projection : Projection
        From the kernel features of the source to the target's own units.
    ridge : float
        The penalty.
    score : float
        Share of the variance of the target that rows which are left out explain.
    """

    kernel: Kernel
    projection: Projection
    ridge: float
    score: float


class Pair(NamedTuple):
    """Moments of the rows that have a source and a target view, less their means.

    Attributes
    ----------
    own : tensor of shape (rank + 1, rank + 1)
        Sums of products of the extended framed features of the source.
    mean : tensor of shape (rank,)
        Mean of these features.
    cross : tensor of shape (rank, n_columns)
        Sums of their products with the columns of the target.
    target_mean : tensor of shape (n_columns,)
    """

    own: torch.Tensor
    mean: torch.Tensor
    cross: torch.Tensor
    target_mean: torch.Tensor

    @property
    def n_rows(self):
        """Number of rows that have both views."""
        return float(self.own[-1, -1])

    def solve(self, ridge):
        """Return the factor L of the penalised own moments, and ``L^-1 @ cross``."""
        factor = ridge_factor(self.own, self.mean, ridge)
        return factor, torch.linalg.solve_triangular(factor, self.cross, upper=False)

    def map(self, ridge):
        """Return the map from extended framed features to coordinates of the target."""
        factor, solution = self.solve(ridge)
        B = torch.linalg.solve_triangular(factor.T, solution, upper=True)
        return torch.cat([B, (self.target_mean - self.mean @ B)[None]])


def fit_translations(sums, mixed, kept, columns):
    """Return the `Translation` of each ordered pair of views, as nested dicts.

    Parameters
    ----------
    sums : Sums
    mixed : Mixed
        Its moments in frames.
    kept : tensor of shape (n_kept, n_features)
        Stacked framed features of the rows that were kept.
    columns : dict of str to ndarray of int
        Columns of each view.
    """
    features = list(sums.features.values())
    views = [sums.kept[:, own] for own in columns.values()]
    present = [X[:, 0].isnan().logical_not() for X in views]
    translations = {name: {} for name in sums.features}
    for source, target in permutations(range(len(views)), 2):
        rows = (present[source] & present[target]).nonzero()[:N_LEFT_OUT, 0]
        scaling = features[target].kernel.scaling
        pair = pair_moments(sums, mixed, source, target)
        F = mixed.features(kept[rows])[source]
        Y = coordinates(views[target][rows], scaling) - pair.target_mean
        ridge, score = choose_penalty(pair, F, Y)
        M = unframe(pair.map(ridge), mixed.frames[source])
        projection = as_projection(features[source], M)
        kernel = kernel_of_projection(projection, features[source])
        projection = to_units(projection, scaling)
        names = list(columns)
        translations[names[source]][names[target]] = Translation(
            kernel, projection, ridge, score
        )
    return translations


def to_units(projection, scaling):
    """Return a projection to coordinates as one to the rows that have these."""
    linear, rbf, intercept = (values * 2.0**scaling.exponent for values in projection)
    return Projection(linear, rbf, intercept + scaling.offset)


def pair_moments(sums, mixed, source, target):
    """Return the `Pair` of two views, given by position; see `fit_translations`."""
    features = list(sums.features.values())
    sizes = [sum(feature.widths) for feature in features]
    found = dict(pair_blocks(sums.moments, sizes, source, target))
    own = sum(
        products
        for code, products in pair_blocks(mixed.moments, mixed.ranks, source, source)
        if code in found
    )
    # The first features of the target are its coordinates.
    width = features[target].widths[0]
    cross = sum(found.values())
    cross = torch.cat([cross[:, :width], cross[:, -1:]], dim=1)
    as_it_is = Frame(cross.new_zeros(width), cross.new_ones(width), None)
    cross = frame_products(cross, mixed.frames[source], as_it_is)
    n_rows = float(own[-1, -1])
    mean, target_mean = own[:-1, -1] / n_rows, cross[-1, :-1] / n_rows
    return Pair(own, mean, centred(cross, mean, target_mean)[:-1, :-1], target_mean)


def choose_penalty(pair, F, Y):
    """Return the penalty of a `Pair`, and the share of variance that it explains.

    Parameters
    ----------
    pair : Pair
    F : tensor of shape (n_rows, rank + 1)
        Extended framed features of some rows that have both views.
    Y : tensor of shape (n_rows, n_columns)
        Coordinates of the target in the same rows, less `pair.target_mean`.
    """
    n_rows = pair.n_rows
    first = sum(penalty < rounding_of_sums(n_rows) for penalty in PENALTIES)
    errors = cache(lambda i: left_out_error(pair, F, Y, PENALTIES[i]))
    chosen = descend(errors, _FIRST, range(first, len(PENALTIES)))
    # The mean of the others is off by more than the mean of all.
    total = float(Y.square().sum()) * (n_rows / (n_rows - 1)) ** 2
    score = 1 - errors(chosen) / total if total else float("nan")
    return PENALTIES[chosen], score


def left_out_error(pair, F, Y, ridge):
    """Return the sum of the squared errors of rows that are left out."""
    factor, solution = pair.solve(ridge)
    W = whiten(F, pair.mean, factor)
    leverage = 1 / pair.n_rows + squared_norms(W)
    rest = (1 - leverage).clamp(min=torch.finfo(F.dtype).eps)
    return float(((Y - W @ solution) / rest[:, None]).square().sum())


def descend(function, start, places):
    """Return the local minimum of a function of integers that is downhill of a start.

    Places are a range of integers.
    """
    place = max(start, places.start)
    while True:
        near = [i for i in (place, place - 1, place + 1) if i in places]
        lowest = min(near, key=function)
        if lowest == place:
            return place
        place = lowest

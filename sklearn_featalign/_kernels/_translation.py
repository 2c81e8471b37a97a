r"""Ridge regression of the features of one view on the kernel features of another.

For the rows that have both views, let F be the framed features of the source view and
Y the columns of the target view, both less their means. Translation is

.. math:: \hat Y = F (F^T F + \lambda I)^{-1} F^T Y

whose products are sums over rows, which the moments hold. With the leverage h of a row,
which includes 1 / n for the mean, :math:`(y - \hat y) / (1 - h)` is its error if it is
left out. The share of the linear kernel in F and the penalty have the smallest sum of
their squares.
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
from sklearn_featalign._kernels._frames import (
    Frame,
    frame_products,
    mixed_frame,
    unframe,
)
from sklearn_featalign._kernels._gcca import ridge_factor, rounding_of_sums, whiten
from sklearn_featalign._kernels._moments import centred, extended_slices
from sklearn_featalign._kernels._scaling import coordinates
from sklearn_featalign._linalg import squared_norms

# The penalties to choose from, of which every fourth is tried first.
PENALTIES = tuple(float(f"{m}e{e}") for e in range(-8, 4) for m in (1, 3))
_COARSE = 4

# Rows that are left out, at most.
N_LEFT_OUT = 500


class Translation(NamedTuple):
    """The map from the rows of one view to those of another.

    Attributes
    ----------
    kernel : Kernel
        That of the source view.
    projection : Projection
        From the kernel features of the source to the target's own units.
    linear, ridge : float
        The share of the linear kernel and the penalty.
    score : float
        Share of the variance of the target that rows which are left out explain.
    """

    kernel: Kernel
    projection: Projection
    linear: float
    ridge: float
    score: float


class PairMoments(NamedTuple):
    """What regression needs of the rows that have a source and a target view.

    Attributes
    ----------
    own : tensor of shape (rank + 1, rank + 1)
        Sums of products of the extended framed features of the source.
    mean : tensor of shape (rank,)
        Mean of these features.
    cross : tensor of shape (rank, n_columns)
        Sums of their products with the target's coordinates, both less their means.
    target_mean : tensor of shape (n_columns,)
    F : tensor of shape (n_rows, rank + 1)
        Extended framed features of some of the rows.
    Y : tensor of shape (n_rows, n_columns)
        The target's coordinates of these, less `target_mean`.
    """

    own: torch.Tensor
    mean: torch.Tensor
    cross: torch.Tensor
    target_mean: torch.Tensor
    F: torch.Tensor
    Y: torch.Tensor

    @property
    def n_rows(self):
        """Number of rows that have both views."""
        return float(self.own[-1, -1])

    def scaled(self, factors):
        """Return the same with features multiplied by factors."""
        extended = torch.cat([factors, factors.new_ones(1)])
        return self._replace(
            own=self.own * extended * extended[:, None],
            mean=self.mean * factors,
            cross=self.cross * factors[:, None],
            F=self.F * extended,
        )

    def solve(self, ridge):
        """Return the factor L of the penalised own moments, and ``L^-1 @ cross``."""
        factor = ridge_factor(self.own, self.mean, ridge)
        return factor, torch.linalg.solve_triangular(factor, self.cross, upper=False)

    def map(self, ridge):
        """Return the map from extended framed features to coordinates of the target."""
        factor, solution = self.solve(ridge)
        B = torch.linalg.solve_triangular(factor.T, solution, upper=True)
        return torch.cat([B, (self.target_mean - self.mean @ B)[None]])

    def left_out_error(self, ridge):
        """Return the sum of the squared errors of rows that are left out."""
        factor, solution = self.solve(ridge)
        W = whiten(self.F, self.mean, factor)
        leverage = 1 / self.n_rows + squared_norms(W)
        rest = (1 - leverage).clamp(min=torch.finfo(W.dtype).eps)
        return float(((self.Y - W @ solution) / rest[:, None]).square().sum())


def fit_translations(sums, data, columns, shares):
    """Return the `Translation` of each ordered pair of views, as nested dicts.

    Parameters
    ----------
    sums : Sums
    data : Framed
        Its moments and rows in frames.
    columns : dict of str to ndarray of int
        Columns of each view.
    shares : tuple of float
        Shares of the linear kernel to choose from.
    """
    names = list(columns)
    translations = {name: {} for name in names}
    for source, target in permutations(range(len(names)), 2):
        rows = shared_rows(sums.kept, columns[names[source]], columns[names[target]])
        pair = load_pair(sums, data, rows, columns[names[target]], source, target)
        feature, to = (sums.features[names[view]] for view in (source, target))
        found = fit_translation(
            pair, data.frames[source], data.widths[source], feature, shares
        )
        projection = to_units(found.projection, to.kernel.scaling)
        translations[names[source]][names[target]] = found._replace(
            projection=projection
        )
    return translations


def shared_rows(X, source, target):
    """Return the positions of some rows that have both views, given by columns."""
    both = (X[:, source[0]] + X[:, target[0]]).isnan().logical_not()
    return both.nonzero()[:N_LEFT_OUT, 0]


def load_pair(sums, data, rows, columns, source, target):
    """Return the `PairMoments` of views at two positions.

    `rows` are positions among those that were kept, and `columns` those of the target.
    """
    features = list(sums.features.values())
    sizes = [sum(feature.widths) for feature in features]
    framed_columns = extended_slices(frame.rank for frame in data.frames)[source]
    complete = data.moments["stacked"][len(features)]
    own = complete[framed_columns, framed_columns]
    if source in data.moments["own"]:
        own = own + data.moments["own"][source][target]
    u, v = (extended_slices(sizes)[view] for view in (source, target))
    cross = sum(products[u, v] for products in sums.moments["stacked"].values())
    # The first features of the target are its coordinates.
    width = features[target].widths[0]
    cross = torch.cat([cross[:, :width], cross[:, -1:]], dim=1)
    as_it_is = Frame(cross.new_zeros(width), cross.new_ones(width), None)
    cross = frame_products(cross, data.frames[source], as_it_is)
    n_rows = float(own[-1, -1])
    mean, target_mean = own[:-1, -1] / n_rows, cross[-1, :-1] / n_rows
    scaling = features[target].kernel.scaling
    return PairMoments(
        own,
        mean,
        centred(cross, mean, target_mean)[:-1, :-1],
        target_mean,
        F=data.kept[rows, framed_columns],
        Y=coordinates(sums.kept[rows][:, columns], scaling) - target_mean,
    )


def fit_translation(pair, frame, widths, feature, shares):
    """Return the best `Translation` to the coordinates of the target.

    Any mixture of the two kernels is a rescaling of the framed features.
    """
    best, index = None, None
    for linear in shares:
        mixture, factors = mixed_frame(frame, widths, linear)
        scaled = pair.scaled(factors)
        index, error = choose_penalty(scaled, index)
        if best is None or error < best[0]:
            best = error, linear, PENALTIES[index], mixture, scaled
    error, linear, ridge, mixture, scaled = best
    projection = as_projection(feature, unframe(scaled.map(ridge), mixture))
    kernel = kernel_of_projection(projection, feature)
    # The mean of the others is off by more than the mean of all.
    total = float(pair.Y.square().sum()) * (pair.n_rows / (pair.n_rows - 1)) ** 2
    score = 1 - error / total if total else float("nan")
    return Translation(kernel, projection, linear, ridge, score)


def choose_penalty(pair, near=None):
    """Return the index of the best of `PENALTIES`, and its error.

    The error may have several minima. Without an index that the best is near, every
    fourth penalty is tried, and the neighbours of the best ones after that.
    """
    first = sum(penalty < rounding_of_sums(pair.n_rows) for penalty in PENALTIES)
    errors = cache(lambda i: pair.left_out_error(PENALTIES[i]))
    indices, step = range(first, len(PENALTIES)), 1
    if near is None:
        near, step = min(indices[::_COARSE], key=errors), _COARSE // 2
    index = max(near, first)
    while step:
        index = descend(errors, index, indices, step)
        step //= 2
    return index, errors(index)


def descend(function, start, indices, step):
    """Return a local minimum of a function of integers, downhill of a start."""
    index = start
    while True:
        near = [i for i in (index, index - step, index + step) if i in indices]
        lowest = min(near, key=function)
        if lowest == index:
            return index
        index = lowest


def to_units(projection, scaling):
    """Return a projection to coordinates as one to the rows that have these."""
    linear, rbf, intercept = (values * 2.0**scaling.exponent for values in projection)
    return Projection(linear, rbf, intercept + scaling.offset)

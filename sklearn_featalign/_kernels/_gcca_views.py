"""The fit of all views of `KernelGCCAAligner` from their moments, and its score."""

from itertools import combinations_with_replacement, permutations
from typing import NamedTuple

import numpy as np
import torch

from sklearn_featalign._kernels._bandwidth import Kernel, affinities_between
from sklearn_featalign._kernels._features import (
    Projection,
    as_projection,
    extended_features,
    project,
)
from sklearn_featalign._kernels._frames import (
    fit_frame,
    frame_features,
    frame_products,
    unframe,
)
from sklearn_featalign._kernels._gcca import (
    Maps,
    Variates,
    extended_slices,
    filtered,
    fit_maps,
    fit_variates,
    fixed_rotation,
    left_out,
)
from sklearn_featalign._kernels._hubness import append_hubness, hubness
from sklearn_featalign._kernels._moments import (
    moments_of,
    subtract,
    sum_of_products,
    symmetric,
)
from sklearn_featalign._linalg import squared_norms, unit_rows
from sklearn_featalign._similarity import own_ranks
from sklearn_featalign._torch import Rows, with_smaller_batches
from sklearn_featalign._views import block

# Rows that measure hubness, at most.
N_REFERENCES = 2000

# A group of rows that is left out for the score has at most this many rows, and at most
# a fifth of all. Of small groups there are as many as give 200 rows, at most 5.
_GROUP_ROWS = 2000
_GROUPS = 5
_SCORED_ROWS = 200

# With fewer rows left out, no power is chosen.
_CHOOSING_ROWS = 500

# With fewer rows none are left out.
_FEWEST_ROWS = 10

# Rows are computed in float32 up to this rounding error, relative to their length.
_SINGLE_RTOL = 1e-5


class Setting(NamedTuple):
    """The parameters of the fit from moments.

    Of several powers one is chosen, or the first if there are few rows.
    """

    n_components: int
    linear: float
    ridge: float
    powers: tuple
    hub_neighbors: int


class Sums(NamedTuple):
    """What the fit needs of the rows.

    Attributes
    ----------
    features : dict of str to FeatureMap
    moments : dict of int to tensor
        By how many views rows have; see `_moments`.
    kept : tensor of shape (n_kept, n_features)
        Some of the rows, as they were given, in random order.
    """

    features: dict
    moments: dict
    kept: torch.Tensor


class Reference(NamedTuple):
    """Rows of a view by which the hubness of the rows of other views is measured.

    `mean_hubness` is the mean hubness of these rows themselves, which is subtracted
    from that of the rows of their view.
    """

    rows: torch.Tensor
    n_neighbors: int
    mean_hubness: float


class GCCAView(NamedTuple):
    """A fitted view; the reference is None if rows have no columns for hubness."""

    kernel: Kernel
    projection: Projection
    reference: Reference | None


def choose_kept(counted, landmark_indices):
    """Return the rows to keep among those that count, landmarks last."""
    order = np.random.RandomState(0).permutation(counted)
    is_landmark = np.isin(order, landmark_indices)
    order = np.concatenate([order[~is_landmark], order[is_landmark]])
    return order[: N_REFERENCES + _GROUP_ROWS]


def sum_moments(X, device, batch_size, n_present, columns, features):
    """Return the moments of rows of X, by how many views they have, of two or more.

    Rows of a single view count if there is one view only.
    """
    rows = Rows(X, device, batch_size, stacked_width(features))
    moments = {}
    for count in np.unique(n_present[n_present >= min(2, len(features))]).tolist():
        some = rows.at(np.flatnonzero(n_present == count))
        moments[count] = with_smaller_batches(batch_moments, some, columns, features)
    return moments


def batch_moments(rows, columns, features):
    """Return the sum of products of the stacked features of rows."""
    batches = (stacked_features(X, columns, features) for X in rows)
    return sum_of_products(batches, stacked_width(features))


def stacked_width(features):
    """Return the number of stacked features."""
    return sum(sum(feature.widths) + 1 for feature in features.values())


def stacked_features(X, columns, features):
    """Return the extended features of all views of rows, side by side.

    `columns` and `features` are those of each view, by name.
    """
    parts = [
        extended_features(block(X, columns[name]), feature)
        for name, feature in features.items()
    ]
    return torch.cat(parts, dim=1)


class Framed(NamedTuple):
    """Moments and kept rows in the frames of the views."""

    frames: list
    moments: dict
    kept: list

    @property
    def ranks(self):
        """Numbers of features of each view."""
        return [frame.rank for frame in self.frames]

    @property
    def bases(self):
        """Bases of the frames."""
        return [frame.basis for frame in self.frames]


def framed(features, moments, F, linear):
    """Return moments and stacked features F of some rows in the frames of the views."""
    widths = [feature.widths for feature in features.values()]
    columns = extended_slices(map(sum, widths))
    frames = []
    for u, width in zip(columns, widths, strict=True):
        own = sum(products[u, u] for products in moments.values())
        frames.append(fit_frame(own, width, linear))
    moments = {
        count: frame_moments(products, columns, frames)
        for count, products in moments.items()
    }
    kept = [
        frame_features(F[:, u], frame) for u, frame in zip(columns, frames, strict=True)
    ]
    return Framed(frames, moments, kept)


def frame_moments(products, columns, frames):
    """Return sums of products of stacked features in the frames of the views."""
    views = combinations_with_replacement(range(len(frames)), 2)
    return symmetric(
        {
            (u, v): frame_products(
                products[columns[u], columns[v]], frames[u], frames[v]
            )
            for u, v in views
        }
    )


class Group(NamedTuple):
    """Rows that are left out, and the fit of all others.

    `left_out` and `references` have framed features of each view, of the rows that are
    left out and of some others, by which hubness is measured.
    """

    variates: Variates
    maps: Maps
    rotation: torch.Tensor
    left_out: list
    references: list


def fit_views(features, data, setting, power):
    """Return the fit of each view, a dict by name, from `Framed` data."""
    variates = fit_variates(
        data.moments, data.ranks, setting.ridge, setting.n_components
    )
    maps = fit_maps(variates)
    maps = filtered(maps, variates, power, fixed_rotation(maps, data.bases))
    kept = [part[:N_REFERENCES] for part in data.kept]
    references = fit_references(kept, variates, maps, setting.hub_neighbors)
    views = {}
    parts = zip(features.items(), data.frames, maps.features, references, strict=True)
    for (name, feature), frame, M, reference in parts:
        projection = as_projection(feature, unframe(M, frame))
        kernel = feature.kernel
        if single_error(projection, feature) > _SINGLE_RTOL:
            kernel = kernel._replace(allows_single=False)
        views[name] = GCCAView(kernel, projection, reference)
    return views


def fit_references(F, variates, maps, hub_neighbors):
    """Return the `Reference` of each view, or None for each, from framed features."""
    if len(F) == 1 or not hub_neighbors:
        return [None] * len(F)
    present = torch.stack([part[:, -1] for part in F], dim=1)
    predictions = left_out(F, present.sum(1), variates, maps)
    rows = [
        unit_rows(part[mask > 0])
        for part, mask in zip(predictions, present.T, strict=True)
    ]
    n_neighbors = min(hub_neighbors, *map(len, rows))
    references = []
    for v, own in enumerate(rows):
        mean = float(hubness(own, rows[:v] + rows[v + 1 :], n_neighbors).mean())
        references.append(Reference(own, n_neighbors, mean))
    return references


def score_groups(data, setting):
    """Choose the power, and score it, by rows that are left out of the fit.

    A group of rows is subtracted from the moments, and its rows are searched among
    each other; see `_GROUP_ROWS`.

    Returns
    -------
    power : float
        That with the largest mean reciprocal rank, without columns for hubness.
    score : float
        Top-1 accuracy, mean over the groups and over all ordered pairs of views; NaN if
        there are too few rows.
    group_size : int
    """
    present = torch.stack([part[:, -1] for part in data.kept], dim=1)
    if len(present) < _FEWEST_ROWS:
        return setting.powers[0], float("nan"), 0
    n_rows = sum(
        round(float(products.diagonal()[ones_of(data.ranks)].sum()) / count)
        for count, products in data.moments.items()
    )
    size = min(_GROUP_ROWS, n_rows // _GROUPS, len(present) // 2)
    n_groups = min(_GROUPS, -(-_SCORED_ROWS // size), len(present) // size)
    ends = [len(present) - group * size for group in range(n_groups)]
    groups = [
        leave_out(data, slice(end - size, end), present.sum(1), setting) for end in ends
    ]
    power = setting.powers[0]
    if len(setting.powers) > 1 and n_groups * size >= _CHOOSING_ROWS:
        values = [
            sum(group_values(group, power, 0, mean_reciprocal) for group in groups)
            for power in setting.powers
        ]
        power = setting.powers[values.index(max(values))]
    scores = [
        group_values(group, power, setting.hub_neighbors, top_one) for group in groups
    ]
    return power, sum(scores) / len(scores), size


def leave_out(data, held, n_present, setting):
    """Return the `Group` of a slice of the kept rows."""
    rows = [part[held] for part in data.kept]
    own = moments_of(torch.cat(rows, dim=1), n_present[held].int())
    moments = subtract(data.moments, own)
    variates = fit_variates(moments, data.ranks, setting.ridge, setting.n_components)
    rest = [torch.cat([part[: held.start], part[held.stop :]]) for part in data.kept]
    references = [part[:N_REFERENCES] for part in rest]
    maps = fit_maps(variates)
    return Group(variates, maps, fixed_rotation(maps, data.bases), rows, references)


def group_values(group, power, hub_neighbors, function):
    """Return the mean of a function of a group's ranks, over all pairs of views."""
    variates, maps, rotation, held, rest = group
    maps = filtered(maps, variates, power, rotation)
    references = fit_references(rest, variates, maps, hub_neighbors)
    rows = [
        with_hubness(unit_rows(part @ M), slot, references, "dot")
        for slot, (part, M) in enumerate(zip(held, maps.features, strict=True))
    ]
    values = []
    for u, v in permutations(range(len(rows)), 2):
        both = (held[u][:, -1] * held[v][:, -1]) > 0
        if both.any():
            bias = rows[v].new_zeros(int(both.sum()))
            values.append(function(own_ranks(rows[u][both], rows[v][both], bias)))
    return sum(values) / len(values)


def top_one(ranks):
    """Return the share of first ranks."""
    return float((ranks <= 1).double().mean())


def mean_reciprocal(ranks):
    """Return the mean reciprocal rank."""
    return float((1 / ranks).mean())


def ones_of(ranks):
    """Return the positions of the columns of ones among all views."""
    return [columns.stop - 1 for columns in extended_slices(ranks)]


def with_hubness(F, slot, references, metric):
    """Return unit rows of the view in a slot, with columns for hubness if it has any.

    `references` has the `Reference` of each view.
    """
    own = references[slot]
    if own is None:
        return F
    others = [other.rows for v, other in enumerate(references) if v != slot]
    hub = hubness(F, others, own.n_neighbors) - own.mean_hubness
    return append_hubness(F, hub, metric, slot, len(references))


def single_error(projection, features):
    """Return about how large the rounding errors of a `Projection` are in float32.

    It is the median over the landmarks, relative to the lengths of their rows.
    """
    kernel, Z, _ = features
    A = affinities_between(Z, Z, kernel)
    linear, rbf, intercept = projection
    F = torch.addmm(intercept, Z, linear).addmm_(A, rbf)
    noise = Z.square() @ squared_norms(linear) + A.square() @ squared_norms(rbf)
    noise = (noise + intercept.square().sum()).sqrt() * torch.finfo(torch.float32).eps
    return float((noise / torch.linalg.vector_norm(F, dim=1)).median())


def view_features(X, landmarks, kernel, projection, slot, references, metric):
    """Return the features of rows of the view in a slot, with columns for hubness."""
    F = project(X, landmarks, kernel, projection)
    return with_hubness(F, slot, references, metric)

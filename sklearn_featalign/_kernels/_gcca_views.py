"""The fit of all views of `KernelGCCAAligner` from their moments."""

from functools import partial
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
import torch

from sklearn_featalign._kernels._bandwidth import Kernel
from sklearn_featalign._kernels._features import (
    Projection,
    as_projection,
    extended_features,
    kernel_of_projection,
    project,
)
from sklearn_featalign._kernels._frames import (
    fit_frame,
    frame_features,
    frame_products,
    mixed_frame,
    unframe,
)
from sklearn_featalign._kernels._gcca import fit_shared, left_out, output_maps
from sklearn_featalign._kernels._hubness import (
    N_REFERENCES,
    Reference,
    fit_references,
)
from sklearn_featalign._kernels._moments import (
    add,
    extended_slices,
    sum_moments,
    symmetric,
)
from sklearn_featalign._linalg import scale_to_unit_, unit_rows
from sklearn_featalign._torch import Rows, with_smaller_batches
from sklearn_featalign._views import block

# Rows that are kept from the sums, at most: they measure hubness and the score.
N_KEPT = N_REFERENCES

# Hubness is measured in this many leading components.
HUB_AXES = 256

# Rows whose leverages are computed at a time.
_LEVERAGE_ROWS = 2000


class Setting(NamedTuple):
    """The parameters of the fit from moments.

    Of several shares of the linear kernel and powers one is chosen, or the first if
    there are few rows.
    """

    n_components: int
    linear: tuple
    ridge: float
    power: tuple
    hub_neighbors: int


class Sums(NamedTuple):
    """What the fit needs of the rows.

    Attributes
    ----------
    features : dict of str to FeatureMap
    moments : dict
        See `_moments`.
    kept : tensor of shape (n_kept, n_features)
        Some of the rows, as they were given, in random order.
    single : dict of str to tensor of shape (n_single, n_view_features)
        Rows of each view that have no other.
    """

    features: dict
    moments: dict
    kept: torch.Tensor
    single: dict


class GCCAView(NamedTuple):
    """A fitted view; the reference is None if rows have no columns for hubness."""

    kernel: Kernel
    projection: Projection
    reference: Reference | None


def choose_kept(counted, landmark_indices):
    """Return the rows to keep among those that count, landmarks last.

    If there are too many, a tenth of them are landmarks, which have every view.
    """
    order = np.random.RandomState(0).permutation(counted)
    is_landmark = np.isin(order, landmark_indices)
    landmarks, others = order[is_landmark], order[~is_landmark]
    n_others = N_KEPT - min(len(landmarks), N_KEPT // 10)
    return np.concatenate([others[:n_others], landmarks])[:N_KEPT]


def choose_single(training, n_kept):
    """Return some rows of each view that have no other, as many as there is room."""
    room = (N_KEPT - n_kept) // len(training.columns)
    has_one = training.n_present == 1
    rng = np.random.RandomState(0)
    chosen = {}
    for name, columns in training.columns.items():
        alone = np.flatnonzero(training.present[name] & has_one)
        rows = training.rows.at(rng.permutation(alone)[:room])
        chosen[name] = block(rows.load(), columns)
    return chosen


def moments_of_rows(X, device, batch_size, n_present, columns, features):
    """Return the moments of the rows of X that have two views or more.

    Rows of a single view count if there is one view only. `n_present` are the numbers
    of views that rows have.
    """
    rows = Rows(X, device, batch_size, stacked_width(features))
    moments = {"stacked": {}, "own": {}}
    for count in np.unique(n_present[n_present >= min(2, len(features))]).tolist():
        some = rows.at(np.flatnonzero(n_present == count))
        found = with_smaller_batches(batch_moments, some, columns, features, count)
        moments = add(moments, found)
    return moments


def batch_moments(rows, columns, features, n_present):
    """Return the moments of rows that have so many views."""
    batches = (view_parts(X, columns, features) for X in rows)
    return sum_moments(batches, n_present, len(features))


def stacked_width(features):
    """Return the number of stacked features."""
    return sum(sum(feature.widths) + 1 for feature in features.values())


def view_parts(X, columns, features):
    """Return the extended features of each view of rows.

    `columns` and `features` are those of each view, by name.
    """
    return [
        extended_features(block(X, columns[name]), feature)
        for name, feature in features.items()
    ]


class Framed(NamedTuple):
    """Moments in frames in which the kernels of a view have equal shares.

    Attributes
    ----------
    frames : list of Frame
    widths : list of tuple of int
        Numbers of linear and of RBF features of each view.
    moments : dict
    kept : tensor of shape (n_kept, n_features)
        Stacked framed features of the rows that were kept.
    single : list of tensor of shape (n_single, n_features + 1)
        Extended features of rows of each view that have no other. They may be outside
        of the span of the others, in which alone frames of both kernels agree.
    """

    frames: list
    widths: list
    moments: dict
    kept: torch.Tensor
    single: list

    def mixed(self, linear):
        """Return the `Mixed` moments that give the linear kernels a share."""
        parts = map(partial(mixed_frame, linear=linear), self.frames, self.widths)
        frames, factors = zip(*parts, strict=True)
        factors = torch.cat([torch.cat([f, f.new_ones(1)]) for f in factors])
        stacked = {
            count: (products * factors).mul_(factors[:, None])
            for count, products in self.moments["stacked"].items()
        }
        return Mixed(frames, {"stacked": stacked}, factors)


class Mixed(NamedTuple):
    """Moments in frames in which the kernels of a view have the shares that are wanted.

    `factors` are those of the stacked features of `Framed`.
    """

    frames: list
    moments: dict
    factors: torch.Tensor

    @property
    def ranks(self):
        """Numbers of features of each view."""
        return [frame.rank for frame in self.frames]

    @property
    def bases(self):
        """Bases of the frames."""
        return [frame.basis for frame in self.frames]

    def features(self, F):
        """Return stacked features of `Framed` in these frames, for each view."""
        F = F * self.factors
        return [F[:, u] for u in extended_slices(self.ranks)]


def framed(features, moments, F, single):
    """Return `Framed` moments, with rows of the extended features F, a list by view."""
    widths = [feature.widths for feature in features.values()]
    columns = extended_slices(map(sum, widths))
    stacked = moments["stacked"]
    own = [sum(M[u, u] for M in stacked.values()) for u in columns]
    frames = list(map(fit_frame, own, widths))
    moments = {
        "stacked": {
            count: frame_moments(products, columns, frames)
            for count, products in stacked.items()
        },
        "own": {
            u: {v: frame_products(C, frames[u], frames[u]) for v, C in of_view.items()}
            for u, of_view in moments["own"].items()
        },
    }
    kept = torch.cat(list(map(frame_features, F, frames)), dim=1)
    return Framed(frames, widths, moments, kept, single)


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


def fit_views(features, data, unmixed, setting, power):
    """Return the fit of each view, a dict by name.

    Parameters
    ----------
    features : dict of str to FeatureMap
    data : Mixed
    unmixed : Framed
        Its rows measure hubness.
    setting : Setting
    power : float
    """
    shared = fit_shared(data.moments, data.ranks, setting.ridge, setting.n_components)
    matrices, rotation = output_maps(shared, power, data.bases)
    references = [None] * len(features)
    if has_hubness(features, setting):
        rows = reference_rows([unmixed.kept], unmixed.single, data, shared)
        rows = output_rows(rows, shared.shares, power)
        references = fit_references(
            leading(rows), setting.hub_neighbors, rotation[:HUB_AXES].T
        )
    views = {}
    parts = zip(features.items(), data.frames, matrices, references, strict=True)
    for (name, feature), frame, M, reference in parts:
        projection = as_projection(feature, unframe(M, frame))
        kernel = kernel_of_projection(projection, feature)
        views[name] = GCCAView(kernel, projection, reference)
    return views


def has_hubness(views, setting):
    """Return whether rows have a column for hubness."""
    return len(views) > 1 and setting.hub_neighbors > 0


def reference_rows(parts, single, data, shared):
    """Return predictions of the components for the rows that measure hubness, by view.

    Rows of a single view have no part in the regression that could be left out.
    """
    predictions = left_out_rows(parts, data, shared)
    maps = map(unframe, shared.maps.features, data.frames)
    more = [F @ M for F, M in zip(single, maps, strict=True)]
    return list(map(torch.cat, zip(predictions, more, strict=True)))


def left_out_rows(parts, data, shared):
    """Return predictions of the components for the rows that have each view.

    Each row is left out of the regression; see `left_out`. Parts are stacked framed
    features of some rows each.
    """
    predictions = []
    for rows in (rows for part in parts for rows in part.split(_LEVERAGE_ROWS)):
        F = data.features(rows)
        present = [part[:, -1] for part in F]
        found = left_out(F, sum(present), shared.variates, shared.maps)
        pairs = zip(found, present, strict=True)
        predictions.append([part[mask > 0] for part, mask in pairs])
    return list(map(torch.cat, zip(*predictions, strict=True)))


def output_rows(predictions, shares, power):
    """Return rows of each view as in the output, but for its rotation."""
    return [unit_rows(part * shares**power) for part in predictions]


def leading(rows):
    """Return the columns of rows of each view by which hubness goes."""
    return [part[:, :HUB_AXES] for part in rows]


def view_features(X, landmarks, kernel, projection, hub_columns):
    """Return the features of rows of a view, with `HubColumns` or None."""
    F = scale_to_unit_(project(X, landmarks, kernel, projection))
    return F if hub_columns is None else hub_columns(F)

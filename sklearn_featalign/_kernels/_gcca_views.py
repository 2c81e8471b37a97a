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
    extended_slices,
    own_sums,
    sum_of_products,
    symmetric,
    view_code,
    views_of,
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
    moments : dict of int to tensor
        See `_moments`.
    kept : tensor of shape (n_kept, n_features)
        Some of the rows, as they were given, in random order.
    """

    features: dict
    moments: dict
    kept: torch.Tensor


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


def sum_moments(X, device, batch_size, present, columns, features):
    """Return the moments of the rows of X that have two views or more.

    Rows of a single view count if there is one view only. `present` are masks of the
    rows that have each view, and `columns` and `features` those of the views, all by
    name.
    """
    names = list(features)
    codes = view_code([present[name].astype(int) for name in names])
    moments = {}
    for code in np.unique(codes).tolist():
        if code.bit_count() < min(2, len(names)):
            continue
        own = {names[v]: features[names[v]] for v in views_of(code)}
        rows = Rows(X, device, batch_size, stacked_width(own))
        some = rows.at(np.flatnonzero(codes == code))
        moments[code] = with_smaller_batches(batch_moments, some, columns, own)
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
    """Moments in frames in which the kernels of a view have equal shares.

    Attributes
    ----------
    frames : list of Frame
    widths : list of tuple of int
        Numbers of linear and of RBF features of each view.
    moments : dict of int to tensor
    kept : tensor of shape (n_kept, n_features)
        Stacked framed features of the rows that were kept.
    """

    frames: list
    widths: list
    moments: dict
    kept: torch.Tensor

    def mixed(self, linear):
        """Return the `Mixed` moments that give the linear kernels a share."""
        parts = map(partial(mixed_frame, linear=linear), self.frames, self.widths)
        frames, factors = zip(*parts, strict=True)
        factors = [torch.cat([own, own.new_ones(1)]) for own in factors]
        moments = {}
        for code, products in self.moments.items():
            own = torch.cat([factors[v] for v in views_of(code)])
            moments[code] = (products * own).mul_(own[:, None])
        return Mixed(frames, moments, factors)


class Mixed(NamedTuple):
    """Moments in frames in which the kernels of a view have the shares that are wanted.

    `factors` are those of the features of `Framed`, for each view.
    """

    frames: list
    moments: dict
    factors: list

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
        parts = F.split(list(map(len, self.factors)), dim=1)
        return [part * own for part, own in zip(parts, self.factors, strict=True)]


def framed(features, moments, F):
    """Return `Framed` moments, with the rows that have the stacked features F."""
    widths = [feature.widths for feature in features.values()]
    sizes = list(map(sum, widths))
    own = [own_sums(moments, sizes, v) for v in range(len(sizes))]
    frames = list(map(fit_frame, own, widths))
    moments = {
        code: frame_moments(products, [frames[v] for v in views_of(code)])
        for code, products in moments.items()
    }
    columns = extended_slices(sizes)
    framed_columns = extended_slices(frame.rank for frame in frames)
    kept = F.new_empty((len(F), framed_columns[-1].stop))
    for u, v, frame in zip(columns, framed_columns, frames, strict=True):
        kept[:, v] = frame_features(F[:, u], frame)
    return Framed(frames, widths, moments, kept)


def frame_moments(products, frames):
    """Return sums of products of stacked features in the frames of the views."""
    columns = extended_slices(len(frame.mean) for frame in frames)
    views = combinations_with_replacement(range(len(frames)), 2)
    return symmetric(
        {
            (u, v): frame_products(
                products[columns[u], columns[v]], frames[u], frames[v]
            )
            for u, v in views
        }
    )


def fit_views(features, data, kept, setting, power):
    """Return the fit of each view, a dict by name.

    Parameters
    ----------
    features : dict of str to FeatureMap
    data : Mixed
    kept : tensor of shape (n_kept, n_features)
        Stacked framed features of the rows that measure hubness.
    setting : Setting
    power : float
    """
    shared = fit_shared(data.moments, data.ranks, setting.ridge, setting.n_components)
    matrices, rotation = output_maps(shared, power, data.bases)
    references = [None] * len(features)
    if has_hubness(features, setting):
        rows = output_rows(left_out_rows([kept], data, shared), shared.shares, power)
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

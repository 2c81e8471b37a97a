"""Where the training of half-shared networks starts: at a closed form."""

from typing import NamedTuple

import torch
from torch.nn.functional import linear, normalize

from sklearn_featalign._half_shared._cca import apply_map, choose_ridge, fit_cca
from sklearn_featalign._linalg import unit_rows

# Exponents of the correlations that weigh the components of the start, and those whose
# affinities are kept.
_START_POWER = 1
_AFFINITY_POWER = 2

# With fewer pairs than this none are left out for the choice of a ridge.
_FEW_PAIRS = 10
_RIDGE_OF_FEW = 1.0


class Start(NamedTuple):
    """Where the closed form lets training start.

    ``maps`` are of each view weight and bias of a linear map to its canonical variates,
    ``kept`` the rows whose affinities are to be kept, and ``ridge`` what was chosen.
    """

    maps: list
    kept: list
    ridge: float

    def features(self, views):
        """Return the features, rows of unit length, that encoders start with."""
        return [
            normalize(linear(Z, *affine))
            for Z, affine in zip(views, self.maps, strict=True)
        ]


def fit_start(views, paired, ridges, n_components, generator):
    """Return the `Start` of views by regularised CCA of their paired rows.

    Parameters
    ----------
    views : list of tensor of shape (n_samples, n_view_features)
    paired : tensor of int
        Rows that have every view.
    ridges : sequence of float
        Of several one is chosen by pairs that are left out; few pairs have 1.
    n_components : int
    generator : torch.Generator
    """
    pairs = [Z[paired] for Z in views]
    ridge = ridges[0]
    if len(ridges) > 1 and len(paired) < _FEW_PAIRS:
        ridge = _RIDGE_OF_FEW
    elif len(ridges) > 1:
        ridge = choose_ridge(pairs, ridges, n_components, _START_POWER, generator)
    # More components than the encoders have tell more of the affinities.
    maps, correlations = fit_cca(pairs, ridge, 2 * n_components)
    kept = [
        unit_rows(apply_map(Z, affine, correlations**_AFFINITY_POWER)).to(torch.float32)
        for Z, affine in zip(views, maps, strict=True)
    ]
    weights = correlations[:n_components] ** _START_POWER
    maps = [(A[:, :n_components], b[:n_components]) for A, b in maps]
    variances = [
        apply_map(Z, affine, weights).var(0).mean()
        for Z, affine in zip(pairs, maps, strict=True)
    ]
    weights = weights / (sum(variances) / len(variances)).sqrt()
    maps = [
        (
            (A * weights).T.to(torch.float32).contiguous(),
            (b * weights).to(torch.float32),
        )
        for A, b in maps
    ]
    return Start(maps, kept, ridge)


def class_centers(features, present, classes):
    """Return the sum of the features of each class, over rows and views, unit length.

    Parameters
    ----------
    features : list of tensor of shape (n_samples, n_components)
    present : tensor of shape (n_samples, n_views), bool
    classes : tensor of shape (n_samples,), int64
    """
    rows = sum(F * here[:, None] for F, here in zip(features, present.T, strict=True))
    order = torch.argsort(classes, stable=True)
    counts = torch.bincount(classes).tolist()
    if len(counts) == len(classes):
        return normalize(rows[order])
    return normalize(torch.stack([part.sum(0) for part in rows[order].split(counts)]))

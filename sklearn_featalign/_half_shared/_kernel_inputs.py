"""Kernel features as the inputs of encoders, and kernel generalised CCA as their start.

This is the closed form of `KernelGCCAAligner`, fitted on standardised rows.
"""

from typing import NamedTuple

import torch

from sklearn_featalign import _memory
from sklearn_featalign._half_shared._cca import Start, apply_affine
from sklearn_featalign._kernels._bandwidth import (
    distances_to_landmarks,
    fit_bandwidth,
    zero_share,
)
from sklearn_featalign._kernels._features import (
    FeatureMap,
    as_features,
    extended_features,
    fit_features,
)
from sklearn_featalign._kernels._frames import (
    Frame,
    fit_frame,
    frame_features,
    mixed_frame,
)
from sklearn_featalign._kernels._gcca import fit_shared, output_maps
from sklearn_featalign._kernels._moments import add, moments_of, sum_of_products
from sklearn_featalign._kernels._scaling import (
    coordinates,
    fit_scaling,
)
from sklearn_featalign._linalg import Affine, every_nth, unit_rows

# Landmarks, at most; the mean of the RBF kernel; and the share of the linear kernel.
_LANDMARKS = 1000
_MEAN_AFFINITY = 0.3
_LINEAR = 0.7

# Exponent of the filter. Training finds more from a weaker one than retrieval without
# training would choose.
_POWER = 4


class KernelInputs(NamedTuple):
    """The map from standardised rows of a view to the inputs of its encoder.

    The inputs are the framed kernel features, of unit mean square.
    """

    features: FeatureMap
    frame: Frame

    def __call__(self, Z):
        """Return the inputs of rows, in float64; NaN gives zeros."""
        F = extended_features(Z, self.features)
        return frame_features(F, self.frame)[:, :-1] * self.unit

    @property
    def unit(self):
        """Factor that gives framed features a mean square of one."""
        return self.frame.rank**0.5


def load_kernel_inputs(state):
    """Return `KernelInputs` from the dict that a fitted aligner keeps."""
    return KernelInputs(as_features(state["features"]), Frame(**state["frame"]))


def fit_kernel_inputs(Z, present, landmarks, shared):
    """Fit the `KernelInputs` of a view.

    Parameters
    ----------
    Z : tensor of shape (n_samples, n_columns)
        Standardised rows.
    present : tensor of shape (n_samples,), bool
        Which rows have the view.
    landmarks : tensor of int
        Positions of the landmarks.
    shared : tensor of shape (n_samples,), bool
        Which rows have another view as well.
    """
    rows = Z[present]
    batches = rows.split(_memory.FLOAT64_ROWS)
    sample = rows[every_nth(len(rows))]
    scaling = fit_scaling(batches, sample, len(rows))
    kernel, *_ = fit_bandwidth(
        batches,
        sample,
        len(rows),
        scaling,
        Z[landmarks],
        mean_affinity(sample, Z[landmarks], scaling),
        kept_bytes=_memory.KEPT_BYTES,
    )
    features = fit_features(kernel, Z[landmarks])
    batches = Z[shared & present].split(_memory.FLOAT64_ROWS)
    F = (extended_features(X, features) for X in batches)
    own = sum_of_products(F)
    frame, _ = mixed_frame(fit_frame(own, features.widths), features.widths, _LINEAR)
    return KernelInputs(features, frame)


def mean_affinity(sample, landmarks, scaling):
    """Return the mean of the RBF kernel, larger if many rows are equal to a landmark.

    No bandwidth gives a mean below the share of zero distances.
    """
    Y = coordinates(landmarks, scaling)
    share = zero_share([distances_to_landmarks(sample, Y, scaling, True)], 0.0)
    return _MEAN_AFFINITY if share < _MEAN_AFFINITY / 2 else (1 + share) / 2


def fit_all_inputs(rows, generator):
    """Return the `KernelInputs` of all views of `ViewRows`.

    The generator draws the landmarks among the rows that have every view.
    """
    order = torch.randperm(
        len(rows.paired), generator=generator, device=generator.device
    )
    landmarks = rows.paired[order[:_LANDMARKS].to(rows.paired.device)]
    shared = rows.present.sum(1) >= 2
    return [
        fit_kernel_inputs(Z, present, landmarks, shared)
        for Z, present in zip(rows.Z, rows.present.T, strict=True)
    ]


def kernel_rows(rows, inputs):
    """Return `ViewRows` with the inputs of encoders in place of standardised rows.

    `inputs` has `KernelInputs` for each view, or None for each, which changes nothing.
    """
    if inputs[0] is None:
        return rows
    views = []
    for Z, present, to_inputs in zip(rows.Z, rows.present.T, inputs, strict=True):
        out = Z.new_zeros((len(Z), to_inputs.frame.rank))
        for where in present.nonzero()[:, 0].split(_memory.FLOAT64_ROWS):
            out[where] = to_inputs(Z[where]).to(Z.dtype)
        views.append(out)
    return rows._replace(Z=views)


def fit_kernel_start(rows, inputs, ridge, n_components):
    """Fit the `Start` of training by kernel generalised CCA of `kernel_rows`.

    The layers are scaled to outputs of unit mean variance. Components that there are
    not are zero.
    """
    shared = (rows.present.sum(1) >= 2).nonzero()[:, 0]
    moments = {}
    for where in shared.split(_memory.FLOAT64_ROWS):
        F = [
            framed(Z[where], mask[where])
            for Z, mask in zip(rows.Z, rows.present.T, strict=True)
        ]
        moments = add(moments, moments_of(F))
    widths = [Z.shape[1] for Z in rows.Z]
    shared = fit_shared(moments, widths, ridge, n_components)
    bases = [to_inputs.frame.basis for to_inputs in inputs]
    matrices, _ = output_maps(shared, _POWER, bases)
    maps = [
        Affine(M[:-1] / width**0.5, M[-1])
        for M, width in zip(matrices, widths, strict=True)
    ]
    outputs = [apply_affine(Z, A) for Z, A in zip(rows.Z, maps, strict=True)]
    targets = [unit_rows(F).to(torch.float32) for F in outputs]
    spread = sum(F[rows.paired].var(0).mean() for F in outputs) / len(outputs)
    layers = [padded_layer(A, spread.sqrt(), n_components) for A in maps]
    return Start(layers, targets, ridge)


def framed(Z, present):
    """Return the framed features of inputs, with a column that says which are there."""
    F = Z.to(torch.float64) / Z.shape[1] ** 0.5
    return torch.cat([F, present[:, None].to(F.dtype)], dim=1)


def padded_layer(affine, scale, n_components):
    """Return weight and bias of a linear layer, with zeros for missing components."""
    A, b = (values / scale for values in affine)
    missing = (0, n_components - len(b))
    A, b = (torch.nn.functional.pad(values, missing) for values in (A, b))
    return A.T.to(torch.float32).contiguous(), b.to(torch.float32)

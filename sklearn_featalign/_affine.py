r"""Coordinates that can be left again: whitened, of one scale, or rows as they came.

A frame is that of `_coordinates.fit_zscore` (``middle``, ``half_range``, ``mean`` and
``std``) with ``basis``, a tensor of shape (n_features, rank) with orthonormal columns,
and ``scale``, of shape (rank,): with z-scores Z, coordinates are ``Z @ basis / scale``.

A column that does not vary has no part in them, and comes back constant.
"""

import torch

from sklearn_featalign._coordinates import (
    FARTHEST,
    fit_zscore,
    resolved_axes,
    within_range,
)


def fit_affine(map_rows, n_samples, scaling, rounding=0.0):
    """Fit coordinates.

    Parameters
    ----------
    map_rows : callable
        See `_coordinates`.
    n_samples : int
    scaling : {"whiten", "view", None}
        "whiten" gives uncorrelated coordinates of variance one, "view" takes off the
        mean and divides all columns by the root of their mean variance, None leaves
        rows as they are, constant columns and all.
    rounding : float
        Relative rounding error of the rows. Where it is as large as their spread there
        is nothing to whiten, and a dimension is dropped.

    Returns
    -------
    frame : dict

    Raises
    ------
    ValueError
        If all rows are equal.
    """
    frame = fit_zscore(map_rows, n_samples, "view" if scaling == "view" else "columns")
    # Beside one that is 1e300 times as wide a column is constant, too.
    varying = (frame["half_range"] > 0) & frame["std"].isfinite()
    frame["std"] = torch.where(varying, frame["std"], 1.0)
    eye = torch.eye(len(varying), dtype=torch.float64, device=varying.device)
    ones = eye.new_ones(len(varying))
    if scaling is None:
        zeros = torch.zeros_like(ones)
        frame = {"middle": zeros, "half_range": ones, "mean": zeros, "std": ones}
        return frame | {"basis": eye, "scale": ones}
    if scaling == "view":
        return frame | {"basis": eye[:, varying], "scale": ones[varying]}
    values, basis = correlation_axes(map_rows, n_samples, frame, rounding)
    return frame | {"basis": basis, "scale": values.sqrt()}


def correlation_axes(map_rows, n_samples, frame, rounding):
    """Return eigenvalues and eigenvectors of the correlations, in as far as resolved.

    Returns
    -------
    values : tensor of shape (rank,)
    vectors : tensor of shape (n_features, rank)
    """

    def scatter(X):
        Z = zscores(X, frame)
        return Z.T @ Z

    correlations = sum(map_rows(scatter)) / (n_samples - 1)
    largest = frame["middle"].abs() / frame["half_range"] + 1
    varying = frame["half_range"] > 0
    errors = torch.where(varying, rounding * largest / frame["std"], 0.0)
    return resolved_axes(correlations, errors)


def zscores(X, frame):
    """Return rows with the mean taken off, over a deviation, and not cut off nearby."""
    Z = within_range(X, frame).clamp_(-FARTHEST, FARTHEST)
    return Z.sub_(frame["mean"]).div_(frame["std"])


def to_coordinates(X, frame):
    """Return the coordinates of rows, of shape (n_samples, rank)."""
    return zscores(X, frame) @ frame["basis"] / frame["scale"]


def from_coordinates(Z, frame):
    """Return the rows that have coordinates: `to_coordinates`, undone."""
    Z = (Z * frame["scale"]) @ frame["basis"].T
    within = Z * frame["std"] + frame["mean"]
    return within * frame["half_range"] + frame["middle"]


def to_columns(Z, frame):
    """Return coordinates turned back to the columns of the rows, which keeps lengths.

    A whitened row whitened by the symmetric root of the covariance is the result. Where
    rows span fewer dimensions than they have columns the result does as well.
    """
    return Z @ frame["basis"].T


def from_columns(C, frame):
    """Return the coordinates that were turned to columns: `to_columns`, undone."""
    return C @ frame["basis"]


def column_lengths(frame):
    """Return the standard deviation of each column after `to_columns`.

    That is of coordinates of variance one; it is one where rows span all dimensions,
    and said to be one where a column is constant.
    """
    lengths = frame["basis"].square().sum(1).sqrt()
    return torch.where(lengths > 0, lengths, 1.0)


def isometry(frame):
    """Return a map of coordinates to such whose distances are those of the rows.

    Returns
    -------
    turned : tensor of shape (rank, rank)
        Distances of ``Z @ turned`` are those of rows, over a unit.
    unit : float
    """
    unit = frame["half_range"].max()
    widths = frame["std"] * (frame["half_range"] / unit)
    back = frame["scale"][:, None] * frame["basis"].T * widths
    return torch.linalg.qr(back.T, mode="r").R.T.contiguous(), float(unit)

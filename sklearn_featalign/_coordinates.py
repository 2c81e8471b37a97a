"""Coordinates in which float64 distances are sound: scaled, centred, whitened.

Scales are powers of two, so that data of any magnitude (1e-300 to 1e300) take
the same path without an overflow and without a rounding error.

A frame is a dict with the keys ``exponent`` and ``spread_exponent`` (int),
``offset`` (tensor of shape (n_features,)), ``total_variance`` (float) and, when
whitening, ``whitening`` (tensor of shape (n_features, rank)).

Rows come in through ``map_rows``: ``map_rows(function)`` yields ``function(batch)``
for one float64 batch of rows after the other.
"""

import torch

# A row this far out has affinity zero to every landmark; its square is finite.
_FARTHEST = 2.0**400

# Directions with a smaller share of the largest standard deviation are rounding
# error of float32 features and not data.
_RANK_RTOL = 1e-6


def rescale(X, exponent):
    """Multiply by ``2 ** -exponent``, exactly.

    Two steps, since the factor itself may lie outside the range of float64.
    """
    half = exponent // 2
    return X * 2.0**-half * 2.0 ** (half - exponent)


def binary_exponent(X):
    """Return the smallest integer e with ``abs(X).max() < 2 ** e`` (0 for zeros)."""
    return int(torch.frexp(X.abs().max()).exponent)


def coordinates(X, frame):
    """Return rows in the coordinates of a frame.

    Parameters
    ----------
    X : tensor of shape (n_samples, n_features), float64
    frame : dict
        As `fit_frame` returns it.

    Returns
    -------
    Z : tensor of shape (n_samples, n_features) or (n_samples, rank)
    """
    Z = rescale(_differences(X, frame), frame["spread_exponent"])
    Z = Z.clamp_(-_FARTHEST, _FARTHEST)
    return Z @ frame["whitening"] if "whitening" in frame else Z


def _differences(X, frame):
    """Return scaled differences to the offset.

    Exact zeros in a constant column, however large its value.
    """
    return rescale(X, frame["exponent"]).sub_(frame["offset"])


def fit_frame(map_rows, n_samples, whiten=None):
    """Fit the coordinates of the rows.

    Parameters
    ----------
    map_rows : callable
        See the module's docstring.
    n_samples : int
    whiten : {None, "pca"}
        "pca" makes the covariance of the coordinates the identity on the span
        of the rows.

    Returns
    -------
    frame : dict

    Raises
    ------
    ValueError
        If all rows are equal.
    """
    frame = _fit_scale(map_rows)
    total = sum(map_rows(lambda X: _differences(X, frame).sum(0)))
    frame["offset"] = frame["offset"] + total / n_samples
    if whiten == "pca":
        scatter = sum(map_rows(lambda X: _scatter(coordinates(X, frame))))
        frame["whitening"] = whitening_matrix(scatter / (n_samples - 1))
        frame["total_variance"] = float(frame["whitening"].shape[1])
    else:
        squares = sum(map_rows(lambda X: coordinates(X, frame).square_().sum()))
        frame["total_variance"] = float(squares) / (n_samples - 1)
    return frame


def _fit_scale(map_rows):
    """Fit both exponents; the first row is the offset until the mean is known."""
    first, low, high = None, None, None
    for row, batch_low, batch_high in map_rows(lambda X: (X[0], *X.aminmax(dim=0))):
        first = row if first is None else first
        low = batch_low if low is None else torch.minimum(low, batch_low)
        high = batch_high if high is None else torch.maximum(high, batch_high)
    if torch.equal(low, high):
        raise ValueError(
            "X has no spread: all rows are equal, so the bandwidth is undefined."
        )
    exponent = binary_exponent(torch.stack([low, high]))
    spread = rescale(high, exponent) - rescale(low, exponent)
    return {
        "exponent": exponent,
        "spread_exponent": binary_exponent(spread),
        "offset": rescale(first, exponent),
    }


def _scatter(Z):
    return Z.T @ Z


def whitening_matrix(covariance):
    """Return the PCA whitening matrix ``W = V diag(w ** -1/2)`` of a covariance.

    Parameters
    ----------
    covariance : tensor of shape (n_features, n_features)
        With the eigenvectors V and the eigenvalues w.

    Returns
    -------
    W : tensor of shape (n_features, rank)
        ``W.T @ covariance @ W`` is the identity.
    """
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > values[-1] * _RANK_RTOL**2
    return vectors[:, kept] / values[kept].sqrt()

"""Coordinates in which distances are sound: scaled, centred, whitened.

Scales are powers of two, so that data of any magnitude (1e-300 to 1e300) take the
same path without an overflow and without a rounding error of the scaling.

A frame is a dict with the keys ``exponent`` and ``spread_exponent`` (int), ``offset``
(tensor of shape (n_features,)), ``total_variance`` (float) and, when whitening,
``whitening`` (tensor of shape (n_features, rank)). The dtype of the offset is that of
the coordinates. In float32 they are as exact as the rows: the offset is one of the
values of each column, and the difference of two float32 numbers is rounded once.

Rows come in through ``map_rows``: ``map_rows(function)`` yields ``function(batch)``
for one batch of rows after the other, float32 or float64 as the rows are.
"""

from functools import reduce

import torch

# A row this far out has affinity zero to every landmark, unless a bandwidth was asked
# for that is larger still; its square is finite.
FARTHEST = 2.0**400
_FARTHEST_SINGLE = 2.0**50

# Rows with exponents up to this are centred as they are, if need be in float32, in
# which their spread has no smaller one.
_ORDINARY_EXPONENT = 60

# Factors of two with exponents up to this are normal numbers in float64.
_NORMAL_EXPONENT = 1000

# At least so many rows, if there are, give the median that coordinates start from.
_MEDIAN_ROWS = 256

# Z-scores are cut off here, and differences where they would overflow.
_LARGEST_Z = 10.0
_LARGEST = 2.0**1023

# Smallest share of the largest standard deviation that float64 sees through a
# covariance matrix.
_RANK_RTOL = 1e-7


def rescale(X, exponent):
    """Multiply by ``2 ** -exponent``, exactly.

    In two steps where the factor itself lies outside the range of float64.
    """
    if exponent == 0:
        return X
    if abs(exponent) <= _NORMAL_EXPONENT:
        return X * 2.0**-exponent
    half = exponent // 2
    return X * 2.0**-half * 2.0 ** (half - exponent)


def binary_exponent(X):
    """Return the smallest integer e with ``abs(X).max() < 2 ** e`` (0 for zeros)."""
    return int(torch.frexp(X.abs().max()).exponent)


def coordinates(X, frame):
    """Return rows in the coordinates of a frame.

    Parameters
    ----------
    X : tensor of shape (n_samples, n_features)
    frame : dict
        As `fit_frame` returns it.

    Returns
    -------
    Z : tensor of shape (n_samples, n_features) or (n_samples, rank)
    """
    Z = rescale(centred(X, frame), frame["spread_exponent"])
    farthest = _FARTHEST_SINGLE if Z.dtype == torch.float32 else FARTHEST
    Z.clamp_(-farthest, farthest)
    return Z @ frame["whitening"] if "whitening" in frame else Z


def centred(X, frame):
    """Return rows about the offset, huge or tiny ones in units of the largest value."""
    offset = frame["offset"]
    return rescale(X.to(offset.dtype), frame["exponent"]) - offset


def in_dtype(state, dtype):
    """Return a dict with its tensors in a dtype."""
    return {
        name: value.to(dtype) if isinstance(value, torch.Tensor) else value
        for name, value in state.items()
    }


def fit_frame(map_rows, sample, n_samples, whiten=None, rounding=0.0):
    """Fit the coordinates of the rows.

    Parameters
    ----------
    map_rows : callable
        See the module's docstring.
    sample : tensor of shape (n_sample, n_features)
        Some of the rows. Their median is the origin: unlike the mean it stays among
        most rows when others are far away, so that they keep their digits.
    n_samples : int
    whiten : {None, "pca"}
        "pca" makes the covariance of the coordinates the identity on the span of
        the rows.
    rounding : float
        Relative rounding error of the features, for `fit_whitening`.

    Returns
    -------
    frame : dict
        Of float32 where rows are, numbers are neither huge nor tiny and nothing is
        whitened, else of float64.

    Raises
    ------
    ValueError
        If all rows are equal.
    """
    exponent = binary_exponent(reduce(torch.maximum, map_rows(largest_value)))
    is_ordinary = abs(exponent) <= _ORDINARY_EXPONENT
    exponent = 0 if is_ordinary else exponent
    is_double = sample.dtype == torch.float64 or whiten is not None or not is_ordinary
    offset = column_medians(sample).to(torch.float64 if is_double else torch.float32)
    frame = {"exponent": exponent, "offset": rescale(offset, exponent)}
    reaches = map_rows(lambda X: largest_value(centred(X, frame)))
    reach = reduce(torch.maximum, reaches)
    if reach == 0:
        raise ValueError(
            "X has no spread: all rows are equal, so the bandwidth is undefined."
        )
    frame["spread_exponent"] = binary_exponent(reach)
    if frame["spread_exponent"] < -_ORDINARY_EXPONENT:
        frame = in_dtype(frame, torch.float64)
    if whiten == "pca":
        frame["whitening"] = fit_whitening(map_rows, n_samples, frame, rounding)
        frame["total_variance"] = float(frame["whitening"].shape[1])
    else:
        frame["total_variance"] = total_variance(map_rows, n_samples, frame)
    return frame


def largest_value(X):
    """Return the largest absolute value."""
    return torch.stack(X.aminmax()).abs().amax()


def squared_norms(X):
    """Return the squared lengths of rows."""
    return torch.linalg.vector_norm(X, dim=1).square_()


def some_rows(n_samples):
    """Return a slice of rows, evenly spread, that are enough for a median."""
    return slice(None, None, max(1, n_samples // _MEDIAN_ROWS))


def column_medians(sample):
    """Return the upper median of each column."""
    return sample.sort(dim=0).values[len(sample) // 2]


def column_range(map_rows):
    """Return the smallest and the largest value of each column."""
    low, high = None, None
    for batch_low, batch_high in map_rows(lambda X: X.aminmax(dim=0)):
        low = batch_low if low is None else torch.minimum(low, batch_low)
        high = batch_high if high is None else torch.maximum(high, batch_high)
    return low, high


def total_variance(map_rows, n_samples, frame):
    """Return the sum of the variances of the coordinates (``ddof=1``).

    The origin is within about a standard deviation of the mean, so that subtracting
    the mean's square afterwards costs no digits.
    """

    def sums(X):
        Z = coordinates(X, frame)
        squares = squared_norms(Z).sum(0, keepdim=True, dtype=torch.float64)
        return torch.cat([Z.sum(0), squares])

    total, squares = sum(map_rows(sums)).split([len(frame["offset"]), 1])
    return float((squares - total.square().sum() / n_samples) / (n_samples - 1))


def fit_whitening(map_rows, n_samples, frame, rounding):
    """Return the PCA whitening matrix of the coordinates.

    With the covariance C of the coordinates over their widths, its eigenvectors V
    and eigenvalues w, it is ``W = diag(1 / widths) V diag(w ** -1/2)``.

    Parameters
    ----------
    map_rows, n_samples, frame
        As for `fit_frame`; the frame without its whitening.
    rounding : float
        Relative rounding error of the features. Eigenvectors along which it is as
        large as the spread are dropped, but for the widest one.

    Returns
    -------
    W : tensor of shape (n_features, rank)
    """
    low, high = (
        rescale(values.to(torch.float64), frame["exponent"])
        for values in column_range(map_rows)
    )
    # The range of each column takes units out of the condition of C.
    widths = rescale(high - low, frame["spread_exponent"])
    errors = rounding * torch.maximum(low.abs(), high.abs())
    errors = rescale(errors, frame["spread_exponent"])
    constant = widths == 0
    widths = torch.where(constant, 1.0, widths)
    errors = torch.where(constant, 0.0, errors / widths)

    def sums(X):
        Z = coordinates(X, frame) / widths
        return torch.cat([Z.sum(0, keepdim=True), Z.T @ Z])

    total, scatter = sum(map_rows(sums)).split([1, len(widths)])
    covariance = (scatter - total.T @ total / n_samples) / (n_samples - 1)
    values, vectors = resolved_axes(covariance, errors)
    return vectors / values.sqrt() / widths[:, None]


def resolved_axes(covariance, errors):
    """Return the eigenvalues and eigenvectors of a covariance that are not rounding.

    Parameters
    ----------
    covariance : tensor of shape (n_features, n_features)
    errors : tensor of shape (n_features,)
        Rounding error of each column. Axes along which it is as large as the spread
        are dropped, but for the widest one.

    Returns
    -------
    values : tensor of shape (rank,)
    vectors : tensor of shape (n_features, rank)
    """
    values, vectors = torch.linalg.eigh(covariance)
    unresolved = vectors.square().T @ errors.square()
    kept = values > torch.maximum(values[-1] * _RANK_RTOL**2, unresolved)
    kept[-1] = True
    return values[kept], vectors[:, kept]


def fit_zscore(map_rows, n_samples, scaling="columns"):
    """Fit the z-scores of rows.

    Parameters
    ----------
    map_rows : callable
        See the module's docstring.
    n_samples : int
    scaling : {"columns", "view"}
        Whether each column is divided by its own standard deviation, or all by the root
        of their mean variance.

    Returns
    -------
    frame : dict
        ``middle``, ``half_range``, ``mean`` and ``std`` (``ddof=1``), tensors of shape
        (n_features,); the last two of columns moved and scaled to lie within -1 and 1,
        which no magnitude of the data takes digits from.

    Raises
    ------
    ValueError
        If all rows are equal.
    """
    low, high = (values.to(torch.float64) for values in column_range(map_rows))
    half_range = high / 2 - low / 2
    if not half_range.any():
        raise ValueError("X has no spread: all rows are equal.")
    frame = {"middle": low + half_range, "half_range": half_range}

    def mean(function):
        return sum(map_rows(lambda X: function(within_range(X, frame)).sum(0)))

    frame["mean"] = mean(lambda Z: Z) / n_samples
    squares = mean(lambda Z: (Z - frame["mean"]).square())
    frame["std"] = (squares / (n_samples - 1)).sqrt()
    if scaling == "view":
        # In units of the widest column; a constant one is infinitely narrow.
        widths = half_range / half_range.max()
        frame["std"] = (frame["std"] * widths).square().mean().sqrt() / widths
    return frame


def within_range(X, frame):
    """Return columns moved and scaled to lie within -1 and 1; constant ones are 0."""
    Z = (X - frame["middle"]).clamp_(-_LARGEST, _LARGEST)
    constant = frame["half_range"] == 0
    Z /= torch.where(constant, 1.0, frame["half_range"])
    return torch.where(constant, 0.0, Z)


def zscore(X, frame):
    """Return rows with the mean of each column taken off, over a deviation.

    Parameters
    ----------
    X : tensor of shape (n_samples, n_features)
    frame : dict
        As from `fit_zscore`.

    Returns
    -------
    Z : tensor of shape (n_samples, n_features)
        Within -10 and 10, so that a row far out does not rule the others.
    """
    std = torch.where(frame["std"] > 0, frame["std"], 1.0)
    Z = (within_range(X, frame) - frame["mean"]) / std
    return Z.clamp_(-_LARGEST_Z, _LARGEST_Z)

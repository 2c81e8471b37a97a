"""Ridge regression on kernels among landmarks, with centring."""

import torch

from sklearn_featalign._linalg import Affine

# Landmarks count as equal if centring leaves at most this share of the trace.
_SPREAD_RTOL = 1e-13


def centred_kernel(K):
    """Return ``H K H``, with H the centring matrix.

    Raises
    ------
    ValueError
        If all landmarks are equal.
    """
    k = K.mean(0)
    K_centred = K - k - k[:, None] + k.mean()
    if K_centred.diagonal().sum() <= _SPREAD_RTOL * K.diagonal().sum():
        raise ValueError(
            "Centring needs two landmarks or more that differ by more than a rounding "
            f"error of their kernel, got n_landmarks={len(K)} of which none differ."
        )
    return K_centred


def ridge_inverse(K_centred, ridge):
    r"""Return the inverse of a centred kernel with a ridge.

    .. math:: P = (K + \lambda I)^{-1}, \qquad \lambda = \rho \, \mathrm{tr}(K) / m

    Raises
    ------
    ValueError
        If the penalty vanishes in float64.
    """
    penalised = K_centred.clone()
    penalised.diagonal().add_(ridge * float(K_centred.diagonal().mean()))
    factor, failed = torch.linalg.cholesky_ex(penalised)
    # The condition number is at most n_landmarks / ridge.
    if failed or ridge < 10 * len(factor) * torch.finfo(factor.dtype).eps:
        raise ValueError(f"ridge={ridge} is too small for float64: use a larger one.")
    return torch.cholesky_inverse(factor)


def centred_map(k, M):
    """Return the affine map that centres kernel values, then applies a matrix M.

    With A the kernel values of rows, H the centring matrix, k the column means of the
    kernel among the landmarks and g their mean,

    .. math:: (A H - 1 (k - g)^T) M = A P + 1 b^T
    """
    return Affine(M - M.mean(0), (k.mean() - k) @ M)


def ridge_projection(K, ridge):
    r"""Return the affine map that decorrelates affinities to landmarks.

    With K_c the doubly centred affinities K among landmarks, and A_c those of rows
    centred by the same means,

    .. math:: F = A_c (K_c + \lambda I)^{-1} = A P + 1 b^T, \qquad
              \lambda = \rho \, \mathrm{tr}(K_c) / m

    Raises
    ------
    ValueError
        If all landmarks are equal, or if the penalty vanishes in float64.
    """
    return centred_map(K.mean(0), ridge_inverse(centred_kernel(K), ridge))

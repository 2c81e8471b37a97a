"""The leading eigenvectors of a large positive semi-definite matrix."""

import torch

# Matrices up to this size, and those of which more than a third is wanted, are
# decomposed completely.
_COMPLETE = 2600

# A matrix of at most this rank, relative to its size, is decomposed within its range.
_LOW_RANK = 0.6

# Dimensions beyond those wanted, as a share of these.
_OVERSAMPLING = 1 / 8

# Degree of the Chebyshev filter.
_DEGREE = 8


def leading_eigenpairs(S, k, rank):
    """Return the k largest eigenvalues, in descending order, and their eigenvectors.

    `rank` is that of S, at most. Far below its size, S is decomposed within its range.
    Of a large matrix they are sought in a subspace of little more than k dimensions,
    from fixed random numbers by two powers of S and one Chebyshev filter (Zhou, Saad,
    Tiago and Chelikowsky 2006, "Self-consistent-field calculations using
    Chebyshev-filtered subspace iteration"). Those of the largest eigenvalues are exact,
    those at the end of the k are mixed with what follows.
    """
    size = len(S)
    if rank <= size * _LOW_RANK:
        X = torch.linalg.qr(S @ fixed_normal(size, rank, S)).Q
        values, vectors = leading_eigenpairs(X.T @ (S @ X), k, rank)
        return values, X @ vectors
    if size <= max(_COMPLETE, 3 * k):
        values, vectors = torch.linalg.eigh(S)
        return values.flip(0)[:k], vectors.flip(1)[:, :k]
    X = fixed_normal(size, k + round(k * _OVERSAMPLING), S)
    values, X, SX = rayleigh_ritz(S, S @ (S @ X))
    X = chebyshev(S, X, SX, float(values[-1]))
    values, X, _ = rayleigh_ritz(S, X)
    return values[:k], X[:, :k]


def rayleigh_ritz(S, X):
    """Return the eigenvalues, in descending order, within the span of the columns of X.

    The eigenvectors X and ``S @ X`` follow.
    """
    X = torch.linalg.qr(X).Q
    SX = S @ X
    values, vectors = torch.linalg.eigh(X.T @ SX)
    vectors = vectors.flip(1)
    return values.flip(0), X @ vectors, SX @ vectors


def chebyshev(S, X, SX, bound):
    """Return the product of X and a polynomial of S that is small up to a bound.

    It is the Chebyshev polynomial of `_DEGREE`, at most 1 for eigenvalues from 0 to the
    bound, which grows steeply beyond.
    """
    half = bound / 2
    before, X = X, SX.div_(half).sub_(X)
    for _ in range(_DEGREE - 1):
        before, X = X, (S @ X).div_(half).sub_(X).mul_(2).sub_(before)
    return X


def fixed_normal(n_rows, n_columns, like):
    """Return normal random numbers, the same ones at each call."""
    generator = torch.Generator("cpu").manual_seed(0)
    shape = n_rows, n_columns
    numbers = torch.randn(shape, dtype=like.dtype, generator=generator, device="cpu")
    return numbers.to(like.device)

"""Regularised canonical correlation analysis of two or more views, in closed form."""

from itertools import accumulate, permutations

import torch
from torch.nn.functional import pad

from sklearn_featalign import _memory
from sklearn_featalign._linalg import sum_and_scatter, unit_rows
from sklearn_featalign._similarity import own_ranks

# Scaled rows whose widest direction has no more variance are equal but for rounding.
_NO_VARIANCE = 1e-12


def whitening(spectrum, ridge):
    r"""Return a matrix that whitens a view, with a ridge.

    .. math:: B = V (\Lambda + \rho \bar\lambda)^{-1/2}, \qquad
              B^T (C + \rho \bar\lambda I) B = I

    Parameters
    ----------
    spectrum : tuple of tensors
        Eigenvalues and eigenvectors of the covariance, :math:`C = V \Lambda V^T`.
    ridge : float
        The factor :math:`\rho` of the mean eigenvalue.

    Returns
    -------
    B : tensor of shape (n_features, n_features)

    Raises
    ------
    ValueError
        If the penalty vanishes in float64, or if rows are equal.
    """
    values, vectors = spectrum
    if values[-1] <= _NO_VARIANCE:
        raise ValueError(
            "A view is the same in all paired rows: canonical correlations are "
            "undefined."
        )
    penalty = ridge * float(values.mean())
    if penalty <= 100 * len(values) * torch.finfo(values.dtype).eps * values[-1]:
        raise ValueError(f"ridge={ridge} is too small for float64: use a larger one.")
    return vectors / (values.clamp(min=0) + penalty).sqrt()


def view_spectra(covariance, blocks):
    """Return eigenvalues and eigenvectors of the covariance of each view."""
    return [torch.linalg.eigh(covariance[block, block]) for block in blocks]


def canonical_maps(covariance, blocks, spectra, ridge, n_components):
    r"""Return the regularised canonical variates of views that stand side by side.

    With B the whitening of each view, the off-diagonal blocks
    :math:`M_{uv} = B_u^T C_{uv} B_v` make up a symmetric matrix whose leading
    eigenvectors are, for two views, the singular vectors of :math:`M_{12}`: canonical
    correlation analysis with a ridge (Vinod 1976). For V of them it is the sum of
    correlations under a common constraint, :math:`\max \sum_{u \ne v} a_u^T C_{uv} a_v`
    (Kettenring 1971; Nielsen 2002), and eigenvalues are divided by V - 1. Each view is
    first narrowed to its ``2 * n_components`` leading directions of
    :math:`\sum_u M_{vu} M_{uv}`, which loses nothing of two views.

    Parameters
    ----------
    covariance : tensor of shape (n_features, n_features)
        Of all views side by side.
    blocks : list of slice
        The columns of each view.
    spectra : list of tuple of tensors
        As from `view_spectra`, which are the same for every ridge.
    ridge : float
        In multiples of the mean eigenvalue of a view.
    n_components : int
        Fewer are returned if a view has fewer columns.

    Returns
    -------
    maps : list of tensor of shape (n_view_features, n_components)
        Columns a with :math:`a^T (C + \rho \bar\lambda I) a = 1` for two views, and on
        the mean over more.
    correlations : tensor of shape (n_components,)
        In descending order, not negative.
    """
    B = [whitening(spectrum, ridge) for spectrum in spectra]
    M = {
        (i, j): B[i].T @ covariance[u, v] @ B[j]
        for i, u in enumerate(blocks)
        for j, v in enumerate(blocks)
        if i != j
    }
    views = range(len(blocks))
    for i in views:
        shared = sum(M[i, j] @ M[i, j].T for j in views if j != i)
        leading = torch.linalg.eigh(shared).eigenvectors.flip(1)[:, : 2 * n_components]
        B[i] = B[i] @ leading
        for j in views:
            if j != i:
                M[i, j] = leading.T @ M[i, j]
                M[j, i] = M[j, i] @ leading
    for i in views:
        M[i, i] = covariance.new_zeros(2 * [B[i].shape[1]])
    joint = torch.cat([torch.cat([M[i, j] for j in views], dim=1) for i in views])
    values, vectors = torch.linalg.eigh(joint)
    k = min(n_components, *(part.shape[1] for part in B))
    vectors = vectors.flip(1)[:, :k] * len(blocks) ** 0.5
    parts = vectors.split([part.shape[1] for part in B])
    correlations = values.flip(0)[:k].clamp(min=0) / (len(blocks) - 1)
    return [b @ part for b, part in zip(B, parts, strict=True)], correlations


def stacked_moments(views):
    """Return mean and covariance (``ddof=1``) of paired rows of several views.

    Parameters
    ----------
    views : list of tensor of shape (n_samples, n_view_features)

    Returns
    -------
    mean : tensor of shape (n_features,), float64
        Of the columns of all views side by side.
    covariance : tensor of shape (n_features, n_features), float64
    """
    n_samples = len(views[0])
    chunks = zip(*(Z.split(_memory.FLOAT64_ROWS) for Z in views), strict=True)
    total, scatter = sum_and_scatter(
        torch.cat(parts, dim=1).to(torch.float64) for parts in chunks
    )
    mean = total / n_samples
    return mean, (scatter - total.outer(mean)) / (n_samples - 1)


def side_by_side(views):
    """Return the columns that each view has when they stand side by side."""
    ends = list(accumulate(Z.shape[1] for Z in views))
    return [slice(end - Z.shape[1], end) for Z, end in zip(views, ends, strict=True)]


def fit_cca(views, ridge, n_components):
    """Fit affine maps from views to their canonical variates.

    Parameters
    ----------
    views : list of tensor of shape (n_samples, n_view_features)
        Paired rows.
    ridge : float
    n_components : int

    Returns
    -------
    maps : list of tuple of tensors
        Of each view the matrix, of shape (n_view_features, n_components), and the
        intercept. Where there are fewer components, their columns are zero.
    correlations : tensor of shape (n_components,)
    """
    return cca_by_ridge(views, n_components)(ridge)


def cca_by_ridge(views, n_components):
    """Return the function from a ridge to what `fit_cca` does."""
    mean, covariance = stacked_moments(views)
    blocks = side_by_side(views)
    spectra = view_spectra(covariance, blocks)

    def fit(ridge):
        maps, correlations = canonical_maps(
            covariance, blocks, spectra, ridge, n_components
        )
        missing = (0, n_components - len(correlations))
        maps = [pad(A, missing) for A in maps]
        affine = [(A, -mean[block] @ A) for block, A in zip(blocks, maps, strict=True)]
        return affine, pad(correlations, missing)

    return fit


def apply_map(Z, affine, weights):
    """Return rows in float64 after an affine map, its columns weighted."""
    A, b = affine[0] * weights, affine[1] * weights
    parts = (part.to(torch.float64) for part in Z.split(_memory.FLOAT64_ROWS))
    return torch.cat([torch.addmm(b, part, A) for part in parts])


def choose_ridge(views, ridges, n_components, power, generator):
    """Return the ridge that finds most pairs of rows that are left out: a fifth.

    By mean reciprocal rank (cosine), averaged over ordered pairs of views.

    Parameters
    ----------
    views : list of tensor of shape (n_samples, n_view_features)
    ridges : sequence of float
    n_components : int
    power : float
        Exponent of the correlations as weights of the components.
    generator : torch.Generator
        Of the rows to leave out.
    """
    n_samples = len(views[0])
    order = torch.randperm(n_samples, generator=generator, device=generator.device)
    held, rest = order.to(views[0].device).tensor_split([max(2, n_samples // 5)])
    fit = cca_by_ridge([Z[rest] for Z in views], n_components)
    held = [Z[held] for Z in views]

    def score(ridge):
        maps, s = fit(ridge)
        return pair_mrr(
            [
                apply_map(Z, affine, s**power)
                for Z, affine in zip(held, maps, strict=True)
            ]
        )

    return max(ridges, key=score)


def pair_mrr(features):
    """Return the mean reciprocal rank of pairs (cosine), over ordered pairs of views.

    Parameters
    ----------
    features : list of tensor of shape (n_samples, n_components), float64
    """
    features = [unit_rows(F) for F in features]
    bias = features[0].new_zeros(len(features[0]))
    ranks = [own_ranks(F, G, bias) for F, G in permutations(features, 2)]
    return float(torch.stack([(1 / rank).mean() for rank in ranks]).mean())

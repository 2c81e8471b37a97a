"""Regularised canonical correlation analysis (CCA) of two or more views."""

from itertools import accumulate, permutations
from typing import NamedTuple

import torch
from torch.nn.functional import linear, normalize, pad

from sklearn_featalign import _memory
from sklearn_featalign._linalg import Affine, sum_and_scatter, unit_rows
from sklearn_featalign._similarity import own_ranks

# A view with at most this variance in every direction is constant up to rounding.
_NO_VARIANCE = 1e-12

# Numbers that differ by less count as equal.
_EQUAL_RTOL = 1e-3

# Components are weighted by this power of their correlation where training starts.
_START_POWER = 1

# Components whose affinities are preserved are weighted by this power.
_AFFINITY_POWER = 2

# Below this number of pairs none are held out to choose a ridge.
_FEW_PAIRS = 10
_RIDGE_OF_FEW = 1.0


class RidgeCCA:
    r"""Regularised CCA of paired rows of several views, for any number of ridges.

    With B the whitening of each view, the blocks :math:`M_{uv} = B_u^T C_{uv} B_v` for
    u != v make up a symmetric matrix. For two views its leading eigenvectors are the
    singular vectors of :math:`M_{12}` (Vinod 1976). For V views they maximise the sum
    of correlations under one constraint, :math:`\sum_{u \ne v} a_u^T C_{uv} a_v`
    (Kettenring 1971; Nielsen 2002), and the eigenvalues are divided by V - 1.
    """

    def __init__(self, views, n_components):
        self.n_components = n_components
        self.slices = view_slices(views)
        self.mean, self.covariance = stacked_moments(views)
        # The spectra are the same for every ridge.
        self.spectra = [torch.linalg.eigh(self.covariance[s, s]) for s in self.slices]

    def solve(self, ridge):
        r"""Return the maps to the canonical variates, and their correlations.

        Parameters
        ----------
        ridge : float
            Regularisation in multiples of the mean eigenvalue of each view.

        Returns
        -------
        maps : list of Affine
            For each view, columns a with :math:`a^T (C + \rho \bar\lambda I) a = 1`
            (for more than two views: on average over views). Columns beyond the width
            of the narrowest view are zero.
        correlations : tensor of shape (n_components,)
            They are not negative, in descending order.
        """
        B = [whitening(spectrum, ridge) for spectrum in self.spectra]
        views = range(len(B))
        M = {
            (u, v): B[u].T @ self.covariance[self.slices[u], self.slices[v]] @ B[v]
            for u, v in permutations(views, 2)
        }
        # The joint problem would be as wide as all views. Each view is restricted to
        # the leading directions of sum_u M_vu M_uv, which is exact for two views; for
        # more it approximates, and depends a little on the order of the views.
        for v in views:
            others = [u for u in views if u != v]
            shared = sum(M[v, u] @ M[v, u].T for u in others)
            vectors = torch.linalg.eigh(shared).eigenvectors
            leading = vectors.flip(1)[:, : 2 * self.n_components]
            B[v] = B[v] @ leading
            for u in others:
                M[v, u] = leading.T @ M[v, u]
                M[u, v] = M[u, v] @ leading
            M[v, v] = leading.new_zeros(2 * [leading.shape[1]])
        joint = torch.cat([torch.cat([M[u, v] for v in views], dim=1) for u in views])
        values, vectors = torch.linalg.eigh(joint)
        widths = [b.shape[1] for b in B]
        k = min(self.n_components, *widths)
        parts = (vectors.flip(1)[:, :k] * len(B) ** 0.5).split(widths)
        missing = (0, self.n_components - k)
        matrices = [pad(b @ part, missing) for b, part in zip(B, parts, strict=True)]
        signs = largest_signs(torch.cat(matrices))
        matrices = [A * signs for A in matrices]
        maps = [
            Affine(A, -self.mean[columns] @ A)
            for columns, A in zip(self.slices, matrices, strict=True)
        ]
        correlations = values.flip(0)[:k].clamp(min=0) / (len(B) - 1)
        return maps, pad(correlations, missing)


def largest_signs(A):
    """Return the sign of the largest number of each column, which an axis leaves open.

    Of numbers that are equal up to rounding the first one counts.
    """
    sizes = A.abs()
    is_largest = sizes >= sizes.amax(0) * (1 - _EQUAL_RTOL)
    first = is_largest.to(torch.int8).argmax(0, keepdim=True)
    return torch.where(A.gather(0, first) < 0, -1.0, 1.0)


def whitening(spectrum, ridge):
    r"""Return a matrix that whitens a view, with a ridge.

    .. math:: B = V (\Lambda + \rho \bar\lambda)^{-1/2}, \qquad
              B^T (C + \rho \bar\lambda I) B = I

    The spectrum of the covariance, :math:`C = V \Lambda V^T`, has eigenvalues and
    eigenvectors; the ridge is the factor :math:`\rho` of the mean eigenvalue.
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


def view_slices(views):
    """Return the columns of each view when all are stacked side by side."""
    ends = list(accumulate(Z.shape[1] for Z in views))
    return [slice(end - Z.shape[1], end) for Z, end in zip(views, ends, strict=True)]


def stacked_moments(views):
    """Return mean and covariance (``ddof=1``) of stacked views, in float64."""
    n_samples = len(views[0])
    chunks = zip(*(Z.split(_memory.FLOAT64_ROWS) for Z in views), strict=True)
    total, scatter = sum_and_scatter(
        torch.cat(parts, dim=1).to(torch.float64) for parts in chunks
    )
    mean = total / n_samples
    return mean, (scatter - total.outer(mean)) / (n_samples - 1)


def weighted(maps, weights):
    """Return affine maps to the leading outputs, each multiplied by its weight."""
    k = len(weights)
    return [Affine(A[:, :k] * weights, b[:k] * weights) for A, b in maps]


def apply_affine(Z, affine):
    """Return rows after an affine map, in float64."""
    parts = (part.to(torch.float64) for part in Z.split(_memory.FLOAT64_ROWS))
    return torch.cat([torch.addmm(affine.intercept, X, affine.matrix) for X in parts])


def pairwise_mrr(features):
    """Return the mean reciprocal rank (cosine) over all ordered pairs of views."""
    features = [unit_rows(F) for F in features]
    bias = features[0].new_zeros(len(features[0]))
    ranks = [own_ranks(F, G, bias) for F, G in permutations(features, 2)]
    return float(torch.stack([(1 / rank).mean() for rank in ranks]).mean())


def choose_ridge(views, ridges, n_components, generator):
    """Return the ridge with the best retrieval of held-out pairs, a fifth of all pairs.

    The generator draws the pairs that are held out. A single ridge is returned as it
    is; of several, 1 is returned if there are fewer than 10 pairs.
    """
    n_samples = len(views[0])
    if len(ridges) == 1:
        return ridges[0]
    if n_samples < _FEW_PAIRS:
        return _RIDGE_OF_FEW
    order = torch.randperm(n_samples, generator=generator, device=generator.device)
    held, rest = order.to(views[0].device).tensor_split([max(2, n_samples // 5)])
    cca = RidgeCCA([Z[rest] for Z in views], n_components)
    scores = []
    for ridge in ridges:
        maps, correlations = cca.solve(ridge)
        maps = weighted(maps, correlations**_START_POWER)
        pairs = zip(views, maps, strict=True)
        scores.append(pairwise_mrr([apply_affine(Z[held], A) for Z, A in pairs]))
    return ridges[scores.index(max(scores))]


class Start(NamedTuple):
    """The closed form that training starts from.

    Attributes
    ----------
    layers : list of tuple of tensors of shape (n_components, n_features),
    (n_components,)
        For each view, weight and bias of a linear layer.
    affinity_targets : list of tensor of shape (n_samples, 2 * n_components)
        For each view, the rows whose affinities training preserves.
    ridge : float
    """

    layers: list
    affinity_targets: list
    ridge: float

    def class_centers(self, views, present, classes):
        """Return the sum of all initial features of each class, at unit length.

        `present`, of shape (n_samples, n_views), says which views each row has.
        """
        rows = sum(
            normalize(linear(Z, *layer)) * mask[:, None]
            for Z, layer, mask in zip(views, self.layers, present.T, strict=True)
        )
        rows = rows[torch.argsort(classes, stable=True)]
        counts = torch.bincount(classes).tolist()
        if len(counts) < len(classes):
            rows = torch.stack([part.sum(0) for part in rows.split(counts)])
        return normalize(rows)


def fit_start(views, paired, ridges, n_components, generator):
    """Fit the `Start` of training by regularised CCA of the paired rows of views.

    `paired` has the positions of the rows that have every view. The layers are scaled
    to outputs of unit mean variance.
    """
    pairs = [Z[paired] for Z in views]
    ridge = choose_ridge(pairs, ridges, n_components, generator)
    # Twice the components of the encoders make the affinities more accurate.
    maps, correlations = RidgeCCA(pairs, 2 * n_components).solve(ridge)
    to_affinities = weighted(maps, correlations**_AFFINITY_POWER)
    affinity_targets = [
        unit_rows(apply_affine(Z, affine)).to(torch.float32)
        for Z, affine in zip(views, to_affinities, strict=True)
    ]
    weights = correlations[:n_components] ** _START_POWER
    variances = [
        apply_affine(Z, affine).var(0).mean()
        for Z, affine in zip(pairs, weighted(maps, weights), strict=True)
    ]
    weights = weights / (sum(variances) / len(variances)).sqrt()
    layers = [
        (A.T.to(torch.float32).contiguous(), b.to(torch.float32))
        for A, b in weighted(maps, weights)
    ]
    return Start(layers, affinity_targets, ridge)

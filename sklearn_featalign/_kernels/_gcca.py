r"""Kernel generalised CCA from second moments, for views that rows may lack.

F are the features of a view, centred and scaled, so that :math:`F F^T` is a kernel of
trace n; rows that lack the view are zero. With :math:`C = F^T F` the hat matrix of
ridge regression on the view is

.. math:: H = W W^T, \qquad W = F L^{-T}, \qquad L L^T = C + \rho I

With D the diagonal matrix of the numbers of views that rows have, MAXVAR generalised
CCA with missing rows (van de Velden and Bijmolt 2006) seeks the variates G that views
fit best: those with the largest trace of :math:`G^T (\sum_u H_u) G` under :math:`G^T D
G = I`. They follow from the eigenpairs of a matrix that does not grow with the rows:
with :math:`W = [W_1 .. W_V]`

.. math:: S = W^T D^{-1} W, \qquad S Q = Q \mu, \qquad G = D^{-1} W Q \mu^{-1/2}

and ridge regression predicts from view u the variates :math:`W_u Q_u \mu^{1/2}`.
"""

from itertools import combinations, combinations_with_replacement
from typing import NamedTuple

import torch

from sklearn_featalign._kernels._eigen import fixed_normal, leading_eigenpairs
from sklearn_featalign._kernels._moments import centred, extended_slices, symmetric
from sklearn_featalign._linalg import squared_norms

# Exponent of the power mean over pairs of views.
_POWER_MEAN_EXPONENT = 24

# Eigenvalues below this share of the largest are rounding errors.
_SMALLEST = 1e-12


class Variates(NamedTuple):
    """The shared variates of all views, from the largest eigenvalue on.

    Attributes
    ----------
    values : tensor of shape (k,)
        The eigenvalues of S.
    vectors : list of tensor of shape (rank, k)
        The rows of the eigenvectors of S that belong to each view.
    means : list of tensor of shape (rank,)
        Means of the features of each view.
    factors : list of tensor of shape (rank, rank)
        The factor L of each view.
    """

    values: torch.Tensor
    vectors: list
    means: list
    factors: list


class Maps(NamedTuple):
    """Maps to the variates, or to components of them; a matrix for each view.

    `features` maps framed features to their predictions, and `whitened` maps W to them.
    `variates` maps W to the summand of the view in the variates themselves.
    """

    features: list
    whitened: list
    variates: list


class Shared(NamedTuple):
    """What the views share: the variates, and components of them.

    `shares` are those of each component, and `maps` lead to the components.
    """

    variates: Variates
    shares: torch.Tensor
    maps: Maps


def fit_shared(moments, ranks, ridge, n_components):
    """Fit what the views share; for the parameters see `fit_variates`.

    Of more than two views it needs more variates than components: what only some of
    them share comes late.
    """
    n_variates = n_components * 3 // 2 if len(ranks) > 2 else n_components
    variates = fit_variates(moments, ranks, ridge, n_variates)
    shares, axes = shared_components(variates.values, variates.vectors, n_components)
    maps = Maps(*([M @ axes for M in matrices] for matrices in fit_maps(variates)))
    return Shared(variates, shares, maps)


def fit_variates(moments, ranks, ridge, n_components):
    """Fit the shared variates.

    Parameters
    ----------
    moments : dict
        Of framed features; see `_moments`.
    ranks : list of int
        Numbers of features of each view.
    ridge : float
    n_components : int
        At most; there are fewer if the rows or the features have a lower rank.

    Raises
    ------
    ValueError
        If the ridge vanishes in float64.
    """
    columns = extended_slices(ranks)
    stacked = moments["stacked"]
    joint = sum(products / count for count, products in stacked.items())
    means, factors, counts = [], [], []
    for u in columns:
        own = sum(products[u, u] for products in stacked.values())
        counts.append(own[-1, -1])
        # All rows of a view may be left out.
        means.append(own[:-1, -1] / own[-1, -1].clamp(min=1))
        factors.append(ridge_factor(own, means[-1], ridge))
    blocks = {}
    for u, v in combinations_with_replacement(range(len(ranks)), 2):
        C = centred(joint[columns[u], columns[v]], means[u], means[v])[:-1, :-1]
        C = torch.linalg.solve_triangular(factors[u], C, upper=False)
        C = torch.linalg.solve_triangular(factors[v], C.T, upper=False)
        blocks[u, v] = C.T
    S = symmetric(blocks)
    rank = min(count_rows(moments, ranks), len(S))
    values, vectors = leading_eigenpairs(S, min(n_components, rank), rank)
    # Rounding errors of sums over n rows are amplified up to 1 / ridge.
    n_rows = float(max(counts))
    noise = max(_SMALLEST * float(values[0]), rounding_of_sums(n_rows) / ridge)
    k = max(1, int((values > noise).sum()))
    return Variates(values[:k], list(vectors[:, :k].split(ranks)), means, factors)


def count_rows(moments, ranks):
    """Return the number of rows that moments of framed features are sums over."""
    ones = [view.stop - 1 for view in extended_slices(ranks)]
    return sum(
        round(float(products.diagonal()[ones].sum()) / count)
        for count, products in moments["stacked"].items()
    )


def ridge_factor(own, mean, ridge):
    """Return the Cholesky factor of ``C + ridge * I`` from a view's own moments."""
    n_rows = float(own[-1, -1])
    C = centred(own, mean, mean)[:-1, :-1]
    C.diagonal().add_(ridge)
    factor, failed = torch.linalg.cholesky_ex(C)
    if failed or ridge < rounding_of_sums(n_rows):
        raise ValueError(f"ridge={ridge} is too small for float64: use a larger one.")
    return factor


def rounding_of_sums(n_rows):
    """Return a bound of the rounding errors of C.

    No eigenvalue of C exceeds its trace, which is the number of rows.
    """
    return 10 * n_rows * torch.finfo(torch.float64).eps


def whiten(F, mean, factor):
    """Return W of rows, from their framed features; zero where the view is absent."""
    F = F[:, :-1] - F[:, -1:] * mean
    return torch.linalg.solve_triangular(factor, F.T, upper=False).T


def fit_maps(variates):
    """Return the `Maps` to the variates."""
    values, vectors, means, factors = variates
    predictions = [Q * values.sqrt() for Q in vectors]
    features = []
    for T, mean, factor in zip(predictions, means, factors, strict=True):
        B = torch.linalg.solve_triangular(factor.T, T, upper=True)
        features.append(torch.cat([B, -(mean @ B)[None]]))
    return Maps(features, predictions, [Q / values.sqrt() for Q in vectors])


def output_maps(shared, power, bases):
    """Return the map of framed features of each view to the output, and its rotation.

    Components are weighted by a power of their shares; `bases` are those of the frames.
    """
    matrices = [M * shared.shares**power for M in shared.maps.features]
    rotation = fixed_rotation(matrices, bases)
    return [M @ rotation for M in matrices], rotation


def fixed_rotation(matrices, bases):
    r"""Return the rotation of the output.

    It mixes the components, so that no column is nearly zero, which a scaler ahead of a
    classifier would amplify. It is the orthogonal matrix next to :math:`B^T \Omega`,
    with B the maps of all views and :math:`\Omega` fixed random numbers, and depends
    neither on the signs nor on the basis that the eigensolver happens to return.

    Parameters
    ----------
    matrices : list of tensor of shape (rank + 1, n_components)
        The map of framed features of each view to the output.
    bases : list of tensor or None
        Those of the frames of the views.
    """
    B = torch.cat(
        [
            M[:-1] if basis is None else basis @ M[:-1]
            for M, basis in zip(matrices, bases, strict=True)
        ]
    )
    left, _, right = torch.linalg.svd(B.T @ fixed_normal(*B.shape, B))
    return left @ right


def shared_components(values, vectors, n_components):
    r"""Return how much the views share of each component, and the components.

    Of two views the components are the variates, and the shares the eigenvalues of the
    mean hat matrix, relative to the largest. Of more, they are the eigenpairs of the
    power mean of the mean hat matrices of all pairs,

    .. math:: \Bigl(\operatorname{mean}_{u < v}
              \bigl(\tfrac{1}{2} (H_u + H_v)\bigr)^{24}\Bigr)^{1/24}

    restricted to the span of the variates, which keeps what any two views share; the
    mean of all hat matrices would keep only what most of them share. Shares are at
    least .32, which is as far as the rounding errors of the powers reach.

    Returns
    -------
    shares : tensor of shape (n_components,)
        In descending order; the first one is 1.
    axes : tensor of shape (n_variates, n_components)
        An orthonormal basis.
    """
    if len(vectors) <= 2:
        axes = torch.eye(len(values), dtype=values.dtype, device=values.device)
        return (values / values[0])[:n_components], axes[:, :n_components]
    predictions = [Q * (len(vectors) * values).sqrt() for Q in vectors]
    hats = [T.T @ T for T in predictions]
    total = 0.0
    for first, second in combinations(hats, 2):
        shares, axes = torch.linalg.eigh((first + second) / 2)
        total = total + axes * shares.clamp_(min=0) ** _POWER_MEAN_EXPONENT @ axes.T
    powers, axes = torch.linalg.eigh(total)
    shares = (powers / powers[-1]).clamp_(min=_SMALLEST) ** (1 / _POWER_MEAN_EXPONENT)
    return shares.flip(0)[:n_components], axes.flip(1)[:, :n_components]


def left_out(F, n_present, variates, maps):
    r"""Return predictions for training rows, each without its own part in the fit.

    With h the leverage of a row in a view and g its variates, the prediction f becomes
    :math:`(f - h g) / (1 - h)`, as if the row had been left out of the regression,
    while the variates stay as they are.

    Parameters
    ----------
    F : list of tensor of shape (n_samples, n_features + 1)
        Framed features of each view, with the column of ones.
    n_present : tensor of shape (n_samples,)
        Numbers of views that rows have.

    Returns
    -------
    predictions : list of tensor of shape (n_samples, k)
        Rows that lack the view are zero.
    """
    W = list(map(whiten, F, variates.means, variates.factors))
    G = sum(w @ T for w, T in zip(W, maps.variates, strict=True)) / n_present[:, None]
    predictions = []
    for w, T in zip(W, maps.whitened, strict=True):
        leverage = squared_norms(w)[:, None]
        rest = (1 - leverage).clamp(min=torch.finfo(w.dtype).eps)
        predictions.append((w @ T - leverage * G) / rest)
    return predictions

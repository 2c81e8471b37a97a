"""Ways to bring two views into one space: ours, and the alternatives.

A method is a generator: given paired rows A and B, it yields ``(parameters, map_a,
map_b)`` for each setting of its hyperparameters. Aligned rows are compared by cosine,
or as `METRICS` says.
"""

import warnings
from functools import partial
from itertools import product

import numpy as np
from cca_zoo.linear import RidgeCCA
from scipy.linalg import orthogonal_procrustes
from sklearn.base import clone
from sklearn.cross_decomposition import PLSCanonical
from sklearn.decomposition import KernelPCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.model_selection import ParameterGrid
from sklearn.preprocessing import StandardScaler

from sklearn_featalign import (
    HalfSharedMLPAligner,
    KernelGCCAAligner,
    RBFAutoScaleAligner,
)
from sklearn_featalign.metrics import mean_reciprocal_rank

SHARES = (0.3, 0.5, 0.7, 0.9, 1.0)
FILTERS = (4, 8, 16, 32)
CONSTANTS_PLAIN = (0.01, 0.02, 0.05, 0.1, 0.3)
CONSTANTS_RIDGE = (0.1, 0.3, 0.5, 0.7, 0.9)
PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0)
N_COMPONENTS = (32, 64, 128, 256, 512)
POWERS = (0, 1, 2, 4, 8, 16, 32, 64)
CONSTANTS_KERNEL = (0.3, 0.5, 0.7, 0.9)
MAX_KERNEL_COMPONENTS = 1000
MAX_LANDMARKS = 3000
HALF_SHARED = {
    "n_components": 128,
    "hidden_layer_sizes": (256, 256),
    "scaling": "view",
    "init": "rcca",
    "finish": "rcca",
    "affinity_weight": 100,
    "contrastive_weight": 1,
    "input_noise": 0.5,
    "lr": 6e-4,
}


def ours(A, B, aligner, grid):
    """Aligners of the two views, all paired rows being landmarks, up to 3000."""
    X = np.hstack([A, B])
    for params in ParameterGrid(grid):
        fitted = clone(aligner).set_params(
            views=[A.shape[1], B.shape[1]],
            n_landmarks=min(len(A), MAX_LANDMARKS),
            random_state=0,
            **params,
        )
        try:
            fitted.fit(X)
        except ValueError as error:
            # With few rows a small mean affinity is out of reach.
            if "must lie strictly between" not in str(error):
                raise
            continue
        maps = (partial(fitted.transform_view, view=view) for view in (0, 1))
        yield params, *maps


def half_shared(A, B, **params):
    """Half-shared encoders as recommended: from the closed form, and back to it."""
    params = {"max_epochs": 60 if len(A) <= 10000 else 30} | HALF_SHARED | params
    fitted = HalfSharedMLPAligner(
        views=[A.shape[1], B.shape[1]], random_state=0, **params
    ).fit(np.hstack([A, B]))
    maps = (partial(fitted.transform_view, view=view) for view in (0, 1))
    yield {"ridge": getattr(fitted, "ridge_", None)}, *maps


def relative(A, B, centred):
    """Relative representations: cosines to the paired rows (Moschella et al. 2023)."""
    maps = []
    for anchors in (A, B):
        origin = anchors.mean(0) if centred else 0
        maps.append(
            lambda X, o=origin, anchors=anchors: cosine_similarity(X - o, anchors - o)
        )
    yield {}, *maps


def procrustes(A, B):
    """Orthogonal map of centred rows; the narrower view is filled up with zeros."""
    width = max(A.shape[1], B.shape[1])
    origins = A.mean(0), B.mean(0)

    def centre(X, origin):
        return np.pad(X - origin, ((0, 0), (0, width - X.shape[1])))

    rotation, _ = orthogonal_procrustes(centre(A, origins[0]), centre(B, origins[1]))
    yield (
        {},
        lambda X: centre(X, origins[0]) @ rotation,
        lambda X: centre(X, origins[1]),
    )


def ridge(A, B):
    """Ridge regression from A to B, compared with centred B."""
    scale = np.square(A - A.mean(0)).sum(dtype=float) / min(A.shape)
    origin = B.mean(0)
    for penalty in (0.001, 0.01, 0.1, 1.0, 10.0):
        model = Ridge(penalty * scale).fit(A, B - origin)
        yield {"alpha": penalty}, model.predict, lambda X: X - origin


def ridge_of_gallery(A, B):
    """Ridge regression from B, the rows that are looked among, to A.

    It makes fewer hubs: Shigeto et al. (2015), "Ridge regression, hubness, and
    zero-shot learning".
    """
    for params, map_b, map_a in ridge(B, A):
        yield params, map_a, map_b


def pls(A, B):
    """Canonical partial least squares; fewer components are the first ones of a fit."""
    largest = min(128, *A.shape, *B.shape)
    for with_std in (False, True):
        scalers = [StandardScaler(with_std=with_std).fit(X) for X in (A, B)]
        model = PLSCanonical(largest, scale=False, max_iter=200)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            # Components beyond the rank of the rows are zero.
            warnings.filterwarnings("ignore", "y residual is constant")
            model.fit(scalers[0].transform(A), scalers[1].transform(B))
        rotations = model.x_rotations_, model.y_rotations_
        for k in sorted({min(k, largest) for k in N_COMPONENTS}):
            yield (
                {"scale": with_std, "n_components": k},
                *(
                    partial(project, scaler.transform, rotation[:, :k])
                    for scaler, rotation in zip(scalers, rotations, strict=True)
                ),
            )


def project(prepare, weights, X):
    """Return prepared rows times weights."""
    return prepare(X) @ weights


def cca(A, B):
    """Regularised CCA with components weighted by a power of their correlation.

    The penalty is in multiples of the mean variance of a component: rows are scaled so
    that it is one, for `RidgeCCA` to take it.
    """
    scales = [
        (min(X.shape) / X.var(0, ddof=1, dtype=float).sum()) ** 0.5 for X in (A, B)
    ]
    scaled = [X * scale for X, scale in zip((A, B), scales, strict=True)]
    largest = min(max(N_COMPONENTS), *A.shape, *B.shape)
    for penalty in PENALTIES:
        model = RidgeCCA(largest, shrinkage=penalty / (1 + penalty)).fit(scaled)
        first, second = model.transform(scaled)
        # The singular values of the problem, as its components have unit norm.
        correlations = np.clip((first * second).mean(0), 0, None)
        correlations /= correlations.max()
        maps = [
            LastResult(partial(project, partial(shift, scale, mean), weights))
            for scale, mean, weights in zip(
                scales, model.means_, model.weights_, strict=True
            )
        ]
        widths = sorted({min(k, largest) for k in N_COMPONENTS})
        for k, power in product(widths, POWERS):
            root = correlations[:k] ** (power / 2)
            yield (
                {"penalty": penalty, "n_components": k, "power": power},
                *(partial(weigh, components, root) for components in maps),
            )


def weigh(components, weights, X):
    """Return the first components of rows, each times its weight."""
    return components(X)[:, : len(weights)] * weights


def shift(scale, mean, X):
    """Return rows scaled, then centred."""
    return X * scale - mean


def kernel_cca(A, B):
    """Regularised CCA of kernel principal components, which is kernel CCA.

    The bandwidths of the RBF kernels are auto-scaled to a mean affinity c.
    """
    for c in CONSTANTS_KERNEL:
        maps = [LastResult(kernel_components(X, c)) for X in (A, B)]
        for params, *projections in cca(
            *(f(X) for f, X in zip(maps, (A, B), strict=True))
        ):
            yield {"c": c, **params}, *map(chain, maps, projections)


def kernel_components(X, c):
    """Return the map to the principal components of an RBF kernel of mean c.

    To all of them, up to `MAX_KERNEL_COMPONENTS`: their number to the third is what
    kernel CCA costs.
    """
    fitted = RBFAutoScaleAligner(c, n_landmarks=None).fit(X)
    sigma = 2 * fitted.gamma_ * X.var(0, ddof=1, dtype=float).sum()
    n_components = MAX_KERNEL_COMPONENTS if len(X) > MAX_KERNEL_COMPONENTS else None
    kernel = KernelPCA(
        n_components, kernel="rbf", gamma=1 / sigma, eigen_solver="dense"
    )
    return kernel.fit(X.astype(float)).transform


class LastResult:
    """A function that remembers its last result, since many settings share it."""

    def __init__(self, function):
        self.function = function
        self.X = self.result = None

    def __call__(self, X):
        """Return the result for X."""
        if X is not self.X:
            self.X, self.result = X, self.function(X)
        return self.result


def chain(first, second):
    """Return the function that applies two, one after the other."""
    return lambda X: second(first(X))


METHODS = {
    "HalfSharedMLPAligner": half_shared,
    "KernelGCCAAligner": partial(ours, aligner=KernelGCCAAligner(), grid={}),
    "KernelGCCAAligner searched": partial(
        ours, aligner=KernelGCCAAligner(), grid={"linear": SHARES, "power": FILTERS}
    ),
    "KernelGCCAAligner no hubness": partial(
        ours, aligner=KernelGCCAAligner(hub_neighbors=0), grid={}
    ),
    "RBFAutoScaleAligner ridge": partial(
        ours,
        aligner=RBFAutoScaleAligner(normalize="ridge"),
        grid={"c": CONSTANTS_RIDGE},
    ),
    "RBFAutoScaleAligner": partial(
        ours, aligner=RBFAutoScaleAligner(), grid={"c": CONSTANTS_PLAIN}
    ),
    "relative representations": partial(relative, centred=False),
    "relative, centred": partial(relative, centred=True),
    "orthogonal Procrustes": procrustes,
    "ridge, query to gallery": ridge,
    "ridge, gallery to query": ridge_of_gallery,
    "PLSCanonical": pls,
    "regularised CCA": cca,
    "kernel CCA": kernel_cca,
}

# What parts of the recommended half-shared networks bring.
ABLATIONS = {
    "HalfSharedMLPAligner, linear": partial(half_shared, hidden_layer_sizes=()),
    "HalfSharedMLPAligner, index alone": partial(half_shared, contrastive_weight=0),
    "HalfSharedMLPAligner, no finish": partial(half_shared, finish=None),
    "HalfSharedMLPAligner, no affinity term": partial(half_shared, affinity_weight=0),
    "HalfSharedMLPAligner, z-scored columns": partial(half_shared, scaling="columns"),
    "HalfSharedMLPAligner, random start": partial(half_shared, init=None),
    "HalfSharedMLPAligner, closed form alone": partial(
        half_shared, finish=None, max_epochs=1, lr=1e-30
    ),
}
METRICS = dict.fromkeys(METHODS | ABLATIONS, "cosine") | {
    "KernelGCCAAligner": "dot",
    "KernelGCCAAligner searched": "dot",
}


def choose(name, paired, validation):
    """Fit a method and choose its hyperparameters by retrieval on validation rows.

    Parameters
    ----------
    name : str
        One of `METHODS` or `ABLATIONS`.
    paired, validation : tuple of two ndarrays
        Rows of A and the same rows of B.

    Returns
    -------
    params : dict
    map_a, map_b : callable
        The setting with the best mean reciprocal rank.
    """
    best = None
    for candidate in (METHODS | ABLATIONS)[name](*paired):
        _, map_a, map_b = candidate
        F, G = map_a(validation[0]), map_b(validation[1])
        mrr = mean_reciprocal_rank(F, G, metric=METRICS[name])
        if best is None or mrr > best[0]:
            best = mrr, candidate
    return best[1]

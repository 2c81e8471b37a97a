"""Methods that bring two views into one space: our aligners and the alternatives.

A method is a generator: given paired rows A and B, it yields ``(parameters, map_a,
map_b)`` for each setting of its hyperparameters. Aligned rows are compared by cosine
or by the metric that `METRICS` names.
"""

import time
import warnings
from functools import partial
from itertools import product

import numpy as np
from cca_zoo.linear import RidgeCCA
from scipy.linalg import orthogonal_procrustes
from sklearn.base import BaseEstimator, TransformerMixin, clone
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
from sklearn_featalign.metrics import (
    mean_reciprocal_rank,
    retrieval_accuracy,
    retrieval_ranks,
)

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
# The recommended setting of half-shared networks.
HALF_SHARED = {"n_components": 128, "init": "rcca"}
# Its values, without the start.
RANDOM_START = {
    "hidden_layer_sizes": (256, 256),
    "scaling": "view",
    "init": None,
    "finish": "rcca",
    "affinity_weight": 100,
    "contrastive_weight": 1,
    "input_noise": 0.5,
    "lr": 6e-4,
}


def ours(A, B, aligner, **grid):
    """Fit an aligner for each setting of a grid, with up to 3000 rows as landmarks."""
    X, views = np.hstack([A, B]), [A.shape[1], B.shape[1]]
    shared = {"n_landmarks": min(len(A), MAX_LANDMARKS), "random_state": 0}
    for params in ParameterGrid(grid):
        fitted = clone(aligner).set_params(views=views, **shared, **params)
        try:
            fitted.fit(X)
        except ValueError as error:
            # With few rows no bandwidth gives a small mean affinity.
            if "must lie strictly between" not in str(error):
                raise
            continue
        maps = (partial(fitted.transform_view, view=view) for view in (0, 1))
        yield params, *maps


def half_shared(A, B, **params):
    """Fit half-shared networks with the recommended setting, or changes of it."""
    params = {"max_epochs": 60 if len(A) <= 10000 else 30} | HALF_SHARED | params
    views = [A.shape[1], B.shape[1]]
    fitted = HalfSharedMLPAligner(views=views, random_state=0, **params)
    fitted.fit(np.hstack([A, B]))
    maps = (partial(fitted.transform_view, view=view) for view in (0, 1))
    yield {"ridge": getattr(fitted, "ridge_", None)}, *maps


class RelativeRepresentations(TransformerMixin, BaseEstimator):
    """Cosines to all training rows, the anchors of Moschella et al. (2023).

    The mean of the anchors is subtracted first if centred is true.
    """

    def __init__(self, centred=True):
        self.centred = centred

    def fit(self, X, y=None):
        """Keep all rows as anchors."""
        self.mean_ = X.mean(0, dtype=float) if self.centred else 0
        self.anchors_ = X - self.mean_
        return self

    def transform(self, X):
        """Return cosines."""
        return cosine_similarity(X - self.mean_, self.anchors_)


def relative(A, B, centred):
    """Compute relative representations of both views."""
    yield {}, *(RelativeRepresentations(centred).fit(X).transform for X in (A, B))


def procrustes(A, B):
    """Rotate centred rows of A to those of B; the narrower view is padded by zeros."""
    width = max(A.shape[1], B.shape[1])
    centre_a, centre_b = (partial(centre, X.mean(0), width) for X in (A, B))
    rotation, _ = orthogonal_procrustes(centre_a(A), centre_b(B))
    yield {}, partial(project, centre_a, rotation), centre_b


def centre(origin, width, X):
    """Return rows less an origin, padded by columns of zeros."""
    return np.pad(X - origin, ((0, 0), (0, width - X.shape[1])))


def ridge(A, B, penalties=(0.001, 0.01, 0.1, 1.0, 10.0)):
    """Predict B from A by ridge regression; predictions are compared with centred B.

    Penalties are multiples of the mean squared singular value of centred A.
    """
    scale = np.square(A - A.mean(0)).sum(dtype=float) / min(A.shape)
    origin = B.mean(0)
    for penalty in penalties:
        model = Ridge(penalty * scale).fit(A, B - origin)
        yield {"alpha": penalty}, model.predict, lambda X: X - origin


def ridge_of_gallery(A, B):
    """Predict A, the queries, from B, the gallery, by ridge regression.

    This direction has fewer hubs: Shigeto et al. (2015), "Ridge regression, hubness,
    and zero-shot learning".
    """
    for params, map_b, map_a in ridge(B, A):
        yield params, map_a, map_b


def pls(A, B):
    """Fit canonical PLS once; smaller numbers of components are its first ones."""
    largest = min(128, *A.shape, *B.shape)
    for with_std in (False, True):
        scalers = [StandardScaler(with_std=with_std).fit(X) for X in (A, B)]
        model = PLSCanonical(largest, scale=False, max_iter=200)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            # PLS warns where components exceed the rank of the rows: they are zero.
            warnings.filterwarnings("ignore", "y residual is constant")
            model.fit(scalers[0].transform(A), scalers[1].transform(B))
        rotations = model.x_rotations_, model.y_rotations_
        for k in sorted({min(k, largest) for k in N_COMPONENTS}):
            maps = (
                partial(project, scaler.transform, rotation[:, :k])
                for scaler, rotation in zip(scalers, rotations, strict=True)
            )
            yield {"scale": with_std, "n_components": k}, *maps


def project(prepare, weights, X):
    """Return prepared rows times weights."""
    return prepare(X) @ weights


def cca(A, B, penalties=None):
    """Fit regularised CCA; components are weighted by a power of their correlation.

    Penalties (`PENALTIES` by default) are multiples of the mean variance of a
    component: rows are scaled so that it is one, the unit of `RidgeCCA`.
    """
    scales = [
        (min(X.shape) / X.var(0, ddof=1, dtype=float).sum()) ** 0.5 for X in (A, B)
    ]
    scaled = [X * scale for X, scale in zip((A, B), scales, strict=True)]
    largest = min(max(N_COMPONENTS), *A.shape, *B.shape)
    for penalty in penalties or PENALTIES:
        model = RidgeCCA(largest, shrinkage=penalty / (1 + penalty)).fit(scaled)
        first, second = model.transform(scaled)
        # Components have unit norm, and thus these are the singular values.
        correlations = np.clip((first * second).mean(0), 0, None)
        correlations /= correlations.max()
        fitted = zip(scales, model.means_, model.weights_, strict=True)
        maps = [
            LastResult(partial(project, partial(shift, scale, mean), weights))
            for scale, mean, weights in fitted
        ]
        widths = sorted({min(k, largest) for k in N_COMPONENTS})
        for k, power in product(widths, POWERS):
            root = correlations[:k] ** (power / 2)
            params = {"penalty": penalty, "n_components": k, "power": power}
            yield params, *(partial(weigh, components, root) for components in maps)


def weigh(components, weights, X):
    """Return the first components of rows, multiplied by weights."""
    return components(X)[:, : len(weights)] * weights


def shift(scale, mean, X):
    """Return rows scaled, then centred."""
    return X * scale - mean


def kernel_cca(A, B):
    """Fit regularised CCA of kernel principal components, which is kernel CCA.

    The bandwidths of the RBF kernels give a mean affinity of c.
    """
    for c in CONSTANTS_KERNEL:
        maps = [LastResult(kernel_components(X, c)) for X in (A, B)]
        components = [f(X) for f, X in zip(maps, (A, B), strict=True)]
        for params, *projections in cca(*components):
            yield {"c": c, **params}, *map(chain, maps, projections)


def kernel_components(X, c):
    """Return the map to the principal components of an RBF kernel of mean c.

    Their number is capped at `MAX_KERNEL_COMPONENTS`, since the time of kernel CCA
    grows with its cube.
    """
    fitted = RBFAutoScaleAligner(c, n_landmarks=None).fit(X)
    sigma = 2 * fitted.gamma_ * X.var(0, ddof=1, dtype=float).sum()
    n_components = MAX_KERNEL_COMPONENTS if len(X) > MAX_KERNEL_COMPONENTS else None
    params = {"kernel": "rbf", "gamma": 1 / sigma, "eigen_solver": "dense"}
    return KernelPCA(n_components, **params).fit(X.astype(float)).transform


class LastResult:
    """A function that keeps its last result, which many settings share."""

    def __init__(self, function):
        self.function = function
        self.X = self.result = None

    def __call__(self, X):
        """Return the result for X."""
        if X is not self.X:
            self.X, self.result = X, self.function(X)
        return self.result


def chain(first, second):
    """Return the composition of two functions."""
    return lambda X: second(first(X))


rbf, gcca = RBFAutoScaleAligner(), KernelGCCAAligner()
rbf_ridge = RBFAutoScaleAligner(normalize="ridge")
no_hubness = KernelGCCAAligner(hub_neighbors=0)
searched = {"linear": SHARES, "power": FILTERS}
METHODS = {
    "HalfSharedMLPAligner": half_shared,
    "KernelGCCAAligner": partial(ours, aligner=gcca),
    "KernelGCCAAligner searched": partial(ours, aligner=gcca, **searched),
    "KernelGCCAAligner no hubness": partial(ours, aligner=no_hubness),
    "RBFAutoScaleAligner ridge": partial(ours, aligner=rbf_ridge, c=CONSTANTS_RIDGE),
    "RBFAutoScaleAligner": partial(ours, aligner=rbf, c=CONSTANTS_PLAIN),
    "relative representations": partial(relative, centred=False),
    "relative, centred": partial(relative, centred=True),
    "orthogonal Procrustes": procrustes,
    "ridge, query to gallery": ridge,
    "ridge, gallery to query": ridge_of_gallery,
    "PLSCanonical": pls,
    "regularised CCA": cca,
    "kernel CCA": kernel_cca,
}

# The recommended half-shared networks without one part each.
ABLATIONS = {
    "linear": {"hidden_layer_sizes": ()},
    "index alone": {"contrastive_weight": 0},
    "no finish": {"finish": None},
    "no affinity term": {"affinity_weight": 0},
    "z-scored columns": {"scaling": "columns"},
    "random start": RANDOM_START,
    "closed form alone": {"finish": None, "max_epochs": 1, "lr": 1e-30},
}
ABLATIONS = {
    f"HalfSharedMLPAligner, {name}": partial(half_shared, **params)
    for name, params in ABLATIONS.items()
}
METRICS = dict.fromkeys(METHODS | ABLATIONS, "cosine") | {
    "KernelGCCAAligner": "dot",
    "KernelGCCAAligner searched": "dot",
}


def choose(name, paired, validation):
    """Return the setting of a method, with its maps, that is best on validation rows.

    Methods are named as in `METHODS` and `ABLATIONS`. Paired and validation rows are a
    tuple of rows of A and the same rows of B. The best setting has the highest mean
    reciprocal rank.
    """
    best = None
    for candidate in (METHODS | ABLATIONS)[name](*paired):
        _, map_a, map_b = candidate
        F, G = map_a(validation[0]), map_b(validation[1])
        mrr = mean_reciprocal_rank(F, G, metric=METRICS[name])
        if best is None or mrr > best[0]:
            best = mrr, candidate
    return best[1]


RETRIEVAL_MEASURES = ("top-1 %", "top-10 %", "MRR %", "top-1 % with CSLS")


def measure_retrieval(name, paired, validation, test):
    """Fit and choose a method as in `choose`, and score the test rows once.

    The measures are `RETRIEVAL_MEASURES`, the ``chosen`` hyperparameters and the
    ``seconds`` of fitting and choosing.
    """
    start = time.perf_counter()
    params, map_a, map_b = choose(name, paired, validation)
    seconds = time.perf_counter() - start
    F, G = map_a(test[0]), map_b(test[1])
    metric = METRICS[name]
    ranks = retrieval_ranks(F, G, metric=metric)
    scores = [float(values.mean()) for values in (ranks <= 1, ranks <= 10, 1 / ranks)]
    scores.append(retrieval_accuracy(F, G, metric=metric, csls=10))
    measures = dict(zip(RETRIEVAL_MEASURES, scores, strict=True))
    return measures | {"chosen": params, "seconds": seconds}

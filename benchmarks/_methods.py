"""Methods that bring two views into one space: our aligners and the alternatives.

A method is a generator: given paired rows A and B, it yields ``(parameters, map_a,
map_b)`` for each setting of its hyperparameters. Aligned rows are compared by cosine
or by the metric that `METRICS` names.
"""

import time
import warnings
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
from _hubs import CORRECTIONS, corrected_ranks, score_corrections
from cca_zoo.linear import RidgeCCA
from scipy.linalg import orthogonal_procrustes
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.cross_decomposition import PLSCanonical
from sklearn.decomposition import KernelPCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.model_selection import ParameterGrid
from sklearn.preprocessing import StandardScaler, normalize

from sklearn_featalign import (
    HalfSharedMLPAligner,
    KernelGCCAAligner,
    RBFAutoScaleAligner,
)

SHARES = (0.3, 0.5, 0.7, 0.9, 1.0)
FILTERS = (4, 8, 16, 32)
CONSTANTS_PLAIN = (0.01, 0.02, 0.05, 0.1, 0.3)
CONSTANTS_RIDGE = (0.1, 0.3, 0.5, 0.7, 0.9)
PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
PENALTIES_RIDGE = (0.00001, 0.0001, 0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
N_COMPONENTS = (32, 64, 128, 256, 512)
POWERS = (0, 1, 2, 4, 8, 16, 32, 64)
CONSTANTS_KERNEL = (0.3, 0.5, 0.7, 0.9)
MAX_KERNEL_COMPONENTS = 1000
MAX_LANDMARKS = 3000
# The settings of half-shared networks that start from a closed form.
HALF_SHARED = {"n_components": 128, "init": "rcca"}
KERNEL_START = {"n_components": 512, "init": "gcca"}
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
    """Fit an aligner for each setting of a grid.

    `KernelGCCAAligner` has its own number of landmarks, others up to 3000.
    """
    X, views = np.hstack([A, B]), [A.shape[1], B.shape[1]]
    own = isinstance(aligner, KernelGCCAAligner)
    most = aligner.n_landmarks if own else MAX_LANDMARKS
    shared = {"n_landmarks": min(len(A), most), "random_state": 0}
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


def translate(A, B):
    """Translate rows of B to features of A, which stay as they are."""
    fitted = fit_gcca({"first": A, "second": B})
    yield {}, np.asarray, partial(fitted.translate, source="second", target="first")


def fit_gcca(blocks, n_landmarks=1000):
    """Return `KernelGCCAAligner` with at most so many landmarks, fitted on views.

    Blocks are the rows of the views by name.
    """
    views = {name: X.shape[1] for name, X in blocks.items()}
    X = np.hstack(list(blocks.values()))
    n_landmarks = min(len(X), n_landmarks)
    return KernelGCCAAligner(views=views, n_landmarks=n_landmarks, random_state=0).fit(
        X
    )


def half_shared(A, B, **params):
    """Fit half-shared networks with the recommended setting, or changes of it."""
    setting = HALF_SHARED | params
    if setting["init"] != "gcca":
        setting = {"max_epochs": 60 if len(A) <= 10000 else 30} | setting
    views = [A.shape[1], B.shape[1]]
    fitted = HalfSharedMLPAligner(views=views, random_state=0, **setting)
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
    """Rotate centred rows of A to those of B; the narrower view is padded by zeros.

    Rows are used as they are, or with unit length before they are centred.
    """
    width = max(A.shape[1], B.shape[1])
    for prepare in (np.asarray, normalize):
        views = [prepare(X) for X in (A, B)]
        centre_a, centre_b = (
            chain(prepare, partial(centre, X.mean(0), width)) for X in views
        )
        rotation, _ = orthogonal_procrustes(centre_a(A), centre_b(B))
        params = {"unit rows": prepare is normalize}
        yield params, partial(project, centre_a, rotation), centre_b


def centre(origin, width, X):
    """Return rows less an origin, padded by columns of zeros."""
    return np.pad(X - origin, ((0, 0), (0, width - X.shape[1])))


def ridge(A, B, penalties=PENALTIES_RIDGE):
    """Predict B from A by ridge regression; predictions are compared with centred B.

    Penalties are multiples of the mean squared singular value of centred A.
    """
    # The smallest penalties are lost in float32.
    A, B = A.astype(float), B.astype(float)
    scale = mean_squared_singular_value(A)
    origin = B.mean(0)
    for penalty in penalties:
        model = Ridge(penalty * scale).fit(A, B - origin)
        yield {"alpha": penalty}, model.predict, lambda X: X - origin


def mean_squared_singular_value(A):
    """Return it of centred rows: the unit of penalties."""
    return np.square(A - A.mean(0)).sum() / min(A.shape)


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
            LastResults(partial(project, partial(shift, scale, mean), weights))
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
        maps = [LastResults(kernel_components(X, c)) for X in (A, B)]
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


class LastResults:
    """A function that keeps its results for two arrays, which many settings share."""

    def __init__(self, function):
        self.function = function
        self.results = []

    def __call__(self, X):
        """Return the result for X."""
        for known, result in self.results:
            if X is known:
                return result
        self.results = [*self.results[-1:], (X, self.function(X))]
        return self.results[-1][1]


def chain(first, second):
    """Return the composition of two functions."""
    return lambda X: second(first(X))


rbf, gcca = RBFAutoScaleAligner(), KernelGCCAAligner()
rbf_ridge = RBFAutoScaleAligner(normalize="ridge")
no_hubness = KernelGCCAAligner(hub_neighbors=0)
searched = {"linear": SHARES, "power": FILTERS}
METHODS = {
    "HalfSharedMLPAligner": half_shared,
    "HalfSharedMLPAligner from kernels": partial(half_shared, **KERNEL_START),
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
    "from kernels, hidden layer": KERNEL_START | {"hidden_layer_sizes": (256,)},
    "from kernels, held out": KERNEL_START | {"early_stopping": True},
    "closed form alone": {"finish": None, "max_epochs": 1, "lr": 1e-30},
}
ABLATIONS = {
    f"HalfSharedMLPAligner, {name}": partial(half_shared, **params)
    for name, params in ABLATIONS.items()
}
# A column for hubness is a correction already, for comparisons by dot product.
WITHOUT_NNN = (
    "KernelGCCAAligner",
    "KernelGCCAAligner searched",
    "HalfSharedMLPAligner from kernels",
    "HalfSharedMLPAligner, from kernels, hidden layer",
    "HalfSharedMLPAligner, from kernels, held out",
)
UNTUNED = tuple(name for name in WITHOUT_NNN if "searched" not in name)
# For what exists for the first network, such as a classifier of its own features.
OWN_SPACE = {"KernelGCCAAligner translate": translate}
ALL_METHODS = METHODS | ABLATIONS | OWN_SPACE
METRICS = dict.fromkeys(ALL_METHODS, "cosine")
METRICS |= dict.fromkeys((*WITHOUT_NNN, *OWN_SPACE), "dot")


class Choice(NamedTuple):
    """A setting with its maps, the parameters of a correction, and their score."""

    score: float
    params: dict
    map_a: Callable
    map_b: Callable
    correction: dict


def choose(name, paired, validation):
    """Return the setting of a method, with its maps, that is best on validation rows.

    Methods are named as in `ALL_METHODS`. Paired and validation rows are a tuple of
    rows of A and the same rows of B. The best setting has the highest mean reciprocal
    rank.
    """
    best = choose_corrections(name, paired, validation, nnn=False)["nothing"]
    return best.params, best.map_a, best.map_b


def choose_corrections(name, paired, validation, nnn=True):
    """Return a `Choice` for each correction of `_hubs`, as in `choose`.

    The setting of a method and the parameters of NNN are chosen together.
    """
    best = {}
    for params, map_a, map_b in ALL_METHODS[name](*paired):
        F, G = map_a(validation[0]), map_b(validation[1])
        bank = map_a(paired[0]) if nnn else None
        scores = score_corrections(F, G, METRICS[name], bank)
        for correction, (score, chosen) in scores.items():
            if correction not in best or score > best[correction].score:
                best[correction] = Choice(score, params, map_a, map_b, chosen)
    return best


RETRIEVAL_MEASURES = (
    "top-1 %",
    "top-1 % with NNN",
    "top-1 % with CSLS",
    "top-5 %",
    "top-10 %",
    "MRR %",
)
CHOICES = ("chosen", "chosen with NNN", "chosen with CSLS")


def measure_retrieval(name, paired, validation, test):
    """Fit and choose a method for each correction, and score the test rows once.

    The measures are those of `score_choices`, and the ``seconds`` of fitting and
    choosing.
    """
    start = time.perf_counter()
    best = choose_corrections(name, paired, validation, name not in WITHOUT_NNN)
    measures = {"seconds": time.perf_counter() - start}
    return measures | score_choices(name, best, paired[0], test)


def score_choices(name, best, queries, test):
    """Return the measures of a method with each `Choice`, on the same test rows.

    They are `RETRIEVAL_MEASURES`, those of NNN not for `WITHOUT_NNN`, and the
    parameters of `CHOICES`. Queries are those of the paired rows.
    """
    measures = {}
    for correction in CORRECTIONS:
        if correction not in best:
            continue
        _, params, map_a, map_b, chosen = best[correction]
        F, G = map_a(test[0]), map_b(test[1])
        bank = map_a(queries) if correction == "NNN" else None
        ranks = corrected_ranks(F, G, METRICS[name], bank, **chosen)
        suffix = "" if correction == "nothing" else f" with {correction}"
        measures[f"top-1 %{suffix}"] = float((ranks <= 1).mean())
        measures[f"chosen{suffix}"] = params | (chosen if bank is not None else {})
        if correction == "nothing":
            measures["top-5 %"] = float((ranks <= 5).mean())
            measures["top-10 %"] = float((ranks <= 10).mean())
            measures["MRR %"] = float((1 / ranks).mean())
    return measures


def choose_inside(name, paired):
    """Return each `Choice`, made on the last fifth of the paired rows, fitted on all.

    For pairs that are too few for validation rows of their own.
    """
    n_fitting = len(paired[0]) - len(paired[0]) // 5
    # A method with one setting and nothing to correct needs no choice.
    fitting = paired if name in UNTUNED else [X[:n_fitting] for X in paired]
    tuning = [X[n_fitting:] for X in paired]
    best = choose_corrections(name, fitting, tuning, name not in WITHOUT_NNN)
    return best if name in UNTUNED else fit_again(name, best, paired)


def fit_again(name, best, paired):
    """Return each `Choice` with its maps fitted on other paired rows."""
    settings = list(ALL_METHODS[name](*paired))
    again = {}
    for correction, choice in best.items():
        params, map_a, map_b = min(settings, key=partial(difference, choice.params))
        again[correction] = choice._replace(params=params, map_a=map_a, map_b=map_b)
    return again


def difference(params, setting):
    """Return how far a setting is from parameters, as a sortable key.

    The rows limit the number of components, and some parameters are fitted.
    """
    other = dict(setting[0])
    n_components = other.pop("n_components", 0)
    unequal = sum(params[name] != value for name, value in other.items())
    return unequal, abs(params.get("n_components", 0) - n_components)

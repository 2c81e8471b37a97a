"""Methods that make rows uniform, and measures of how uniform rows are."""

from functools import cache

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import norm
from scipy.stats.qmc import Sobol
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.preprocessing import PowerTransformer, QuantileTransformer

from sklearn_featalign import PoissonField, PoissonUniformizer
from sklearn_featalign.metrics import uniformity_loss

# The number of points of the cube that rows are compared with.
N_REFERENCE = 2**13
# Normal scores are clipped here, as QuantileTransformer does.
LARGEST_SCORE = 5.2

# The number of principal components that replace more columns.
N_COMPONENTS = 64
# The hyperparameters of PFGM, which are PoissonField's defaults.
PFGM = {"M": "auto", "gamma": 5.0}


def published_flow(random_state, **training):
    """Return the published flow, with changes of the network's training."""
    params = {f"field__{name}": value for name, value in training.items()}
    return PoissonUniformizer.from_document(random_state=random_state, **params)


def network_flow(random_state, **training):
    """Return a flow whose field is a network."""
    field = PoissonField(**training)
    return PoissonUniformizer(
        output="flow",
        field=field,
        scaling="whiten",
        n_steps=24,
        random_state=random_state,
    )


def exact_flow():
    """Return the flow of whitened rows along the field of all rows."""
    return PoissonUniformizer(
        output="normal", scaling="whiten", n_charges=None, n_steps=24
    )


class RBIG(TransformerMixin, BaseEstimator):
    """Rotation-based iterative Gaussianisation (Laparra, Camps-Valls and Malo, 2011).

    Each iteration maps columns to normal quantiles and rotates, by PCA and at random.
    """

    def __init__(self, n_iter=12, random_state=0):
        self.n_iter = n_iter
        self.random_state = random_state

    def fit(self, X, y=None):
        """Fit quantile transformers and rotations in turn."""
        rng = np.random.default_rng(self.random_state)
        self.steps_ = []
        for _ in range(self.n_iter):
            quantiles = normal_quantiles(len(X)).fit(X)
            X = quantiles.transform(X)
            pca = PCA().fit(X)
            rotation = np.linalg.qr(rng.normal(size=(X.shape[1],) * 2))[0]
            X = pca.transform(X) @ rotation
            self.steps_.append((quantiles, pca, rotation))
        self.last_ = normal_quantiles(len(X)).fit(X)
        return self

    def transform(self, X):
        """Return normal scores."""
        for quantiles, pca, rotation in self.steps_:
            X = pca.transform(quantiles.transform(X)) @ rotation
        return self.last_.transform(X)


def normal_quantiles(n_rows):
    """Return a transformer of each column to normal scores, by all its values."""
    return QuantileTransformer(
        n_quantiles=min(1000, n_rows), output_distribution="normal", subsample=None
    )


def methods(n_rows):
    """Return transformers to normal scores, by name."""
    return {
        "whitening": PCA(whiten=True),
        "PowerTransformer": PowerTransformer(),
        "QuantileTransformer": normal_quantiles(n_rows),
        "RBIG": RBIG(),
        "PoissonUniformizer": PoissonUniformizer(output="normal"),
    }


def to_cube(scores):
    """Return the probabilities of normal scores."""
    return norm.cdf(scores)


@cache
def reference(d):
    """Return Sobol points of the cube, and the mean distance of their pairs."""
    points = Sobol(d, seed=0).random(N_REFERENCE)
    return points, cdist(points, points).sum() / (N_REFERENCE * (N_REFERENCE - 1))


def energy_to_uniform(U):
    """Return the energy distance of rows to the uniform distribution on the cube.

    It is ``2 E|U - V| - E|U - U'| - E|V - V'|`` without the pairs of a row with itself:
    its mean is zero for uniform rows, and it can be negative.
    """
    points, within = reference(U.shape[1])
    own = cdist(U, U).sum() / (len(U) * (len(U) - 1))
    return 2 * cdist(U, points).mean() - own - within


def loss_on_sphere(scores):
    """Return the uniformity loss of Wang and Isola of the directions of scores."""
    scores = np.clip(scores, -LARGEST_SCORE, LARGEST_SCORE)
    return uniformity_loss(scores)


def split_components(X, y, n_train, n_test, seed, n_components=N_COMPONENTS):
    """Return random training rows and labels, then test rows and labels.

    Training has at most two thirds of the rows. If there are more than `n_components`
    columns, this number of principal components of the training rows replaces them.
    """
    n_train = min(n_train, 2 * len(X) // 3)
    rows = np.random.default_rng(seed).permutation(len(X))
    train, test = rows[:n_train], rows[n_train : n_train + n_test]
    X_train, X_test = X[train], X[test]
    if X.shape[1] > n_components:
        pca = PCA(n_components, random_state=0).fit(X_train)
        X_train, X_test = pca.transform(X_train), pca.transform(X_test)
    return X_train, y[train], X_test, y[test]

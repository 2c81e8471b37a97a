"""Ways to search an index of an old model with a new one, from paired rows of both."""

import pickle
import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import numpy as np
from _methods import centre, fit_gcca, mean_squared_singular_value
from scipy.linalg import orthogonal_procrustes
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeCV
from sklearn.neural_network import MLPRegressor

PENALTIES = np.logspace(-3, 3, 13)
N_HIDDEN = 1024


class Bridge(NamedTuple):
    """Maps of the index and of queries to one space, where they are compared.

    Attributes
    ----------
    index, queries : callable or None
        None leaves rows as they are.
    from_old, asks_new : bool
        Whether the rows of the index are those of the old model, and the queries those
        of the new one.
    metric : {"cosine", "dot"}
    """

    index: Callable | None = None
    queries: Callable | None = None
    from_old: bool = True
    asks_new: bool = True
    metric: str = "cosine"

    @property
    def megabytes(self):
        """Size of both maps as they are stored, NaN if they cannot be pickled."""
        try:
            return len(pickle.dumps([self.index, self.queries])) / 1e6
        except (AttributeError, pickle.PicklingError):
            return float("nan")


class Affine(NamedTuple):
    """The map to ``(X - origin) @ matrix + intercept``."""

    origin: np.ndarray
    matrix: np.ndarray
    intercept: np.ndarray

    def __call__(self, X):
        """Return the map of rows."""
        return (X - self.origin) @ self.matrix + self.intercept


def affine(*values):
    """Return the map with values in float32."""
    return Affine(*(np.asarray(value, np.float32) for value in values))


def fit_aligner(A, B, n_landmarks=1000):
    """Fit `KernelGCCAAligner` to the views of the old and the new model."""
    return fit_gcca({"old": A, "new": B}, n_landmarks)


def without_hubness(X, move):
    """Return rows in the shared space without their column for hubness."""
    return move(X)[:, :-1]


def procrustes(A, B):
    """Fit the rotation of centred rows of A to those of B.

    The narrower rows are padded by zeros.
    """
    width = max(A.shape[1], B.shape[1])
    origins = A.mean(0), B.mean(0)
    padded = map(centre, origins, (width, width), (A, B))
    rotation, _ = orthogonal_procrustes(*padded)
    return affine(origins[0], rotation[: A.shape[1], : B.shape[1]], origins[1])


def ridge(A, B):
    """Fit ridge regression of B on A, its penalty by rows that are left out.

    Penalties are multiples of the mean squared singular value of centred A.
    """
    A, B = A.astype(float), B.astype(float)
    model = RidgeCV(PENALTIES * mean_squared_singular_value(A)).fit(A, B)
    return affine(np.zeros(A.shape[1]), model.coef_.T, model.intercept_)


def network(A, B):
    """Fit a network of one hidden layer, stopped by a tenth of the rows."""
    origins, units = (A.mean(0), B.mean(0)), (A.std(), B.std())
    model = MLPRegressor(
        hidden_layer_sizes=N_HIDDEN, early_stopping=True, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((A - origins[0]) / units[0], (B - origins[1]) / units[1])
    first, last = zip(model.coefs_, model.intercepts_, strict=True)
    return partial(
        apply_layers,
        hidden=affine(origins[0], first[0] / units[0], first[1]),
        output=affine(np.zeros(N_HIDDEN), last[0] * units[1], last[1] * units[1]),
        origin=origins[1],
    )


def apply_layers(X, hidden, output, origin):
    """Return the output of a network with rectified linear units."""
    return output(np.maximum(hidden(X), 0)) + origin


def isotrieve_map(A, B, name):
    """Fit a mapping of the package isotrieve, with its own choices."""
    from isotrieve import mapping

    with warnings.catch_warnings():
        # It warns of fewer rows than ten times the columns.
        warnings.simplefilter("ignore")
        return getattr(mapping, name)(seed=0).fit(A, B).transform


MAPS = {
    "centred Procrustes": procrustes,
    "ridge": ridge,
    "network": network,
    "isotrieve ridge": partial(isotrieve_map, name="RidgeMapping"),
    "isotrieve MLP": partial(isotrieve_map, name="ResidualMLPMapping"),
}
TRANSLATE = "translate"
FORWARD = {name: f"index by {name}" for name in (TRANSLATE, *MAPS)}
BACKWARD = {name: f"queries by {name}" for name in (TRANSLATE, *MAPS)}
STAY, ANEW = "stay with the old model", "embed everything anew"
SHARED, HUBNESS = "shared space", "shared space, hubness"
WAYS = (STAY, *FORWARD.values(), *BACKWARD.values(), SHARED, HUBNESS, ANEW)


def fit_bridges(A, B, names, n_landmarks=1000):
    """Yield the names of ways and their `Bridge`, from paired rows of both models."""
    aligner = cache(partial(fit_aligner, A, B, n_landmarks))
    for name in names:
        yield name, fit_bridge(name, A, B, aligner)


def fit_bridge(way, A, B, aligner):
    """Return the `Bridge` of a way; aligner returns a fitted one."""
    if way == STAY:
        return Bridge(asks_new=False)
    if way == ANEW:
        return Bridge(from_old=False)
    if way in (SHARED, HUBNESS):
        maps = map(aligner().compile_view, ("old", "new"))
        if way == HUBNESS:
            return Bridge(*maps, metric="dot")
        return Bridge(*(partial(without_hubness, move=move) for move in maps))
    name = next(n for n in FORWARD if way in (FORWARD[n], BACKWARD[n]))
    if way == FORWARD[name]:
        return Bridge(index=fit_map(name, A, B, aligner))
    if name == TRANSLATE:
        return Bridge(queries=aligner().compile_translation("new", "old"))
    return Bridge(queries=MAPS[name](B, A))


def fit_map(name, A, B, aligner):
    """Return the map of old rows to new ones by a method."""
    if name == TRANSLATE:
        return aligner().compile_translation("old", "new")
    return MAPS[name](A, B)

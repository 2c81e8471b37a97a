"""Methods that bring two networks into one space by few known pairs, or by none.

A method is a function of known pairs A and B, of a pool of unpaired rows of each
network, and of a seed. It returns ``(map_a, map_b, notes)``: maps from rows to
comparable features, and a dict of what the method says about itself. Features are
compared by cosine, or by the metric that `METRICS` names.

There are no pairs to spare for validation, so that each method has one setting, here
in capitals. Settings of peers are those of their papers where these are affordable, and
what worked for most of 10, 30 and 100 pairs of lite1-lite2 with one seed elsewhere.

Peers with unpaired rows are rotations. Rows have unit length, are centred by the mean
of all rows of their network, and are reduced to `N_COMPONENTS` principal components,
which again get unit length.
"""

from functools import partial
from operator import attrgetter

import numpy as np
from _methods import cca, centre, chain, procrustes, project
from scipy.optimize import linear_sum_assignment, quadratic_assignment
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.preprocessing import normalize

from sklearn_featalign import KernelGCCAAligner, SelfTrainingAligner, stack_views

N_COMPONENTS = 128
N_NEIGHBORS = 10
# Of CCA with known pairs alone.
CCA_SETTING = {"penalty": 1.0, "power": 2}
# The most rounds in which pairs are found again.
N_ROUNDS = 20
# Of mini-vec2vec: clusters, restarts, starts of the assignment, and neighbours in the
# first matching; rounds of the first refinement, with so many rows of A in each; and
# the most clusters of the second refinement.
N_CLUSTERS, N_RESTARTS, N_STARTS, N_MATCHED = 20, 30, 30, 50
N_REFINED, N_DRAWN, N_FINE = 50, 2000, 500
# Of Wasserstein-Procrustes: rows of the first matching, sizes and numbers of batches,
# and the length of a step.
N_FIRST, BATCHES, STEP = 500, ((500, 200), (1000, 50), (2000, 12)), 10.0
# Of Gromov-Wasserstein: rows of each pool, and the share of the quadratic term.
N_COUPLED, QUADRATIC = 1000, 0.9


def self_training(known_a, known_b, pool_a, pool_b, seed):
    """Fit our aligner of few pairs."""
    views = [known_a.shape[1], known_b.shape[1]]
    aligner = KernelGCCAAligner(views=views, random_state=0)
    fitted = SelfTrainingAligner(aligner, random_state=seed)
    fitted.fit(stack(known_a, known_b, pool_a, pool_b))
    return *maps_of(fitted), {"trust": fitted.trust_}


def pairs_alone(known_a, known_b, pool_a, pool_b, seed):
    """Fit `KernelGCCAAligner`: unpaired rows count for the bandwidths alone."""
    fitted = KernelGCCAAligner(
        views=[known_a.shape[1], known_b.shape[1]],
        n_landmarks=min(len(known_a), 1000),
        random_state=0,
    )
    fitted.fit(stack(known_a, known_b, pool_a, pool_b))
    return *maps_of(fitted), {}


def stack(known_a, known_b, pool_a, pool_b):
    """Return known pairs, then unpaired rows, which lack a view."""
    views = [known_a.shape[1], known_b.shape[1]]
    unpaired = [
        stack_views(blocks, views) for blocks in ([pool_a, None], [None, pool_b])
    ]
    return np.vstack([np.hstack([known_a, known_b]), *unpaired])


def maps_of(fitted):
    """Return the maps of both views of an aligner."""
    return [partial(fitted.transform_view, view=view) for view in (0, 1)]


def cca_alone(known_a, known_b, pool_a, pool_b, seed):
    """Fit regularised CCA on the known pairs, with all of its components."""
    settings = cca(known_a, known_b, penalties=(CCA_SETTING["penalty"],))
    fitted = [found for found in settings if found[0]["power"] == CCA_SETTING["power"]]
    return *fitted[-1][1:], {}


def procrustes_alone(known_a, known_b, pool_a, pool_b, seed):
    """Rotate by the known pairs, with rows of unit length."""
    _, (_, *maps) = procrustes(known_a, known_b)
    return *maps, {}


def rotated(known_a, known_b, pool_a, pool_b, seed, find):
    """Prepare rows, and return the maps of the rotation that a function finds.

    It takes prepared rows A and B, of which the first are known pairs, the number of
    these, and a generator of random numbers.
    """
    A, B = np.vstack([known_a, pool_a]), np.vstack([known_b, pool_b])
    width = min(N_COMPONENTS, max(A.shape[1], B.shape[1]))
    map_a, map_b = (unit_components(X, width) for X in (A, B))
    rng = np.random.default_rng(seed)
    rotation = find(map_a(A), map_b(B), len(known_a), rng)
    return partial(project, map_a, rotation), map_b, {}


def unit_components(X, width):
    """Return the map of rows to principal components of unit length."""
    model = PCA(min(width, *X.shape), svd_solver="covariance_eigh").fit(normalize(X))
    components = chain(chain(normalize, model.transform), normalize)
    return chain(components, partial(centre, 0, width))


def rotate(A, B):
    """Return the rotation of A to B, and zero where no pair tells the direction."""
    U, values, Vt = np.linalg.svd(A.T @ B)
    told = values > 1e-5 * values[0]
    return U[:, told] @ Vt[told]


def self_learning(A, B, n_known, rng):
    """Rotate by the known pairs, then by these and mutual nearest neighbours by CSLS.

    Conneau et al. (2018), "Word translation without parallel data", and Artetxe et al.
    (2018), "A robust self-learning method": the refinement of both.
    """
    known = np.arange(n_known)
    rows = np.stack([known, known])
    for _ in range(N_ROUNDS):
        rotation = rotate(A[rows[0]], B[rows[1]])
        found = mutual_neighbors(csls(A[n_known:] @ rotation, B[n_known:])) + n_known
        found = np.hstack([np.stack([known, known]), found])
        if np.array_equal(found, rows):
            break
        rows = found
    return rotation


def csls(F, G):
    """Return the similarities of all rows by CSLS, of cosines."""
    S = normalize(F) @ normalize(G).T
    k = min(N_NEIGHBORS, *S.shape)
    nearest = (np.partition(T, -k, axis=1)[:, -k:].mean(1) for T in (S, S.T))
    return 2 * S - np.add.outer(*nearest)


def mutual_neighbors(S):
    """Return the pairs (2 rows) that are the most similar in both directions."""
    first, second = S.argmax(1), S.argmax(0)
    rows = np.flatnonzero(second[first] == np.arange(len(S)))
    return np.stack([rows, first[rows]])


def mini_vec2vec(A, B, n_known, rng):
    """Match by clusters, then refine by neighbours, and by finer clusters.

    Dar (2025), "mini-vec2vec: scaling universal geometry alignment with linear
    transformations", shortened. Known pairs are seeds of the assignment, anchors, and
    pairs of each rotation.
    """
    anchors = [matched_clusters(A, B, n_known, rng) for _ in range(N_RESTARTS)]
    relative_a, relative_b = (
        normalize(X @ np.vstack(centres).T)
        for X, centres in zip((A, B), zip(*anchors, strict=True), strict=True)
    )
    rotation = rotate_to_means(A, B, relative_a @ relative_b.T, n_known, N_MATCHED)
    known = np.arange(n_known)
    for _ in range(N_REFINED):
        n_drawn = min(N_DRAWN, len(A) - n_known)
        drawn = n_known + rng.choice(len(A) - n_known, n_drawn, replace=False)
        drawn = A[np.append(known, drawn)]
        S = drawn @ rotation @ B.T
        new = rotate_to_means(drawn, B, S, n_known, N_NEIGHBORS)
        rotation = (rotation + new) / 2
    return (rotation + rotate_by_clusters(A, B, rotation, n_known, rng)) / 2


def matched_clusters(A, B, n_known, rng):
    """Return known pairs and centres of clusters of both, by quadratic assignment."""
    state = int(rng.integers(2**31))
    centres = [
        KMeans(min(N_CLUSTERS, len(X)), random_state=state).fit(X).cluster_centers_
        for X in (A, B)
    ]
    nodes = [
        normalize(np.vstack([X[:n_known], Z]))
        for X, Z in zip((A, B), centres, strict=True)
    ]
    return nodes[0], nodes[1][assign(*nodes, n_known, rng, N_STARTS)]


def assign(A, B, n_known, rng, n_starts=1):
    """Return the rows of B whose similarities to each other are those of A.

    The first rows are known pairs. The best of some random starts is taken.
    """
    known = np.arange(n_known)
    options = {
        "maximize": True,
        "partial_match": np.stack([known, known], axis=1),
        "rng": rng,
        "P0": "randomized",
    }
    similarities = [np.asarray(X @ X.T, float) for X in (A, B)]
    found = [
        quadratic_assignment(*similarities, options=options) for _ in range(n_starts)
    ]
    return max(found, key=attrgetter("fun")).col_ind


def rotate_to_means(A, B, S, n_known, k):
    """Rotate rows of A to the means of the rows of B that are the most similar."""
    k = min(k, len(B))
    nearest = np.argpartition(S, -k, axis=1)[:, -k:]
    weights = np.zeros(S.shape, B.dtype)
    np.put_along_axis(weights, nearest, 1 / k, axis=1)
    means = weights @ B
    means[:n_known] = B[:n_known]
    return rotate(A, means)


def rotate_by_clusters(A, B, rotation, n_known, rng):
    """Rotate by centres of clusters of A, and of B from there on."""
    n_clusters = min(N_FINE, len(A) // 10)
    state = int(rng.integers(2**31))
    first = KMeans(n_clusters, n_init=1, random_state=state).fit(A).cluster_centers_
    moved = KMeans(n_clusters, init=normalize(first @ rotation), n_init=1).fit(B)
    pairs = (A, first), (B, moved.cluster_centers_)
    return rotate(*(np.vstack([X[:n_known], Z]) for X, Z in pairs))


def wasserstein_procrustes(A, B, n_known, rng):
    """Assign the rows of random batches, and step towards their rotation.

    Grave, Joulin and Berthet (2019), "Unsupervised alignment of embeddings with
    Wasserstein Procrustes". Known pairs are in each batch.
    """
    first, second = (draw(X, n_known, N_FIRST, rng) for X in (A, B))
    n_rows = min(len(first), len(second))
    first, second = first[:n_rows], second[:n_rows]
    rotation = rotate(first, second[assign(first, second, n_known, rng)])
    known = np.arange(n_known)
    for size, n_batches in BATCHES:
        for _ in range(n_batches):
            first, second = (draw(X, n_known, size, rng) for X in (A, B))
            S = first[n_known:] @ rotation @ second[n_known:].T
            rows, partners = linear_sum_assignment(S, maximize=True)
            first = first[np.append(known, n_known + rows)]
            second = second[np.append(known, n_known + partners)]
            U, _, Vt = np.linalg.svd(rotation + STEP * first.T @ second / len(first))
            rotation = U @ Vt
    return rotation


def draw(X, n_known, size, rng):
    """Return known rows, and random ones of the others."""
    n_others = len(X) - n_known
    drawn = rng.choice(n_others, min(size, n_others), replace=False)
    return X[np.append(np.arange(n_known), n_known + drawn)]


def gromov_wasserstein(A, B, n_known, rng):
    """Couple rows whose distances agree, and rotate to the means of their partners.

    Mémoli (2011), "Gromov-Wasserstein distances", by POT, with random rows of the
    pools. The linear term compares rows by their cosines to the known pairs.
    """
    gromov = load_pot()
    first, second = (draw(X, n_known, N_COUPLED, rng) for X in (A, B))
    distances = [1 - X @ X.T for X in (first, second)]
    if n_known:
        relative = [normalize(X @ X[:n_known].T) for X in (first, second)]
        cost = 1 - relative[0] @ relative[1].T
        coupling = gromov.fused_gromov_wasserstein(cost, *distances, alpha=QUADRATIC)
    else:
        coupling = gromov.gromov_wasserstein(*distances)
    means = coupling @ second / coupling.sum(1, keepdims=True)
    means[:n_known] = second[:n_known]
    return rotate(first, means)


def load_pot():
    """Return the module of POT for Gromov-Wasserstein, or say what is missing."""
    try:
        from ot import gromov
    except ImportError as error:
        install = "pip install 'sklearn-featalign[benchmarks]'"
        message = f"Gromov-Wasserstein needs POT ({error}): {install}"
        raise SystemExit(message) from error
    return gromov


METHODS = {
    "SelfTrainingAligner": self_training,
    "pairs alone": pairs_alone,
    "regularised CCA, pairs alone": cca_alone,
    "Procrustes, pairs alone": procrustes_alone,
    "Procrustes with the same loop": partial(rotated, find=self_learning),
    "mini-vec2vec": partial(rotated, find=mini_vec2vec),
    "Wasserstein-Procrustes": partial(rotated, find=wasserstein_procrustes),
    "Gromov-Wasserstein": partial(rotated, find=gromov_wasserstein),
}
# Those that need pairs, and how many at least.
LEAST_PAIRS = 2
NEED_PAIRS = (
    "pairs alone",
    "regularised CCA, pairs alone",
    "Procrustes, pairs alone",
    "Procrustes with the same loop",
)
METRICS = dict.fromkeys(METHODS, "cosine")
METRICS |= dict.fromkeys(("SelfTrainingAligner", "pairs alone"), "dot")

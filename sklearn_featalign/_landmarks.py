"""Choice of landmark rows.

scikit-learn's clustering takes as long to import as all of the package: it is imported
where it is used.
"""

import warnings

import numpy as np
import torch
from sklearn.utils import check_random_state


def select_landmarks(
    n_samples, n_landmarks, method, coordinates, random_state, kind="samples"
):
    """Return the indices of the landmarks among samples.

    Parameters
    ----------
    n_samples : int
    n_landmarks : int or None
        None takes all samples, and so does a larger number than there are, with a
        warning. All samples are taken in their own order.
    method : {"random", "farthest", "kmeans++"}
    coordinates : callable
        Returns a tensor of shape (n_samples, n_features), in which the distances
        between samples are those that count. Not called if the choice is random.
    random_state : int, RandomState instance or None
    kind : str
        What the samples are called in the warning.

    Returns
    -------
    indices : ndarray of shape (n_landmarks,), int64
        Distinct.
    """
    if n_landmarks is not None and n_landmarks > n_samples:
        warnings.warn(
            f"n_landmarks={n_landmarks} is greater than the number of {kind} "
            f"({n_samples}); all of them are landmarks.",
            UserWarning,
            stacklevel=4,
        )
    if n_landmarks is None or n_landmarks >= n_samples:
        return np.arange(n_samples)
    random_state = check_random_state(random_state)
    if method == "random":
        # The rows that Nystroem takes for the same random_state.
        return random_state.permutation(n_samples)[:n_landmarks]
    return SPREAD_OUT[method](coordinates(), n_landmarks, random_state)


def farthest_points(Z, n_landmarks, random_state):
    """Pick a random row, then each time the row farthest from all picked ones.

    The greedy 2-approximation of the k-center problem: Gonzalez (1985), "Clustering
    to minimize the maximum intercluster distance".
    """
    picked = torch.empty(n_landmarks, dtype=torch.int64, device=Z.device)
    picked[0] = int(random_state.randint(len(Z)))
    nearest = torch.full((len(Z),), torch.inf, dtype=Z.dtype, device=Z.device)
    for k in range(1, n_landmarks):
        distances = (Z - Z[picked[k - 1]]).square_().sum(1)
        nearest = torch.minimum(nearest, distances)
        # Below the zero of a duplicate, so that no row is picked twice.
        nearest[picked[k - 1]] = -1.0
        picked[k] = nearest.argmax()
    return picked.cpu().numpy()


def kmeans_plusplus_points(Z, n_landmarks, random_state):
    """Pick rows as k-means++ seeds its clusters, completed at random.

    Arthur and Vassilvitskii (2007), "k-means++: the advantages of careful seeding".
    Where there are fewer different rows than landmarks, seeding repeats itself.
    """
    from sklearn.cluster import kmeans_plusplus

    Z = Z.cpu().numpy()
    _, picked = kmeans_plusplus(Z, n_landmarks, random_state=random_state)
    order = np.concatenate([picked, random_state.permutation(len(Z))])
    _, first = np.unique(order, return_index=True)
    return order[np.sort(first)[:n_landmarks]].astype(np.int64)


SPREAD_OUT = {"farthest": farthest_points, "kmeans++": kmeans_plusplus_points}

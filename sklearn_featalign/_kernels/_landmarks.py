"""Choice of landmark rows.

scikit-learn's clustering takes as long to import as the whole package, so it is
imported in the functions that use it.
"""

import warnings

import numpy as np
import torch
from sklearn.utils import check_random_state


def select_landmarks(n_samples, n_landmarks, method, coordinates, random_state):
    """Return the distinct indices of the landmarks among samples.

    Parameters
    ----------
    n_samples : int
    n_landmarks : int or None
        None takes all samples, in their own order. So does a number larger than
        `n_samples`, with a warning.
    method : {"random", "farthest", "kmeans++"}
    coordinates : callable
        Returns a tensor of shape (n_samples, n_features), whose distances "farthest"
        and "kmeans++" go by. It is called only if they need it.
    random_state : int, RandomState instance or None
    """
    if n_landmarks is not None and n_landmarks > n_samples:
        warnings.warn(
            f"n_landmarks={n_landmarks} is greater than the number of samples "
            f"({n_samples}) that have every view; all of these are landmarks.",
            UserWarning,
            stacklevel=7,
        )
    if n_landmarks is None or n_landmarks >= n_samples:
        return np.arange(n_samples)
    random_state = check_random_state(random_state)
    if method == "random":
        # scikit-learn's Nystroem draws the same rows for the same random_state.
        return random_state.permutation(n_samples)[:n_landmarks]
    return SPREAD_OUT[method](coordinates(), n_landmarks, random_state)


def farthest_points(Z, n_landmarks, random_state):
    """Pick a random row, then repeatedly the row farthest from all picked ones.

    This is the greedy 2-approximation of the k-center problem: Gonzalez (1985),
    "Clustering to minimize the maximum intercluster distance".
    """
    picked = torch.empty(n_landmarks, dtype=torch.int64, device=Z.device)
    picked[0] = int(random_state.randint(len(Z)))
    nearest = torch.full((len(Z),), torch.inf, dtype=Z.dtype, device=Z.device)
    for k in range(1, n_landmarks):
        distances = (Z - Z[picked[k - 1]]).square_().sum(1)
        nearest = torch.minimum(nearest, distances)
        # Picked rows rank below duplicates, which are at zero: none is picked twice.
        nearest[picked[k - 1]] = -1.0
        picked[k] = nearest.argmax()
    return picked.cpu().numpy()


def kmeans_plusplus_points(Z, n_landmarks, random_state):
    """Pick rows as k-means++ seeds its clusters, and random ones if these repeat.

    Arthur and Vassilvitskii (2007), "k-means++: the advantages of careful seeding".
    Seeds repeat if there are fewer different rows than landmarks.
    """
    from sklearn.cluster import kmeans_plusplus

    Z = Z.cpu().numpy()
    _, picked = kmeans_plusplus(Z, n_landmarks, random_state=random_state)
    order = np.concatenate([picked, random_state.permutation(len(Z))])
    _, first = np.unique(order, return_index=True)
    return order[np.sort(first)[:n_landmarks]].astype(np.int64)


SPREAD_OUT = {"farthest": farthest_points, "kmeans++": kmeans_plusplus_points}

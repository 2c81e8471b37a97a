"""A first guess of pairs: cluster centres of the views, by quadratic assignment.

SciPy takes as long to import as half of the package, so it is imported where it is
needed.
"""

import numpy as np
import torch

from sklearn_featalign._linalg import unit_rows
from sklearn_featalign._matching._groups import group_means, spherical_kmeans

# Centres of each view, and fewer if there are no known pairs, or few rows.
_N_CENTRES = 200
_N_UNSEEDED = 100
_ROWS_A_CENTRE = 5

# Independent draws of centres, of which the best half is kept, and starts in each.
_N_DRAWS = 10
_N_STARTS = 4

# Known pairs that are fixed in the assignment, at most.
_MOST_FIXED = 300

# Rows of a view that are clustered, at most.
_CLUSTERED_ROWS = 5000

_SINKHORN_STEPS = 50


def guess_pairs(pools, generator):
    """Return centres of all views that seem to be of the same objects.

    Centres of several draws are joined, so that errors of one do not decide. The first
    view is assigned to each of the others.

    Returns
    -------
    pairs : list of tensor of shape (n_pairs, n_features)
    """
    pools = pools.limit_known(_MOST_FIXED, generator)
    n_centres = count_centres(pools)
    draws = []
    for _ in range(_N_DRAWS):
        nodes = [
            (known, draw_centres(X, n_centres, generator))
            for X, known in zip(pools.blocks, pools.known_rows(), strict=True)
        ]
        seed = torch.randint(2**31, (1,), generator=generator, device=generator.device)
        rng = np.random.default_rng(int(seed))
        first, *others = [similarities(*parts) for parts in nodes]
        found = [assign(first, other, pools.n_known, rng) for other in others]
        centres = [nodes[0][1]]
        centres += [
            parts[1][torch.from_numpy(order).to(parts[1].device)]
            for parts, (order, _) in zip(nodes[1:], found, strict=True)
        ]
        draws.append((sum(value for _, value in found), centres))
    draws.sort(key=lambda item: -item[0])
    best = [centres for _, centres in draws[: _N_DRAWS // 2]]
    return list(map(torch.cat, zip(*best, strict=True)))


def count_centres(pools):
    """Return the number of centres of each view."""
    n_rows = min(map(len, pools.blocks))
    n_centres = _N_CENTRES if pools.n_known > 1 else _N_UNSEEDED
    return max(2, min(n_centres, n_rows // _ROWS_A_CENTRE))


def draw_centres(X, n_centres, generator):
    """Return the centres of random clusters of the rows of a view.

    An empty one has the origin as its centre, which is near to nothing.
    """
    order = torch.randperm(len(X), generator=generator, device=generator.device)
    rows = X[order[:_CLUSTERED_ROWS].to(X.device)]
    labels = spherical_kmeans(unit_rows(rows), n_centres, generator)
    return group_means(rows, labels, n_centres)[0]


def similarities(known, centres):
    """Return standardised cosines among known rows and centres, as an array."""
    Z = unit_rows(torch.cat([known, centres]))
    S = (Z @ Z.T).cpu().numpy()
    others = ~np.eye(len(S), dtype=bool)
    S = (S - S[others].mean()) / (S[others].std() or 1.0)
    return np.where(others, S, 0.0)


def assign(A, B, n_known, rng):
    """Assign the nodes of one view to those of the other; the known ones stay.

    It is the fast approximate quadratic assignment of Vogelstein et al. (2015), "Fast
    approximate quadratic programming for graph matching", with seeds.

    Returns
    -------
    order : ndarray of int
        Which centre of B belongs to each centre of A.
    value : float
        The correlation of the similarities.
    """
    from scipy.optimize import quadratic_assignment

    known = np.repeat(np.arange(n_known)[:, None], 2, axis=1)
    # The generator is not drawn from, and keeps SciPy from NumPy's global one.
    options = {"maximize": True, "partial_match": known, "rng": rng}
    options |= {"tol": 0.01, "maxiter": 60}
    starts = [profile_start(A, B, n_known)]
    n_centres = len(A) - n_known
    starts += [random_start(n_centres, rng) for _ in range(_N_STARTS - 1)]
    found = [quadratic_assignment(A, B, options={**options, "P0": P0}) for P0 in starts]
    best = max(found, key=lambda result: result.fun)
    scale = np.linalg.norm(A) * np.linalg.norm(B)
    return best.col_ind[n_known:] - n_known, float(best.fun) / (scale or 1.0)


def profile_start(A, B, n_known):
    """Return a doubly stochastic matrix that leans to nodes with similar profiles.

    The profile of a centre are its sorted similarities to the others. Known rows tell
    more, and then it is the flat matrix.
    """
    from scipy.optimize import linear_sum_assignment

    n_centres = len(A) - n_known
    flat = np.full((n_centres, n_centres), 1 / n_centres)
    if n_known > 1:
        return flat
    first, second = (np.sort(S[n_known:, n_known:], axis=1) for S in (A, B))
    cost = np.square(first[:, None] - second).sum(2)
    guess = np.zeros_like(flat)
    guess[linear_sum_assignment(cost)] = 1
    return (flat + guess) / 2


def random_start(n_centres, rng):
    """Return a random doubly stochastic matrix about the flat one."""
    P = rng.random((n_centres, n_centres))
    for _ in range(_SINKHORN_STEPS):
        P /= P.sum(1, keepdims=True)
        P /= P.sum(0)
    return (1 / n_centres + P) / 2

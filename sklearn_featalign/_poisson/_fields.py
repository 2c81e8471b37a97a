"""Fields that rows follow: that of the charges, or one predicted by a network."""

from functools import partial

from sklearn_featalign._linalg import squared_distances
from sklearn_featalign._poisson._charges import (
    augment_charges,
    coincident_charges,
    log_count_without_self,
    mean_charge,
    mean_charge_by_powers,
    powers_are_safe,
)
from sklearn_featalign._poisson._network import network_mean

# A row coincides with a charge within this share of the spacing height.
_COINCIDENT = 1e-3

# A row started on a charge if its line, followed back without that charge, ends within
# the first share of the spacing height of the charge, or within the second share of the
# distance at which the line with all charges ends.
_HOME_RTOL = (0.01, 0.003)

# Number of nearest charges that are tried.
_N_HOME_CANDIDATES = 2


class ChargeField:
    """The field of charges, in which a row is not driven by its own charge.

    Parameters
    ----------
    charges : tensor of shape (n_charges, n_features)
    log_counts : tensor of shape (n_charges,)
        Logarithms of how many rows each charge stands for.
    max_norm : float
        The largest norm of a charge.
    spacing, lowest : float
        The spacing height of the charges, and the lowest height in use.
    """

    def __init__(self, charges, log_counts, max_norm, spacing, lowest):
        self.charges = charges
        self.log_counts = log_counts
        self.spacing = spacing
        is_safe = powers_are_safe(lowest, max_norm, charges.shape[1])
        self.augmented = augment_charges(charges, log_counts) if is_safe else None

    def coincident(self, X):
        """Return the charges that rows coincide with: see `coincident_charges`."""
        within = _COINCIDENT * self.spacing
        return coincident_charges(X, self.charges, self.log_counts, within)

    def mean_charge_of(self, X, own=None):
        """Return the function ``mean(X, height)`` for rows that start at X."""
        if self.augmented is None:
            return partial(
                mean_charge, charges=self.charges, log_counts=self.log_counts, own=own
            )
        memory = X.new_empty((len(X), len(self.charges)))
        return partial(
            mean_charge_by_powers, augmented=self.augmented, own=own, memory=memory
        )

    def home_candidates(self, X):
        """Return the charges that rows may have started on, and the tolerance for it.

        Returns
        -------
        within : tensor of shape (n_samples,)
            Distance from a charge within which a row counts as being on it.
        candidates : list of (tuple, tensor of shape (n_samples, n_features))
            What `coincident` would return for a row on the charge, and the charge.
        """
        D = squared_distances(X, self.charges)
        n_candidates = min(_N_HOME_CANDIDATES, D.shape[1])
        D, nearest = D.topk(n_candidates, dim=1, largest=False)
        of_spacing, of_distance = _HOME_RTOL
        within = (of_distance * D[:, 0].sqrt()).clamp(min=of_spacing * self.spacing)
        candidates = [
            ((index, log_count_without_self(index, self.log_counts)), index[:, 0])
            for index in nearest.split(1, dim=1)
        ]
        return within, [(own, self.charges[index]) for own, index in candidates]

    def distance_to_mean_charge(self, X, height, factor):
        """Return the distances of rows from the mean charges at a height.

        The matrix `factor` is applied to rows and charges before distances are taken.
        The result has the shape (n_samples, 1).
        """
        own = self.coincident(X)
        X, charges = X @ factor, self.charges @ factor
        mean = mean_charge(X, height, charges, self.log_counts, own)
        return (X - mean).norm(dim=1, keepdim=True)


class LearnedField:
    """The field as predicted by a network with given weights, without charges."""

    def __init__(self, weights):
        self.weights = weights

    def coincident(self, X):
        """Return None: there are no charges for rows to coincide with."""
        return None

    def mean_charge_of(self, X, own=None):
        """Return the function ``mean(X, height)``."""
        return partial(network_mean, weights=self.weights)

    def home_candidates(self, X):
        """Return no candidates."""
        return None, []

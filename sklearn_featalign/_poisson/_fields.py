"""Fields that rows follow: of the charges, or as a network knows it."""

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

# A row that comes back next to a charge started on it if, without that charge, it comes
# back to the charge: within the first tolerance times the spacing height, or the second
# times its distance from the charge. So many of the nearest charges are tried.
_HOME_RTOL = (0.01, 0.003)
_N_HOME_CANDIDATES = 2


class ChargeField:
    """The field of charges, which know the rows that coincide with them.

    Parameters
    ----------
    charges : tensor of shape (n_charges, n_features)
    log_counts : tensor of shape (n_charges,)
        Logarithms of how many rows each charge stands for.
    max_norm : float
        The largest norm of a charge.
    spacing, lowest : float
        The height by the spacing of the charges, and the lowest height in use.
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
        """Return the function ``mean(X, height)`` for as many rows as X has."""
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


class NetworkField:
    """The field as a network with given weights knows it, which has no charges."""

    def __init__(self, weights):
        self.weights = weights

    def coincident(self, X):
        """Return None: rows do not drive themselves."""
        return None

    def mean_charge_of(self, X, own=None):
        """Return the function ``mean(X, height)``."""
        return partial(network_mean, weights=self.weights)

    def home_candidates(self, X):
        """Return no candidates."""
        return None, []

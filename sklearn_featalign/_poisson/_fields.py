"""Fields that rows follow: that of charges or of cells, or one that a network predicts.

A field has stages: heights, in their order, and the function ``mean(X, height)`` of the
mean charge between each of them and the next.
"""

from functools import partial

import torch

from sklearn_featalign._linalg import squared_distances
from sklearn_featalign._poisson._charges import (
    Charges,
    augment_charges,
    coincident_charges,
    log_count_without_self,
    mean_charge,
    mean_charge_by_powers,
    safe_height,
    weights_memory,
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

# Cells act as charges in their means from this multiple of their spread on.
_FAR = 4.0

# Of fewer charges than this all sums are in float64.
_MANY_CHARGES = 1024


class ChargeField:
    """The field of charges, in which a row is not driven by its own charge.

    Parameters
    ----------
    charges : Charges
        In the plane.
    max_norm : float
        The largest norm of a charge.
    spacing, lowest : float
        The spacing height of the charges, and the lowest height in use.
    """

    def __init__(self, charges, max_norm, spacing, lowest):
        self.charges = charges
        self.places, self.log_counts, _ = charges
        self.spacing = spacing
        is_safe = lowest >= safe_height(max_norm, self.places.shape[1])
        self.augmented = augment_charges(charges) if is_safe else None

    def coincident(self, X):
        """Return the charges that rows coincide with: see `coincident_charges`."""
        within = _COINCIDENT * self.spacing
        return coincident_charges(X, self.places, self.log_counts, within)

    def stages(self, X, own=None):
        """Return the only stage for rows that start at X."""
        if self.augmented is None:
            mean = partial(mean_charge, charges=self.charges, own=own)
        else:
            mean = by_powers(X, self.augmented, own)
        return [(0.0, mean)]

    def charges_at(self, height):
        """Return the charges that drive rows at a height."""
        return self.charges

    def home_candidates(self, X):
        """Return the charges that rows may have started on, and the tolerance for it.

        Returns
        -------
        within : tensor of shape (n_samples,)
            Distance from a charge within which a row counts as being on it.
        candidates : list of (tuple, tensor of shape (n_samples, n_features))
            What `coincident` would return for a row on the charge, and the charge.
        """
        D = squared_distances(X, self.places)
        n_candidates = min(_N_HOME_CANDIDATES, D.shape[1])
        D, nearest = D.topk(n_candidates, dim=1, largest=False)
        of_spacing, of_distance = _HOME_RTOL
        within = (of_distance * D[:, 0].sqrt()).clamp(min=of_spacing * self.spacing)
        candidates = [
            ((index, log_count_without_self(index, self.log_counts)), index[:, 0])
            for index in nearest.split(1, dim=1)
        ]
        return within, [(own, self.places[index]) for own, index in candidates]

    def distance_to_mean_charge(self, X, height):
        """Return the distances of rows from the mean charges at a height.

        The result has the shape (n_samples, 1).
        """
        own = self.coincident(X)
        mean = mean_charge(X, height, self.charges, own)
        return (X - mean).norm(dim=1, keepdim=True)


class SharedField:
    """Base class of fields that drive all rows alike, of which none has its own."""

    def coincident(self, X):
        """Return None: there is no charge that is a row's own."""
        return None

    def charges_at(self, height):
        """Return None: rows are not driven by charges."""
        return None

    def home_candidates(self, X):
        """Return no candidates."""
        return None, []


class CellField(SharedField):
    """The field of cells.

    Far above the plane, neighbouring cells act as one: there are fewer of them in
    higher stages. All rows pass from one stage to the next at the same height, so that
    their map is continuous.

    Parameters
    ----------
    levels : iterable of dict
        As from `cell_levels`, from the finest on, with tensors.
    lowest : float
        The lowest height in use.
    """

    def __init__(self, levels, lowest):
        self.table, self.levels = [], []
        for level in levels:
            charges = Charges(**level["charges"])
            reach, d = level["max_norm"], charges.places.shape[1]
            start = _FAR * level["spread"] if self.table else lowest
            self.levels.append((start, charges))
            means = [(start, partial(mean_charge, charges=charges))]
            for dtype in (torch.float64, torch.float32):
                height = safe_height(reach, d, dtype) - level["lowest_depth"]
                if dtype == torch.float64 or len(charges.places) >= _MANY_CHARGES:
                    table = augment_charges(charges, dtype)
                    means.append((max(height, start), table))
            # Of stages that begin together the last one counts.
            self.table = [stage for stage in self.table if stage[0] < start] + means

    def charges_at(self, height):
        """Return the cells that drive rows at a height."""
        first, *others = self.levels
        return [first, *(level for level in others if level[0] <= height)][-1][1]

    def stages(self, X, own=None):
        """Return the stages for as many rows as X has."""
        return [
            (height, by_powers(X, mean) if isinstance(mean, tuple) else mean)
            for height, mean in self.table
        ]


class LearnedField(SharedField):
    """The field as predicted by a network with given weights, without charges."""

    def __init__(self, weights):
        self.weights = weights

    def stages(self, X, own=None):
        """Return the only stage."""
        return [(0.0, partial(network_mean, weights=self.weights))]


def by_powers(X, augmented, own=None):
    """Return `mean_charge_by_powers` for as many rows as X has, with its memory."""
    left = augmented[0]
    memory = weights_memory(X, left.shape[1], left.dtype)
    return partial(mean_charge_by_powers, augmented=augmented, own=own, memory=memory)

"""Training rows of networks: z-scored views side by side."""

from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from sklearn_featalign._standardize import standardize


class ViewRows(NamedTuple):
    """Z-scored rows that have at least one view.

    `where` has their positions in X. `Z` has a float32 tensor for each view, zero in
    rows that lack it. `present`, (n_samples, n_views), says which views each row has.
    """

    where: np.ndarray
    Z: list
    present: torch.Tensor

    @property
    def paired(self):
        """Positions, among these rows, of those that have every view."""
        return self.present.all(1).nonzero()[:, 0]

    def take(self, rows):
        """Return some of the rows."""
        return ViewRows(self.where[rows], [Z[rows] for Z in self.Z], self.present[rows])


def load_rows(training, zscores):
    """Return the `ViewRows` of a `_base.Training`, by the z-scores of each view."""
    n_samples, device = len(training.rows), training.rows.device
    present = torch.zeros((n_samples, len(zscores)), dtype=torch.bool, device=device)
    views = []
    for v, (name, rows) in enumerate(training.views.items()):
        shape = (n_samples, len(training.columns[name]))
        out = torch.zeros(shape, dtype=torch.float32, device=device)
        rows.collect(partial(standardize, zscore=zscores[name]), out)
        views.append(out)
        present[slice(None) if rows.where is None else rows.where, v] = True
    rows = ViewRows(np.arange(n_samples), views, present)
    has_view = present.any(1).cpu().numpy()
    return rows if has_view.all() else rows.take(np.flatnonzero(has_view))

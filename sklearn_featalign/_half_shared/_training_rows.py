"""Training rows of half-shared networks, and early stopping by held-out rows."""

from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from sklearn_featalign._half_shared._cca import pair_mrr
from sklearn_featalign._standardize import standardize

# Early stopping stops after this many epochs without a better one.
_PATIENCE = 10


class ViewRows(NamedTuple):
    """Z-scored training rows, of the views that they have.

    ``where`` has their positions in X, ``Z`` of each view a float32 tensor that is zero
    where the view is absent, and ``present`` says where it is not.
    """

    where: np.ndarray
    Z: list
    present: torch.Tensor

    @property
    def paired(self):
        """Positions among these rows of those that have every view."""
        return self.present.all(1).nonzero()[:, 0]

    def take(self, rows):
        """Return some of the rows."""
        return ViewRows(self.where[rows], [Z[rows] for Z in self.Z], self.present[rows])


def load_rows(training, frames):
    """Return all rows that have a view, z-scored, as `ViewRows`."""
    n_samples, device = len(training.rows), training.rows.device
    present = torch.zeros((n_samples, len(frames)), dtype=torch.bool, device=device)
    views = []
    for v, (name, rows) in enumerate(training.views.items()):
        out = torch.zeros(
            (n_samples, len(training.columns[name])), dtype=torch.float32, device=device
        )
        rows.collect(partial(standardize, zscore=frames[name]), out)
        views.append(out)
        present[slice(None) if rows.where is None else rows.where, v] = True
    rows = ViewRows(np.arange(n_samples), views, present)
    some = present.any(1).cpu().numpy()
    return rows if some.all() else rows.take(np.flatnonzero(some))


class HeldOutRetrieval:
    """Early stopping by how well held-out pairs are found.

    Parameters
    ----------
    views : list of tensor of shape (n_samples, n_view_features)
    """

    def __init__(self, views):
        self.views = views
        self.scores = []
        self.best = None

    def __call__(self, network):
        """Score a network, remember it if it is the best, and return when to stop."""
        with torch.inference_mode():
            network.eval()
            features = [F.to(torch.float64) for F in network(self.views)]
        self.scores.append(pair_mrr(features))
        latest = len(self.scores) - 1
        best = int(np.argmax(self.scores))
        if best == latest:
            weights = network.state_dict()
            self.best = {name: value.clone() for name, value in weights.items()}
        return latest - best >= _PATIENCE

    def restore(self, network):
        """Give a network the weights that it had when it was best."""
        network.load_state_dict(self.best)

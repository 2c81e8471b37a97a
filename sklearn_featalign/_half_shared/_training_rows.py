"""Training rows of half-shared networks, and early stopping by held-out rows."""

from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from sklearn_featalign._half_shared._cca import pairwise_mrr
from sklearn_featalign._mlp import encode
from sklearn_featalign._standardize import standardize

# Training stops early after this many epochs without a better score.
_PATIENCE = 10


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


class HeldOutRetrieval:
    """Early stopping by the retrieval of held-out rows, which have every view."""

    def __init__(self, views):
        self.views = views
        self.scores = []
        self.best = None

    def __call__(self, network):
        """Score a network, keep its weights if best, and return whether to stop."""
        with torch.inference_mode():
            features = [
                encode(Z, weights).to(torch.float64)
                for Z, weights in zip(self.views, network.averaged(), strict=True)
            ]
        self.scores.append(pairwise_mrr(features))
        latest = len(self.scores) - 1
        best = int(np.argmax(self.scores))
        if best == latest:
            weights = network.state_dict()
            self.best = {name: value.clone() for name, value in weights.items()}
        return latest - best >= _PATIENCE

    def restore(self, network):
        """Give a network the weights of its best epoch."""
        network.load_state_dict(self.best)

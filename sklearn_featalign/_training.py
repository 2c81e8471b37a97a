"""Training by skorch: batches, the net, and its bridge to scikit-learn's callbacks."""

import math
from contextlib import suppress
from functools import partial
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, LRScheduler, PassthroughScoring
from torch.nn.functional import cross_entropy, mse_loss, normalize

from sklearn_featalign._cca import pair_mrr
from sklearn_featalign._coordinates import zscore
from sklearn_featalign._losses import (
    affinity_loss,
    batch_affinity,
    contrastive_loss,
)
from sklearn_featalign._views import is_width

# Of AdamW, and the share of the steps over which its rate rises.
_WEIGHT_DECAY = 0.3
_WARM_UP = 0.1

# Epochs without a better one after which early stopping stops.
_PATIENCE = 10


def check_hidden_layer_sizes(widths):
    """Refuse widths of layers that are not whole numbers of at least one."""
    if not all(is_width(n) and n >= 1 for n in widths):
        raise ValueError(
            f"hidden_layer_sizes must be integers of at least 1, got {widths}."
        )


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
        rows.collect(partial(zscore, frame=frames[name]), out)
        views.append(out)
        present[slice(None) if rows.where is None else rows.where, v] = True
    rows = ViewRows(np.arange(n_samples), views, present)
    some = present.any(1).cpu().numpy()
    return rows if some.all() else rows.take(np.flatnonzero(some))


class PairedRows(torch.utils.data.Dataset):
    """Rows of several views and what they are trained for.

    Parameters
    ----------
    views : list of tensor of shape (n_samples, n_view_features)
    goals : dict of str to tensor of length n_samples
        See `half_shared_loss`.
    """

    def __init__(self, views, goals):
        self.views = {f"view{i}": Z for i, Z in enumerate(views)}
        self.goals = goals

    def __len__(self):
        """Return the number of rows."""
        return len(self.views["view0"])

    def __getitem__(self, rows):
        """Return views and goals of several rows."""
        return (
            {name: Z[rows] for name, Z in self.views.items()},
            {name: goal[rows] for name, goal in self.goals.items()},
        )


class Batches:
    """Shuffled batches of about equal size, so that none has a single row.

    Parameters
    ----------
    dataset : PairedRows
    batch_size : int
        At most, but for a batch of three where two would leave a row alone.
    generator : torch.Generator
    """

    def __init__(self, dataset, batch_size, generator):
        self.dataset = dataset
        self.generator = generator
        n_samples = len(dataset)
        self.n_batches = max(1, min(math.ceil(n_samples / batch_size), n_samples // 2))

    def __iter__(self):
        """Yield views and goals."""
        if self.n_batches == 1:
            yield self.dataset[:]
            return
        order = torch.randperm(
            len(self.dataset), generator=self.generator, device=self.generator.device
        )
        device = self.dataset.views["view0"].device
        for rows in order.to(device).tensor_split(self.n_batches):
            yield self.dataset[rows]


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
            views = {f"view{v}": Z for v, Z in enumerate(self.views)}
            features = [F.to(torch.float64) for F in network(**views)]
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


class LossNet(NeuralNet):
    """The net: skorch's, with a loss of all that goes in and comes out.

    Parameters
    ----------
    module : torch.nn.Module
    loss : callable
        ``loss(network, output, goals, views)`` of a batch.
    """

    def __init__(self, module, *, loss, **kwargs):
        super().__init__(module, criterion=torch.nn.Identity, **kwargs)
        self.loss = loss

    @property
    def _default_callbacks(self):
        return [("train_loss", PassthroughScoring("train_loss", on_train=True))]

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Return the loss of a batch."""
        return self.loss(self.module_, y_pred, y_true, X)


class StopTraining(Exception):
    """Raised by a callback where training is to end early."""


class Bridge(Callback):
    """Tells scikit-learn's callbacks of each epoch, and ends training early.

    Parameters
    ----------
    task : sklearn.callback.CallbackContext
        Of the fit.
    hooks : dict
        What its hooks are told: ``estimator``, ``X`` and ``y``.
    fitted_attributes : callable
        Returns what makes the estimator a fitted one.
    monitor : callable, optional
        Takes the network after each epoch and returns whether to stop.
    """

    def __init__(self, task, hooks, fitted_attributes, monitor=None):
        self.task = task
        self.hooks = hooks
        self.fitted_attributes = fitted_attributes
        self.monitor = monitor

    def on_epoch_begin(self, net, **kwargs):
        """Open a task of its own."""
        self.epoch = self.task.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(**self.hooks)

    def on_epoch_end(self, net, **kwargs):
        """Refuse a loss that is lost; close the task; stop if somebody says so."""
        loss = net.history[-1, "train_loss"]
        if not math.isfinite(loss):
            raise ValueError(
                f"The loss is {loss} in epoch {len(net.history)}: try a smaller lr."
            )
        stop = self.epoch.call_on_fit_task_end(
            **self.hooks, reconstruction_attributes=self.fitted_attributes
        )
        if self.monitor is not None:
            stop |= self.monitor(net.module_)
        if stop:
            raise StopTraining


def warm_up_and_cosine(n_steps):
    """Return the function from a step to the share of the learning rate it has."""
    n_rising = max(1, round(_WARM_UP * n_steps))
    n_falling = max(1, n_steps - n_rising)

    def share(step):
        if step < n_rising:
            return (step + 1) / (n_rising + 1)
        return (1 + math.cos(math.pi * (step - n_rising) / n_falling)) / 2

    return share


def train(
    network,
    dataset,
    loss,
    *,
    max_epochs,
    lr,
    batch_size,
    generator,
    bridge,
    weight_decay=_WEIGHT_DECAY,
    schedule=warm_up_and_cosine,
):
    """Train a network by AdamW, which without weight decay is Adam.

    Parameters
    ----------
    network : torch.nn.Module
    dataset : PairedRows
    loss : callable
        See `LossNet`.
    max_epochs : int
    lr : float
        Highest learning rate.
    batch_size : int
    generator : torch.Generator
        Of the batches.
    bridge : Bridge
    weight_decay : float
    schedule : callable or None
        From the number of steps to the function from a step to its share of the rate.
        By default this rises over 10 % and falls as a cosine; None keeps it constant.

    Returns
    -------
    history : skorch.history.History
    """
    batches = Batches(dataset, batch_size, generator)
    callbacks = [bridge]
    if schedule is not None:
        share = schedule(max_epochs * batches.n_batches)
        policy = torch.optim.lr_scheduler.LambdaLR
        callbacks.insert(0, LRScheduler(policy, lr_lambda=share, step_every="batch"))
    net = LossNet(
        network,
        loss=loss,
        optimizer=torch.optim.AdamW,
        # Fused, it keeps its state on the parameters' device, whatever the default.
        optimizer__fused=True,
        optimizer__weight_decay=weight_decay,
        lr=lr,
        max_epochs=max_epochs,
        batch_size=batch_size,
        iterator_train=lambda dataset, batch_size: batches,
        train_split=None,
        device=dataset.views["view0"].device,
        callbacks=callbacks,
    )
    net.initialize()
    net.notify("on_train_begin", X=dataset, y=None)
    with torch.enable_grad(), suppress(StopTraining):
        # Unlike fit, which swallows a KeyboardInterrupt.
        net.fit_loop(dataset)
    if not all(weight.isfinite().all() for weight in network.parameters()):
        raise ValueError(
            f"Weights are not finite after epoch {len(net.history)}: try a smaller lr."
        )
    return net.history


def half_shared_loss(network, features, goals, inputs, *, weights, loss, one_by_one):
    """Return the loss of a batch: the weighted sum of all that training is for.

    Each term is a mean over the views, or pairs of them, that two rows at least have.

    Parameters
    ----------
    network : HalfSharedNetwork
    features : list of tensor of shape (n_samples, n_components)
    goals : dict of str to tensor of length n_samples
        ``target``: classes, or values of shape (n_samples, n_outputs). Optionally
        ``present``, of shape (n_samples, n_views), where views are absent. Of each view
        ``affinity0`` and so on, rows whose affinities are to be kept.
    weights : dict of str to float
        Of ``affinity``, ``pull`` and ``contrastive``.
    loss : {"cross_entropy", "mse"}
    one_by_one : bool
        Whether each row is a class of its own. The classes of the batch's rows are all
        that it is told from then, so that this cost does not grow with their number.
    """
    views = range(len(features))
    target, present = goals["target"], goals.get("present")
    everywhere = torch.arange(len(target), device=target.device)
    here = [
        everywhere if present is None else present[:, v].nonzero()[:, 0] for v in views
    ]

    def at(values, rows):
        return values if rows is everywhere else values[rows]

    terms = {"head": [], "affinity": [], "pull": [], "contrastive": []}
    for v in views:
        rows = here[v]
        if len(rows) < 2:
            continue
        F = at(features[v], rows)
        terms["head"].append(head_loss(network, F, target, rows, loss, one_by_one))
        if weights["affinity"]:
            kept = at(goals.get(f"affinity{v}", inputs[f"view{v}"]), rows)
            terms["affinity"].append(affinity_loss(F, batch_affinity(kept)))
    for u, v in combinations(views, 2):
        rows = here[u] if present is None else here[u][present[here[u], v]]
        if len(rows) < 2:
            continue
        F, G = at(features[u], rows), at(features[v], rows)
        if weights["pull"]:
            # Over their variance it would let features shrink to nothing at no cost.
            terms["pull"].append(mse_loss(F, G))
        if weights["contrastive"]:
            F, G = normalize(F), normalize(G)
            terms["contrastive"].append(contrastive_loss(F, G, network.scale))
    means = [
        weights.get(name, 1) / len(losses) * sum(losses)
        for name, losses in terms.items()
        if losses
    ]
    return sum(means) if means else 0 * features[0].sum()


def head_loss(network, F, target, rows, loss, one_by_one):
    """Return the loss of what the head makes of a view's features.

    F has the rows of the batch where the view is at hand, target all of them.
    """
    if loss == "mse":
        return mse_loss(network.predict(F), target[rows])
    # Of all rows in one batch the classes are all there are.
    if one_by_one and len(target) < len(network.head["weight"]):
        return cross_entropy(network.predict(F, target), rows)
    return cross_entropy(network.predict(F), target[rows])

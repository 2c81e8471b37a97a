"""Training by skorch: batches, the net, and the callbacks of scikit-learn."""

import math
from contextlib import suppress
from functools import partial

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, LRScheduler, PassthroughScoring

# Weight decay of AdamW, and the share of the steps in which the learning rate rises.
_WEIGHT_DECAY = 0.3
_WARM_UP = 0.1

# Training stops early after this many epochs without a better score.
_PATIENCE = 10


class ViewDataset(torch.utils.data.Dataset):
    """Rows of several views, a list of tensors, with targets for ``take(rows)``."""

    def __init__(self, views, targets=None):
        self.views = views
        self.targets = targets

    def __len__(self):
        """Return the number of rows."""
        return len(self.views[0])

    def __getitem__(self, rows):
        """Return views and targets of several rows."""
        targets = None if self.targets is None else self.targets.take(rows)
        return [Z[rows] for Z in self.views], targets


class Batches:
    """Shuffled batches of about equal size, none of which has a single row.

    They have at most `batch_size` rows, or 3 where batches of 2 would leave one over.
    """

    def __init__(self, dataset, batch_size, generator):
        self.dataset = dataset
        self.generator = generator
        n_samples = len(dataset)
        self.n_batches = max(1, min(math.ceil(n_samples / batch_size), n_samples // 2))

    def __iter__(self):
        """Yield views and targets."""
        if self.n_batches == 1:
            yield self.dataset[:]
            return
        order = torch.randperm(
            len(self.dataset), generator=self.generator, device=self.generator.device
        )
        device = self.dataset.views[0].device
        for rows in order.to(device).tensor_split(self.n_batches):
            yield self.dataset[rows]


class LossNet(NeuralNet):
    """skorch's net with ``loss(network, output, targets, views)`` of a batch."""

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
    """A callback raises it to end the training early."""


class SklearnCallbacks(Callback):
    """Calls scikit-learn's callbacks in each epoch, and may end training early.

    It raises `StopTraining` because skorch's own signal, a KeyboardInterrupt, would not
    differ from an interrupt by the user.

    Parameters
    ----------
    task : FitTask
    fitted_attributes : callable
        Returns the attributes of the estimator as fitted so far.
    monitor : callable, optional
        Maps the network after each epoch to whether to stop.
    """

    def __init__(self, task, fitted_attributes, monitor=None):
        self.task = task
        self.fitted_attributes = fitted_attributes
        self.monitor = monitor

    def on_epoch_begin(self, net, **kwargs):
        """Begin the subtask of an epoch."""
        self.epoch = self.task.context.subcontext(task_name="epoch")
        self.task.begin(self.epoch)

    def on_epoch_end(self, net, **kwargs):
        """Check the loss, end the subtask, and stop if a callback or monitor asks."""
        loss = net.history[-1, "train_loss"]
        if not math.isfinite(loss):
            raise ValueError(
                f"The loss is {loss} in epoch {len(net.history)}: try a smaller lr."
            )
        stop = self.task.end(self.epoch, self.fitted_attributes)
        if self.monitor is not None:
            stop |= self.monitor(net.module_)
        if stop:
            raise StopTraining


class EarlyStopping:
    """A monitor that keeps the weights of the best epoch, and stops long after it.

    Parameters
    ----------
    score : callable
        Maps the network, in inference mode, to a number that is larger the better.

    Attributes
    ----------
    scores : list of float
        Score after each epoch.
    """

    def __init__(self, score):
        self.score = score
        self.scores = []
        self.best = None

    def __call__(self, network):
        """Score a network, keep its weights if best, and return whether to stop."""
        with torch.inference_mode():
            self.scores.append(float(self.score(network)))
        latest = len(self.scores) - 1
        best = max(range(latest + 1), key=self.scores.__getitem__)
        if best == latest:
            weights = network.state_dict()
            self.best = {name: value.clone() for name, value in weights.items()}
        return latest - best >= _PATIENCE

    def restore(self, network):
        """Give a network the weights of its best epoch."""
        network.load_state_dict(self.best)


def warm_up_and_cosine(step, n_steps):
    """Return the factor of the learning rate: a linear rise, then half a cosine."""
    n_rising = max(1, round(_WARM_UP * n_steps))
    if step < n_rising:
        return (step + 1) / (n_rising + 1)
    n_falling = max(1, n_steps - n_rising)
    return (1 + math.cos(math.pi * (step - n_rising) / n_falling)) / 2


def train(
    network,
    dataset,
    loss,
    *,
    max_epochs,
    lr,
    batch_size,
    generator,
    sklearn_callbacks,
    weight_decay=_WEIGHT_DECAY,
    lr_factor=warm_up_and_cosine,
):
    """Train a network and return the history; AdamW with `weight_decay` 0 is Adam.

    Parameters
    ----------
    network : torch.nn.Module
        Maps the list of views of a batch to its output.
    dataset : ViewDataset
    loss : callable
        Maps the network, its output, the targets and the views of a batch to a scalar.
    max_epochs, lr, batch_size : number
    generator : torch.Generator
        It shuffles the rows.
    sklearn_callbacks : SklearnCallbacks
    weight_decay : float
    lr_factor : callable or None
        Maps ``(step, n_steps)`` to the factor of `lr`; None keeps the rate constant.
    """
    callbacks = [sklearn_callbacks]
    if lr_factor is not None:
        n_steps = max_epochs * Batches(dataset, batch_size, generator).n_batches
        policy = torch.optim.lr_scheduler.LambdaLR
        factor = partial(lr_factor, n_steps=n_steps)
        callbacks.insert(0, LRScheduler(policy, lr_lambda=factor, step_every="batch"))
    net = LossNet(
        network,
        loss=loss,
        optimizer=torch.optim.AdamW,
        # A fused optimiser keeps its state on the device of the parameters, even if
        # torch's default device is another one.
        optimizer__fused=True,
        optimizer__weight_decay=weight_decay,
        lr=lr,
        max_epochs=max_epochs,
        batch_size=batch_size,
        iterator_train=Batches,
        iterator_train__generator=generator,
        train_split=None,
        device=dataset.views[0].device,
        callbacks=callbacks,
    )
    net.initialize()
    net.notify("on_train_begin", X=dataset, y=None)
    with torch.enable_grad(), suppress(StopTraining):
        # Unlike fit, fit_loop does not swallow a KeyboardInterrupt.
        net.fit_loop(dataset)
    if not all(weight.isfinite().all() for weight in network.parameters()):
        raise ValueError(
            f"Weights are not finite after epoch {len(net.history)}: try a smaller lr."
        )
    return net.history

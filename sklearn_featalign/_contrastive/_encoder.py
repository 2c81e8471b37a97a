"""Contrastive encoders: features of rows that two views of a row have in common."""

import warnings
from contextlib import nullcontext
from functools import partial
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from torch.nn.functional import normalize

from sklearn_featalign._base import BaseAligner
from sklearn_featalign._callbacks import FitTask
from sklearn_featalign._contrastive._losses import Loss
from sklearn_featalign._contrastive._network import (
    MLP,
    ContrastiveNetwork,
    build_module,
    check_outputs,
    load_encoder,
    seeded,
)
from sklearn_featalign._mlp import check_hidden_layer_sizes
from sklearn_featalign._standardize import ZScore, fit_zscore, standardize
from sklearn_featalign._torch import (
    feature_attributes,
    in_plain_torch,
    set_fitted,
    to_numpy,
    to_torch,
    torch_generator,
    with_smaller_batches,
)
from sklearn_featalign._training import (
    EarlyStopping,
    SklearnCallbacks,
    ViewDataset,
    train,
)
from sklearn_featalign._view_rows import load_rows

# Noise of the z-scores that makes the second view of a single one.
_INPUT_NOISE = 0.5

# What lambda_="auto" stands for.
_LAMBDA = {"l2": 3.0, "alignment_uniformity": 1.0, "infonce": 0.0}

_WEIGHT_DECAY = 1e-4

# Share of the rows that early stopping holds out, and how many at most.
_HELD_OUT = 0.1
_MOST_HELD_OUT = 2048

# A module of the user is taken to compute so many numbers for each feature of a row.
_WORK_OF_MODULE = 64


class ContrastiveEncoder(CallbackSupportMixin, BaseAligner):
    r"""Encoder that is trained without labels, by pairs of views of the same row.

    All views go through one encoder: they are of the same kind, such as augmentations
    or crops of an image, and have the same width. Two views of a row are to have equal
    features, and those of different rows different ones.

    Parameters
    ----------
    n_components : int, default=32
        Number of features.

    loss : {"l2", "alignment_uniformity", "infonce"}, default="l2"
        The loss: see the Notes.

    alpha : float, default=2.0
        Power of the distance of a positive pair.

    beta : float, default=1.0
        Power of the distance of a negative pair with ``loss="l2"``.

    lambda_ : float or "auto", default="auto"
        Weight of the negatives with ``loss="l2"``, for which "auto" is 3, and of
        uniformity with "alignment_uniformity", for which it is 1 as in the paper.

    n_negatives : int or None, default=None
        Number of negatives of each row, which are drawn from the rows of its batch.
        None takes all others; with ``loss="l2"`` their mean is then what one negative
        contributes.

    margin : float or None, default=1.0
        With ``loss="l2"``, the largest distance of negatives that counts: those farther
        away are left alone. None is the published form.

    normalize : bool, default=True
        Whether features are scaled to unit length, unless there is a single one. The
        published form of ``loss="l2"`` has False.

    temperature : float, default=0.1
        Temperature of ``loss="infonce"``.

    t : float, default=2.0
        Rate of the Gaussian potential of ``loss="alignment_uniformity"``.

    encoder : callable or None, default=None
        ``encoder(n_features, n_components)`` returns the torch module that is trained:
        it maps float32 tensors of shape (n_samples, n_features) to (n_samples,
        n_components). None is a multilayer perceptron.

    hidden_layer_sizes : tuple of int, default=(256, 256)
        Widths of the hidden layers of the multilayer perceptron.

    scaling : {"view", "columns"}, default="view"
        "columns" divides each column by its own standard deviation, "view" divides all
        by the root of their mean variance. Views are scaled together, and what exceeds
        ten deviations is clipped.

    input_noise : float or "auto", default="auto"
        Standard deviation of the noise that is added to scaled rows in training.
        "auto" is 0.5 if there is a single view, whose noise makes the second one, and 0
        if there are more.

    max_epochs : int, default=50
        Number of epochs.

    lr : float, default=1e-3
        Largest learning rate of AdamW, which rises over the first tenth of the steps,
        and falls with a cosine.

    batch_size : int, default=256
        Number of rows of a training step.

    early_stopping : bool, default=False
        Whether to hold out a tenth of the rows, stop after 10 epochs without a smaller
        loss of these, and return to the best epoch.

    views : list, dict or None, default=None
        How the columns of X split into views of equal widths; see
        :class:`RBFAutoScaleAligner`. Of more than two views, each step draws two for
        each row. A row with a single view is a negative of others. None is one view.

    output : {"concat", "coalesce", "mean"}, str or int, default="concat"
        Output for several views: see :class:`RBFAutoScaleAligner`. It may be changed
        after the fit.

    device : str, default="auto"
        "cpu", "cuda" or "cuda:<index>". "auto" is the device of X if X is a CUDA
        tensor, else CUDA if there is one, else the CPU.

    random_state : int, RandomState instance or None, default=None
        Seeds weights, batches, noise, views and negatives.

    Attributes
    ----------
    loss_curve_ : ndarray of shape (n_iter_,)
        Mean loss of each epoch.
    n_iter_ : int
        Number of epochs.
    validation_scores_ : ndarray of shape (n_iter_,)
        Negative loss of the held-out rows, if there was early stopping.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Names of the columns, if X had any.

    See Also
    --------
    PoissonUniformizer : Makes the features uniform, as the document proposes.
    HalfSharedMLPAligner : One encoder for each view, of different networks.
    sklearn_featalign.metrics.alignment_loss : What positives are trained for.
    sklearn_featalign.metrics.uniformity_loss : What negatives are trained for.

    Notes
    -----
    With f the features of a row, :math:`f^+` those of another view of it, and
    :math:`f^-_i` those of M other rows, ``loss="l2"`` is the closing proposal of the
    document "Imposing uniformity through Poisson flow models":

    .. math:: E\left[\|f - f^+\|^\alpha
              - \lambda \sum_{i=1}^M \|f - f^-_i\|^\beta\right]

    which is ``ContrastiveEncoder(lambda_=1, margin=None, normalize=False)``. Features
    may then have any scale s, by which the two terms grow as :math:`s^\alpha` and
    :math:`s^\beta`. For :math:`\beta > \alpha` the loss is unbounded below: features
    grow until it overflows, which is an error. For :math:`\beta = \alpha` they grow or
    vanish by which term is larger. For :math:`\beta < \alpha` there is a best scale,
    :math:`s^{\alpha - \beta} = \lambda \beta B / (\alpha A)` with A and B the two means
    at scale 1, and with the defaults the loss at this scale is
    :math:`-\lambda^2 B^2 / (4 A)`: it depends on the ratio of the mean distance of
    different rows to the root mean square distance of pairs alone, and `lambda_` sets
    the unit of the features, no more. Rows that are far apart already gain as much as
    those that are confused. With a `margin` only the latter count, as in the loss of
    Hadsell et al. [4]_, and unit length fixes the scale that the margin refers to. Each
    bounds the loss for any powers. Both together are the default because linear
    classifiers on the features were better by 8 points of accuracy at least, on images
    of clothes and of digits and on texts, with few epochs.

    ``loss="alignment_uniformity"`` is, on the unit sphere [1]_,

    .. math:: E \|f - f^+\|^\alpha + \lambda \log E\, e^{-t \|f - f^-\|^2}

    and ``loss="infonce"`` is the cross-entropy of finding the positive among the
    negatives by cosine over a temperature [2]_, with negatives in both views [3]_.

    References
    ----------
    .. [1] Wang and Isola (2020), "Understanding contrastive representation learning
       through alignment and uniformity on the hypersphere".
    .. [2] Van den Oord, Li and Vinyals (2018), "Representation learning with
       contrastive predictive coding".
    .. [3] Chen et al. (2020), "A simple framework for contrastive learning of visual
       representations".
    .. [4] Hadsell, Chopra and LeCun (2006), "Dimensionality reduction by learning an
       invariant mapping".

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_featalign import ContrastiveEncoder
    >>> rng = np.random.default_rng(0)
    >>> Z = rng.normal(size=(300, 2))
    >>> first, second = (
    ...     np.hstack([np.sin(2 * Z), rng.normal(size=(300, 4))]) for _ in range(2)
    ... )
    >>> X = np.hstack([first, second])
    >>> encoder = ContrastiveEncoder(
    ...     4, views=[6, 6], hidden_layer_sizes=(32,), output=0, random_state=0
    ... )
    >>> encoder.fit_transform(X).shape
    (300, 4)
    """

    _parameter_constraints = {
        **BaseAligner._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "loss": [StrOptions({"l2", "alignment_uniformity", "infonce"})],
        "alpha": [Interval(Real, 0, None, closed="neither")],
        "beta": [Interval(Real, 0, None, closed="neither")],
        "lambda_": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "n_negatives": [None, Interval(Integral, 1, None, closed="left")],
        "margin": [None, Interval(Real, 0, None, closed="neither")],
        "normalize": ["boolean"],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "t": [Interval(Real, 0, None, closed="neither")],
        "encoder": [None, callable],
        "hidden_layer_sizes": ["array-like"],
        "scaling": [StrOptions({"view", "columns"})],
        "input_noise": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "early_stopping": ["boolean"],
    }

    def __init__(
        self,
        n_components=32,
        *,
        loss="l2",
        alpha=2.0,
        beta=1.0,
        lambda_="auto",
        n_negatives=None,
        margin=1.0,
        normalize=True,
        temperature=0.1,
        t=2.0,
        encoder=None,
        hidden_layer_sizes=(256, 256),
        scaling="view",
        input_noise="auto",
        max_epochs=50,
        lr=1e-3,
        batch_size=256,
        early_stopping=False,
        views=None,
        output="concat",
        device="auto",
        random_state=None,
    ):
        self.n_components = n_components
        self.loss = loss
        self.alpha = alpha
        self.beta = beta
        self.lambda_ = lambda_
        self.n_negatives = n_negatives
        self.margin = margin
        self.normalize = normalize
        self.temperature = temperature
        self.t = t
        self.encoder = encoder
        self.hidden_layer_sizes = hidden_layer_sizes
        self.scaling = scaling
        self.input_noise = input_noise
        self.max_epochs = max_epochs
        self.lr = lr
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.views = views
        self.output = output
        self.device = device
        self.random_state = random_state

    @in_plain_torch
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Train the encoder.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features)
            Training rows, of which at least two differ and two have every view.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted encoder.

        Raises
        ------
        ValueError
            If views differ in width, if all rows are equal, if fewer than two rows have
            every view, if a single view has no noise, if the encoder's output has
            another width, if the loss or the weights become infinite or NaN, or if the
            device is not available.
        TypeError
            If `encoder` does not return a module.

        Warns
        -----
        UserWarning
            If the loss is unbounded below.
        """
        task = FitTask(self, X, y, max_subtasks=self.max_epochs)
        training = self._split_training(X, sum(self._widths(0)))
        self._check_setting(training.columns)
        zscore = self._fit_zscore(training.views.values())
        rows = load_rows(training, dict.fromkeys(training.columns, zscore))
        for Z, present in zip(rows.Z, rows.present.T, strict=True):
            Z[~present] = torch.nan
        random_state = check_random_state(self.random_state)
        rows, held_out = self._hold_out(rows, random_state)
        device = rows.Z[0].device
        with self._seeded_module(random_state, device):
            network = self._make_network(rows, random_state)
            state = partial(self._fitted_attributes, X, training, zscore, network)
            monitor = self._make_monitor(held_out, random_state)
            callbacks = SklearnCallbacks(task, state, monitor)
            losses = self._train(network, rows, callbacks, random_state)
        if monitor is not None:
            monitor.restore(network)
        fitted = state()
        task.finish(fitted)
        fitted |= {"loss_curve_": losses, "n_iter_": len(losses)}
        if monitor is not None:
            fitted["validation_scores_"] = np.array(monitor.scores)
        set_fitted(self, fitted, optional=("validation_scores_",))
        return self

    def __sklearn_is_fitted__(self):
        """Return whether there is a fit, which `lambda_` would seem to tell."""
        return hasattr(self, "_state")

    def _widths(self, n_features):
        return [n_features, *self.hidden_layer_sizes, self.n_components]

    @property
    def _is_normalized(self):
        # Of a single feature only the sign would be left.
        return bool(self.normalize) and self.n_components > 1

    @property
    def _noise(self):
        if self.input_noise != "auto":
            return float(self.input_noise)
        n_views = 1 if self.views is None else len(self.views)
        return _INPUT_NOISE if n_views == 1 else 0.0

    def _check_setting(self, columns):
        """Raise an error unless parameters go together with the columns of views."""
        check_hidden_layer_sizes(self.hidden_layer_sizes)
        widths = {name: len(indices) for name, indices in columns.items()}
        if len(set(widths.values())) > 1:
            raise ValueError(
                "One encoder serves all views, which must have equal widths, got "
                f"{widths}. HalfSharedMLPAligner has an encoder for each view."
            )
        if len(widths) == 1 and not self._noise:
            raise ValueError(
                "A single view needs input_noise of more than 0, which makes the "
                "second view of a row."
            )
        is_bounded = self._is_normalized or self.margin is not None
        if self.loss == "l2" and self.beta >= self.alpha and not is_bounded:
            warnings.warn(
                f"With beta={self.beta} of at least alpha={self.alpha} the loss is "
                "unbounded below, and features may grow without end: set margin or "
                "normalize=True.",
                UserWarning,
                stacklevel=2,
            )

    def _fit_zscore(self, views):
        """Return the `ZScore` of all views together."""
        views = list(views)
        joined = JoinedRows(views)
        return with_smaller_batches(fit_zscore, joined, len(joined), self.scaling)

    def _hold_out(self, rows, random_state):
        """Return the rows to train on, and those of early stopping or None."""
        if not self.early_stopping:
            return rows, None
        n = len(rows.where)
        n_held = min(max(2, round(_HELD_OUT * n)), _MOST_HELD_OUT)
        if n < n_held + 2:
            raise ValueError(
                f"early_stopping=True holds out {n_held} of {n} rows, which leaves too "
                "few."
            )
        held, rest = np.split(random_state.permutation(n), [n_held])
        return rows.take(np.sort(rest)), rows.take(held)

    def _seeded_module(self, random_state, device):
        """Return the context in which a module of the user draws its numbers."""
        if self.encoder is None:
            return nullcontext()
        return seeded(int(random_state.randint(2**31 - 1)), device)

    def _make_network(self, rows, random_state):
        n_features, device = rows.Z[0].shape[1], rows.Z[0].device
        if self.encoder is None:
            encoder = MLP(self._widths(n_features), torch_generator(random_state))
        else:
            encoder = build_module(self.encoder, n_features, self.n_components)
            encoder = encoder.to(device)
            check_outputs(encoder, n_features, self.n_components, device)
        generator = torch_generator(random_state, device)
        return ContrastiveNetwork(encoder, self._noise, generator)

    @property
    def _loss(self):
        return Loss(
            self.loss,
            float(self.alpha),
            float(self.beta),
            _LAMBDA[self.loss] if self.lambda_ == "auto" else float(self.lambda_),
            None if self.margin is None else float(self.margin),
            float(self.temperature),
            float(self.t),
            self.n_negatives,
            self._is_normalized,
        )

    def _make_monitor(self, held_out, random_state):
        """Return the monitor of early stopping, or None."""
        if held_out is None:
            return None
        seed = int(random_state.randint(2**31 - 1))
        return EarlyStopping(
            partial(held_out_score, views=held_out.Z, loss=self._loss, seed=seed)
        )

    def _train(self, network, rows, callbacks, random_state):
        """Train the network and return the mean loss of each epoch."""
        loss = self._loss
        history = train(
            network,
            ViewDataset(rows.Z),
            lambda network, output, *_: loss(*output, network.generator),
            max_epochs=self.max_epochs,
            lr=float(self.lr),
            batch_size=self.batch_size,
            generator=torch_generator(random_state),
            sklearn_callbacks=callbacks,
            weight_decay=_WEIGHT_DECAY,
        )
        return np.array(history[:, "train_loss"])

    def _fitted_attributes(self, X, training, zscore, network):
        """Return the fitted attributes that transform needs."""
        state = {
            "zscore": zscore,
            "weights": dict(network.encoder.state_dict()),
            "is_normalized": self._is_normalized,
            "n_components": self.n_components,
        }
        fitted = {"_state": to_numpy(state), "_factory": self.encoder}
        return fitted | {"view_columns_": training.columns} | feature_attributes(X)

    def _load_view(self, name, rows):
        state = self._state
        encoder, dtype = load_encoder(
            to_torch(state["weights"], rows.device),
            self._factory,
            rows.X.shape[1],
            state["n_components"],
            rows.device,
        )
        return partial(
            encoded_features,
            zscore=ZScore(**to_torch(state["zscore"], rows.device, torch.float64)),
            encoder=encoder,
            dtype=dtype,
            is_normalized=state["is_normalized"],
        )

    # Features that are not scaled to unit length have a scale of their own.
    _metric = "euclidean"

    # The parameter `batch_size` is about training steps only.
    _row_batch_size = "auto"

    @property
    def _n_work_columns(self):
        if self._factory is not None:
            n_features = len(next(iter(self.view_columns_.values())))
            return _WORK_OF_MODULE * n_features
        weights = self._state["weights"].items()
        return sum(len(weight) for name, weight in weights if "weight" in name)

    @property
    def _view_feature_names(self):
        return [f"contrastive{i}" for i in range(self._state["n_components"])]


class JoinedRows(list):
    """The `Rows` of several views one after the other, as batches of one width."""

    def __iter__(self):
        """Yield the batches of each view."""
        for rows in super().__iter__():
            yield from rows

    def __len__(self):
        """Return the number of rows of all views."""
        return sum(len(rows) for rows in super().__iter__())

    @property
    def batch_size(self):
        """The largest number of rows in a batch."""
        return max(rows.batch_size for rows in super().__iter__())

    @property
    def kept_bytes(self):
        """Nothing is kept."""
        return 0

    def in_smaller_batches(self):
        """Return the same rows in batches of half the size."""
        return JoinedRows(rows.in_smaller_batches() for rows in super().__iter__())


def held_out_score(network, views, loss, seed):
    """Return the negative loss of held-out rows, with the same noise in each epoch."""
    generator = network.generator
    device = views[0].device
    network.generator = torch.Generator(device).manual_seed(seed)
    is_training = network.training
    try:
        output = network.eval()(views)
        return -float(loss(*output, network.generator))
    finally:
        network.generator = generator
        network.train(is_training)


def encoded_features(X, zscore, encoder, dtype, is_normalized):
    """Return the features of rows of a view."""
    F = encoder(standardize(X.to(torch.float64), zscore).to(dtype))
    return normalize(F) if is_normalized else F

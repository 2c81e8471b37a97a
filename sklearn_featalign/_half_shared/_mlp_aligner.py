"""Half-shared networks: an encoder for each view, and one linear head for all views."""

from functools import partial
from math import ceil
from numbers import Integral, Real
from types import SimpleNamespace

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_featalign._base import BaseAligner, has_pairs
from sklearn_featalign._callbacks import FitTask
from sklearn_featalign._half_shared._cca import (
    RidgeCCA,
    fit_start,
    pairwise_mrr,
    weighted,
)
from sklearn_featalign._half_shared._kernel_inputs import (
    fit_all_inputs,
    fit_kernel_start,
    kernel_rows,
    load_kernel_inputs,
)
from sklearn_featalign._half_shared._losses import Targets, half_shared_loss
from sklearn_featalign._half_shared._network import HalfSharedNetwork, head_weights
from sklearn_featalign._half_shared._targets import (
    ROW_IS_CLASS,
    TARGETS,
    check_target,
    make_target,
)
from sklearn_featalign._kernels._hubness import (
    N_REFERENCES,
    fit_references,
    load_hub_columns,
)
from sklearn_featalign._linalg import Affine, unit_projection, unit_rows
from sklearn_featalign._mlp import (
    check_hidden_layer_sizes,
    detached,
    encode,
    encoder_weights,
    encoder_widths,
)
from sklearn_featalign._standardize import ZScore, fit_zscore, standardize
from sklearn_featalign._torch import (
    feature_attributes,
    in_plain_torch,
    set_fitted,
    to_labels,
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

# What "auto" stands for, by `init`: the document's values and the recommended ones.
_AUTO = {
    "hidden_layer_sizes": {None: (32, 32), "rcca": (256, 256), "gcca": ()},
    "scaling": {None: "columns", "rcca": "view", "gcca": "view"},
    "affinity_weight": {None: 1.0, "rcca": 100.0, "gcca": 10.0},
    "contrastive_weight": {None: 0.0, "rcca": 1.0, "gcca": 1.0},
    "finish": {None: None, "rcca": "rcca", "gcca": None},
    "input_noise": {None: 0.0, "rcca": 0.5, "gcca": 0.3},
    "max_epochs": {None: 300, "rcca": 60, "gcca": 30},
    "lr": {None: 0.01, "rcca": 6e-4, "gcca": 2e-3},
    "hub_neighbors": {None: 0, "rcca": 0, "gcca": 10},
}
_IS_AUTO = StrOptions({"auto"})

# Parameters that need pairs, hence two views.
_NEED_PAIRS = (
    "init",
    "finish",
    "pull_weight",
    "contrastive_weight",
    "early_stopping",
    "hub_neighbors",
)

# Ridges that ridge="auto" chooses from.
_RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0)

# What ridge="auto" is with init="gcca": the default of `KernelGCCAAligner`.
_KERNEL_RIDGE = 0.1

# Ridge of the finish, and exponent of the correlations as weights of its components.
_FINISH_RIDGE = 0.3
_FINISH_POWER = 2

# batch_size=None is this multiple of the square root of the number of rows.
_BATCH_ROOTS = 8

# Share of the trained weights in those of the encoders with init="gcca"; the rest is
# that of the start.
_TRAINED_SHARE = 0.7

# Share of the paired rows that early stopping holds out.
_HELD_OUT = 0.1


class HalfSharedMLPAligner(CallbackSupportMixin, BaseAligner):
    r"""An encoder for each view, and one linear head shared by all views.

    Paired rows of several networks are mapped into one space: each view has a small
    network of its own, and one linear head predicts the same target from the features
    of every view. The aligned features are the inputs of the head.

    The defaults are the method of the feature-alignment document. For real features
    ``HalfSharedMLPAligner(512, init="gcca", views=[...])`` is recommended, which starts
    from :class:`KernelGCCAAligner` and trains it further. "auto" stands for the values
    of the document, or for those that suit `init`.

    Parameters
    ----------
    n_components : int, default=32
        Number of features of each view, besides a column for hubness.

    hidden_layer_sizes : sequence of int or "auto", default="auto"
        Widths of the hidden layers of each encoder, with GELU after each; ``()`` is a
        linear map. "auto" is (32, 32), (256, 256) with ``init="rcca"``, or () with
        ``init="gcca"``, where the map is one of kernel features.

    scaling : {"auto", "columns", "view"}, default="auto"
        Whether centred rows are divided by the standard deviation of each column or by
        the root mean variance of all columns of a view, which suits networks, whose
        features share a unit. Either way they are clipped to 10 deviations. "auto" is
        "columns", or "view" with an `init`.

    target : str, default="index"
        Target Z that the head predicts for a row: "index", its position, so that each
        row is a class of its own; "permutation", the positions shuffled; "random", one
        of `n_classes` drawn at random; "y", the argument y. Beyond the document:
        "joint_pca", the principal components of all views side by side (needs
        ``loss="mse"``); "cluster", the k-means cluster of these, of `n_classes` (needs
        ``loss="cross_entropy"``).

    n_classes : int, default=10
        Number of classes of the targets "random" and "cluster".

    loss : {"cross_entropy", "mse"}, default="cross_entropy"
        "cross_entropy" treats Z as a class, "mse" as a number (standardised). If each
        row is a class of its own, the cross-entropy is over the classes of the batch,
        so that its cost does not grow with the number of rows.

    affinity_weight : float or "auto", default="auto"
        Weight of the regulariser that preserves the affinities within each view; see
        the Notes. "auto" is 1, 100 with ``init="rcca"``, or 10
        with ``init="gcca"``.

    pull_weight : float, default=0.0
        Weight of the mean squared difference between the features of a pair; not in the
        document. With ``init=None`` it affects retrieval more than the choice of Z.

    contrastive_weight : float or "auto", default="auto"
        Weight of the cross-entropy of finding pairs in a batch by cosine (InfoNCE [3]_)
        with a learned scale; not in the document. "auto" is 0, or 1 with
        an `init`.

    init : {"gcca", "rcca"} or None, default=None
        The closed form that training starts from. It adds a linear map to each encoder,
        which starts there; features have unit length, and the head compares them by
        cosine with classes that start at the sum of their features. It needs two views
        or more. "gcca" is ``KernelGCCAAligner(linear=0.7, power=4, hub_neighbors=0)``
        with `n_components` and `ridge`, whose kernel features are the inputs of the
        encoders; the weights in the end are 0.7 of the trained ones plus 0.3 of those
        of the start. "rcca" is regularised canonical correlation analysis of the paired
        rows, with components weighted by their correlation.

    ridge : float or "auto", default="auto"
        Regularisation of the closed form. With ``init="gcca"`` it is that of
        :class:`KernelGCCAAligner`, and "auto" is 0.1. With ``init="rcca"`` it is in
        multiples of the mean variance of a column, and "auto" is the one of 0.03, 0.1,
        0.3, 1 and 3 with the best retrieval (mean reciprocal rank) of a fifth of the
        pairs, held out; with fewer than 10 pairs it is 1.

    finish : {"auto", "rcca"} or None, default="auto"
        "rcca" ends with the same closed form for the trained features of paired rows,
        with a ridge of 0.3 and components weighted by their squared correlation. It
        needs two views or more. "auto" is None, or "rcca" with ``init="rcca"``; after
        ``init="gcca"`` it makes retrieval worse.

    hub_neighbors : int or "auto", default="auto"
        Number of training rows of the other views that measure the hubness of a row,
        as in :class:`KernelGCCAAligner`. It adds a column, for comparisons by dot
        product: pass ``metric="dot"`` to :mod:`sklearn_featalign.metrics`. It needs
        rows of unit length, from an `init` or the finish. "auto" is 0, which adds none
        and is what comparisons within a view need, or 10 with ``init="gcca"``.

    input_noise : float or "auto", default="auto"
        Standard deviation of the noise added to the inputs of encoders in each training
        step: to scaled rows, or to kernel features of unit mean square with
        ``init="gcca"``. "auto" is 0, 0.5 with ``init="rcca"``, or 0.3 with
        ``init="gcca"``.

    max_epochs : int or "auto", default="auto"
        Passes over the rows. The learning rate rises over the first tenth of the steps
        and then falls to zero as a cosine. "auto" is 300, 60 with ``init="rcca"``,
        or 30 with ``init="gcca"``.

    lr : float or "auto", default="auto"
        Peak rate of AdamW (weight decay 0.3). "auto" is 0.01, 6e-4 with
        ``init="rcca"``, or 2e-3 with ``init="gcca"``.

    batch_size : int or None, default=None
        Largest number of rows in a training step. None is 8 times the square root of
        the number of rows. It does not affect transform.

    early_stopping : bool, default=False
        Whether to hold out a tenth of the paired rows, stop after 10 epochs without
        better retrieval of these (mean reciprocal rank, cosine), and return to the best
        epoch. With ``init="gcca"`` the start counts as an epoch: without the column for
        hubness the result is never worse on these rows than the closed form of the
        others. Retrieval is monitored, not the loss: with one class per row the head
        has never seen the classes of held-out rows.

    warm_start : bool, default=False
        Whether fit continues from the weights and scaling of the previous fit, and from
        its head if the targets are the same; the ridge is kept, and the optimiser
        starts anew. With
        `early_stopping` an integer `random_state` keeps the same rows held out.

    views : list, dict or None, default=None
        How the columns of X split into views; see :class:`RBFAutoScaleAligner`. Rows
        that lack a view train the others; at least two rows must have every view. None
        is one view without missing values.

    output : {"concat", "coalesce", "mean"}, str or int, default="concat"
        How features of several views are returned; see :class:`RBFAutoScaleAligner`.

    device : str, default="auto"
        "cpu", "cuda" or "cuda:<index>". "auto" is the device of X if X is a CUDA
        tensor, else CUDA if available, else the CPU. It is resolved at each call.

    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights, batches, noise, random targets and held-out rows.

    Attributes
    ----------
    loss_curve_ : ndarray of shape (n_iter_,)
        Mean training loss of each epoch.

    n_iter_ : int
        Number of epochs, including those of earlier fits with `warm_start`.

    validation_scores_ : ndarray of shape (n_epochs,)
        Mean reciprocal rank of the held-out pairs after each epoch of the latest fit.
        With ``init="gcca"`` that of the start comes before them. Only with
        `early_stopping`.

    ridge_ : float
        Ridge of the start. Only with an `init`.

    view_columns_ : dict of str to ndarray of int of shape (n_encoded_features,)
        Columns of X that each view has, by name.

    n_features_in_ : int
        Number of features seen during :term:`fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen during :term:`fit`. Defined only when X has feature names
        that are all strings.

    See Also
    --------
    KernelGCCAAligner : Retrieval between networks without training.
    RBFAutoScaleAligner : Fits each view by itself.

    Notes
    -----
    **What is trained.** With encoders :math:`h_v` and a shared linear map W, the loss
    is the mean over views of

    .. math:: \ell(W h_v(x), z) + \lambda \, \frac{1}{n^2} \sum_{ij}
              \bigl(A_{ij}(h_v(X)) - A_{ij}(X)\bigr)^2, \qquad
              A_{ij}(X) = e^{-\|x_i - x_j\|^2 / (2 \sum_k \mathrm{var}(X_k))}

    over the rows of a batch: "Alignment Methods 2: training MLP" of the document
    "Feature Alignment". Unlike in the author's script, all views train at once, and no
    GELU precedes the head. With an
    `init` the affinities to preserve are those of the closed form, in rows of unit
    length: of the start with "gcca"; with "rcca" of ``2 * n_components`` components,
    weighted by their squared correlation.

    **The closed forms.** "gcca" is described at :class:`KernelGCCAAligner`. At most
    1000 of the pairs are landmarks, and the kernel features of all rows are kept in
    memory during the fit. "rcca" is, with the covariances :math:`C_{uv}` and a ridge,
    :math:`\sum_{v \ne u} C_{uv} a_v = \lambda (C_{uu} + \rho \bar\lambda_u I) a_u`. For
    two views this is canonical correlation analysis (Vinod 1976 [1]_), for more the sum
    of correlations under one constraint (Kettenring 1971 [2]_).

    **What matters, measured in the documentation.** On real features, training from a
    random start stays far behind the closed form. Without the affinity term classifiers
    lose a point or two. Between two networks the gain comes from the linear map; the
    layers beside it matter between a network and pixels.

    **Comparing rows.** `score` uses the Euclidean distance, as the affinities do. For
    rows of unit length (`init` or `finish`) the cosine gives the same order. With
    `hub_neighbors` it uses the dot product: the hubness of a row is its mean similarity
    to the nearest of up to 10,000 training rows of the other views, and enters as at
    :class:`KernelGCCAAligner`, though the network has been trained on these rows.

    Training is in float32; scaling, the closed forms and transform are in float64. A
    refit with the same integer `random_state` is bit-equal on one machine and number of
    threads. Callbacks of scikit-learn are called after each epoch and may stop the
    training; skorch runs the epochs. The fitted aligner holds only arrays.

    References
    ----------
    .. [1] Vinod (1976), "Canonical ridge and econometrics of joint production".
    .. [2] Kettenring (1971), "Canonical analysis of several sets of variables".
    .. [3] van den Oord, Li and Vinyals (2018), "Representation learning with
       contrastive predictive coding".

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_featalign import HalfSharedMLPAligner
    >>> rng = np.random.default_rng(0)
    >>> Z = rng.normal(size=(400, 4))
    >>> X = np.tanh(Z @ rng.normal(size=(4, 20)))
    >>> Y = np.tanh(Z @ rng.normal(size=(4, 30)))
    >>> aligner = HalfSharedMLPAligner(8, init="rcca", views=[20, 30], random_state=0)
    >>> aligner.fit(np.hstack([X, Y])[:300]).n_iter_
    60
    >>> aligner.transform(np.hstack([X, Y])[300:]).shape
    (100, 16)
    >>> aligner.score(np.hstack([X, Y])[300:]) > 0.9
    True
    """

    _parameter_constraints = {
        **BaseAligner._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "hidden_layer_sizes": [_IS_AUTO, "array-like"],
        "scaling": [StrOptions({"auto", "columns", "view"})],
        "target": [StrOptions(set(TARGETS))],
        "n_classes": [Interval(Integral, 2, None, closed="left")],
        "loss": [StrOptions({"cross_entropy", "mse"})],
        "affinity_weight": [_IS_AUTO, Interval(Real, 0, None, closed="left")],
        "pull_weight": [Interval(Real, 0, None, closed="left")],
        "contrastive_weight": [_IS_AUTO, Interval(Real, 0, None, closed="left")],
        "init": [None, StrOptions({"rcca", "gcca"})],
        "ridge": [_IS_AUTO, Interval(Real, 0, None, closed="neither")],
        "finish": [None, StrOptions({"auto", "rcca"})],
        "hub_neighbors": [_IS_AUTO, Interval(Integral, 0, None, closed="left")],
        "input_noise": [_IS_AUTO, Interval(Real, 0, None, closed="left")],
        "max_epochs": [_IS_AUTO, Interval(Integral, 1, None, closed="left")],
        "lr": [_IS_AUTO, Interval(Real, 0, None, closed="neither")],
        "batch_size": [None, Interval(Integral, 2, None, closed="left")],
        "early_stopping": ["boolean"],
        "warm_start": ["boolean"],
    }

    def __init__(
        self,
        n_components=32,
        *,
        hidden_layer_sizes="auto",
        scaling="auto",
        target="index",
        n_classes=10,
        loss="cross_entropy",
        affinity_weight="auto",
        pull_weight=0.0,
        contrastive_weight="auto",
        init=None,
        ridge="auto",
        finish="auto",
        hub_neighbors="auto",
        input_noise="auto",
        max_epochs="auto",
        lr="auto",
        batch_size=None,
        early_stopping=False,
        warm_start=False,
        views=None,
        output="concat",
        device="auto",
        random_state=None,
    ):
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.scaling = scaling
        self.target = target
        self.n_classes = n_classes
        self.loss = loss
        self.affinity_weight = affinity_weight
        self.pull_weight = pull_weight
        self.contrastive_weight = contrastive_weight
        self.init = init
        self.ridge = ridge
        self.finish = finish
        self.hub_neighbors = hub_neighbors
        self.input_noise = input_noise
        self.max_epochs = max_epochs
        self.lr = lr
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.warm_start = warm_start
        self.views = views
        self.output = output
        self.device = device
        self.random_state = random_state

    @in_plain_torch
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Train the encoders of all views.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features)
            Training rows, of which at least two differ.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Labels or numbers for ``target="y"``; ignored otherwise.

        Returns
        -------
        self : object
            The fitted aligner.

        Raises
        ------
        ValueError
            If all rows of a view are equal, if fewer than two rows have every view, if
            target and loss are incompatible, if y is missing or has one class, if a
            parameter needs two views and there is one, if the loss or the weights
            become infinite or NaN, or if the device is not available.
        """
        self._check_setting()
        check_target(self.target, self.loss, y)
        task = FitTask(self, X, y, max_subtasks=self._setting.max_epochs)
        training = self._split_training(X, sum(self._widths(0)))
        previous = self._previous_states(X, training)
        random_state = check_random_state(self.random_state)
        zscores = self._fit_zscores(training, previous)
        scaled, held_out = self._hold_out(load_rows(training, zscores), random_state)
        inputs = self._fit_inputs(scaled, previous, random_state)
        rows = kernel_rows(scaled, inputs)
        start = self._fit_start(rows, inputs, previous, random_state)
        targets = self._make_targets(scaled, start, X, y, random_state)
        network = self._make_network(rows, targets, start, previous, random_state)
        fitted_attributes = partial(
            self._fitted_attributes, X, training, zscores, inputs, rows, network
        )
        monitor = self._make_monitor(held_out, inputs, network)
        callbacks = SklearnCallbacks(task, fitted_attributes, monitor)
        losses = self._train(network, rows, targets, callbacks, random_state)
        if previous:
            losses = np.append(self.loss_curve_, losses)
        if monitor is not None:
            monitor.restore(network)
        fitted = fitted_attributes()
        task.finish(fitted)
        fitted |= {"loss_curve_": losses, "n_iter_": len(losses)}
        fitted["_head"] = self._head_to_keep(network, targets)
        if start is not None:
            fitted["ridge_"] = start.ridge
        if monitor is not None:
            fitted["validation_scores_"] = np.array(monitor.scores)
        set_fitted(self, fitted, optional=("ridge_", "validation_scores_"))
        return self

    @property
    def _setting(self):
        """The parameters, with the values of `_AUTO` in place of "auto"."""
        params = self.get_params(deep=False)
        for name, values in _AUTO.items():
            if isinstance(params[name], str) and params[name] == "auto":
                params[name] = values[self.init]
        return SimpleNamespace(**params)

    def _widths(self, n_features):
        return [n_features, *self._setting.hidden_layer_sizes, self.n_components]

    def _check_setting(self):
        """Raise an error unless the parameters go together."""
        setting = self._setting
        check_hidden_layer_sizes(setting.hidden_layer_sizes)
        if self.n_components < 2 and (self.init or setting.finish):
            raise ValueError(
                "init and finish scale rows to unit length, which needs n_components "
                "of at least 2, got 1."
            )
        if setting.hub_neighbors and not (self.init or setting.finish):
            raise ValueError(
                f"hub_neighbors={self.hub_neighbors!r} needs rows of unit length: set "
                "init or finish."
            )
        if has_pairs(self):
            return
        for name in _NEED_PAIRS:
            value = getattr(setting, name)
            if value:
                raise ValueError(
                    f"{name}={value!r} uses pairs and needs two views or more: see the "
                    "parameter views."
                )

    def _previous_states(self, X, training):
        """Return the states that a warm start continues from, or None.

        They are in the order of the views now.
        """
        if not (self.warm_start and hasattr(self, "_states")):
            return None
        now = {
            name: (len(columns), self._widths(0)[1:], self.init)
            for name, columns in training.columns.items()
        }
        before = {
            name: (
                len(state["zscore"]["mean"]),
                encoder_widths(state["encoder"])[1:],
                self._fitted_init(state),
            )
            for name, state in self._states.items()
        }
        if now != before or not self._has_same_columns(X, training.columns):
            raise ValueError(
                "warm_start=True goes on from the previous fit, whose views, columns, "
                "n_components, hidden_layer_sizes or init were different."
            )
        return {name: self._states[name] for name in training.columns}

    def _fitted_init(self, state):
        """Return `init` of the fit with the state of a view."""
        if state.get("inputs") is not None:
            return "gcca"
        return "rcca" if "skip" in state["encoder"] else None

    def _fit_zscores(self, training, previous):
        zscores, scaling = {}, self._setting.scaling
        for name, rows in training.views.items():
            with self._errors_of_view(name):
                if previous:
                    state = to_torch(previous[name]["zscore"], rows.device)
                    zscore = ZScore(**state)
                else:
                    zscore = with_smaller_batches(fit_zscore, rows, len(rows), scaling)
            zscores[name] = zscore
        return zscores

    def _hold_out(self, rows, random_state):
        """Return the rows to train on, and those of early stopping or None."""
        if not self.early_stopping:
            return rows, None
        paired = rows.paired.cpu().numpy()
        n_held = max(2, round(_HELD_OUT * len(paired)))
        if len(paired) < n_held + 2:
            raise ValueError(
                f"early_stopping=True holds out {n_held} of {len(paired)} rows with "
                "every view, which leaves too few."
            )
        held = random_state.permutation(paired)[:n_held]
        rest = np.setdiff1d(np.arange(len(rows.where)), held)
        return rows.take(rest), rows.take(held)

    def _fit_inputs(self, rows, previous, random_state):
        """Return the `KernelInputs` of each view, or None for each."""
        if self.init != "gcca":
            return [None] * len(rows.Z)
        if previous:
            device = rows.Z[0].device
            states = [state["inputs"] for state in previous.values()]
            return [load_kernel_inputs(to_torch(state, device)) for state in states]
        return fit_all_inputs(rows, torch_generator(random_state))

    def _fit_start(self, rows, inputs, previous, random_state):
        if self.init is None:
            return None
        if self.init == "gcca":
            ridge = _KERNEL_RIDGE if self.ridge == "auto" else float(self.ridge)
            ridge = self.ridge_ if previous else ridge
            return fit_kernel_start(rows, inputs, ridge, self.n_components)
        ridges = _RIDGES if self.ridge == "auto" else [float(self.ridge)]
        ridges = [self.ridge_] if previous else ridges
        generator = torch_generator(random_state)
        return fit_start(rows.Z, rows.paired, ridges, self.n_components, generator)

    def _make_targets(self, rows, start, X, y, random_state):
        if self.target == "y" and y is not None:
            y = to_labels(y)
            y = check_array(y, ensure_2d=False, dtype=None, input_name="y")
            check_consistent_length(X, y)
            y = y[rows.where]
        values = make_target(
            self.target,
            self.loss,
            y,
            rows.Z,
            self.n_classes,
            self.n_components,
            random_state,
        )
        return Targets(
            head=torch.tensor(values, device=rows.Z[0].device),
            present=None if rows.present.all() else rows.present,
            affinity_targets=None if start is None else start.affinity_targets,
        )

    def _make_network(self, rows, targets, start, previous, random_state):
        """Return the network in the state that training starts from."""
        generator = torch_generator(random_state)
        device = rows.Z[0].device
        maps = [None] * len(rows.Z) if start is None else start.layers
        encoders = [
            encoder_weights(self._widths(Z.shape[1]), generator, layer)
            for Z, layer in zip(rows.Z, maps, strict=True)
        ]
        target = targets.head
        n_outputs = target.shape[1] if target.ndim == 2 else int(target.max()) + 1
        centers = None
        if start is not None and self.loss == "cross_entropy":
            centers = start.class_centers(rows.Z, rows.present, target)
        head = head_weights(self.n_components, n_outputs, generator, centers)
        if previous:
            states = previous.values()
            encoders = [to_torch(state["encoder"], device) for state in states]
            before = to_torch(self._head or {}, device)
            if torch.equal(before.pop("target", target.new_empty(0)), target):
                head = before
        return HalfSharedNetwork(
            encoders,
            head,
            float(self._setting.input_noise),
            torch_generator(random_state, device),
            _TRAINED_SHARE if self.init == "gcca" else 1.0,
        )

    def _head_to_keep(self, network, targets):
        """Return the head that a warm start goes on from, or None."""
        if not self.warm_start:
            return None
        return to_numpy(detached(network.head) | {"target": targets.head})

    def _make_monitor(self, held_out, inputs, network):
        """Return the monitor of early stopping, or None."""
        if held_out is None:
            return None
        views = kernel_rows(held_out, inputs).Z
        monitor = EarlyStopping(partial(held_out_retrieval, views=views))
        if self.init == "gcca":
            # The start is scored too: where training is worse, it is returned to.
            monitor(network.to(views[0].device))
        return monitor

    def _train(self, network, rows, targets, callbacks, random_state):
        """Train the network and return the mean loss of each epoch."""
        setting = self._setting
        loss = partial(
            half_shared_loss,
            weights={
                name: float(getattr(setting, f"{name}_weight"))
                for name in ("affinity", "pull", "contrastive")
            },
            loss=self.loss,
            row_is_class=self.loss == "cross_entropy" and self.target in ROW_IS_CLASS,
        )
        history = train(
            network,
            ViewDataset(rows.Z, targets),
            loss,
            max_epochs=setting.max_epochs,
            lr=float(setting.lr),
            batch_size=self.batch_size or ceil(_BATCH_ROOTS * len(rows.where) ** 0.5),
            generator=torch_generator(random_state),
            sklearn_callbacks=callbacks,
        )
        return np.array(history[:, "train_loss"])

    def _fitted_attributes(self, X, training, zscores, inputs, rows, network):
        """Return the fitted attributes that transform needs."""
        encoders = network.averaged()
        finishes = self._fit_finish(rows, encoders)
        references = self._fit_references(rows, encoders, finishes)
        names = ["zscore", "encoder", "finish", "reference"]
        parts = [zscores.values(), encoders, finishes, references]
        if self.init == "gcca":
            names.append("inputs")
            parts.append(inputs)
        states = {
            name: to_numpy(dict(zip(names, part, strict=True)))
            for name, *part in zip(zscores, *parts, strict=True)
        }
        fitted = {"_states": states, "view_columns_": training.columns}
        return fitted | feature_attributes(X)

    def _fit_finish(self, rows, encoders):
        """Return the affine map of each view's trained features, or None for each."""
        if self._setting.finish is None:
            return [None] * len(encoders)
        features = [
            unit_rows(encode(Z[rows.paired], encoder).to(torch.float64))
            for Z, encoder in zip(rows.Z, encoders, strict=True)
        ]
        maps, correlations = RidgeCCA(features, self.n_components).solve(_FINISH_RIDGE)
        return weighted(maps, correlations**_FINISH_POWER)

    def _fit_references(self, rows, encoders, finishes):
        """Return the `Reference` of each view, or None for each."""
        n_neighbors = int(self._setting.hub_neighbors)
        if not n_neighbors:
            return [None] * len(encoders)
        shared = (rows.present.sum(1) >= 2).nonzero()[:, 0].cpu().numpy()
        some = np.random.RandomState(0).permutation(shared)[:N_REFERENCES]
        features = []
        parts = zip(rows.Z, rows.present.T, encoders, finishes, strict=True)
        for Z, present, encoder, finish in parts:
            F = encode(Z[some][present[some]], encoder).to(torch.float64)
            features.append(finished(F, finish))
        references = fit_references(features, n_neighbors)
        return [part._replace(rows=part.rows.float()) for part in references]

    def _load_view(self, name, rows):
        load = partial(to_torch, device=rows.device, dtype=torch.float64)
        references = {key: part["reference"] for key, part in self._states.items()}
        slot = list(references).index(name)
        state = load(self._states[name] | {"reference": None})
        inputs = state.get("inputs")
        return partial(
            encoded_features,
            zscore=ZScore(**state["zscore"]),
            inputs=None if inputs is None else load_kernel_inputs(inputs),
            encoder=state["encoder"],
            finish=None if state["finish"] is None else Affine(**state["finish"]),
            hub_columns=load_hub_columns([*references.values()], slot, "dot", load),
        )

    @property
    def _metric(self):
        return "dot" if self._has_hubness else "euclidean"

    @property
    def _has_hubness(self):
        check_is_fitted(self)
        return next(iter(self._states.values()))["reference"] is not None

    # The parameter `batch_size` is about training steps only.
    _row_batch_size = "auto"

    @property
    def _n_work_columns(self):
        encoder = next(iter(self._states.values()))["encoder"]
        return sum(encoder_widths(encoder)[1:])

    @property
    def _view_feature_names(self):
        encoder = next(iter(self._states.values()))["encoder"]
        names = [f"mlp{i}" for i in range(encoder_widths(encoder)[-1])]
        return [*names, "hubness"] if self._has_hubness else names

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self.target == "y"
        return tags


def encoded_features(X, zscore, inputs, encoder, finish, hub_columns):
    """Return the features of rows of a view.

    `inputs` are `KernelInputs`, finish is an affine map, and `hub_columns` are
    `HubColumns`; each may be None.
    """
    Z = standardize(X, zscore)
    F = finished(encode(Z if inputs is None else inputs(Z), encoder), finish)
    return F if hub_columns is None else hub_columns(F)


def finished(F, finish):
    """Return encoded features after an affine map, or as they are if it is None."""
    return F if finish is None else unit_projection(unit_rows(F), finish)


def held_out_retrieval(network, views):
    """Return the mean reciprocal rank of held-out rows, which have every view."""
    features = [
        encode(Z, weights).to(torch.float64)
        for Z, weights in zip(views, network.averaged(), strict=True)
    ]
    return pairwise_mrr(features)

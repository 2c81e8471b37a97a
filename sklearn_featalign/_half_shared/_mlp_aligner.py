"""Half-shared networks: an encoder for each view and one linear head for all."""

from functools import partial
from math import ceil
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from sklearn_featalign._base import BaseAligner
from sklearn_featalign._callbacks import FitTask
from sklearn_featalign._half_shared._cca import fit_cca
from sklearn_featalign._half_shared._losses import Targets, half_shared_loss
from sklearn_featalign._half_shared._network import HalfSharedNetwork, head_weights
from sklearn_featalign._half_shared._start import class_centers, fit_start
from sklearn_featalign._half_shared._targets import ONE_BY_ONE, TARGETS, make_target
from sklearn_featalign._half_shared._training_rows import HeldOutRetrieval, load_rows
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
    set_fitted,
    to_numpy,
    to_torch,
    torch_generator,
    with_smaller_batches,
)
from sklearn_featalign._training import PairedRows, SklearnCallbacks, train

# Ridges that "auto" chooses from.
_RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0)

# Ridge and exponent of the finish.
_FINISH_RIDGE = 0.3
_FINISH_POWER = 2

# Rows in a batch where batch_size is None: so many times the root of their number.
_BATCH_ROOTS = 8

# Share of the paired rows that early stopping holds out.
_HELD_OUT = 0.1


class HalfSharedMLPAligner(CallbackSupportMixin, BaseAligner):
    r"""An encoder for each view and one linear head shared by all.

    Paired rows of several networks meet in one space: each view has a small network of
    its own, and one linear head says the same of a row whichever view it comes from.
    The aligned feature is what goes into the head.

    The defaults are the method of the feature-alignment document. On real features take
    the recommended setting instead, which starts from and ends in a closed form::

        HalfSharedMLPAligner(
            128, hidden_layer_sizes=(256, 256), scaling="view", init="rcca",
            finish="rcca", affinity_weight=100, contrastive_weight=1, input_noise=0.5,
            max_epochs=60, lr=6e-4, views=[...],
        )

    Parameters
    ----------
    n_components : int, default=32
        Number of features of a view.

    hidden_layer_sizes : sequence of int, default=(32, 32)
        Widths of the hidden layers of each encoder, with GELU after each. Two of them
        make up the document's three-layer network; ``()`` is a linear map.

    scaling : {"columns", "view"}, default="columns"
        Rows are centred and divided by the standard deviation of each column, as in the
        document, or by one number for the whole view: the root of the mean variance of
        its columns. The latter suits features of a network, whose columns have one
        unit. Either way values are cut off at 10 deviations.

    target : str, default="index"
        What the head is trained to say of a row, Z in the document: "index", its
        position, so that each row is a class of its own; "permutation", the same
        shuffled; "random", one of `n_classes` drawn at random; "y", what is passed as
        y. Beyond the document: "joint_pca", the principal components of all views side
        by side (needs ``loss="mse"``); "cluster", the k-means cluster of these, of
        `n_classes` (needs ``loss="cross_entropy"``).

    n_classes : int, default=10
        For the targets "random" and "cluster".

    loss : {"cross_entropy", "mse"}, default="cross_entropy"
        Whether Z is a class or a number (standardised). Where each row is a class of
        its own, it is told only from the others of its batch, so that the cross-entropy
        does not cost more where there are more rows.

    affinity_weight : float, default=1.0
        Weight of the regulariser that makes features keep the affinities within a view;
        see the Notes. About 100 with ``init="rcca"``.

    pull_weight : float, default=0.0
        Weight of the mean squared difference of the features of a pair. Not in the
        document. On features that are not brought to unit length it does more for
        retrieval than the choice of Z does.

    contrastive_weight : float, default=0.0
        Weight of the cross-entropy of finding pairs among the rows of a batch (InfoNCE,
        [3]_), by cosine with a learned scale. Not in the document.

    init : {"rcca"} or None, default=None
        "rcca" adds to each encoder a linear map that starts, and with it the encoder,
        at regularised canonical correlation analysis of the paired rows, its components
        times their correlation. Features have unit length then, the head compares by
        cosine, and starts at the sum of what the views of a row (a class) have. Needs
        two views or more.

    ridge : float or "auto", default="auto"
        Of ``init="rcca"``: regularisation in multiples of the mean variance of a
        column. "auto" takes the one of 0.03, 0.1, 0.3, 1 and 3 which finds most pairs
        among a fifth of the paired rows, after a fit on the others.

    finish : {"rcca"} or None, default=None
        "rcca" ends in the same closed form, of the trained features of paired rows,
        with a ridge of 0.3 and components times their squared correlation. Needs two
        views or more.

    input_noise : float, default=0.0
        Standard deviation of the noise on scaled rows, drawn anew in each step of the
        training.

    max_epochs : int, default=300
        Passes over the rows. The learning rate rises over the first tenth of the steps
        and falls to zero as a cosine over the others.

    lr : float, default=0.01
        Highest learning rate of AdamW (weight decay 0.3). About 6e-4 with
        ``init="rcca"``.

    batch_size : int or None, default=None
        Rows in a training step, at most. None is 8 times the root of their number; up
        to 64 rows are one batch. It has no part in transform.

    early_stopping : bool, default=False
        Whether to hold out a tenth of the paired rows, to stop when after 10 epochs no
        more of these are found across views (mean reciprocal rank, cosine), and to
        return to the best epoch. The loss of rows that were held out says nothing,
        where each row is a class.

    warm_start : bool, default=False
        Whether fit goes on from the weights and the scaling of the previous fit. The
        head goes on as well if rows have the same targets; the optimiser starts anew.
        With `early_stopping` give an integer `random_state`, so that the rows which
        were held out stay so.

    views : list, dict or None, default=None
        How the columns of X split into views: see :class:`RBFAutoScaleAligner`. Rows
        that lack a view train the others, two at least have to have every view. None is
        one view, without missing values.

    output : {"concat", "coalesce", "mean"}, str or int, default="concat"
        What is returned of several views: see :class:`RBFAutoScaleAligner`.

    device : str, default="auto"
        "cpu", "cuda" or "cuda:<index>". "auto" is the device of a CUDA tensor passed
        as X, else CUDA where there is one, else the CPU. It is resolved at each call.

    random_state : int, RandomState instance or None, default=None
        First weights, batches, noise, random targets and rows that are held out.

    Attributes
    ----------
    loss_curve_ : ndarray of shape (n_iter_,)
        Mean training loss of each epoch.

    n_iter_ : int
        Number of epochs, those of earlier fits included with `warm_start`.

    validation_scores_ : ndarray of shape (n_epochs,)
        Mean reciprocal rank of the pairs held out, after each epoch of the latest fit.
        Only with `early_stopping`.

    ridge_ : float
        The ridge of the start. Only with ``init="rcca"``.

    view_columns_ : dict of str to ndarray of int of shape (n_view_features,)
        The columns of X that each view has, by name.

    n_features_in_ : int
        Number of features seen during :term:`fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen during :term:`fit`. Defined only when X has feature
        names that are all strings.

    See Also
    --------
    KernelGCCAAligner : Without training, for retrieval between networks.
    RBFAutoScaleAligner : Fits each view by itself.

    Notes
    -----
    **What is trained.** With encoders :math:`h_v` and a shared linear map W, the loss
    is the mean over views of

    .. math:: \ell(W h_v(x), z) + \lambda \, \frac{1}{n^2} \sum_{ij}
              \bigl(A_{ij}(h_v(X)) - A_{ij}(X)\bigr)^2, \qquad
              A_{ij}(X) = e^{-\|x_i - x_j\|^2 / (2 \sum_k \mathrm{var}(X_k))}

    over the rows of a batch: "Alignment Methods 2: training MLP" of the document
    "Feature Alignment". All views train at once, where the author's script trains one
    after the other, and the feature is linear: there is no GELU between it and the
    head. With ``init="rcca"`` the affinities to keep are those of the closed form,
    twice `n_components` of it, times their squared correlation, in rows of unit length.

    **The closed form.** With the covariances :math:`C_{uv}` and a ridge,
    :math:`\sum_{v \ne u} C_{uv} a_v = \lambda (C_{uu} + \rho I) a_u`: of two views
    canonical correlation analysis (Vinod 1976 [1]_), of more the sum of correlations
    under one constraint (Kettenring 1971 [2]_).

    **What matters, measured in the documentation.** Without the closed form as a start,
    training is far behind it on real features. Without the affinity term classifiers
    lose a point or two, on their own network and across. Between two networks the gain
    comes from the linear map; the layers beside it matter between a network and pixels.

    **Comparing rows.** `score` goes by Euclidean distance, which is what the affinities
    see. Of rows of unit length, with `init` or `finish`, cosines are in the same order.

    Training is in float32, scaling, the closed forms and transform are in float64. A
    refit with the same integer `random_state` is bit-equal on one machine and number
    of threads. skorch trains; callbacks of scikit-learn are told of each epoch and may
    stop it. The fitted aligner holds arrays alone.

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
    >>> aligner = HalfSharedMLPAligner(
    ...     8, views=[20, 30], init="rcca", max_epochs=20, lr=1e-3, random_state=0
    ... )
    >>> aligner.fit(np.hstack([X, Y])[:300]).n_iter_
    20
    >>> aligner.transform(np.hstack([X, Y])[300:]).shape
    (100, 16)
    >>> aligner.score(np.hstack([X, Y])[300:]) > 0.9
    True
    """

    _parameter_constraints = {
        **BaseAligner._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "hidden_layer_sizes": ["array-like"],
        "scaling": [StrOptions({"columns", "view"})],
        "target": [StrOptions(set(TARGETS))],
        "n_classes": [Interval(Integral, 2, None, closed="left")],
        "loss": [StrOptions({"cross_entropy", "mse"})],
        "affinity_weight": [Interval(Real, 0, None, closed="left")],
        "pull_weight": [Interval(Real, 0, None, closed="left")],
        "contrastive_weight": [Interval(Real, 0, None, closed="left")],
        "init": [None, StrOptions({"rcca"})],
        "ridge": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "finish": [None, StrOptions({"rcca"})],
        "input_noise": [Interval(Real, 0, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "batch_size": [None, Interval(Integral, 2, None, closed="left")],
        "early_stopping": ["boolean"],
        "warm_start": ["boolean"],
    }

    def __init__(
        self,
        n_components=32,
        *,
        hidden_layer_sizes=(32, 32),
        scaling="columns",
        target="index",
        n_classes=10,
        loss="cross_entropy",
        affinity_weight=1.0,
        pull_weight=0.0,
        contrastive_weight=0.0,
        init=None,
        ridge="auto",
        finish=None,
        input_noise=0.0,
        max_epochs=300,
        lr=1e-2,
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

    # Tensors made in inference mode could not be trained on.
    @torch.inference_mode(False)
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Train the encoders of all views.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features)
            Training rows, at least two different ones.
        y : array-like of shape (n_samples,), default=None
            Labels or numbers for ``target="y"``, else ignored.

        Returns
        -------
        self : object
            The fitted aligner.

        Raises
        ------
        ValueError
            If all rows of a view are equal, if fewer than two rows have every view, if
            target and loss do not go together or y is missing or has one class, if
            what needs pairs is asked for with one view, if the loss or the weights are
            no longer finite, or if the device is not there.
        """
        task = FitTask(self, X, y, max_subtasks=self.max_epochs)
        self._check_widths()
        training = self._split_training(X, sum(self._widths(0)))
        self._check_pairs(training)
        old = self._previous(training)
        random_state = check_random_state(self.random_state)
        frames = self._fit_frames(training, old)
        rows, held_out = self._hold_out(load_rows(training, frames), random_state)
        start = self._fit_start(rows, old, random_state)
        goals = self._make_goals(rows, start, X, y, random_state)
        network = self._make_network(rows, goals, start, old, random_state)

        def fitted_attributes():
            states = self._make_states(network, rows, frames)
            return {
                "_states": states,
                "view_columns_": training.columns,
                **feature_attributes(X),
            }

        retrieval = HeldOutRetrieval(held_out) if self.early_stopping else None
        history = train(
            network,
            PairedRows(rows.Z, goals),
            self._make_loss(),
            max_epochs=self.max_epochs,
            lr=float(self.lr),
            batch_size=self.batch_size or ceil(_BATCH_ROOTS * len(rows.where) ** 0.5),
            generator=torch_generator(random_state),
            sklearn_callbacks=SklearnCallbacks(task, fitted_attributes, retrieval),
        )
        if retrieval is not None:
            retrieval.restore(network)
        fitted = fitted_attributes()
        task.finish(fitted)
        losses = np.array(history[:, "train_loss"])
        losses = np.append(self.loss_curve_, losses) if old else losses
        fitted |= {"loss_curve_": losses, "n_iter_": len(losses), "_head": None}
        if self.warm_start:
            head = detached(network.head) | {"target": goals.head}
            fitted["_head"] = to_numpy(head)
        if start is not None:
            fitted["ridge_"] = start.ridge
        if retrieval is not None:
            fitted["validation_scores_"] = np.array(retrieval.scores)
        set_fitted(self, fitted, optional=("ridge_", "validation_scores_"))
        return self

    def _check_widths(self):
        check_hidden_layer_sizes(self.hidden_layer_sizes)
        if self.n_components < 2 and (self.init or self.finish):
            raise ValueError(
                "init and finish bring rows to unit length, which needs n_components "
                "of at least 2, got 1."
            )

    def _check_pairs(self, training):
        """Refuse what needs pairs where there is one view."""
        needed = ("init", "finish", "pull_weight", "contrastive_weight")
        asked = [name for name in (*needed, "early_stopping") if getattr(self, name)]
        if asked and len(training.columns) == 1:
            raise ValueError(
                f"{asked[0]}={getattr(self, asked[0])!r} is about pairs and needs two "
                "views or more: see the parameter views."
            )

    def _previous(self, training):
        """Return the states that a warm start goes on from, or None."""
        if not (self.warm_start and hasattr(self, "_states")):
            return None
        now = {
            name: (self._widths(len(columns)), self.init is not None)
            for name, columns in training.columns.items()
        }
        before = {
            name: (encoder_widths(state["encoder"]), "skip" in state["encoder"])
            for name, state in self._states.items()
        }
        if now != before:
            raise ValueError(
                "warm_start=True goes on from the previous fit, whose views, "
                "n_components, hidden_layer_sizes and init were others."
            )
        return self._states

    def _widths(self, n_features):
        return [n_features, *self.hidden_layer_sizes, self.n_components]

    def _fit_frames(self, training, old):
        if old:
            device = training.rows.device
            return {
                name: ZScore(**to_torch(state["zscore"], device))
                for name, state in old.items()
            }
        frames = {}
        for name, rows in training.views.items():
            with self._errors_of_view(name):
                frames[name] = with_smaller_batches(
                    fit_zscore, rows, len(rows), self.scaling
                )
        return frames

    def _hold_out(self, rows, random_state):
        """Return rows to train on, and where training may stop early some pairs."""
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
        return rows.take(rest), rows.take(held).Z

    def _fit_start(self, rows, old, random_state):
        if self.init is None:
            return None
        ridges = _RIDGES if self.ridge == "auto" else [float(self.ridge)]
        return fit_start(
            rows.Z,
            rows.paired,
            [self.ridge_] if old else ridges,
            self.n_components,
            torch_generator(random_state),
        )

    def _make_goals(self, rows, start, X, y, random_state):
        """Return what rows are trained for: see `half_shared_loss`."""
        if self.target == "y" and y is not None:
            if isinstance(y, torch.Tensor):
                y = y.detach().cpu()
            y = check_array(y, ensure_2d=False, dtype=None, input_name="y")
            check_consistent_length(X, y)
            y = y[rows.where]
        values = make_target(
            self.target,
            self.loss,
            y,
            lambda: torch.cat(rows.Z, dim=1).cpu().numpy(),
            len(rows.where),
            self.n_classes,
            self.n_components,
            random_state,
        )
        return Targets(
            head=torch.tensor(values, device=rows.Z[0].device),
            present=None if rows.present.all() else rows.present,
            kept=None if start is None else start.kept,
        )

    def _make_network(self, rows, goals, start, old, random_state):
        """Return the network that training starts from."""
        generator = torch_generator(random_state)
        device = rows.Z[0].device
        maps = [None] * len(rows.Z) if start is None else start.maps
        encoders = [
            encoder_weights(self._widths(Z.shape[1]), generator, affine)
            for Z, affine in zip(rows.Z, maps, strict=True)
        ]
        target = goals.head
        n_outputs = target.shape[1] if target.ndim == 2 else int(target.max()) + 1
        centers = None
        if start is not None and self.loss == "cross_entropy":
            centers = class_centers(start.features(rows.Z), rows.present, target)
        head = head_weights(self.n_components, n_outputs, generator, centers)
        if old:
            encoders = [to_torch(state["encoder"], device) for state in old.values()]
            before = to_torch(self._head or {}, device)
            if torch.equal(before.pop("target", target.new_empty(0)), target):
                head = before
        return HalfSharedNetwork(
            encoders,
            head,
            float(self.input_noise),
            torch_generator(random_state, device),
        )

    def _make_loss(self):
        return partial(
            half_shared_loss,
            weights={
                name: float(getattr(self, f"{name}_weight"))
                for name in ("affinity", "pull", "contrastive")
            },
            loss=self.loss,
            one_by_one=self.loss == "cross_entropy" and self.target in ONE_BY_ONE,
        )

    def _make_states(self, network, rows, frames):
        """Return what is kept of each view."""
        encoders = [detached(encoder) for encoder in network.encoders]
        states = {
            name: {
                "zscore": to_numpy(frame),
                "encoder": to_numpy(encoder),
                "finish": None,
            }
            for (name, frame), encoder in zip(frames.items(), encoders, strict=True)
        }
        if self.finish is None:
            return states
        if True:
            features = [
                unit_rows(encode(Z[rows.paired], encoder).to(torch.float64))
                for Z, encoder in zip(rows.Z, encoders, strict=True)
            ]
            maps, correlations = fit_cca(features, _FINISH_RIDGE, self.n_components)
            weights = correlations**_FINISH_POWER
            for state, (A, b) in zip(states.values(), maps, strict=True):
                state["finish"] = to_numpy(Affine(A * weights, b * weights))
        return states

    def _load_view(self, name, rows):
        state = to_torch(self._states[name], rows.device)
        encoder = state["encoder"].items()
        encoder = {k: weight.to(torch.float64) for k, weight in encoder}
        zscore = ZScore(**state["zscore"])
        if state["finish"] is None:
            return partial(encoded, zscore=zscore, encoder=encoder)
        finish = Affine(**state["finish"])
        return partial(
            encoded_and_finished, zscore=zscore, encoder=encoder, finish=finish
        )

    @property
    def _metric(self):
        # The affinities that are kept are of Euclidean distances. For features of unit
        # length the cosine gives the same order.
        return "euclidean"

    # The parameter `batch_size` is that of training.
    _row_batch_size = "auto"

    @property
    def _n_work_columns(self):
        encoder = next(iter(self._states.values()))["encoder"]
        return sum(encoder_widths(encoder)[1:])

    @property
    def _view_feature_names(self):
        encoder = next(iter(self._states.values()))["encoder"]
        return [f"mlp{i}" for i in range(encoder_widths(encoder)[-1])]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self.target == "y"
        return tags


def encoded(X, zscore, encoder):
    """Return the features of rows of a view."""
    return encode(standardize(X, zscore), encoder)


def encoded_and_finished(X, zscore, encoder, finish):
    """Return the features of rows of a view, finished by a closed form."""
    return unit_projection(unit_rows(encoded(X, zscore, encoder)), finish)

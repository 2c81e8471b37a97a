"""Half-shared networks: an encoder for each view and one linear head for all."""

from functools import partial
from math import ceil
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from torch.nn.functional import linear, normalize

from sklearn_featalign._affinity import project
from sklearn_featalign._base import BaseAligner
from sklearn_featalign._cca import apply_map, choose_ridge, fit_cca, pair_mrr
from sklearn_featalign._coordinates import fit_zscore, zscore
from sklearn_featalign._modules import (
    HalfSharedNetwork,
    encode,
    encoder_weights,
    encoder_widths,
    head_weights,
)
from sklearn_featalign._similarity import unit_rows
from sklearn_featalign._targets import ONE_BY_ONE, TARGETS, make_target
from sklearn_featalign._torch import (
    seen_columns,
    to_numpy,
    to_torch,
    torch_generator,
)
from sklearn_featalign._training import (
    Bridge,
    PairedRows,
    half_shared_loss,
    train,
)
from sklearn_featalign._views import is_width

# Ridges that "auto" chooses from.
_RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0)

# Exponents of the correlations that weigh the start's components and those of the rows
# whose affinities are kept.
_START_POWER = 1
_AFFINITY_POWER = 2

# Ridge and exponent of the finish.
_FINISH_RIDGE = 0.3
_FINISH_POWER = 2

# Rows in a batch where batch_size is None: so many times the root of their number.
_BATCH_ROOTS = 8

# Share of the paired rows that early stopping holds out, and its patience in epochs.
_HELD_OUT = 0.1
_PATIENCE = 10


class HalfSharedMLPAligner(CallbackSupportMixin, BaseAligner):
    """TODO."""

    _parameter_constraints = {
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
        "views": [None, list, tuple, dict],
        "output": [str, Integral],
        "device": [str],
        "random_state": ["random_state"],
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

    # Aligned rows are compared by Euclidean distance, which the affinities are of;
    # those of unit length are in the same order by cosine.
    metric = "euclidean"

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
        """
        task = self._init_callback_context(max_subtasks=self.max_epochs)
        task.call_on_fit_task_begin(estimator=self, X=X, y=y)
        training = self._open_training(X, self.n_components)
        self._check_setting(training)
        old = self._previous(training)
        random_state = check_random_state(self.random_state)
        frames = self._fit_frames(training, old)
        rows, held_out = self._hold_out(load_rows(training, frames), random_state)
        start = self._fit_start(rows, random_state)
        goals = self._make_goals(rows, start, X, y, random_state)
        network = self._make_network(rows, goals, start, old, random_state)

        def fitted_attributes():
            states = self._make_states(network, rows, frames)
            return {
                "_states": states,
                "view_columns_": training.columns,
                **seen_columns(X),
            }

        retrieval = HeldOutRetrieval(held_out) if self.early_stopping else None
        hooks = {"estimator": self, "X": X, "y": y}
        history = train(
            network,
            PairedRows(rows.Z, goals),
            self._make_loss(),
            max_epochs=self.max_epochs,
            lr=float(self.lr),
            batch_size=self.batch_size or ceil(_BATCH_ROOTS * len(rows.where) ** 0.5),
            generator=torch_generator(random_state),
            bridge=Bridge(task, hooks, fitted_attributes, retrieval),
        )
        if retrieval is not None:
            retrieval.restore(network)
        fitted = fitted_attributes()
        task.call_on_fit_task_end(
            estimator=self, X=X, y=y, reconstruction_attributes=lambda: fitted
        )
        self._close_training(X, training)
        self._states = fitted["_states"]
        losses = np.array(history[:, "train_loss"])
        self.loss_curve_ = np.append(self.loss_curve_, losses) if old else losses
        self.n_iter_ = len(self.loss_curve_)
        if start is not None:
            self.ridge_ = start.ridge
        if retrieval is not None:
            self.validation_scores_ = np.array(retrieval.scores)
        self._head = to_numpy(detached(network.head)) if self.warm_start else None
        return self

    def _check_setting(self, training):
        """Refuse what needs pairs where there is one view, and odd widths."""
        if not all(is_width(n) and n >= 1 for n in self.hidden_layer_sizes):
            raise ValueError(
                "hidden_layer_sizes must be integers of at least 1, got "
                f"{self.hidden_layer_sizes}."
            )
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
                name: to_torch(state["frame"], device) for name, state in old.items()
            }
        frames = {}
        for name, rows in training.views.items():
            with self._naming(name):
                frames[name] = fit_zscore(rows.map, len(rows), self.scaling)
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

    def _fit_start(self, rows, random_state):
        if self.init is None:
            return None
        return fit_start(
            rows.Z,
            rows.paired,
            _RIDGES if self.ridge == "auto" else [float(self.ridge)],
            self.n_components,
            torch_generator(random_state),
        )

    def _make_goals(self, rows, start, X, y, random_state):
        """Return what rows are trained for: see `half_shared_loss`."""
        if self.target == "y" and y is not None:
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
        goals = {"target": torch.tensor(values, device=rows.Z[0].device)}
        if not rows.present.all():
            goals["present"] = rows.present
        if start is not None:
            goals |= {f"affinity{v}": T for v, T in enumerate(start.kept)}
        return goals

    def _make_network(self, rows, goals, start, old, random_state):
        """Return the network that training starts from."""
        generator = torch_generator(random_state)
        device = rows.Z[0].device
        maps = [None] * len(rows.Z) if start is None else start.maps
        encoders = [
            encoder_weights(self._widths(Z.shape[1]), generator, affine)
            for Z, affine in zip(rows.Z, maps, strict=True)
        ]
        target = goals["target"]
        n_outputs = target.shape[1] if target.ndim == 2 else int(target.max()) + 1
        centers = None
        if start is not None and self.loss == "cross_entropy":
            centers = class_centers(start.features(rows.Z), rows.present, target)
        head = head_weights(self.n_components, n_outputs, generator, centers)
        if old:
            encoders = [to_torch(state["encoder"], device) for state in old.values()]
            before = to_torch(self._head or {}, device)
            if {k: v.shape for k, v in before.items()} == {
                k: v.shape for k, v in head.items()
            }:
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
            name: {"frame": to_numpy(frame), "encoder": to_numpy(encoder)}
            for (name, frame), encoder in zip(frames.items(), encoders, strict=True)
        }
        if self.finish == "rcca":
            features = [
                unit_rows(encode(Z[rows.paired], encoder).to(torch.float64))
                for Z, encoder in zip(rows.Z, encoders, strict=True)
            ]
            maps, correlations = fit_cca(features, _FINISH_RIDGE, self.n_components)
            weights = correlations**_FINISH_POWER
            for state, (A, b) in zip(states.values(), maps, strict=True):
                finish = {"projection": A * weights, "intercept": b * weights}
                state["finish"] = to_numpy(finish)
        return states

    def _view_function(self, name, device):
        """Return a function from a batch of rows of a view to their features."""
        parts = self._states[name].items()
        state = {part: to_torch(values, device) for part, values in parts}
        encoder = {
            k: weight.to(torch.float64) for k, weight in state["encoder"].items()
        }

        def features(batch):
            F = encode(zscore(batch, state["frame"]), encoder)
            return project(unit_rows(F), state["finish"]) if "finish" in state else F

        return features

    # The parameter `batch_size` is that of training.
    _row_batch_size = "auto"

    @property
    def _view_feature_names(self):
        encoder = next(iter(self._states.values()))["encoder"]
        return [f"mlp{i}" for i in range(encoder_widths(encoder)[-1])]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self.target == "y"
        return tags


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


class Start(NamedTuple):
    """Where the closed form lets training start.

    ``maps`` are of each view weight and bias of a linear map to its canonical variates,
    ``kept`` the rows whose affinities are to be kept, and ``ridge`` what was chosen.
    """

    maps: list
    kept: list
    ridge: float

    def features(self, views):
        """Return the features, rows of unit length, that encoders start with."""
        return [
            normalize(linear(Z, *affine))
            for Z, affine in zip(views, self.maps, strict=True)
        ]


def fit_start(views, paired, ridges, n_components, generator):
    """Return the `Start` of views by regularised CCA of their paired rows.

    Parameters
    ----------
    views : list of tensor of shape (n_samples, n_view_features)
    paired : tensor of int
        Rows that have every view.
    ridges : sequence of float
        Where there are several, one is chosen by pairs that are left out.
    n_components : int
    generator : torch.Generator
    """
    pairs = [Z[paired] for Z in views]
    ridge = ridges[0]
    if len(ridges) > 1:
        ridge = choose_ridge(pairs, ridges, n_components, _START_POWER, generator)
    # More components than the encoders have tell more of the affinities.
    maps, correlations = fit_cca(pairs, ridge, 2 * n_components)
    kept = [
        unit_rows(apply_map(Z, affine, correlations**_AFFINITY_POWER)).to(torch.float32)
        for Z, affine in zip(views, maps, strict=True)
    ]
    weights = correlations[:n_components] ** _START_POWER
    maps = [(A[:, :n_components], b[:n_components]) for A, b in maps]
    variances = [
        apply_map(Z, affine, weights).var(0).mean()
        for Z, affine in zip(pairs, maps, strict=True)
    ]
    weights = weights / (sum(variances) / len(variances)).sqrt()
    maps = [
        (
            (A * weights).T.to(torch.float32).contiguous(),
            (b * weights).to(torch.float32),
        )
        for A, b in maps
    ]
    return Start(maps, kept, ridge)


def detached(weights):
    """Return weights cut off from their gradients."""
    return {name: weight.detach() for name, weight in weights.items()}


def class_centers(features, present, classes):
    """Return the sum of the features of each class, over rows and views, unit length.

    Parameters
    ----------
    features : list of tensor of shape (n_samples, n_components)
    present : tensor of shape (n_samples, n_views), bool
    classes : tensor of shape (n_samples,), int64
    """
    rows = sum(F * here[:, None] for F, here in zip(features, present.T, strict=True))
    order = torch.argsort(classes, stable=True)
    counts = torch.bincount(classes).tolist()
    return normalize(torch.stack([part.sum(0) for part in rows[order].split(counts)]))


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

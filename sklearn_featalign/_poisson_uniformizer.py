"""Rows moved along the electric field of the training rows, and back."""

import warnings
from copy import copy
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    OneToOneFeatureMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_featalign._affine import (
    fit_affine,
    isometry,
    to_coordinates,
)
from sklearn_featalign._affinity import squared_distances
from sklearn_featalign._field_network import FieldNetwork, field_weights, train_field
from sklearn_featalign._flow import SOLVERS, Flow
from sklearn_featalign._modules import detached
from sklearn_featalign._persistence import VersionedMixin
from sklearn_featalign._poisson import (
    data_size,
    largest_exponent,
    perplexity_height,
    probes,
    spacing_height,
    trained_height,
)
from sklearn_featalign._regions import fit_regions, rows_by_region, seen_from
from sklearn_featalign._torch import (
    Rows,
    check_names,
    check_rows,
    full_like,
    is_single,
    resolve_device,
    seen_columns,
    to_numpy,
    to_torch,
    torch_generator,
    write_fit,
)
from sklearn_featalign._training import Bridge, check_hidden_layer_sizes

# Beyond so many dimensions rows do not become uniform and keep what they know.
_MANY_DIMENSIONS = 8

# A row sees so many charges at the height of an outlier score or of a contraction.
_PERPLEXITY = 15

# The document's flow time; PFGM's default of the others is that of the signature.
_PROJECTED_TIME = 1.0

# Heights must lie within these multiples of the size of the data.
_HEIGHTS = (1e-7, 1e30)

_RADIUS = 100.0

# Regions that a row may have come from.
_CANDIDATES = 4

# Sizes of rows as they come whose squares float32 holds.
_TRAINED_SIZES = (1e-15, 1e15)


class PoissonUniformizer(
    CallbackSupportMixin,
    OneToOneFeatureMixin,
    TransformerMixin,
    VersionedMixin,
    BaseEstimator,
):
    r"""Rows flow along the electric field of the training rows, and back.

    Training rows are charges in a plane. Rows start a little above it and follow the
    lines of force; far away, these are spread evenly over a hemisphere, from which rows
    are mapped to a cube. Up to about eight dimensions new rows then fill the cube
    evenly, jointly and not column by column as those of
    :class:`~sklearn.preprocessing.QuantileTransformer` do. The map can be undone. It is
    continuous but at training rows, which do not see their own charge.

    Parameters
    ----------
    output : {"auto", "cube", "normal", "hemisphere", "flow"}, default="auto"
        What rows are mapped to. "cube": numbers between 0 and 1; "normal": normal
        numbers; "hemisphere": points on the unit sphere in one dimension more, whose
        last column, the height, is positive; "flow": where the flow ends, in the
        units of X, and with ``parametrization="projected"`` the height as one column
        more. "auto" is "cube", but "flow" with ``direction="contract"`` or
        ``parametrization="projected"``, which have no other.

    field : {"exact", "network"}, default="exact"
        Whether the field is that of the charges, without training, or a network that
        is trained to know it, which is the document's method.

    direction : {"expand", "contract"}, default="expand"
        "expand" goes up the lines, away from the charges. "contract" goes down them:
        rows move towards their neighbours, much as if averaged with these, which takes
        noise from raw features. It is not for ``field="network"``.

    radius : float or "auto", default="auto"
        Height at which lines end, in the coordinates that `scaling` makes: 100 for the
        exact field; for a network the height up to which it is trained. Rows are the
        more uniform the higher. With ``parametrization="projected"`` the time to which
        the flow goes, where the squared length of rows has grown by twice as much: 1.
        Only for ``direction="expand"``.

    start_height : float or "auto", default="auto"
        Height at which lines start, in the same unit. "auto" follows the spacing of
        the rows, :math:`\frac{1}{4} d^{-1/4}` times the median distance to the fifth
        neighbour; for ``direction="contract"`` it is the height at which the median
        row sees 15 charges, or half of all if that is less, and not lower than the
        other; for ``parametrization="projected"`` it is zero.

    contraction : float, default=0.6
        With ``direction="contract"``, the share of the start height at which rows end.

    scaling : {"auto", "whiten", "view", None}, default="auto"
        Coordinates in which rows flow. "whiten": uncorrelated, of variance one, and
        nearest to the columns (the symmetric root of their correlations); "view":
        centred, and divided by the root of the mean variance of a column; None: rows
        as they come, only for ``parametrization="projected"``, whose equation depends
        on the origin. "auto" is "whiten", for ``direction="contract"`` "view", and for
        ``parametrization="projected"`` None.

    solver : {"rk4", "midpoint", "euler", "dopri5"}, default="rk4"
        Of torchdiffeq: four, two or one evaluations of the field for a step.
        "dopri5" chooses its own steps, the same for all rows of a batch, with a
        tolerance of 1e-7.

    n_steps : int, default=24
        Number of steps.

    n_charges : int or None, default=None
        Let a row see so many charges where there are more: those nearest to its region
        (a k-means cluster of charges, up to 64 of them), and for the others the centres
        of groups. Where regions meet the output jumps by about what it differs from
        that of all charges: see the documentation. None lets rows see all. A network is
        trained on all rows in any case.

    parametrization : {"height", "projected"}, default="height"
        Equation that a network's lines are followed by. "height":
        :math:`dx / dr = E_x / E_r`, as for the exact field. "projected": the
        document's :math:`dy / ds = E / (E \cdot y)` for the point with its height.

    hidden_layer_sizes : sequence of int or None, default=None
        Widths of a network's hidden layers, with ReLU after each. None is two of as
        many units as there are coordinates and the height, as in the author's code.

    tau, sigma : float, default=0.03, 0.01
        How training points are spread over heights: see the Notes.

    M : float or "auto", default="auto"
        Largest exponent of these. "auto" is PFGM's formula, 155 for 128 features of
        unit length; the document takes 20.

    gamma : float, default=5.0
        Added to the length of the field that a network is trained for. PFGM's is 5,
        the author's code has 0.3.

    max_epochs : int, default=200
        Passes over the rows.

    lr : float, default=1e-3
        Learning rate of Adam.

    large_batch_size, small_batch_size : int, default=1024, 128
        Rows in a training step whose field it is, and those of them that are moved.

    device : str, default="auto"
        "cpu", "cuda" or "cuda:<index>". "auto" is the device of a CUDA tensor passed
        as X, else CUDA where there is one, else the CPU. It is resolved at each call.

    batch_size : int or "auto", default="auto"
        Rows that flow at a time. The result does not depend on it, but for "dopri5"
        within its tolerance.

    random_state : int, RandomState instance or None, default=None
        For k-means, for a network and for :meth:`sample`.

    Attributes
    ----------
    charges_ : ndarray of shape (n_different, n_dimensions)
        Charges, in the coordinates that rows flow in. Equal rows are one.

    charge_counts_ : ndarray of shape (n_different,)
        Number of rows that each stands for.

    start_height_, end_height_ : float
        Heights between which rows flow.

    score_height_ : float
        Height at which :meth:`score_samples` looks at the field.

    M_ : float
        The M that was taken. Only with ``field="network"``.

    loss_curve_ : ndarray of shape (n_iter_,)
        Mean training loss of each epoch. Only with ``field="network"``.

    n_iter_ : int
        Number of epochs. Only with ``field="network"``.

    n_features_in_ : int
        Number of features seen during :term:`fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen during :term:`fit`. Defined only when X has feature
        names that are all strings.

    See Also
    --------
    sklearn.preprocessing.QuantileTransformer : Each column by itself, at any width.
    sklearn.mixture.GaussianMixture : Better samples from four dimensions on.

    Notes
    -----
    **The field.** From a point x at height r over charges :math:`y_j` in d dimensions

    .. math:: \frac{dx}{d \ln r} = r \frac{E_x}{E_r} = x - \hat y(x, r), \qquad
              \hat y = \frac{\sum_j w_j y_j}{\sum_j w_j}, \qquad
              w_j = (|x - y_j|^2 + r^2)^{-(d + 1) / 2}

    with the weights in logarithms where powers leave float64: Xu et al. 2022 [1]_. A
    row that coincides with a charge is not driven by itself: the charge counts one row
    less (but for rows that with `n_charges` see it in a group). Training rows and new
    ones are so treated alike, and ``fit_transform(X)`` is ``fit(X).transform(X)``.

    **To the cube.** On a uniform hemisphere :math:`|x|^2 / (d r^2)` has the F(d, 1)
    distribution. A row keeps its direction and takes the length that has the same
    probability in a normal distribution; the normal distribution function of each
    column leads to the cube. Where columns are linearly dependent, whitened rows are
    uniform over each of them, but not jointly.

    **Back.** :meth:`inverse_transform` follows the lines down. For the two charges that
    a row comes down beside it starts anew without them, and if it now comes down on
    one, that is where it came from. The documentation has the error by solver and
    number of evaluations, on principal components. Columns with heavy tails want more
    steps than the default.

    **What it is for, and what not.** Measured in the documentation: rows spread evenly
    over a cube of up to eight dimensions, representative subsets drawn from it, and an
    outlier score. It is not a way to a better classifier: the gain that the document
    reports comes from fitting the classifier anew. Beyond eight dimensions there is a
    warning.

    **The document's method**, "Imposing uniformity through Poisson flow models", is ::

        PoissonUniformizer(
            field="network", parametrization="projected", M=20, gamma=0.3,
            solver="euler", n_steps=100,
        )

    A network learns :math:`\sqrt{d} E / (|E| + \gamma)` of the rows of a batch at
    points over some of them: at heights :math:`|\epsilon| (1 + \tau)^m`, m uniform
    between 0 and M and :math:`\epsilon` normal with deviation sigma, and so far to the
    side.
    Its equation does not know the sign of E and has a pole where E is at a right angle
    to y. ``parametrization="height"`` and PFGM's hyperparameters mend that.

    References
    ----------
    .. [1] Xu, Liu, Tegmark and Jaakkola (2022), "Poisson flow generative models".

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_featalign import PoissonUniformizer
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(400, 2))
    >>> X[:, 1] += X[:, 0] ** 2
    >>> u = PoissonUniformizer().fit(X[:300])
    >>> U = u.transform(X[300:])
    >>> bool(((U > 0) & (U < 1)).all())
    True
    >>> bool(np.allclose(u.inverse_transform(U), X[300:], atol=1e-2))
    True
    """

    _parameter_constraints = {
        "output": [StrOptions({"auto", "cube", "normal", "hemisphere", "flow"})],
        "field": [StrOptions({"exact", "network"})],
        "direction": [StrOptions({"expand", "contract"})],
        "radius": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "start_height": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "contraction": [Interval(Real, 0, 1, closed="neither")],
        "scaling": [None, StrOptions({"auto", "whiten", "view"})],
        "solver": [StrOptions(set(SOLVERS))],
        "n_steps": [Interval(Integral, 1, None, closed="left")],
        "n_charges": [None, Interval(Integral, 2, None, closed="left")],
        "parametrization": [StrOptions({"height", "projected"})],
        "hidden_layer_sizes": [None, "array-like"],
        "tau": [Interval(Real, 0, None, closed="neither")],
        "sigma": [Interval(Real, 0, None, closed="neither")],
        "M": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "gamma": [Interval(Real, 0, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "large_batch_size": [Interval(Integral, 2, None, closed="left")],
        "small_batch_size": [Interval(Integral, 1, None, closed="left")],
        "device": [str],
        "batch_size": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "random_state": ["random_state"],
    }

    # Of fits of format 1.
    _regions = None

    def __init__(
        self,
        *,
        output="auto",
        field="exact",
        direction="expand",
        radius="auto",
        start_height="auto",
        contraction=0.6,
        scaling="auto",
        solver="rk4",
        n_steps=24,
        n_charges=None,
        parametrization="height",
        hidden_layer_sizes=None,
        tau=0.03,
        sigma=0.01,
        M="auto",
        gamma=5.0,
        max_epochs=200,
        lr=1e-3,
        large_batch_size=1024,
        small_batch_size=128,
        device="auto",
        batch_size="auto",
        random_state=None,
    ):
        self.output = output
        self.field = field
        self.direction = direction
        self.radius = radius
        self.start_height = start_height
        self.contraction = contraction
        self.scaling = scaling
        self.solver = solver
        self.n_steps = n_steps
        self.n_charges = n_charges
        self.parametrization = parametrization
        self.hidden_layer_sizes = hidden_layer_sizes
        self.tau = tau
        self.sigma = sigma
        self.M = M
        self.gamma = gamma
        self.max_epochs = max_epochs
        self.lr = lr
        self.large_batch_size = large_batch_size
        self.small_batch_size = small_batch_size
        self.device = device
        self.batch_size = batch_size
        self.random_state = random_state

    # Tensors made in inference mode could not be trained on.
    @torch.inference_mode(False)
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Place the charges, choose the heights and, where asked for, train a network.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features)
            Training rows, at least two different ones.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted transformer.

        Raises
        ------
        ValueError
            If all rows are equal, if parameters do not go together, if the end height
            is not above the start height, if ``scaling=None`` and rows are larger or
            smaller than float32 can square, if the loss or the weights of a network are
            no longer finite, or if the device is not there.
        """
        trains = self.field == "network"
        task = self._init_callback_context(
            max_subtasks=self.max_epochs if trains else 0
        )
        hooks = {"estimator": self, "X": X, "y": y}
        task.call_on_fit_task_begin(**hooks)
        self._check_combination()
        values = check_rows(self, X, min_samples=2)
        random_state = check_random_state(self.random_state)
        rows = Rows(values, resolve_device(self.device, values), self.batch_size, 0)
        frame = fit_affine(rows.map, len(rows), self._get_scaling(), rows.rounding)
        fitted = self._fit_charges(rows, frame, random_state)
        fitted = to_numpy(fitted) | {"_frame": to_numpy(frame), **seen_columns(X)}
        if trains:
            fitted |= self._train(rows, frame, fitted, task, hooks, random_state)
        task.call_on_fit_task_end(**hooks, reconstruction_attributes=lambda: fitted)
        write_fit(self, fitted, optional=("M_", "loss_curve_", "n_iter_"))
        return self

    def transform(self, X):
        """Let rows flow.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features_in_)

        Returns
        -------
        X_new : {ndarray, tensor} of shape (n_samples, n_features_out)
            As many columns as X, and with ``output="hemisphere"`` or
            ``parametrization="projected"`` the height as one more.
        """
        X = self._check_rows(X)
        self._warn_of_many_dimensions()
        return self._map(X, self._n_outputs, Flow.forward, self._regions_of_rows)

    def inverse_transform(self, X):
        """Let rows flow back.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features_out)
            As :meth:`transform` returns them. In a cube 0 and 1 are taken for the
            nearest numbers between them: far rows whose output was rounded to them come
            back nearer.

        Returns
        -------
        X_original : {ndarray, tensor} of shape (n_samples, n_features_in_)
            Rows, in the units of those of the fit.

        Raises
        ------
        ValueError
            If numbers lie outside of the cube, or points of a hemisphere are not above
            the plane.
        """
        check_is_fitted(self)
        X = check_rows(self, X)
        self._check_width(X, self._n_outputs, ".inverse_transform")
        output = self._get_output()
        if output == "cube" and (X.min() < 0 or X.max() > 1):
            raise ValueError(
                "inverse_transform takes numbers from 0 to 1 with output='cube', got "
                f"{float(X.min()):.6g} to {float(X.max()):.6g}."
            )
        if output == "hemisphere" and X[:, -1].min() <= 0:
            raise ValueError(
                "inverse_transform takes points above the plane with "
                "output='hemisphere', whose last column is positive; got "
                f"{float(X[:, -1].min()):.6g}."
            )
        finfo = np.finfo(np.float32 if is_single(X) else np.float64)
        ends = {"least": float(finfo.tiny), "eps": float(finfo.eps)}
        largest = float(finfo.max)

        def backward(flow, out):
            return flow.backward(out, **ends).clamp(-largest, largest)

        return self._map(X, self.n_features_in_, backward, self._regions_of_origins)

    def sample(self, n_samples=1):
        """Draw rows: uniform points, carried back to the data.

        With the default `radius` they follow a kernel density of the training rows with
        a Cauchy kernel of the width of the start height. Its tails are heavy: from four
        dimensions on :class:`~sklearn.mixture.GaussianMixture` draws better rows.

        Parameters
        ----------
        n_samples : int, default=1
            How many.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features_in_)
            The same at each call if `random_state` is an integer.

        Raises
        ------
        ValueError
            If rows do not become uniform: with ``direction="contract"`` or
            ``parametrization="projected"``.
        """
        check_is_fitted(self)
        if self._ends_as_rows:
            raise ValueError(
                "sample needs direction='expand' and parametrization='height', where "
                "rows become uniform."
            )
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        random_state = check_random_state(self.random_state)
        G = random_state.normal(size=(n_samples, self.charges_.shape[1]))
        return self._map(G, self.n_features_in_, Flow.draw, self._regions_of_origins)

    def score_samples(self, X):
        """Return how little the field pulls on rows: low for outliers.

        That is minus the distance of a row from the mean charge that it sees, at the
        height where the median training row sees 15 charges (or half of all, and not
        below the height by the spacing of rows), in the units of X, whatever
        `scaling`. Columns that did not vary in training have no part in it.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features_in_)

        Returns
        -------
        scores : {ndarray, tensor} of shape (n_samples,)
            At most zero.
        """
        X = self._check_rows(X)

        turned = torch.tensor(self._turned, device=resolve_device(self.device, X))
        height = self.score_height_ / self._unit

        def score(flow, batch):
            return -self._unit * flow.pull(batch, height, turned)

        return self._map(X, 1, score)[:, 0]

    def get_feature_names_out(self, input_features=None):
        """Return the names of the output features.

        Parameters
        ----------
        input_features : array-like of str of shape (n_features_in_,), default=None
            Names of the columns of X where they had none in fit.

        Returns
        -------
        names : ndarray of str of shape (n_features_out,)
            Those of the columns of X, and ``poissonuniformizer_z`` for a height.
        """
        names = super().get_feature_names_out(input_features)
        if self._n_outputs == len(names):
            return names
        return np.append(names, f"{type(self).__name__.lower()}_z")

    def _paths(self, X, n_points):
        """Return where rows are on their way: see `Flow.path`.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features_in_)
        n_points : int

        Returns
        -------
        paths : ndarray of shape (n_samples, n_points, n_features_in_)
        """
        if self._projected:
            raise ValueError(
                "With parametrization='projected' rows do not share their heights."
            )
        # Where rows become uniform the way is one to the cube, whatever the output.
        shown = copy(self)
        shown.output = "auto"
        n_outputs = n_points * self.n_features_in_

        def path(flow, batch):
            return flow.path(batch, n_points)

        paths = shown._map(X, n_outputs, path, shown._regions_of_rows)
        return paths.reshape(len(paths), n_points, -1)

    def _check_combination(self):
        """Refuse parameters that do not go together."""
        projected, contract = self._is_projected(), self.direction == "contract"
        if projected and self.field == "exact":
            raise ValueError("parametrization='projected' needs field='network'.")
        if contract and self.field == "network":
            raise ValueError("direction='contract' needs field='exact'.")
        if projected or contract:
            self._check_output()
        if self.scaling is None and not projected:
            raise ValueError("scaling=None needs parametrization='projected'.")
        if self.hidden_layer_sizes is not None:
            check_hidden_layer_sizes(self.hidden_layer_sizes)

    def _check_output(self):
        """Refuse the outputs of uniform rows where rows do not become uniform."""
        if self.output not in ("auto", "flow"):
            raise ValueError(
                "direction='contract' and parametrization='projected' do not make rows "
                f"uniform: output must be 'flow' or 'auto', got {self.output!r}."
            )

    @property
    def _ends_as_rows(self):
        """Whether what was fitted leads to rows, and not to uniform numbers."""
        return self._projected or self.end_height_ < self.start_height_

    def _is_projected(self):
        return self.parametrization == "projected"

    def _get_scaling(self):
        if self.scaling != "auto":
            return self.scaling
        if self._is_projected():
            return None
        return "view" if self.direction == "contract" else "whiten"

    def _get_output(self):
        """Return the output, of what was fitted."""
        if self._ends_as_rows:
            self._check_output()
            return "flow"
        return "cube" if self.output == "auto" else self.output

    @property
    def _n_outputs(self):
        one_more = self._projected or self._get_output() == "hemisphere"
        return self.n_features_in_ + one_more

    def _fit_charges(self, rows, frame, random_state):
        """Return charges, their counts and all that follows from them."""
        distinct, counts = rows.load().unique(dim=0, return_counts=True)
        charges = to_coordinates(distinct, frame)
        log_counts = counts.to(charges).log()
        size = data_size(charges, log_counts)
        if self._get_scaling() is None:
            self._check_size(size)
        spacing = spacing_height(self._map_probes(charges), charges, size)
        regions = None
        n_seen, exact = self.n_charges, self.field == "exact"
        if exact and n_seen is not None and n_seen < len(charges):
            arrays = (values.cpu().numpy() for values in (charges, counts))
            regions = fit_regions(*arrays, n_seen, random_state)
        turned, unit = isometry(frame)
        fitted = {
            "charges_": charges,
            "charge_counts_": log_counts.exp().round(),
            "score_height_": unit * self._neighborhood(charges @ turned, log_counts),
            "_turned": turned,
            "_unit": unit,
            "_size": size,
            "_spacing": spacing,
            "_projected": self._is_projected(),
            "_regions": regions,
            "_weights": None,
        }
        return fitted | self._fit_heights(charges, log_counts, spacing, size)

    def _check_size(self, size):
        """Refuse rows as they come that float32 could not square."""
        low, high = _TRAINED_SIZES
        if not low <= size <= high:
            raise ValueError(
                f"The root mean square of X about its mean is {size:.6g}. With "
                "scaling=None, which parametrization='projected' has by default, it "
                f"must lie between {low:.6g} and {high:.6g} for a network to be "
                "trained: scale X first, or use scaling='view'."
            )

    def _map_probes(self, charges):
        """Return what maps some of the charges, in batches, against all of them."""
        rows = probes(charges)
        return Rows(rows, rows.device, self.batch_size, len(charges)).map

    def _neighborhood(self, charges, log_counts):
        """Return the height of a row's neighbours, and not below that of its spacing.

        Parameters
        ----------
        charges : tensor of shape (n_charges, n_features)
        log_counts : tensor of shape (n_charges,)
        """
        map_rows = self._map_probes(charges)
        perplexity = min(_PERPLEXITY, len(charges) / 2)
        return max(
            perplexity_height(map_rows, charges, log_counts, perplexity),
            spacing_height(map_rows, charges, data_size(charges, log_counts)),
        )

    def _fit_heights(self, charges, log_counts, spacing, size):
        """Return the heights between which rows flow, and M where it has a part."""
        if self.direction == "contract":
            start = self._neighborhood(charges, log_counts)
            return self._heights(start, None, size)
        if self.field == "exact":
            return self._heights(spacing, _RADIUS * size, size)
        tau, sigma, M = float(self.tau), float(self.sigma), self.M
        if M == "auto":
            norm = float(log_counts.softmax(0) @ charges.norm(dim=1))
            M = largest_exponent(norm, charges.shape[1], sigma, tau)
        if self._is_projected():
            heights = self._heights(0.0, _PROJECTED_TIME, size)
        else:
            heights = self._heights(spacing, trained_height(sigma, tau, M), size)
        return {"M_": float(M), **heights}

    def _heights(self, start, end, size):
        """Return the heights between which rows flow, given those of "auto"."""
        if self.start_height != "auto":
            start = float(self.start_height)
        if self.direction == "contract":
            end = self.contraction * start
        elif self.radius != "auto":
            end = float(self.radius)
        if self._is_projected():
            return {"start_height_": start, "end_height_": end}
        low, high = (share * size for share in _HEIGHTS)
        if self.direction == "expand" and end <= start:
            raise ValueError(
                f"The start height {start:.6g} must be below the radius {end:.6g}."
            )
        if min(start, end) < low or max(start, end) > high:
            raise ValueError(
                f"Rows flow between heights of {start:.6g} and {end:.6g}, which must "
                f"lie between {low:.6g} and {high:.6g} for float64 to follow them."
            )
        return {"start_height_": start, "end_height_": end}

    def _train(self, rows, frame, fitted, task, hooks, random_state):
        """Train a network of the field, and return what that adds to what is fitted."""
        Z = torch.cat(list(rows.map(lambda batch: to_coordinates(batch, frame))))
        generator = torch_generator(random_state)
        width = Z.shape[1] + 1
        widths = self.hidden_layer_sizes
        widths = [width, width] if widths is None else list(widths)
        perturbation = {
            "sigma": float(self.sigma),
            "tau": float(self.tau),
            "M": fitted["M_"],
            "generator": torch_generator(random_state, Z.device),
        }
        network = FieldNetwork(
            field_weights(width, widths, generator, Z.device),
            self.small_batch_size,
            float(self.gamma),
            perturbation,
        )

        def weights():
            return {"_weights": to_numpy(detached(network.weights))}

        bridge = Bridge(task, hooks, lambda: fitted | weights())
        history = train_field(
            network,
            Z,
            max_epochs=self.max_epochs,
            lr=float(self.lr),
            batch_size=self.large_batch_size,
            generator=generator,
            bridge=bridge,
        )
        losses = np.array(history[:, "train_loss"])
        return weights() | {"loss_curve_": losses, "n_iter_": len(losses)}

    def _warn_of_many_dimensions(self):
        d = self.charges_.shape[1]
        if d > _MANY_DIMENSIONS and self._get_output() != "flow":
            warnings.warn(
                f"Rows flow in {d} dimensions. Up to {_MANY_DIMENSIONS} they were seen "
                "to become uniform; in 64 a classifier of digits fell from 97 to 71 %, "
                "in 128 rows did not spread evenly. Take fewer, by PCA for example.",
                UserWarning,
                stacklevel=4,
            )

    def _check_rows(self, X):
        """Check rows against those of the fit."""
        check_is_fitted(self)
        check_names(self, X)
        X = check_rows(self, X)
        self._check_width(X, self.n_features_in_, "")
        return X

    def _check_width(self, X, n_columns, method):
        if X.shape[1] != n_columns:
            raise ValueError(
                f"X has {X.shape[1]} features, but {type(self).__name__}{method} is "
                f"expecting {n_columns} features as input."
            )

    def _map(self, X, n_outputs, function, find_regions=None):
        """Return what ``function(flow, batch)`` makes of rows.

        Parameters
        ----------
        X : {ndarray, tensor} of shape (n_samples, n_columns)
        n_outputs : int
        function : callable
        find_regions : callable, optional
            ``find_regions(rows, function, out)`` yields regions and which rows are to
            see the charges that are seen from there. By default they see all.
        """
        n_numbers = len(self.charges_)
        if self._weights is not None:
            n_numbers = sum(len(bias) for bias in self._weights.values())
        elif find_regions and self._regions:
            n_numbers = self._regions["n_near"] + self._regions["group"].max() + 1
        # Blocks of these are multiplied up, which should stay in the cache.
        n_numbers = 4 * (n_numbers + self.charges_.shape[1])
        rows = Rows(X, resolve_device(self.device, X), self.batch_size, n_numbers)
        out = full_like(X, n_outputs)
        if find_regions is None or self._regions is None:
            self._collect(rows, function, out, self.charges_, self.charge_counts_)
            return out
        for region, where in find_regions(rows, function, out):
            self._collect(rows.at(where), function, out, *self._seen_from(region))
        return out

    def _collect(self, rows, function, out, charges, counts):
        """Write what is made of rows that see some charges."""
        flow = self._make_flow(rows.device, charges, counts)
        rows.collect(lambda batch: function(flow, batch.to(torch.float64)), out)

    def _seen_from(self, region):
        return seen_from(region, self.charges_, self.charge_counts_, self._regions)

    def _regions_of_rows(self, rows, function, out):
        """Yield regions, and which rows are in them."""
        yield from rows_by_region(self._nearest_regions(rows)[:, 0])

    def _regions_of_origins(self, rows, function, out):
        """Yield regions, and which rows are taken to come from there.

        Those nearest to where a row comes down with groups alone, until it comes down
        in the region whose charges it sees.
        """
        self._collect(rows, function, out, *self._seen_from(None))
        origins = Rows(out, rows.device, rows.batch_size, 0)
        candidates = self._nearest_regions(origins, _CANDIDATES)
        left = np.arange(len(candidates))
        for region in candidates.T:
            yield from rows_by_region(region, left)
            found = self._nearest_regions(origins.at(left))[:, 0]
            left = left[found != region[left]]
        yield from rows_by_region(candidates[:, 0], left)

    def _nearest_regions(self, rows, n_regions=1):
        """Return for each row the regions with the nearest centres."""
        frame = to_torch(self._frame, rows.device)
        centers = torch.tensor(self._regions["centers"], device=rows.device)
        n_regions = min(n_regions, len(centers))

        def nearest(batch):
            D = squared_distances(to_coordinates(batch, frame), centers)
            return D.topk(n_regions, dim=1, largest=False).indices

        found = list(rows.map(nearest))
        return torch.cat(found).cpu().numpy() if found else np.empty((0, n_regions))

    def _make_flow(self, device, charges, counts):
        """Return what moves rows, on a device."""
        weights = self._weights
        if weights is not None:
            weights = to_torch(weights, device)
            weights = {k: weight.to(torch.float64) for k, weight in weights.items()}
        return Flow(
            frame=to_torch(self._frame, device),
            charges=torch.tensor(charges, device=device),
            log_counts=torch.tensor(counts, device=device).log(),
            # From the host, which waits for nothing.
            reach=float(np.linalg.norm(charges, axis=1).max()),
            weights=weights,
            heights=(self.start_height_, self.end_height_),
            size=self._size,
            spacing=self._spacing,
            output="projected" if self._projected else self._get_output(),
            solver=self.solver,
            n_steps=self.n_steps,
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

"""Rows that become uniform along the electric field of the training rows, and back."""

import warnings
from copy import copy
from functools import partial
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_featalign._linalg import every_nth
from sklearn_featalign._mlp import detached
from sklearn_featalign._poisson._fields import LearnedField
from sklearn_featalign._poisson._heights import (
    check_heights,
    depths_below,
    neighbor_distances,
)
from sklearn_featalign._poisson._network import (
    largest_exponent,
    make_network,
    train_network,
    trained_height,
)
from sklearn_featalign._poisson._poisson_field import PoissonField
from sklearn_featalign._poisson._projected import ProjectedFlow
from sklearn_featalign._poisson._quantiles import fit_quantiles
from sklearn_featalign._poisson._transformer import (
    PoissonTransformer,
    load_coordinates,
)
from sklearn_featalign._poisson._whitening import to_coordinates
from sklearn_featalign._torch import (
    Rows,
    set_fitted,
    to_numpy,
    to_torch,
    torch_generator,
    with_smaller_batches,
)
from sklearn_featalign._training import SklearnCallbacks

OUTPUTS = ("cube", "normal", "hemisphere", "flow")

# Rows were seen to become uniform in up to this many dimensions.
_MANY_DIMENSIONS = 8

# Height at which lines end, in multiples of the size of the data.
_RADIUS = 100.0

# Numbers of steps. "auto" is the first with which all but one of some rows come back,
# to within this distance in coordinates; that of a network is fixed.
_N_STEPS = (12, 16, 20, 25, 32, 40, 50, 64, 80)
_STEPS_OF_NETWORK = 25
_N_PROBES = 512
_RETURN_ERROR = 2e-3

# The last map is fitted on at least so many rows, if there are as many.
_N_LAST = 10000

# Time in which the document lets rows flow.
_PROJECTED_TIME = 1.0

# Sizes of unscaled rows whose squares float32 holds.
_TRAINED_SIZES = (1e-15, 1e15)


class PoissonUniformizer(PoissonTransformer):
    r"""Rows flow along the electric field of the training rows, and back.

    Training rows are charges near a plane. Rows start a little above it and follow the
    lines of force; far away, these are spread evenly over a hemisphere, from which rows
    are mapped to a cube. In up to about eight dimensions new rows then fill the cube
    evenly and jointly, where :class:`~sklearn.preprocessing.QuantileTransformer` makes
    each column uniform by itself. The map is continuous and can be inverted.

    Parameters
    ----------
    output : {"cube", "normal", "hemisphere", "flow"}, default="cube"
        What rows are mapped to. "cube": numbers between 0 and 1; "normal": normal
        numbers; "hemisphere": points on the unit sphere in one dimension more, whose
        last column, the height, is positive; "flow": the end of the flow, in the units
        of X. It may be changed after the fit.

    field : "exact" or PoissonField, default="exact"
        "exact" is the field of the charges, which needs no training. A
        :class:`PoissonField` has the parameters of a network that learns it, which is
        the document's method.

    radius : float or "auto", default="auto"
        Height at which lines end, in the coordinates that `scaling` makes. The higher,
        the more uniform rows are. "auto" is 100 times the size of the data for the
        exact field, and the largest height that a network is trained for.

    start_height : float or "auto", default="auto"
        Height at which lines start, in the same unit. "auto" follows the spacing of
        the charges: :math:`\frac{1}{5} d^{-1/4}` times the median distance to the
        fifth neighbour.

    scaling : {"quantile", "whiten", "view", None}, default="quantile"
        Coordinates in which rows flow. "whiten": principal axes of unit variance; the
        output is rotated back to the columns, as by the symmetric root of their
        correlations. "quantile": columns are mapped to normal scores by their quantiles
        first, so that outliers and skewed columns do no harm, and whitened then; and
        each column of "cube" and "normal" is mapped once more, by the quantiles of the
        training rows there. "view": centred columns, divided by the root of their mean
        variance. None: the columns unchanged, for a projected :class:`PoissonField`
        only, whose equation depends on the origin.

    solver : {"rk4", "midpoint", "euler", "dopri5"}, default="rk4"
        Solver of torchdiffeq, with four, two or one evaluations of the field in a step.
        "dopri5" chooses its own steps, the same for all rows of a batch, with a
        tolerance of 1e-7.

    n_steps : int or "auto", default="auto"
        Number of steps. "auto" takes as many, from 12 to 80, as bring all but one of
        512 training rows back to within .002 in coordinates. It is 25 for a network.

    n_charges : int, "auto" or None, default="auto"
        Largest number of charges: the means of cells of equally many rows, at least
        four. It is rounded down to a power of two. "auto" is 4096. None makes each row
        a charge; training rows do not see their own one then, so that the map is
        continuous except at these. It has no effect on the training of a network.

    device : str, default="auto"
        "cpu", "cuda" or "cuda:<index>". "auto" is the device of X if X is a CUDA
        tensor, else CUDA if available, else the CPU. It is resolved at each call.

    batch_size : int or "auto", default="auto"
        Number of rows that flow at a time. The result does not depend on it, except for
        "dopri5" within its tolerance.

    random_state : int, RandomState instance or None, default=None
        Seeds the training of a network, and :meth:`sample`.

    Attributes
    ----------
    charges_ : ndarray of shape (n_charges_fitted, n_dimensions)
        Charges, in the coordinates that rows flow in. Equal rows are in one charge.

    charge_counts_ : ndarray of shape (n_charges_fitted,)
        Number of rows of each charge.

    n_steps_ : int
        Number of steps.

    start_height_, end_height_ : float
        Heights between which rows flow, in the coordinates that `scaling` makes. With a
        projected :class:`PoissonField` the end is a time.

    score_height_ : float
        Height at which :meth:`score_samples` takes the field, in the units of X.

    M_ : float
        The M of the network. Only with a :class:`PoissonField`.

    loss_curve_ : ndarray of shape (n_iter_,)
        Mean training loss of each epoch. Only with a :class:`PoissonField`.

    n_iter_ : int
        Number of epochs. Only with a :class:`PoissonField`.

    n_features_in_ : int
        Number of features seen during :term:`fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen during :term:`fit`. Defined only when X has feature
        names that are all strings.

    See Also
    --------
    PoissonDenoiser : Rows that move towards their neighbours.
    sklearn.preprocessing.QuantileTransformer : Each column by itself, at any width.
    sklearn.mixture.GaussianMixture : Better samples from four dimensions on.

    Notes
    -----
    **The field.** From a point x at height r over charges :math:`y_j` in d dimensions

    .. math:: \frac{dx}{d \ln r} = r \frac{E_x}{E_r} = x - \hat y(x, r), \qquad
              \hat y = \frac{\sum_j w_j y_j}{\sum_j w_j}, \qquad
              w_j = (|x - y_j|^2 + r^2)^{-(d + 1) / 2}

    after Xu et al. (2022) [1]_. Where the powers leave the range of float64, weights
    are computed from their logarithms; where they stay in that of float32 and there are
    a thousand charges or more, in float32, which changes outputs by about 1e-6.

    **Charges.** Rows are halved at the median of their widest coordinate, the halves
    again, and so on; each cell is a charge in its mean. Charges lie below the plane, or
    above, so that at the start each is seen from a height in proportion to the distance
    to its own fifth neighbour: lines are as smooth where rows are sparse as where they
    are dense. Far above the plane neighbouring cells act as one.

    **To the cube.** On a uniform hemisphere :math:`|x|^2 / (d r^2)` has the F(d, 1)
    distribution. A row keeps its direction and takes the length that has the same
    probability in a normal distribution; the normal distribution function of each
    column leads to the cube. If columns are linearly dependent, whitened rows are
    uniform in each column, but not jointly.

    **Back.** :meth:`inverse_transform` follows the lines down. With a charge for each
    row, the own charge of a training row is ignored on the way out, so that the way
    back ends next to it. The line is followed again without each of the two nearest
    charges; if it then ends on that charge, the row was this training row. The
    documentation has the error by solver and number of steps.

    **Uses, and limits.** Measured in the documentation: rows spread evenly over a cube
    of up to eight dimensions (beyond these there is a warning), representative subsets
    drawn from it, and an outlier score. It does not improve classifiers: the gain that
    the document "Imposing uniformity through Poisson flow models" reports comes from
    fitting the classifier anew. The document's recipe is :meth:`from_document`.

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
        "output": [StrOptions(set(OUTPUTS))],
        "field": [StrOptions({"exact"}), PoissonField],
        "radius": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "scaling": [None, StrOptions({"quantile", "whiten", "view"})],
        **PoissonTransformer._parameter_constraints,
        "n_charges": [
            StrOptions({"auto"}),
            *PoissonTransformer._parameter_constraints["n_charges"],
        ],
        "n_steps": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
    }

    def __init__(
        self,
        *,
        output="cube",
        field="exact",
        radius="auto",
        start_height="auto",
        scaling="quantile",
        solver="rk4",
        n_steps="auto",
        n_charges="auto",
        device="auto",
        batch_size="auto",
        random_state=None,
    ):
        self.output = output
        self.field = field
        self.radius = radius
        self.start_height = start_height
        self.scaling = scaling
        self.solver = solver
        self.n_steps = n_steps
        self.n_charges = n_charges
        self.device = device
        self.batch_size = batch_size
        self.random_state = random_state

    @classmethod
    def from_document(cls, **params):
        """Return the uniformizer with the recipe of the uniformity document.

        Source: Agrawal (2023), "Imposing uniformity through Poisson flow models". Its
        network follows the projected equation in the columns of X, by 100 steps of
        Euler's method, and the output has the height as one more column.

        Parameters
        ----------
        **params : dict
            Parameters that differ from the recipe, such as ``field__max_epochs``.

        Returns
        -------
        uniformizer : PoissonUniformizer
            Not fitted.

        Examples
        --------
        >>> from sklearn_featalign import PoissonUniformizer
        >>> PoissonUniformizer.from_document(random_state=0).field
        PoissonField(M=20, gamma=0.3, parametrization='projected')
        """
        field = PoissonField(parametrization="projected", M=20, gamma=0.3)
        recipe = cls(
            output="flow", field=field, scaling=None, solver="euler", n_steps=100
        )
        return recipe.set_params(**params)

    def transform(self, X):
        """Let rows flow.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features_in_)

        Returns
        -------
        X_new : {ndarray, tensor} of shape (n_samples, n_features_out)
            With as many columns as X. With ``output="hemisphere"``, and with a
            projected :class:`PoissonField`, the height is one more column.
        """
        X = self._check_rows(X)
        d = self.charges_.shape[1]
        if d > _MANY_DIMENSIONS and self._flow_output != "flow":
            warnings.warn(
                f"Rows flow in {d} dimensions. They are known to become uniform "
                f"in up to {_MANY_DIMENSIONS} only: take fewer, by PCA for example.",
                UserWarning,
                stacklevel=3,
            )
        return self._map_rows(X, "forward", self._n_outputs)

    def sample(self, n_samples=1):
        """Draw samples: uniform points, carried back to the data.

        With the default `radius` they follow, in coordinates, a kernel density of the
        charges, with a Cauchy kernel as wide as each is seen from. Its tails are heavy:
        from four dimensions on :class:`~sklearn.mixture.GaussianMixture` draws better
        samples.

        Parameters
        ----------
        n_samples : int, default=1
            Number of samples.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features_in_)
            The same at each call if `random_state` is an integer.

        Raises
        ------
        ValueError
            If the field is a projected :class:`PoissonField`, whose rows do not become
            uniform.
        """
        check_is_fitted(self)
        if self._is_projected:
            raise ValueError(
                "sample needs a field with parametrization='height', in which rows "
                "become uniform."
            )
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        random_state = check_random_state(self.random_state)
        G = random_state.normal(size=(n_samples, self.charges_.shape[1]))
        return self._map_rows(G, "draw", self.n_features_in_)

    def get_feature_names_out(self, input_features=None):
        """Return the names of the output features.

        Parameters
        ----------
        input_features : array-like of str of shape (n_features_in_,), default=None
            Names of the columns of X if they had none in fit.

        Returns
        -------
        names : ndarray of str of shape (n_features_out,)
            Names of the columns of X, and ``poissonuniformizer_z`` for a height.
        """
        names = super().get_feature_names_out(input_features)
        if self._n_outputs == len(names):
            return names
        return np.append(names, f"{type(self).__name__.lower()}_z")

    @property
    def _trains_projected(self):
        return self.field != "exact" and self.field.parametrization == "projected"

    def _check_parameters(self):
        if self.field != "exact":
            self.field._check()
        self._check_output(self._trains_projected)
        if self.scaling is None and not self._trains_projected:
            raise ValueError(
                "scaling=None needs a PoissonField with parametrization='projected'."
            )

    def _check_output(self, is_projected):
        if self.output not in OUTPUTS:
            raise ValueError(f"output={self.output!r} is none of {OUTPUTS}.")
        if is_projected and self.output != "flow":
            raise ValueError(
                "parametrization='projected' does not make rows uniform: output must "
                f"be 'flow', got {self.output!r}."
            )

    def _check_inverse_rows(self, X):
        if self.output == "hemisphere" and X[:, -1].min() <= 0:
            raise ValueError(
                "inverse_transform takes points above the plane with "
                "output='hemisphere', whose last column is positive; got "
                f"{float(X[:, -1].min()):.6g}."
            )

    @property
    def _flow_output(self):
        self._check_output(self._is_projected)
        return self.output

    _path_output = "cube"

    @property
    def _n_outputs(self):
        has_height = self._flow_output == "hemisphere" or self._is_projected
        return self.n_features_in_ + has_height

    @property
    def _n_work_columns(self):
        if self._weights is None:
            return super()._n_work_columns
        return sum(len(weight) for weight in self._weights.values())

    @property
    def _n_epochs(self):
        return 0 if self.field == "exact" else self.field.max_epochs

    def _fit_heights(self, rows, log_counts, spacing_height, size):
        fitted = {"_is_projected": self._trains_projected, "_weights": None}
        start, end = spacing_height, _RADIUS * size
        if self.field != "exact":
            sigma, tau, M = float(self.field.sigma), float(self.field.tau), self.field.M
            if M == "auto":
                norm = float(log_counts.softmax(0) @ rows.norm(dim=1))
                M = largest_exponent(norm, rows.shape[1], sigma, tau)
            fitted["M_"] = float(M)
            end = trained_height(sigma, tau, M)
        if self._trains_projected:
            start, end = 0.0, _PROJECTED_TIME
        start = start if self.start_height == "auto" else float(self.start_height)
        end = end if self.radius == "auto" else float(self.radius)
        if self._trains_projected:
            self._check_size(size)
        elif end <= start:
            raise ValueError(
                f"The start height {start:.6g} must be below the radius {end:.6g}."
            )
        else:
            check_heights(start, end, size)
        return fitted | {"start_height_": start, "end_height_": end}

    def _fit_depths(self, charges, height):
        rows = Rows(charges, charges.device, self.batch_size, len(charges))
        distances = with_smaller_batches(neighbor_distances, rows, charges)
        return depths_below(height, distances)

    def _check_size(self, size):
        """Raise an error if float32 cannot square unscaled rows."""
        low, high = _TRAINED_SIZES
        if self.scaling is None and not low <= size <= high:
            raise ValueError(
                f"The root mean square of X about its mean is {size:.6g}. With "
                f"scaling=None it must lie between {low:.6g} and {high:.6g} for a "
                "network to be trained: scale X first, or use scaling='view'."
            )

    def _fit_field(self, rows, coordinates, fitted, task, random_state):
        """Train a network of the field, and return the fit with it."""
        if self.field == "exact":
            return fitted
        Z = with_smaller_batches(coordinates_of_all, rows, coordinates)
        generator = torch_generator(random_state)
        of_points = torch_generator(random_state, Z.device)
        network = make_network(Z, self.field, fitted["M_"], generator, of_points)
        fitted_attributes = partial(with_weights, fitted, network)
        callbacks = SklearnCallbacks(task, fitted_attributes)
        history = train_network(network, Z, self.field, generator, callbacks)
        losses = np.array(history[:, "train_loss"])
        return fitted_attributes() | {"loss_curve_": losses, "n_iter_": len(losses)}

    def _fit_steps(self, rows, fitted):
        """Choose the number of steps, and fit the last map, on rows that flow."""
        chosen = {"n_steps_": _STEPS_OF_NETWORK, "_last": None}
        if self.n_steps != "auto":
            chosen["n_steps_"] = int(self.n_steps)
        trial = copy(self)
        set_fitted(trial, fitted | chosen)
        if self.n_steps == "auto" and self.field == "exact":
            X = rows.take(every_nth(len(rows), _N_PROBES))
            for n_steps in _N_STEPS:
                trial.n_steps_ = chosen["n_steps_"] = n_steps
                errors = trial._map_rows(X, "return_errors", 1)
                if (errors > _RETURN_ERROR).sum() <= 1:
                    break
        if self.scaling == "quantile" and not trial._is_projected:
            X = rows.take(every_nth(len(rows), _N_LAST))
            scores = trial._map_rows(X, "scores", X.shape[1])
            scores = torch.as_tensor(scores, device=rows.device)
            chosen["_last"] = to_numpy(fit_quantiles(scores))
        return chosen

    @property
    def _steps(self):
        return self.n_steps_ if self.n_steps == "auto" else self.n_steps

    def _field(self, device):
        if self._weights is None:
            return super()._field(device)
        return LearnedField(to_torch(self._weights, device, torch.float64))

    def _make_flow(self, device):
        if not self._is_projected:
            return super()._make_flow(device)
        return ProjectedFlow(
            load_coordinates(self._coordinates, device),
            to_torch(self._weights, device, torch.float64),
            self.start_height_,
            self.end_height_,
            self.solver,
            self._steps,
        )

    def _paths(self, X, n_points):
        if self._is_projected:
            raise ValueError(
                "With parametrization='projected' rows do not share their heights."
            )
        return super()._paths(X, n_points)


def coordinates_of_all(rows, coordinates):
    """Return the coordinates of all rows."""
    return torch.cat([to_coordinates(X, coordinates) for X in rows])


def with_weights(fitted, network):
    """Return fitted attributes with the weights of a network."""
    return fitted | {"_weights": to_numpy(detached(network.weights))}

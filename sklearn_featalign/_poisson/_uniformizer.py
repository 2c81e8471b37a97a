"""Rows that become uniform along the electric field of the training rows, and back."""

import warnings
from copy import copy
from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_featalign._linalg import every_nth
from sklearn_featalign._poisson._flow import OUTPUTS, check_output, return_errors
from sklearn_featalign._poisson._heights import (
    check_heights,
    check_upward,
    depths_below,
    neighbor_distances,
)
from sklearn_featalign._poisson._learned import (
    LearnedFieldMixin,
    check_trained_size,
    exponent_and_height,
)
from sklearn_featalign._poisson._poisson_field import PoissonField
from sklearn_featalign._poisson._quantiles import fit_quantiles, without_rounding
from sklearn_featalign._poisson._transformer import PoissonTransformer
from sklearn_featalign._torch import (
    Rows,
    set_fitted,
    to_device,
    to_numpy,
    with_smaller_batches,
)

# Rows were seen to become uniform in up to this many dimensions.
_MANY_DIMENSIONS = 8

# Height at which lines end, in multiples of the size of the data.
_RADIUS = 100.0

# Numbers of steps. "auto" is the first with which all but one of some rows come back
# with this error or less; that of a network is fixed.
_N_STEPS = (12, 16, 20, 25, 32, 40, 50, 64, 80)
_STEPS_OF_NETWORK = 25
_N_PROBES = 512
_RETURN_ERROR = 1e-3

# The last map is fitted on at least so many rows, if there are as many.
_N_LAST = 10000

# Time in which the document lets rows flow.
_PROJECTED_TIME = 1.0


class PoissonUniformizer(LearnedFieldMixin, PoissonTransformer):
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
        512 training rows back to within .001 of the spread of a column (half its middle
        68 %) plus their distance from its median. It is 25 for a network.

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

    verbose : bool, default=False
        Whether :meth:`transform`, :meth:`inverse_transform` and :meth:`score_samples`
        print how far they are. Without it they announce a call of more than a minute,
        as a warning of the logger "sklearn_featalign".

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

    after Xu et al. (2022) [1]_. Weights of a thousand charges or more are computed in
    float32 where this changes outputs by about 1e-6.

    **Charges.** Rows are halved at the median of their widest coordinate, the halves
    again, and so on; each cell is a charge in its mean. Charges lie below the plane, or
    above, so that at the start each is seen from a height in proportion to the distance
    to its own fifth neighbour: lines are as smooth where rows are sparse as where they
    are dense. Far above the plane neighbouring cells act as one.

    **To the cube.** On a uniform hemisphere :math:`|x|^2 / (d r^2)` has the F(d, 1)
    distribution. A row keeps its direction and takes the length that has the same
    probability in a normal distribution; the normal distribution function of each
    column leads to the cube.

    **Back.** :meth:`inverse_transform` follows the lines down. One column needs no
    steps: its lines are known in closed form. With ``n_charges=None``, where the own
    charge of a training row is ignored on the way out, the line is followed again
    without each of the two nearest charges; if it then ends on that charge, the row was
    this training row.

    **Limits.** Rows become uniform in up to about eight dimensions; beyond these there
    is a warning. The map does not improve classifiers: the gain that the document
    "Imposing uniformity through Poisson flow models" reports comes from fitting the
    classifier anew. The document's recipe is :meth:`from_document`.

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
        verbose=False,
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
        self.verbose = verbose

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
        return self._map_rows(X, "forward", self._n_outputs, told="transform")

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

    def _check_parameters(self):
        if self.field != "exact":
            self.field._check()
        check_output(self.output, self._trains_projected)
        if self.scaling is None and not self._trains_projected:
            raise ValueError(
                "scaling=None needs a PoissonField with parametrization='projected'."
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
        check_output(self.output, self._is_projected)
        return self.output

    _path_output = "cube"

    @property
    def _n_outputs(self):
        has_height = self._flow_output == "hemisphere" or self._is_projected
        return self.n_features_in_ + has_height

    def _fit_heights(self, rows, log_counts, spacing_height, size):
        fitted = {"_is_projected": self._trains_projected, "_weights": None}
        start, end = spacing_height, _RADIUS * size
        if self.field != "exact":
            fitted["M_"], end = exponent_and_height(rows, log_counts, self.field)
            # Of few different rows the spacing may exceed the heights of training.
            start = min(start, end / 2)
        if self._trains_projected:
            start, end = 0.0, _PROJECTED_TIME
        start = start if self.start_height == "auto" else float(self.start_height)
        end = end if self.radius == "auto" else float(self.radius)
        if not self._trains_projected:
            check_upward(start, end)
            check_heights(start, end, size)
        elif self.scaling is None:
            check_trained_size(size)
        return fitted | {"start_height_": start, "end_height_": end}

    def _fit_depths(self, charges, height):
        rows = Rows(charges, charges.device, self.batch_size, len(charges))
        distances = with_smaller_batches(neighbor_distances, rows, charges)
        return depths_below(height, distances)

    def _fit_steps(self, rows, fitted):
        """Choose the number of steps, and fit the last map, on rows that flow."""
        chosen = {"n_steps_": _STEPS_OF_NETWORK, "_last": None}
        if self.n_steps != "auto":
            chosen["n_steps_"] = int(self.n_steps)
        trial = copy(self)
        set_fitted(trial, fitted | chosen)
        if self.n_steps == "auto" and self.field == "exact":
            X = rows.take(every_nth(len(rows), _N_PROBES))
            for trial.n_steps_ in _N_STEPS:
                back = trial._map_rows(X, "there_and_back", X.shape[1])
                errors = return_errors(*(to_device(R, rows.device) for R in (X, back)))
                if (errors > _RETURN_ERROR).sum() <= 1:
                    break
            chosen["n_steps_"] = trial.n_steps_
        if self.scaling == "quantile" and not trial._is_projected:
            X = rows.take(every_nth(len(rows), _N_LAST))
            scores = trial._map_rows(X, "scores", X.shape[1])
            scores = to_device(scores, rows.device)
            chosen["_last"] = to_numpy(fit_quantiles(without_rounding(scores)))
        return chosen

    @property
    def _steps(self):
        return self.n_steps_ if self.n_steps == "auto" else self.n_steps

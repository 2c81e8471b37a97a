"""Rows that move towards their neighbours, down the field of the training rows."""

from numbers import Real

from sklearn.utils._param_validation import Interval, StrOptions

from sklearn_featalign._poisson._heights import check_heights
from sklearn_featalign._poisson._transformer import PoissonTransformer


class PoissonDenoiser(PoissonTransformer):
    r"""Rows move towards their neighbours, along the electric field of the charges.

    Training rows are charges in a plane. Rows start above it at the height where they
    see their neighbours, and follow the lines of force downwards: much as if each row
    were averaged with its neighbours. This removes noise from raw features, and helps
    classifiers that have few labels. The flow is that of :class:`PoissonUniformizer` in
    the other direction.

    Parameters
    ----------
    contraction : float, default=0.6
        Height at which rows end, as a share of the start height. The smaller it is, the
        farther rows move.

    start_height : float or "auto", default="auto"
        Height at which rows start, in the coordinates that `scaling` makes. "auto" is
        the height at which the median perplexity of the field weights is 15 (or half
        the number of charges, if that is less), but at least the start height of
        :class:`PoissonUniformizer`.

    scaling : {"view", "whiten"}, default="view"
        Coordinates in which rows flow: centred, and divided by the root of the mean
        variance of a column; or whitened along principal axes.

    solver : {"rk4", "midpoint", "euler", "dopri5"}, default="rk4"
        Solver of torchdiffeq; see :class:`PoissonUniformizer`.

    n_steps : int, default=24
        Number of steps.

    n_charges : int or None, default=None
        Largest number of charges, which are means of cells; see
        :class:`PoissonUniformizer`. None makes each row a charge.

    device : str, default="auto"
        Device of torch; see :class:`PoissonUniformizer`.

    batch_size : int or "auto", default="auto"
        Number of rows that flow at a time.

    random_state : int, RandomState instance or None, default=None
        Ignored.

    verbose : bool, default=False
        Whether progress is printed; see :class:`PoissonUniformizer`.

    Attributes
    ----------
    charges_ : ndarray of shape (n_different, n_dimensions)
        Charges, in the coordinates that rows flow in. Equal rows are one charge.

    charge_counts_ : ndarray of shape (n_different,)
        Number of rows of each charge.

    start_height_, end_height_ : float
        Heights between which rows flow, in the coordinates that `scaling` makes.

    score_height_ : float
        Height at which :meth:`score_samples` takes the field, in the units of X.

    n_features_in_ : int
        Number of features seen during :term:`fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen during :term:`fit`. Defined only when X has feature names
        that are all strings.

    See Also
    --------
    PoissonUniformizer : Follows the lines away from the charges, to uniform rows.

    Notes
    -----
    The line of force through a row x at height r is

    .. math:: \frac{dx}{d \ln r} = x - \hat y(x, r)

    where :math:`\hat y` is the mean of the charges under the weights of the field (see
    :class:`PoissonUniformizer`). Downwards, x moves towards this mean. A row that
    coincides with a charge is not attracted by itself.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_featalign import PoissonDenoiser
    >>> rng = np.random.default_rng(0)
    >>> angles = rng.uniform(0, 2 * np.pi, size=500)
    >>> circle = np.column_stack([np.cos(angles), np.sin(angles)])
    >>> X = circle + 0.1 * rng.normal(size=circle.shape)
    >>> denoised = PoissonDenoiser().fit_transform(X)
    >>> before, after = (np.std(np.linalg.norm(Z, axis=1)) for Z in (X, denoised))
    >>> bool(after < 0.9 * before)
    True
    """

    _parameter_constraints = {
        "contraction": [Interval(Real, 0, 1, closed="neither")],
        "scaling": [StrOptions({"view", "whiten"})],
        **PoissonTransformer._parameter_constraints,
    }

    def __init__(
        self,
        *,
        contraction=0.6,
        start_height="auto",
        scaling="view",
        solver="rk4",
        n_steps=24,
        n_charges=None,
        device="auto",
        batch_size="auto",
        random_state=None,
        verbose=False,
    ):
        self.contraction = contraction
        self.start_height = start_height
        self.scaling = scaling
        self.solver = solver
        self.n_steps = n_steps
        self.n_charges = n_charges
        self.device = device
        self.batch_size = batch_size
        self.random_state = random_state
        self.verbose = verbose

    _flow_output = "flow"
    _path_output = "flow"

    def _fit_heights(self, rows, log_counts, spacing_height, size):
        if self.start_height == "auto":
            # With cells the spacing height is theirs.
            spacing = self._spacing(rows, size)
            start = self._neighbor_height(rows, log_counts, spacing)
        else:
            start = float(self.start_height)
        end = self.contraction * start
        check_heights(start, end, size)
        return {"start_height_": start, "end_height_": end}

"""The parameters of a network that learns the field."""

from numbers import Integral, Real

from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions

from sklearn_featalign._mlp import check_hidden_layer_sizes


class PoissonField(BaseEstimator):
    r"""Parameters of a network that learns the field.

    It is the `field` of a :class:`PoissonUniformizer`, whose searches reach the
    parameters by ``field__M`` and so on.

    Parameters
    ----------
    parametrization : {"height", "projected"}, default="height"
        Equation of the lines. "height": :math:`dx / dr = E_x / E_r`, as for the exact
        field. "projected": the document's :math:`dy / ds = E / (E \cdot y)` for the
        point y with its height, from the height `start_height` (by default zero) to the
        time `radius` (by default 1), in which the squared length of y grows by twice as
        much. It needs ``output="flow"``, which has the height as one more column.

    hidden_layer_sizes : sequence of int or None, default=None
        Widths of the hidden layers, with ReLU after each. None is two layers of as many
        units as there are coordinates plus the height, as in the author's code.

    tau, sigma : float, default=0.03, 0.01
        How training points are spread over heights; see the Notes.

    M : float or "auto", default="auto"
        Largest exponent of the heights. "auto" is PFGM's formula, which gives 155 for
        128 features of unit length; the document has 20.

    gamma : float, default=5.0
        Added to the length of the field in the target of the network. PFGM has 5, the
        author's code 0.3.

    max_epochs : int, default=200
        Number of passes over the rows.

    lr : float, default=1e-3
        Learning rate of Adam.

    large_batch_size, small_batch_size : int, default=1024, 128
        Number of rows of a training step whose field is learned, and number of these
        that are perturbed.

    See Also
    --------
    PoissonUniformizer.from_document : The uniformity document's recipe.

    Notes
    -----
    The network learns :math:`\sqrt{d} E / (|E| + \gamma)`, where E is the field of the
    rows of a batch, at points above some of them: at heights :math:`|\epsilon| (1 +
    \tau)^m`, with m uniform between 0 and M and :math:`\epsilon` normal with standard
    deviation sigma, and displaced sideways by as much: Xu et al. (2022), "Poisson flow
    generative models", and Agrawal (2023), "Imposing uniformity through Poisson flow
    models".

    The projected equation does not depend on the sign of E, and has a pole where E is
    orthogonal to y. ``parametrization="height"`` with PFGM's hyperparameters, the
    default, avoids both.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_featalign import PoissonField, PoissonUniformizer
    >>> X = np.random.default_rng(0).normal(size=(100, 3))
    >>> u = PoissonUniformizer(field=PoissonField(max_epochs=5), random_state=0)
    >>> u.fit_transform(X).shape, u.get_params()["field__max_epochs"]
    ((100, 3), 5)
    """

    _parameter_constraints = {
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
    }

    def __init__(
        self,
        *,
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
    ):
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

    def _check(self):
        """Raise an error if a parameter has no valid value."""
        self._validate_params()
        if self.hidden_layer_sizes is not None:
            check_hidden_layer_sizes(self.hidden_layer_sizes)

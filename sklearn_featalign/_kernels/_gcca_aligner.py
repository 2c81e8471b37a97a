"""Kernel generalised CCA of all pairs, with a correction for hubs."""

from functools import partial, reduce
from itertools import permutations
from numbers import Integral, Real

import joblib
import numpy as np
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from sklearn_featalign._base import count_views, has_pairs
from sklearn_featalign._kernels._features import (
    Projection,
    as_features,
    extended_features,
    fit_features,
    project,
)
from sklearn_featalign._kernels._gcca_choice import choose
from sklearn_featalign._kernels._gcca_views import (
    Setting,
    Sums,
    choose_kept,
    choose_single,
    fit_views,
    framed,
    moments_of_rows,
    view_features,
    view_parts,
)
from sklearn_featalign._kernels._hubness import load_hub_columns
from sklearn_featalign._kernels._landmark_aligner import LandmarkAligner
from sklearn_featalign._kernels._moments import add
from sklearn_featalign._kernels._translation import fit_translations
from sklearn_featalign._torch import (
    in_plain_torch,
    resolve_device,
    set_fitted,
    to_numpy,
    to_torch,
)
from sklearn_featalign._views import has_columns, resolve_views, view_name

_METRICS = {"dot", "cosine"}

# What "auto" chooses from; the first ones if there is nothing to choose by.
_SHARES = (0.7, 0.4, 0.9)
_POWERS = (8.0, 4.0, 12.0)
_TRANSLATED_SHARES = (0.4, 0.1, 1.0)


def has_translations(estimator):
    return has_pairs(estimator) and estimator.fit_translations


class KernelGCCAAligner(LandmarkAligner):
    r"""Regularised kernel generalised CCA of several views, from all paired rows.

    Rows that several networks have in common are paired. Each view describes a row by
    its columns and by an RBF kernel with landmark rows; the fit keeps what the views
    share, from every row that has two views or more. It is the aligner for searching
    rows of one network among those of another: the Notes say when to use which.

    Parameters
    ----------
    c : float, default=0.3
        The bandwidth of each view is solved so that its RBF kernel has this mean, as in
        :class:`RBFAutoScaleAligner`. Larger than the share of zero distances (at least
        one in `n_samples`) and less than 1.

    n_components : int, default=512
        Number of components of the output. There are fewer if rows and features have a
        lower rank: at most one less than paired rows.

    linear : float or "auto", default="auto"
        Share of the linear kernel in the sum of the two, from 0 to 1. The larger, the
        more nearly networks are linear images of one another. Even at 1 a bandwidth for
        `c` must exist. "auto" is the best of .4, .7 and .9 by the likelihood of rows
        that are left out: all of 100 to 500 paired rows, of more a fifth and at least
        400. It takes a fit for each value and each of up to five groups of rows. With
        fewer rows, or more than two views, it is .7.

    ridge : float, default=0.1
        Regularisation, where the kernel of a view among its n paired rows has the trace
        n. Translations have penalties of their own.

    power : float or "auto", default="auto"
        Exponent of the shared part of components, at least 0. The larger, the more
        directions that the views do not share are suppressed. "auto" is the best of 4,
        8 and 12, or 8, chosen together with `linear`.

    hub_neighbors : int, default=10
        Number of reference rows that measure the hubness of a row, which is its mean
        similarity to the nearest ones of all other views. With 0, and with a single
        view, there is no column for hubness and rows have unit length, which is what
        classifiers and comparisons within a view need.

    metric : {"dot", "cosine"}, default="dot"
        How aligned rows of different views are to be compared. "dot" has one column for
        hubness; pass it on to :mod:`sklearn_featalign.metrics`, whose default is the
        cosine. "cosine" has one more column for each view, which gives all rows unit
        length and changes no order across views: for indexes and estimators that only
        know cosines or Euclidean distances. These columns tell the views apart, which
        misleads a classifier that is trained on one view and used on another. It may be
        changed after the fit.

    fit_translations : bool, default=True
        Whether the fit prepares :meth:`translate`, for each ordered pair of views. This
        adds about a sixth to the time of a fit of two views, and two fifths to that of
        five. Each pair is kept as a matrix, with a row for each column and landmark of
        one view, and a column for each of the other's. Without it searches by
        retrieval are faster.

    n_landmarks : int or None, default=1000
        Number of landmarks. None, or a number larger than there are (with a warning),
        takes every row that has all views, in its own order. The time of the fit grows
        with its third power, and the memory with its second.

    landmarks : {"random", "farthest", "kmeans++"}, default="random"
        How landmarks are chosen among the rows that have every view; see
        :class:`RBFAutoScaleAligner`.

    views : list, dict or None, default=None
        How the columns of X split into views, features that different networks have of
        the same samples: widths such as ``[768, 1024]``, a list of slices, of lists of
        column indices or of column names, of scikit-learn's ``make_column_selector``,
        or a dict of any of these by name, such as
        ``{"clip": 768, "dino": 1024}``. Columns that no view selects are ignored. A
        sample lacks a view if all its columns in this view are NaN; a sample with one
        view alone counts for the bandwidth of this view and for hubness only. None is
        one view, without missing values.

    output : {"concat", "coalesce", "mean"}, str or int, default="concat"
        Output for several views: their features side by side; the features of the first
        view that a sample has; the mean over the views that it has; or the features of
        one view, given by name or index. It may be changed after the fit.

    device : str, default="auto"
        "cpu", "cuda" or "cuda:<index>". "auto" is the device of X if X is a CUDA
        tensor, else CUDA if available, else the CPU. It is resolved at each call.

    batch_size : int or "auto", default="auto"
        Number of rows computed at a time, halved when CUDA runs out of memory.

    random_state : int, RandomState instance or None, default=None
        Seeds the choice of the landmarks.

    Attributes
    ----------
    gamma_ : float, or ndarray of shape (n_views,)
        Bandwidth of the RBF kernel in multiples of twice the total variance of the
        training rows; one for each view if `views` is set.

    mean_affinity_ : float, or ndarray of shape (n_views,)
        Mean of the RBF kernel between the training rows and the landmarks: `c`.

    n_components_ : int
        Number of components.

    linear_ : float
        The share of the linear kernel.

    power_ : float
        The exponent of the shared part of components.

    loo_score_ : float
        Top-1 accuracy of retrieval across views, by cosine or dot product, for rows
        that a fit of the others has left out, a group of rows at a time; NaN for fewer
        than ten rows. Only with two or more views. See the Notes.

    loo_size_ : int
        Number of rows among which each of them is searched: a fifth of the paired rows,
        at most 2000.

    translation_score_ : dict of (str, str) to float
        For each source and target view, the R² of :meth:`translate` in rows that the
        regression has left out: the share of the variance that it explains, over all
        columns. NaN if the target is constant.

    translation_params_ : dict of (str, str) to dict
        The share `linear` of the linear kernel in these regressions, and their penalty
        `ridge` in the unit of the parameter.

    view_columns_ : dict of str to ndarray of int of shape (n_view_features,)
        The columns of X of each view, by name: "view0", "view1" and so on if `views`
        gives no names.

    landmarks_ : ndarray of shape (n_landmarks_, n_features_in_)
        The landmark rows, as they were given.

    landmark_indices_ : ndarray of shape (n_landmarks_,)
        Their positions in the training rows, of the first call of `partial_fit`.

    n_landmarks_ : int
        Number of landmarks.

    n_features_in_ : int
        Number of features seen during :term:`fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen during :term:`fit`. Defined only when X has feature names
        that are all strings.

    See Also
    --------
    RBFAutoScaleAligner : Fits each view by itself.
    sklearn_featalign.metrics.retrieval_accuracy : Has the same `metric`, and CSLS.

    Notes
    -----
    **Features.** Z are the columns of a view, K the RBF kernel among the landmarks, k
    that of rows with landmarks, a the share `linear` and :math:`\rho` the parameter
    `ridge`. Over the n rows that have the view and another one, the features

    .. math:: F = \bigl[\sqrt{a} \, Z, \; \sqrt{1 - a} \; k K^{-1/2}\bigr]

    have their means taken off, and each part has a mean squared row norm of 1 before
    its factor. :math:`F F^T` is then the sum of the two kernels with trace n, the
    second one as approximated by Nystroem [5]_; if all rows are landmarks it is exact.

    **The problem.** With :math:`C = F^T F` the hat matrix of ridge regression on a view
    is

    .. math:: H = F (C + \rho I)^{-1} F^T = W W^T, \qquad W = F L^{-T}, \qquad
              L L^T = C + \rho I

    It maps any target on the rows to its fitted values. MAXVAR generalised CCA [1]_
    [2]_ looks for targets G that all views fit well, the leading eigenvectors of the
    mean hat matrix; with kernels and a ridge it is that of [3]_. They follow from a
    matrix that does not grow with the rows. For V views

    .. math:: S = \tfrac{1}{V} [W_1 .. W_V]^T [W_1 .. W_V], \qquad S Q = Q \mu, \qquad
              G = [W_1 .. W_V] \, Q \, (V \mu)^{-1/2}

    with blocks :math:`S_{uv} = L_u^{-1} F_u^T F_v L_v^{-T} / V`, and ridge regression
    predicts :math:`F_u L_u^{-T} Q_u (V \mu)^{1/2}` from view u. For two linear views
    without a ridge these are the canonical variates, with eigenvalues :math:`(1 +
    \mathrm{corr}) / 2`. Rows that lack views enter with the weight that generalised CCA
    with missing rows [6]_ gives them. Sums of products of features are all that the fit
    needs of the rows, which `partial_fit` and `add_moments` build on.

    **Output.** Predictions of the `n_components` leading variates are weighted by
    :math:`(\mu / \mu_1)^p` with p the parameter `power`, rotated by a fixed orthogonal
    matrix, and made of unit length. Without the rotation many columns would be nearly
    zero, and a scaler ahead of a classifier would amplify them. For more than two views
    the eigenpairs of :math:`\bigl(\operatorname{mean}_{u < v} (\frac{1}{2} (H_u +
    H_v))^{24} \bigr)^{1/24}` take the place of the variates and of :math:`\mu`, with H
    the hat matrices, restricted to the leading variates, one and a half times as many.
    This power mean keeps what any two views share, where the mean would keep what most
    of them do.

    **Hubness.** Some rows are near to everything and displace the true matches of
    others. CSLS [4]_ subtracts a row's mean similarity to its nearest rows of the other
    view. Here these are up to 10,000 training rows, each as predicted without its own
    part in the regression, :math:`(f - h g) / (1 - h)` with h its leverage in the view
    and g its variates. Where there are fewer rows with two views or more, rows with one
    fill up, as many of each view: they have no part to leave out. With r the mean
    similarity, in the 256 leading components, to the `hub_neighbors` nearest rows of
    any other view, less its mean over these rows, the column :math:`1 - .65 r` makes

    .. math:: \langle f(x), f(y) \rangle
              + \bigl(1 - .65 \, r(x)\bigr) \bigl(1 - .65 \, r(y)\bigr)

    which subtracts :math:`.65 \, (r(x) + r(y))`, up to a constant and a small product.
    CSLS subtracts half of each. Unlike CSLS it needs neither the other searched rows
    nor another view of the row. With more than two views r is the same whichever view
    is searched.

    **The score of left-out rows.** The variates G have seen every training row, so that
    leaving a row out of the regression alone would not be honest. `loo_score_`
    subtracts a group of rows from the sums, fits the others anew, and searches the
    group's rows among each other. It is what `score` would give for as many new rows,
    from a fit of four fifths of the pairs. Compare it with scores of `loo_size_` rows
    only. It is too high if training rows repeat, or nearly so, and noisy for few pairs.
    The same rows choose `linear` and `power`, by the mean log-likelihood of the true
    partner under a softmax of the similarities, at the best of several temperatures:
    among few rows most are found, and ranks tell little. The score is a little too high
    for it, as that of the best of nine.

    **Rows far from all training rows** have no affinity to any landmark, and follow the
    linear kernel alone; with ``linear=0`` they all have the same features. A view that
    is the same in all paired rows is an error.

    **When to use which.** As measured in the documentation: KernelGCCAAligner for
    retrieval and for classifiers across networks, with paired rows of all networks in
    one fit; RBFAutoScaleAligner if networks are fitted apart, if views are added later,
    or for one network alone. ``c`` and ``ridge`` can be searched with
    :class:`~sklearn.model_selection.GridSearchCV`, whose held-out rows give an honest
    `score`; set `linear` and `power` there, which saves most of the time. The score of
    training rows means nothing, since the fit has seen them.

    The fit computes in float64. Rows of float32 are transformed in float32 where the
    rounding errors of a row stay below 1e-5 of its length; see
    :class:`RBFAutoScaleAligner` on distances, dtypes and tensors. From 2600 features of
    all views on, if there are as many rows, eigenvectors are sought in a subspace,
    which is exact for the leading ones and approximates the last.

    References
    ----------
    .. [1] Carroll (1968), "Generalization of canonical correlation analysis to three
       or more sets of variables".
    .. [2] Kettenring (1971), "Canonical analysis of several sets of variables".
    .. [3] Bach and Jordan (2002), "Kernel independent component analysis", for
       regularised kernel CCA, and Tenenhaus, Philippe and Frouin (2015), "Kernel
       generalized canonical correlation analysis".
    .. [4] Conneau et al. (2018), "Word translation without parallel data".
    .. [5] Williams and Seeger (2001), "Using the Nystroem method to speed up kernel
       machines".
    .. [6] van de Velden and Bijmolt (2006), "Generalized canonical correlation analysis
       of matrices with missing rows: a simulation study".

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_featalign import KernelGCCAAligner
    >>> from sklearn_featalign.metrics import retrieval_accuracy
    >>> rng = np.random.default_rng(0)
    >>> Z = rng.normal(size=(400, 8))
    >>> X = np.tanh(Z @ rng.normal(size=(8, 40)))
    >>> Y = np.tanh(Z @ rng.normal(size=(8, 30)))
    >>> aligner = KernelGCCAAligner(views=[40, 30], n_landmarks=None)
    >>> aligner = aligner.fit(np.hstack([X, Y])[:200])
    >>> F = aligner.transform_view(X[200:], 0)
    >>> G = aligner.transform_view(Y[200:], 1)
    >>> F.shape, retrieval_accuracy(F, G, metric="dot") > 0.95
    ((200, 200), True)
    >>> aligner.n_components_, aligner.loo_size_, aligner.loo_score_ > 0.95
    (199, 40, True)
    """

    _parameter_constraints = {
        **LandmarkAligner._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "linear": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="both")],
        "ridge": [Interval(Real, 0, None, closed="neither")],
        "power": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "hub_neighbors": [Interval(Integral, 0, None, closed="left")],
        "metric": [StrOptions(_METRICS)],
        "fit_translations": ["boolean"],
    }

    def __init__(
        self,
        c=0.3,
        *,
        n_components=512,
        linear="auto",
        ridge=0.1,
        power="auto",
        hub_neighbors=10,
        metric="dot",
        fit_translations=True,
        n_landmarks=1000,
        landmarks="random",
        views=None,
        output="concat",
        device="auto",
        batch_size="auto",
        random_state=None,
    ):
        self.c = c
        self.n_components = n_components
        self.linear = linear
        self.ridge = ridge
        self.power = power
        self.hub_neighbors = hub_neighbors
        self.metric = metric
        self.fit_translations = fit_translations
        self.n_landmarks = n_landmarks
        self.landmarks = landmarks
        self.views = views
        self.output = output
        self.device = device
        self.batch_size = batch_size
        self.random_state = random_state

    @in_plain_torch
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """Add rows to the fit.

        The first call chooses the landmarks, the bandwidths and the rows that measure
        hubness, which then stay as they are. What the views share follows from sums
        over the rows of all calls, once it is needed, for instance by `transform`.
        `fit` keeps no sums: a call after it is a first call.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features)
            Training rows. Those of the first call should be a random choice of all; at
            least two of them differ, and two have every view.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The aligner.

        Raises
        ------
        ValueError
            As by `fit`.
        """
        if getattr(self, "_sums", None) is not None:
            return self.add_moments(self.compute_moments(X))
        task = self._fit_task(X, y)
        training, features, fitted = self._fit_landmarks(X, task)
        with task.subtask("all views"):
            sums = self._sum_up(features, training, fitted["landmark_indices_"])
        fitted |= {"_sums": to_numpy(sums), "_solution": None}
        task.finish(fitted)
        set_fitted(self, fitted)
        return self

    def _check_same_views(self, X, rows):
        """Raise an error if `views` is no longer what it was in the first call.

        X is what the user gave, perhaps with names, and `rows` are checked.
        """
        if self.views is None:
            return
        columns = resolve_views(self.views, X if has_columns(X) else rows)
        order = list(columns) == list(self.view_columns_)
        if not (order and self._has_same_columns(X, columns)):
            raise ValueError(
                "views is not what it was in the first call of partial_fit: use a "
                "clone for other views, or for another order of them."
            )

    @in_plain_torch
    def compute_moments(self, X):
        """Return the sums over rows that `add_moments` adds to the fit.

        The aligner does not change: copies of it can do this in other processes.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features_in_)
            Training rows.

        Returns
        -------
        moments : dict
            Sums of products of the rows' kernel features: nested dicts of arrays, and
            under "features" a hash that tells of which features they are.

        Raises
        ------
        ValueError
            If the aligner was not fitted by `partial_fit`.
        """
        rows = self._check_rows(X)
        self._check_same_views(X, rows)
        device = resolve_device(self.device, rows)
        features = self._load_features(device)
        n_present = count_views(self._view_masks(rows, self.view_columns_))
        moments = moments_of_rows(
            rows, device, self.batch_size, n_present, self.view_columns_, features
        )
        return to_numpy(moments) | {"features": self._hash_of_features()}

    def add_moments(self, *moments):
        """Add sums over further rows to the fit.

        Parameters
        ----------
        *moments : dict
            From `compute_moments` of this aligner or of copies of it, in any order.

        Returns
        -------
        self : object
            The aligner.

        Raises
        ------
        ValueError
            If the aligner was not fitted by `partial_fit`, or if moments are of another
            aligner, with other landmarks or views in another order.
        """
        self._check_has_sums()
        own = self._hash_of_features()
        parts = [dict(part) for part in moments]
        if any(part.pop("features", None) != own for part in parts):
            raise ValueError(
                "These moments are of another aligner, with other landmarks or another "
                "order of views: they are computed by copies of this one."
            )
        total = reduce(add, parts, self._sums["moments"])
        vars(self).update(_sums={**self._sums, "moments": total}, _solution=None)
        return self

    @available_if(has_translations)
    def translate(self, X_view, source, target):
        r"""Return rows of one view as the features that another view would have.

        It is for what exists already for the other network: an index, a classifier, a
        decoder. The target's columns are predicted, in their own units, by kernel ridge
        regression on the source. The Notes say how.

        Parameters
        ----------
        X_view : {array-like, tensor} of shape (n_samples, n_source_features)
            The columns of the source view.
        source, target : str or int
            Names or indices of two views.

        Returns
        -------
        X_target : {ndarray, tensor} of shape (n_samples, n_target_features)
            Predicted columns of the target view; NaN where the source is absent. Rows
            are nearer to the mean than the target's own, the more so the less is known:
            scale both to unit length where directions matter.

        Raises
        ------
        ValueError
            If a view is unknown, if both are the same, or if X_view has another width.
        AttributeError
            If the aligner was fitted with ``fit_translations=False``.

        Notes
        -----
        With F the features of the source as in the Notes of the class, and Y the
        columns of the target less their means, over the rows that have both views,

        .. math:: \hat Y = F (F^T F + \lambda I)^{-1} F^T Y

        which is kernel ridge regression [1]_. A row that is left out has the error
        :math:`(y - \hat y) / (1 - h)` with h its leverage, counting the mean [2]_. The
        penalty has the smallest sum of their squares, of 1e-8, 3e-8, 1e-7 and so on to
        3000, found from every fourth on; so has the share of the linear kernel, of .1,
        .4 and 1, if `linear` is "auto". Up to 500 rows are left out, one at a time. See
        `translation_score_` and `translation_params_`.

        References
        ----------
        .. [1] Saunders, Gammerman and Vovk (1998), "Ridge regression learning algorithm
           in dual variables".
        .. [2] Allen (1974), "The relationship between variable selection and data
           augmentation and a method for prediction".

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_featalign import KernelGCCAAligner
        >>> rng = np.random.default_rng(0)
        >>> old = rng.normal(size=(300, 5))
        >>> new = old @ rng.normal(size=(5, 8)) + 3
        >>> aligner = KernelGCCAAligner(views={"old": 5, "new": 8}, n_landmarks=50)
        >>> aligner = aligner.fit(np.hstack([old, new])[:200])
        >>> moved = aligner.translate(old[200:], "old", "new")
        >>> moved.shape, bool(np.abs(moved - new[200:]).max() < 1e-5)
        ((100, 8), True)
        >>> round(aligner.translation_score_["old", "new"], 6)
        1.0
        """
        check_is_fitted(self)
        source, target = self._two_views(source, target)
        X, mask = self._check_view(X_view, source)
        load = partial(self._load_translation, source, target)
        return self._map_view(X, mask, len(self.view_columns_[target]), load)

    @available_if(has_translations)
    def compile_translation(self, source, target, *, dtype="float32"):
        """Return :meth:`translate` between two views as a function, for serving.

        Parameters
        ----------
        source, target : str or int
            Names or indices of two views.
        dtype : {"float32", "float64"}, default="float32"
            Precision of its output.

        Returns
        -------
        compiled : callable
            See :meth:`compile_view`.
        """
        check_is_fitted(self)
        source, target = self._two_views(source, target)
        load = partial(self._load_translation, source, target)
        return self._compile(source, len(self.view_columns_[target]), load, dtype)

    def _two_views(self, source, target):
        """Return the names of two views."""
        names = [view_name(view, self.view_columns_) for view in (source, target)]
        if names[0] == names[1]:
            raise ValueError(f"Source and target are the same view, {names[0]!r}.")
        return names

    def _load_translation(self, source, target, rows):
        state = self._translations()[source][target]
        kernel, landmarks = self._load_kernel(state["kernel"], source, rows)
        state = to_torch(state["projection"], rows.device, landmarks.dtype)
        return partial(
            project,
            landmarks=landmarks,
            kernel=kernel,
            projection=Projection(**state),
        )

    @property
    def n_components_(self):
        """Number of components."""
        return self._solved()["n_components"]

    @property
    def linear_(self):
        """The share of the linear kernel, which "auto" chooses."""
        return self._solved()["linear"]

    @property
    def power_(self):
        """The power, which "auto" chooses."""
        return self._solved()["power"]

    @property
    def loo_score_(self):
        """Top-1 accuracy of rows that were left out."""
        self._check_has_pairs("loo_score_")
        return self._solved()["score"]

    @property
    def loo_size_(self):
        """Number of rows among which each of them was searched."""
        self._check_has_pairs("loo_size_")
        return self._solved()["size"]

    @property
    def translation_score_(self):
        """Shares of the variance that translations explain."""
        self._check_has_pairs("translation_score_")
        return {pair: state["score"] for pair, state in self._translation_states()}

    @property
    def translation_params_(self):
        """What was chosen for translations."""
        self._check_has_pairs("translation_params_")
        return {
            pair: {name: state[name] for name in ("linear", "ridge")}
            for pair, state in self._translation_states()
        }

    def _translation_states(self):
        """Return a list of each source and target, and what is kept of them."""
        translations = self._translations()
        pairs = permutations(self.view_columns_, 2)
        return [((u, v), translations[u][v]) for u, v in pairs]

    def _translations(self):
        if self._solved()["translations"] is None and self._sums is not None:
            vars(self)["_solution"] = None
        found = self._solved()["translations"]
        if found is None:
            raise AttributeError(
                "There are no translations: fit the aligner with fit_translations=True."
            )
        return found

    def _check_has_pairs(self, name):
        if not has_pairs(self):
            raise AttributeError(f"{name} needs two views: see the parameter views.")

    _feature_prefix = "gcca"

    def _fit_view(self, rows, scaling, indices):
        kernel, gamma, mean_affinity, landmarks = self._fit_kernel(
            rows, scaling, indices
        )
        return fit_features(kernel, landmarks), gamma, mean_affinity

    def _join_views(self, features, training, indices):
        sums = self._sum_up(features, training, indices)
        return {"_sums": None, "_solution": self._solve(sums, training.columns)}

    def _sum_up(self, features, training, indices):
        rows, n_present = training.rows, training.n_present
        moments = moments_of_rows(
            rows.X, rows.device, self.batch_size, n_present, training.columns, features
        )
        counted = np.flatnonzero(n_present >= min(2, len(features)))
        # One view alone has neither hubness nor a score.
        has_others = len(features) > 1
        kept = choose_kept(counted, indices) if has_others else counted[:0]
        single = choose_single(training, len(kept)) if has_others else {}
        return Sums(features, moments, rows.at(kept).load(), single)

    def _solve(self, sums, columns):
        """Return what the views share, from the sums over all rows."""
        setting = Setting(
            self.n_components,
            _SHARES if self.linear == "auto" else (float(self.linear),),
            float(self.ridge),
            _POWERS if self.power == "auto" else (float(self.power),),
            int(self.hub_neighbors),
        )
        data = framed(
            sums.features,
            sums.moments,
            view_parts(sums.kept, columns, sums.features),
            [
                extended_features(X, sums.features[name])
                for name, X in sums.single.items()
            ],
        )
        choice = choose(data, setting)
        mixed = data.mixed(choice.linear)
        views = fit_views(sums.features, mixed, data, setting, choice.power)
        first = next(iter(views.values()))
        translations = None
        if self.fit_translations and len(views) > 1:
            shares = setting.linear if self.linear != "auto" else _TRANSLATED_SHARES
            translations = fit_translations(sums, data, columns, shares)
        return {
            "views": {name: to_numpy(view) for name, view in views.items()},
            "translations": to_numpy(translations),
            "n_components": len(first.projection.intercept),
            **to_numpy(choice),
        }

    def _solved(self):
        """Return what the views share, which is fitted anew if rows were added."""
        check_is_fitted(self)
        if self._solution is None:
            device = resolve_device(self.device)
            moments, kept, single = (
                to_torch(self._sums[name], device)
                for name in ("moments", "kept", "single")
            )
            sums = Sums(self._load_features(device), moments, kept, single)
            vars(self)["_solution"] = self._solve(sums, self.view_columns_)
        return self._solution

    def _check_has_sums(self):
        check_is_fitted(self)
        if self._sums is None:
            raise ValueError(
                "fit keeps no sums over the rows, so that none can be added: use "
                "partial_fit from the first rows on."
            )

    def _hash_of_features(self):
        """Return a hash of the views' features and of their order."""
        features = self._sums["features"]
        return joblib.hash([list(features), features])

    def _load_features(self, device):
        """Return the `FeatureMap` of each view, on a device."""
        self._check_has_sums()
        state = to_torch(self._sums["features"], device)
        return {name: as_features(parts) for name, parts in state.items()}

    def _load_view(self, name, rows):
        views = self._solved()["views"]
        state = views[name]
        kernel, landmarks = self._load_kernel(state["kernel"], name, rows)
        dtype, device = landmarks.dtype, rows.device
        load = partial(to_torch, device=device, dtype=dtype)
        projection = Projection(**load(state["projection"]))
        references = [view["reference"] for view in views.values()]
        slot = list(views).index(name)
        return partial(
            view_features,
            landmarks=landmarks,
            kernel=kernel,
            projection=projection,
            hub_columns=load_hub_columns(references, slot, self.metric, load),
        )

    @property
    def _metric(self):
        return self.metric

    @property
    def _n_work_columns(self):
        return self.n_landmarks_ + self.n_components_

    @property
    def _view_feature_names(self):
        if self.metric not in _METRICS:
            raise ValueError(f"metric={self.metric!r} is none of {sorted(_METRICS)}.")
        names = [f"{self._feature_prefix}{i}" for i in range(self.n_components_)]
        views = self._solved()["views"]
        if next(iter(views.values()))["reference"] is None:
            return names
        padding = [f"padding_{name}" for name in views]
        return [*names, "hubness", *(padding if self.metric == "cosine" else [])]

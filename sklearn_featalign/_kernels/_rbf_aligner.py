"""RBF auto-scaling: features become comparable affinities to landmark rows."""

import warnings
from functools import partial
from numbers import Real
from typing import NamedTuple

from sklearn.utils._param_validation import Interval, StrOptions

from sklearn_featalign._kernels._bandwidth import Kernel, affinities
from sklearn_featalign._kernels._landmark_aligner import LandmarkAligner
from sklearn_featalign._kernels._ridge import ridge_projection
from sklearn_featalign._kernels._scaling import coordinates
from sklearn_featalign._linalg import Affine, unit_projection
from sklearn_featalign._torch import to_torch

# Features are computed in float64 if the ridge times one minus the mean affinity is
# below this.
_SINGLE_PENALTY = 0.25


class RBFView(NamedTuple):
    """A fitted view; ``projection`` is None if affinities are not normalised."""

    kernel: Kernel
    projection: Affine | None


class RBFAutoScaleAligner(LandmarkAligner):
    r"""Affinities to landmark rows, with the bandwidth solved for their mean.

    Each row x becomes its RBF affinities to the landmark rows l,

    .. math:: A(x, l) = \exp(-\|x - l\|^2 / \sigma), \qquad
              \sigma = 2 \gamma \sum_j \mathrm{var}(X_j),

    with the variances of the training rows (``ddof=1``). The affinities do not change
    when the features are shifted, rotated or scaled, and `gamma` is solved so that
    their mean over the training rows is the constant `c`. Features of different
    networks and layers thus become comparable, as long as their landmarks are the same
    objects in the same order. Use ``normalize="ridge"`` to search or classify across
    networks.

    Parameters
    ----------
    c : float, default=0.3
        Mean affinity, larger than the share of zero distances (at least one in
        `n_samples`, since landmarks are training rows) and less than 1. Smaller values
        see finer structure and are more robust to outliers. For retrieval across
        networks try 0.01 to 0.1 with ``normalize=None`` and 0.3 to 0.7 with
        ``normalize="ridge"``; for classification search 0.05 to 0.5. Ignored if `gamma`
        is a float.

    gamma : float or "auto", default="auto"
        Bandwidth in multiples of twice the total variance of the training rows (after
        whitening, if any). "auto" solves it for `c`. In terms of
        :func:`sklearn.metrics.pairwise.rbf_kernel`, whose ``gamma`` is :math:`1 /
        \sigma`, it is a width and not a decay: larger means smoother.

    n_landmarks : int or None, default=1000
        Number of landmarks, which is the number of features of a view. None, or a
        number larger than there are (with a warning), takes every training row that has
        all views, in its own order.

    landmarks : {"random", "farthest", "kmeans++"}, default="random"
        How landmarks are chosen among the training rows that have every view.
        "farthest" repeatedly takes the row farthest from the landmarks so far; it
        spreads few landmarks best, and selects outliers. "kmeans++" seeds as k-means
        does. Both hold the training rows in float64, and see the features of all views,
        each scaled to unit variance: aligners fitted apart on two networks then choose
        different objects, which makes their features incomparable. "random" chooses the
        same objects for the same `random_state`.

    normalize : {None, "ridge"}, default=None
        "ridge" decorrelates the affinities and scales the rows to unit length. Dot
        products of rows of different views then compare nearly as well as those of a
        kernel CCA, without a joint fit. The mean of the output is no longer `c`.

    ridge : float, default=1.0
        Regularisation of ``normalize="ridge"``, in multiples of the mean eigenvalue of
        the centred landmark affinities.

    whiten : {None, "pca"}, default=None
        "pca" whitens the features first, which makes the affinities invariant to every
        invertible affine map, within the rounding of the features. It needs many more
        rows than features, and warns below two rows per dimension; it hurts on raw
        high-dimensional features, and is not robust to outliers.

    views : list, dict or None, default=None
        How the columns of X split into views, features that different networks have of
        the same samples: widths such as ``[768, 1024]``, a list of slices, of lists of
        column indices or of column names, of scikit-learn's ``make_column_selector``,
        or a dict of any of these by name, such as
        ``{"clip": 768, "dino": 1024}``. Columns that no view selects are ignored. A
        sample lacks a view if all its columns in this view are NaN; such samples take
        part in the fit of their other views. None is one view, without missing values.

    output : {"concat", "coalesce", "mean"}, str or int, default="concat"
        Output for several views: their features side by side; the features of the first
        view that a sample has; the mean over the views that it has; or the features of
        one view, given by name or index. It may be changed after the fit.

    device : str, default="auto"
        "cpu", "cuda" or "cuda:<index>". "auto" is the device of X if X is a CUDA
        tensor, else CUDA if available, else the CPU. It is resolved at each call.

    batch_size : int or "auto", default="auto"
        Number of rows computed at a time, halved when CUDA runs out of memory. It
        bounds the memory; `fit` keeps up to 128 MiB of distances in addition.

    random_state : int, RandomState instance or None, default=None
        Seeds the choice of the landmarks. Aligners that are fitted apart on the same
        objects need the same integer, and random landmarks, for their features to be
        comparable.

    Attributes
    ----------
    gamma_ : float, or ndarray of shape (n_views,)
        The bandwidth, as for `gamma`; one for each view if `views` is set.

    mean_affinity_ : float, or ndarray of shape (n_views,)
        Mean affinity between the training rows and the landmarks, before any
        normalisation: `c`, if the bandwidth was solved for it.

    view_columns_ : dict of str to ndarray of int of shape (n_view_features,)
        The columns of X of each view, by name: "view0", "view1" and so on if `views`
        gives no names.

    landmarks_ : ndarray of shape (n_landmarks_, n_features_in_)
        The landmark rows, as they were given.

    landmark_indices_ : ndarray of shape (n_landmarks_,)
        Their positions in the training rows.

    n_landmarks_ : int
        Number of landmarks.

    n_features_in_ : int
        Number of features seen during :term:`fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen during :term:`fit`. Defined only when X has feature names
        that are all strings.

    See Also
    --------
    KernelGCCAAligner : Fits all views together; better for retrieval between networks.
    stack_views : Puts views side by side, with NaN where one is absent.
    sklearn.kernel_approximation.Nystroem : Kernel map of one feature space.

    Notes
    -----
    With K the affinities among the m landmarks, A those of the rows, both doubly
    centred by the landmarks' means (:math:`K_c`, :math:`A_c`), the ridge normalisation
    is

    .. math:: F = A_c \left(K_c + \rho \, \frac{\mathrm{tr} K_c}{m} I\right)^{-1}

    followed by unit row norms, where :math:`\rho` is `ridge`. The dot product of rows
    of two views is then the bilinear form of a regularised kernel CCA between them.

    Without the normalisation the columns are strongly correlated: a
    :class:`~sklearn.linear_model.LogisticRegression` may need more iterations than its
    default.

    **Precision.** Distances are computed on centred and scaled features. For float32
    rows they are computed in float32 if a bound of the rounding errors keeps every
    affinity within 2e-5, if `c` is at most 0.8, and if the ridge, if any, times one
    minus the mean affinity is at least 0.25. The largest error is usually a tenth of
    the bound, in the affinity of a row to itself; the root mean square is 1e-7.
    Otherwise, and where float32 products do not have full precision
    (``torch.set_float32_matmul_precision``, autocast), distances are computed in
    float64, and from explicit differences where the expansion of the square could
    change an affinity by more than 5e-7. The mean affinity is solved to 5e-7 of `c` in
    float32, and to 1e-10 in float64. The output has the dtype of the input (float32 or
    float64, else float64; half types give float32). A torch tensor gives a tensor on
    its own device, detached from the autograd graph.

    The method, its bandwidth and the constant c are "Alignment Methods 1: RBF
    auto-scaling" of the document "Feature Alignment". Affinities to landmarks as a
    common language of networks are relative representations: Moschella et al. (2023),
    "Relative representations enable zero-shot latent space communication".

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_featalign import RBFAutoScaleAligner
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 8))
    >>> Y = 0.25 * X @ np.linalg.qr(rng.normal(size=(8, 8)))[0] + 10
    >>> aligner = RBFAutoScaleAligner(c=0.3, n_landmarks=50, random_state=0)
    >>> X_new = aligner.fit_transform(X)
    >>> X_new.shape, round(float(X_new.mean()), 6)
    ((200, 50), 0.3)

    Y is X shifted, rotated and shrunk, which does not change the affinities:

    >>> bool(np.allclose(aligner.fit_transform(Y), X_new))
    True

    Both as views of one aligner: held-out rows find themselves in the other view.

    >>> views = RBFAutoScaleAligner(views=[8, 8], n_landmarks=50, random_state=0)
    >>> views.fit(np.hstack([X, Y])[:100]).score(np.hstack([X, Y])[100:])
    1.0
    """

    _parameter_constraints = {
        **LandmarkAligner._parameter_constraints,
        "gamma": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "normalize": [None, StrOptions({"ridge"})],
        "ridge": [Interval(Real, 0, None, closed="neither")],
        "whiten": [None, StrOptions({"pca"})],
    }

    def __init__(
        self,
        c=0.3,
        *,
        gamma="auto",
        n_landmarks=1000,
        landmarks="random",
        normalize=None,
        ridge=1.0,
        whiten=None,
        views=None,
        output="concat",
        device="auto",
        batch_size="auto",
        random_state=None,
    ):
        self.c = c
        self.gamma = gamma
        self.n_landmarks = n_landmarks
        self.landmarks = landmarks
        self.normalize = normalize
        self.ridge = ridge
        self.whiten = whiten
        self.views = views
        self.output = output
        self.device = device
        self.batch_size = batch_size
        self.random_state = random_state

    _feature_prefix = "rbf"

    def _fit_scaling(self, rows):
        scaling = super()._fit_scaling(rows, self.whiten)
        rank = 0 if scaling.whitening is None else scaling.whitening.shape[1]
        if len(rows) < 2 * rank:
            warnings.warn(
                f"whiten='pca' of {len(rows)} rows in {rank} dimensions leaves "
                "rows about equally far from one another; it needs many more rows "
                "than dimensions.",
                UserWarning,
                stacklevel=4,
            )
        return scaling

    def _fit_view(self, rows, scaling, indices):
        gamma = self.gamma if self.gamma == "auto" else float(self.gamma)
        kernel, gamma, mean_affinity, landmarks = self._fit_kernel(
            rows, scaling, indices, gamma
        )
        projection = None
        if self.normalize == "ridge":
            # The smaller the penalty, the more the normalisation amplifies errors.
            if float(self.ridge) * (1 - mean_affinity) < _SINGLE_PENALTY:
                kernel = kernel._replace(allows_single=False)
            exact = kernel._replace(scaling=kernel.scaling.in_float64())
            K = affinities(landmarks, coordinates(landmarks, exact.scaling), exact)
            projection = ridge_projection(K, float(self.ridge))
        return RBFView(kernel, projection), gamma, mean_affinity

    def _load_view(self, name, rows):
        state = self._states[name]
        kernel, landmarks = self._load_kernel(state["kernel"], name, rows)
        if state["projection"] is None:
            return partial(affinities, landmarks=landmarks, kernel=kernel)
        projection = to_torch(state["projection"], rows.device, landmarks.dtype)
        return partial(
            ridge_affinities,
            landmarks=landmarks,
            kernel=kernel,
            projection=Affine(**projection),
        )


def ridge_affinities(X, landmarks, kernel, projection):
    """Return ridge-normalised affinities of rows to landmarks in coordinates."""
    return unit_projection(affinities(X, landmarks, kernel), projection)

"""RBF auto-scaling: features become comparable affinities to landmark rows."""

import warnings
from numbers import Integral, Real

from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_featalign._affinity import (
    affinity_features,
    fit_rate,
    ridge_projection,
)
from sklearn_featalign._coordinates import coordinates, fit_frame
from sklearn_featalign._landmarks import SPREAD_OUT, select_landmarks
from sklearn_featalign._torch import (
    Rows,
    remember_features,
    resolve_device,
    to_numpy,
    to_torch,
    validate_rows,
)

# At least so many rows, if there are, give the median that coordinates start from.
_MEDIAN_ROWS = 1024


class RBFAutoScaleAligner(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    r"""Affinities to landmark rows, with the bandwidth solved for their mean.

    Each row x becomes its RBF affinities to the landmark rows l,

    .. math:: A(x, l) = \exp(-\|x - l\|^2 / \sigma), \qquad
              \sigma = 2 \gamma \sum_j \mathrm{var}(X_j),

    with the variances of the training rows (``ddof=1``). The affinities do not
    change when the features are shifted, rotated or scaled, and `gamma` is solved
    so that their mean over the training rows is the constant `c`. Features of
    different networks and layers thus become comparable, as long as their landmarks
    are the same objects in the same order.

    Parameters
    ----------
    c : float, default=0.3
        Mean affinity, larger than the share of zero distances (at least one in
        `n_samples`, each landmark being a training row) and less than 1. Smaller
        values see finer structure and are more robust to outliers. For retrieval
        across networks try 0.02 to 0.1 with ``normalize=None`` and 0.3 to 0.5 with
        ``normalize="ridge"``; for classification search 0.05 to 0.5. Ignored if
        `gamma` is a float.

    gamma : float or "auto", default="auto"
        Bandwidth in multiples of twice the total variance of the training rows
        (whitened ones, if so). "auto" solves it for `c`. In terms of
        :func:`sklearn.metrics.pairwise.rbf_kernel`, whose ``gamma`` is
        :math:`1 / \sigma`, it is a width and not a decay: larger means smoother.

    n_landmarks : int or None, default=1000
        Number of landmarks, which is the number of output features. None takes
        every training row, in its own order. More than there are rows takes every
        row too, with a warning.

    landmarks : {"random", "farthest", "kmeans++"}, default="random"
        How landmarks are chosen among the training rows. "farthest" takes the
        farthest row from those taken before; it spreads few landmarks best, and
        takes outliers. "kmeans++" seeds as k-means does. Both of these hold the
        training rows in float64, and look at their features: aligners fitted apart
        on two networks then take different objects, which makes their features
        incomparable. "random" takes the same ones for the same `random_state`.

    normalize : {None, "ridge"}, default=None
        "ridge" decorrelates the affinities and scales the rows to unit length. Dot
        products of rows then compare across views about as in a kernel CCA, without
        a joint fit. The mean of the output is then no longer `c`.

    ridge : float, default=1.0
        Regularisation of ``normalize="ridge"``, in multiples of the mean eigenvalue
        of the centred landmark affinities.

    whiten : {None, "pca"}, default=None
        "pca" whitens the features first, which makes the affinities invariant to
        every invertible affine map, as far as the features' own rounding lets it be
        undone. It needs many more rows than features, and warns below two rows a
        dimension; on raw high-dimensional features it hurts, and it is not robust to
        outliers.

    device : str, default="auto"
        "cpu", "cuda" or "cuda:<index>". "auto" is the device of a CUDA tensor passed
        as X, else CUDA where there is one, else the CPU. It is resolved at each call.

    batch_size : int or "auto", default="auto"
        Rows computed at a time, halved when CUDA runs out of memory. It bounds the
        memory at work, beside which `fit` keeps up to 256 MiB of distances.

    random_state : int, RandomState instance or None, default=None
        Choice of the landmarks. Aligners that are fitted apart on the same objects
        need the same integer, and random landmarks, for their features to be
        comparable.

    Attributes
    ----------
    gamma_ : float
        The bandwidth, in the sense of `gamma`.

    mean_affinity_ : float
        Mean affinity between the training rows and the landmarks, before any
        normalisation: `c`, if the bandwidth was solved for it.

    landmarks_ : ndarray of shape (n_landmarks_, n_features_in_)
        The landmark rows, as they were given.

    landmark_indices_ : ndarray of shape (n_landmarks_,)
        Their positions in the training rows.

    n_landmarks_ : int
        Number of landmarks.

    n_features_in_ : int
        Number of features seen during :term:`fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen during :term:`fit`. Defined only when X has feature
        names that are all strings.

    See Also
    --------
    sklearn.kernel_approximation.Nystroem : Kernel map that is not comparable across
        feature spaces.
    sklearn.metrics.pairwise.rbf_kernel : The kernel alone.

    Notes
    -----
    With K the affinities among the m landmarks, A those of the rows, both centred
    doubly with the landmarks' means (:math:`K_c`, :math:`A_c`), the ridge
    normalisation is

    .. math:: F = A_c \left(K_c + \rho \, \frac{\mathrm{tr} K_c}{m} I\right)^{-1}

    followed by unit row norms, :math:`\rho` being `ridge`. The dot product of rows
    of two views is then the bilinear form of a regularised kernel CCA between them.

    Without the normalisation the output is strongly correlated: a
    :class:`~sklearn.linear_model.LogisticRegression` on it may want more iterations
    than its default.

    Distances are computed in float64 on centred and scaled features, and as direct
    differences where the expansion of the square could change an affinity by more
    than 5e-7. The output has the dtype of the input (float32 or float64, else float64;
    half types give float32). A torch tensor gives a tensor on its own device, cut
    from the autograd graph.

    The method, its bandwidth and the constant c are "Alignment Methods 1: RBF
    auto-scaling" of the document "Feature Alignment". Affinities to landmarks as a
    common language of networks are relative representations: Moschella et al.
    (2023), "Relative representations enable zero-shot latent space communication".

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

    Y is X moved, turned and shrunk, which the affinities do not see:

    >>> bool(np.allclose(aligner.fit_transform(Y), X_new))
    True
    """

    _parameter_constraints = {
        "c": [Interval(Real, 0, 1, closed="neither")],
        "gamma": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "n_landmarks": [None, Interval(Integral, 1, None, closed="left")],
        "landmarks": [StrOptions({"random", *SPREAD_OUT})],
        "normalize": [None, StrOptions({"ridge"})],
        "ridge": [Interval(Real, 0, None, closed="neither")],
        "whiten": [None, StrOptions({"pca"})],
        "device": [str],
        "batch_size": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "random_state": ["random_state"],
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
        self.device = device
        self.batch_size = batch_size
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Choose the landmarks and solve the bandwidth.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features)
            Training rows, at least two different ones.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted aligner.

        Raises
        ------
        ValueError
            If all rows are equal, if `c` is not above the share of zero distances,
            or if the device is not there.
        """
        rows = self._rows(validate_rows(self, X, fitting=True), self.n_landmarks)
        frame = self._fit_frame(rows)
        indices = select_landmarks(
            rows,
            self.n_landmarks,
            self.landmarks,
            lambda batch: coordinates(batch, frame),
            self.random_state,
        )
        view = self._fit_view(rows, frame, indices)
        remember_features(self, X)
        self.gamma_ = view.pop("gamma")
        self.mean_affinity_ = view.pop("mean_affinity")
        self._view = view
        self.landmarks_ = view["landmarks"]
        self.landmark_indices_ = indices
        self.n_landmarks_ = len(indices)
        return self

    def transform(self, X):
        """Return the affinities of rows to the landmarks.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features_in_)
            Rows.

        Returns
        -------
        X_new : {ndarray, tensor} of shape (n_samples, n_landmarks_)
            Affinities between 0 and 1, or with ``normalize="ridge"`` rows of unit
            length.
        """
        check_is_fitted(self)
        rows = self._rows(validate_rows(self, X), self.n_landmarks_)
        return self._transform_view(rows, self._view)

    def _rows(self, X, n_landmarks):
        device = resolve_device(self.device, X)
        return Rows(X, device, self.batch_size, n_landmarks or len(X))

    def _fit_frame(self, rows):
        step = max(1, len(rows) // _MEDIAN_ROWS)
        sample = rows.load(slice(None, None, step))
        frame = fit_frame(rows.map, sample, len(rows), self.whiten, rows.rounding)
        rank = frame["whitening"].shape[1] if self.whiten == "pca" else 0
        if len(rows) < 2 * rank:
            warnings.warn(
                f"whiten='pca' of {len(rows)} rows in {rank} dimensions leaves "
                "rows about equally far from one another; it needs many more rows "
                "than dimensions.",
                UserWarning,
                stacklevel=4,
            )
        return frame

    def _fit_view(self, rows, frame, indices):
        """Return what the features of a view are computed from, in arrays."""
        landmark_rows = rows.load(indices)
        landmarks = coordinates(landmark_rows, frame)
        gamma = self.gamma if self.gamma == "auto" else float(self.gamma)
        view = frame | fit_rate(
            rows.map, len(rows), frame, landmarks, float(self.c), gamma
        )
        if self.normalize == "ridge":
            affinities = affinity_features(landmark_rows, landmarks, view)
            projection, intercept = ridge_projection(affinities, float(self.ridge))
            view |= {"projection": projection, "intercept": intercept}
        return to_numpy(view | {"landmarks": rows.take(indices)})

    def _transform_view(self, rows, view):
        """Return the features of rows of a view."""
        view = to_torch(view, rows.device)
        landmarks = coordinates(view["landmarks"].double(), view)
        return rows.collect(
            lambda batch: affinity_features(batch, landmarks, view),
            len(landmarks),
        )

    @property
    def _n_features_out(self):
        return self.n_landmarks_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

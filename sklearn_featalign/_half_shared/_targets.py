"""What the shared head is trained to say of each row: the choices of Z.

scikit-learn's clustering and decompositions are imported where they are used: see
`_landmarks`.
"""

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets

# With these each row is a class of its own.
ONE_BY_ONE = ("index", "permutation")
TARGETS = (*ONE_BY_ONE, "random", "y", "joint_pca", "cluster")


def make_target(
    target, loss, y, views, n_samples, n_classes, n_components, random_state
):
    """Return what the head is trained to say.

    Parameters
    ----------
    target : str
        One of `TARGETS`.
    loss : {"cross_entropy", "mse"}
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), or None
        For the target "y".
    views : callable
        Returns all views side by side, z-scored, zero where one is absent, an ndarray
        of shape (n_samples, n_features).
    n_samples : int
    n_classes : int
        Of the targets "random" and "cluster".
    n_components : int
        Of "joint_pca".
    random_state : RandomState instance

    Returns
    -------
    values : ndarray of shape (n_samples,), int64, or (n_samples, n_outputs), float32
        Classes from 0, or values of mean 0 and deviation 1 (of all columns together, if
        they are principal components).

    Raises
    ------
    ValueError
        If target and loss do not go together, or if y is not what they need.
    """
    if target == "joint_pca":
        if loss != "mse":
            raise ValueError("target='joint_pca' needs loss='mse'.")
        codes = joint_codes(views(), n_components, random_state)
        return (codes / codes.std()).astype(np.float32)
    if target == "cluster":
        if loss != "cross_entropy":
            raise ValueError("target='cluster' needs loss='cross_entropy'.")
        from sklearn.cluster import KMeans

        codes = joint_codes(views(), n_components, random_state)
        model = KMeans(min(n_classes, n_samples), n_init=1, random_state=random_state)
        return model.fit_predict(codes).astype(np.int64)
    if target == "y":
        values = check_y(y, loss)
    else:
        values = numbered(target, n_samples, n_classes, random_state)
    if loss == "cross_entropy":
        return np.unique(values, return_inverse=True)[1]
    values = values.reshape(len(values), -1).astype(float)
    spread = values.std(0)
    return ((values - values.mean(0)) / np.where(spread, spread, 1)).astype(np.float32)


def numbered(target, n_samples, n_classes, random_state):
    """Return a number for each row, without a look at it."""
    if target == "index":
        return np.arange(n_samples)
    if target == "permutation":
        return random_state.permutation(n_samples)
    return random_state.randint(n_classes, size=n_samples)


def check_y(y, loss):
    """Return labels or numbers that a head can be trained for."""
    if y is None:
        raise ValueError(
            "target='y' requires y to be passed, but the target y is None: fit(X, y)."
        )
    if loss == "mse":
        return check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
    check_classification_targets(y)
    y = np.ravel(y)
    if len(np.unique(y)) < 2:
        raise ValueError(
            "target='y' with loss='cross_entropy' needs samples of at least 2 classes, "
            f"but y has only one: {y[0]}."
        )
    return y


def joint_codes(Z, n_components, random_state):
    """Return principal components of all views side by side."""
    from sklearn.decomposition import PCA

    n_components = min(n_components, *Z.shape)
    model = PCA(n_components, random_state=random_state)
    # Whatever output scikit-learn is configured for.
    return model.set_output(transform="default").fit_transform(Z)

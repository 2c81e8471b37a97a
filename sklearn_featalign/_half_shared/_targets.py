"""The choices of the target Z that the shared head predicts.

scikit-learn's clustering and decompositions are imported where they are used: see
`_kernels._landmarks`.
"""

import numpy as np
import torch
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from sklearn_featalign._linalg import column_range
from sklearn_featalign._standardize import within_range

# With these each row is a class of its own.
ROW_IS_CLASS = ("index", "permutation")
TARGETS = (*ROW_IS_CLASS, "random", "y", "joint_pca", "cluster")


def make_target(target, loss, y, views, n_classes, n_components, random_state):
    """Return the values that the head predicts from z-scored views.

    They are classes from 0, of shape (n_samples,), int64, or numbers of shape
    (n_samples, n_outputs), float32, with mean 0 and standard deviation 1 (over all
    columns together for principal components).
    """
    check_target(target, loss, y)
    n_samples = len(views[0])
    if target == "joint_pca":
        codes = joint_codes(views, n_components, random_state)
        return (codes / codes.std()).astype(np.float32)
    if target == "cluster":
        from sklearn.cluster import KMeans

        codes = joint_codes(views, n_components, random_state)
        model = KMeans(min(n_classes, n_samples), n_init=1, random_state=random_state)
        return model.fit_predict(codes).astype(np.int64)
    if target == "y":
        values = check_y(y, loss)
    else:
        values = index_target(target, n_samples, n_classes, random_state)
    if loss == "cross_entropy":
        return np.unique(values, return_inverse=True)[1]
    return standardized(values.reshape(n_samples, -1).astype(float))


def standardized(values):
    """Return columns with mean 0 and standard deviation 1, or 0 if they are constant.

    They may be of any magnitude.
    """
    values = torch.from_numpy(values)
    low, high = column_range([values])
    half_range = high / 2 - low / 2
    Z = within_range(values, low + half_range, half_range)
    Z = Z - Z.mean(0)
    spread = torch.where(half_range > 0, Z.std(0, correction=0), 1.0)
    return (Z / spread).to(torch.float32).numpy()


def index_target(target, n_samples, n_classes, random_state):
    """Return a number for each row that does not depend on its values."""
    if target == "index":
        return np.arange(n_samples)
    if target == "permutation":
        return random_state.permutation(n_samples)
    return random_state.randint(n_classes, size=n_samples)


def check_target(target, loss, y):
    """Raise an error if a target lacks y or does not suit the loss."""
    needed = {"joint_pca": "mse", "cluster": "cross_entropy"}.get(target, loss)
    if loss != needed:
        raise ValueError(f"target={target!r} needs loss={needed!r}.")
    if target == "y" and y is None:
        raise ValueError(
            "target='y' requires y to be passed, but the target y is None: fit(X, y)."
        )


def check_y(y, loss):
    """Check y and return it as classes or numbers."""
    if loss == "mse":
        return check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
    check_classification_targets(y)
    y = column_or_1d(y)
    if len(np.unique(y)) < 2:
        raise ValueError(
            "target='y' with loss='cross_entropy' needs samples of at least 2 classes, "
            f"but y has only one: {y[0]}."
        )
    return y


def joint_codes(views, n_components, random_state):
    """Return the principal components of all views stacked side by side."""
    from sklearn.decomposition import PCA

    Z = torch.cat(views, dim=1).cpu().numpy()
    model = PCA(min(n_components, *Z.shape), random_state=random_state)
    # Override scikit-learn's global set_config(transform_output=...).
    return model.set_output(transform="default").fit_transform(Z)

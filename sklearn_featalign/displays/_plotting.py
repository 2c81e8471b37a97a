"""Helpers shared by the displays: axes, styles, rows to draw, and features of views."""

from collections.abc import Mapping

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from sklearn_featalign._views import split_views
from sklearn_featalign.metrics._scorers import final_estimator

# The palette of Okabe and Ito (2008), whose colours the colour-blind can tell apart.
OKABE_ITO = "#0072B2 #E69F00 #009E73 #D55E00 #CC79A7 #56B4E9 #000000 #F0E442".split()


def check_matplotlib(name):
    """Raise an error that says how to install matplotlib if it is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{name} needs matplotlib: pip install 'sklearn-featalign[plot]'."
        ) from error


def make_axes(ax, name, figsize=None):
    """Return the axes to draw on, which are new if `ax` is None, and their figure."""
    check_matplotlib(name)
    import matplotlib.pyplot as plt

    if ax is None:
        _, ax = plt.subplots(figsize=figsize, layout="constrained")
    return ax, ax.figure


def choose_rows(n_rows, max_rows, random_state):
    """Return the indices of the rows to draw: all in order, or a random subset."""
    if n_rows <= max_rows:
        return np.arange(n_rows)
    return check_random_state(random_state).permutation(n_rows)[:max_rows]


def named_views(features):
    """Return a list or dict of features as a dict of arrays by the name of the view."""
    if not isinstance(features, Mapping):
        features = {f"view{i}": F for i, F in enumerate(features)}
    features = {name: to_array(F) for name, F in features.items()}
    if not features:
        raise ValueError("There is no view: features of at least one are needed.")
    for name, F in features.items():
        if F.ndim != 2:
            raise ValueError(
                f"Features of a view are two-dimensional, but view {name!r} has the "
                f"shape {F.shape}."
            )
    return features


def check_complete(features):
    """Raise an error if views by name lack rows, or have values that are not finite."""
    for name, F in features.items():
        if not np.isfinite(F).all():
            raise ValueError(
                f"View {name!r} contains NaN or infinity: rows must have every view."
            )


def features_of_views(estimator, X, aligned):
    """Return the rows of each view as an array by name, aligned or unchanged."""
    aligner, X = final_estimator(estimator, X)
    if getattr(aligner, "views", None) is None:
        raise TypeError(
            f"An aligner with views is needed, got {type(aligner).__name__}."
        )
    check_is_fitted(aligner)
    X = aligner._check_rows(X)
    blocks = dict(zip(aligner.view_columns_, split_views(X, aligner), strict=True))
    if aligned:
        blocks = {k: aligner.transform_view(F, k) for k, F in blocks.items()}
    return {name: to_array(F) for name, F in blocks.items()}


def to_array(F):
    """Return features as an array, also if they are a tensor on a device."""
    if not isinstance(F, torch.Tensor):
        return np.asarray(F)
    F = F.detach().cpu()
    return (F.float() if F.dtype == torch.bfloat16 else F).numpy()

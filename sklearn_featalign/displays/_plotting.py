"""What displays do alike: matplotlib when it is needed, and features of views."""

from collections.abc import Mapping

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from sklearn_featalign._views import split_views
from sklearn_featalign.metrics._scorers import final_estimator

# Okabe and Ito (2008): colours that the colour-blind tell apart.
OKABE_ITO = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#000000",
    "#F0E442",
)


def check_matplotlib(name):
    """Raise an error that helps where there is no matplotlib."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{name} needs matplotlib: pip install 'sklearn-featalign[plot]'."
        ) from error


def make_axes(ax, name, figsize=None):
    """Return the axes to draw on, new ones if there are none, and their figure."""
    check_matplotlib(name)
    import matplotlib.pyplot as plt

    if ax is None:
        _, ax = plt.subplots(figsize=figsize, layout="constrained")
    return ax, ax.figure


def normalize_style(style, given, kind):
    """Return a style, and above it what is given, whatever alias it is given by."""
    from matplotlib.cbook import normalize_kwargs

    return style | normalize_kwargs(given, kind)


def choose_rows(n_rows, max_rows, random_state):
    """Return the rows to draw: all in their order, or so many at random."""
    if n_rows <= max_rows:
        return np.arange(n_rows)
    return check_random_state(random_state).permutation(n_rows)[:max_rows]


def named_views(features):
    """Return features of views as arrays by name."""
    if not isinstance(features, Mapping):
        features = {f"view{i}": F for i, F in enumerate(features)}
    features = {name: to_array(F) for name, F in features.items()}
    if not features:
        raise ValueError("There is no view: features are of one at least.")
    for name, F in features.items():
        if F.ndim != 2:
            raise ValueError(
                f"Features of a view are two-dimensional, but view {name!r} has the "
                f"shape {F.shape}."
            )
    return features


def features_of_views(estimator, X, aligned):
    """Return the rows of each view as an array by name, aligned or as they came."""
    aligner, X = final_estimator(estimator, X)
    if getattr(aligner, "views", None) is None:
        raise TypeError(
            f"An aligner with views is needed, got {type(aligner).__name__}."
        )
    check_is_fitted(aligner)
    blocks = dict(zip(aligner.view_columns_, split_views(X, aligner), strict=True))
    if aligned:
        blocks = {k: aligner.transform_view(F, k) for k, F in blocks.items()}
    return {name: to_array(F) for name, F in blocks.items()}


def to_array(F):
    """Return features as an array, those of a tensor from any device."""
    if not isinstance(F, torch.Tensor):
        return np.asarray(F)
    F = F.detach().cpu()
    return (F.float() if F.dtype == torch.bfloat16 else F).numpy()

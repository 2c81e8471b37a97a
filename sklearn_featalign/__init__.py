"""Align frozen network features with scikit-learn estimators that run on torch."""

from sklearn_featalign import metrics
from sklearn_featalign._gcca_aligner import KernelGCCAAligner
from sklearn_featalign._mlp_aligner import HalfSharedMLPAligner
from sklearn_featalign._poisson_uniformizer import PoissonUniformizer
from sklearn_featalign._rbf_aligner import RBFAutoScaleAligner
from sklearn_featalign._version import __version__ as __version__
from sklearn_featalign._views import split_views, stack_views

__all__ = [
    "HalfSharedMLPAligner",
    "KernelGCCAAligner",
    "PoissonUniformizer",
    "RBFAutoScaleAligner",
    "metrics",
    "split_views",
    "stack_views",
]

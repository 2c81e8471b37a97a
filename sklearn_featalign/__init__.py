"""Align frozen network features with scikit-learn estimators that run on torch."""

from sklearn_featalign._rbf_aligner import RBFAutoScaleAligner

__version__ = "0.1.0.dev0"

__all__ = ["RBFAutoScaleAligner"]

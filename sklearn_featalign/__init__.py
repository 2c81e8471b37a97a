"""Align frozen network features with scikit-learn estimators that run on torch."""

from sklearn_featalign import metrics
from sklearn_featalign._contrastive._encoder import ContrastiveEncoder
from sklearn_featalign._half_shared._mlp_aligner import HalfSharedMLPAligner
from sklearn_featalign._kernels._gcca_aligner import KernelGCCAAligner
from sklearn_featalign._kernels._rbf_aligner import RBFAutoScaleAligner
from sklearn_featalign._matching._self_training import SelfTrainingAligner
from sklearn_featalign._poisson._denoiser import PoissonDenoiser
from sklearn_featalign._poisson._poisson_field import PoissonField
from sklearn_featalign._poisson._uniformizer import PoissonUniformizer
from sklearn_featalign._version import __version__ as __version__
from sklearn_featalign._views import split_views, stack_views

__all__ = [
    "ContrastiveEncoder",
    "HalfSharedMLPAligner",
    "KernelGCCAAligner",
    "PoissonDenoiser",
    "PoissonField",
    "PoissonUniformizer",
    "RBFAutoScaleAligner",
    "SelfTrainingAligner",
    "metrics",
    "split_views",
    "stack_views",
]

# Classes are saved under their public name, so that a pickle does not depend on the
# file that a class is in.
for _name in __all__:
    if isinstance(globals()[_name], type):
        globals()[_name].__module__ = __name__

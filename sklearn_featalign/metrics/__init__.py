"""Measures of how well the features of two networks agree, and scorers for searches.

Row i of X and row i of Y are features of the same object. The functions take arrays or
tensors and compute in float64, on CUDA if the machine has it. They hold one block of
the similarities at a time, so that 50,000 rows against 50,000 need little memory.
"""

from sklearn_featalign.metrics._agreement import (
    alignment_loss,
    cluster_contrast,
    concordance_correlation,
    linear_cka,
    uniformity_loss,
)
from sklearn_featalign.metrics._isotropy import sliced_epps_pulley
from sklearn_featalign.metrics._retrieval import (
    mean_reciprocal_rank,
    mutual_knn,
    neighbor_recall,
    retrieval_accuracy,
    retrieval_ranks,
)
from sklearn_featalign.metrics._scorers import (
    make_neighbor_scorer,
    make_retrieval_scorer,
    make_view_scorer,
)

__all__ = [
    "alignment_loss",
    "cluster_contrast",
    "concordance_correlation",
    "linear_cka",
    "make_neighbor_scorer",
    "make_retrieval_scorer",
    "make_view_scorer",
    "mean_reciprocal_rank",
    "mutual_knn",
    "neighbor_recall",
    "retrieval_accuracy",
    "retrieval_ranks",
    "sliced_epps_pulley",
    "uniformity_loss",
]

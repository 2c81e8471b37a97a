"""Figures of aligned features, by matplotlib and in scikit-learn's manner.

Each display is made by ``from_estimator`` or ``from_features``, which compute and then
draw; its ``plot`` draws again, and its attributes hold what was computed.
"""

from sklearn_featalign.displays._affinity import AffinityDisplay
from sklearn_featalign.displays._feature_color import (
    FeatureColorDisplay,
    feature_colors,
)
from sklearn_featalign.displays._flow import FlowDisplay
from sklearn_featalign.displays._retrieval import RetrievalDisplay

__all__ = [
    "AffinityDisplay",
    "FeatureColorDisplay",
    "FlowDisplay",
    "RetrievalDisplay",
    "feature_colors",
]

"""Figures of aligned features, by matplotlib and in scikit-learn's manner.

Each display is made by ``from_estimator`` or ``from_features``, which compute and then
draw; its ``plot`` draws again, and its attributes hold what was computed.
"""

from sklearn_featalign._affinity_display import AffinityDisplay
from sklearn_featalign._color_display import FeatureColorDisplay, feature_colors
from sklearn_featalign._flow_display import FlowDisplay
from sklearn_featalign._retrieval_display import RetrievalDisplay

__all__ = [
    "AffinityDisplay",
    "FeatureColorDisplay",
    "FlowDisplay",
    "RetrievalDisplay",
    "feature_colors",
]

"""Displays of aligned features, drawn with matplotlib in the manner of scikit-learn.

A display is made by ``from_estimator`` or ``from_features``, which compute it and draw
it. Its attributes hold what was computed, and ``plot`` draws it again.
"""

from sklearn_featalign.displays._affinity import AffinityDisplay
from sklearn_featalign.displays._agreement import AgreementDisplay
from sklearn_featalign.displays._colors import feature_colors
from sklearn_featalign.displays._feature_color import FeatureColorDisplay
from sklearn_featalign.displays._flow import FlowDisplay
from sklearn_featalign.displays._retrieval import RetrievalDisplay

__all__ = [
    "AffinityDisplay",
    "AgreementDisplay",
    "FeatureColorDisplay",
    "FlowDisplay",
    "RetrievalDisplay",
    "feature_colors",
]

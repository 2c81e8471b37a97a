"""
Searching one network with another, without labels
==================================================

Two networks have features of the same images, and there are no labels. Choose ``c`` by
how often held-out rows find their pair in the other network, and then search across the
networks.
"""

import matplotlib.pyplot as plt
import numpy as np
from networks import digit_features
from sklearn.model_selection import GridSearchCV

from sklearn_featalign import KernelGCCAAligner, RBFAutoScaleAligner
from sklearn_featalign.displays import RetrievalDisplay
from sklearn_featalign.metrics import retrieval_accuracy

A, B = digit_features("lite0"), digit_features("lite1")
X = np.hstack([A, B])
train, test = X[:1200], X[1200:]

# %%
# An aligner's ``score`` is retrieval accuracy, so the search needs no ``y``.

views = {"lite0": A.shape[1], "lite1": B.shape[1]}
aligner = RBFAutoScaleAligner(
    views=views, n_landmarks=None, normalize="ridge", random_state=0
)
search = GridSearchCV(aligner, {"c": [0.3, 0.5, 0.7]}, cv=3).fit(train)
print(search.best_params_)

best = search.best_estimator_
found = retrieval_accuracy(
    best.transform_view(A[1200:], "lite0"), best.transform_view(B[1200:], "lite1"), k=5
)
print(f"{found:.1%} of {len(test)} rows have their pair among the five nearest")

# %%
# The curves compare several aligners on the same test rows. Without ``normalize`` the
# affinities are comparable across networks, but strongly correlated.
# :class:`~sklearn_featalign.KernelGCCAAligner` also learns from the pairs.

figure, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
plain = RBFAutoScaleAligner(c=0.05, views=views, n_landmarks=None).fit(train)
joint = KernelGCCAAligner(views=views, n_landmarks=None).fit(train)
RetrievalDisplay.from_estimator(joint, test, name="KernelGCCAAligner", ax=ax)
RetrievalDisplay.from_estimator(search, test, name="RBFAutoScaleAligner, ridge", ax=ax)
RetrievalDisplay.from_estimator(
    plain, test, name="RBFAutoScaleAligner, c=0.05", ax=ax, plot_chance_level=True
)

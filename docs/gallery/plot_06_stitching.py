"""
A classifier of one network, used on another
============================================

A classifier is trained on features of one network, and then used on features of another
network that it has never seen. A view that a row lacks is NaN, and
``output="coalesce"`` returns the features of the view that it has.
"""

import matplotlib.pyplot as plt
import numpy as np
from networks import digit_features
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_featalign import KernelGCCAAligner, RBFAutoScaleAligner, stack_views

A, B, y = digit_features("lite0"), digit_features("lite1"), load_digits().target
pairs, labelled, test = slice(500), slice(500, 1100), slice(1100, None)

# %%
# 500 images without labels are used to align both networks. 600 other images, with
# labels, are used to train the classifier, on the first network alone.

views = [A.shape[1], B.shape[1]]
aligners = {
    "RBFAutoScaleAligner": RBFAutoScaleAligner(normalize="ridge", n_landmarks=None),
    "KernelGCCAAligner": KernelGCCAAligner(hub_neighbors=0, n_landmarks=None),
}
classifier = LogisticRegression(max_iter=3000)
accuracy = {}
for name, aligner in aligners.items():
    aligner.set_params(views=views, output="coalesce")
    aligner.fit(np.hstack([A[pairs], B[pairs]]))
    stitched = make_pipeline(FrozenEstimator(aligner), clone(classifier))
    stitched.fit(stack_views([A[labelled], None], aligner), y[labelled])
    for view, rows in (("lite0", [A[test], None]), ("lite1", [None, B[test]])):
        score = stitched.score(stack_views(rows, aligner), y[test])
        accuracy[f"{name}: lite0 → {view}"] = score

# %%
# For comparison, one classifier is trained for each network on scaled features. The
# second one needs labels for its own network.

for view, X in (("lite0", A), ("lite1", B)):
    own = make_pipeline(StandardScaler(), clone(classifier))
    own.fit(X[labelled], y[labelled])
    accuracy[f"scaled features: {view} → {view}"] = own.score(X[test], y[test])

figure, ax = plt.subplots(figsize=(7.5, 2.8), layout="constrained")
names = sorted(accuracy, key=lambda name: name[-5:])
for i, name in enumerate(names):
    color, marker = ("#0072B2", "o") if name.endswith("lite0") else ("#E69F00", "s")
    ax.plot(accuracy[name], i, marker, color=color, markersize=9)
    ax.annotate(
        f"{accuracy[name]:.3f}",
        (accuracy[name], i),
        (8, -4),
        textcoords="offset points",
    )
ax.set(
    yticks=range(len(names)),
    yticklabels=names,
    xlabel="accuracy (chance is 0.1): trained on → used on",
    xlim=(0.8, 0.92),
    ylim=(len(names) - 0.5, -0.5),
)
ax.grid(alpha=0.3)

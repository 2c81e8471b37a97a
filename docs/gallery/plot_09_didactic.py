"""
The didactic example: clusters that pair
========================================

These are the cases of the feature-alignment document. Thirty dots in three clusters are
the first view, and an image of them under some map is the second. After alignment, the
clusters of one view pair with those of the other, which the stripes beside the diagonal
show.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_blobs

from sklearn_featalign import RBFAutoScaleAligner
from sklearn_featalign.displays import AffinityDisplay
from sklearn_featalign.metrics import cluster_contrast

X, y = make_blobs(30, centers=3, random_state=42)
rotation = np.array([[1.0, -1.0], [1.0, 1.0]]) / np.sqrt(2)
with_outliers = X @ rotation / 4 + 10
with_outliers[[4, 12], 0] = 50
images = {
    "shrunk, rotated, shifted": X @ rotation / 4 + 10,
    "with two outliers": with_outliers,
    "squeezed and stretched": (X @ rotation + 10) * [0.25, 4],
    "squeezed to 1/1000": (X @ rotation + 10) * [0.001, 1],
}

# %%
# The columns show the affinities before alignment, with a fixed bandwidth, with the
# bandwidth solved for a mean affinity of 0.3 (there are three clusters), and with the
# same after whitening.

settings = {
    "gamma=1": {"gamma": 1.0},
    "c=0.3": {"c": 0.3},
    'c=0.3, whiten="pca"': {"c": 0.3, "whiten": "pca"},
}
figure, axes = plt.subplots(len(images), 5, figsize=(13, 11), layout="constrained")
for row, (title, Y) in zip(axes, images.items()):
    both = np.hstack([X, Y])
    for Z, marker, label in ((X, "o", "view 0"), (Y, "s", "view 1")):
        row[0].scatter(*Z.T, c=y, marker=marker, cmap="viridis", label=label)
    row[0].set_title(title)
    row[0].legend(fontsize="small")
    for i, (name, params) in enumerate(settings.items()):
        aligner = RBFAutoScaleAligner(n_landmarks=None, views=[2, 2], **params)
        aligner.fit(both)
        if i == 0:
            AffinityDisplay.from_estimator(
                aligner, both, y, aligned=False, ax=row[1], colorbar=False
            ).ax_.set_title("before")
        display = AffinityDisplay.from_estimator(
            aligner, both, y, ax=row[2 + i], colorbar=False
        )
        F, G = (aligner.transform_view(Z, view) for view, Z in enumerate((X, Y)))
        contrast = cluster_contrast(F, G, y)
        display.ax_.set_title(f"{name}: contrast {contrast:.2f}", fontsize="medium")
figure.colorbar(display.im_, ax=axes, label="affinity", shrink=0.3)

# %%
# A fixed bandwidth suffices if the second view is an isotropic image of the first.
# Outliers make it too wide, and need the solved one. Whitening undoes any
# linear map, but does not help against outliers.

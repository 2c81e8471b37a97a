"""
The didactic example: clusters that pair
========================================

The cases of the feature-alignment document. Thirty dots in three clusters are the first
view, and an image of them the second. Aligned, clusters of one view pair with those of
the other: the stripes beside the diagonal.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_blobs

from sklearn_featalign import RBFAutoScaleAligner
from sklearn_featalign.displays import AffinityDisplay
from sklearn_featalign.metrics import cluster_contrast

X, y = make_blobs(30, centers=3, random_state=42)
turn = np.array([[1.0, -1.0], [1.0, 1.0]]) / np.sqrt(2)
with_outliers = X @ turn / 4 + 10
with_outliers[[4, 12], 0] = 50
images = {
    "shrunk, turned, shifted": X @ turn / 4 + 10,
    "with two outliers": with_outliers,
    "squeezed and stretched": (X @ turn + 10) * [0.25, 4],
    "squeezed to 1/1000": (X @ turn + 10) * [0.001, 1],
}

# %%
# Before, with a fixed bandwidth, with the mean affinity solved to be 0.3 (there are
# three clusters), and whitened first.

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
# A fixed bandwidth does where the second view is an isotropic image of the first. The
# outliers, which widen it, want the solved one. Whitening undoes any linear map, but
# not outliers.

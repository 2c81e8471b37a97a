"""
Patches of two networks, before and after
=========================================

Dense features have one row for each patch of an image. Two networks, at two depths
each, are four views of the same patches. The landmarks are patches of other faces than
those shown; the aligners and the axes of the colours are fitted on them alone.
"""

import matplotlib.pyplot as plt
import numpy as np
from networks import patch_features
from skimage.data import lfw_subset

from sklearn_featalign import KernelGCCAAligner, RBFAutoScaleAligner
from sklearn_featalign.displays import FeatureColorDisplay

faces = lfw_subset()[:60]
shown, grid = 6, (6, 14, 14)
depths = patch_features(faces, "lite0") | patch_features(faces, "lite2")
views = {name: F.shape[1] for name, F in depths.items()}
X = np.hstack(list(depths.values()))
n_shown = np.prod(grid)

# %%
# The landmarks are 500 patches of the other faces.

landmarks = np.random.default_rng(0).permutation(np.arange(n_shown, len(X)))[:500]
ridge = RBFAutoScaleAligner(views=views, n_landmarks=None, normalize="ridge")
joint = KernelGCCAAligner(views=views, n_landmarks=None, hub_neighbors=0)
for aligner in (ridge, joint):
    aligner.fit(X[landmarks])

# %%
# The same rule gives the colours before and after alignment: three directions in which
# the landmarks of the four views vary together. Before alignment, each network and
# depth has a palette of its own; afterwards, a patch has about one colour in all of
# them.

figure, axes = plt.subplots(1, 3, figsize=(15, 4), layout="constrained")
panels = [
    ("before", ridge, False),
    ("RBFAutoScaleAligner", ridge, True),
    ("KernelGCCAAligner", joint, True),
]
for ax, (title, aligner, aligned) in zip(axes, panels):
    FeatureColorDisplay.from_estimator(
        aligner,
        X[:n_shown],
        grid,
        aligned=aligned,
        images=faces[:shown],
        title=title,
        ax=ax,
    )

# %%
# Read this soberly. These faces are aligned and 25 pixels wide, and the colours mostly
# show the position in the image, which an untrained network shares as well: see
# :doc:`the measurements </dense_features>`.

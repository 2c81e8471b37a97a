"""
Drop-in preprocessing
=====================

An aligner is a transformer: it takes the place of a scaler in a pipeline. Its features
are affinities to landmark rows, and their mean is the constant ``c``.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_featalign import RBFAutoScaleAligner

X, y = load_digits(return_X_y=True)
aligner = RBFAutoScaleAligner(c=0.3, n_landmarks=200, normalize="ridge", random_state=0)

# %%
# Each pipeline is scored on the same five folds. The strength of the classifier's
# penalty is chosen within the training rows of each fold.

classifier = GridSearchCV(
    LogisticRegression(max_iter=3000), {"C": [0.01, 0.1, 1, 10, 100]}, cv=3
)
pipelines = {
    "raw": make_pipeline(classifier),
    "StandardScaler": make_pipeline(StandardScaler(), classifier),
    "StandardScaler,\nRBFAutoScaleAligner": make_pipeline(
        StandardScaler(), aligner, classifier
    ),
}
folds = StratifiedKFold(n_splits=5, shuffle=True, random_state=0)
scores = {
    name: cross_val_score(pipeline, X, y, cv=folds)
    for name, pipeline in pipelines.items()
}

figure, ax = plt.subplots(figsize=(7, 2.4), layout="constrained")
for i, values in enumerate(scores.values()):
    ax.plot(values, [i] * len(values), "o", color="#0072B2", alpha=0.5)
    ax.plot(values.mean(), i, "|", color="black", markersize=24)
ax.set(
    yticks=range(len(scores)),
    yticklabels=list(scores),
    xlabel="accuracy on the held-out digits of each fold, and the mean",
    ylim=(2.5, -0.5),
)

# %%
# On raw pixels the gain is that of any non-linear map; on the features of a trained
# network nothing is gained and nothing lost. Unlike a scaler, the aligner gives the
# same features after the original ones were rotated, shifted and shrunk.

rng = np.random.default_rng(0)
rotation = np.linalg.qr(rng.normal(size=(64, 64)))[0]
moved = 0.25 * X @ rotation + 10
difference = aligner.fit_transform(moved) - aligner.fit_transform(X)
print(f"largest difference: {np.abs(difference).max():.1e}")

"""
Searching ``c`` and ``gamma``
=============================

``c`` is the mean affinity for which the bandwidth is solved. A float ``gamma`` is the
bandwidth itself and overrides ``c``, so the search needs two grids.
"""

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.callback import ProgressBar
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline

from sklearn_featalign import RBFAutoScaleAligner

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

aligner = RBFAutoScaleAligner(n_landmarks=200, random_state=0)
pipeline = Pipeline(
    [("align", aligner), ("classify", LogisticRegression(max_iter=3000))]
)
search = GridSearchCV(
    pipeline,
    [
        {"align__c": [0.02, 0.05, 0.1, 0.3, 0.6]},
        {"align__gamma": [0.01, 0.03, 0.1, 0.3, 1.0]},
    ],
    cv=3,
)

# %%
# scikit-learn's progress bar follows the search; see :doc:`/progress` for details.

search.set_callbacks(ProgressBar(max_propagation_depth=0)).fit(X_train, y_train)
print(search.best_params_, f"{search.score(X_test, y_test):.3f}")

# %%
# Both parameters select a kernel of the same family: ``gamma_`` is the bandwidth that
# the fit found for ``c``.

fitted = search.best_estimator_["align"]
print(f"mean affinity {fitted.mean_affinity_:.3f}, gamma_ {fitted.gamma_:.3f}")

results = pd.DataFrame(search.cv_results_)
figure, axes = plt.subplots(1, 2, figsize=(8, 3), sharey=True, layout="constrained")
for ax, name in zip(axes, ("c", "gamma")):
    rows = results.dropna(subset=f"param_align__{name}")
    tried = rows[f"param_align__{name}"].astype(float)
    ax.errorbar(
        tried, rows["mean_test_score"], rows["std_test_score"], marker="o", capsize=3
    )
    ax.set(xscale="log", xlabel=name)
    ax.set_xticks(tried, [f"{value:g}" for value in tried])
    ax.minorticks_off()
    ax.grid(alpha=0.3)
axes[0].set_ylabel("accuracy, three folds")

"""
Uniform rows, and whether they help
===================================

:class:`~sklearn_featalign.PoissonUniformizer` spreads rows over a cube, jointly and not
column by column. A grid search with honest baselines shows whether this improves a
classifier.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import QuantileTransformer
from sklearn.utils import shuffle

from sklearn_featalign import PoissonUniformizer
from sklearn_featalign.displays import FlowDisplay

X, y = shuffle(*load_digits(return_X_y=True), n_samples=1000, random_state=0)

# %%
# The data are two principal components of five digits; the maps are shown on held-out
# rows. The quantile transformer makes each column uniform, but leaves holes.

few = y < 5
train, test, labels = X[few][:250], X[few][250:], y[few][250:]
quantiles = make_pipeline(PCA(2), QuantileTransformer(n_quantiles=100)).fit(train)
uniformizer = make_pipeline(PCA(2), PoissonUniformizer()).fit(train)

figure, axes = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
# FlowDisplay draws the quantiles in the same style, as paths that do not move.
U = quantiles.transform(test)
FlowDisplay(paths=np.stack([U, U], axis=1), lines=[], labels=labels).plot(
    axes[0], start_kw={"s": 0, "label": None}
)
FlowDisplay.from_estimator(uniformizer, test, labels, n_lines=10, ax=axes[1])
axes[0].set_title("QuantileTransformer")
axes[1].set_title("PoissonUniformizer, and its lines of force")

# %%
# With four components, a classifier follows each map.

pipeline = Pipeline(
    [
        ("pca", PCA(4)),
        ("map", "passthrough"),
        ("classify", LogisticRegression(max_iter=10000)),
    ]
)
maps = ["passthrough", QuantileTransformer(n_quantiles=100), PoissonUniformizer()]
search = GridSearchCV(pipeline, {"map": maps}, cv=5).fit(X, y)
results = pd.DataFrame(search.cv_results_)
names = [str(name).partition("(")[0] for name in results["param_map"]]
for name, mean, std in zip(
    names, results["mean_test_score"], results["std_test_score"]
):
    print(f"{name:20} {mean:.3f} ± {std:.3f}")

# %%
# Rows that are spread evenly are not separated better. The next example shows what
# uniform rows are good for; see also :doc:`the measurements </uniformity>`.

best = names[int(np.argmax(results["mean_test_score"]))]
print(f"best here: {best}")

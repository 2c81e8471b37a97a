"""
There and back: new samples, and representative rows
====================================================

The flow can be inverted. Uniform points that are carried back are new samples, and
evenly spread points select rows that represent the data.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats.qmc import Sobol
from sklearn.datasets import make_moons
from sklearn.neighbors import NearestNeighbors

from sklearn_featalign import PoissonUniformizer
from sklearn_featalign.displays import FlowDisplay

X, y = make_moons(600, noise=0.08, random_state=0)
train, held_out = X[:500], X[500:]
uniformizer = PoissonUniformizer(random_state=0).fit(train)

# %%
# Two moons flow to a square. Rows start at the small dots and end at the large ones.

display = FlowDisplay.from_estimator(uniformizer, train, y[:500], n_lines=14)
display.ax_.set_title("two moons, and the square that they fill")

# %%
# The inverse takes held-out rows back to where they were.

back = uniformizer.inverse_transform(uniformizer.transform(held_out))
print(f"largest error: {np.abs(back - held_out).max():.1e}")

# %%
# New samples are uniform points that are carried back. They have heavier tails than the
# data, because they follow a kernel density with a Cauchy kernel.

new = uniformizer.sample(500)

# %%
# The rows nearest to 32 evenly spread points of the square represent the data.

points = Sobol(2, seed=0).random(32)
square = NearestNeighbors(n_neighbors=1).fit(uniformizer.transform(train))
chosen = square.kneighbors(points, return_distance=False)[:, 0]

figure, axes = plt.subplots(
    1, 3, figsize=(11, 3.2), sharex=True, sharey=True, layout="constrained"
)
for ax, rows, title in zip(
    axes,
    (train, new, train[chosen]),
    ("data", "new samples", "32 representative rows"),
):
    ax.scatter(*train.T, s=4, color="0.8")
    ax.scatter(*rows.T, s=10, color="#0072B2")
    ax.set(title=title, aspect="equal", xlim=(-1.6, 2.6), ylim=(-1.1, 1.6))

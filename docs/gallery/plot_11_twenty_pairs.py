"""
I know twenty pairs
===================

Twenty texts have been encoded by both networks, and 1480 more by each of them, in two
files whose rows are in different orders. Nobody knows which row belongs to which.
:class:`~sklearn_featalign.SelfTrainingAligner` matches them, and says whether it has
worked.
"""

import matplotlib.pyplot as plt
import numpy as np
from inputs import glosses

from sklearn_featalign import KernelGCCAAligner, SelfTrainingAligner, stack_views

texts, y, minilm, wordllama = glosses("minilm", "wordllama")
views = {"minilm": minilm.shape[1], "wordllama": wordllama.shape[1]}
known, pool, test = slice(20), slice(20, 1500), slice(1500, None)
order = np.random.default_rng(0).permutation(1480)

X = np.vstack(
    [
        np.hstack([minilm[known], wordllama[known]]),
        stack_views({"minilm": minilm[pool]}, views),
        stack_views({"wordllama": wordllama[pool][order]}, views),
    ]
)
print(f"{len(X)} rows, of which {np.isnan(X).any(1).sum()} lack a view")

# %%
# The aligner is the one that would be fitted on the twenty pairs.

inner = KernelGCCAAligner(views=views, random_state=0)
aligner = SelfTrainingAligner(inner, random_state=0).fit(X)
print(f"Matching has {aligner.trust_}: {len(aligner.matches_)} matches")

alone = inner.set_params(n_landmarks=20).fit(X)
new = np.hstack([minilm, wordllama])[test]
for name, fitted in {"twenty pairs alone": alone, "and unpaired": aligner}.items():
    print(f"{name}: {fitted.score(new):.1%} of 500 new texts find themselves")

# %%
# Each round matches rows that are the nearest ones of each other, and fits again. Here
# it is known which matches are right.

first, second = aligner.matches_.T
right = order[second - 1500] == first - 20
print(f"{right.mean():.1%} of the matches are right")

figure, ax = plt.subplots(figsize=(5, 3.2), layout="constrained")
ax.plot(np.arange(1, aligner.n_rounds_ + 1), 100 * aligner.history_["share"])
ax.axhline(60, color="grey", linestyle=":")
ax.set(xlabel="round", ylabel="rows that are matched, %", ylim=(0, 100))

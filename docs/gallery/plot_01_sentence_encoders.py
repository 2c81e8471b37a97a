"""
Two sentence encoders in one space
==================================

Two encoders have features of the same texts, of different widths. A thousand texts that
both have encoded are enough to search the texts of one with the other, and to use a
classifier of one on the other. The encoders are MiniLM, a transformer, and wordllama,
which has one static vector for each token.
"""

import matplotlib.pyplot as plt
import numpy as np
from inputs import encode, glosses
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_featalign import KernelGCCAAligner, stack_views
from sklearn_featalign.displays import AgreementDisplay

texts, y, minilm, wordllama, glove = glosses("minilm", "wordllama", "glove")
pairs, test = slice(1000), slice(1000, None)

aligner = KernelGCCAAligner(
    views={"minilm": minilm.shape[1], "wordllama": wordllama.shape[1]}, random_state=0
).fit(np.hstack([minilm, wordllama])[pairs])
print(f"{minilm.shape[1]} and {wordllama.shape[1]} columns")
score = aligner.score(np.hstack([minilm, wordllama])[test])
print(f"{score:.1%} of 1000 new definitions find themselves in the other encoder")

# %%
# Nobody has to encode the stored texts again: an index of MiniLM's features is searched
# with questions that wordllama has encoded. Rows are compared by dot product.

questions = ["a bird that cannot fly", "a disease of the skin", "to owe somebody money"]
index = aligner.transform_view(minilm[test], "minilm")
queries = aligner.transform_view(encode(questions, "wordllama"), "wordllama")
for question, similarities in zip(questions, queries @ index.T):
    nearest = np.argsort(-similarities)[:3]
    print(f"{question}:", *texts[test][nearest], sep="\n    ")

# %%
# A classifier of 23 classes, such as animals or acts, is trained on features of MiniLM
# and used on those of wordllama, which it has never seen. The other accuracy is that of
# a classifier trained on wordllama's own features.

aligner.set_params(output="coalesce")
classifier = make_pipeline(FrozenEstimator(aligner), LogisticRegression(max_iter=1000))
classifier.fit(stack_views([minilm[pairs], None], aligner), y[pairs])
stitched = classifier.score(stack_views([None, wordllama[test]], aligner), y[test])

own = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
own.fit(wordllama[pairs], y[pairs])
print(f"stitched {stitched:.1%}, own {own.score(wordllama[test], y[test]):.1%}")

# %%
# One fit may have more views. Before alignment only kernels can be compared, since the
# widths differ; afterwards each encoder finds the texts of each other one.

three = KernelGCCAAligner(views={"minilm": 384, "wordllama": 256, "glove": 50})
X = np.hstack([minilm, wordllama, glove])
three.fit(X[pairs])
figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
AgreementDisplay.from_estimator(
    three, X[test], measure="cka", aligned=False, ax=axes[0]
)
AgreementDisplay.from_estimator(three, X[test], ax=axes[1])
for ax, title in zip(axes, ("before", "after")):
    ax.set_title(title)

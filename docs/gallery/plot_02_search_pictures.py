"""
Search pictures with words, without CLIP
========================================

An image network that was trained on photographs and a text encoder that was trained on
sentences have never seen each other. 800 pictures with a description each are enough to
search other pictures with words. The pictures are emoji: their names and keywords are
the descriptions.
"""

import matplotlib.pyplot as plt
import numpy as np
from inputs import draw, emoji, encode
from sklearn.metrics.pairwise import cosine_similarity

from sklearn_featalign import KernelGCCAAligner
from sklearn_featalign.displays import RetrievalDisplay

pictures, images, texts = emoji("mobilenet", "minilm")
X = np.hstack([images, texts])
pairs, searched = slice(800), slice(800, None)

aligner = KernelGCCAAligner(
    views={"picture": images.shape[1], "text": texts.shape[1]},
    n_landmarks=800,
    random_state=0,
).fit(X[pairs])

# %%
# These words describe no emoji in particular. What they find is among the pictures that
# were not part of the pairs. Before alignment, the columns of a word are compared with
# as many columns of a picture.

words = ["fruit", "an angry face", "a vehicle with two wheels", "love", "winter"]
queries = encode(words, "minilm")
similarities = {
    "before": cosine_similarity(queries, images[searched, : queries.shape[1]]),
    "after": aligner.transform_view(queries, "text")
    @ aligner.transform_view(images[searched], "picture").T,
}
nearest = {name: np.argsort(-S)[:, :5] for name, S in similarities.items()}
figure = draw(words, {name: pictures[searched][k] for name, k in nearest.items()})

# %%
# The descriptions themselves are found by the pictures, and the other way round:

display = RetrievalDisplay.from_estimator(aligner, X[searched], plot_chance_level=True)
print(f"first of {len(X[searched])}: {display.accuracy[0]:.1%}")
plt.show()

# %%
# Read this soberly: three of four pictures are not the first that their description
# finds, and many emoji look and read alike. :doc:`The page </pictures_and_words>` has
# controls and the methods of others. With many pairs of your own, or with CLIP for
# pictures of your kind, you would do better.

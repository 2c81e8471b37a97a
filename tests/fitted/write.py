"""Write fits in the format of today, for later versions to load.

Run ``python tests/fitted/write.py`` once, when `_persistence.FORMAT` was raised. It
does not write over a file: what a version has written stays as it was.
"""

import pickle
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))

from _samples import blobs  # noqa: E402

from sklearn_featalign import (  # noqa: E402
    ContrastiveEncoder,
    HalfSharedMLPAligner,
    KernelGCCAAligner,
    PoissonDenoiser,
    PoissonField,
    PoissonUniformizer,
    RBFAutoScaleAligner,
    SelfTrainingAligner,
)
from sklearn_featalign._mixin import FORMAT  # noqa: E402

SEED = {"random_state": 0}
TWO = {"views": [2, 2], "n_landmarks": 15, **SEED}
TRAINED = {"max_epochs": 3, **SEED}
ESTIMATORS = {
    "rbf": RBFAutoScaleAligner(n_landmarks=15, **SEED),
    "rbf whitened ridge": RBFAutoScaleAligner(
        n_landmarks=15, normalize="ridge", whiten="pca", **SEED
    ),
    "rbf views": RBFAutoScaleAligner(**TWO),
    "gcca": KernelGCCAAligner(n_landmarks=15, **SEED),
    "gcca views": KernelGCCAAligner(metric="cosine", **TWO),
    "self-training": SelfTrainingAligner(KernelGCCAAligner(**TWO), **SEED),
    "mlp": HalfSharedMLPAligner(**TRAINED),
    "mlp closed form": HalfSharedMLPAligner(
        2, hidden_layer_sizes=[8], views=[2, 2], init="rcca", warm_start=True, **TRAINED
    ),
    "mlp kernels": HalfSharedMLPAligner(2, views=[2, 2], init="gcca", **TRAINED),
    "contrastive": ContrastiveEncoder(
        3, hidden_layer_sizes=(8,), views=[2, 2], **TRAINED
    ),
    "contrastive noise": ContrastiveEncoder(
        3, hidden_layer_sizes=(8,), loss="infonce", **TRAINED
    ),
    "poisson": PoissonUniformizer(**SEED),
    "poisson denoiser": PoissonDenoiser(n_charges=20, **SEED),
    "poisson network": PoissonUniformizer(field=PoissonField(max_epochs=3), **SEED),
    "poisson projected": PoissonUniformizer.from_document(field__max_epochs=3, **SEED),
}


def main():
    """Fit estimators, and save them with their output."""
    X = blobs(n_samples=40)
    saved = {}
    for name, estimator in ESTIMATORS.items():
        fitted = estimator.fit(X)
        saved[name] = {"estimator": fitted, "X": X, "output": fitted.transform(X)}
    with open(FOLDER / f"format-{FORMAT}.pickle", "xb") as file:
        pickle.dump(saved, file, protocol=4)


if __name__ == "__main__":
    main()

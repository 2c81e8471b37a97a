"""The public estimators, and settings of them that tests go through."""

from sklearn.base import clone

import sklearn_featalign
from sklearn_featalign import (
    ContrastiveEncoder,
    HalfSharedMLPAligner,
    KernelGCCAAligner,
    PoissonDenoiser,
    PoissonField,
    PoissonUniformizer,
    RBFAutoScaleAligner,
    SelfTrainingAligner,
    split_views,
)

ESTIMATORS = [
    getattr(sklearn_featalign, name)
    for name in sklearn_featalign.__all__
    if hasattr(getattr(sklearn_featalign, name), "fit")
]
# Training shorter than by default, and fewer steps.
SHORTER = {
    ContrastiveEncoder: {"max_epochs": 3},
    HalfSharedMLPAligner: {"max_epochs": 3},
    PoissonUniformizer: {"n_steps": 6},
}
FLOW = SHORTER[PoissonUniformizer]
PROJECTED = {"field__max_epochs": 3, **FLOW}
# For the checks of scikit-learn.
VARIANTS = [
    *(Estimator(**SHORTER.get(Estimator, {})) for Estimator in ESTIMATORS),
    RBFAutoScaleAligner(normalize="ridge"),
    RBFAutoScaleAligner(whiten="pca", landmarks="farthest", n_landmarks=3),
    RBFAutoScaleAligner(gamma=0.5, landmarks="kmeans++", n_landmarks=4, batch_size=7),
    KernelGCCAAligner(metric="cosine", linear=0.3, n_landmarks=4, batch_size=7),
    KernelGCCAAligner(hub_neighbors=0, linear=1.0, power=2.5, n_landmarks=3),
    HalfSharedMLPAligner(3, target="y", loss="mse", batch_size=8, max_epochs=3),
    HalfSharedMLPAligner(target="joint_pca", loss="mse", input_noise=0.1, max_epochs=3),
    ContrastiveEncoder(4, n_negatives=3, margin=1.0, max_epochs=3),
    PoissonUniformizer(output="hemisphere", solver="midpoint", n_charges=5, **FLOW),
    PoissonUniformizer(output="normal", scaling="view", batch_size=50, **FLOW),
    PoissonDenoiser(**FLOW),
    PoissonUniformizer(field=PoissonField(max_epochs=3), **FLOW),
    PoissonUniformizer.from_document(**PROJECTED),
]

# For rows of `_samples.blobs`, which have four columns.
PARAMS = {"n_landmarks": 20, "random_state": 0}
WITH_LANDMARKS = {
    "rbf": RBFAutoScaleAligner(**PARAMS),
    "rbf ridge": RBFAutoScaleAligner(normalize="ridge", **PARAMS),
    "rbf pca": RBFAutoScaleAligner(whiten="pca", **PARAMS),
    "rbf views": RBFAutoScaleAligner(views=[2, 2], **PARAMS),
    "gcca": KernelGCCAAligner(**PARAMS),
    "gcca views": KernelGCCAAligner(views=[2, 2], metric="cosine", **PARAMS),
    "gcca mean": KernelGCCAAligner(
        views=[1, 2, 1], output="mean", hub_neighbors=0, **PARAMS
    ),
}
MLP = {"max_epochs": 3, "random_state": 0}
# The settings of the document instead of those of "auto".
CLOSED_FORM = {"init": "rcca", "finish": "rcca", "n_components": 3, "input_noise": 0.1}
CLOSED_FORM |= {"hidden_layer_sizes": (32, 32), "scaling": "columns", "lr": 0.01}
CLOSED_FORM |= {"affinity_weight": 1.0, "contrastive_weight": 0.0}
KERNEL_START = CLOSED_FORM | {"init": "gcca", "finish": None, "hidden_layer_sizes": ()}
ALIGNERS = WITH_LANDMARKS | {
    "mlp": HalfSharedMLPAligner(**MLP),
    "mlp views": HalfSharedMLPAligner(views=[2, 2], batch_size=50, **MLP),
    "mlp closed form": HalfSharedMLPAligner(
        views=[1, 2, 1], early_stopping=True, batch_size=20, **CLOSED_FORM, **MLP
    ),
    "mlp kernels": HalfSharedMLPAligner(
        views=[1, 2, 1], early_stopping=True, batch_size=20, **KERNEL_START, **MLP
    ),
    "contrastive": ContrastiveEncoder(3, views=[2, 2], batch_size=50, **MLP),
    "contrastive noise": ContrastiveEncoder(
        3, loss="infonce", n_negatives=4, early_stopping=True, **MLP
    ),
    "self-training": SelfTrainingAligner(WITH_LANDMARKS["gcca views"]),
    "poisson": PoissonUniformizer(**FLOW),
    "poisson compressed": PoissonUniformizer(
        n_charges=60, output="hemisphere", solver="midpoint", random_state=0, **FLOW
    ),
    "poisson denoiser": PoissonDenoiser(**FLOW),
    "poisson network": PoissonUniformizer(
        field=PoissonField(max_epochs=3), random_state=0, **FLOW
    ),
    "poisson projected": PoissonUniformizer.from_document(random_state=0, **PROJECTED),
}
# Slower than the others, and for tests that are about it.
ADAPTIVE = {
    "poisson adaptive": PoissonUniformizer(output="hemisphere", solver="dopri5"),
    "poisson adaptive compressed": PoissonUniformizer(
        n_charges=60, output="hemisphere", solver="dopri5", random_state=0
    ),
}


def make(name, **params):
    """Return an estimator of a setting."""
    estimator = clone((ALIGNERS | ADAPTIVE)[name]).set_params(random_state=0)
    inner = getattr(estimator, "estimator", None)
    (estimator if inner is None else inner).set_params(**params)
    return estimator


def set_device(estimator, device):
    """Set the device of an estimator, or of the aligners in it."""
    if not isinstance(estimator, SelfTrainingAligner):
        return estimator.set_params(device=device)
    if estimator.estimator is None:
        estimator.set_params(estimator=KernelGCCAAligner())
    for inner in (estimator.estimator, getattr(estimator, "estimator_", None)):
        if inner is not None:
            inner.set_params(device=device)
    return estimator


# All that an estimator may be asked for.
METHODS = ("transform", "inverse_transform", "score_samples", "score")


def rows_for(aligner, method, X):
    """Return the rows that a method takes."""
    return aligner.transform(X) if method == "inverse_transform" else X


def ask(aligner, X):
    """Return what every method that an aligner has says of rows."""
    answers = {
        method: getattr(aligner, method)(rows_for(aligner, method, X))
        for method in METHODS
        if hasattr(aligner, method)
    }
    if hasattr(aligner, "transform_view"):
        parts = split_views(X, aligner)
        for i, part in enumerate(parts):
            answers[f"view {i}"] = aligner.transform_view(part, i)
            if hasattr(aligner, "translate"):
                other = (i + 1) % len(parts)
                answers[f"translation {i}"] = aligner.translate(part, i, other)
    if hasattr(aligner, "sample"):
        try:
            answers["sample"] = aligner.sample(7)
        except ValueError:
            assert aligner.output == "flow"
    return answers

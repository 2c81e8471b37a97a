"""The whole of scikit-learn's estimator contract, for every public estimator."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

import sklearn_featalign
from sklearn_featalign import (
    HalfSharedMLPAligner,
    KernelGCCAAligner,
    PoissonUniformizer,
    RBFAutoScaleAligner,
)

ESTIMATORS = [
    getattr(sklearn_featalign, name)
    for name in sklearn_featalign.__all__
    if isinstance(getattr(sklearn_featalign, name), type)
]
# Training shorter than by default.
SHORTER = {HalfSharedMLPAligner: {"max_epochs": 3}}
VARIANTS = [
    *(Estimator(**SHORTER.get(Estimator, {})) for Estimator in ESTIMATORS),
    RBFAutoScaleAligner(normalize="ridge"),
    RBFAutoScaleAligner(whiten="pca", landmarks="farthest", n_landmarks=3),
    RBFAutoScaleAligner(gamma=0.5, landmarks="kmeans++", n_landmarks=4, batch_size=7),
    KernelGCCAAligner(metric="cosine", linear=0.3, n_landmarks=4, batch_size=7),
    KernelGCCAAligner(hub_neighbors=0, linear=1.0, power=2.5, n_landmarks=3),
    HalfSharedMLPAligner(3, target="y", loss="mse", batch_size=8, max_epochs=3),
    HalfSharedMLPAligner(target="joint_pca", loss="mse", input_noise=0.1, max_epochs=3),
    PoissonUniformizer(output="hemisphere", solver="midpoint", n_charges=5),
    PoissonUniformizer(output="normal", scaling="view", batch_size=50),
    PoissonUniformizer(direction="contract"),
    PoissonUniformizer(field="network", max_epochs=3),
    PoissonUniformizer(field="network", parametrization="projected", max_epochs=3),
]
few_rows = pytest.mark.filterwarnings(
    "ignore:n_landmarks=1000 is greater",
    "ignore:whiten='pca' of",
    "ignore:Rows flow in",
)

# What check_estimator leaves out.
FURTHER_CHECKS = [
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
    "check_dataframe_column_names_consistency",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_inplace_ensure_writeable",
    "check_param_validation",
]


def test_the_known_estimators_are_found():
    aligners = {HalfSharedMLPAligner, KernelGCCAAligner, RBFAutoScaleAligner}
    assert aligners | {PoissonUniformizer} <= set(ESTIMATORS)


@few_rows
@parametrize_with_checks(VARIANTS)
def test_check_estimator(estimator, check):
    check(estimator)


# As check_estimator runs its own; several checks warn by design.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("check", FURTHER_CHECKS)
@pytest.mark.parametrize("estimator", VARIANTS, ids=repr)
def test_further_checks(estimator, check):
    name = type(estimator).__name__
    getattr(estimator_checks, check)(name, clone(estimator))


@pytest.mark.parametrize("estimator", VARIANTS, ids=repr)
def test_state_is_plain_and_survives_a_pickle(estimator):
    X = np.random.default_rng(0).normal(size=(1001, 3))
    estimator = clone(estimator).set_params(random_state=0).fit(X, X[:, 0])

    def leaves(value):
        if isinstance(value, dict):
            return [leaf for item in value.values() for leaf in leaves(item)]
        return [value]

    params = estimator.get_params()
    state = {k: value for k, value in vars(estimator).items() if k not in params}
    for leaf in leaves(state):
        assert leaf is None or isinstance(leaf, np.ndarray | float | int | str)
    loaded = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(loaded.transform(X), estimator.transform(X))

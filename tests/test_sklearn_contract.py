"""The whole of scikit-learn's estimator contract, for every public estimator."""

import pickle

import numpy as np
import pytest
from _estimators import ALIGNERS, ESTIMATORS, VARIANTS
from sklearn.base import BaseEstimator, clone
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_featalign import (
    HalfSharedMLPAligner,
    KernelGCCAAligner,
    PoissonUniformizer,
    RBFAutoScaleAligner,
)

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


def test_every_estimator_has_settings_to_go_through():
    assert {type(estimator) for estimator in ALIGNERS.values()} == set(ESTIMATORS)


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
        if isinstance(value, BaseEstimator):
            value = vars(value)
        if isinstance(value, dict):
            return [leaf for item in value.values() for leaf in leaves(item)]
        return [value]

    params = estimator.get_params()
    state = {k: value for k, value in vars(estimator).items() if k not in params}
    for leaf in leaves(state):
        assert leaf is None or isinstance(leaf, np.ndarray | float | int | str)
    loaded = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(loaded.transform(X), estimator.transform(X))

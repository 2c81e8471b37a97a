"""A fit that fails or is interrupted costs nothing, and many cost no memory."""

import gc

import numpy as np
import pandas as pd
import psutil
import pytest
from _estimators import ALIGNERS, ESTIMATORS
from _samples import blobs
from sklearn.base import clone

from sklearn_featalign import (
    ContrastiveEncoder,
    HalfSharedMLPAligner,
    PoissonDenoiser,
    PoissonUniformizer,
    SelfTrainingAligner,
)


def fewer_columns(X, aligner):
    """Return X without its last column, unless the views need it."""
    return X[:, :-1] if getattr(aligner, "views", None) is None else X


def test_an_interrupted_refit_leaves_the_old_fit_usable(aligner, monkeypatch):
    X = blobs()
    before = aligner.fit(X).transform(X)

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(
        "sklearn_featalign._kernels._bandwidth.solve_bandwidth", interrupt
    )
    monkeypatch.setattr(
        "sklearn_featalign._half_shared._losses.batch_affinity", interrupt
    )
    monkeypatch.setattr(
        "sklearn_featalign._contrastive._losses.negative_squares", interrupt
    )
    monkeypatch.setattr("sklearn_featalign._poisson._transformer.unit_of", interrupt)
    with pytest.raises(KeyboardInterrupt):
        aligner.fit(fewer_columns(X, aligner))
    np.testing.assert_array_equal(aligner.transform(X), before)
    assert aligner.n_features_in_ == 4


def test_a_failed_refit_leaves_the_old_fit_usable(aligner):
    X = pd.DataFrame(blobs(), columns=list("abcd"))
    before = aligner.fit(X).transform(X)
    with pytest.raises(ValueError, match="no spread"):
        aligner.fit(fewer_columns(np.ones((10, 4)), aligner))
    bad, message = {"c": 1e-4}, "must lie strictly between"
    if isinstance(aligner, HalfSharedMLPAligner):
        bad, message = {"lr": 1e30}, "The loss is nan in epoch"
    elif isinstance(aligner, ContrastiveEncoder):
        bad, message = {"lr": 1e30}, "loss is nan in epoch|Weights are not finite"
    elif isinstance(aligner, SelfTrainingAligner):
        bad = {"estimator__c": 1e-4}
    elif isinstance(aligner, PoissonDenoiser):
        bad, message = {"contraction": 1e-12}, "must lie between"
    elif isinstance(aligner, PoissonUniformizer):
        bad, message = {"start_height": 1e-30}, "must lie between"
        if aligner.get_params()["field"] != "exact":
            bad, message = {"field__hidden_layer_sizes": [0]}, "integers of at least 1"
    with pytest.raises(ValueError, match=message):
        aligner.set_params(**bad).fit(fewer_columns(blobs(), aligner))
    np.testing.assert_array_equal(aligner.transform(X), before)
    assert list(aligner.feature_names_in_) == list("abcd")


def test_an_interrupt_in_transform_propagates(aligner, monkeypatch):
    X = blobs()
    expected = aligner.fit(X).transform(X)

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("sklearn_featalign._torch.Rows.load", interrupt)
        with pytest.raises(KeyboardInterrupt):
            aligner.transform(X)
    np.testing.assert_array_equal(aligner.transform(X), expected)


# Every class, with views where it has some, and all that trains.
MANY_TIMES = [
    "contrastive",
    "rbf views",
    "gcca views",
    "mlp closed form",
    "self-training",
    "poisson",
    "poisson denoiser",
    "poisson network",
]


def test_every_estimator_is_refitted_many_times():
    assert {type(ALIGNERS[name]) for name in MANY_TIMES} == set(ESTIMATORS)


@pytest.mark.parametrize("n_refits", [40, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", MANY_TIMES)
def test_refits_leave_no_memory_behind(name, n_refits):
    aligner, X = clone(ALIGNERS[name]), blobs(n_samples=40)
    process = psutil.Process()

    def refit(times):
        for i in range(times):
            aligner.fit(X)
            if i % 10 == 0:
                aligner.transform(X)
        gc.collect()
        return process.memory_info().rss

    # Pools and caches fill first. Of two windows, since an arena that comes or goes in
    # one of them is no leak.
    sizes = [refit(20), refit(n_refits), refit(n_refits)]
    assert min(np.diff(sizes)) < 2.5 * 2**20 * n_refits / 100

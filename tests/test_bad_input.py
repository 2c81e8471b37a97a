"""What is wrong with an input is said in scikit-learn's own types and words."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from _estimators import ESTIMATORS, set_device
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_featalign import (
    HalfSharedMLPAligner,
    KernelGCCAAligner,
    PoissonDenoiser,
    PoissonField,
    PoissonUniformizer,
    RBFAutoScaleAligner,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
FRAME = pd.DataFrame(X, columns=["a", "b", "c"])


def with_value(value):
    changed = X.copy()
    changed[3, 1] = value
    return changed


FEWER = {"n_landmarks": 2, "max_epochs": 1}


@pytest.fixture(params=ESTIMATORS)
def aligner(request):
    """Return each public estimator, with little to do."""
    aligner = request.param()
    if "estimator" in aligner.get_params():
        aligner.set_params(
            estimator=KernelGCCAAligner(n_landmarks=FEWER["n_landmarks"])
        )
    known = FEWER.keys() & aligner.get_params().keys()
    return aligner.set_params(**{name: FEWER[name] for name in known})


BAD_ROWS = {
    "all rows equal": (np.ones((5, 3)), ValueError, "X has no spread: all rows"),
    "one row": (X[:1], ValueError, r"1 sample\(s\).*minimum of 2 is required"),
    "no rows": (X[:0], ValueError, r"Found array with 0 sample\(s\)"),
    "no features": (X[:, :0], ValueError, r"Found array with 0 feature\(s\)"),
    "one dimension": (X[0], ValueError, "Expected 2D array, got 1D array instead"),
    "three dimensions": (X[None], ValueError, "Found array with dim 3"),
    "NaN": (with_value(np.nan), ValueError, "Input X contains NaN"),
    "infinity": (with_value(np.inf), ValueError, "Input X contains infinity"),
    "strings": (X.astype(str), ValueError, "not compatible with arrays of bytes/str"),
    "objects": (np.array([["x", 1], [2, 3]], object), ValueError, "could not convert"),
    "complex": (X * 1j, ValueError, "Complex data not supported"),
    "sparse": (scipy.sparse.csr_array(X), TypeError, "Sparse data was passed"),
}
AS_TENSORS = set(BAD_ROWS) - {"strings", "objects", "sparse"}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_rows(case, aligner):
    rows, error, message = BAD_ROWS[case]
    with pytest.raises(error, match=message):
        aligner.fit(rows)


@pytest.mark.parametrize("case", sorted(AS_TENSORS))
def test_bad_tensors(case, aligner):
    rows, error, message = BAD_ROWS[case]
    with pytest.raises(error, match=message):
        aligner.fit(torch.from_numpy(rows))


BAD_PARAMETERS = {
    "c": [0, 1, -0.1, 1.5, np.nan, "0.3", None],
    "gamma": [0, -1.0, np.nan, "scale", None],
    "n_landmarks": [0, -1, 2.5, "all"],
    "landmarks": ["fps", None, 3],
    "normalize": ["l2", True],
    "ridge": [0, -1.0, "auto"],
    "whiten": ["zca", True],
    "device": [None, 0, torch.device("cpu")],
    "batch_size": [0, 1.5, None],
    "random_state": ["seed", -1.5],
}


OF_GCCA = {
    "n_components": [0, 2.5, None],
    "linear": [-0.1, 1.1, np.nan, None, "0.7"],
    "ridge": [0, np.nan],
    "power": [-1, np.nan, None, "8"],
    "hub_neighbors": [-1, 2.5, None],
    "metric": ["euclidean", None],
}
OF_MLP = {
    "n_components": [0, 2.5, None],
    "hidden_layer_sizes": [8, None, "32"],
    "scaling": ["zscore", None],
    "target": ["labels", None, 3],
    "n_classes": [1, 2.5, None],
    "loss": ["hinge", None],
    "affinity_weight": [-1.0, np.nan, None],
    "pull_weight": [-1.0, "10"],
    "contrastive_weight": [-1.0, None],
    "init": ["cca", True],
    "ridge": [0, -1.0, None],
    "finish": ["cca", True],
    "input_noise": [-0.1, None],
    "max_epochs": [0, 1.5, None],
    "lr": [0, -1.0, np.nan],
    "batch_size": [0, 1, "auto"],
    "early_stopping": [1.5, None],
    "warm_start": [1.5, None],
    "device": [None, 0],
    "random_state": ["seed", -1.5],
}


OF_FLOW = {
    "start_height": [-0.1, np.nan, None, "silverman"],
    "solver": ["heun", None],
    "n_steps": [0, 2.5, None],
    "n_charges": [0, 2.5, "auto"],
    "device": [None, 0],
    "batch_size": [0, 1.5, None],
    "random_state": ["seed", -1.5],
}
OF_UNIFORMIZER = OF_FLOW | {
    "n_charges": [0, 2.5, "all"],
    "output": ["sphere", None, "auto"],
    "field": ["charges", "network", None],
    "radius": [0, -1.0, np.nan, None],
    "scaling": ["columns", True],
}
OF_DENOISER = OF_FLOW | {
    "contraction": [0, 1, 1.5, None],
    "scaling": ["columns", True, None],
}
OF_FIELD = {
    "parametrization": ["vertical", None],
    "hidden_layer_sizes": [8, "32"],
    "tau": [0, -1.0, None],
    "sigma": [0, -1.0, None],
    "M": [0, -1.0, None],
    "gamma": [-1.0, None],
    "max_epochs": [0, 1.5],
    "lr": [0, -1.0],
    "large_batch_size": [1, 2.5, None],
    "small_batch_size": [0, 2.5, None],
}


@pytest.mark.parametrize(
    ("Aligner", "name", "value"),
    [
        (Aligner, name, value)
        for Aligner, parameters in (
            (RBFAutoScaleAligner, BAD_PARAMETERS),
            (KernelGCCAAligner, OF_GCCA),
            (HalfSharedMLPAligner, OF_MLP),
            (PoissonUniformizer, OF_UNIFORMIZER),
            (PoissonDenoiser, OF_DENOISER),
            (PoissonField, OF_FIELD),
        )
        for name, values in parameters.items()
        for value in values
    ],
)
def test_bad_parameters(Aligner, name, value):
    message = f"The '{name}' parameter of {Aligner.__name__} must be"
    with pytest.raises(InvalidParameterError, match=message):
        aligner = Aligner(**{name: value})
        if Aligner is PoissonField:
            aligner = PoissonUniformizer(field=aligner)
        aligner.fit(X)


def test_absent_device(aligner):
    message = "device='cuda:99' is not available"
    with pytest.raises(ValueError, match=message):
        set_device(aligner, "cuda:99").fit(X)
    fitted = set_device(aligner, "auto").fit(X)
    with pytest.raises(ValueError, match=message):
        set_device(fitted, "cuda:99").transform(X)


BAD_TRANSFORMS = {
    "features": (X[:, :2], "X has 2 features, but {name} is expecting 3"),
    "tensor": (torch.zeros(4, 5), "X has 5 features, but {name} is expecting 3"),
    "NaN": (with_value(np.nan), "Input X contains NaN"),
    "tensor with NaN": (torch.full((2, 3), torch.nan), "Input X contains NaN"),
    "tensor with infinity": (torch.full((2, 3), torch.inf), "Input X contains inf"),
    "order of columns": (FRAME[["b", "a", "c"]], "feature names should match"),
    "missing column": (FRAME[["a", "b"]], "feature names should match"),
    "another column": (
        FRAME.assign(d=0.0),
        "feature names should match.*\n.*unseen at fit time:\n- d",
    ),
    "complex": (X * 1j, "Complex data not supported"),
    "strings": (X.astype(str), "not compatible with arrays of bytes/str"),
    "no rows": (X[:0], r"Found array with 0 sample\(s\)"),
}


@pytest.mark.parametrize("case", BAD_TRANSFORMS)
def test_bad_transform(case, aligner):
    rows, message = BAD_TRANSFORMS[case]
    train = FRAME if isinstance(rows, pd.DataFrame) else X
    aligner.fit(train)
    name = type(getattr(aligner, "estimator_", aligner)).__name__
    with pytest.raises(ValueError, match=message.format(name=name)):
        aligner.transform(rows)


def test_an_array_after_a_frame_warns(aligner):
    expected = aligner.set_params(random_state=0).fit(FRAME).transform(FRAME)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        out = aligner.transform(X)
    np.testing.assert_array_equal(out, expected)


def test_not_fitted(aligner):
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        aligner.transform(X)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize("convert", ["to_sparse", "to_sparse_csr"])
def test_sparse_tensors(convert, aligner):
    with pytest.raises(TypeError, match="Sparse data was passed for X"):
        aligner.fit(getattr(torch.from_numpy(X), convert)())


def test_whitening_of_few_rows_warns():
    rows = RNG.normal(size=(20, 50))
    with pytest.warns(UserWarning, match="20 rows in 19 dimensions"):
        RBFAutoScaleAligner(n_landmarks=5, whiten="pca").fit(rows)


def test_one_landmark_has_no_ridge_normalisation():
    with pytest.raises(ValueError, match="needs two landmarks or more that differ"):
        RBFAutoScaleAligner(n_landmarks=1, normalize="ridge").fit(X)


def test_a_gamma_too_small_for_float64():
    with pytest.raises(ValueError, match="gamma=1e-320 is too small for float64"):
        RBFAutoScaleAligner(gamma=1e-320, n_landmarks=4).fit(X)


def test_more_landmarks_than_rows():
    aligner = RBFAutoScaleAligner(n_landmarks=41)
    with pytest.warns(UserWarning, match="greater than the number of samples"):
        aligner.fit(X)
    assert aligner.n_landmarks_ == 40

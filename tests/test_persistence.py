"""What is saved is arrays alone, comes back bit by bit, and says what it needs."""

import copy
import gc
import pickle
from pathlib import Path
from types import FunctionType, ModuleType

import joblib
import numpy as np
import pytest
import skops.io
import torch
from _estimators import ALIGNERS, ESTIMATORS
from _samples import blobs
from sklearn.base import clone

import sklearn_featalign
from sklearn_featalign import KernelGCCAAligner, PoissonField
from sklearn_featalign._mixin import FORMAT, READABLE

FITTED = Path(__file__).parent / "fitted"


def reachable(value):
    """Yield all objects that hang on one, but for code."""
    seen, waiting = set(), [value]
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, type | ModuleType):
            continue
        seen.add(id(value))
        yield value
        if isinstance(value, FunctionType):
            waiting += [cell.cell_contents for cell in value.__closure__ or ()]
            continue
        waiting += gc.get_referents(value)
        # Arrays do not tell what they hold.
        if isinstance(value, np.ndarray):
            waiting.append(value.base)
            waiting += value.ravel().tolist() if value.dtype == object else []


def of_torch(value):
    """Return what of torch hangs on a value."""
    kinds = (torch.Tensor, torch.nn.Module, torch.Generator, torch.device)
    return [found for found in reachable(value) if isinstance(found, kinds)]


def test_nothing_of_torch_is_kept(aligner):
    X = torch.from_numpy(blobs())
    aligner.fit(X).transform(X)
    assert of_torch(aligner) == []


@pytest.mark.parametrize(
    "kept",
    [
        torch.zeros(1),
        torch.Generator(),
        torch.device("cpu"),
        {"a": [torch.nn.Linear(1, 1)]},
        np.array([torch.zeros(1), None], dtype=object),
        torch.zeros(5).numpy()[1:],
        (lambda tensor: lambda: tensor)(torch.zeros(1)),
    ],
)
def test_what_is_kept_of_torch_is_found(kept):
    aligner = clone(ALIGNERS["rbf"]).fit(blobs())
    aligner.kept_ = kept
    assert of_torch(aligner)


def through_skops(aligner, path):
    skops.io.dump(aligner, path)
    trusted = skops.io.get_untrusted_types(file=path)
    classes = [type(aligner)]
    inner = PoissonField, KernelGCCAAligner
    classes += {type(p) for p in vars(aligner).values() if isinstance(p, inner)}
    assert set(trusted) == {f"sklearn_featalign.{one.__name__}" for one in classes}
    return skops.io.load(path, trusted=trusted)


def through_joblib(aligner, path):
    joblib.dump(aligner, path, compress=3)
    return joblib.load(path)


def through_memory_map(aligner, path):
    joblib.dump(aligner, path)
    return joblib.load(path, mmap_mode="r")


ROUND_TRIPS = {
    "pickle": lambda aligner, path: pickle.loads(pickle.dumps(aligner)),
    "oldest pickle": lambda aligner, path: pickle.loads(pickle.dumps(aligner, 0)),
    "copy": lambda aligner, path: copy.deepcopy(aligner),
    "joblib": through_joblib,
    "memory map": through_memory_map,
    "skops": through_skops,
}


@pytest.mark.parametrize("how", ROUND_TRIPS)
def test_round_trips(aligner, how, tmp_path):
    X = blobs()
    out = aligner.fit(X).transform(X)
    loaded = ROUND_TRIPS[how](aligner, tmp_path / "aligner")
    assert vars(loaded).keys() == vars(aligner).keys()
    np.testing.assert_array_equal(loaded.transform(X), out)
    np.testing.assert_array_equal(loaded.fit(X).transform(X), out)


def test_other_formats_say_which_version_they_need(aligner):
    state = aligner.fit(blobs()).__getstate__()
    assert state["_format"] == FORMAT
    assert state["_saved_by"] == sklearn_featalign.__version__
    fresh = clone(aligner)
    later = {**state, "_format": FORMAT + 1, "_saved_by": "9.8.7"}
    message = f"saved in format {FORMAT + 1}, by sklearn-featalign 9.8.7. Here is"
    with pytest.raises(ValueError, match=message):
        fresh.__setstate__(later)
    with pytest.raises(ValueError, match="9.8.7"):
        pickle.loads(pickle.dumps(SavedLater(aligner)))
    unnumbered = {k: v for k, v in state.items() if k not in ("_format", "_saved_by")}
    with pytest.raises(ValueError, match="in format 0, .*before formats had a number"):
        fresh.__setstate__(unnumbered)
    assert not hasattr(fresh, "n_features_in_")
    fresh.__setstate__(state)
    assert fresh.n_features_in_ == 4


class SavedLater:
    """Pickles to an estimator that a later version has saved."""

    def __init__(self, aligner):
        self.aligner = aligner

    def __reduce__(self):
        state = {**self.aligner.__getstate__(), "_format": 99, "_saved_by": "9.8.7"}
        return object.__new__, (type(self.aligner),), state


def shape_of(value):
    """Return names and kinds of all that is in a state."""
    if isinstance(value, dict):
        return {key: shape_of(item) for key, item in value.items()}
    return (value.dtype, value.ndim) if isinstance(value, np.ndarray) else type(value)


@pytest.mark.parametrize("number", READABLE)
def test_fits_of_earlier_versions(number):
    """They give what they gave then, and mean what those of today do.

    The files are written by tests/fitted/write.py, once for each format.
    """
    saved = pickle.loads((FITTED / f"format-{number}.pickle").read_bytes())
    assert {type(entry["estimator"]) for entry in saved.values()} >= (
        set(ESTIMATORS) if number == FORMAT else set()
    )
    for name, entry in saved.items():
        estimator, X = entry["estimator"], entry["X"]
        np.testing.assert_allclose(
            estimator.transform(X), entry["output"], rtol=1e-5, atol=1e-5, err_msg=name
        )
        if number == FORMAT:
            today = clone(estimator).fit(X)
            assert shape_of(vars(today)) == shape_of(vars(estimator)), name


def test_every_format_has_a_file():
    assert FORMAT in READABLE
    files = {path.name for path in FITTED.glob("*.pickle")}
    assert {f"format-{number}.pickle" for number in READABLE} <= files

"""What all tests share: settings of hypothesis, and fixtures of every estimator."""

import subprocess
import sys

import numpy as np
import pytest
from _estimators import ALIGNERS, make
from hypothesis import settings

# The same examples at each run, so that a failure is one of the change at hand.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture(params=ALIGNERS)
def name(request):
    """Return the name of each setting in turn."""
    return request.param


@pytest.fixture
def aligner(name):
    """Return an estimator of each setting."""
    return make(name)


@pytest.fixture(scope="session")
def imports():
    """Return the names of modules: of the base, and after each import of ours."""
    code = "import sys, torch, sklearn, skorch; print(*sys.modules)"
    for module in ("sklearn_featalign", "sklearn_featalign.displays"):
        code += f"; import {module}; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    base, package, displays = (set(line.split()) for line in output.splitlines())
    return {"base": base, "package": package, "displays": displays}


@pytest.fixture
def asked_features(monkeypatch):
    """Return the names of features that the benchmarks load, as they ask for them."""
    import _pairs

    asked = []

    def load(data, features, n_samples):
        asked.append(features)
        return np.zeros((3, 2)), np.zeros(3)

    monkeypatch.setattr(_pairs, "load_features", load)
    return asked

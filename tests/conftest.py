"""What all tests share: settings of hypothesis, and fixtures of every estimator."""

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

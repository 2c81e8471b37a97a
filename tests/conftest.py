"""Settings that all tests share."""

from hypothesis import settings

# The same examples at each run, so that a failure is one of the change at hand.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

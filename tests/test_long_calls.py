"""How far a long call is: printed lines, the announcement, the batches behind them."""

import logging
import re

import numpy as np
import pytest
import torch
from _samples import blobs

from sklearn_featalign import PoissonDenoiser, PoissonUniformizer, _progress
from sklearn_featalign._progress import Progress, duration
from sklearn_featalign._torch import Rows


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    times = [100.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: times[0])

    def pass_seconds(seconds):
        times[0] += seconds

    return pass_seconds


def test_lines_of_a_long_call(clock, capsys):
    progress = Progress("f", 1000, verbose=True)
    for seconds, n_done in ((2, 100), (4, 200), (3, 400), (3, 600), (120, 1000)):
        clock(seconds)
        progress(n_done)
    assert capsys.readouterr().out.splitlines() == [
        "[f] 200 of 1000 rows, 24 s left",
        "[f] 600 of 1000 rows, 8 s left",
        "[f] 1000 of 1000 rows, in 2 min",
    ]


def test_a_long_call_is_announced_once(clock, caplog):
    progress = Progress("f", 1000, verbose=False)
    for seconds, n_done in ((0.5, 10), (9.5, 100), (10, 300)):
        clock(seconds)
        progress(n_done)
    assert caplog.messages == [
        "f of 1000 rows will take about 2 min; verbose=True shows how far it is."
    ]
    assert caplog.record_tuples[0][:2] == ("sklearn_featalign", logging.WARNING)


def test_a_short_call_is_silent(clock, caplog, capsys):
    progress = Progress("f", 1000, verbose=False)
    for n_done in (200, 600, 1000):
        clock(10)
        progress(n_done)
    assert not caplog.messages and not capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "0 s"), (99, "99 s"), (300, "5 min"), (9000, "2.5 h")]
)
def test_durations(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize("n_samples", [100, 9000])
def test_the_first_of_many_rows_come_first(n_samples):
    """So that it is soon known how long all take; all rows are computed once."""
    X, out, done = np.arange(n_samples)[:, None] / 2, np.zeros((n_samples, 1)), []
    rows = Rows(X, torch.device("cpu"), 2000)
    rows.collect(lambda batch: batch + 1, out, progress=done.append)
    np.testing.assert_array_equal(out, X + 1)
    assert done == ([100] if n_samples == 100 else [1024, 3024, 5024, 7024, 9000])


@pytest.mark.parametrize("estimator", [PoissonUniformizer(), PoissonDenoiser()])
def test_estimators_tell_of_their_methods(estimator, capsys, monkeypatch):
    X = blobs(n_features=2)
    estimator.fit(X)
    quiet = estimator.transform(X)
    assert not capsys.readouterr().out
    estimator.set_params(verbose=True)
    np.testing.assert_array_equal(estimator.transform(X), quiet)
    estimator.inverse_transform(quiet)
    estimator.score_samples(X)
    lines = capsys.readouterr().out.splitlines()
    for line, method in zip(
        lines, ("transform", "inverse_transform", "score_samples"), strict=True
    ):
        name = f"{type(estimator).__name__}.{method}"
        assert re.fullmatch(rf"\[{name}\] 120 of 120 rows, in \d+ s", line)


def test_batches_are_short_where_charges_are_many(monkeypatch):
    """So that a line is printed every few seconds."""
    u = PoissonUniformizer(n_charges=None).fit(blobs(n_features=2))
    few = u._n_work_columns
    u.charges_ = np.broadcast_to(u.charges_[:1], (10**6, 2))
    assert u._n_work_columns > 100 * few

"""Fits tell scikit-learn's callbacks what they do: the page in docs, and its bars."""

import re
from pathlib import Path

import numpy as np
import pytest
import rich
from _estimators import ALIGNERS, make
from _samples import blobs
from sklearn.callback import ProgressBar

from sklearn_featalign import KernelGCCAAligner, RBFAutoScaleAligner

PAGE = Path(__file__).parents[1] / "docs" / "progress.md"


def bars(shown):
    """Return the bars that were shown, without how long they took."""
    lines = [re.split(r"\s*━+", line) for line in shown.splitlines() if "━" in line]
    assert all(re.fullmatch(r"\s*100% [\d:]+", rest) for _, rest in lines)
    return [name for name, _ in lines]


@pytest.fixture
def wide_console():
    """Let rich write lines as long as the page's, in a terminal of any width."""
    rich.reconfigure(width=98)
    yield
    rich.reconfigure()


def test_the_page_shows_what_its_examples_show(capsys, wide_console):
    text, namespace = PAGE.read_text(), {}
    examples, shown = (
        re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)
        for kind in ("python", "text")
    )
    assert len(examples) == len(shown) == 2
    for example, expected in zip(examples, shown, strict=True):
        exec(example, namespace)
        found = bars(capsys.readouterr().out)
        if "..." in expected:
            found = [bar for bar in found if not re.search("evaluation.*#[1-5]$", bar)]
        assert found == bars(expected)


@pytest.mark.parametrize("name", ALIGNERS)
def test_every_estimator_has_a_bar(name, capsys, wide_console):
    estimator = make(name).set_callbacks(ProgressBar()).fit(blobs())
    first, *others = bars(capsys.readouterr().out)
    assert first == f"{type(estimator).__name__} - fit"
    # One for the aligner inside.
    assert bool(others) == hasattr(estimator, "estimator_")


class Recorder:
    """A callback that writes down what it is told."""

    def __init__(self):
        self.told, self.fitted = [], None

    def setup(self, estimator, context):
        self.told.append("setup")

    def teardown(self, estimator, context):
        self.told.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.told.append(f"begin {context.task_name} of {context.max_subtasks}")

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        self.told.append(f"end {context.task_name}")
        self.fitted = fitted_estimator


@pytest.mark.parametrize("aligner", [RBFAutoScaleAligner(), KernelGCCAAligner()])
@pytest.mark.parametrize("views, n_views", [(None, 1), ([1, 2, 1], 3)])
def test_views_are_steps(aligner, views, n_views):
    recorder, X = Recorder(), blobs()
    aligner.set_params(views=views, n_landmarks=20, random_state=0)
    aligner.set_callbacks(recorder).fit(X)
    assert recorder.told == [
        "setup",
        f"begin fit of {n_views + 1}",
        *n_views * ["begin view of 0", "end view"],
        *("begin all views of 0", "end all views"),
        *("end fit", "teardown"),
    ]
    # What was fitted is handed over before it is written.
    np.testing.assert_array_equal(recorder.fitted.transform(X), aligner.transform(X))


@pytest.mark.parametrize("name", ALIGNERS)
def test_callbacks_are_torn_down_when_a_fit_fails(name):
    recorder = Recorder()
    estimator = make(name).set_callbacks(recorder)
    with pytest.raises(ValueError, match="."):
        estimator.fit(np.ones((20, 4)))
    assert recorder.told[0] == "setup" and recorder.told[-1] == "teardown"
    assert not any(told == "end fit" for told in recorder.told)

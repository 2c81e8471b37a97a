"""Fitted aligners travel: the page in docs, word for word, on a real cluster."""

import re
from pathlib import Path

import numpy as np
import pytest
from _estimators import ALIGNERS, make
from _samples import blobs
from sklearn.base import clone

PAGE = Path(__file__).parents[1] / "docs" / "beyond_one_machine.md"

pytestmark = [
    pytest.mark.distributed,
    # Of dask's own event loop, when a cluster closes.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def page(monkeypatch_module):
    """Return what the page's examples leave, with every aligner run in between."""
    # Workers take the threads that a worker should.
    monkeypatch_module.setenv("OMP_NUM_THREADS", "1")
    first, second = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    namespace = {}
    exec(first, namespace)
    namespace |= {
        "workers": list(namespace["cluster"].workers.values()),
        "many_rows": namespace["X"],
        "some_blocks": {i: namespace["features"].blocks[i].compute() for i in (0, 59)},
        "outputs": on_workers(namespace),
    }
    exec(second, namespace)
    return namespace


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def fitted(name):
    return make(name, device="cpu").fit(blobs())


def on_workers(namespace):
    """Return what workers make of blocks of rows, by each aligner."""
    rows = namespace["da"].from_array(blobs(1), chunks=(50, -1))
    return {
        name: namespace["transform_blocks"](fitted(name), rows).compute()
        for name in ALIGNERS
    }


def test_an_array_larger_than_the_memory_of_the_workers(page):
    limits = [nanny.memory_manager.memory_limit for nanny in page["workers"]]
    X, features, aligner = page["many_rows"], page["features"], page["aligner"]
    assert len(limits) == 2 and X.nbytes > sum(limits) >= 2**30
    assert features.shape == (len(X), aligner.n_landmarks_)
    # The mean over the whole array was taken on the cluster.
    assert page["mean_affinity"] == pytest.approx(0.3, rel=0.02)
    for i, out in page["some_blocks"].items():
        np.testing.assert_array_equal(out, aligner.transform(X.blocks[i].compute()))


@pytest.mark.parametrize("name", ALIGNERS)
def test_workers_agree_with_one_process(name, page):
    np.testing.assert_array_equal(
        page["outputs"][name], fitted(name).transform(blobs(1))
    )


def test_a_search_on_a_cluster(page):
    search = page["search"]
    serial = clone(search).fit(page["X"], page["y"])
    for key in ("mean_test_score", "split0_test_score", "split2_test_score"):
        np.testing.assert_allclose(search.cv_results_[key], serial.cv_results_[key])
    assert search.best_params_ == serial.best_params_
    assert search.best_score_ > 0.9

"""Fitted aligners travel: the page in docs, word for word, on real clusters."""

import functools
import os
import re
import secrets
import tempfile
from pathlib import Path

import numpy as np
import psutil
import pytest
from _estimators import ALIGNERS, make
from _samples import blobs
from joblib.pool import PicklingPool
from sklearn.base import clone

PAGE = Path(__file__).parents[1] / "docs" / "beyond_one_machine.md"

pytestmark = [
    pytest.mark.distributed,
    # Of dask's own event loop, when a cluster closes.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def examples():
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def page(monkeypatch_module):
    """Return what the page's examples leave, with every aligner run in between."""
    # Workers take the threads that a worker should.
    monkeypatch_module.setenv("OMP_NUM_THREADS", "1")
    first, moments, second, *_ = examples()
    namespace = {}
    exec(first, namespace)
    namespace |= {
        "workers": list(namespace["cluster"].workers.values()),
        "many_rows": namespace["X"],
        "some_blocks": {i: namespace["features"].blocks[i].compute() for i in (0, 59)},
        "outputs": on_workers(namespace),
    }
    exec(moments, namespace)
    exec(second, namespace)
    return namespace


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@functools.cache
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


def assert_as_in_one_process(outputs, name):
    """Compare with the same blocks of rows in this process, and with all at once."""
    aligner, X = fitted(name), blobs(1)
    in_blocks = [aligner.transform(X[i : i + 50]) for i in range(0, len(X), 50)]
    np.testing.assert_array_equal(outputs[name], np.concatenate(in_blocks))
    # The last digit of a matrix product may depend on the number of its rows.
    np.testing.assert_allclose(
        outputs[name], aligner.transform(X), rtol=1e-9, atol=1e-9
    )


def test_sums_of_workers_are_those_of_one_process(page):
    rows = page["pairs"].compute()
    aligner = clone(page["joint"])
    for start in range(0, len(rows), 2000):
        aligner.partial_fit(rows[start : start + 2000])
    new = rows[:50] + 0.01
    expected = aligner.transform(new)
    np.testing.assert_allclose(page["joint"].transform(new), expected, atol=1e-8)


@pytest.mark.parametrize("name", ALIGNERS)
def test_workers_agree_with_one_process(name, page):
    assert_as_in_one_process(page["outputs"], name)


@pytest.fixture(scope="module")
def serial(page):
    return clone(page["search"]).fit(page["X"], page["y"])


def assert_searches_agree(search, serial):
    for key in ("mean_test_score", "split0_test_score", "split2_test_score"):
        np.testing.assert_allclose(search.cv_results_[key], serial.cv_results_[key])
    assert search.best_params_ == serial.best_params_
    assert search.best_score_ > 0.9


def test_a_search_on_a_cluster(page, serial):
    assert_searches_agree(page["search"], serial)


@pytest.fixture(scope="module")
def ray_page(page, tmp_path_factory, monkeypatch_module):
    """Return what the examples with ray leave, with every aligner run in between."""
    # Before the import, when ray reads it; without a token ray writes one to the home.
    monkeypatch_module.setenv("RAY_AUTH_MODE", "token")
    monkeypatch_module.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    monkeypatch_module.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray = pytest.importorskip("ray", reason="ray comes with the extra slow")
    from ray.util.joblib.ray_backend import RayBackend

    n_jobs = []

    def configure(self, *args, configure=RayBackend.configure, **kwargs):
        n_jobs.append(configure(self, *args, **kwargs))
        return n_jobs[-1]

    monkeypatch_module.setattr(RayBackend, "configure", configure)
    *_, first, second = examples()
    namespace = {"search": clone(page["search"]), "X": page["X"], "y": page["y"]}
    bases = PicklingPool.__bases__
    monkeypatch_module.chdir(tmp_path_factory.mktemp("ray"))
    # The names of sockets are limited to 107 characters: no place for pytest's paths.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        monkeypatch_module.setenv("RAY_TMPDIR", folder)
        try:
            exec(first, namespace)
            namespace["outputs"] = on_tasks(namespace)
            exec(second, namespace)
            namespace["still_up"] = ray.is_initialized()
        finally:
            ray.shutdown()
            end_workers()
            # ray's backend changes them for the whole process.
            PicklingPool.__bases__ = bases
    return namespace | {"n_jobs": n_jobs}


def end_workers():
    """Wait for workers of ray, which `shutdown` doesn't, and kill those that stay."""
    own = {psutil.Process(), *psutil.Process().children()}
    here = (p for p in psutil.process_iter(["cwd"]) if p.info["cwd"] == os.getcwd())
    _, alive = psutil.wait_procs(set(here) - own, timeout=10)
    for process in alive:
        process.kill()


def on_tasks(namespace):
    """Return what tasks of ray make of parts of a file, by each aligner."""
    ray, path = namespace["ray"], Path("blobs.npy").resolve()
    np.save(path, blobs(1))
    tasks = {
        name: [
            namespace["transform_rows"].remote(aligner, path, start, start + 50)
            for start in range(0, len(blobs(1)), 50)
        ]
        for name in ALIGNERS
        for aligner in [ray.put(fitted(name))]
    }
    return {name: np.concatenate(ray.get(parts)) for name, parts in tasks.items()}


@pytest.mark.slow
def test_a_file_of_rows_with_ray(ray_page):
    rows, features, aligner = (ray_page[key] for key in ("rows", "features", "aligner"))
    assert len(ray_page["blocks"]) == 6 and not ray_page["still_up"]
    np.testing.assert_array_equal(features, aligner.transform(rows))


@pytest.mark.slow
@pytest.mark.parametrize("name", ALIGNERS)
def test_tasks_of_ray_agree_with_one_process(name, ray_page):
    assert_as_in_one_process(ray_page["outputs"], name)


@pytest.mark.slow
def test_a_search_with_ray(ray_page, serial):
    assert ray_page["n_jobs"] == [2]
    assert_searches_agree(ray_page["search"], serial)

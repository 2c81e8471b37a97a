"""The same seed gives the same bits on any thread, and nothing global changes."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from _estimators import ADAPTIVE, ALIGNERS, WITH_LANDMARKS, ask, make
from _samples import blobs
from joblib import Parallel, delayed
from sklearn.base import clone
from threadpoolctl import threadpool_limits
from torch.utils._python_dispatch import TorchDispatchMode


@pytest.fixture(
    params=[
        *ALIGNERS,
        "poisson adaptive",
        pytest.param("poisson adaptive compressed", marks=pytest.mark.slow),
    ]
)
def name(request):
    return request.param


@pytest.fixture(params=WITH_LANDMARKS)
def landmark_aligner(request):
    return clone(WITH_LANDMARKS[request.param])


def global_state():
    return (
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),
        random.getstate(),
        torch.get_num_threads(),
        torch.get_num_interop_threads(),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        np.geterr(),
    )


@pytest.fixture
def two_threads():
    """Let libraries share the work of one call between two threads, as by default."""
    before = torch.get_num_threads()
    with threadpool_limits(2):
        torch.set_num_threads(2)
        yield
        torch.set_num_threads(before)


def check_refit(aligner):
    X = blobs()
    before = global_state()
    first, second = ask(aligner.fit(X), X), ask(aligner.fit(X), X)
    assert global_state() == before
    for method, values in first.items():
        np.testing.assert_array_equal(second[method], values)


def test_refits_are_bit_equal_and_leave_global_state_alone(aligner):
    check_refit(aligner)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALIGNERS)
def test_refits_that_share_their_work_do_so_too(aligner, two_threads):
    check_refit(aligner)


@pytest.mark.parametrize("landmarks", ["farthest", "kmeans++"])
def test_refits_with_other_landmarks_do_so_too(landmark_aligner, landmarks):
    check_refit(landmark_aligner.set_params(landmarks=landmarks))


class NoGlobalDraws(TorchDispatchMode):
    """Refuses operators that draw random numbers without a generator of their own."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        draws = torch.Tag.nondeterministic_seeded in function.tags
        assert not draws or kwargs.get("generator") is not None, function
        return function(*args, **kwargs)


def test_no_number_is_drawn_without_a_generator(aligner):
    with NoGlobalDraws():
        ask(aligner.fit(blobs()), blobs())


def test_an_adaptive_solver_with_few_charges_is_as_repeatable():
    """Few rows are enough by day: the slow tests have all rows and methods."""
    X = blobs(n_samples=40)
    aligner = make("poisson adaptive compressed", n_charges=20)
    before = global_state()
    with NoGlobalDraws():
        first = aligner.fit_transform(X)
    second = aligner.fit_transform(X)
    assert global_state() == before
    np.testing.assert_array_equal(second, first)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.randn(3),
        lambda: torch.randperm(3),
        lambda: torch.nn.Linear(2, 2),
        lambda: torch.nn.functional.dropout(torch.ones(3)),
        lambda: list(torch.utils.data.RandomSampler([1, 2])),
    ],
)
def test_drawing_without_one_is_seen(draw):
    with NoGlobalDraws(), pytest.raises(AssertionError):
        draw()


def check_forty_fits(aligner):
    X = blobs(n_samples=60)
    expected = clone(aligner).fit_transform(X)
    before = global_state()
    with ThreadPoolExecutor(4) as pool:
        many = pool.map(lambda _: clone(aligner).fit_transform(X), range(40))
        for out in many:
            np.testing.assert_array_equal(out, expected)
    assert global_state() == before


@pytest.mark.parametrize(
    "name",
    [*ALIGNERS, *(pytest.param(name, marks=pytest.mark.slow) for name in ADAPTIVE)],
)
def test_forty_fits_on_four_threads_are_one(aligner):
    check_forty_fits(aligner)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALIGNERS)
def test_forty_fits_that_share_their_work_are_one(aligner, two_threads):
    check_forty_fits(aligner)


def test_processes_agree_with_one():
    check_processes()


@pytest.mark.slow
def test_processes_agree_with_one_that_shares_its_work(two_threads):
    check_processes()


def fit_transform_on(n_threads, aligner, X):
    torch.set_num_threads(n_threads)
    return aligner.fit_transform(X)


def check_processes():
    X = blobs()
    aligners = [make(name) for name in ALIGNERS]
    # joblib may give its workers fewer threads than this process has.
    n_threads = torch.get_num_threads()
    fit_transforms = [
        delayed(fit_transform_on)(n_threads, aligner, X) for aligner in aligners
    ]
    outputs = Parallel(n_jobs=2, backend="loky")(fit_transforms)
    for aligner, out in zip(aligners, outputs, strict=True):
        np.testing.assert_array_equal(out, aligner.fit_transform(X))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_default_dtype_and_device_of_torch_do_not_matter(aligner, dtype):
    X = np.repeat(blobs(), 3, axis=0)
    if "landmarks" in aligner.get_params():
        aligner.set_params(landmarks="farthest")
    expected = aligner.fit_transform(X)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("meta"):
            out = aligner.fit_transform(X)
    finally:
        torch.set_default_dtype(before)
    np.testing.assert_array_equal(out, expected)

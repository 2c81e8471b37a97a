"""Every public estimator on a CUDA device, which is pretended: see `_pretend_cuda`."""

import pickle

import numpy as np
import pytest
import torch
from _estimators import (
    ALIGNERS,
    ESTIMATORS,
    METHODS,
    SHORTER,
    ask,
    make,
    rows_for,
    set_device,
)
from _pretend_cuda import pretend_cuda
from _samples import blobs
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_featalign import (
    PoissonDenoiser,
    PoissonUniformizer,
    metrics,
    split_views,
    stack_views,
)
from sklearn_featalign._kernels import _gcca_views
from sklearn_featalign._torch import Rows

pytestmark = pytest.mark.skipif(
    torch.cuda.is_available(), reason="there is CUDA: see test_gpu.py"
)


def test_the_device_gives_what_the_cpu_does(name):
    X, X_new = blobs(), blobs(1)
    expected = ask(make(name, device="cpu").fit(X), X_new)
    with pretend_cuda() as ledger:
        aligner = make(name).fit(X)
        assert ledger.device_ops > 50 and ledger.to_device and ledger.to_host
        assert ledger.used == 0
        before = ledger.device_ops
        out = ask(aligner, X_new)
        assert ledger.device_ops > before + 10 * len(out)
        assert ledger.used == 0
        pickled = pickle.dumps(aligner)
    # Without the device that it was fitted on.
    for answers in (out, ask(pickle.loads(pickled), X_new)):
        assert answers.keys() == expected.keys()
        for method, values in answers.items():
            np.testing.assert_array_equal(values, expected[method])


def test_an_adaptive_solver():
    X = blobs(n_samples=40)
    expected = PoissonUniformizer(solver="dopri5").fit(X).transform(X)
    with pretend_cuda():
        out = PoissonUniformizer(solver="dopri5").fit(X).transform(X)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_the_device_is_that_of_the_parameter(device, name):
    X = blobs()
    with pretend_cuda() as ledger:
        aligner = make(name, device=device).fit(X)
        aligner.transform(X)
        assert bool(ledger.device_ops) == (device != "cpu")
        message = r"'cuda:1' is not available. Devices .*: cpu, cuda, cuda:0; device="
        with pytest.raises(ValueError, match=message):
            set_device(aligner, "cuda:1").transform(X)


def test_a_fit_of_an_absent_device_says_what_helps(name):
    X = blobs()
    with pretend_cuda():
        pickled = pickle.dumps(make(name, device="cuda").fit(X))
    aligner = pickle.loads(pickled)
    with pytest.raises(ValueError, match="'cuda' is not available.*device='auto'"):
        aligner.transform(X)
    assert len(set_device(aligner, "auto").transform(X)) == len(X)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_of_the_device_give_such(dtype, name):
    X, X_new = blobs().astype(np.float32), blobs(1).astype(np.float32)
    on_cpu = make(name).fit(torch.from_numpy(X).to(dtype))
    expected = ask(on_cpu, torch.from_numpy(X_new).to(dtype))
    with pretend_cuda() as ledger:
        aligner = make(name).fit(torch.from_numpy(X).to("cuda", dtype))
        rows = torch.from_numpy(X_new).to("cuda", dtype)
        for method in set(METHODS) & expected.keys():
            taken = rows_for(aligner, method, rows)
            before = ledger.to_host
            out = getattr(aligner, method)(taken)
            if isinstance(expected[method], torch.Tensor):
                assert out.device == rows.device and out.dtype == dtype
                assert ledger.to_host <= before
                out = out.cpu()
            assert_same(name, out, expected[method])
        assert rows.is_cuda


def assert_same(name, out, expected):
    """Assert equal bits, but where powers of what views share amplify the last."""
    atol = 1e-8 if name == "gcca mean" else 0
    np.testing.assert_allclose(out, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("given", ["array", "tensor", "tensor of the device"])
def test_rows_that_lack_a_view(given):
    for name in ("rbf views", "gcca mean", "mlp closed form"):
        X = blobs()
        aligner = make(name)
        columns = [1, 2] if len(aligner.views) > 2 else [2, 3]
        X[np.ix_([3, 5, 8], columns)] = np.nan
        expected = aligner.fit(X).transform(X)
        with pretend_cuda():
            rows = X if given == "array" else torch.from_numpy(X)
            if given == "tensor of the device":
                rows = rows.cuda()
            out = make(name).fit(rows).transform(rows)
            out = out.cpu() if isinstance(out, torch.Tensor) else out
        assert_same(name, out, expected)


def test_each_batch_is_copied_once_each_way_and_nobody_waits(name):
    X, X_new = blobs(), blobs(1, n_samples=600)
    aligner = make(name).fit(X)
    expected = aligner.transform(X_new)
    if "landmarks" not in aligner.get_params() and "n_steps" not in vars(aligner):
        pytest.skip("its batches are those of training")
    n_views = len(getattr(aligner, "views", None) or [0])
    n_blocks = n_views if getattr(aligner, "output", 0) in ("concat", "mean") else 1
    copies = {}
    for n_batches in (2, 5):
        aligner.set_params(batch_size=600 // n_batches)
        with pretend_cuda() as ledger:
            out = aligner.transform(X_new)
        np.testing.assert_allclose(out, expected, rtol=1e-9, atol=1e-12)
        copies[n_batches] = ledger.to_device, ledger.to_host, ledger.blocking
        assert not ledger.in_flight
    (there, back, blocking), (there_5, back_5, blocking_5) = copies.values()
    assert blocking == blocking_5
    assert there_5 - there == back_5 - back == 3 * n_blocks
    assert back == 2 * n_blocks


def test_rows_of_the_device_are_waited_for_on_the_cpu():
    X = blobs()
    aligner = make("rbf", device="cpu").fit(X)
    expected = aligner.transform(X)
    with pretend_cuda() as ledger:
        rows = torch.from_numpy(X).cuda()
        before = ledger.blocking
        out = aligner.transform(rows).cpu()
        assert ledger.blocking - before == ledger.to_host + ledger.to_device - 1 >= 2
    np.testing.assert_array_equal(out, expected)


def count_waits(do, X):
    """Return how often the host waits for the device in what it does to rows there."""
    with pretend_cuda() as ledger:
        do(torch.from_numpy(X).cuda())
    return ledger.synchronisations + ledger.to_host


def test_no_wait_for_the_device_in_transform(name):
    """Whatever the number of rows, and for closed forms that of batches."""
    X = blobs()
    aligner = make(name).fit(X)
    many = np.tile(X, (10, 1))
    whole = count_waits(aligner.transform, many)
    if isinstance(aligner, PoissonUniformizer | PoissonDenoiser):
        # torchdiffeq compares the time with the end after each step.
        assert whole == count_waits(aligner.transform, X) <= 20
        aligner.set_params(batch_size=300)
        of_checks = 1
        batches = count_waits(aligner.transform, many) - of_checks
        assert batches == 4 * (whole - of_checks)
    else:
        if "landmarks" in aligner.get_params():
            aligner.set_params(batch_size=50)
        # That all numbers are finite, and of views that none is absent, is asked once.
        n_views = len(getattr(aligner, "views", None) or [])
        assert whole == count_waits(aligner.transform, many) == 1 + n_views


def test_waits_of_a_fit_do_not_grow_with_the_rows(name):
    aligner = make(name)
    if "landmarks" in aligner.get_params():
        aligner.set_params(batch_size=50)
    elif "max_epochs" in aligner.get_params():
        # As many batches, each of which skorch asks for its loss.
        aligner.set_params(batch_size=2000)
    elif aligner.get_params().get("field", "exact") != "exact":
        aligner.set_params(field__large_batch_size=2000)
    few, many = (
        count_waits(clone(aligner).fit, blobs(n_samples=n)) for n in (200, 2000)
    )
    # Newton's method and the ranks of held-out rows may take some more.
    assert many <= few + 10


# The two that take longest are left to the slow tests.
settings_short_of_memory = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow)
        if name in ("poisson compressed", "mlp closed form")
        else name
        for name in ALIGNERS
    ],
)


@settings_short_of_memory
def test_memory_that_runs_out_makes_batches_smaller(name):
    X, X_new = blobs(), blobs(1, n_samples=800)
    aligner = make(name).fit(X)
    expected = aligner.transform(X_new)
    with pretend_cuda() as ledger:
        aligner.transform(X_new)
    enough = ledger.peak / 4
    with pretend_cuda(capacity=enough) as ledger:
        out = aligner.transform(X_new)
        assert ledger.emptied >= 2 and enough / 4 < ledger.peak <= enough
    np.testing.assert_allclose(out, expected, rtol=1e-9, atol=1e-12)


@settings_short_of_memory
def test_memory_that_runs_out_in_a_fit_does_too(name, monkeypatch):
    # Rows that are kept are not in batches.
    monkeypatch.setattr(_gcca_views, "N_KEPT", 60)
    aligner = make(name)
    X, X_new = blobs(n_samples=3000), blobs(1)
    if "max_epochs" in aligner.get_params():
        pytest.skip("a batch of training is what the user says")
    with pretend_cuda() as ledger:
        expected = clone(aligner).fit(X).transform(X_new)
    enough = ledger.peak / 3
    with pretend_cuda(capacity=enough) as ledger:
        aligner.fit(X)
        assert ledger.emptied and ledger.peak <= enough
    np.testing.assert_allclose(aligner.transform(X_new), expected, rtol=0, atol=1e-8)


@settings_short_of_memory
def test_one_row_too_large_raises(name):
    X = blobs()
    aligner = make(name).fit(X)
    expected = aligner.transform(X)
    with pretend_cuda() as ledger:
        aligner.transform(X[:1])
    # Short of what one row needs, or the landmarks that it is compared with.
    with pretend_cuda(capacity=ledger.peak - 1) as ledger:
        with pytest.raises(torch.OutOfMemoryError):
            aligner.transform(X)
        assert ledger.device_ops
    np.testing.assert_array_equal(aligner.transform(X), expected)


@settings_short_of_memory
@pytest.mark.parametrize(
    "every_point", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_no_memory_at_any_point_of_a_fit_leaves_the_old_one_usable(name, every_point):
    X = blobs()
    aligner = make(name).fit(X)
    expected, before = aligner.transform(X), vars(aligner).copy()
    with pretend_cuda() as ledger:
        other = torch.from_numpy(2 * X[::-1].copy()).cuda()
        clone(aligner).fit(other)
    n = ledger.allocations
    points = {2, n // 2, n - 6, n - 4, n - 2, n - 1}
    if every_point:
        points = {2, n // 4, n // 2, 3 * n // 4, *range(n - 8, n)}
    raised = 0
    for at in points:
        with pretend_cuda(most_allocations=at):
            other = torch.from_numpy(2 * X[::-1].copy()).cuda()
            try:
                aligner.fit(other)
            except torch.OutOfMemoryError:
                raised += 1
                assert vars(aligner).keys() == before.keys()
                assert all(vars(aligner)[key] is before[key] for key in before)
            else:
                # Distances that are not kept, and batches, are for less memory.
                aligner = make(name).fit(X)
                before = vars(aligner).copy()
    assert raised >= 2 * len(points) / 3
    np.testing.assert_array_equal(aligner.transform(X), expected)


METRICS = {
    "retrieval_ranks": metrics.retrieval_ranks,
    "retrieval_ranks, CSLS": lambda X, Y: metrics.retrieval_ranks(X, Y, csls=3),
    "retrieval_accuracy": metrics.retrieval_accuracy,
    "mean_reciprocal_rank": metrics.mean_reciprocal_rank,
    "mutual_knn": metrics.mutual_knn,
    "neighbor_recall": lambda X, Y: metrics.neighbor_recall(X, X, Y, Y),
    "linear_cka": metrics.linear_cka,
    "cluster_contrast": lambda X, Y: metrics.cluster_contrast(
        X, Y, np.arange(len(X)) % 3
    ),
    "concordance_correlation": metrics.concordance_correlation,
    "alignment_loss": metrics.alignment_loss,
    "sliced_epps_pulley": lambda X, Y: metrics.sliced_epps_pulley(X, random_state=0),
    "uniformity_loss": lambda X, Y: metrics.uniformity_loss(X),
}


def test_every_metric_is_here():
    known = {name.split(",")[0] for name in METRICS}
    public = {name for name in metrics.__all__ if not name.startswith("make_")}
    assert known == public


@pytest.mark.parametrize("name", METRICS)
def test_metrics(name):
    X, Y = blobs(), blobs(1)
    expected = METRICS[name](X, Y)
    with pretend_cuda() as ledger:
        out = METRICS[name](torch.from_numpy(X).cuda(), torch.from_numpy(Y).cuda())
    assert ledger.device_ops
    np.testing.assert_array_equal(out, expected)


def test_views_of_the_device():
    A, B = blobs(), blobs(1)
    with pretend_cuda() as ledger:
        tensors = [torch.from_numpy(A).cuda(), torch.from_numpy(B).cuda()]
        X = stack_views(tensors, [4, 4])
        parts = split_views(X, [4, 4])
        assert ledger.to_host == 0
        assert all(part.is_cuda for part in parts)
        for part, values in zip(parts, (A, B), strict=True):
            np.testing.assert_array_equal(part.cpu(), values)


@pytest.mark.filterwarnings("ignore:n_landmarks=1000 is greater", "ignore:Rows flow in")
@parametrize_with_checks(
    [Estimator(**SHORTER.get(Estimator, {})) for Estimator in ESTIMATORS]
)
def test_check_estimator(estimator, check, monkeypatch):
    loads = []
    load = Rows.load

    def counted(rows, *args):
        loads.append(len(rows))
        return load(rows, *args)

    monkeypatch.setattr(Rows, "load", counted)
    with pretend_cuda() as ledger:
        check(estimator)
    assert bool(ledger.device_ops) == bool(loads)

"""The real thing, where there is a GPU; elsewhere, that its command is whole."""

import gpu_check
import numpy as np
import pytest
import torch
from _estimators import ALIGNERS
from _pretend_cuda import pretend_cuda
from _samples import blobs
from sklearn.base import clone

needs_cuda = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA"),
]
SMALL = "--n-samples 60 --n-features 8 --n-landmarks 20 --n-charges 40".split()
SMALL += "--n-epochs 2 --n-rounds 1 --n-checked 60".split()


@pytest.fixture(params=[pytest.param(name, marks=needs_cuda) for name in ALIGNERS])
def aligner(request):
    return clone(ALIGNERS[request.param]).set_params(random_state=0)


def test_one_fit_gives_the_same_on_both_devices(aligner):
    X, X_new = blobs(), blobs(1)
    expected = aligner.set_params(device="cpu").fit(X).transform(X_new)
    out = aligner.set_params(device="cuda").transform(X_new)
    np.testing.assert_allclose(out, expected, rtol=1e-7, atol=1e-9)


def test_fits_of_both_devices_agree(aligner):
    X, X_new = blobs(), blobs(1)
    if getattr(aligner, "n_charges", None):
        # Rounding may move a row to another cell.
        aligner.set_params(n_charges=None)
    cpu, gpu = (clone(aligner).set_params(device=d).fit(X) for d in ("cpu", "cuda"))
    if hasattr(gpu, "loss_curve_"):
        assert gpu_check.losses_agree(gpu, gpu.loss_curve_[-1] / cpu.loss_curve_[-1])
        return
    # The filter of three views is the fourth root of a sum.
    expected = cpu.transform(X_new)
    np.testing.assert_allclose(gpu.transform(X_new), expected, rtol=1e-6, atol=1e-6)


def test_refits_are_bit_equal(aligner):
    X = blobs()
    first, second = (clone(aligner).fit(X).transform(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_tensors_stay_on_the_device(aligner):
    X, X_new = (torch.from_numpy(blobs(seed)).cuda() for seed in (0, 1))
    out = aligner.fit(X).transform(X_new)
    assert out.is_cuda and out.dtype == X.dtype
    again = aligner.transform(X_new.cpu().numpy())
    np.testing.assert_array_equal(out.cpu(), again)


def test_memory_that_runs_out_makes_batches_smaller(aligner, monkeypatch):
    X_new = blobs(1, n_samples=200_000)
    aligner.set_params(device="cuda").fit(blobs())
    if hasattr(aligner, "batch_size") and not hasattr(aligner, "warm_start"):
        aligner.set_params(batch_size=len(X_new))
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    expected = aligner.transform(X_new)
    needed = torch.cuda.max_memory_reserved() - before
    emptied = []
    empty_cache = torch.cuda.empty_cache
    empty_cache()
    monkeypatch.setattr(
        torch.cuda, "empty_cache", lambda: emptied.append(empty_cache())
    )
    total = torch.cuda.get_device_properties(0).total_memory
    limit = torch.cuda.memory_reserved() + needed / 2
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total))
    try:
        out = aligner.transform(X_new)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert emptied
    np.testing.assert_allclose(out, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA")
def test_the_command_on_a_gpu():
    assert gpu_check.main(SMALL) == 0


pretended = pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA")


@pytest.mark.slow
@pretended
def test_the_command_is_whole(capsys, tmp_path):
    with pretend_cuda():
        assert gpu_check.main([*SMALL, "--json", str(tmp_path / "out.json")]) == 0
    printed = capsys.readouterr().out
    assert "All checks passed" in printed
    for name in gpu_check.settings(8, 20, 2):
        assert printed.count(f"{name} ") >= 2
    assert (tmp_path / "out.json").read_text().startswith("{")


@pretended
def test_the_command_fails_where_a_check_does(capsys, monkeypatch):
    wrong = {"RBF": gpu_check.settings(8, 20, 2)["RBF"]}
    monkeypatch.setattr(gpu_check, "settings", lambda *args: wrong)
    monkeypatch.setattr(gpu_check, "TRANSFORM_ERROR", -1.0)
    with pretend_cuda():
        assert gpu_check.main(SMALL) == 1
    assert "Failed: RBF" in capsys.readouterr().out
    monkeypatch.setattr(gpu_check, "error", lambda *args: 1 / 0)
    with pretend_cuda():
        assert gpu_check.main(SMALL) == 1
    assert "ZeroDivisionError" in capsys.readouterr().out


@pretended
def test_without_a_gpu_the_command_says_so():
    with pytest.raises(SystemExit, match="no CUDA device"):
        gpu_check.main([])

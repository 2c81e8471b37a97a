"""The pretended device refuses what CUDA refuses, and catches what it is there for."""

import copy
import inspect
import pickle
import sys
import textwrap

import numpy as np
import pytest
import torch
from _estimators import ALIGNERS
from _pretend_cuda import pretend_cuda
from _samples import blobs
from sklearn.base import clone
from torchdiffeq import odeint

from sklearn_featalign import HalfSharedMLPAligner, _torch
from sklearn_featalign._kernels._landmark_aligner import LandmarkAligner
from sklearn_featalign._torch import Rows

pytestmark = pytest.mark.skipif(
    torch.cuda.is_available(), reason="there is CUDA: see test_gpu.py"
)


@pytest.fixture
def ledger():
    with pretend_cuda() as ledger:
        yield ledger


def there(*shape):
    return torch.ones(shape, device="cuda")


def here(*shape):
    return torch.ones(shape)


MIXED_DEVICES = {
    "sum": lambda: there(3) + here(3),
    "in place": lambda: here(3).add_(there(3)),
    "a number of the device": lambda: here(3) * there(),
    "product": lambda: there(2, 2) @ here(2, 2),
    "addmm": lambda: torch.addmm(here(2), there(2, 2), there(2, 2)),
    "distances": lambda: torch.cdist(there(3, 2), here(3, 2)),
    "a number in a distance": lambda: torch.mv(there(2, 2), here(2)),
    "cat": lambda: torch.cat([there(3), here(3)]),
    "stack": lambda: torch.stack([there(), here()]),
    "where": lambda: torch.where(there(3) > 0, here(3), 0.0),
    "linear": lambda: torch.nn.functional.linear(there(1, 2), here(2, 2)),
    "module": lambda: torch.nn.Linear(2, 2)(there(1, 2)),
    "index of the device": lambda: here(3)[torch.zeros(1, dtype=int, device="cuda")],
    "mask of the device": lambda: here(3)[there(3) > 0],
    "values by index": lambda: there(3).index_put_((torch.arange(2),), here(2)),
    "scatter": lambda: there(3).scatter_(0, torch.arange(2), 1.0),
    "solve": lambda: torch.linalg.solve(there(2, 2), here(2)),
    "fused step": lambda: torch._fused_adamw_(
        [there(2)], [here(2)], [there(2)], [there(2)], [], [there()],
        lr=0.1, beta1=0.9, beta2=0.99, weight_decay=0, eps=1e-8, amsgrad=False,
        maximize=False,
    ),
    "generator": lambda: there(3).normal_(generator=torch.Generator()),
    "permutation": lambda: torch.randperm(
        3, generator=torch.Generator(), device="cuda"
    ),
    "generator of the device": lambda: torch.rand(
        3, generator=torch.Generator("cuda")
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MIXED_DEVICES)
def test_devices_do_not_mix(case, ledger):
    with pytest.raises(RuntimeError, match="same device|type for generator"):
        MIXED_DEVICES[case]()


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize(
    "convert",
    [lambda t: t.numpy(), np.asarray, np.from_dlpack],
)
def test_no_array_of_the_device(convert, inference, ledger):
    with pytest.raises(TypeError, match="can't convert cuda:0|dlpack"):
        with torch.inference_mode(inference):
            convert(there(3))


@pytest.mark.parametrize(
    "make",
    [
        lambda: there(3),
        lambda: torch.nn.Parameter(there(3)),
        lambda: torch.nn.Linear(2, 2).to("cuda"),
        lambda: {"view": there(3)[1:]},
    ],
)
def test_no_pickle_of_the_device(make, ledger):
    with pytest.raises(RuntimeError, match="was pickled"):
        pickle.dumps(make())


@pytest.mark.parametrize(
    "do",
    [
        lambda t: t.kthvalue(2),
        lambda t: t.median(0),
        lambda t: torch.cumsum(t, 0),
        lambda t: torch.cdist(t[:, None].requires_grad_(), t[:, None]).sum().backward(),
    ],
)
def test_nothing_without_a_deterministic_algorithm(do, ledger):
    with pytest.raises(RuntimeError, match="deterministic implementation"):
        do(there(3))
    there(3).median()


def test_other_devices_are_absent(ledger):
    for name in ("cuda:1", "mps"):
        with pytest.raises(RuntimeError, match="Invalid device"):
            torch.zeros(3, device=name)


def on_the_default_device():
    with torch.device("cuda"):
        return torch.zeros(3)


ON_DEVICE = {
    "factory": lambda: torch.zeros(3, device="cuda:0"),
    "number of the device": lambda: torch.zeros(3, device=0),
    "cuda": lambda: here(3).cuda(),
    "to": lambda: here(3).to("cuda"),
    "to with a dtype": lambda: here(3).to(torch.device("cuda"), torch.float64),
    "to by name": lambda: here(3).to(device="cuda", dtype=torch.float64),
    "to another": lambda: here(3).to(there(1).double()),
    "dtype": lambda: there(3).to(torch.float64),
    "tensor": lambda: torch.tensor([1.0, 2.0], device="cuda"),
    "as_tensor": lambda: torch.as_tensor(np.ones(3), device="cuda"),
    "like": lambda: torch.zeros_like(there(3)),
    "like, brought": lambda: torch.zeros_like(here(3), device="cuda"),
    "new": lambda: there(3).new_zeros(2),
    "new data": lambda: there(3).new_tensor([1.0]),
    "view": lambda: there(3, 4).T[1:, None],
    "detached": lambda: there(3).requires_grad_().detach(),
    "data": lambda: torch.nn.Parameter(there(3)).data,
    "copy": lambda: copy.deepcopy(there(3)),
    "module": lambda: torch.nn.Linear(2, 2).to("cuda").weight,
    "module of the device": lambda: torch.nn.Linear(2, 2, device="cuda").weight,
    "state": lambda: torch.nn.Linear(2, 2).to("cuda").state_dict()["weight"],
    "context": on_the_default_device,
    "number on the CPU": lambda: there(3) * torch.tensor(2.0),
    "index on the CPU": lambda: there(3)[torch.arange(2)],
    "index of numpy": lambda: there(3)[np.arange(2)],
    "mask of numpy": lambda: there(3)[np.arange(3) > 0],
    "distances": lambda: torch.cdist(there(3, 2), there(3, 2)),
    "where": lambda: torch.where(there(3) > 0, 1.0, there(3)),
    "norm": lambda: torch.nn.functional.normalize(there(3, 2)),
    "eigenvectors": lambda: torch.linalg.eigh(there(2, 2)).eigenvectors,
    "unique": lambda: torch.unique(there(3, 2), dim=0),
    "draw": lambda: there(3).normal_(generator=torch.Generator("cuda")),
    "permutation": lambda: torch.randperm(
        3, generator=torch.Generator("cuda"), device="cuda"
    ),
    "default generator": lambda: torch.randn(3, device="cuda"),
}


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("case", ON_DEVICE)
def test_what_is_made_of_the_device_is_on_it(case, inference, ledger):
    # Modules are not moved in inference mode.
    with torch.inference_mode(inference and case not in ("module", "state")):
        tensor = ON_DEVICE[case]()
    assert tensor.device == torch.device("cuda:0")
    assert tensor.is_cuda and not tensor.is_cpu and tensor.get_device() == 0
    assert tensor.cpu().device == torch.device("cpu")
    assert ledger.device_ops
    np.testing.assert_array_equal(tensor.detach().cpu(), tensor.tolist())


def test_what_is_made_of_the_host_is_not():
    with pretend_cuda() as ledger:
        tensors = [
            here(3) * 2,
            torch.from_numpy(np.ones(3)),
            there(3).cpu(),
            torch.zeros_like(there(3), device="cpu"),
            there(3).new_zeros(2, device="cpu"),
        ]
        assert not any(tensor.is_cuda for tensor in tensors)
        before = vars(ledger).copy()
        (here(3) + 1).sum().item()
        assert vars(ledger) == before


def test_gradients_and_optimisers():
    """A network trains to the same weights, and gradients are on the device."""

    def train(device):
        generator = torch.Generator().manual_seed(0)
        X = torch.randn(20, 3, generator=generator).to(device)
        start = torch.randn(2, 3, generator=generator)
        layer = torch.nn.Linear(3, 2).to(device)
        with torch.no_grad():
            layer.weight.copy_(start)
            layer.bias.zero_()
        layer = copy.deepcopy(layer)
        optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)
        for _ in range(5):
            optimizer.zero_grad()
            loss = (layer(X) @ layer(X + 1).T).tanh().mean()
            loss.backward()
            assert layer.weight.grad.device == layer.weight.device == X.device
            optimizer.step()
        return layer.weight.detach().cpu()

    expected = train("cpu")
    with pretend_cuda() as ledger:
        out = train("cuda")
    np.testing.assert_array_equal(out, expected)
    assert ledger.device_ops > 100 and ledger.used == 0


@pytest.mark.parametrize("method", ["rk4", "dopri5"])
def test_differential_equations(method):
    def solve(device):
        ends = torch.tensor([0.0, 1.0], device=device)
        path = odeint(lambda t, y: -y * t, torch.ones(3, device=device), ends)
        return path[-1].cpu()

    expected = solve("cpu")
    with pretend_cuda():
        np.testing.assert_array_equal(solve("cuda"), expected)


COPIES = {
    "to": (lambda: here(3).to("cuda"), 1, 0),
    "tensor": (lambda: torch.tensor([1.0], device="cuda"), 1, 0),
    "there and back": (lambda: here(3).cuda().cpu(), 1, 1),
    "to where it is": (lambda: there(3).to("cuda"), 0, 0),
    "assigned": (lambda: there(3).__setitem__(slice(2), here(2)), 1, 0),
    "assigned back": (lambda: here(3).__setitem__(slice(2), there(2)), 0, 1),
    "index": (lambda: there(3)[torch.arange(2)], 1, 0),
    "made there": (lambda: torch.zeros(3, device="cuda") + 1, 0, 0),
}


@pytest.mark.parametrize("case", COPIES)
def test_copies_are_counted(case, ledger):
    do, to_device, to_host = COPIES[case]
    do()
    assert (ledger.to_device, ledger.to_host) == (to_device, to_host)
    assert ledger.synchronisations == 0


def test_a_copy_to_pinned_memory_arrives_when_it_is_waited_for(ledger):
    host = torch.empty(3, pin_memory=True)
    host.fill_(-1)
    source = there(3)
    host.copy_(source, non_blocking=True)
    source.zero_()
    assert host.tolist() == [-1, -1, -1]
    arrived = torch.cuda.Event()
    arrived.record()
    arrived.synchronize()
    np.testing.assert_array_equal(host, here(3))
    assert (ledger.to_host, ledger.blocking) == (1, 0)


BLOCKING = {
    "from pinned": (lambda: here(3).pin_memory().to("cuda", non_blocking=True), 0),
    "from any": (lambda: here(3).to("cuda", non_blocking=True), 1),
    "waited for": (lambda: here(3).pin_memory().to("cuda"), 1),
    "to any": (lambda: here(3).copy_(there(3), non_blocking=True), 1),
    "back": (lambda: there(3).cpu(), 1),
}


@pytest.mark.parametrize("case", BLOCKING)
def test_copies_that_the_host_waits_for_are_counted(case, ledger):
    do, blocking = BLOCKING[case]
    do()
    assert (ledger.blocking, ledger.to_device + ledger.to_host) == (blocking, 1)


WAITS = {
    "item": lambda t: t.sum().item(),
    "float": lambda t: float(t.sum()),
    "int": lambda t: int(t.sum()),
    "bool": lambda t: bool((t > 0).all()),
    "list": lambda t: t.tolist(),
    "equal": lambda t: torch.equal(t, t),
    "nonzero": lambda t: t.nonzero(),
    "mask": lambda t: t[t > 0],
    "assigned mask": lambda t: t.__setitem__(t > 0, t * 2),
    "unique": lambda t: t.unique(),
    "eigenvalues": lambda t: torch.linalg.eigvalsh(t.diag()),
}


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("case", WAITS)
def test_synchronisations_are_counted(case, inference, ledger):
    with torch.inference_mode(inference):
        WAITS[case](there(3))
    assert ledger.synchronisations == 1


@pytest.mark.parametrize(
    "do",
    [
        lambda t: t.sum() * 2,
        lambda t: t[1:, None] @ t[None, 1:],
        lambda t: torch.where(t > 0, t, 0.0),
        lambda t: t.masked_fill_(t > 0, 1.0),
        lambda t: t.__setitem__(t > 0, 1.0),
        lambda t: torch.linalg.cholesky_ex(torch.eye(3, device="cuda")),
        lambda t: t.shape[0] + len(t) + t.numel(),
    ],
)
def test_what_does_not_wait_is_not_counted(do, ledger):
    do(there(3))
    assert ledger.synchronisations == ledger.to_host == ledger.to_device == 0


def test_memory_is_counted_while_tensors_live(ledger):
    a = torch.zeros(100, device="cuda")
    assert ledger.used == ledger.peak == 400
    view = a[10:]
    b = a.double()
    del a, b
    # The view keeps all of its storage.
    assert ledger.used == 400 and ledger.peak == 1200
    del view
    assert ledger.used == 0
    x = torch.nn.Parameter(there(100))
    y = (x.exp() * 2).sum()
    kept = ledger.used
    y.backward()
    # What the backward pass had kept is gone, and a gradient has come.
    assert ledger.used < kept + 400 and x.grad.is_cuda


def test_memory_runs_out():
    with pretend_cuda(capacity=1000) as ledger:
        a = torch.zeros(100, device="cuda")
        for too_much in (
            lambda: torch.zeros(200, device="cuda"),
            lambda: here(200).to("cuda"),
            lambda: a.double(),
            lambda: a[:, None] * a,
        ):
            with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
                too_much()
            assert ledger.used == 400
        a + 1
        torch.zeros(150, device="cuda")
    with pretend_cuda(most_allocations=2):
        there(1)
        there(1)
        with pytest.raises(torch.OutOfMemoryError):
            there(1)


def test_nothing_is_left_behind():
    before = torch.Generator, torch.Tensor.__reduce_ex__, torch.cuda.is_available
    with pytest.raises(KeyError), pretend_cuda():
        assert torch.cuda.is_available() and torch.cuda.device_count() == 1
        raise KeyError
    assert not torch.cuda.is_available()
    assert before == (
        torch.Generator,
        torch.Tensor.__reduce_ex__,
        torch.cuda.is_available,
    )
    assert pickle.loads(pickle.dumps(here(3))).device.type == "cpu"
    with pytest.raises((AssertionError, RuntimeError)):
        there(3)


def mutate(monkeypatch, owner, name, text, replacement):
    """Put a function with one piece of its text replaced in its place."""
    function = inspect.unwrap(getattr(owner, name))
    source = textwrap.dedent(inspect.getsource(function))
    source = source[source.index("def ") :]
    assert source.count(text) == 1
    namespace = {}
    exec(source.replace(text, replacement), function.__globals__, namespace)
    replace(monkeypatch, owner, name, namespace[name])


def replace(monkeypatch, owner, name, replacement):
    """Put something else in the place of a method, or of a function wherever it is."""
    old = getattr(owner, name)
    for where in [owner, *sys.modules.values()]:
        if getattr(where, "__name__", "").startswith("sklearn_featalign"):
            if vars(where).get(name) is old:
                monkeypatch.setattr(where, name, replacement)
    monkeypatch.setattr(owner, name, replacement)


def fit_and_transform(name):
    """Return what a device saw of an aligner that was fitted and pickled on it."""
    X = blobs()
    with pretend_cuda() as ledger:
        aligner = clone(ALIGNERS[name]).fit(X)
        aligner.transform(X)
        pickle.dumps(aligner)
    return ledger


MUTANTS = {
    "rows left on the CPU": (
        "rbf", _torch, "to_device", "X.to(device, non_blocking=is_sent)", "X",
        "same device",
    ),
    "landmarks left on the CPU": (
        "rbf", LandmarkAligner, "_load_kernel",
        "to_device(landmarks, rows.device)", "torch.from_numpy(landmarks)",
        "same device",
    ),
    "state left on the CPU": (
        "gcca", _torch, "to_torch", ", device=device", "", "same device",
    ),
    "a forgotten cpu()": (
        "rbf", Rows, "collect", "if block.is_cuda and", "if False and", "can't convert",
    ),
    "a forgotten cpu() of landmarks": (
        "mlp closed form", HalfSharedMLPAligner, "_hold_out",
        "rows.paired.cpu()", "rows.paired", "can't convert",
    ),
    "tensors kept on the estimator": (
        "rbf ridge", _torch, "to_numpy",
        "state.cpu().numpy().copy()", "state", "was pickled",
    ),
    "a generator of the CPU": (
        "mlp closed form", HalfSharedMLPAligner, "_make_network",
        "torch_generator(random_state, device)", "torch_generator(random_state)",
        "type for generator",
    ),
    "gradients off the device": (
        "mlp", HalfSharedMLPAligner, "_make_targets",
        ", device=rows.Z[0].device", "", "same device",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MUTANTS)
def test_mutants_are_caught(case, monkeypatch):
    name, *mutation, message = MUTANTS[case]
    assert fit_and_transform(name).device_ops
    mutate(monkeypatch, *mutation)
    with pytest.raises((RuntimeError, TypeError), match=message):
        fit_and_transform(name)


def test_a_block_that_is_not_waited_for_is_caught(monkeypatch):
    X = blobs(n_samples=300)
    aligner = clone(ALIGNERS["rbf"]).fit(X)
    expected = aligner.transform(X)
    mutate(monkeypatch, _torch, "write_block", "event.synchronize()", "block.fill_(-1)")
    with pretend_cuda():
        out = aligner.transform(X)
    assert (out != expected).all()


def test_a_mutant_that_moves_nothing_is_caught(monkeypatch):
    def stay(device, X=None):
        return torch.device("cpu")

    replace(monkeypatch, _torch, "resolve_device", stay)
    assert fit_and_transform("rbf").device_ops == 0

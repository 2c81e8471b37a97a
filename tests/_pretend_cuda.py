"""A CUDA device that is not there, for tests of what code does with one.

Tensors keep their numbers on the CPU. What says where they are is an allocation that
their storage carries, so that views, parameters and gradients go along. Two modes of
torch see all that happens: one for functions answers questions about devices and moves
tensors, one for operators, below autograd, hands the device on and refuses what CUDA
refuses.

Memory of the host may be pinned. A copy to it for which nobody waits arrives when an
event recorded after it is waited for, and not before.

It does not show what CUDA computes: rounding, nondeterministic sums, streams,
fragmentation and the numbers that its own generators draw are those of a real device.
Modes are of one thread.

The classes of modes of torch are not quite public: `tests/test_pretend_cuda.py` says
whether a version of torch still has them as they are needed here.
"""

from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

CUDA = torch.device("cuda:0")
CPU = torch.device("cpu")

# Operators for which CUDA waits until it knows a number, or the size of the output.
SYNCHRONISING = {
    "_linalg_eigh",
    "_linalg_solve_ex",
    "_linalg_svd",
    "_local_scalar_dense",
    "_unique2",
    "bincount",
    "equal",
    "is_nonzero",
    "item",
    "linalg_cholesky",
    "linalg_eigh",
    "linalg_eigvalsh",
    "linalg_inv",
    "linalg_solve",
    "linalg_svd",
    "masked_select",
    "nonzero",
    "repeat_interleave",
    "unique_consecutive",
    "unique_dim",
}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}

# Operators that torch refuses on CUDA under `torch.use_deterministic_algorithms(True)`,
# which users may have set; they are refused here in any case.
NONDETERMINISTIC = {
    "_cdist_backward",
    "cummax",
    "cumsum",
    "histc",
    "kthvalue",
    "median.dim",
    "median.dim_values",
    "nanmedian.dim",
    "put_",
    "scatter_reduce",
}

# Beside pointwise ones, operators that take a number on the CPU along with tensors.
TAKE_NUMBERS = INDEXING | {"copy_", "fill_", "masked_fill", "masked_fill_"}

# From data on the host, as opposed to numbers made where they are.
FROM_DATA = {"as_tensor", "asarray", "new_tensor", "tensor"}


class Ledger:
    """What happened on the device.

    Parameters
    ----------
    capacity : float
        Bytes that tensors may take at a time.
    most_allocations : float
        How often memory may be asked for before there is none.

    Attributes
    ----------
    allocations : int
        How often memory was asked for.
    device_ops : int
        Operators on tensors of the device, views of them left out.
    to_device, to_host : int
        Copies each way.
    blocking : int
        Those of them that the host waited for, since it had not said that it would not,
        or its memory was not pinned.
    in_flight : list of tuple of tensor
        Copies to the host that have not arrived, where to and what.
    synchronisations : int
        Times that the host waited for a number, copies left out.
    used, peak : int
        Bytes that tensors take now, and took at most.
    emptied : int
        Times that the cache was emptied.
    """

    def __init__(self, capacity, most_allocations):
        self.capacity = capacity
        self.most_allocations = most_allocations
        self.allocations = 0
        self.device_ops = self.to_device = self.to_host = self.synchronisations = 0
        self.used = self.peak = self.emptied = self.blocking = 0
        self.in_flight = []

    def count_move(self, target, waits=True):
        """Count a copy to a device."""
        self.blocking += waits
        if target == CUDA:
            self.to_device += 1
        else:
            self.to_host += 1


class Allocation:
    """Memory of the device, given back when the storage that carries it is gone."""

    def __init__(self, ledger, n_bytes):
        self.n_bytes = 0
        self.ledger = ledger
        ledger.allocations += 1
        too_large = ledger.used + n_bytes > ledger.capacity
        if too_large or ledger.allocations > ledger.most_allocations:
            raise torch.OutOfMemoryError(
                f"CUDA out of memory (pretended). Tried to allocate {n_bytes} bytes; "
                f"{ledger.used} of {ledger.capacity} are in use."
            )
        self.n_bytes = n_bytes
        ledger.used += n_bytes
        ledger.peak = max(ledger.peak, ledger.used)

    def __del__(self):
        self.ledger.used -= self.n_bytes


def is_on_device(tensor):
    return "allocation" in tensor.untyped_storage().__dict__


def is_pinned(tensor):
    return "pinned" in tensor.untyped_storage().__dict__


def pin(tensor):
    """Return a copy in pinned memory of the host."""
    pinned = tensor.clone()
    pinned.untyped_storage().__dict__["pinned"] = True
    return pinned


def device_of(tensor):
    return CUDA if is_on_device(tensor) else CPU


def tensors_in(values):
    return [v for v in tree_flatten(values)[0] if isinstance(v, torch.Tensor)]


def place(tensor, device, ledger):
    """Say that a tensor, which shares its storage with no other, is on a device."""
    storage = tensor.untyped_storage()
    if device == CPU:
        storage.__dict__.pop("allocation", None)
    elif not is_on_device(tensor):
        storage.__dict__["allocation"] = Allocation(ledger, storage.nbytes())
    return tensor


def as_device(device):
    """Return CUDA or the CPU from what users write."""
    device = torch.device("cuda", device) if isinstance(device, int) else device
    device = torch.device(device)
    if device.type == "cpu":
        return CPU
    if device.type == "cuda" and device.index in (None, 0):
        return CUDA
    raise RuntimeError(f"Invalid device: there is no {device} here (pretended)")


class Operators(TorchDispatchMode):
    """Hands the device on from operator to operator, and refuses to mix devices."""

    def __init__(self, ledger):
        super().__init__()
        self.ledger = ledger
        # Of the function at work: where it makes tensors out of none.
        self.device = CPU

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function._schema.name.removeprefix("aten::")
        tensors = tensors_in((args, kwargs))
        there = [t for t in tensors if is_on_device(t)]
        on_device = bool(there) or (not tensors and self.device == CUDA)
        if there and {name, f"{name}.{function._overloadname}"} & NONDETERMINISTIC:
            raise RuntimeError(
                f"{name} does not have a deterministic implementation (pretended)"
            )
        if there and len(there) < len(tensors):
            self.check_mixture(function, name, tensors, args)
        if name == "copy_" and self.is_sent(*args):
            return args[0]
        if there and name in SYNCHRONISING or self.is_masking(name, args):
            self.ledger.synchronisations += 1
        out = function(*args, **kwargs)
        if on_device:
            self.ledger.device_ops += not function.is_view
            # What was there before stays where it was, as the target of a copy does.
            known = {t.untyped_storage()._cdata for t in tensors}
            for t in tensors_in(out):
                if t.untyped_storage()._cdata not in known:
                    place(t, CUDA, self.ledger)
        return out

    def check_mixture(self, function, name, tensors, args):
        if name == "copy_":
            waits = not any(args[2:]) or not any(map(is_pinned, tensors))
            self.ledger.count_move(device_of(args[0]), waits)
            return
        strangers = [t for t in tensors if not is_on_device(t)]
        if torch.Tag.pointwise in function.tags or name in TAKE_NUMBERS:
            strangers = [t for t in strangers if t.ndim]
        if name in INDEXING and is_on_device(args[0]):
            positions = {id(t) for t in tensors_in(args[1])}
            brought = [t for t in strangers if id(t) in positions]
            self.ledger.to_device += len(brought)
            strangers = [t for t in strangers if id(t) not in positions]
        if strangers:
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two "
                f"devices, cuda:0 and cpu! (pretended, in {function})"
            )

    def is_sent(self, target, source, non_blocking=False):
        """Whether a copy arrives at the host later; it is on its way then."""
        sent = non_blocking and is_pinned(target) and is_on_device(source)
        if sent:
            self.ledger.in_flight.append((target, source.clone()))
        return sent

    def is_masking(self, name, args):
        """Whether the number of rows that a mask selects has to be known."""
        if name not in INDEXING or not is_on_device(args[0]):
            return False
        masks = [t for t in tensors_in(args[1]) if t.dtype in (torch.bool, torch.uint8)]
        return bool(masks) and (name == "index" or args[2].numel() > 1)


class Functions(TorchFunctionMode):
    """Answers where tensors are, and moves them."""

    def __init__(self, ledger, operators):
        super().__init__()
        self.ledger = ledger
        self.operators = operators
        tensor = torch.Tensor
        self.special = {
            tensor.device.__get__: device_of,
            tensor.is_cuda.__get__: is_on_device,
            tensor.is_cpu.__get__: lambda t: not is_on_device(t),
            tensor.get_device: lambda t: 0 if is_on_device(t) else -1,
            tensor.to: self.to,
            tensor.cpu: lambda t, **kwargs: self.move(t, CPU, **kwargs),
            tensor.cuda: lambda t, device=CUDA, **kwargs: self.move(
                t, as_device(device), **kwargs
            ),
            tensor.pin_memory: pin,
            tensor.is_pinned: is_pinned,
            tensor.__deepcopy__: lambda t, memo: t.detach().clone(),
        }
        self.refused = {tensor.numpy, tensor.__array__, tensor.__dlpack__}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in self.special:
            return self.special[function](*args, **kwargs)
        there = any(map(is_on_device, tensors_in((args, kwargs))))
        if there and function in self.refused:
            raise TypeError(
                "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to "
                "copy the tensor to host memory first. (pretended)"
            )
        if there and function == torch.Tensor.tolist:
            self.ledger.synchronisations += 1
        if kwargs.get("pin_memory"):
            return pin(function(*args, **{**kwargs, "pin_memory": False}))
        named = kwargs.get("device")
        if function == torch.Tensor.new_tensor and named is None:
            named = CUDA if there else CPU
        device = as_device(named) if named is not None else CUDA if there else CPU
        self.check_generator(kwargs.get("generator"), device)
        if named is not None:
            kwargs = {**kwargs, "device": CPU}
        before, self.operators.device = self.operators.device, device
        try:
            out = function(*args, **kwargs)
        finally:
            self.operators.device = before
        if named is None:
            return out
        if function.__name__ in FROM_DATA and device == CUDA:
            self.ledger.to_device += 1
            # What they return may be the data itself.
            out = out.clone()
        return tree_map_only(torch.Tensor, lambda t: place(t, device, self.ledger), out)

    def check_generator(self, generator, device):
        if generator is not None and generator.device.type != device.type:
            raise RuntimeError(
                f"Expected a '{device.type}' device type for generator but found "
                f"'{generator.device.type}' (pretended)"
            )

    def to(self, tensor, *args, **kwargs):
        other = args[0] if args else kwargs.pop("other", None)
        if isinstance(other, torch.Tensor):
            return self.move(tensor, device_of(other), other.dtype, *args[1:], **kwargs)
        if isinstance(other, str | int | torch.device):
            return self.move(tensor, as_device(other), *args[1:], **kwargs)
        device = kwargs.pop("device", None)
        device = device_of(tensor) if device is None else as_device(device)
        return self.move(tensor, device, *args, **kwargs)

    def move(self, tensor, device, dtype=None, non_blocking=False, copy=False, **rest):
        dtype = tensor.dtype if dtype is None else dtype
        if device == device_of(tensor):
            return tensor.to(dtype, copy=copy, **rest)
        waits = not (non_blocking and is_pinned(tensor))
        self.ledger.count_move(device, waits)
        if not is_on_device(tensor):
            # The host has converted before it copies.
            return place(tensor.to(dtype, copy=True, **rest), device, self.ledger)
        self.ledger.device_ops += 1
        with torch.utils._python_dispatch._disable_current_modes():
            out = tensor.to(dtype, copy=True, **rest)
        return place(out, device, self.ledger)


class Generator(torch.Generator):
    """A generator that says to be on a device."""

    def __new__(cls, device="cpu"):
        """Make a generator on the CPU."""
        return super().__new__(cls)

    def __init__(self, device="cpu"):
        super().__init__()
        self.where = as_device(device)

    @property
    def device(self):
        """Where it says to be."""
        return self.where


def reduce_ex(reduce):
    def refusing(tensor, protocol):
        if is_on_device(tensor):
            raise RuntimeError("A tensor of the device was pickled. (pretended)")
        return reduce(tensor, protocol)

    return refusing


@contextmanager
def pretend_cuda(capacity=float("inf"), most_allocations=float("inf")):
    """Let code see a CUDA device, in this thread.

    Parameters
    ----------
    capacity : float
        Bytes of its memory.
    most_allocations : float
        How often memory may be asked for before there is none.

    Yields
    ------
    ledger : Ledger
    """
    ledger = Ledger(capacity, most_allocations)

    def empty_cache():
        ledger.emptied += 1

    class Event:
        def record(self, stream=None):
            self.before = list(ledger.in_flight)

        def synchronize(self):
            for target, source in self.before:
                with torch.utils._python_dispatch._disable_current_modes():
                    target.copy_(source)
            arrived = {id(target) for target, _ in self.before}
            ledger.in_flight = [
                pair for pair in ledger.in_flight if id(pair[0]) not in arrived
            ]

    answers = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_name": lambda device=None: "pretended",
        "empty_cache": empty_cache,
        "synchronize": lambda device=None: None,
        "Event": Event,
        "current_stream": lambda device=None: None,
    }
    operators = Operators(ledger)
    with ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(patch.object(torch.cuda, name, answer))
        stack.enter_context(patch.object(torch, "Generator", Generator))
        refusing = reduce_ex(torch.Tensor.__reduce_ex__)
        stack.enter_context(patch.object(torch.Tensor, "__reduce_ex__", refusing))
        stack.enter_context(operators)
        stack.enter_context(Functions(ledger, operators))
        yield ledger

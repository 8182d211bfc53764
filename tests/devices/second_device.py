"""A second device for tests without a GPU: tensors with values that say they lie on `meta`, and errors as CUDA's.

`second_device()` is a context. Inside it `tensor.to(SECOND)`, `torch.zeros(..., device=SECOND)` and their kin make
tensors that hold their values on the CPU and say that they lie on `meta`; whatever is computed from them lies there,
too. An operation over tensors of both devices raises `MixedDevicesError`, as CUDA would, but for copies and for single
numbers on the CPU. `numpy()` refuses such tensors. So data-dependent code runs, and results can be compared.
"""

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch.optim import optimizer
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

SECOND = torch.device("meta")

COPIES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}


class MixedDevicesError(RuntimeError):
    """An operation over tensors of two devices."""


class There(torch.Tensor):
    """A tensor on the second device. held: its values."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    is_meta = False  # it has values: a state dict may be copied into it

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "There":
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, held.size(), held.stride(), held.storage_offset(), dtype=held.dtype, device=SECOND
        )

    def __init__(self, held: torch.Tensor):
        self.held = held

    def __repr__(self) -> str:  # type: ignore[override]
        return f"There({self.held})"

    def __reduce_ex__(self, protocol: Any) -> Any:  # as a file holds it
        return self.held.__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


Generator = torch.Generator


class GeneratorThere(Generator):
    """Random numbers of the second device."""

    device = SECOND  # type: ignore[assignment]
    known: ClassVar[set[int]] = set()  # operations get the same generator in another wrapper

    def __init__(self) -> None:
        self.known.add(self._cdata)  # type: ignore[attr-defined]
        weakref.finalize(self, self.known.discard, self._cdata)  # type: ignore[attr-defined]


class _MakesGenerators(type):
    def __call__(cls, device: Any = "cpu") -> torch.Generator:
        return GeneratorThere() if is_second(device) else Generator(device)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Generator)


class _AnyGenerator(metaclass=_MakesGenerators):
    """In place of `torch.Generator`, which knows no second device."""


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not types and "device" not in kwargs and "generator" not in kwargs:  # the CPU's own affair, most of the time
            return func(*args, **kwargs)
        return _run(func, args, kwargs)


class _Functions(TorchFunctionMode):
    """What never reaches an operation as what it is."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor) and is_second(kwargs.get("device")):
            return func(*args, **kwargs | {"device": "cpu"}).to(SECOND)  # torch would make an empty one
        if func is torch.Tensor.tolist:
            return args[0].cpu().tolist()  # torch refuses subclasses
        return func(*args, **kwargs)


@contextlib.contextmanager
def second_device() -> Iterator[torch.device]:
    """See the module."""

    fused, inference_mode = optimizer._get_fused_kernels_supported_devices, torch.inference_mode
    torch.Generator = _AnyGenerator  # type: ignore[misc,assignment]
    optimizer._get_fused_kernels_supported_devices = lambda: [*fused(), SECOND.type]
    torch.inference_mode = _no_grad  # type: ignore[misc,assignment]  # wrappers cannot be made in it
    try:
        with _Functions(), _Operations():
            yield SECOND
    finally:
        torch.Generator = Generator  # type: ignore[misc]
        optimizer._get_fused_kernels_supported_devices = fused
        torch.inference_mode = inference_mode  # type: ignore[misc]


def _no_grad(mode: bool = True) -> Any:
    return torch.no_grad() if mode else contextlib.nullcontext()


def is_second(device: Any) -> bool:
    return device is not None and torch.device(device).type == SECOND.type


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    there = _lies_there(func, args, kwargs)
    if there and kwargs.get("device") is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    values, named = tree_map_only(There, lambda tensor: tensor.held, (args, kwargs))
    result = func(*values, **named)
    if func._schema.is_mutable:
        written = kwargs.get("out", args[0])
        return written if isinstance(result, torch.Tensor) else result
    return tree_map_only(torch.Tensor, There, result) if there else result


def _lies_there(func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a result lies on the second device. Raises: MixedDevicesError."""
    leaves = tree_leaves((args, kwargs))
    there = any(isinstance(leaf, There) for leaf in leaves)
    wanted = is_second(kwargs["device"]) if kwargs.get("device") is not None else there
    if func in COPIES:
        return wanted
    # A number on the CPU may join, but not in a list: `cat`, `index` and fused optimisers want all on one device.
    numbers = [a for a in [*args, *kwargs.values()] if isinstance(a, torch.Tensor) and a.dim() == 0]
    here = [
        leaf
        for leaf in leaves
        if isinstance(leaf, torch.Tensor) and not isinstance(leaf, There) and not any(leaf is n for n in numbers)
    ]
    random = [leaf._cdata in GeneratorThere.known for leaf in leaves if isinstance(leaf, Generator)]
    if (there and here) or any(is_there != wanted for is_there in random):
        shapes = [tuple(tensor.shape) for tensor in here]
        raise MixedDevicesError(f"{func} over tensors of {SECOND} and of the CPU: {shapes} lie on the CPU")
    return wanted

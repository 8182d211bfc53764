"""What a pass of an encoder computes, counted on torch's meta device: an upper bound of its memory, nothing allocated.

Takes: how an encoder is made, a layout. Gives: float32 values per sample.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ftray.errors import SpecError
from ftray.features.layout import ObservationLayout


class _Produced(TorchDispatchMode):
    """Remembers the memory of every tensor that an operation returns. storages: by address; held, as one that is free
    could be handed out again."""

    def __init__(self):
        super().__init__()
        self.storages: dict[int, torch.UntypedStorage] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self.storages[storage._cdata] = storage
        return found


def counted_floats(build: Callable[[], nn.Module], layout: ObservationLayout) -> int:
    """What a training step keeps of one sample at most, in float32 values.

    That is: the result of every operation, whether a backward pass needs it or not; the windows twice, as they are
    gathered and as they are turned; the largest result twice more, as a gradient that comes and one that goes.
    Operations that a GPU fuses, like attention, count with all that they compute one after the other.

    build: makes a module that takes windows (B, S, L) and accounts (B, 1 + A).

    Raises: SpecError for a pass that does not run on the meta device.
    """
    try:
        with torch.device("meta"):
            module = build()
            (one, _), (three, largest) = (_produced(module, layout, n_samples) for n_samples in (1, 3))
    except (RuntimeError, NotImplementedError) as error:
        raise SpecError(
            "what an encoder needs of a GPU is counted on torch's meta device, and this one does not run there "
            f"({(str(error).splitlines() or [''])[0]}): give its class a `step_floats`"
        ) from error
    return math.ceil((three - one) / 2 / 4 + 2 * layout.n_features + 2 * largest / 3 / 4)


def _produced(module: nn.Module, layout: ObservationLayout, n_samples: int) -> tuple[int, int]:
    """Bytes of all results of a pass, and of the largest. Their difference between two numbers of samples leaves out
    what does not grow with it, like weights."""
    windows = torch.empty(n_samples, layout.n_series, layout.lookback)
    account = torch.empty(n_samples, layout.n_account)
    given = {tensor.untyped_storage()._cdata for tensor in (windows, account, *module.parameters(), *module.buffers())}
    with _Produced() as produced:
        module(windows, account)
    sizes = [storage.nbytes() for address, storage in produced.storages.items() if address not in given]
    return sum(sizes), max(sizes, default=0)

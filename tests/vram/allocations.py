"""What tensors a piece of work holds at once: the truth that the memory formulas are held against, on a CPU."""

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Allocations(TorchDispatchMode):
    """Counts the bytes of every tensor made inside, and how many were alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        result = function(*arguments, **(options or {}))
        given = {storage_of(tensor) for tensor in tensors((arguments, options))}
        for tensor in tensors(result):
            storage = tensor.untyped_storage()
            if storage._cdata in self.known | given:
                continue
            self.known.add(storage._cdata)
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._freed, storage._cdata, storage.nbytes())
        return result

    def _freed(self, storage: int, size: int) -> None:
        self.known.discard(storage)
        self.live -= size


def tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def storage_of(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


def saved_bytes(work: Any, but: list[torch.Tensor]) -> int:
    """What autograd keeps of `work` for a backward pass, each storage once, without the tensors named."""
    own, kept = {storage_of(tensor) for tensor in but}, {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(storage_of(tensor), tensor.untyped_storage())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = work()
    size = sum(storage.nbytes() for storage_id, storage in kept.items() if storage_id not in own)
    del result
    return size

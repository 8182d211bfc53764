"""A training step as one CUDA graph: what takes hundreds of launches, each longer than its kernel, becomes one.

Takes: a step over tensors of fixed shapes, on a CUDA device. Gives: the same step, replayed.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

CAPTURED_BYTES = 512 * 2**20
"""Activations up to which a step is worth a graph: larger ones keep a GPU busy by themselves."""
WARM_UP = 3
"""Steps before a capture: libraries are loaded, gradients and the optimiser's moments are where they will stay."""


GRAPHS_VARIABLE = "FTRAY_CUDA_GRAPHS"
"""`off` in the environment runs every step kernel by kernel: for a driver or a torch that records no graph."""


def worth_a_graph(device: torch.device, activations: int) -> bool:
    """Whether a step that keeps so many bytes of activations is to become a graph."""
    return device.type == "cuda" and activations <= CAPTURED_BYTES and os.environ.get(GRAPHS_VARIABLE) != "off"


class CapturedStep:
    """Records what a step launches, without running it; each call runs it on other inputs of the same shapes.

    The step must not wait for the device, nor copy from pageable memory; what it draws from the default generator is
    sampled again in each call. Activations and gradients stay allocated between calls.

    Raises: RuntimeError for a step that cannot be recorded. The GPU's default generator is then of no more use in this
        process (PyTorch 2.11: "Offset increment outside graph capture"); whatever samples nothing from it continues.
    """

    def __init__(self, step: Callable[..., tuple[Tensor, ...]], *inputs: Tensor, pool: Any = None):
        """pool: `torch.cuda.graph_pool_handle()` of several graphs that never run at once, and share their memory."""
        self._inputs = tuple(given.clone() for given in inputs)
        torch.cuda.empty_cache()  # the graph has a pool of its own: what the warm-up cached would lie idle
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool):
            self._outputs = step(*self._inputs)

    def fits(self, *inputs: Tensor) -> bool:
        return all(own.shape == given.shape for own, given in zip(self._inputs, inputs, strict=True))

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The step's outputs; the next call overwrites them."""
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        self._graph.replay()
        return self._outputs


@contextlib.contextmanager
def side_stream() -> Iterator[None]:
    """Work before a capture runs on another stream than the default one, which no capture may touch."""
    stream = _side()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream().wait_stream(stream)


@functools.cache
def _side() -> torch.cuda.Stream:
    """One for all: what the allocator caches belongs to a stream, and each further one would hold its own."""
    return torch.cuda.Stream()

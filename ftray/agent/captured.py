"""The gradients of a minibatch, replayed as CUDA graphs (`ftray.nets.graphs`).

Takes: a pass over a minibatch that leaves gradients behind. Gives: the same pass, replayed. Only forward and backward
pass are recorded: optimisers, their rates and their checkpoints stay as they are.

Legend: M samples of a minibatch.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ftray.nets.graphs import WARM_UP, CapturedStep, side_stream

Samples = Mapping[str, Tensor]
Metrics = dict[str, Tensor]

MAX_GRAPHS = 8
"""Numbers of samples that get a graph: minibatches of one training differ by a few, as episodes end when they end."""


class CapturedGradients:
    """Runs a pass kernel by kernel until it has warmed up, then as a graph per number of samples.

    For samples without a graph it leaves the pass to its caller: where there are too many numbers of samples, CUDA
    cannot record the pass, or memory does not suffice for a further graph.
    """

    def __init__(self, gradients: Callable[[Samples], Metrics], parameters: Sequence[nn.Parameter]):
        """gradients: fills `grad` of the parameters, which have none, and returns scalars; never waits for the GPU."""
        self._gradients, self._parameters = gradients, parameters
        self._graphs: dict[int, tuple[CapturedStep, list[Tensor | None]]] = {}
        self._names: list[str] = []
        self._left, self._max_graphs, self._pool = WARM_UP, MAX_GRAPHS, torch.cuda.graph_pool_handle()

    def __call__(self, samples: Samples) -> Metrics | None:
        """A pass's metrics, its gradients in the parameters; None where there is no graph for these samples."""
        n = len(next(iter(samples.values())))
        if self._left > 0:
            self._left -= 1
            with side_stream():
                return self._gradients(samples)
        if n not in self._graphs and len(self._graphs) < self._max_graphs:
            self._capture(n, samples)
        if n not in self._graphs:
            return None
        graph, gradients = self._graphs[n]
        found = torch.stack(graph(*samples.values()))  # a copy: the next replay overwrites its outputs
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        return dict(zip(self._names, found, strict=True))

    def _capture(self, n: int, samples: Samples) -> None:
        columns = list(samples)

        def step(*values: Tensor) -> tuple[Tensor, ...]:
            metrics = self._gradients(dict(zip(columns, values, strict=True)))
            self._names = list(metrics)
            return tuple(metrics.values())

        try:
            graph = CapturedStep(step, *samples.values(), pool=self._pool)
        except RuntimeError as error:  # out of memory, too: without a graph it fits
            warnings.warn(f"training runs kernel by kernel: CUDA recorded no graph of a pass ({error})", stacklevel=2)
            self._max_graphs = len(self._graphs)
            for parameter in self._parameters:
                parameter.grad = None
        else:
            self._graphs[n] = graph, [parameter.grad for parameter in self._parameters]

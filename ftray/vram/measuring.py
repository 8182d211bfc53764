"""What a worker needs of the GPU at hand, measured: one fresh process per worker, torch alone.

Takes: workers. Gives: bytes that PyTorch reserved and the size of the CUDA context, kept per GPU model in a file
under `~/.cache/ftray/vram` (FTRAY_CACHE names another folder than `~/.cache/ftray`).

Legend: B samples at once, T bars, S series, D width of the market vector.
"""

import dataclasses
import multiprocessing
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ftray.errors import TrainingError
from ftray.files import replace_file
from ftray.nets.encoder import gather_windows
from ftray.nets.families import build_encoder
from ftray.nets.graphs import CAPTURED_BYTES
from ftray.nets.heads import policy_head, value_head
from ftray.vram.gpus import Gpu, Measured, local_gpu, measured_file, read_measured
from ftray.vram.rows import measured_json
from ftray.vram.table import GIB, REFERENCE_BARS, REFERENCE_SAMPLES, Worker, predicted, step_bytes

STEPS = 3
"""The first step allocates, the second finds gradients and moments in place, the third shows that no more comes."""


class TrainingStep:
    """A learner's work on random numbers: table and train batch on the device, minibatches of unique bars.

    The same calls as the agent's module and learner make, without Ray: gathered windows, encoder, heads, Adam.
    """

    def __init__(self, worker: Worker, device: str):
        self.worker, layout, width = worker, worker.layout, worker.encoder.encoding_dim
        with torch.device(device):
            self.encoder = build_encoder(worker.encoder, layout)
            self.heads = nn.ModuleList([policy_head(width, layout.n_assets), value_head(width)])
            self.table = torch.randn(worker.n_bars, layout.n_series)
            self.vectors = torch.randn(worker.n_bars, self.encoder.d_market) if worker.keeps_vectors else None
            # Every sample of a pass on a bar of its own: the most that a market tower has to do.
            offsets = torch.arange(worker.n_samples) % (worker.n_bars - layout.lookback + 1)
            self.bars, self.account = offsets + layout.lookback - 1, torch.rand(worker.n_samples, layout.n_account)
        if getattr(worker.encoder, "frozen", False):
            for parameter in self.encoder.market_parameters():
                parameter.requires_grad_(False)
        trained = [p for p in [*self.encoder.parameters(), *self.heads.parameters()] if p.requires_grad]
        self.optimiser = torch.optim.Adam(trained, fused=True)

    def train(self) -> None:
        """One step on a minibatch: forward, backward, optimiser."""
        self.optimiser.zero_grad(set_to_none=True)
        encoding = self._encode(self.worker.minibatch)
        losses = [head(encoding).square().mean() for head in self.heads]
        sum(losses).backward()  # type: ignore[union-attr]
        self.optimiser.step()

    @torch.no_grad()
    def infer(self) -> Tensor:
        """A pass without gradients. Shape: → (no_grad, 1)."""
        return self.heads[1](self._encode(self.worker.no_grad))

    @torch.no_grad()
    def market_vectors(self) -> Tensor | None:
        """What a backtest holds: the market vector of every bar. Shape: → (T, D)."""
        if not self.encoder.shares_bars or self.vectors is not None:
            return None
        return torch.zeros(len(self.table), self.encoder.d_market, device=self.table.device)

    def _encode(self, n: int) -> Tensor:
        bars, account = self.bars[:n], self.account[:n]
        if self.vectors is not None:
            return self.encoder.fuse(self.vectors[bars], account)
        windows = gather_windows(self.table, bars, self.worker.layout.lookback)
        if not self.encoder.shares_bars:
            return self.encoder(windows, account)
        return self.encoder.fuse(self.encoder.market(windows), account)


def measure(workers: Iterable[Worker]) -> Iterator[tuple[Worker, Measured | None]]:
    """Each worker's need on the GPU at hand, its context included, one process after the other; kept for later plans.

    The context is what the GPU's free memory falls by, beyond what PyTorch reserved: the GPU must be otherwise idle.
    Market and train batch have the size that the table's rows include. None for a worker that does not fit on the GPU.

    Raises: TrainingError without a CUDA device.
    """
    gpu = local_gpu()
    if gpu is None:
        raise TrainingError("measuring needs a CUDA device, and torch sees none here: run it on the GPU's own machine")
    sized = (dataclasses.replace(worker, n_bars=REFERENCE_BARS, n_samples=REFERENCE_SAMPLES) for worker in workers)
    for worker in {worker.key: worker for worker in sized}.values():
        found = _in_a_process(worker)
        if found is not None:
            keep(gpu, [found])
        yield worker, found


def describe_measured(found: Iterable[tuple[Worker, Measured | None]]) -> Iterator[str]:
    """Predicted and measured memory, a line per worker as soon as it is measured."""
    for i, (worker, row) in enumerate(found):
        if i == 0:
            yield f"{'predicted':>16}  {'measured':>8}  {'PyTorch':>7}  {'context':>7}  GiB per worker"
        gib, source = predicted(worker)
        if row is None:
            yield f"{gib:7.2f} {source:>8}  {'more than this GPU has':>26}  {worker.name}"
            continue
        reserved, context = row.reserved_bytes / GIB, row.context_bytes / GIB
        over = "" if reserved + context <= gib else "  MORE THAN PREDICTED"
        yield f"{gib:7.2f} {source:>8}  {reserved + context:8.2f}  {reserved:7.2f}  {context:7.2f}  {worker.name}{over}"


def _in_a_process(worker: Worker) -> Measured | None:
    """Free memory is read here, before and while the worker's process holds what it needs."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    free = torch.cuda.mem_get_info()[0]
    process = context.Process(target=_serve, args=(theirs, worker), daemon=True)
    process.start()
    theirs.close()
    try:
        peak, held = ours.recv()
        still_free = torch.cuda.mem_get_info()[0]
        ours.send(None)
    except EOFError:
        raise TrainingError(f"the process that measured {worker.name} died; its error stands above") from None
    finally:
        process.join()
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return None if peak is None else Measured(worker.key, peak, max(0, free - still_free - held), at)


def _serve(pipe: Any, worker: Worker) -> None:
    """Sends the bytes reserved at the peak and now, and stays until these are seen; None where they were too many."""
    try:
        pipe.send((peak_bytes(worker), torch.cuda.memory_reserved()))
    except torch.OutOfMemoryError:
        pipe.send((None, None))
    pipe.recv()


def peak_bytes(worker: Worker) -> int:
    """What PyTorch reserved on the GPU at the peak of a learner's or env runner's work."""
    step = TrainingStep(worker, "cuda")
    for _ in range(STEPS if worker.minibatch else 0):
        step.train()
    trained = torch.cuda.max_memory_reserved()
    if step_bytes(worker) > CAPTURED_BYTES:
        # Under its cap a process gives back what it has cached before it is out of memory: training's blocks and those
        # of a pass without gradients are never all in use. The graph of a smaller step keeps its own.
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    step.infer()
    vectors = step.market_vectors() if worker.minibatch else None
    torch.cuda.synchronize()
    peak = max(trained, torch.cuda.max_memory_reserved())
    del vectors
    return peak


def keep(gpu: Gpu, found: Iterable[Measured]) -> Path:
    """Adds measured rows to the GPU model's file, in place of rows of the same key; written whole."""
    path = measured_file(gpu.name)
    replace_file(path, measured_json(gpu, (*read_measured(gpu.name), *found)).encode())
    return path

"""Market vectors: the market tower's output per bar.

With late fusion the tower is a pure function of the bar and its weights: a backtest computes it in large batches before
it steps, a frozen encoder once for a whole trial, and a learner on a GPU once per iteration for all env runners.

Legend: T bars of the table, D width of the market vector, B batch.
"""

import copy
import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ftray.agent.devices import cap_gpu_memory
from ftray.agent.module import FTPolicy
from ftray.agent.prefetch import BARS_PER_PASS
from ftray.features import Dataset, ObservationLayout
from ftray.files import delete_partials, locked, partial_file
from ftray.nets import (
    Encoder,
    EncoderSpec,
    FTSpec,
    build_encoder,
    gather_windows,
    load_market_weights,
    read_checkpoint,
    weights_fingerprint,
)
from ftray.vram.plan import NO_GPU, GpuShares
from ftray.vram.table import SLACK, Worker, no_grad_bytes

GPU_PASS_BYTES = 2**29
"""What a pass on a GPU may hold of a trial's share; the plan of a frozen one counts no activations of its tower: the
smallest row of the VRAM table leaves 0.7 GiB next to the CUDA context."""
MAX_PER_SAMPLE = 32
"""Train bars per sample of an iteration up to which a GPU is faster with all of them than CPU cores are with those that
accounts visit: on an H100 25,000 bars take a tenth of what 2,048 take on one core."""
MAX_BARS = 2_048
"""Bars per pass that keep a GPU busy, whatever the encoder."""


def market_vectors(encoder: Encoder, table: Tensor, bars: np.ndarray, at_once: int = BARS_PER_PASS) -> Tensor:
    """The tower's output at the given bars. Shape: table (T, S), bars (B,) → (T, D), NaN at every other bar.

    at_once: bars per pass; half as many, as often as it takes, where a GPU runs out of memory.
    """
    vectors = torch.full((len(table), encoder.d_market), torch.nan, device=table.device)
    left = torch.from_numpy(np.asarray(bars)).to(table.device)
    was_training = encoder.training
    encoder.eval()
    try:
        with torch.inference_mode():
            while len(left):
                try:
                    vectors[left[:at_once]] = encoder.market(
                        gather_windows(table, left[:at_once], encoder.layout.lookback)
                    )
                except torch.OutOfMemoryError:
                    if at_once == 1:
                        raise
                    at_once //= 2
                else:
                    left = left[at_once:]
    finally:
        encoder.train(was_training)
    return vectors


def fresh_vectors(module: FTPolicy, batch_size: int) -> Tensor | None:
    """The market vectors of all train bars by the weights that a learner on a GPU holds now, on the CPU.

    None where env runners compute their own: on the CPU a learner is no faster; early fusion has none; those of a
    frozen tower are known; and where there are too many train bars for the `batch_size` that an iteration visits.
    """
    if module.table is None or module.table.device.type == "cpu":
        return None
    if module.market_vectors is not None or not module.encoder.shares_bars:
        return None
    bars = _train_bars(module.model_config["dataset"])
    if len(bars) > MAX_PER_SAMPLE * batch_size:
        return None
    at_once = bars_at_once(module.encoder.spec, module.encoder.layout, module.table.device)
    return market_vectors(module.encoder, module.table, bars, at_once).cpu()


@functools.lru_cache(maxsize=4)
def _train_bars(dataset: str) -> np.ndarray:
    found = Dataset.load(Path(dataset))
    return found.table.decision_bars(found.windows.train)


def write_market_vectors(
    spec: EncoderSpec, weights: Path, dataset: Dataset, folder: Path, gpus: GpuShares = NO_GPU
) -> Path:
    """The vectors of a frozen encoder for every decision bar of train and validation, as a file that all processes map.

    Computed once per weights and dataset (the file's name holds both); never for the test window. Of several processes
    that need the same file one computes it and the others wait.

    gpus: of the job that this process belongs to; the vectors are computed on the GPU that its learner booked.
    """
    state = read_checkpoint(weights)["encoder_state_dict"]
    path = folder / f"market_vectors-{dataset.fingerprint[:12]}-{weights_fingerprint(state)[:12]}.npy"
    if path.exists():
        return path
    with locked(path.with_name(f".{path.stem}.lock"), delete=True) as is_locked:
        if not path.exists():
            if is_locked:
                delete_partials(path)  # of a process that was killed
            vectors = _computed(spec, weights, dataset, gpus)
            with partial_file(path) as partial, partial.open("wb") as file:
                np.save(file, vectors)
    return path


def _computed(spec: EncoderSpec, weights: Path, dataset: Dataset, gpus: GpuShares) -> np.ndarray:
    """The vectors from the device that the job holds, which has its memory back afterwards."""
    device = _capped_device(gpus)
    encoder = build_encoder(spec, dataset.layout)
    load_market_weights(encoder, weights)
    bars = dataset.table.decision_bars((*dataset.windows.train, *dataset.windows.validation))
    table = torch.from_numpy(np.array(dataset.table.values)).to(device)
    at_once = bars_at_once(spec, dataset.layout, device)
    vectors = market_vectors(encoder.to(device), table, bars, at_once).cpu().numpy()
    if device.type == "cuda":
        del encoder, table
        torch.cuda.empty_cache()
    return vectors


def _capped_device(gpus: GpuShares) -> torch.device:
    """The device that a job's own process holds, within its cap from now on."""
    if not gpus.learner:
        return torch.device("cpu")
    cap_gpu_memory(gpus.learner_cap_gib, gpus.planned_gib)
    return torch.device("cuda")


def bars_at_once(spec: EncoderSpec, layout: ObservationLayout, device: torch.device) -> int:
    """Bars per pass: what the cache of a CPU holds, or on a GPU `GPU_PASS_BYTES`."""
    if device.type == "cpu":
        return BARS_PER_PASS
    tower = dataclasses.replace(spec, frozen=False) if isinstance(spec, FTSpec) else spec
    per_bar = SLACK * no_grad_bytes(Worker(tower, layout, no_grad=1))
    return int(min(MAX_BARS, max(1, GPU_PASS_BYTES // per_bar)))


def acting(module: FTPolicy, dataset: Dataset, bars: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """`module.act` for a run over known bars: the market tower computes their vectors in batches before the first step.

    From a GPU the vectors come to the CPU, where the steps are made: on the GPU each would be a copy, some 20 launches
    and a wait, for a handful of accounts.
    """
    known = module.market_vectors
    if not module.encoder.shares_bars:
        return module.act
    if module.table.device.type != "cpu":
        vectors = market_vectors(module.encoder, module.table, bars) if known is None else known
        return _acting_on_cpu(module, vectors.cpu())
    if known is not None:
        return module.act
    vectors = market_vectors(module.encoder, module.table, bars)

    def act(bars: np.ndarray, account: np.ndarray) -> np.ndarray:
        module.market_vectors = vectors
        try:
            return module.act(bars, account)
        finally:
            module.market_vectors = None

    return act


def _acting_on_cpu(module: FTPolicy, vectors: Tensor) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """`module.act` from known market vectors, by a copy of all that stands behind the market tower.

    Shape: vectors (T, D).
    """
    without_tower = {id(module.encoder.tower): None}
    encoder = copy.deepcopy(module.encoder, without_tower).cpu()
    policy_head = copy.deepcopy(module.policy_head).cpu()

    def act(bars: np.ndarray, account: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            fused = encoder.fuse(vectors[torch.from_numpy(bars)], torch.from_numpy(account.astype(np.float32)))
            return policy_head(fused).chunk(2, dim=-1)[0].clamp(-1.0, 1.0).numpy()

    return act

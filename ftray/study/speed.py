"""How long the jobs of a study take on one machine, estimated before any has run there.

Takes: trials, a machine. Gives: a `Speed` per encoder: seconds of a training and of a pre-training, and their source.
Where trials of an encoder have ended before, their pace counts; else real steps of the learner are timed here. No Ray.
"""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable

import torch

from ftray.capacity.nodes import Node
from ftray.nets import FTSpec
from ftray.study.pace import Pace, Paces
from ftray.trial import TrialSpec, place_trial
from ftray.trial.vram import layout_of
from ftray.vram.measuring import TrainingStep
from ftray.vram.table import Worker

TIMED_STEPS, TIMED_SECONDS = 5, 0.5
"""Steps are timed until both are reached, after a first step that allocates."""

TIMED_TOKENS = 256 * 98
"""Tokens of a timed minibatch, as many as the reference market's; with more series it has fewer samples."""

TIMED_BARS = 4_096
"""Rows of the timed step's table: its speed does not depend on them."""

WIDTHS = (256, 512, 768, 1024)
"""Of encodings that a drafted study searches."""

PASSES = 1.0
"""What sampling, values and advantages take, in passes of an epoch."""

FORWARD = 0.4
"""A pass without gradients, as a part of a step with its gradients."""

STEP_SECONDS = 1.2e-4
"""Of an env step without the network: the environment and RLlib's connectors, measured by `benchmarks/rl.py`."""

START_SECONDS = 12.0
"""Of a training's start and end: env runners, backtests, a policy that is exported."""

PRETRAINING_STEP, PRETRAINING_SECONDS = 1.5, 25.0
"""A pre-training step takes so many steps of the learner, and its encoder card so many seconds."""

MORE_THREADS = 0.5
"""n threads are n to this power times as fast: two 1.4 times, because steps are short."""

SHARED_GPU = 4.0
"""How many learners' work a GPU does at the most, however many share it (`benchmarks/gpu.md`: they take turns)."""


@dataclasses.dataclass(frozen=True)
class Speed:
    """Of trials with one encoder. training, pretraining: seconds, each of one job alone on the machine.

    n_measured: trials that ended before, whose pace this is; 0 where steps were timed.
    """

    training: float
    pretraining: float
    n_measured: int = 0


Clock = Callable[[Worker, str], float]
"""Seconds of a learner per sample of its minibatch, on one thread of a CPU or on a GPU: worker, device."""


def trials_at_once(spec: TrialSpec, machine: Node) -> tuple[int, float]:
    """How many such trials the machine holds at once, and how many times as much they get done together as one.

    Raises: SpecError for a trial that does not fit on the machine's GPU.
    """
    n = max(1, place_trial(spec, [machine]).jobs_per_node(machine))
    return n, min(n, SHARED_GPU * machine.n_gpus) if machine.gpu else float(n)


def speed_of(spec: TrialSpec, n_bars: int, machine: Node, paces: Paces | None, clock: Clock) -> Speed:
    """The speed of a trial's jobs. n_bars: of the candles. clock: how a step is timed; see `seconds_per_sample`."""
    device, threads = "cuda" if machine.gpu else "cpu", place_trial(spec, [machine]).threads

    def seconds(encoder: object) -> float:
        timed = dataclasses.replace(spec, encoder=encoder)
        worker = Worker(timed.encoder, layout_of(spec), spec.ppo.minibatch, n_bars=TIMED_BARS)
        return clock(worker, device) / (1.0 if machine.gpu else threads**MORE_THREADS)

    own, ppo, pretraining = seconds(spec.encoder), spec.ppo, 0.0
    training = START_SECONDS + ppo.env_steps * (STEP_SECONDS + (ppo.epochs + PASSES) * own)
    if isinstance(spec.encoder, FTSpec):
        tower = seconds(dataclasses.replace(spec.encoder, frozen=False)) if spec.encoder.frozen else own
        training += n_bars * FORWARD * tower  # backtests, and the vectors of a frozen tower
        n_windows = spec.pretraining.epochs * (spec.pretraining.windows_per_epoch or n_bars)
        pretraining = PRETRAINING_SECONDS + n_windows * PRETRAINING_STEP * tower
    pace = _pace(spec, paces, machine.gpu is not None) if paces else None
    if pace is None:
        return Speed(training, pretraining)
    return Speed(pace.seconds * ppo.env_steps, pretraining, pace.n)


def _pace(spec: TrialSpec, paces: Paces, on_gpu: bool) -> Pace | None:
    """The pace of earlier trials with this encoder, or of another `encoding_dim`, which hardly affects speed."""
    widths = (spec.encoder.encoding_dim, *WIDTHS)
    alike = (dataclasses.replace(spec.encoder, encoding_dim=width) for width in widths)
    found = (paces.of(dataclasses.replace(spec, encoder=encoder), on_gpu) for encoder in alike)
    return next((pace for pace in found if pace), None)


def seconds_per_sample(worker: Worker, device: str) -> float:
    """The median of several real steps of a learner on this machine, per sample of its minibatch.

    Every sample has a bar of its own, the most work for a market tower. It uses one thread: on a busy machine several
    threads, which wait for each other, are many times slower than in a study, where waiting threads yield.
    """
    n_samples = max(1, min(worker.minibatch, math.ceil(TIMED_TOKENS / max(1, worker.layout.n_series))))
    step = TrainingStep(dataclasses.replace(worker, minibatch=n_samples, n_samples=n_samples), device)
    n_threads, found = torch.get_num_threads(), list[float]()
    torch.set_num_threads(1)
    try:
        step.train()
        while len(found) < TIMED_STEPS or sum(found) < TIMED_SECONDS:
            _wait(device)
            started = time.perf_counter()
            step.train()
            _wait(device)
            found.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(n_threads)
    return statistics.median(found) / n_samples


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()

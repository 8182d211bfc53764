"""The VRAM plan of a trial: how much of a GPU each of its processes gets.

Takes: a `TrialSpec`, a GPU model. Gives: a `VramPlan`.
"""

import functools
import math

from ftray.features import ObservationLayout
from ftray.market import MarketSpec, SimulatorSpec, load_market, market_symbols
from ftray.pretraining.memory import pretraining_need
from ftray.trial.memory_plan import FULL, MemoryPlan
from ftray.trial.spec import TrialSpec
from ftray.vram.gpus import Gpu
from ftray.vram.plan import VramPlan, workers_per_gpu
from ftray.vram.table import NO_GRAD_CHUNK, Worker


def plan_trial(spec: TrialSpec, gpu: Gpu, memory_plan: MemoryPlan = FULL) -> VramPlan:
    """The plan of a trial on a GPU model.

    A smaller memory plan keeps the share of the full one wherever that fits, as that share was too little.

    Raises: SpecError naming what is needed and what there is, where a process needs more than a whole GPU.
    """
    gib, source = gpu.needs(learner(spec, memory_plan))
    full, _ = gpu.needs(learner(spec))
    booked = max(gib, full) if full <= gpu.usable_gib else gib
    k = workers_per_gpu(booked, gpu, "the learner of a trial")
    n_env_runners = memory_plan.apply(spec).ppo.n_env_runners if spec.ppo.env_runners_on_gpu else 0
    if not n_env_runners:  # a local env runner always computes on the CPU
        return VramPlan(gpu, gib, source, k)
    runner_gib, _ = gpu.needs(env_runner(spec, memory_plan))
    m = workers_per_gpu(runner_gib, gpu, "an env runner of a trial")
    return VramPlan(gpu, gib, source, k, runner_gib, m, n_env_runners)


def plan_pretraining(spec: TrialSpec, gpu: Gpu) -> VramPlan:
    """The plan of the pre-training job behind a trial. Raises: as `plan_trial`."""
    assert spec.encoder_to_pretrain is not None
    need = pretraining_need(spec.encoder_to_pretrain, spec.pretraining, layout_of(spec), n_bars_of(spec.market))
    gib = need.gib(gpu.context_gib)
    return VramPlan(gpu, gib, "formula", workers_per_gpu(gib, gpu, "a pre-training job"))


def learner(spec: TrialSpec, memory_plan: MemoryPlan = FULL) -> Worker:
    """The process that trains: parts of minibatches with gradients, values and market vectors without."""
    return Worker(
        memory_plan.apply(spec).encoder,
        layout_of(spec),
        minibatch=math.ceil(spec.ppo.minibatch / memory_plan.micro_batches),
        no_grad=NO_GRAD_CHUNK,
        n_bars=n_bars_of(spec.market),
        n_samples=spec.ppo.batch_size,
    )


def env_runner(spec: TrialSpec, memory_plan: MemoryPlan = FULL) -> Worker:
    """A process that acts for all its accounts at once, without gradients, and prefetches vectors of later bars."""
    ppo = memory_plan.apply(spec).ppo
    return Worker(
        spec.encoder,
        layout_of(spec),
        minibatch=0,
        no_grad=max(NO_GRAD_CHUNK, ppo.envs_per_runner),
        n_bars=n_bars_of(spec.market),
        n_samples=ppo.envs_per_runner * ppo.fragment_length,
    )


def layout_of(spec: TrialSpec) -> ObservationLayout:
    """The observation of a trial, from its spec and the names of its market's files alone."""
    return ObservationLayout(market_symbols(spec.market), tuple(spec.features.indicators), spec.features.lookback)


@functools.lru_cache(maxsize=64)
def n_bars_of(market: MarketSpec) -> int:
    """Rows of the market table that every process holds."""
    return market.n_bars if isinstance(market, SimulatorSpec) else len(load_market(market))

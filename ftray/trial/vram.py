"""The VRAM plan: how much of a GPU each process of a trial gets, and how many of them share one.

Takes: a `TrialSpec`, a GPU model. Gives: a `VramPlan`: GiB, shares that are always 1/k of a GPU, and the caps that the
processes put on themselves. Figures come from `ftray.vram.table` and, where the model was measured, from there.
"""

import dataclasses
import functools
import math
from fractions import Fraction

from ftray.agent.devices import GpuShares
from ftray.errors import SpecError
from ftray.features import ObservationLayout
from ftray.market import MarketSpec, SimulatorSpec, load_market, market_symbols
from ftray.pretraining.memory import pretraining_need
from ftray.trial.shape import WHOLE, Shape
from ftray.trial.spec import TrialSpec
from ftray.vram.gpus import RESERVE, Gpu
from ftray.vram.table import NO_GRAD_CHUNK, Worker


@dataclasses.dataclass(frozen=True)
class VramPlan:
    """What the processes of a job get of a GPU model.

    learner_gib, env_runner_gib: predicted, with the CUDA context; 0 for env runners on the CPU.
    source: where `learner_gib` is from: `measured`, `table` or `formula`.
    workers_per_gpu: how many learners share a GPU; env_runners_per_gpu likewise, 0 where they are on the CPU.
    n_env_runners: how many of a trial hold a share.
    """

    gpu: Gpu
    learner_gib: float
    source: str
    workers_per_gpu: int
    env_runner_gib: float = 0.0
    env_runners_per_gpu: int = 0
    n_env_runners: int = 0

    @property
    def gpus_per_trial(self) -> Fraction:
        """All shares of a trial together: of several bundles it takes several shares."""
        runners = Fraction(self.n_env_runners, self.env_runners_per_gpu) if self.n_env_runners else 0
        return Fraction(1, self.workers_per_gpu) + runners

    @property
    def trials_per_gpu(self) -> int:
        """Whole trials on one GPU; 0 for a trial that spreads over several."""
        return math.floor(1 / self.gpus_per_trial)

    @property
    def shares(self) -> GpuShares:
        """Bookings and caps of the processes."""
        k, m = self.workers_per_gpu, self.env_runners_per_gpu
        return GpuShares(
            learner=1 / k,
            env_runner=1 / m if m else 0.0,
            learner_cap_gib=self._cap_gib(k),
            env_runner_cap_gib=self._cap_gib(m) if m else 0.0,
            planned_gib=self.gpu.gib,
        )

    def _cap_gib(self, k: int) -> float:
        """What PyTorch's allocator may take: the share without reserve, and without the CUDA context, which the
        allocator does not count."""
        cap = self.gpu.usable_gib / k - self.gpu.context_gib
        if cap <= 0:
            raise SpecError(
                f"a share must hold a CUDA context, {self.gpu.context_gib:.2f} GiB, and something beside it, and 1/{k} "
                f"of the {self.gpu.usable_gib:.2f} GiB of a {self.gpu.name} does not: measure this GPU again with "
                "`ftray vram --measure`, while nothing else runs on it"
            )
        return cap


def plan_trial(spec: TrialSpec, gpu: Gpu, shape: Shape = WHOLE) -> VramPlan:
    """The plan of a trial on a GPU model.

    A smaller shape keeps the share of the full one wherever that fits: it was chosen because the share was too little.

    Raises: SpecError naming what is needed and what there is, where a process needs more than a whole GPU.
    """
    gib, source = gpu.needs(learner(spec, shape))
    full, _ = gpu.needs(learner(spec))
    booked = max(gib, full) if full <= gpu.usable_gib else gib
    k = _workers_per_gpu(booked, gpu, "the learner of a trial")
    n_env_runners = shape.ppo(spec.ppo).n_env_runners if spec.ppo.env_runners_on_gpu else 0
    if not n_env_runners:  # a local env runner always computes on the CPU
        return VramPlan(gpu, gib, source, k)
    runner_gib, _ = gpu.needs(env_runner(spec, shape))
    m = _workers_per_gpu(runner_gib, gpu, "an env runner of a trial")
    return VramPlan(gpu, gib, source, k, runner_gib, m, n_env_runners)


def plan_pretraining(spec: TrialSpec, gpu: Gpu) -> VramPlan:
    """The plan of the pre-training job behind a trial. Raises: as `plan_trial`."""
    assert spec.encoder_to_pretrain is not None
    need = pretraining_need(spec.encoder_to_pretrain, spec.pretraining, layout_of(spec), n_bars_of(spec.market))
    gib = need.gib(gpu.context_gib)
    return VramPlan(gpu, gib, "formula", _workers_per_gpu(gib, gpu, "a pre-training job"))


def learner(spec: TrialSpec, shape: Shape = WHOLE) -> Worker:
    """The process that trains: parts of minibatches with gradients, values and market vectors without."""
    return Worker(
        shape.encoder(spec.encoder),
        layout_of(spec),
        minibatch=math.ceil(spec.ppo.minibatch / shape.micro_batches),
        no_grad=NO_GRAD_CHUNK,
        n_bars=n_bars_of(spec.market),
        n_samples=spec.ppo.batch_size,
    )


def env_runner(spec: TrialSpec, shape: Shape = WHOLE) -> Worker:
    """A process that acts for all its accounts at once, without gradients, and looks ahead at the bars to come."""
    ppo = shape.ppo(spec.ppo)
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


def _workers_per_gpu(gib: float, gpu: Gpu, who: str) -> int:
    k = math.floor(gpu.usable_gib / gib)
    if k < 1:
        raise SpecError(
            f"{who} needs {gib:.2f} GiB, and a {gpu.name} has {gpu.usable_gib:.2f} GiB to give away (of {gpu.gib:.2f}, "
            f"with a reserve of {RESERVE:.0%}): take a smaller encoder, a longer patch_length, fewer samples at once "
            "(trial.ppo.minibatch_size, trial.pretraining.batch_size), activation_checkpointing or a larger GPU; or "
            "hide the GPU (CUDA_VISIBLE_DEVICES=) to run on the CPU"
        )
    return k

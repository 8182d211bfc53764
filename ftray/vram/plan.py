"""The VRAM plan: how much of a GPU each process of a job gets, and how many of them share one.

Takes: what the processes need, a GPU model. Gives: a `VramPlan`: GiB, shares that are always 1/k of a GPU, and the caps
that the processes put on themselves.
"""

import dataclasses
import math
from fractions import Fraction
from typing import Literal

from ftray.errors import SpecError
from ftray.vram.gpus import RESERVE, Gpu


@dataclasses.dataclass(frozen=True)
class GpuShares:
    """What the processes of a trial book on a GPU, and what each may allocate.

    learner, env_runner: fractions of one GPU, 1/k, or 0 for the CPU.
    learner_cap_gib, env_runner_cap_gib: for PyTorch's allocator: a share without reserve and CUDA context.
    planned_gib: of the GPU that the shares were planned for.
    """

    learner: float = 0.0
    env_runner: float = 0.0
    learner_cap_gib: float = 0.0
    env_runner_cap_gib: float = 0.0
    planned_gib: float = 0.0

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """Where a job's own process computes: where it booked."""
        return "cuda" if self.learner else "cpu"


NO_GPU = GpuShares()


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
                f"a share must hold a CUDA context, {self.gpu.context_gib:.2f} GiB, and more, and 1/{k} "
                f"of the {self.gpu.usable_gib:.2f} GiB of a {self.gpu.name} does not: measure this GPU again with "
                "`ftray vram --measure`, while nothing else runs on it"
            )
        return cap


def workers_per_gpu(gib: float, gpu: Gpu, who: str) -> int:
    """How many workers of that size share a GPU. Raises: SpecError for one that needs more than the whole of it."""
    k = math.floor(gpu.usable_gib / gib)
    if k < 1:
        raise SpecError(
            f"{who} needs {gib:.2f} GiB, and a {gpu.name} has {gpu.usable_gib:.2f} GiB to share out (of {gpu.gib:.2f}, "
            f"with a reserve of {RESERVE:.0%}): take a smaller encoder, a longer patch_length, fewer samples at once "
            "(trial.ppo.minibatch_size, trial.pretraining.batch_size), activation_checkpointing or a larger GPU; or "
            "hide the GPU (CUDA_VISIBLE_DEVICES=) to run on the CPU"
        )
    return k

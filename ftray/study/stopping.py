"""Rules that stop trials early, as a study's file describes them. No Ray here: `check` parses with it.

A new rule is a spec and a name in `SCHEDULERS` here, and a line in `schedulers.RULES`.
"""

import math
from types import MappingProxyType
from typing import Annotated, Literal

from ftray.errors import SpecError
from ftray.metrics import VALIDATION
from ftray.spec import Between, Count, spec


@spec
class NoSchedulerSpec:
    """Every trial runs to its end."""

    kind: Literal["none"] = "none"


@spec
class AshaSpec:
    """Asynchronous successive halving (Li et al. 2020): at each rung the best 1/`reduction` continue.

    grace: env steps, or epochs of pre-training, before the first rung; None: an eighth of the longest trial's.
    reduction: the next rung is that many times later.
    """

    kind: Literal["asha"] = "asha"
    grace: Count | None = None
    reduction: Annotated[int, Between(2)] = 3


@spec
class HyperbandSpec:
    """Asynchronous HyperBand (Li et al. 2020): successive halving in several brackets, each with a later first rung.

    Trials that learn slowly at first survive in the later brackets; the earlier ones stop more. Nothing is paused:
    HyperBand as first published waits for the slowest trial of every rung.

    grace: env steps, or epochs of pre-training, before the first bracket's first rung; None: an eighth of the longest
        trial's. The n-th bracket's first rung is `reduction`^(n − 1) times later.
    reduction: the next rung is that many times later, and the best 1/`reduction` get there.
    brackets: how many; trials are assigned to them in turn, more to the earlier ones.
    """

    kind: Literal["hyperband"] = "hyperband"
    grace: Count | None = None
    reduction: Annotated[int, Between(2)] = 3
    brackets: Annotated[int, Between(2)] = 3


@spec
class MedianSpec:
    """Stops a trial whose best is below the median of the others' averages so far (Golovin et al. 2017).

    grace: env steps, or epochs of pre-training, before a trial may be stopped; None: an eighth of the longest trial's.
    min_trials: others that have come as far before the first is stopped.
    """

    kind: Literal["median"] = "median"
    grace: Count | None = None
    min_trials: Count = 3


@spec
class WilcoxonSpec:
    """Stops a trial of several trainings that is worse than the best finished one, by pairs of equal fold and seed.

    A one-sided Wilcoxon signed-rank test on those pairs, whenever a training ends. What folds and seeds have in common
    cancels in the differences. The test is repeated after every training, so that a trial as good as the best is
    stopped somewhat more often than by `p` alone.

    p: a trial is stopped at or below this probability of a trial that is no worse.
    min_pairs: pairs before the first test.
    """

    kind: Literal["wilcoxon"] = "wilcoxon"
    p: Annotated[float, Between(above=0.0, high=0.5)] = 0.05
    min_pairs: Count = 6

    MOVED = MappingProxyType({"least_pairs": "min_pairs"})

    def check(self) -> None:
        if self.p < 2.0**-self.min_pairs:
            raise SpecError(
                f"{self.min_pairs} pairs never reach p = {self.p:g}; the lowest that they reach is "
                f"{2.0**-self.min_pairs:.2g}: take a larger p, or at least {math.ceil(-math.log2(self.p))} "
                "min_pairs",
                ("min_pairs",),
            )


Scheduler = NoSchedulerSpec | AshaSpec | HyperbandSpec | MedianSpec | WilcoxonSpec

SCHEDULERS = ("none", "asha", "hyperband", "median", "wilcoxon")


def check_scheduler(scheduler: Scheduler, metric: str, max_trainings: int) -> None:
    """Refuses a rule that could never stop anything in a study. metric: its objective. max_trainings: of a trial."""
    if not isinstance(scheduler, WilcoxonSpec):
        return
    if not metric.startswith(VALIDATION):
        raise SpecError(
            f"wilcoxon compares single trainings, and {metric} is known of the whole trial alone: "
            "choose an objective like validation/sharpe, or another scheduler",
            ("search", "scheduler"),
        )
    if max_trainings <= scheduler.min_pairs:
        raise SpecError(
            f"wilcoxon stops a trial after at least {scheduler.min_pairs} of its trainings, and a trial of this "
            f"study has {max_trainings} at most: raise trial.seeds or the folds in trial.windows, or lower min_pairs",
            ("search", "scheduler", "min_pairs"),
        )

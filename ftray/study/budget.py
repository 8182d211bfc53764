"""When a study stops: a budget is used up, nothing improves beyond noise, or all trials fail alike.

Takes: a study and its run folder. Gives: the reason to stop, in words. Touches no Ray: `check` parses with it.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from ftray.analysis.failures import first_line, kind_of_error
from ftray.errors import SpecError
from ftray.metrics import GPU_SECONDS
from ftray.runs import RunFolder, TrialRecord
from ftray.runs.costs import driven_seconds
from ftray.search.objectives import Constraint, Objective, is_feasible
from ftray.spec import Between, spec

ALIKE = 5
"""Failures of one kind in a row after which a study stops."""

EVERY = 10.0
"""Seconds between two checks of clock and costs."""


@spec
class BudgetSpec:
    """What a study may use over all runs of its command; None means no limit.

    hours: hours of wall time while a command drives it.
    gpu_hours: booked fractions of GPUs times the hours they were booked, summed over all jobs, pre-training included.
    """

    hours: Annotated[float, Between(0)] | None = None
    gpu_hours: Annotated[float, Between(0)] | None = None


def check_patience(patience: int | None, n_objectives: int) -> None:
    """Raises: SpecError for patience with several objectives: no single metric decides whether a study improves."""
    if patience is not None and n_objectives > 1:
        raise SpecError(
            f"patience asks whether one metric still improves, and this study has {n_objectives} objectives: leave out "
            "patience_trials, or name one objective",
            ("search", "patience_trials"),
        )


class Limits:
    """Ends a study as a whole. Trials that still run end INTERRUPTED at their last checkpoints, and may be continued.

    why: the reason, once there is one. broken: whether trials fail alike; failures count within one run of the command,
    so that repeating it gives them another chance.
    """

    def __init__(self, spec: Any, run: RunFolder, clock: Callable[[], float] = time.monotonic):
        self.spec, self.run, self.clock = spec, run, clock
        self.why: str | None = None
        self.broken = False
        self._alike: list[TrialRecord] = []
        self._started, self._before = clock(), driven_seconds(run.events())
        self._looked = -math.inf

    def reached(self) -> bool:
        """Whether it is time to stop; cheap enough to be called at every step."""
        if self.why is None and self.clock() - self._looked >= EVERY:
            self._looked = self.clock()
            self.why = self._spent()
        return self.why is not None

    def before_start(self) -> str | None:
        """The reason not to start at all: a budget that earlier runs of the command have used up."""
        self.why = self._spent() or self._no_better()
        return self.why

    def on_end(self, record: TrialRecord) -> None:
        """Counts a trial that ended."""
        if record.state in ("COMPLETE", "PRUNED"):
            self._alike = []
            self.why = self.why or self._no_better()
        elif record.state == "FAILED":
            kind = kind_of_error(record.error)
            self._alike = [r for r in self._alike if kind_of_error(r.error) == kind] + [record]
            if len(self._alike) >= ALIKE and self.why is None:
                self.broken = True
                first = self._alike[0]
                self.why = (
                    f"{ALIKE} trials in a row failed alike, the first ({first.id}) with: {first_line(first.error)} "
                    f"(all of it: {self.run.trial_folder(first.id).folder / 'error.txt'})"
                )

    def _spent(self) -> str | None:
        budget: BudgetSpec = self.spec.search.budget
        hours = (self._before + self.clock() - self._started) / 3600
        if budget.hours is not None and hours >= budget.hours:
            return f"its budget of {budget.hours:g} hours is used up"
        if budget.gpu_hours is not None:
            used = sum(record.metrics.get(GPU_SECONDS) or 0.0 for record in self.run.records()) / 3600
            if used >= budget.gpu_hours:
                return f"its budget of {budget.gpu_hours:g} GPU hours is used up ({used:.2f})"
        return None

    def _no_better(self) -> str | None:
        search = self.spec.search
        if search.patience_trials is None:
            return None
        ended = [r for r in self.run.records() if r.number is not None and r.state in ("COMPLETE", "PRUNED")]
        ended.sort(key=lambda record: (record.ended_at, record.number))
        return no_improvement(ended, search.goals[0], search.bounds, search.patience_trials)


def no_improvement(
    ended: Sequence[TrialRecord], goal: Objective, bounds: Sequence[Constraint], patience: int
) -> str | None:
    """The reason to stop, if none of the last `patience` trials is better than the best before them beyond noise.

    Beyond noise: by more than the standard error of the difference, if trials report theirs (`METRIC_error`: those of
    several folds or seeds); else any gain counts. A pruned trial counts as well, and is no improvement.

    ended: complete and pruned trials, oldest first.
    """
    earlier, late = ended[:-patience], ended[-patience:]
    best = max((r for r in earlier if _counts(r, goal, bounds)), key=lambda r: goal.gain(r.metrics), default=None)
    if best is None:
        return None
    for record in late:
        if _counts(record, goal, bounds):
            noise = math.hypot(_error(record, goal), _error(best, goal))
            if goal.gain(record.metrics) > goal.gain(best.metrics) + noise:
                return None
    return (
        f"none of the last {patience} trials is better than {best.id} beyond noise "
        f"({goal.metric} {best.metrics[goal.metric]:.4g} ± {_error(best, goal):.2g})"
    )


def _counts(record: TrialRecord, goal: Objective, bounds: Sequence[Constraint]) -> bool:
    known = record.state == "COMPLETE" and not math.isnan(goal.gain(record.metrics))
    return known and is_feasible(record.metrics, bounds)


def _error(record: TrialRecord, goal: Objective) -> float:
    return record.metrics.get(f"{goal.metric}_error") or 0.0

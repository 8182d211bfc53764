"""Objectives and constraints: what a study searches for, and which of its trials are best by that.

Takes: what a study's file says of it, and trial records. Gives: which trials are feasible, and the front of those that
no other beats. Knows recorded figures alone.

>>> Constraint.parse("validation/max_drawdown <= 0.3").violation({"validation/max_drawdown": 0.25}) <= 0
True
"""

import dataclasses
import math
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

from ftray.errors import SpecError
from ftray.runs.folder import RunFolder
from ftray.runs.records import TrialRecord
from ftray.spec import parse, spec

if TYPE_CHECKING:
    from rich.console import Console


@spec
class Objective:
    """A reported metric, as it stands at a trial's end, and where to push it."""

    metric: str
    direction: Literal["maximize", "minimize"]

    def gain(self, metrics: Mapping[str, Any]) -> float:
        """The figure with the sign that makes more of it better; NaN if it is unknown."""
        value = metrics.get(self.metric)
        if not is_number(value):
            return math.nan
        return value if self.direction == "maximize" else -value


DEFAULT = Objective(metric="validation/sharpe", direction="maximize")


@dataclasses.dataclass(frozen=True)
class Constraint:
    """A bound on a reported metric."""

    metric: str
    operator: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> "Constraint":
        """`METRIC <= NUMBER` or `METRIC >= NUMBER`.

        Raises: SpecError.
        """
        found = re.fullmatch(r"\s*(\S+?)\s*(<=|>=)\s*(\S+)\s*", text)
        try:
            bound = float(found[3]) if found else math.nan
        except ValueError:
            bound = math.nan
        if found is None or not math.isfinite(bound):
            raise SpecError(
                f"must be METRIC <= NUMBER or METRIC >= NUMBER, like 'validation/max_drawdown <= 0.3'; got {text!r}"
            )
        return cls(found[1], found[2], bound)

    def violation(self, metrics: Mapping[str, Any]) -> float:
        """By how much a trial misses the bound: 0 or less where it is met, NaN where the figure is unknown."""
        value = metrics.get(self.metric)
        if not is_number(value):
            return math.nan
        return value - self.bound if self.operator == "<=" else self.bound - value

    def __str__(self) -> str:
        return f"{self.metric} {self.operator} {self.bound:g}"


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a figure can be compared."""
    return isinstance(value, int | float) and math.isfinite(value)


def objectives_of(run: RunFolder) -> tuple[Objective, ...]:
    """What a run's study searches for; a study that does not say so wants the validation Sharpe ratio up."""
    given = (run.study.get("search") or {}).get("objectives") or []
    return tuple(parse(Objective, one) for one in given) or (DEFAULT,)


def constraints_of(run: RunFolder) -> tuple[Constraint, ...]:
    """The bounds that a run's study sets."""
    return tuple(Constraint.parse(text) for text in (run.study.get("search") or {}).get("constraints") or [])


def is_feasible(metrics: Mapping[str, Any], constraints: Iterable[Constraint]) -> bool:
    """Whether every bound is known to be met."""
    return all(constraint.violation(metrics) <= 0 for constraint in constraints)


def pareto(run: RunFolder) -> list[TrialRecord]:
    """The front: feasible, finished trials of which none is beaten in one objective and matched in all others.

    Best by the first objective first. Of a study with one objective, its best trial and its equals.
    """
    constraints = constraints_of(run)
    comparable = [
        trial
        for trial in run.trials()
        if trial.state == "COMPLETE" and trial.number is not None and is_feasible(trial.metrics, constraints)
    ]
    return front(comparable, objectives_of(run))


def front(trials: Sequence[TrialRecord], objectives: Sequence[Objective]) -> list[TrialRecord]:
    """The trials that no other dominates, best by the first objective first; those without all figures are left out."""
    gains = [(tuple(objective.gain(trial.metrics) for objective in objectives), trial) for trial in trials]
    known = [(gain, trial) for gain, trial in gains if not any(map(math.isnan, gain))]
    kept: list[tuple[tuple[float, ...], TrialRecord]] = []
    for gain, trial in sorted(known, key=lambda pair: pair[0], reverse=True):  # what dominates comes first
        if not any(better != gain and all(map(operator.ge, better, gain)) for better, _ in kept):
            kept.append((gain, trial))
    return [trial for _, trial in kept]


def print_front(run: RunFolder, *, console: "Console | None" = None) -> None:
    """Print the front of a run with several objectives; of any other run nothing."""
    from rich.console import Console

    objectives = objectives_of(run)
    if len(objectives) < 2:
        return
    console = console or Console()
    best = pareto(run)
    wanted = ", ".join(f"{o.metric} {'up' if o.direction == 'maximize' else 'down'}" for o in objectives)
    title = f"no trial beats these {len(best)} in" if best else "no finished, feasible trial yet for"
    console.print(f"\n{title} {wanted}", highlight=False, markup=False, soft_wrap=True)
    for trial in best:
        figures = "  ".join(f"{o.metric} {trial.metrics[o.metric]:.4g}" for o in objectives)
        console.print(f"  {trial.id}  {figures}", highlight=False, markup=False, soft_wrap=True)

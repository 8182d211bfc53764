"""Objectives and constraints: what a study searches for, and within which bounds.

Takes: a study as a plain mapping, reported metrics. Gives: how good they are, and whether they are feasible.

>>> Constraint.parse("validation/max_drawdown <= 0.3").violation({"validation/max_drawdown": 0.25}) <= 0
True
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeGuard

from ftray.metrics import ROUND_TRIPS, SHARPE, Direction, find_metric
from ftray.spec import NUMBER, Matching, parse, spec


@spec
class Objective:
    """A reported metric, by its last value, and its direction.

    metric: its name, like `validation/sharpe`.
    direction: the one in which the metric is better.
    """

    metric: str
    direction: Direction

    def gain(self, metrics: Mapping[str, Any]) -> float:
        """The metric's value, with the sign that makes a larger one better; NaN if it is unknown."""
        value = metrics.get(self.metric)
        if not is_number(value):
            return math.nan
        return value if self.direction == "maximize" else -value


_BOUND = Matching(
    rf"\s*[^\s<>]+\s*[<>]=\s*{NUMBER}\s*",
    "METRIC <= NUMBER or METRIC >= NUMBER, like 'validation/max_drawdown <= 0.3'",
)

Bound = Annotated[str, _BOUND]
"""A constraint as a study file has it."""

DEFAULT = Objective(metric=SHARPE, direction="maximize")
"""Of a study that stored none: those of early versions searched for it."""


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
        _BOUND.check(text)
        metric, operator, bound = re.split("(<=|>=)", text)
        return cls(metric.strip(), operator, float(bound))

    def violation(self, metrics: Mapping[str, Any]) -> float:
        """By how much a trial violates the bound: 0 or less if it is met, NaN if the value is unknown."""
        value = metrics.get(self.metric)
        if not is_number(value):
            return math.nan
        return value - self.bound if self.operator == "<=" else self.bound - value

    def __str__(self) -> str:
        return f"{self.metric} {self.operator} {self.bound:g}"


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value can be compared."""
    return isinstance(value, int | float) and math.isfinite(value)


def objectives_of(study: Mapping[str, Any]) -> tuple[Objective, ...]:
    """The objectives of a study; one that names none maximizes the validation Sharpe ratio."""
    given = (study.get("search") or {}).get("objectives") or []
    return tuple(parse(Objective, one) for one in given) or (DEFAULT,)


def constraints_of(study: Mapping[str, Any]) -> tuple[Constraint, ...]:
    """The constraints of a study: its own, and the least number of round trips."""
    search = study.get("search") or {}
    return bounds_of(search.get("constraints") or (), search.get("min_round_trips") or 0)


def bounds_of(constraints: Iterable[str], min_round_trips: int) -> tuple[Constraint, ...]:
    """Constraints, parsed, and that of a least number of round trips; 0: none, as in studies of earlier versions."""
    trades = (Constraint(ROUND_TRIPS, ">=", float(min_round_trips)),) if min_round_trips else ()
    return (*map(Constraint.parse, constraints), *trades)


def is_feasible(metrics: Mapping[str, Any], constraints: Iterable[Constraint]) -> bool:
    """Whether every bound is known to be met."""
    return all(constraint.violation(metrics) <= 0 for constraint in constraints)


def hardly_trades(metrics: Mapping[str, Any], constraints: Iterable[Constraint]) -> bool:
    """Whether a trial is known to make fewer round trips than its study asks for: its ratios mean nothing."""
    return any(one.metric == ROUND_TRIPS and one.operator == ">=" and one.violation(metrics) > 0 for one in constraints)


def is_undefined(name: str, metrics: Mapping[str, Any]) -> bool:
    """Whether a trial reported that it has no value of a metric, as one without assets does of an active measure."""
    found = find_metric(name)
    return found is not None and found.nullable and name in metrics and not is_number(metrics[name])

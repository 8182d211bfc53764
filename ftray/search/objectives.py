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

from ftray.metrics import SHARPE, Direction
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
    """The constraints of a study."""
    return tuple(Constraint.parse(text) for text in (study.get("search") or {}).get("constraints") or [])


def is_feasible(metrics: Mapping[str, Any], constraints: Iterable[Constraint]) -> bool:
    """Whether every bound is known to be met."""
    return all(constraint.violation(metrics) <= 0 for constraint in constraints)

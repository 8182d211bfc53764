"""The best trial, with all that a reader needs to judge it: what it was chosen from, how sure its value is, what luck
explains.

Takes: trial records, objectives and constraints. Gives: a `Best`.
"""

import dataclasses
import html
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist, stdev
from typing import Any, Literal, get_args

from ftray.analysis.luck import CONFIDENCE, RATIOS, Luck, looks_taken, luck_of, luck_of_best, sharpe_error
from ftray.analysis.ranking import hardly_trading, rank_trials
from ftray.errors import QueryError
from ftray.metrics import Direction, metric_direction
from ftray.runs.records import TrialRecord
from ftray.search.objectives import Constraint, Objective, hardly_trades, is_number

Scope = Literal["last", "best", "any"]

NORMAL = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
"""Half the width of an interval, in standard errors."""

SCOPES = {
    "last": "finished, feasible trials as they ended",
    "best": "finished, feasible trials, each at its best report",
    "any": "all reports of all trials",
}


@dataclasses.dataclass(frozen=True)
class Best:
    """The best of a study by one metric, and what a reader needs to judge it. It prints as a table.

    trial: its id.
    metric: what it is the best by.
    value: the metric's.
    direction: the one in which the metric is better.
    scope: what it was chosen from, see `Study.best`.
    chosen_from: how many values it is the best of: trials, or reports where the scope is not `last`.
    interval: where the true value lies with 95 % confidence: of a plain or active Sharpe ratio by its standard error,
        of any other metric by its spread over the trial's trainings; None where neither is known. It holds for this
        trial by itself; `luck` accounts for its being chosen as the best.
    luck: the luck line and the deflated value of a plain or active Sharpe ratio; None for any other metric.
    step: of the report, where the scope is not `last`.
    n_hardly_trade: finished trials that are not among them, because they hardly trade.
    """

    trial: str
    metric: str
    value: float
    direction: Direction
    scope: Scope
    chosen_from: int
    interval: tuple[float, float] | None
    luck: Luck | None
    step: int | None = None
    n_hardly_trade: int = 0

    @property
    def luck_line(self) -> float | None:
        """The ratio to expect of the best of as many trials without skill; None for a metric that is no Sharpe ratio.

        Source: Bailey and López de Prado 2014, The Deflated Sharpe Ratio.
        """
        return None if self.luck is None else self.luck.luck_line

    @property
    def deflated_sharpe(self) -> float | None:
        """Probability that the true ratio is above the luck line; None for a metric that is no Sharpe ratio."""
        return None if self.luck is None else self.luck.deflated

    def __repr__(self) -> str:
        return "\n".join(f"{name:<13} {value}" for name, value in self.describe().items())

    def _repr_html_(self) -> str:
        rows = (
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
            for name, value in self.describe().items()
        )
        return f"<table>{''.join(rows)}</table>"

    def describe(self) -> dict[str, str]:
        """Names and values, as they are printed."""
        at = "" if self.step is None else f", at step {self.step:,}"
        things = "trials" if self.scope == "last" else "reports"
        interval = (
            "unknown"
            if self.interval is None
            else f"{self.interval[0]:.4g} to {self.interval[1]:.4g} ({CONFIDENCE:.0%})"
        )
        described = {
            "best trial": f"{self.trial}{at}",
            self.metric.rpartition("/")[2][:13]: f"{self.value:.4g}   ({self.metric}, {self.direction})",
            "interval": interval,
            "scope": f"{self.scope}: {SCOPES[self.scope]}, {self.chosen_from} {things}",
        }
        if self.luck is not None:
            verdict = "above what luck explains" if self.luck.clears else "luck may explain it"
            described |= {
                "luck line": f"{self.luck.luck_line:.2f}   (best of {self.luck.chosen_from} without skill over "
                f"{self.luck.years:.2g} years)",
                "deflated": f"{self.luck.deflated:.0%}   (deflated {RATIOS[self.metric][0]}; {CONFIDENCE:.0%} would be "
                f"convincing: {verdict})",
            }
        else:
            described["luck line"] = "none: only a Sharpe ratio has one; the best of many is too good on average"
        if self.n_hardly_trade:
            described["left out"] = f"{self.n_hardly_trade} that hardly trade"
        return described


def best_of(
    records: Sequence[TrialRecord],
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint] = (),
    scope: Scope = "last",
    reports: Iterable[Mapping[str, Any]] = (),
    n_elsewhere: float = 0,
) -> Best | None:
    """The best trial by the first objective; None where no value of it is known. See `Study.best`.

    reports: what trials reported, each with its `trial`; scopes other than `last` need them.
    n_elsewhere: looks of other studies.

    Raises: QueryError for an unknown scope.
    """
    if scope not in get_args(Scope):
        raise QueryError(f"scope must be one of {', '.join(get_args(Scope))}; got {scope!r}")
    goal, ranked = objectives[0], rank_trials(records, objectives, constraints)
    if scope == "last":
        chosen_from = [(record, record.metrics) for record in ranked]
    else:
        among = {record.id: record for record in (ranked if scope == "best" else records)}
        rows = ((among.get(row["trial"]), row) for row in reports if is_number(row.get(goal.metric)))
        chosen_from = [(own, row) for own, row in rows if own is not None and not hardly_trades(row, constraints)]
    if not chosen_from:
        return None
    record, metrics = max(chosen_from, key=lambda pair: goal.gain(pair[1]))  # the first of equals
    windows, n, value = record.spec.get("windows") or {}, len(chosen_from), metrics[goal.metric]
    if goal.metric not in RATIOS:
        luck, error = None, _spread(metrics, goal.metric) if scope == "last" else None
    else:
        looks = _looks([record for record, _ in chosen_from])
        of_reports = luck_of(metrics, windows, n, looks + n_elsewhere, goal.metric, n_elsewhere, looks)
        luck = luck_of_best(records, objectives, constraints, n_elsewhere) if scope == "last" else of_reports
        error = sharpe_error(metrics, windows, goal.metric)
    interval = None if error is None else (value - NORMAL * error, value + NORMAL * error)
    step = None if scope == "last" else metrics.get("env_steps") or metrics.get("epoch")
    idle = len(hardly_trading(records, constraints))
    return Best(record.id, goal.metric, value, goal.direction, scope, n, interval, luck, step, idle)


def direction_of(metric: str, objectives: tuple[Objective, ...]) -> Direction:
    """The direction in which a metric is better: the study's, or that of the table of metrics.

    Raises: MetricError for one that is not in the table, or is better neither way.
    """
    for objective in objectives:
        if objective.metric == metric:
            return objective.direction
    return metric_direction(metric)


def _looks(reported: Sequence[TrialRecord]) -> float:
    """How many looks reports are worth. reported: the trial of each; one that selects took more than it reported."""
    known = {record.id: record for record in reported}
    counted = Counter(record.id for record in reported)
    return sum(max(n, looks_taken([known[trial]])) for trial, n in counted.items())


def _spread(metrics: Mapping[str, Any], metric: str) -> float | None:
    """The standard error of a metric over a trial's trainings; None with fewer than two."""
    values = [run[metric] for run in metrics.get("runs") or () if is_number(run.get(metric))]
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None

"""How much of a study's best Sharpe ratio luck alone explains: the luck line, and the deflated Sharpe ratio.

Takes: trial records, or the validation metrics of one trial and how many trials it was chosen from. Gives: a `Luck`.
The luck line is the expected maximum Sharpe ratio under the null: Bailey and López de Prado (2014).
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ftray import stats
from ftray.analysis.ranking import best_trial
from ftray.metrics import SHARPE, validation
from ftray.runs.records import TrialRecord
from ftray.search.objectives import Constraint, Objective, is_number

CONFIDENCE = 0.95
"""How sure the deflated Sharpe ratio must be, as its source asks (see `stats.deflated_sharpe`)."""


@dataclasses.dataclass(frozen=True)
class Luck:
    """A Sharpe ratio, and the best one to expect of as many trials without skill.

    n_trials: configurations it was chosen from. effective: how many independent ones they are worth.
    years: of distinct validation bars. deflated: probability that the true ratio is above the luck line.
    """

    sharpe: float
    n_trials: int
    effective: float
    years: float
    luck_line: float
    deflated: float

    @property
    def clears(self) -> bool:
        """Whether the ratio is so far above the luck line that chance hardly explains it."""
        return self.deflated >= CONFIDENCE

    def __str__(self) -> str:
        worth = "" if self.effective == self.n_trials else f" (worth {self.effective:.1f} independent ones)"
        return (
            f"luck line {self.luck_line:.2f}: the best Sharpe ratio to expect of {self.n_trials} trials{worth} without "
            f"skill over {self.years:.2g} years; {self.sharpe:.2f} is above it with probability {self.deflated:.0%} "
            f"(deflated Sharpe ratio; {CONFIDENCE:.0%} would be convincing)"
        )


def luck_of(metrics: Mapping[str, Any], windows: Mapping[str, Any], n_trials: int, effective: float) -> Luck | None:
    """What luck explains of a trial's Sharpe ratio; None if a metric that it needs is unknown.

    metrics: means over the trial's trainings, as its record has them. windows: its spec's windows.
    """
    known = _measures(metrics)
    if known is None:
        return None
    periods = known["n_bars"] / known["years"]
    distinct = folds_apart(windows)
    years = known["years"] * distinct
    moments = {name: known[name] for name in ("skewness", "kurtosis")}
    return Luck(
        sharpe=known["sharpe"],
        n_trials=n_trials,
        effective=effective,
        years=years,
        luck_line=stats.luck_line(effective, years),
        deflated=stats.deflated_sharpe(
            known["sharpe"], known["n_bars"] * distinct, periods, n_trials=effective, **moments
        ),
    )


def scored_trials(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """All trials with a reported validation Sharpe ratio, however they ended: the best is chosen from these."""
    return [record for record in records if record.number is not None and is_number(record.metrics.get(SHARPE))]


def luck_of_best(
    records: Sequence[TrialRecord], objectives: Sequence[Objective], constraints: Sequence[Constraint] = ()
) -> Luck | None:
    """What luck explains of the best trial, where the first objective is the Sharpe ratio; otherwise None.

    All trials count as independent, so the line is rather too high than too low.
    """
    best = best_trial(records, objectives, constraints)
    if objectives[0].metric != SHARPE or best is None:
        return None
    n = len(scored_trials(records))
    return luck_of(best.metrics, best.spec.get("windows") or {}, n, float(n))


def sharpe_error(metrics: Mapping[str, Any], windows: Mapping[str, Any]) -> float | None:
    """The standard error of a trial's Sharpe ratio, a mean over its trainings; None where it needs an unknown metric.

    Trainings on the same bars count as one: another seed says nothing new about the market.
    """
    known = _measures(metrics)
    if known is None:
        return None
    bars, periods = known["n_bars"] * folds_apart(windows), known["n_bars"] / known["years"]
    moments = {name: known[name] for name in ("skewness", "kurtosis")}
    return stats.sharpe_error(known["sharpe"], bars, periods, **moments)


def folds_apart(windows: Mapping[str, Any]) -> float:
    """How many folds of distinct bars a trial is validated on; combinatorial folds share bars.

    >>> folds_apart({"kind": "combinatorial", "n_groups": 6, "n_validation_groups": 2})
    3.0
    """
    match windows.get("kind"):
        case "walk_forward":
            return float(windows["n_folds"])
        case "combinatorial":
            return windows["n_groups"] / windows["n_validation_groups"]
        case _:
            return 1.0


def _measures(metrics: Mapping[str, Any]) -> dict[str, float] | None:
    """The inputs of a Sharpe ratio's luck line; None unless all are known, over at least two bars."""
    found = {name: metrics.get(validation(name)) for name in ("sharpe", "skewness", "kurtosis", "n_bars", "years")}
    known: dict[str, float] = {name: value for name, value in found.items() if is_number(value)}
    return known if len(known) == len(found) and known["n_bars"] >= 2 else None

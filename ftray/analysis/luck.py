"""How much of a study's best Sharpe ratio luck alone explains: the luck line, and the deflated Sharpe ratio.

Takes: trial records, or the validation metrics of one trial and how many trials it was chosen from. Gives: a `Luck`.
The luck line is the expected maximum Sharpe ratio under the null: Bailey and López de Prado (2014), here for returns
that depend on each other, trials that resemble each other, and policies that bet rarely.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ftray import stats
from ftray.analysis.ranking import best_trial
from ftray.metrics import ACTIVE_SHARPE, SHARPE, measure_of, validation
from ftray.runs.looks import count_looks, folds_apart, looks_of
from ftray.runs.records import TrialRecord
from ftray.search.objectives import Constraint, Objective, is_number

CONFIDENCE = 0.95
"""How sure the deflated Sharpe ratio must be, as its source asks (see `stats.deflated_sharpe`)."""

RATIOS = {
    SHARPE: ("Sharpe ratio", "skewness", "kurtosis", "sharpe_newey_west"),
    ACTIVE_SHARPE: ("active Sharpe ratio", "active_skewness", "active_kurtosis", "active_newey_west"),
}
"""The metrics that have a luck line: each one's name, and the measures of its returns' moments and its robust error."""


@dataclasses.dataclass(frozen=True)
class Luck:
    """A Sharpe ratio, and the best one to expect of as many trials without skill.

    metric: `validation/sharpe` or `validation/active_sharpe`. value: its. error: its standard error.
    n_trials: trials of its study that it was chosen from. n_looks: those that they took at the validation windows: one
        each, and more where trials select among their evaluations. n_elsewhere: those of other studies, same bars.
    effective: how many independent looks they all are worth. years: of distinct validation bars.
    luck_line: the expected best of them without skill, all with this error. deflated: probability that the true ratio
        is above it.
    """

    metric: str
    value: float
    error: float
    n_trials: int
    n_looks: float
    n_elsewhere: float
    effective: float
    years: float
    luck_line: float
    deflated: float

    @property
    def clears(self) -> bool:
        """Whether the ratio is so far above the luck line that chance hardly explains it."""
        return self.deflated >= CONFIDENCE

    @property
    def verdict(self) -> str:
        """Whether anything was found, in words."""
        return "found: more than luck explains" if self.clears else "nothing found: luck may explain the best trial"

    @property
    def chosen_from(self) -> str:
        """How many trials the ratio is the best of, in words."""
        elsewhere = f" here and {count_looks(self.n_elsewhere)} in other studies" if self.n_elsewhere else ""
        return f"{describe_trials(self.n_trials, self.n_looks)}{elsewhere}"

    def __str__(self) -> str:
        n, what, trials = self.n_looks + self.n_elsewhere, RATIOS[self.metric][0], self.chosen_from
        worth = "" if self.effective == n else f" (worth {_worth(self.effective)} independent ones)"
        return (
            f"luck line {self.luck_line:.2f}: the best {what} to expect of {trials}{worth} without skill over "
            f"{self.years:.2g} years; {self.value:.2f} is above it with probability {self.deflated:.0%} "
            f"(deflated {what}; {CONFIDENCE:.0%} would be convincing)"
        )


def gate_opens(plain: Luck | None, active: Luck | None) -> bool:
    """Whether a trial may read the test window: luck explains neither its Sharpe ratio nor its active one.

    A rising market gives every policy that holds assets a high Sharpe ratio, and a policy that trails a falling market
    by less has an active one: skill shows in both. None, a ratio that is undefined, keeps the gate shut.
    """
    return plain is not None and active is not None and plain.clears and active.clears


def luck_of(
    metrics: Mapping[str, Any],
    windows: Mapping[str, Any],
    n_trials: int,
    effective: float,
    metric: str = SHARPE,
    n_elsewhere: float = 0,
    n_looks: float | None = None,
) -> Luck | None:
    """What luck explains of a trial's ratio; None if a metric that it needs is unknown.

    metrics: means over the trial's trainings, as its record has them. windows: its spec's windows.
    n_trials: configurations of the study that the trial was chosen from. n_elsewhere: looks of other studies.
    n_looks: looks of these configurations, see `looks_taken`; one each by default.
    effective: how many independent looks all these are worth, by the correlation of the returns that the ratio is of:
        for `validation/active_sharpe` that of active returns.
    metric: one of `RATIOS`.
    """
    known, error = _measures(metrics, metric), sharpe_error(metrics, windows, metric)
    if known is None or error is None:
        return None
    value, distinct = known["value"], folds_apart(windows)
    looks = float(n_trials) if n_looks is None else n_looks
    line = stats.expected_maximum_sharpe(max(1, looks + n_elsewhere), error, effective)
    bars = known["n_bars"] * distinct
    return Luck(
        metric=metric,
        value=value,
        error=error,
        n_trials=n_trials,
        n_looks=looks,
        n_elsewhere=n_elsewhere,
        effective=effective,
        years=known["years"] * distinct,
        luck_line=line,
        deflated=stats.probability_above(value, line, error, bars, kurtosis=known["kurtosis"]),
    )


def scored_trials(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """All trials with a reported validation Sharpe ratio, however they ended: the best is chosen from these."""
    return [record for record in records if record.number is not None and is_number(record.metrics.get(SHARPE))]


def looks_taken(trials: Iterable[TrialRecord]) -> float:
    """How many looks at the validation windows trials took: one each, and more where `select` is `best_validation`."""
    return sum(looks_of(trial.metrics, trial.spec.get("windows") or {}) for trial in trials)


def describe_trials(n_trials: int, looks: float) -> str:
    """A number of trials in words, and that of their looks where it is another.

    >>> describe_trials(1, 1.0), describe_trials(4, 80.0)
    ('1 trial', '4 trials (80 looks)')
    """
    more = "" if looks == n_trials else f" ({count_looks(looks)} looks)"
    return f"{n_trials} {'trial' if n_trials == 1 else 'trials'}{more}"


def luck_of_best(
    records: Sequence[TrialRecord],
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint] = (),
    n_elsewhere: float = 0,
) -> Luck | None:
    """What luck explains of the best trial, where the first objective is one of `RATIOS`; otherwise None.

    All looks count as independent, so the line is rather too high than too low. n_elsewhere: looks of other studies.
    """
    best, metric = best_trial(records, objectives, constraints), objectives[0].metric
    if metric not in RATIOS or best is None:
        return None
    scored = scored_trials(records)
    looks, windows = looks_taken(scored), best.spec.get("windows") or {}
    return luck_of(best.metrics, windows, len(scored), looks + n_elsewhere, metric, n_elsewhere, looks)


def describe_luck_of_best(
    records: Sequence[TrialRecord],
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint] = (),
    n_elsewhere: float = 0,
) -> list[str]:
    """The luck line of the best trial, and in a line of its own whether anything was found.

    No lines where the first objective has no luck line, or no trial has finished. n_elsewhere: looks of other studies.
    """
    luck = luck_of_best(records, objectives, constraints, n_elsewhere)
    if luck is not None:
        return [str(luck), luck.verdict] if math.isfinite(luck.luck_line) else []
    has_finished = any(record.state == "COMPLETE" and record.number is not None for record in records)
    has_rank = best_trial(records, objectives, constraints) is not None
    is_ratio = objectives[0].metric in RATIOS
    return ["nothing found: no finished trial has a rank"] if has_finished and is_ratio and not has_rank else []


def sharpe_error(metrics: Mapping[str, Any], windows: Mapping[str, Any], metric: str = SHARPE) -> float | None:
    """The standard error of a trial's ratio, a mean over its trainings; None where it needs an unknown metric.

    Robust to autocorrelation, or by the moments of the returns where an earlier version of ftray reported no such
    error; and never below 1/√years, that of independent returns whose true ratio is 0. Positive skewness and negative
    autocorrelation lower an error, and a short window shows more of them than there is: an error that trusts them
    passes too many lucky policies. Trainings on the same bars count as one: another seed says nothing new about the
    market.

    metric: one of `RATIOS`.
    """
    known = _measures(metrics, metric)
    if known is None:
        return None
    distinct = folds_apart(windows)
    bars, years = known["n_bars"] * distinct, known["years"] * distinct
    error = metrics.get(validation(RATIOS[metric][3]))
    if is_number(error):
        error = error / math.sqrt(distinct)
    else:
        moments = {name: known[name] for name in ("skewness", "kurtosis")}
        error = stats.sharpe_error(known["value"], bars, bars / years, **moments)
    return max(error, 1.0 / math.sqrt(years))


def _worth(effective: float) -> str:
    return f"{effective:,.1f}" if effective < 1e6 else count_looks(effective)


def _measures(metrics: Mapping[str, Any], metric: str) -> dict[str, float] | None:
    """The inputs of a ratio's luck line; None unless all are known, over at least two bars."""
    _, skewness, kurtosis, _ = RATIOS[metric]
    names = {"value": metric, "skewness": skewness, "kurtosis": kurtosis, "n_bars": "n_bars", "years": "years"}
    found = {name: metrics.get(validation(measure_of(of))) for name, of in names.items()}
    known: dict[str, float] = {name: value for name, value in found.items() if is_number(value)}
    return known if len(known) == len(found) and known["n_bars"] >= 2 else None

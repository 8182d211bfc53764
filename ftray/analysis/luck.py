"""How much of a run's best Sharpe ratio luck alone explains: the luck line, and the deflated Sharpe ratio.

Takes: validation figures of a trial and how many trials it was chosen from. Gives: a `Luck`, one printed line.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ftray import stats
from ftray.runs.folder import RunFolder
from ftray.runs.records import TrialRecord
from ftray.search.objectives import is_number, objectives_of, pareto

if TYPE_CHECKING:
    from rich.console import Console

SHARPE = "validation/sharpe"

CONFIDENCE = 0.95
"""How sure the deflated Sharpe ratio must be, as its source asks (see `stats.deflated_sharpe`)."""


@dataclasses.dataclass(frozen=True)
class Luck:
    """A Sharpe ratio beside the best one that as many trials without skill are expected to show.

    n_trials: configurations it was chosen from. effective: how many independent ones they are worth.
    years: of distinct validation bars. deflated: probability that the true ratio lies above the luck line.
    """

    sharpe: float
    n_trials: int
    effective: float
    years: float
    luck_line: float
    deflated: float

    @property
    def clears(self) -> bool:
        """Whether the ratio lies so far above the luck line that chance hardly explains it."""
        return self.deflated >= CONFIDENCE

    def __str__(self) -> str:
        worth = "" if self.effective == self.n_trials else f" (worth {self.effective:.1f} independent ones)"
        return (
            f"luck line {self.luck_line:.2f}: the best Sharpe ratio to expect of {self.n_trials} trials{worth} without "
            f"skill over {self.years:.2g} years; {self.sharpe:.2f} is above it with probability {self.deflated:.0%} "
            f"(deflated Sharpe ratio; {CONFIDENCE:.0%} would be convincing)"
        )


def luck_of(metrics: Mapping[str, Any], windows: Mapping[str, Any], n_trials: int, effective: float) -> Luck | None:
    """What luck explains of a trial's Sharpe ratio; None where a figure is unknown that this takes.

    metrics: means over the trial's runs, as its rows have them. windows: its spec's windows.
    """
    figures = _figures(metrics)
    if figures is None:
        return None
    periods = figures["n_bars"] / figures["years"]
    distinct = folds_apart(windows)
    years = figures["years"] * distinct
    moments = {name: figures[name] for name in ("skewness", "kurtosis")}
    return Luck(
        sharpe=figures["sharpe"],
        n_trials=n_trials,
        effective=effective,
        years=years,
        luck_line=stats.luck_line(effective, years),
        deflated=stats.deflated_sharpe(
            figures["sharpe"], figures["n_bars"] * distinct, periods, n_trials=effective, **moments
        ),
    )


def sharpe_error(metrics: Mapping[str, Any], windows: Mapping[str, Any]) -> float | None:
    """The standard error of a trial's Sharpe ratio, a mean over its runs; None where a figure is unknown that it takes.

    Runs on the same bars are taken for one: seeds tell nothing new about the market.
    """
    figures = _figures(metrics)
    if figures is None:
        return None
    bars, periods = figures["n_bars"] * folds_apart(windows), figures["n_bars"] / figures["years"]
    moments = {name: figures[name] for name in ("skewness", "kurtosis")}
    return stats.sharpe_error(figures["sharpe"], bars, periods, **moments)


def folds_apart(windows: Mapping[str, Any]) -> float:
    """How many folds' worth of different bars a trial is validated on; combinatorial folds share theirs.

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


def _figures(metrics: Mapping[str, Any]) -> dict[str, float] | None:
    """What the luck of a Sharpe ratio follows from; None unless all of it is known, over two bars at least."""
    names = ("sharpe", "skewness", "kurtosis", "n_bars", "years")
    known = {name: metrics.get(f"validation/{name}") for name in names}
    figures: dict[str, float] = {name: value for name, value in known.items() if value is not None and is_number(value)}
    return figures if len(figures) == len(names) and figures["n_bars"] >= 2 else None


def judged_trials(run: RunFolder) -> list[TrialRecord]:
    """All trials whose validation Sharpe ratio was ever seen: what a choice was made from, however they ended."""
    return [trial for trial in run.trials() if trial.number is not None and is_number(trial.metrics.get(SHARPE))]


def luck_data(run: RunFolder) -> Luck | None:
    """What luck explains of the best trial of a run that searches for a Sharpe ratio; None if it does not.

    All trials count as independent: the line errs on the high side.
    """
    best = pareto(run)
    if objectives_of(run)[0].metric != SHARPE or not best:
        return None
    n = len(judged_trials(run))
    return luck_of(best[0].metrics, best[0].spec.get("windows") or {}, n, float(n))


def print_luck(run: RunFolder, *, console: "Console | None" = None) -> None:
    """Print the line that belongs under every leaderboard of Sharpe ratios."""
    from rich.console import Console

    luck = luck_data(run)
    if luck is not None and math.isfinite(luck.luck_line):
        (console or Console()).print(f"\n{luck}", highlight=False, markup=False, soft_wrap=True)

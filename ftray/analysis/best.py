"""The best trial, told so that nobody is fooled: what it was chosen from, how sure the figure is, what luck explains.

Takes: a study and a metric. Gives: a `Best`.
"""

import dataclasses
import html
import json
import math
from statistics import NormalDist, stdev
from typing import TYPE_CHECKING, Any, Literal, get_args

from ftray.analysis.luck import SHARPE, Luck, luck_of, sharpe_error
from ftray.errors import RunFolderError
from ftray.search.objectives import Objective

if TYPE_CHECKING:
    from ftray.analysis.study import Study

Scope = Literal["last", "best", "any"]

CONFIDENCE = 0.95
NORMAL = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
"""Standard errors from the middle of an interval to its ends."""

SCOPES = {
    "last": "finished, feasible trials as they ended",
    "best": "finished, feasible trials, each at its best report",
    "any": "all reports of all trials",
}

LESS_IS_BETTER = ("loss", "drawdown", "drawdown_length", "volatility", "turnover", "fees", "seconds", "error", "kl")
"""How names of figures end that are better when they are lower."""


@dataclasses.dataclass(frozen=True)
class Best:
    """The best of a study by one metric.

    chosen_from: how many figures it is the best of: trials, or reports where the scope is not `last`.
    interval: where the true value lies with 95 % confidence: of a Sharpe ratio by the length and the moments of its
        returns, of any other figure by its spread over the trial's runs; None where neither is known. It belongs to
        this trial alone: that it was chosen as the best, `luck` tells.
    luck: the luck line and the deflated Sharpe ratio; None for what is no Sharpe ratio.
    step: of the report, where the scope is not `last`.
    """

    trial: str
    metric: str
    value: float
    direction: Literal["maximize", "minimize"]
    scope: Scope
    chosen_from: int
    interval: tuple[float, float] | None
    luck: Luck | None
    step: int | None = None

    @property
    def luck_line(self) -> float | None:
        return None if self.luck is None else self.luck.luck_line

    @property
    def deflated_sharpe(self) -> float | None:
        return None if self.luck is None else self.luck.deflated

    def __repr__(self) -> str:
        return "\n".join(f"{name:<11} {value}" for name, value in self._told().items())

    def _repr_html_(self) -> str:
        rows = (
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
            for name, value in self._told().items()
        )
        return f"<table>{''.join(rows)}</table>"

    def _told(self) -> dict[str, str]:
        at = "" if self.step is None else f", at step {self.step:,}"
        things = "trials" if self.scope == "last" else "reports"
        interval = (
            "unknown"
            if self.interval is None
            else f"{self.interval[0]:.4g} to {self.interval[1]:.4g} ({CONFIDENCE:.0%})"
        )
        told = {
            "best trial": f"{self.trial}{at}",
            self.metric.rpartition("/")[2][:11]: f"{self.value:.4g}   ({self.metric}, {self.direction})",
            "interval": interval,
            "scope": f"{self.scope}: {SCOPES[self.scope]}, {self.chosen_from} {things}",
        }
        if self.luck is not None:
            verdict = "above what luck explains" if self.luck.clears else "luck may explain it"
            told |= {
                "luck line": f"{self.luck.luck_line:.2f}   (best of {self.luck.n_trials} without skill over "
                f"{self.luck.years:.2g} years)",
                "deflated": f"{self.luck.deflated:.0%}   (deflated Sharpe ratio; {CONFIDENCE:.0%} would be convincing: "
                f"{verdict})",
            }
        else:
            told["luck line"] = "none: only a Sharpe ratio has one; the best of many is too good on average"
        return told


def best_of(study: "Study", metric: str, scope: Scope, direction: Literal["maximize", "minimize"] | None) -> Best:
    """See `Study.best`."""
    if scope not in get_args(Scope):
        raise RunFolderError(f"scope must be one of {', '.join(get_args(Scope))}; got {scope!r}")
    objective = Objective(metric=metric, direction=direction or direction_of(metric, study.objectives))
    rows = _rows(study, metric, scope)
    known = [row for row in rows if not math.isnan(objective.gain(row))]
    if not known:
        raise RunFolderError(
            f"{study.run.path} has no figure {metric!r} in {SCOPES[scope]}; names are in `study.metrics`, and a study "
            "that has just begun has none yet"
        )
    best = max(known, key=objective.gain)
    n = len(known) if scope != "last" else _n_judged(study, metric)
    trial = study.read("trials", ["spec"], trial=best["trial"]).to_pylist()[0]
    windows = json.loads(trial["spec"]).get("windows") or {}
    luck = luck_of(best, windows, n, float(n)) if metric == SHARPE else None
    step = None if scope == "last" else best.get("env_steps") or best.get("epoch")
    error = sharpe_error(best, windows) if metric == SHARPE else _spread(study, best, metric, scope)
    width = None if error is None else NORMAL * error
    interval = None if width is None else (best[metric] - width, best[metric] + width)
    return Best(best["trial"], metric, best[metric], objective.direction, scope, len(known), interval, luck, step)


def direction_of(metric: str, objectives: tuple[Objective, ...]) -> Literal["maximize", "minimize"]:
    """Which way a figure is better: as the study has it, or by its name."""
    for objective in objectives:
        if objective.metric == metric:
            return objective.direction
    return "minimize" if metric.endswith(LESS_IS_BETTER) else "maximize"


def _rows(study: "Study", metric: str, scope: Scope) -> list[dict[str, Any]]:
    figures = [f"validation/{name}" for name in ("sharpe", "n_bars", "years", "skewness", "kurtosis")]
    table = study.read("trials", ["trial", "state", "feasible", metric, *figures])
    finished = {row["trial"]: row for row in table.to_pylist() if row["state"] == "COMPLETE" and row["feasible"]}
    if scope == "last":
        return list(finished.values())
    reports = study.read("metrics", list(dict.fromkeys(["trial", "env_steps", "epoch", metric, *figures]))).to_pylist()
    return reports if scope == "any" else [row for row in reports if row["trial"] in finished]


def _n_judged(study: "Study", metric: str) -> int:
    """All trials with such a figure, however they ended: what the choice was made from."""
    found = study.read("trials", [metric])
    return len(found) - found[metric].null_count if metric in found.column_names else 0


def _spread(study: "Study", best: dict[str, Any], metric: str, scope: Scope) -> float | None:
    """The standard error of a figure over a trial's runs; None with fewer than two, or on the way."""
    found = study.read("folds", [metric], trial=best["trial"])
    values = found[metric].drop_null().to_pylist() if metric in found.column_names else []
    return stdev(values) / math.sqrt(len(values)) if scope == "last" and len(values) > 1 else None

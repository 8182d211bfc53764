"""The leaderboard: trials ranked by what their study searches for, and the benchmarks on the same windows.

Takes: trial records and benchmarks, objectives and constraints. Gives: rows as plain mappings, of validation metrics
alone, never the test window's.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ftray.analysis.luck import RATIOS, looks_taken, luck_of, scored_trials
from ftray.analysis.ranking import rank_trials
from ftray.metrics import (
    ACTIVE_SHARPE,
    CANNOT_TRADE,
    CPU_SECONDS,
    GPU_SECONDS,
    ROUND_TRIPS,
    SHARPE,
    WALL_SECONDS,
    find_metric,
    validation,
)
from ftray.runs.labels import encoder_label, pretrained_label
from ftray.runs.records import STATES, JobKind, TrialRecord
from ftray.search.objectives import Constraint, Objective, hardly_trades, is_feasible, is_number, is_undefined

COLUMNS: dict[str, str | None] = {
    "rank": None,
    "trial": None,
    "encoder": None,
    "pretrained": None,
    "objective": None,
    "error": None,
    "deflated_sharpe": None,
    "validation_active_sharpe": ACTIVE_SHARPE,
    "validation_sharpe": SHARPE,
    "validation_return": validation("total_return"),
    "validation_max_drawdown": validation("max_drawdown"),
    "validation_turnover": validation("turnover"),
    "validation_exposure": validation("exposure"),
    "validation_round_trips": ROUND_TRIPS,
    "cpu_seconds": CPU_SECONDS,
    "gpu_seconds": GPU_SECONDS,
    "wall_seconds": WALL_SECONDS,
    "state": None,
}
"""Each column, and the metric that it shows, if it shows one.

objective: the value of the study's first objective. error: its standard error, of a plain or active Sharpe ratio.
deflated_sharpe: probability that it lies above its luck line. turnover: a year's."""

BENCHMARK = "BENCHMARK"
"""The `state` of a row that is not a trial; of a benchmark that cannot trade, its beginning."""

INFEASIBLE = "COMPLETE, infeasible"
"""The `state` of a finished trial that misses a constraint of its study: it has no rank."""

HARDLY_TRADES = "COMPLETE, hardly trades"
"""The `state` of a finished trial with too few round trips: it has no rank, and no ratio of return to risk."""

UNDEFINED = "COMPLETE, undefined"
"""The `state` of a finished trial whose first objective is undefined, as an active measure is below 1 % exposure."""


def leaderboard_rows(
    records: Sequence[TrialRecord],
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint] = (),
    benchmarks: Mapping[str, Mapping[str, Any]] | None = None,
    n_elsewhere: float = 0,
) -> list[dict[str, Any]]:
    """The rows, best first: ranked trials and benchmarks by the first objective, then all other trials.

    A trial that is not finished has no rank: its metrics cannot be compared yet. benchmarks: name → performance.
    n_elsewhere: looks of other studies. Returns, drawdowns and exposure are fractions; None where a value is unknown.
    """
    goal, scored = objectives[0], scored_trials(records)
    counted = len(scored), looks_taken(scored), n_elsewhere
    ranks = {record.id: rank for rank, record in enumerate(rank_trials(records, objectives, constraints), start=1)}
    rows = [
        _trial_row(record, goal, constraints, counted) | {"rank": ranks.get(record.id)}
        for record in records
        if record.kind != JobKind.PRETRAINING
    ]
    rows.sort(key=lambda row: row["rank"] or math.inf)
    rows += [_benchmark_row(name, measures, goal) for name, measures in (benchmarks or {}).items()]

    def best_first(row: Mapping[str, Any]) -> tuple[bool, float]:
        compared = row["rank"] is not None or (is_benchmark(row) and row["objective"] is not None)
        return (not compared, -goal.gain({goal.metric: row["objective"]}) if compared else 0.0)

    return sorted(rows, key=best_first)


def first_rows(rows: Sequence[dict[str, Any]], top: int) -> list[dict[str, Any]]:
    """All benchmarks, and `top` trials: by rank, then those that run, then the rest."""
    trials = [row for row in rows if not is_benchmark(row)]
    order = sorted(trials, key=lambda row: (row["rank"] is None, row["rank"] or 0, row["state"] != "RUNNING"))
    chosen = {row["trial"] for row in order[:top]}
    return [row for row in rows if is_benchmark(row) or row["trial"] in chosen]


def is_benchmark(row: Mapping[str, Any]) -> bool:
    """Whether a row is of a benchmark, not of a trial."""
    return row["state"].startswith(BENCHMARK)


def describe_states(records: Iterable[TrialRecord]) -> str:
    """How many trials there are, and in which states: `4 trials: 3 COMPLETE, 1 FAILED`."""
    counted = Counter(record.state for record in records if record.kind != JobKind.PRETRAINING)
    states = ", ".join(f"{counted[state]} {state}" for state in STATES if counted[state])
    return f"{counted.total()} {'trial' if counted.total() == 1 else 'trials'}: {states}"


def encoder_rows(records: Iterable[TrialRecord]) -> list[dict[str, Any]]:
    """A row per pre-training job, best validation loss first; losses compare at one mask ratio alone."""
    rows = [_encoder_row(record) for record in records if record.kind == JobKind.PRETRAINING]
    return sorted(rows, key=lambda row: (row["loss"] is None, row["loss"] or 0.0))


def _trial_row(
    trial: TrialRecord, goal: Objective, constraints: Sequence[Constraint], counted: tuple[int, float, float]
) -> dict[str, Any]:
    """counted: scored trials of the study, their looks, and looks of other studies."""
    here, looks, elsewhere = counted
    encoder, windows = trial.spec.get("encoder") or {}, trial.spec.get("windows") or {}
    has_luck = here > 0 and goal.metric in RATIOS
    given = trial.metrics, windows, here, looks + elsewhere, goal.metric, elsewhere, looks
    luck = luck_of(*given) if has_luck else None
    row = _row(trial.id, _state(trial, goal, constraints), goal, trial.metrics) | {
        "encoder": encoder_label(encoder),
        "pretrained": pretrained_label(encoder),
        "error": None if luck is None else luck.error,
        "deflated_sharpe": None if luck is None else luck.deflated,
        "wall_seconds": trial.wall_seconds,
    }
    return row | _no_ratios(goal) if hardly_trades(trial.metrics, constraints) else row


def _state(trial: TrialRecord, goal: Objective, constraints: Sequence[Constraint]) -> str:
    if trial.state != "COMPLETE":
        return trial.state
    if hardly_trades(trial.metrics, constraints):
        return HARDLY_TRADES
    if not is_feasible(trial.metrics, constraints):
        return INFEASIBLE
    return UNDEFINED if is_undefined(goal.metric, trial.metrics) else trial.state


def _no_ratios(goal: Objective) -> dict[str, None]:
    """The columns that a trial that hardly trades leaves empty."""
    shown = {key: goal.metric if key == "objective" else name for key, name in COLUMNS.items()}
    found = {key: find_metric(name) for key, name in shown.items() if name is not None}
    return {key: None for key, one in found.items() if one and one.is_annual_ratio} | {
        "error": None,
        "deflated_sharpe": None,
    }


def _encoder_row(job: TrialRecord) -> dict[str, Any]:
    how = job.spec.get("pretraining", {})
    return {
        "job": job.id,
        "encoder": encoder_label(job.spec.get("encoder", {})),
        "learning_rate": how.get("learning_rate"),
        "mask_ratio": how.get("mask_ratio"),
        "epochs": job.metrics.get("epoch"),
        "loss": job.metrics.get("validation_loss"),
        "wall_seconds": job.wall_seconds,
        "state": job.state,
    }


def _benchmark_row(name: str, performance: Mapping[str, Any], goal: Objective) -> dict[str, Any]:
    """A benchmark's measures under the names by which a trial reports them, and why it cannot trade, if it cannot."""
    why = performance.get(CANNOT_TRADE)
    metrics = {validation(measure): value for measure, value in performance.items() if measure != CANNOT_TRADE}
    return _row(name, f"{BENCHMARK}, cannot trade: {why}" if why else BENCHMARK, goal, metrics)


def _row(name: str, state: str, goal: Objective, metrics: Mapping[str, Any]) -> dict[str, Any]:
    value = metrics.get(goal.metric)
    return dict.fromkeys(COLUMNS) | {
        "trial": name,
        "state": state,
        "objective": value if is_number(value) else None,
        **{column: metrics.get(shown) for column, shown in COLUMNS.items() if shown},
    }

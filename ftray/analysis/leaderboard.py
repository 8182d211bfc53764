"""The leaderboard: trials ranked by what their study searches for, beside the benchmarks on the same windows.

Takes: a `RunFolder`. Gives: rows, a frame, a printed table. It knows validation figures alone, never the test window's.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ftray.analysis.failures import describe_deaths, failures_told
from ftray.analysis.luck import SHARPE, judged_trials, luck_of, sharpe_error
from ftray.boards.terminal import Shown, duration, error, figure, fraction, print_table, ratio, text, whole_percent
from ftray.runs.costs import CPU_SECONDS, GPU_SECONDS
from ftray.runs.folder import RunFolder
from ftray.runs.labels import encoder_label, pretrained_label
from ftray.runs.records import STATES, TrialRecord
from ftray.search.objectives import Constraint, Objective, constraints_of, is_feasible, is_number, objectives_of

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

COLUMNS = (
    "rank",
    "trial",
    "encoder",
    "pretrained",
    "objective",
    "error",
    "deflated_sharpe",
    "validation_sharpe",
    "validation_return",
    "validation_max_drawdown",
    "validation_turnover",
    "validation_exposure",
    "cpu_seconds",
    "gpu_seconds",
    "wall_seconds",
    "state",
)
"""objective: the figure that the study searches for first. error: standard error of a Sharpe ratio, by the length and
the moments of its returns. deflated_sharpe: probability that it lies above the luck line. turnover: a year's."""

PRETRAINING = "pretraining"
"""The kind of trial that trades nothing and so has no place on a leaderboard."""

BENCHMARK = "BENCHMARK"
"""The `state` of a row that is no trial."""

INFEASIBLE = "COMPLETE, infeasible"
"""The `state` of a finished trial that misses a constraint of its study: it has no rank."""

PREFIX = "validation/"


def leaderboard_rows(run: RunFolder) -> list[dict[str, Any]]:
    """The rows, best first: finished trials and benchmarks by the study's first objective, then all other trials.

    Ranks count finished trials alone: a figure on the way is no figure to compare. Returns, drawdowns and exposure are
    fractions; None where a figure is unknown.
    """
    goal, constraints, n_judged = objectives_of(run)[0], constraints_of(run), len(judged_trials(run))
    trials = [_trial_row(trial, goal, constraints, n_judged) for trial in run.trials() if trial.kind != PRETRAINING]
    benchmarks = [_row(name, BENCHMARK, goal, _named(figures)) for name, figures in run.benchmarks().items()]
    sign = 1.0 if goal.direction == "maximize" else -1.0
    rows = sorted(trials + benchmarks, key=lambda row: _best_first(row, sign))
    ranked = [row for row in rows if row["state"] != BENCHMARK and _comparable(row)]
    for rank, row in enumerate(ranked, start=1):
        row["rank"] = rank
    return rows


def leaderboard_data(run: RunFolder) -> "pd.DataFrame":
    """The leaderboard as a pandas frame with the columns `COLUMNS`."""
    import pandas as pd

    return pd.DataFrame(leaderboard_rows(run), columns=list(COLUMNS)).astype({"rank": "Int64"})


def print_leaderboard(run: RunFolder, *, top: int | None = None, console: "Console | None" = None) -> None:
    """Print all benchmarks and the trials, or the first `top` of them; without a terminal in plain lines.

    Below stand how many trials are in which state, the failed ones by what went wrong, and processes that died.
    """
    from rich.console import Console

    console = console or Console()
    rows = leaderboard_rows(run)
    if top is not None:
        rows = _first(rows, top)
    if not run.trials():
        console.print(f"{run.name}: no trials yet", highlight=False)
        return
    if any(row["state"] != BENCHMARK for row in rows):
        goal = objectives_of(run)[0]
        print_table(f"{run.name}, on the validation window", shown_columns(goal, rows), rows, console)
        console.print(f"\n{states_told(run)}", highlight=False, markup=False, soft_wrap=True)
    for line in (*failures_told(run.trials()), *describe_deaths(run)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _first(rows: Sequence[dict[str, Any]], top: int) -> list[dict[str, Any]]:
    """Benchmarks, and the first trials: by rank, then those that run, then the rest."""
    trials = [row for row in rows if row["state"] != BENCHMARK]
    order = sorted(trials, key=lambda row: (row["rank"] is None, row["rank"] or 0, row["state"] != "RUNNING"))
    chosen = {row["trial"] for row in order[:top]}
    return [row for row in rows if row["state"] == BENCHMARK or row["trial"] in chosen]


def states_told(run: RunFolder) -> str:
    """How many trials there are, and in which states: `4 trials: 3 COMPLETE, 1 FAILED`."""
    counted = Counter(trial.state for trial in run.trials() if trial.kind != PRETRAINING)
    told = ", ".join(f"{counted[state]} {state}" for state in STATES if counted[state])
    return f"{counted.total()} {'trial' if counted.total() == 1 else 'trials'}: {told}"


def encoder_rows(run: RunFolder) -> list[dict[str, Any]]:
    """A row per pre-training job, best validation loss first; losses compare at one mask ratio alone."""
    jobs = [trial for trial in run.trials() if trial.kind == PRETRAINING]
    return sorted((_encoder_row(job) for job in jobs), key=lambda row: (row["loss"] is None, row["loss"] or 0.0))


def print_encoders(run: RunFolder, *, console: "Console | None" = None) -> None:
    """Print the pre-training jobs of a run, if it has any."""
    from rich.console import Console

    rows = encoder_rows(run)
    if rows:
        console = console or Console()
        print_table(f"{run.name}, pre-training", SHOWN_ENCODERS, rows, console)
        console.print()


def _trial_row(trial: TrialRecord, goal: Objective, constraints: Sequence[Constraint], n_judged: int) -> dict[str, Any]:
    infeasible = trial.state == "COMPLETE" and not is_feasible(trial.metrics, constraints)
    encoder, windows = trial.spec.get("encoder") or {}, trial.spec.get("windows") or {}
    luck = luck_of(trial.metrics, windows, n_judged, float(n_judged)) if n_judged else None
    return _row(trial.id, INFEASIBLE if infeasible else trial.state, goal, trial.metrics) | {
        "encoder": encoder_label(encoder),
        "pretrained": pretrained_label(encoder),
        "error": sharpe_error(trial.metrics, windows) if goal.metric == SHARPE else None,
        "deflated_sharpe": None if luck is None else luck.deflated,
        "cpu_seconds": trial.metrics.get(CPU_SECONDS),
        "gpu_seconds": trial.metrics.get(GPU_SECONDS),
        "wall_seconds": trial.wall_seconds,
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


def _named(performance: Mapping[str, Any]) -> dict[str, Any]:
    """A benchmark's figures under the names that a trial reports them by."""
    return {f"{PREFIX}{name}": value for name, value in performance.items()}


def _row(name: str, state: str, goal: Objective, metrics: Mapping[str, Any]) -> dict[str, Any]:
    value = metrics.get(goal.metric)
    return dict.fromkeys(COLUMNS) | {
        "trial": name,
        "state": state,
        "objective": value if is_number(value) else None,
        "validation_sharpe": metrics.get(SHARPE),
        "validation_return": metrics.get(f"{PREFIX}total_return"),
        "validation_max_drawdown": metrics.get(f"{PREFIX}max_drawdown"),
        "validation_turnover": metrics.get(f"{PREFIX}turnover"),
        "validation_exposure": metrics.get(f"{PREFIX}exposure"),
    }


def _comparable(row: Mapping[str, Any]) -> bool:
    return row["objective"] is not None and row["state"] in ("COMPLETE", BENCHMARK)


def _best_first(row: Mapping[str, Any], sign: float) -> tuple[bool, float]:
    return (not _comparable(row), -sign * row["objective"] if _comparable(row) else 0.0)


SHOWN: Shown = {
    "rank": ("rank", text),
    "trial": ("trial", text),
    "encoder": ("encoder", text),
    "pretrained": ("pretrained", text),
    "objective": ("objective", figure),
    "error": ("error", error),
    "deflated_sharpe": ("deflated", whole_percent),
    "validation_sharpe": ("Sharpe", ratio),
    "validation_return": ("return", fraction),
    "validation_max_drawdown": ("max drawdown", fraction),
    "validation_turnover": ("turnover", ratio),
    "validation_exposure": ("exposure", fraction),
    "cpu_seconds": ("CPU time", duration),
    "gpu_seconds": ("GPU time", duration),
    "wall_seconds": ("wall time", duration),
    "state": ("state", text),
}
"""What is printed: column → (title, how a value is shown)."""


def shown_columns(goal: Objective, rows: Sequence[Mapping[str, Any]]) -> Shown:
    """The columns that say something here: a Sharpe ratio once, GPU time where there was a GPU."""
    left_out = {"objective"} if goal.metric == SHARPE else {"error", "deflated_sharpe"}
    left_out |= {name for name in ("cpu_seconds", "gpu_seconds") if not any(row[name] for row in rows)}
    shown = {name: how for name, how in SHOWN.items() if name not in left_out}
    if goal.metric == SHARPE:  # beside its error, in the place of the objective
        order = [name for name in shown if name != "validation_sharpe"]
        order.insert(order.index("error"), "validation_sharpe")
        return {name: shown[name] for name in order}
    return shown | {"objective": (goal.metric.removeprefix(PREFIX), figure)}


SHOWN_ENCODERS: Shown = {
    "job": ("job", text),
    "encoder": ("encoder", text),
    "learning_rate": ("learning rate", lambda rate: "-" if rate is None else f"{rate:.1e}"),
    "mask_ratio": ("mask ratio", ratio),
    "epochs": ("epochs", text),
    "loss": ("validation loss", lambda loss: "-" if loss is None else f"{loss:.4f}"),
    "wall_seconds": ("wall time", duration),
    "state": ("state", text),
}

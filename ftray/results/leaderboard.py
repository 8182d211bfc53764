"""The leaderboard: trials ranked by Sharpe ratio on the validation window, beside the benchmarks on the same window.

Takes: a `RunFolder`. Gives: rows, a frame, a printed table. It knows validation figures alone, never the test window's.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ftray.results.labels import encoder_label, pretrained_label
from ftray.results.objectives import Constraint, constraints_of, is_feasible
from ftray.results.records import TrialRecord
from ftray.results.store import RunFolder

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

COLUMNS = (
    "rank",
    "trial",
    "encoder",
    "pretrained",
    "validation_sharpe",
    "validation_return",
    "validation_max_drawdown",
    "validation_exposure",
    "wall_seconds",
    "state",
)

PRETRAINING = "pretraining"
"""The kind of trial that trades nothing and so has no place on a leaderboard."""

BENCHMARK = "BENCHMARK"
"""The `state` of a row that is no trial."""

INFEASIBLE = "COMPLETE, infeasible"
"""The `state` of a finished trial that misses a constraint of its study: it has no rank."""


def leaderboard_rows(run: RunFolder) -> list[dict[str, Any]]:
    """The rows, best first: finished trials and benchmarks by validation Sharpe ratio, then all other trials.

    Ranks count finished trials alone: a figure on the way is no figure to compare. Returns, drawdowns and exposure are
    fractions; None where a figure is unknown.
    """
    constraints = constraints_of(run)
    trials = [_trial_row(trial, constraints) for trial in run.trials() if trial.kind != PRETRAINING]
    benchmarks = [_row(name, BENCHMARK, performance) for name, performance in run.benchmarks().items()]
    rows = sorted(trials + benchmarks, key=_best_first)
    ranked = [row for row in rows if row["state"] != BENCHMARK and _comparable(row)]
    for rank, row in enumerate(ranked, start=1):
        row["rank"] = rank
    return rows


def leaderboard_data(run: RunFolder) -> "pd.DataFrame":
    """The leaderboard as a pandas frame with the columns `COLUMNS`."""
    import pandas as pd

    return pd.DataFrame(leaderboard_rows(run), columns=list(COLUMNS)).astype({"rank": "Int64"})


def print_leaderboard(run: RunFolder, *, top: int | None = None, console: "Console | None" = None) -> None:
    """Print all benchmarks and the trials, or the best `top` of them; without a terminal in plain lines."""
    from rich.console import Console

    console = console or Console()
    rows = leaderboard_rows(run)
    if top is not None:
        rows = [row for row in rows if row["state"] == BENCHMARK or (row["rank"] or top + 1) <= top]
    if not any(row["state"] != BENCHMARK for row in rows):
        if not encoder_rows(run):
            console.print(f"{run.name}: no trials yet", highlight=False)
        return
    _print(f"{run.name}, on the validation window", SHOWN, rows, console)
    for trial in run.trials():
        if trial.state == "FAILED" and trial.error:
            console.print(f"{trial.id} failed: {trial.error.splitlines()[0]}", markup=False, highlight=False)


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
        _print(f"{run.name}, pre-training", SHOWN_ENCODERS, rows, console)
        console.print()


def _trial_row(trial: TrialRecord, constraints: Sequence[Constraint] = ()) -> dict[str, Any]:
    infeasible = trial.state == "COMPLETE" and not is_feasible(trial.metrics, constraints)
    prefix = "validation/"
    figures = {name.removeprefix(prefix): value for name, value in trial.metrics.items() if name.startswith(prefix)}
    return _row(trial.id, INFEASIBLE if infeasible else trial.state, figures) | {
        "encoder": encoder_label(trial.spec.get("encoder", {})),
        "pretrained": pretrained_label(trial.spec.get("encoder", {})),
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


def _row(name: str, state: str, performance: Mapping[str, Any]) -> dict[str, Any]:
    return dict.fromkeys(COLUMNS) | {
        "trial": name,
        "state": state,
        "validation_sharpe": performance.get("sharpe"),
        "validation_return": performance.get("total_return"),
        "validation_max_drawdown": performance.get("max_drawdown"),
        "validation_exposure": performance.get("exposure"),
    }


def _comparable(row: Mapping[str, Any]) -> bool:
    return row["validation_sharpe"] is not None and row["state"] in ("COMPLETE", BENCHMARK)


def _best_first(row: Mapping[str, Any]) -> tuple[bool, float]:
    return (not _comparable(row), -(row["validation_sharpe"] or 0.0) if _comparable(row) else 0.0)


def _text(value: Any) -> str:
    return "-" if value is None else str(value)


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _fraction(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


SHOWN: dict[str, tuple[str, Callable[[Any], str]]] = {
    "rank": ("rank", _text),
    "trial": ("trial", _text),
    "encoder": ("encoder", _text),
    "pretrained": ("pretrained", _text),
    "validation_sharpe": ("Sharpe", _ratio),
    "validation_return": ("return", _fraction),
    "validation_max_drawdown": ("max drawdown", _fraction),
    "validation_exposure": ("exposure", _fraction),
    "wall_seconds": ("wall time", _duration),
    "state": ("state", _text),
}
"""What is printed: column → (title, how a value is shown)."""

WORDS = ("trial", "job", "encoder", "pretrained", "state")


SHOWN_ENCODERS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "job": ("job", _text),
    "encoder": ("encoder", _text),
    "learning_rate": ("learning rate", lambda rate: "-" if rate is None else f"{rate:.1e}"),
    "mask_ratio": ("mask ratio", _ratio),
    "epochs": ("epochs", _text),
    "loss": ("validation loss", lambda loss: "-" if loss is None else f"{loss:.4f}"),
    "wall_seconds": ("wall time", _duration),
    "state": ("state", _text),
}


def _print(title: str, shown: Mapping[str, tuple[str, Any]], rows: list[dict[str, Any]], console: "Console") -> None:
    titles = [title for title, _ in shown.values()]
    lines = [[show(row[name]) for name, (_, show) in shown.items()] for row in rows]
    if console.is_terminal:
        console.print(title, style="bold", highlight=False)
    _print_lines(titles, lines, console)


def _print_lines(titles: list[str], lines: list[list[str]], console: "Console") -> None:
    widths = [max(map(len, column)) for column in zip(titles, *lines, strict=True)]
    for line in [titles, *lines]:
        cells = (f"{c:<{w}}" if t in WORDS else f"{c:>{w}}" for c, w, t in zip(line, widths, titles, strict=True))
        console.print("  ".join(cells).rstrip(), highlight=False, markup=False, soft_wrap=True)

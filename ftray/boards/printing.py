"""What `ftray results` prints of a study: leaderboard, pre-training jobs, front, luck line, reads of the test window.

Takes: a `RunFolder`. Gives: lines on a console, without pandas.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ftray.analysis.failures import describe_crashes, describe_failures
from ftray.analysis.leaderboard import BENCHMARK, PREFIX, describe_states, encoder_rows, first_rows, leaderboard_rows
from ftray.analysis.luck import SHARPE, luck_of_best
from ftray.analysis.ranking import pareto_front
from ftray.analysis.test_window import describe_reads
from ftray.boards.terminal import Shown, duration, error, figure, fraction, print_table, ratio, text, whole_percent
from ftray.runs.folder import RunFolder
from ftray.search.objectives import Objective, constraints_of, objectives_of

if TYPE_CHECKING:
    from rich.console import Console


def print_leaderboard(run: RunFolder, *, top: int | None = None, console: "Console | None" = None) -> None:
    """Print all benchmarks and the trials, or the first `top` of them; without a terminal in plain lines.

    Below stand how many trials are in which state, the failed ones by what went wrong, and crashed processes.
    """
    from rich.console import Console

    console = console or Console()
    records, objectives = run.records(), objectives_of(run.study)
    rows = leaderboard_rows(records, objectives, constraints_of(run.study), run.benchmarks())
    if top is not None:
        rows = first_rows(rows, top)
    if not records:
        console.print(f"{run.name}: no trials yet", highlight=False)
        return
    if any(row["state"] != BENCHMARK for row in rows):
        print_table(f"{run.name}, on the validation window", shown_columns(objectives[0], rows), rows, console)
        _print_line(console, f"\n{describe_states(records)}")
    for line in (*describe_failures(records), *describe_crashes(run.events(), run.path)):
        _print_line(console, line)


def print_encoders(run: RunFolder, *, console: "Console | None" = None) -> None:
    """Print the pre-training jobs of a run, if it has any."""
    from rich.console import Console

    rows = encoder_rows(run.records())
    if rows:
        console = console or Console()
        print_table(f"{run.name}, pre-training", SHOWN_ENCODERS, rows, console)
        console.print()


def print_front(run: RunFolder, *, console: "Console | None" = None) -> None:
    """Print the front of a run with several objectives; of any other run nothing."""
    from rich.console import Console

    objectives = objectives_of(run.study)
    if len(objectives) < 2:
        return
    console = console or Console()
    best = pareto_front(run.records(), objectives, constraints_of(run.study))
    wanted = ", ".join(f"{o.metric} {'up' if o.direction == 'maximize' else 'down'}" for o in objectives)
    title = f"no trial beats these {len(best)} in" if best else "no finished, feasible trial yet for"
    _print_line(console, f"\n{title} {wanted}")
    for trial in best:
        values = "  ".join(f"{o.metric} {trial.metrics[o.metric]:.4g}" for o in objectives)
        _print_line(console, f"  {trial.id}  {values}")


def print_luck(run: RunFolder, *, console: "Console | None" = None) -> None:
    """Print the line that belongs under every leaderboard of Sharpe ratios."""
    from rich.console import Console

    luck = luck_of_best(run.records(), objectives_of(run.study), constraints_of(run.study))
    if luck is not None and math.isfinite(luck.luck_line):
        _print_line(console or Console(), f"\n{luck}")


def print_reads(run: RunFolder, *, console: "Console | None" = None) -> None:
    """Print what was read of the test window, if anything was."""
    from rich.console import Console

    console = console or Console()
    for line in describe_reads(run.events()):
        _print_line(console, line)


def _print_line(console: "Console", line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


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
    """The columns that have a value here: a Sharpe ratio once, GPU time where there was a GPU."""
    left_out = {"objective"} if goal.metric == SHARPE else {"error", "deflated_sharpe"}
    left_out |= {name for name in ("cpu_seconds", "gpu_seconds") if not any(row[name] for row in rows)}
    shown = {name: how for name, how in SHOWN.items() if name not in left_out}
    if goal.metric == SHARPE:  # next to its error, in the place of the objective
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

"""What `ftray results` prints of a study: leaderboard, pre-training jobs, front, luck line, reads of the test window.

Takes: a `RunFolder`. Gives: lines on a console, without pandas.
"""

from typing import TYPE_CHECKING

from ftray.analysis.failures import describe_crashes, describe_failures
from ftray.analysis.leaderboard import describe_states, encoder_rows, first_rows, is_benchmark, leaderboard_rows
from ftray.analysis.looks import looks_elsewhere
from ftray.analysis.luck import describe_luck_of_best, scored_trials
from ftray.analysis.ranking import describe_hardly_trading, pareto_front
from ftray.analysis.test_window import describe_reads
from ftray.boards.columns import ENCODERS, leaderboard_columns
from ftray.boards.terminal import print_lines, print_table
from ftray.runs.folder import RunFolder
from ftray.search.objectives import constraints_of, objectives_of
from ftray.spec import Count, parse_member

if TYPE_CHECKING:
    from rich.console import Console


def print_leaderboard(run: RunFolder, *, top: int | None = None, console: "Console | None" = None) -> None:
    """Prints all benchmarks and the trials, or the first `top` of them; without a terminal in plain lines.

    Below it: how many trials are in which state and hardly trade, the failed ones by error, and crashed processes.

    Raises: SpecError for a `top` that is no whole number from 1 on.
    """
    top = parse_member(Count | None, top, path=("top",))
    from rich.console import Console

    console = console or Console()
    records, objectives, constraints = run.records(), objectives_of(run.study), constraints_of(run.study)
    rows = leaderboard_rows(records, objectives, constraints, run.benchmarks(), looks_elsewhere(run).n)
    if top is not None:
        rows = first_rows(rows, top)
    if not records:
        console.print(f"{run.name}: no trials yet", highlight=False)
        return
    if not all(map(is_benchmark, rows)):
        columns = leaderboard_columns(objectives[0].metric, rows)
        print_table(f"{run.name}, on the validation window", columns, rows, console)
        print_lines([f"\n{describe_states(records)}"], console)
    below = (*describe_hardly_trading(records, constraints), *describe_failures(records))
    print_lines([*below, *describe_crashes(run.events(), run.path)], console)


def print_encoders(run: RunFolder, *, console: "Console | None" = None) -> None:
    """Prints the pre-training jobs of a run, if it has any."""
    from rich.console import Console

    rows = encoder_rows(run.records())
    if rows:
        console = console or Console()
        print_table(f"{run.name}, pre-training", ENCODERS, rows, console)
        console.print()


def print_front(run: RunFolder, *, console: "Console | None" = None) -> None:
    """Prints the front of a run with several objectives; nothing for any other run."""
    from rich.console import Console

    objectives = objectives_of(run.study)
    if len(objectives) < 2:
        return
    console = console or Console()
    best = pareto_front(run.records(), objectives, constraints_of(run.study))
    wanted = ", ".join(f"{o.metric} {'up' if o.direction == 'maximize' else 'down'}" for o in objectives)
    title = f"no trial beats these {len(best)} in" if best else "no finished, feasible trial yet for"
    print_lines([f"\n{title} {wanted}"], console)
    for trial in best:
        values = "  ".join(f"{o.metric} {trial.metrics[o.metric]:.4g}" for o in objectives)
        print_lines([f"  {trial.id}  {values}"], console)


def print_luck(run: RunFolder, *, console: "Console | None" = None) -> None:
    """Prints what belongs under every leaderboard: looks of other studies, the luck line of Sharpe ratios, and whether
    anything was found."""
    from rich.console import Console

    records, elsewhere = run.records(), looks_elsewhere(run)
    lines = elsewhere.describe(scored_trials(records))
    lines += describe_luck_of_best(records, objectives_of(run.study), constraints_of(run.study), elsewhere.n)
    print_lines(["", *lines] if lines else [], console or Console())


def print_reads(run: RunFolder, *, console: "Console | None" = None) -> None:
    """Prints what was read of the test window, if anything was."""
    from rich.console import Console

    print_lines(describe_reads(run.events()), console or Console())

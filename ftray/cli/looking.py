"""The verb that prints a run folder, and the lines at the end of a study."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftray.cli.terminal import Add, a_number, add_verb, location, say
from ftray.files import replace_file
from ftray.outputs import check_output_file
from ftray.spec import Count

if TYPE_CHECKING:
    from rich.console import Console

    from ftray.runs import RunFolder

EVERY = 2.0
"""Seconds between two reads of the run folder."""


def add_verbs(add: Add) -> None:
    verb = add_verb(add, results, "print a run's leaderboard")
    verb.add_argument("run", type=location, metavar="RUN", help="a run folder, like runs/demo")
    verb.add_argument("--top", type=a_number(Count), metavar="N", help="only the best N trials, and the benchmarks")
    how = verb.add_mutually_exclusive_group()
    how.add_argument("--watch", action="store_true", help="print again and again until the study is done, or Ctrl-C")
    how.add_argument("--csv", metavar="FILE", help="write the leaderboard as CSV; - writes it to standard output")
    line = "write leaderboard, states, failures and luck as JSON; - writes it to standard output"
    how.add_argument("--json", metavar="FILE", help=line)


def results(given: argparse.Namespace) -> int:
    from ftray.analysis.studies import open_study

    target = given.json if given.csv is None else given.csv
    if target not in (None, "-"):
        check_output_file(target)
    run = open_study(given.run).run
    if given.watch:
        watch(run, given.top)
    elif target is not None:
        from ftray.boards.export import leaderboard_csv, leaderboard_json

        text = leaderboard_json(run) if given.csv is None else leaderboard_csv(run)
        say(text, end="") if target == "-" else replace_file(Path(target), text.encode())
    else:
        show(run, top=given.top)
    return 0


def finish(run: "RunFolder") -> None:
    show(run)
    named = f"{run.where}{''.join(f' --plugin {module}' for module in run.study.get('plugins', {}))}"
    print(f"\nEverything is in {run.where}: a folder per trial, the tables, the encoders, and the policies.")
    print(f"Next: ftray results {run.where}     this table again")
    print(f"      ftray dashboard {run.where}   a page of it in a browser; ftray report writes a file")
    if _has_best_trial(run):  # without one, both refuse
        print(f"      ftray backtest {named}    the best trial next to the benchmarks, with a plot")
        print(f"      ftray promote {named}     the best trial on fresh seeds, and the one read of the test window")


def _has_best_trial(run: "RunFolder") -> bool:
    from ftray.analysis.ranking import best_trial
    from ftray.runs.records import JobKind
    from ftray.search.objectives import constraints_of, objectives_of

    best = best_trial(run.records(), objectives_of(run.study), constraints_of(run.study))
    return best is not None and best.kind == JobKind.TRIAL


def show(run: "RunFolder", console: "Console | None" = None, top: int | None = None) -> None:
    from ftray.boards.printing import print_encoders, print_front, print_leaderboard, print_luck, print_reads

    print_encoders(run, console=console)
    print_leaderboard(run, console=console, top=top)
    print_front(run, console=console)
    print_luck(run, console=console)
    print_reads(run, console=console)


def watch(run: "RunFolder", top: int | None = None, every: float = EVERY) -> None:
    """Prints a run in place until it is done; without a terminal as plain lines, whenever they have changed."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    screen = Console()
    with Live(console=screen, auto_refresh=False, vertical_overflow="crop") as live:
        last = None
        while True:
            done = run.is_done
            rows = top or (max(3, screen.height - 12) if screen.is_terminal else None)
            text = _as_text(run, screen, rows)
            if not screen.is_terminal and text != last:
                print(text, flush=True)
            elif screen.is_terminal:
                live.update(Text.from_ansi(text), refresh=True)
            last = text
            if done:
                return
            time.sleep(every)


def _as_text(run: "RunFolder", screen: "Console", top: int | None) -> str:
    import io

    from rich.console import Console

    how: dict[str, Any] = {"force_terminal": True} if screen.is_terminal else {}
    page = Console(file=io.StringIO(), width=screen.width, **how)
    show(run, page, top)
    return page.file.getvalue()  # type: ignore[attr-defined]  # a StringIO

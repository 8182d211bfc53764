"""Verbs that look at a run folder."""

import argparse
from typing import TYPE_CHECKING

from ftray.cli.terminal import Add, add_verb, location

if TYPE_CHECKING:
    from ftray.results import RunFolder


def add_verbs(add: Add) -> None:
    verb = add_verb(add, results, "print a run's leaderboard")
    verb.add_argument("run", type=location, metavar="RUN", help="a run folder, like runs/demo")


def results(given: argparse.Namespace) -> int:
    from ftray.results import RunFolder

    show(RunFolder.open(given.run))
    return 0


def finish(run: "RunFolder") -> None:
    show(run)
    print(f"\nEverything is in {run.where}: a folder per trial, the tables, the encoders, and the policies.")
    print(f"Next: ftray backtest {run.where}    the best trial beside the benchmarks, with a plot")
    print(f"      ftray results {run.where}     this table again")
    print(f"      ftray promote {run.where}     the best trial on fresh seeds, and the one look at the test window")


def show(run: "RunFolder") -> None:
    from ftray.results import print_encoders, print_front, print_leaderboard
    from ftray.results.luck import print_luck
    from ftray.results.reads import print_reads

    print_encoders(run)
    print_leaderboard(run)
    print_front(run)
    print_luck(run)
    print_reads(run)

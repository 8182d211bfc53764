"""Reads of the test window: each one noted in the run folder for good, before its figures are shown.

Takes: what a promotion read. Gives: the same again, in words for the boards.
"""

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ftray.runs.folder import RunFolder

if TYPE_CHECKING:
    from rich.console import Console

EVENT = "test_window_read"


@dataclasses.dataclass(frozen=True)
class Read:
    """One look at the test window.

    seeds, figures: one policy each, with every measure on the test window. forced: what spoke against it, in words;
    empty if nothing did.
    """

    at: datetime.datetime
    trial: str
    seeds: tuple[int, ...]
    figures: tuple[Mapping[str, Any], ...]
    forced: tuple[str, ...]

    def __str__(self) -> str:
        sharpes = [one["sharpe"] for one in self.figures]
        returns = [one["total_return"] for one in self.figures]
        forced = f"; forced, against: {'; '.join(self.forced)}" if self.forced else ""
        return (
            f"{self.at:%Y-%m-%d %H:%M} UTC, {self.trial} on {len(self.seeds)} fresh seeds: "
            f"mean Sharpe {fmean(sharpes):.2f}, mean return {fmean(returns):.1%}{forced}"
        )


def record_read(
    run: RunFolder, trial: str, seeds: Sequence[int], figures: Sequence[Mapping[str, Any]], **facts: Any
) -> None:
    """Notes a read; on disk, whatever crashes, when this returns. facts: `forced`, and what else to keep."""
    run.append_event(EVENT, trial=trial, seeds=seeds, figures=figures, **facts)


def reads_of(run: RunFolder) -> list[Read]:
    """All reads of a run's test window, oldest first."""
    return [
        Read(
            at=datetime.datetime.fromisoformat(event["at"]),
            trial=event["trial"],
            seeds=tuple(event["seeds"]),
            figures=tuple(event["figures"]),
            forced=tuple(event["forced"]),
        )
        for event in run.events()
        if event["event"] == EVENT
    ]


def reads_told(run: RunFolder) -> list[str]:
    """How often the test window was read, and each time in a line; nothing where it never was."""
    reads = reads_of(run)
    times = "once" if len(reads) == 1 else f"{len(reads)} times"
    return [f"test window read {times}:", *(f"  {read}" for read in reads)] if reads else []


def print_reads(run: RunFolder, *, console: "Console | None" = None) -> None:
    """Print what was read of the test window, if anything was."""
    from rich.console import Console

    console = console or Console()
    for line in reads_told(run):
        console.print(line, highlight=False, markup=False, soft_wrap=True)

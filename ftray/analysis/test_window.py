"""Reads of the test window: each is recorded in the run folder for good, before its metrics are shown.

Takes: what a promotion read. Gives: recorded reads, and lines that describe them.
"""

import contextlib
import dataclasses
import datetime
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from ftray.errors import StorageError
from ftray.runs.events import Event
from ftray.runs.folder import RunFolder
from ftray.runs.looks import Look, LookKind

EVENT = "test_window_read"


@dataclasses.dataclass(frozen=True)
class Read:
    """One read of the test window.

    seeds, measures: one policy each, with every measure on the test window. forced: the objections that `--force`
    overruled; empty if there were none.
    """

    at: datetime.datetime
    trial: str
    seeds: tuple[int, ...]
    measures: tuple[Mapping[str, Any], ...]
    forced: tuple[str, ...]

    def __str__(self) -> str:
        sharpes = [one["sharpe"] for one in self.measures]
        returns = [one["total_return"] for one in self.measures]
        forced = f"; forced, despite: {'; '.join(self.forced)}" if self.forced else ""
        return (
            f"{self.at:%Y-%m-%d %H:%M} UTC, {self.trial} on {len(self.seeds)} fresh seeds: "
            f"mean Sharpe {fmean(sharpes):.2f}, mean return {fmean(returns):.1%}{forced}"
        )


def record_read(
    run: RunFolder, trial: str, seeds: Sequence[int], measures: Sequence[Mapping[str, Any]], **facts: Any
) -> None:
    """Records a read, in the run folder and in the ledger; both are on disk when this returns. facts: `forced`, and
    whatever else to record.
    """
    run.append_event(EVENT, trial=trial, seeds=seeds, figures=measures, **facts)
    bars = run.bars
    if bars is not None and not bars.simulated and bars.test_window is not None:
        at = run.events()[-1]["at"]
        with contextlib.suppress(OSError, StorageError):  # the next driver writes what is missing
            run.ledger.record(Look(LookKind.TEST_WINDOW, run.name, run.id, trial, bars.test_window, at))


def reads_of(events: Iterable[Event]) -> list[Read]:
    """All reads of a study's test window, oldest first."""
    return [
        Read(
            at=datetime.datetime.fromisoformat(event["at"]),
            trial=event["trial"],
            seeds=tuple(event["seeds"]),
            measures=tuple(event["figures"]),
            forced=tuple(event["forced"]),
        )
        for event in events
        if event["event"] == EVENT
    ]


def describe_reads(events: Iterable[Event]) -> list[str]:
    """How often the test window was read, and a line for each time; empty if it never was."""
    reads = reads_of(events)
    times = "once" if len(reads) == 1 else f"{len(reads)} times"
    return [f"test window read {times}:", *(f"  {read}" for read in reads)] if reads else []

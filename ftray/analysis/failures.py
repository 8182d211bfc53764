"""Failed trials grouped by error: forty equal errors are one line. And crashed processes, which no trial shows.

Takes: trial records, and a study's events. Gives: groups, and lines that describe them.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ftray.runs.events import Event
from ftray.runs.records import TrialRecord

PROCESS_DIED = "process_died"
"""The event that a job's process ended without recording why: a crash, a kill, a lost node."""

_CHANGING = re.compile(r"(trial|encoder)-[0-9a-f-]+|0x[0-9a-f]+|\d+(\.\d+)?(e[+-]?\d+)?")


def kind_of_error(error: str | None) -> str:
    """What equal errors have in common: the first line, without ids, addresses and numbers.

    >>> kind_of_error("ValueError: loss is nan in step 12 of trial-0004\\n...")
    'ValueError: loss is nan in step # of #'
    """
    return _CHANGING.sub("#", first_line(error))


def first_line(error: str | None) -> str:
    return (error or "").split("\n", 1)[0]


def failures_data(records: Iterable[TrialRecord]) -> dict[str, list[TrialRecord]]:
    """Failed trials by the kind of their error, the most frequent first."""
    groups: dict[str, list[TrialRecord]] = {}
    for record in records:
        if record.state == "FAILED":
            groups.setdefault(kind_of_error(record.error), []).append(record)
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


def failure_rows(records: Iterable[TrialRecord]) -> list[dict[str, Any]]:
    """A row per kind of error, the most frequent first: error (the first trial's first line), n, trials (their ids)."""
    return [
        {"error": first_line(group[0].error), "n": len(group), "trials": [record.id for record in group]}
        for group in failures_data(records).values()
    ]


def describe_failures(records: Iterable[TrialRecord]) -> Iterator[str]:
    """A line per kind of error: how many trials, which ones, and the first one's error."""
    for row in failure_rows(records):
        names = ", ".join(row["trials"][:5]) + (", ..." if row["n"] > 5 else "")
        yield f"{row['n']} failed ({names}): {row['error']}"


def crashes_data(events: Iterable[Event]) -> dict[str, int]:
    """How many processes of each job crashed, the job with the most first."""
    return dict(Counter(event["id"] for event in events if event["event"] == PROCESS_DIED).most_common())


def describe_crashes(events: Iterable[Event], folder: Path) -> Iterator[str]:
    """A line if processes of a study crashed: how many, of which jobs, and where to read why. folder: the run folder.

    A trial that continues after a crash ends like any other: a fault that costs each trial a process would go unseen.
    """
    crashes = crashes_data(events)
    if crashes:
        n, many = sum(crashes.values()), len(crashes) > 5
        jobs = [job if times == 1 else f"{job} {times} times" for job, times in crashes.items()]
        yield (
            f"{n} {'process' if n == 1 else 'processes'} crashed ({', '.join(jobs[:5])}{', ...' if many else ''}); a "
            "job whose process crashes continues from its last checkpoint. Ray's account of it: "
            f"{folder / 'tune' / next(iter(crashes)) / 'error.txt'}"
        )

"""Failed trials by what went wrong: forty equal errors are one line. And processes that died, which no trial shows.

Takes: trial records, and a study's events. Gives: groups, and lines that describe them.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from ftray.runs.events import Event
from ftray.runs.folder import RunFolder
from ftray.runs.records import TrialRecord

PROCESS_DIED = "process_died"
"""The event that a job's process ended without a word of its own: a crash, a kill, a lost node."""

_CHANGING = re.compile(r"(trial|encoder)-[0-9a-f-]+|0x[0-9a-f]+|\d+(\.\d+)?(e[+-]?\d+)?")


def kind_of_error(error: str | None) -> str:
    """What equal errors have in common: the first line, without ids, addresses and numbers.

    >>> kind_of_error("ValueError: loss is nan in step 12 of trial-0004\\n...")
    'ValueError: loss is nan in step # of #'
    """
    return _CHANGING.sub("#", first_line(error))


def first_line(error: str | None) -> str:
    return (error or "").split("\n", 1)[0]


def failures_data(trials: Iterable[TrialRecord]) -> dict[str, list[TrialRecord]]:
    """Failed trials by the kind of their error, the most frequent first."""
    groups: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        if trial.state == "FAILED":
            groups.setdefault(kind_of_error(trial.error), []).append(trial)
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


def failures_told(trials: Iterable[TrialRecord]) -> Iterator[str]:
    """A line per kind of error: how many trials, which ones, and the first one's own words."""
    for group in failures_data(trials).values():
        names = ", ".join(trial.id for trial in group[:5]) + (", ..." if len(group) > 5 else "")
        yield f"{len(group)} failed ({names}): {first_line(group[0].error)}"


def deaths_data(events: Iterable[Event]) -> dict[str, int]:
    """How many processes of each job died, the job with the most first."""
    return dict(Counter(event["id"] for event in events if event["event"] == PROCESS_DIED).most_common())


def describe_deaths(run: RunFolder) -> Iterator[str]:
    """A line if processes of a study died: how many, of which jobs, and where to read why.

    A trial that goes on after a death ends like any other: a fault that costs each trial a process would stay unseen.
    """
    deaths = deaths_data(run.events())
    if deaths:
        n, many = sum(deaths.values()), len(deaths) > 5
        jobs = [job if times == 1 else f"{job} {times} times" for job, times in deaths.items()]
        yield (
            f"{n} {'process' if n == 1 else 'processes'} died ({', '.join(jobs[:5])}{', ...' if many else ''}); a job "
            f"whose process dies goes on from its last checkpoint. What Ray knows of it: "
            f"{run.path / 'tune' / next(iter(deaths)) / 'error.txt'}"
        )

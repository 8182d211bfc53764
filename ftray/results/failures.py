"""Failed trials by what went wrong: forty equal errors are one line.

Takes: trial records. Gives: groups, and lines that tell them.
"""

import re
from collections.abc import Iterable, Iterator

from ftray.results.records import TrialRecord

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

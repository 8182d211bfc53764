"""What trials and studies cost: booked shares times the time they were booked.

Takes: events. Gives: seconds of CPU cores and of GPUs, and of wall time.

A trial's process stores its own cost, summed since its first start, so a killed process loses only the cost after its
last report.
"""

import datetime
from collections.abc import Iterable, Mapping

from ftray.metrics import CPU_SECONDS, GPU_SECONDS
from ftray.runs.events import Event

SPENT = "spent"
"""The event in which a trial's process stores, whenever it stops, what the trial has cost so far."""


def cost_of(events: Iterable[Event]) -> dict[str, float]:
    """What a trial has cost so far by its own events, by metric; zero before the first."""
    cost = {CPU_SECONDS: 0.0, GPU_SECONDS: 0.0}
    for event in events:
        facts = event.get("metrics", {}) if event["event"] == "report" else event if event["event"] == SPENT else {}
        cost = {name: max(spent, facts.get(name) or 0.0) for name, spent in cost.items()}
    return cost


def booked(before: Mapping[str, float], cpus: float, gpus: float, seconds: float) -> dict[str, float]:
    """A trial's cost after so many more seconds with such a share."""
    return {
        CPU_SECONDS: before[CPU_SECONDS] + cpus * seconds,
        GPU_SECONDS: before[GPU_SECONDS] + gpus * seconds,
    }


def driven_seconds(events: Iterable[Event]) -> float:
    """Wall time over all starts of a study's command, each from its first event to its last.

    >>> at = "2024-01-01T00:00:{:02}+00:00".format
    >>> driven_seconds([{"event": "study_started", "at": at(1)}, {"event": "trial_started", "at": at(4)},
    ...                 {"event": "study_started", "at": at(50)}, {"event": "trial_started", "at": at(55)}])
    8.0
    """
    total, start, last = 0.0, None, None
    for event in events:
        at = datetime.datetime.fromisoformat(event["at"])
        if event["event"] == "study_started":
            total += (last - start).total_seconds() if start and last else 0.0
            start = at
        last = at
    return total + ((last - start).total_seconds() if start and last else 0.0)

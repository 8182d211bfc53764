"""Trial records: the state of each trial by the study's events.

Takes: the study's event file. Gives: a `StudyLog`, which keeps one `TrialRecord` per trial, in exactly one state.
"""

import dataclasses
import datetime
import enum
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from ftray.errors import RunFolderError
from ftray.runs.events import Event, EventReader, to_json
from ftray.runs.seen_bars import StudyBars
from ftray.runs.version_0_1 import upgrade_trial

State = Literal["PENDING", "RUNNING", "COMPLETE", "PRUNED", "FAILED", "INTERRUPTED"]
STATES: tuple[State, ...] = get_args(State)

ENDED: tuple[State, ...] = ("COMPLETE", "PRUNED", "FAILED", "INTERRUPTED")
"""The states in which a run of a trial can end."""

FINAL: tuple[State, ...] = ("COMPLETE", "PRUNED")
"""States that no further event changes; failed and interrupted trials may be started again."""

TIMES = ("started_at", "ended_at")


class JobKind(enum.StrEnum):
    """What a job does: an RL trial from its start to its end, or the pre-training of one encoder."""

    TRIAL = "trial"
    PRETRAINING = "pretraining"


@dataclasses.dataclass(frozen=True)
class TrialRecord:
    """One trial as the run folder records it.

    number: among the study's trials; None for a job without one. kind: a `JobKind`.
    values: the searched values, flat: {"trial/encoder/d_token": 32}. spec: the resolved spec as a mapping.
    metrics: each as it was reported last; a number that was not finite is None.
    started_at, ended_at: of the latest run, UTC. wall_seconds: running time, summed over all ended runs.
    """

    id: str
    number: int | None
    kind: str
    state: State
    values: Mapping[str, Any]
    spec: Mapping[str, Any]
    metrics: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    error: str | None = None
    started_at: datetime.datetime | None = None
    ended_at: datetime.datetime | None = None
    wall_seconds: float | None = None

    @property
    def is_final(self) -> bool:
        return self.state in FINAL


class StudyLog:
    """Follows a study's events. It is the only code that turns them into trial records.

    records: by id, in the order they were added; `forget` drops one. benchmarks: as recorded last. bars: that trials
    are judged on; None before. also_counts: every other place whose looks the study has ever counted. `offset` and the
    records, stored with `to_plain`, are enough to continue from there.
    """

    def __init__(self, path: Path, offset: int = 0, records: Iterable[TrialRecord] = ()):
        """offset: bytes already read. records: of the trials in those bytes that may still change."""
        self._reader = EventReader(path, offset)
        self.records = {record.id: record for record in records}
        self.benchmarks: dict[str, dict[str, Any]] = {}
        self.bars: StudyBars | None = None
        self.also_counts: list[str] = []

    @property
    def offset(self) -> int:
        """Bytes that have been read."""
        return self._reader.offset

    def follow(self) -> list[Event]:
        """Reads the events that were added since the last call, and returns them.

        Raises: RunFolderError for an event that contradicts those before it.
        """
        events = []
        for event in self._reader.new():
            try:
                self._apply(event)
            except (LookupError, ValueError) as error:
                raise RunFolderError(
                    f"{self._reader.path} must add a trial, with all its facts, before any other event names it, but "
                    f"has {to_json(event)} ({error!r}); restore the file"
                ) from None
            events.append(event)
        return events

    def report(self, trial_id: str, metrics: Mapping[str, Any]) -> None:
        """Adds a running trial's reported metrics; the study's events have them when it has ended."""
        record = self.records.get(trial_id)
        if record is not None and record.state == "RUNNING":
            self.records[trial_id] = dataclasses.replace(record, metrics={**record.metrics, **metrics})

    def forget(self, trial_id: str) -> None:
        """Drops a record that no further event changes."""
        del self.records[trial_id]

    def _apply(self, event: Event) -> None:
        """Other events do not change the state of a trial."""
        match event["event"]:
            case "trial_added":
                fields = {key: event[key] for key in ("id", "number", "kind", "values", "spec")}
                fields["spec"] = upgrade_trial(fields["spec"])
                self.records[event["id"]] = TrialRecord(**fields, state="PENDING")
            case "trial_started":
                trial, at = self.records[event["id"]], datetime.datetime.fromisoformat(event["at"])
                self.records[trial.id] = dataclasses.replace(
                    trial, state="RUNNING", error=None, started_at=at, ended_at=None
                )
            case "trial_ended":
                self.records[event["id"]] = _ended(self.records[event["id"]], event)
            case "benchmarks":
                self.benchmarks = event["benchmarks"]
            case "bars":
                self.bars = StudyBars.from_plain(event)
            case "also_counts":
                self.also_counts += [place for place in event["places"] if place not in self.also_counts]


def _ended(trial: TrialRecord, event: Event) -> TrialRecord:
    at = datetime.datetime.fromisoformat(event.get("last_seen") or event["at"])
    seconds = trial.wall_seconds
    if trial.state == "RUNNING" and trial.started_at is not None:
        seconds = (seconds or 0.0) + (at - trial.started_at).total_seconds()
    last = {key: event[key] for key in ("state", "metrics", "error")}
    return dataclasses.replace(trial, **last, ended_at=at, wall_seconds=seconds)


def to_plain(record: TrialRecord) -> dict[str, Any]:
    """A record as plain JSON values."""
    times = {key: time and time.isoformat() for key in TIMES for time in [getattr(record, key)]}
    return vars(record) | times


def from_plain(plain: Mapping[str, Any]) -> TrialRecord:
    """The record that `to_plain` was given."""
    times = {key: plain[key] and datetime.datetime.fromisoformat(plain[key]) for key in TIMES}
    return TrialRecord(**{**plain, **times})

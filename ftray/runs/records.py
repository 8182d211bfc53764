"""Trial records: what the study's events say about each trial.

Takes: the study's events in order. Gives: one `TrialRecord` per trial, in exactly one state.
"""

import dataclasses
import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from ftray.errors import RunFolderError
from ftray.runs.events import Event, to_json
from ftray.runs.version_0_1 import upgrade_trial

State = Literal["PENDING", "RUNNING", "COMPLETE", "PRUNED", "FAILED", "INTERRUPTED"]
STATES: tuple[State, ...] = get_args(State)

ENDED: tuple[State, ...] = ("COMPLETE", "PRUNED", "FAILED", "INTERRUPTED")
"""What a run of a trial can end as."""

FINAL: tuple[State, ...] = ("COMPLETE", "PRUNED")
"""States that no further event changes; failed and interrupted trials may be started again."""


@dataclasses.dataclass(frozen=True)
class TrialRecord:
    """One trial as the run folder knows it.

    number: among the study's trials; None for a job without one. kind: what was run, such as `trial` or `pretraining`.
    values: the searched values, flat: {"trial/encoder/d_token": 32}. spec: the resolved spec as a mapping.
    metrics: each as it was reported last; a number that was not finite is None.
    started_at, ended_at: of the latest run, UTC. wall_seconds: spent running, summed over all ended runs.
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


def apply(trials: dict[str, TrialRecord], event: Event, source: Path) -> None:
    """Bring `trials` (by id, in the order they were added) up to date with one more of the study's events.

    Events of other names say nothing about trials. Raises: RunFolderError, naming `source`, for one that cannot be.
    """
    try:
        _apply(trials, event)
    except (LookupError, ValueError) as error:
        raise RunFolderError(
            f"{source} must tell of trials it has added, with all their facts, but has {to_json(event)} ({error!r}); "
            "restore the file"
        ) from None


def _apply(trials: dict[str, TrialRecord], event: Event) -> None:
    name, at = event["event"], datetime.datetime.fromisoformat(event["at"])
    if name == "trial_added":
        fields = {key: event[key] for key in ("id", "number", "kind", "values", "spec")}
        fields["spec"] = upgrade_trial(fields["spec"])
        trials[event["id"]] = TrialRecord(**fields, state="PENDING")
    elif name == "trial_started":
        trial = trials[event["id"]]
        trials[trial.id] = dataclasses.replace(trial, state="RUNNING", error=None, started_at=at, ended_at=None)
    elif name == "trial_ended":
        trial = trials[event["id"]]
        at = datetime.datetime.fromisoformat(event.get("last_seen") or event["at"])
        seconds = trial.wall_seconds
        if trial.state == "RUNNING" and trial.started_at is not None:
            seconds = (seconds or 0.0) + (at - trial.started_at).total_seconds()
        trials[trial.id] = dataclasses.replace(
            trial,
            state=event["state"],
            metrics=event["metrics"],
            error=event["error"],
            ended_at=at,
            wall_seconds=seconds,
        )

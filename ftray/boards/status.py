"""How far a study has come, what it has cost, and on which machines: plain values for any board.

Takes: a study. Gives: a `StudyStatus`, rows of machines.
"""

import dataclasses
import datetime
from collections import Counter
from typing import Any

from ftray.analysis.study import Study
from ftray.metrics import CPU_SECONDS, GPU_SECONDS
from ftray.runs.costs import driven_seconds
from ftray.runs.records import ENDED, STATES, JobKind
from ftray.tables.schema import Frame

QUIET = datetime.timedelta(minutes=10)
"""A running study counts as silent after this long without an event or a report: its driver may be gone."""


@dataclasses.dataclass(frozen=True)
class StudyStatus:
    """A study at a glance.

    states: trials by state, without pre-training jobs. n_ended: of n_trials. runs: whether any job runs,
        pre-training too. seconds: wall time while it was driven.
    left: seconds to go at the pace since the command was last started; None where nothing runs, or nothing has ended.
    heard_at: when anything was last written, UTC. silent: it is recorded as running, but wrote nothing for `QUIET`.
    pretrains: the pre-training jobs that run while no trial does.
    stopped: why it was stopped, if that is the last event of its driver.
    """

    name: str
    is_done: bool
    states: dict[str, int]
    n_trials: int | None
    n_ended: int
    runs: bool
    seconds: float
    left: float | None
    cpu_seconds: float
    gpu_seconds: float
    heard_at: datetime.datetime | None
    silent: bool
    pretrains: tuple[str, ...]
    stopped: str | None


def status_data(study: Study, now: datetime.datetime | None = None) -> StudyStatus:
    """The status of a study. now: UTC, for the pace and for what counts as silent."""
    now = now or datetime.datetime.now(datetime.UTC)
    run = study.run
    events = run.events()
    trials: Frame = study.frame("trials", ["trial", "number", "kind", "state", CPU_SECONDS, GPU_SECONDS])
    sampled = trials.dropna(subset=["number"])
    counted = Counter(sampled["state"])
    ended = [event for event in events if event["event"] == "trial_ended"]
    n_ended = sum(counted[state] for state in ENDED if state != "INTERRUPTED")
    n_trials = _asked(events)
    heard = _heard(study, events)
    running = trials[trials["state"] == "RUNNING"]
    runs = len(running) > 0 and not run.is_done
    only_pretrains = runs and bool((running["kind"] == JobKind.PRETRAINING).all())
    silent = runs and heard is not None and now - heard > QUIET
    started = next((event["at"] for event in reversed(events) if event["event"] == "study_started"), None)
    left = None
    if runs and not silent and n_trials and started:
        mine = _sampled_ids(study)
        lately = {e["id"] for e in ended if e["at"] > started and e["id"] in mine and e["state"] != "INTERRUPTED"}
        pace = (now - _time(started)).total_seconds() / len(lately) if lately else None
        left = None if pace is None else max(0.0, pace * (n_trials - n_ended))
    last = events[-1] if events else {}
    return StudyStatus(
        name=study.name,
        is_done=run.is_done,
        states={state: counted[state] for state in STATES if counted[state]},
        n_trials=n_trials,
        n_ended=n_ended,
        runs=runs,
        seconds=driven_seconds(events),
        left=left,
        cpu_seconds=_total(trials, CPU_SECONDS),
        gpu_seconds=_total(trials, GPU_SECONDS),
        heard_at=heard,
        silent=silent,
        pretrains=tuple(running["trial"]) if only_pretrains else (),
        stopped=last.get("why") if last.get("event") == "study_stopped" else None,
    )


def machines_data(study: Study) -> list[dict[str, Any]]:
    """A row per machine that trials and pre-training ran on: what it is, what it did, and GPU memory used at most, in
    GiB.

    running: jobs there now. cpu_hours, gpu_hours: booked shares times the time they were booked.
    """
    trials: Frame = study.frame("trials", ["trial", "state", "host", "cpu", "gpu", CPU_SECONDS, GPU_SECONDS])
    known = trials.dropna(subset=["host"])
    memory = vram_by_trial(study)
    rows = []
    for host, own in known.groupby("host"):
        used = [memory[trial] for trial in own["trial"] if trial in memory]
        rows.append(
            {
                "host": str(host),
                "cpu": _first(own["cpu"]),
                "gpu": _first(own["gpu"]),
                "running": int((own["state"] == "RUNNING").sum()),
                "ended": int(own["state"].isin(ENDED).sum()),
                "cpu_hours": _total(own, CPU_SECONDS) / 3600,
                "gpu_hours": _total(own, GPU_SECONDS) / 3600,
                "vram_planned_gib": max((planned for planned, _ in used), default=None),
                "vram_used_gib": max((taken for _, taken in used), default=None),
            }
        )
    return sorted(rows, key=lambda row: (-row["running"], -row["ended"], row["host"]))


def vram_by_trial(study: Study) -> dict[str, tuple[float, float]]:
    """Planned and most used GPU memory of each trial that ran on a GPU, in GiB."""
    from ftray.plots.trials import vram_data

    found = vram_data(study)
    return {row["trial"]: (row["planned"], row["used"]) for row in found.to_dict("records")}


def _asked(events: list[dict[str, Any]]) -> int | None:
    """How many trials a study was last started for: that number is not part of its identity."""
    return next((event.get("n_trials") for event in reversed(events) if event["event"] == "study_started"), None)


def _heard(study: Study, events: list[dict[str, Any]]) -> datetime.datetime | None:
    times = [_time(event["at"]) for event in events[-1:]]
    at: Frame = study.frame("metrics", ["at"])["at"]
    if len(at):
        times.append(at.max().to_pydatetime().replace(tzinfo=datetime.UTC))
    return max(times, default=None)


def _sampled_ids(study: Study) -> set[str]:
    found: Frame = study.frame("trials", ["trial", "number"])
    return set(found.dropna(subset=["number"])["trial"])


def _first(values: Frame) -> str | None:
    known = values.dropna()
    return str(known.iloc[0]) if len(known) else None


def _total(rows: Frame, column: str) -> float:
    return float(rows[column].fillna(0.0).sum()) if column in rows else 0.0


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)

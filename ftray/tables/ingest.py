"""From events to rows: what a run folder's event files hold that no table has yet.

Takes: a run folder, and a `State`: how far its files were read before. Gives: new rows per table, and the state after.
The driver, which compacts, writes the rows to files; a reader keeps them in memory. Both use this code.

What a trial's process wrote is read when the trial has ended, and what it adds later, from where reading stopped.
Events are only ever appended, so no row is ever written twice or changed. Only a trial's own row in `trials` changes,
until it is COMPLETE or PRUNED; the records of all other trials stay in the state.
"""

import contextlib
import dataclasses
import datetime
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ftray.metrics import EVALUATED
from ftray.runs import records
from ftray.runs.events import Event, EventReader
from ftray.runs.folder import DRIVER, RunFolder
from ftray.runs.labels import encoder_label, pretrained_label
from ftray.runs.records import ENDED, FINAL, StudyLog, TrialRecord
from ftray.search.objectives import constraints_of, is_feasible, is_number
from ftray.tables.bars import FILES, bars_file
from ftray.tables.schema import SCHEMA

LATE = datetime.timedelta(minutes=2)
"""Time after its end in which a trial's process may still write: a scheduler's decision reaches it late."""

MAX_REPORTS = 50_000
"""Reports that `take` yields together."""

STEPS = ("env_steps", "epoch")
CARD = ("encoder_card.json", "config.json", "training_history.json", "DONE")
"""The files that an encoder's row is read from, and the one that marks them complete."""
NOT_METRICS = ("runs", "fold", "seed", EVALUATED)


@dataclasses.dataclass
class Trial:
    """How far one trial's files were read.

    offset: bytes of its events. step: of its last row in `metrics`. runs: those in `folds`, as `fold-seed`.
    facts: provenance that its events gave so far.
    """

    offset: int = 0
    step: float = -1.0
    runs: list[str] = dataclasses.field(default_factory=list)
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    ended_at: str | None = None


@dataclasses.dataclass
class State:
    """How far a run folder was read.

    offset: bytes of the study's events. records: of trials whose row in `trials` is not written for good.
    benchmarks, encoders: names of files and folders that were read.
    """

    offset: int = 0
    records: list[TrialRecord] = dataclasses.field(default_factory=list)
    trials: dict[str, Trial] = dataclasses.field(default_factory=dict)
    benchmarks: list[str] = dataclasses.field(default_factory=list)
    encoders: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class New:
    """What was read: rows by table, and for the tables of bars the files that a trial's process wrote, as they are."""

    rows: dict[str, list[dict[str, Any]]]
    files: dict[str, list[Path]]


class Intake:
    """Continues reading from a state, which it updates."""

    def __init__(self, run: RunFolder, state: State):
        self.run, self.path = run, run.path
        self.log = StudyLog(run.path / "events.jsonl", state.offset, state.records)
        self.trials, self.benchmarks, self.encoders = state.trials, state.benchmarks, state.encoders
        self.candles, self.constraints = run.study.get("candles"), constraints_of(run.study)

    @property
    def state(self) -> State:
        """How far everything has been read."""
        return State(self.log.offset, list(self.log.records.values()), self.trials, self.benchmarks, self.encoders)

    def take(self, *, running: bool = False, all_late: bool = False) -> Iterator[New]:
        """What is new in every table but `trials`, in parts that fit in memory; to be consumed to the end.

        running: also what running trials have written so far. all_late: also what any ended trial wrote since.
        """
        new = _nothing()
        changed = self._take_study(new)
        now = datetime.datetime.now(datetime.UTC)
        for trial_id, trial in self.trials.items():
            record = self.log.records.get(trial_id)
            if record is not None and record.state == "RUNNING":
                wanted = running
            else:
                late = trial.ended_at is not None
                if trial.ended_at is not None and now - datetime.datetime.fromisoformat(trial.ended_at) > LATE:
                    trial.ended_at = None  # once more, and never again
                wanted = (record is None or record.state in ENDED) and (trial_id in changed or late or all_late)
            if wanted:
                self._take_trial(trial_id, trial, new)
                if len(new.rows["metrics"]) >= MAX_REPORTS:
                    yield new
                    new = _nothing()
        self._take_encoders(new)
        self._take_benchmarks(new)
        yield new

    def trial_rows(self) -> list[dict[str, Any]]:
        """Rows of `trials` whose state may still change, or whose last state is not written yet."""
        return [self._trial_row(record) for record in self.log.records.values()]

    def close(self) -> list[dict[str, Any]]:
        """The rows of trials that are COMPLETE or PRUNED, which this returns once: they are written for good."""
        closed = [record for record in self.log.records.values() if record.state in FINAL]
        rows = [self._trial_row(record) for record in closed]
        for record in closed:
            self.log.forget(record.id)
            self.trials[record.id].facts = {}
        return rows

    def _take_study(self, new: New) -> set[str]:
        """Follows the study's events; the trials that they name."""
        changed: set[str] = set()
        for event in self.log.follow():
            trial_id = event.get("id")
            new.rows["events"].append(_event_row(trial_id, event))
            if trial_id is None:
                continue
            changed.add(trial_id)
            trial = self.trials.setdefault(trial_id, Trial())
            if event["event"] == "trial_started":
                trial.facts["commit"] = event.get("commit")
            elif event["event"] == "encoder_chosen":
                chosen = {key: event.get(key) for key in ("fold", "encoder", "wanted", "study", "why")}
                trial.facts.setdefault("encoders", []).append(chosen)
            elif event["event"] == "trial_ended":
                trial.ended_at = event["at"]
        return changed

    def _take_trial(self, trial_id: str, trial: Trial, new: New) -> None:
        if self.run.mirror and self.run.mirror.role != DRIVER:  # the driver brings them when a trial ends
            self.run.refresh(trial_id)
        reader = EventReader(self.path / "trials" / trial_id / "events.jsonl", trial.offset)
        for event in reader.new():
            if event["event"] == "report":
                self._take_report(trial_id, trial, event, new)
                continue
            new.rows["events"].append(_event_row(trial_id, event))
            if event["event"] == "started":
                trial.facts["started"] = {key: value for key, value in event.items() if key != "at"}
            elif event["event"] == "run_started":
                run = {key: value for key, value in event.items() if key not in ("event", "at")}
                before = trial.facts.setdefault("runs", [])
                if run not in before:  # one that was resumed from its checkpoint begins twice
                    before.append(run)
        trial.offset = reader.offset

    def _take_report(self, trial_id: str, trial: Trial, event: Event, new: New) -> None:
        """A resumed trial repeats the steps after its checkpoint: the first report of a step counts."""
        metrics = event["metrics"]
        self.log.report(trial_id, metrics)
        step = next((metrics[name] for name in STEPS if is_number(metrics.get(name))), None)
        if step is None or step > trial.step:
            trial.step = trial.step if step is None else step
            new.rows["metrics"].append({"trial": trial_id, "at": event["at"], **on_the_way(metrics)})
        for run in metrics.get("runs") or []:
            name = f"{run['fold']}-{run['seed']}"
            if name not in trial.runs:
                trial.runs.append(name)
                new.rows["folds"].append({"trial": trial_id, **run})
                for table, files in new.files.items():
                    file = bars_file(self.path / "trials" / trial_id, table, run["fold"], run["seed"])
                    self.run.fetch(file.relative_to(self.path).as_posix())
                    files.extend([file] if file.exists() else [])  # a trial of an earlier version wrote none

    def _take_encoders(self, new: New) -> None:
        for file in sorted((self.path / "encoders").glob("[!.]*/encoder_card.json")):
            name = file.parent.name
            if name not in self.encoders and (file.parent / "DONE").exists():
                self.encoders.append(name)
                new.rows["encoders"].append(_encoder_row(file))

    def _take_benchmarks(self, new: New) -> None:
        for file in sorted((self.path / "benchmarks").glob("returns-*.parquet")):
            if file.name not in self.benchmarks:
                self.benchmarks.append(file.name)
                new.files["returns"].append(file)

    def _trial_row(self, record: TrialRecord) -> dict[str, Any]:
        trial = self.trials[record.id]
        spec, started = record.spec, trial.facts.get("started", {})
        encoder = spec.get("encoder") or {}
        lineage = {key: trial.facts[key] for key in ("encoders", "runs") if key in trial.facts}
        facts = {
            **{name: getattr(record, name) for name in ("number", "kind", "state", "error", "started_at", "ended_at")},
            "trial": record.id,
            "feasible": is_feasible(record.metrics, self.constraints) if record.state in FINAL else None,
            "wall_seconds": record.wall_seconds,
            "encoder": encoder.get("kind"),
            "encoder_shape": encoder_label(encoder),
            "pretrained": pretrained_label(encoder),
            "seed": spec.get("seed"),
            "n_seeds": spec.get("seeds"),
            "n_runs": len(trial.runs),
            "candles": self.candles,
            "commit": trial.facts.get("commit"),
            **{name: started.get(name) for name in ("host", "cpu", "gpu", "versions")},
            "lineage": lineage or None,
            "spec": spec,
        }
        metrics = {k: v for k, v in record.metrics.items() if k not in SCHEMA["trials"] and k not in NOT_METRICS}
        return {**record.values, **metrics, **facts}


def _nothing() -> New:
    return New({name: [] for name in SCHEMA if name not in ("trials", *FILES)}, {name: [] for name in FILES})


def to_plain(state: State) -> dict[str, Any]:
    """A state as plain JSON values; a trial whose row is written for good is a short list."""
    opened = {record.id: records.to_plain(record) for record in state.records}
    trials = {
        trial_id: [trial.offset, trial.step, trial.runs, trial.ended_at]
        + ([trial.facts, opened[trial_id]] if trial_id in opened else [])
        for trial_id, trial in state.trials.items()
    }
    return {"offset": state.offset, "benchmarks": state.benchmarks, "encoders": state.encoders, "trials": trials}


def from_plain(plain: Mapping[str, Any]) -> State:
    """The state that `to_plain` was given."""
    trials, opened = {}, []
    for trial_id, (offset, step, runs, ended_at, *rest) in plain["trials"].items():
        facts, record = rest or ({}, None)
        trials[trial_id] = Trial(offset, step, runs, facts, ended_at)
        if record is not None:
            opened.append(records.from_plain(record))
    return State(**{**plain, "trials": trials, "records": opened})


def on_the_way(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report as a point of learning curves: what was measured at its step, whichever evaluation is the result."""
    return {**report, **report.get(EVALUATED, {})}


def _event_row(trial_id: str | None, event: Event) -> dict[str, Any]:
    """Drops spec and values, which `trials` has: a copy in every event is no use."""
    left_out = ("event", "at", "id", "spec", "values")
    facts = {key: value for key, value in event.items() if key not in left_out}
    return {"trial": trial_id, "at": event["at"], "event": event["event"], "facts": facts}


def _encoder_row(file: Path) -> dict[str, Any]:
    """An encoder card, flat; what cannot be read is left out."""
    card: dict[str, Any] = {}
    config: dict[str, Any] = {}
    history = None
    with contextlib.suppress(OSError, ValueError):
        card = json.loads(file.read_text())
        config = json.loads((file.parent / "config.json").read_text())
        history = json.loads((file.parent / "training_history.json").read_text())
    train, validation = card.get("train_times") or [None], card.get("validation_times") or [None]
    shape = {key: (config.get("encoder") or {}).get(key) for key in ("d_token", "n_blocks", "n_heads", "patch_length")}
    same = {key: card.get(key) for key in ("weights", "validation_loss", "best_epoch", "epochs", "dataset", "figures")}
    return {
        "encoder": file.parent.name,
        **same,
        **shape,
        "train_from": train[0],
        "train_to": train[-1],
        "validation_from": validation[0],
        "validation_to": validation[-1],
        "history": history,
    }

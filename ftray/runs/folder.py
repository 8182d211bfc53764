"""The run folder of a study: a public format, which only this module and its neighbours read and write.

Takes: a study as a plain mapping, and what happens to its trials. Gives: `RunFolder`.

    study.json            the resolved study, its fingerprint, versions, the format's number
    events.jsonl          written by the study's driver alone: trial_added, trial_started, trial_ended, benchmarks, ...
    trials/trial-0007/    see `trial`
    encoders/<fingerprint>/, data/<fingerprint>/   pre-training runs and prepared datasets, shared by the trials
    promoted/             written by `ftray promote`: trials with fresh seeds, which are not the study's
    tables/               all of this as tables, for queries; derived from the events by `ftray.tables.parquet`
    benchmarks/           returns per bar of what every trial is compared with; see `ftray.tables.bars`
    optuna.journal, tensorboard/, tune/   derived; may be deleted
    DONE                  the study is finished: nothing is pending or running

The events are the truth, and everything else about trials is derived from them (`records.StudyLog`).

A run folder may be on object storage. Each process then works with a local copy (`storage.Mirror`) of the part that it
needs: the driver has what it writes, and each trial's events when it ends; a trial's process its own folder and what it
starts from (`staging`); a reader the events, and the rest after `fetch`.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ftray.errors import QueryError, RunFolderError, StorageError
from ftray.files import replace_file, undone
from ftray.runs.events import Event, EventReader, EventWriter, to_json
from ftray.runs.lease import driving, leased
from ftray.runs.location import DRIVER, JOB
from ftray.runs.looks import Look, LookKind, looks_of, saw_validation
from ftray.runs.records import ENDED, FINAL, State, StudyLog, TrialRecord
from ftray.runs.seen_bars import StudyBars
from ftray.runs.study_file import StudyFolder, differences, write_study
from ftray.runs.trial import TrialFolder
from ftray.say import Say
from ftray.spec import nearest, to_mapping
from ftray.storage import Location

FACTS = ("study.json", "events.jsonl", "encoders.json")
"""The files that define a study and record its progress."""

JOURNAL = "optuna.journal"


class RunFolder(StudyFolder):
    """A study's run folder. Any number of processes may read it; one, the driver, writes its events."""

    def __init__(self, location: Location, role: str = "read"):
        """Use `create` or `open`, which check the folder."""
        super().__init__(location, role)
        self._writer = EventWriter(self.path / "events.jsonl")
        self._log = StudyLog(self.path / "events.jsonl")
        self._folders: dict[str, TrialFolder] = {}
        self._reports: dict[str, EventReader] = {}
        self.created: list[Path] = []
        """What `create` made for it: the folder, and its parents from the innermost on; empty where it was there."""

    @classmethod
    def create(cls, location: Location, study: Mapping[str, Any] | Any) -> "RunFolder":
        """The run folder of `study` (a mapping or a spec), for its driver: a new one, or the one of this study.

        Raises: RunFolderError if the folder belongs to another study or holds something else.
        """
        run, plain = cls(location, DRIVER), json.loads(to_json(to_mapping(study)))
        if run.mirror.read("study.json") if run.mirror else (run.path / "study.json").exists():
            return cls.open(location, DRIVER)._expecting(plain)
        if run.mirror:
            shutil.rmtree(run.path, ignore_errors=True)  # of a run folder that was deleted there
        if run.path.exists() and any(run.path.iterdir()):
            raise RunFolderError(
                f"{run.path} must be a run folder or empty, but holds other files; choose another name"
            )
        place = run.path.absolute()
        run.created = [place, *(parent for parent in place.parents if not parent.exists())]
        with undone(run.path):
            for folder in ("trials", "encoders", "data"):
                (run.path / folder).mkdir(parents=True, exist_ok=True)
            write_study(run.path / "study.json", plain)
            run.sync("study.json")
        return run

    @classmethod
    def open(cls, location: Location, role: str = "read") -> "RunFolder":
        """The run folder at a path or URL. role: `DRIVER` for the one process that writes its events, `JOB` for that of
        a trial.

        Raises: RunFolderError if there is none, or this version cannot read it; StorageError.
        """
        run = cls(location, role)
        if run.mirror:
            run.mirror.pull(*(FACTS if role != JOB else FACTS[:1]))
        if run.mirror and role != JOB:
            run.mirror.follow("DONE")
        if run.mirror and role == DRIVER:
            run.mirror.pull(*(name for name in run.mirror.names("trials") if name.endswith("/events.jsonl")))
        _ = run._content
        return run

    @property
    def encoders_folder(self) -> Path:
        """Holds the folders of pre-training jobs, each named by its fingerprint."""
        return self.path / "encoders"

    def append_event(self, event: str, **facts: Any) -> None:
        """Records an event of the study; it is on disk when this returns."""
        self._writer.append(event, facts, durable=True)
        self.sync(*["events.jsonl"] * (event == "trial_added"))  # at once, or a trial that ran could be sampled again

    def events(self) -> list[Event]:
        """All events of the study, oldest first."""
        return list(EventReader(self.path / "events.jsonl").new())

    @contextlib.contextmanager
    def driven(self, say: Say = print) -> Iterator[None]:
        """A block in which this process alone runs the study and writes its events.

        Raises: RunFolderError if another process does.
        """
        with driving(self.path), leased(self.mirror, say):
            try:
                yield
            finally:
                self.sync(*(path.name for path in self.path.iterdir() if path.name[0] != "." and path.name != "tune"))

    def add_trial(
        self, trial_id: str, number: int | None, kind: str, values: Mapping[str, Any], spec: Mapping[str, Any] | Any
    ) -> TrialFolder:
        """Records a new trial, PENDING, and creates its folder. A finished study is no longer DONE."""
        if trial_id in self._follow():
            raise RunFolderError(f"{self.path} has a trial {trial_id!r} already; every trial needs an id of its own")
        if Path(trial_id).name != trial_id or trial_id.startswith("."):
            raise RunFolderError(f"a trial id must be a plain file name, got {trial_id!r}")
        self._not_done()
        trial = self.trial_folder(trial_id)
        trial.folder.mkdir(parents=True, exist_ok=True)
        facts = {"id": trial_id, "number": number, "kind": kind, "values": values, "spec": to_mapping(spec)}
        replace_file(trial.folder / "trial.json", to_json(facts, indent=2).encode())
        self.sync(f"trials/{trial_id}/trial.json")
        self.append_event("trial_added", **facts)
        return trial

    def trial_started(self, trial_id: str, **facts: Any) -> None:
        """Records that a trial runs, for the first time or again after a failure or interruption."""
        trial = self._known(trial_id)
        if trial.state in FINAL:
            raise RunFolderError(f"trial {trial_id!r} is {trial.state} for good; add a new trial instead")
        self._not_done()
        (self.trial_folder(trial_id).folder / "error.txt").unlink(missing_ok=True)
        self.append_event("trial_started", id=trial_id, **facts)

    def trial_ended(
        self,
        trial_id: str,
        state: State,
        metrics: Mapping[str, Any] | None = None,
        error: str | None = None,
        last_seen: str | None = None,
    ) -> None:
        """Records that a trial ended as one of `ENDED`; a second call with the same state does nothing.

        `metrics` add to the trial's last reported ones and replace those of the same name. `last_seen` is the time of
        its last event, if no process saw it end.
        """
        trial = self._known(trial_id)
        if state not in ENDED:
            raise RunFolderError(f"a trial must end as one of {', '.join(ENDED)}, got {state!r}")
        if trial.state == state:
            return
        if trial.state in FINAL:
            raise RunFolderError(f"trial {trial_id!r} is {trial.state} for good and cannot become {state}")
        folder = self.trial_folder(trial_id)
        if error is not None and not (folder.folder / "error.txt").exists():
            folder.write_error(error)
        last = {**trial.metrics, **folder.last_metrics(), **(metrics or {})}
        seen = {} if last_seen is None else {"last_seen": last_seen}
        self.append_event("trial_ended", id=trial_id, state=state, metrics=last, error=error, **seen)
        self.record_look(trial_id, last)

    def sweep(self) -> list[str]:
        """Records as INTERRUPTED the trials that a dead driver's events have as RUNNING; returns their ids.

        Only the next driver may call it. Each trial ended when it last wrote something. A failure that its process
        recorded and no driver saw does not count, since the whole cluster may have been going down: it is retried.
        """
        zombies = [trial for trial in self._follow().values() if trial.state == "RUNNING"]
        for trial in zombies:
            last, started = self.trial_folder(trial.id).events()[-1:], trial.started_at
            times = [event["at"] for event in last] + ([started.isoformat(timespec="microseconds")] if started else [])
            cost = self.trial_folder(trial.id).cost()
            self.trial_ended(trial.id, "INTERRUPTED", cost, last_seen=max(times, default=None))
        return [trial.id for trial in zombies]

    def record_benchmarks(self, benchmarks: Mapping[str, Mapping[str, Any]]) -> None:
        """Records the performance of portfolios to compare with, by name, on the validation window; of one that cannot
        trade, why."""
        self.append_event("benchmarks", benchmarks=benchmarks)

    def benchmarks(self) -> dict[str, dict[str, Any]]:
        """The benchmarks recorded last: name → performance; empty before."""
        self._follow()
        return dict(self._log.benchmarks)

    @property
    def bars(self) -> StudyBars | None:
        """The bars that trials are judged on; None before they are recorded, and in folders of earlier versions."""
        self._follow()
        return self._log.bars

    @property
    def also_counts(self) -> list[str]:
        """Every other place whose looks count for this study: run folders, and folders of them."""
        self._follow()
        return self._log.also_counts

    def record_look(self, trial_id: str, metrics: Mapping[str, Any]) -> None:
        """Records in the ledger that a trial looked at the validation windows, if it has reported a metric of them; and
        how often, once it has ended."""
        bars, trial = self.bars, self._known(trial_id)
        if bars is not None and not bars.simulated and trial.number is not None and saw_validation(metrics):
            n = looks_of(metrics, trial.spec.get("windows") or {}) if trial.state in ENDED else 1.0
            with contextlib.suppress(OSError, StorageError):  # the next driver writes what is missing
                self.ledger.record(Look(LookKind.TRIAL, self.name, self.id, trial_id, bars.validation, n=n))

    def trial_folder(self, trial_id: str) -> TrialFolder:
        """The folder of a trial's files; this does not check whether the study has the trial."""
        if trial_id not in self._folders:
            self._folders[trial_id] = TrialFolder(self.path / "trials" / trial_id)
        return self._folders[trial_id]

    def records(self) -> list[TrialRecord]:
        """All trials in the order they were added, each in the one state it is in now."""
        for record in list(self._follow().values()):
            self._follow_reports(record)
        return list(self._log.records.values())

    def record(self, trial_id: str) -> TrialRecord:
        """One trial, as `records` has it. Raises: QueryError, with the nearest name, if there is none."""
        self._follow_reports(self._known(trial_id))
        return self._log.records[trial_id]

    def mark_done(self) -> None:
        """Records that the study is finished. The caller writes the tables first: `compact(run, whole=True)`."""
        unfinished = [record.id for record in self._follow().values() if record.state in ("PENDING", "RUNNING")]
        if unfinished:
            raise RunFolderError(
                f"{self.path} is done when no trial is pending or running, but {len(unfinished)} are "
                f"({', '.join(unfinished[:3])}...); end them first, as INTERRUPTED if need be"
            )
        self.append_event("study_done")
        replace_file(self.path / "DONE", b"")
        self.sync("events.jsonl", "DONE")

    @property
    def is_done(self) -> bool:
        return (self.path / "DONE").exists()

    def _not_done(self) -> None:
        if self.is_done:
            (self.path / "DONE").unlink(missing_ok=True)
            if self.mirror:
                self.mirror.delete("DONE")

    def _expecting(self, study: dict[str, Any]) -> "RunFolder":
        changes = list(differences(self.study, study))
        if changes:
            more = f" and {len(changes) - 5} more" if len(changes) > 5 else ""
            raise RunFolderError(
                f"{self.path} belongs to another study; it differs in {'; '.join(changes[:5])}{more}. "
                "Choose another name for the changed study, or undo the change to continue this one"
            )
        return self

    def _follow(self) -> dict[str, TrialRecord]:
        """The records by id, from the study's events so far."""
        if self.mirror and self.mirror.role == "read":
            self.mirror.pull("events.jsonl")
            self.mirror.follow("DONE")
        for event in self._log.follow():
            if event["event"] == "trial_ended":
                self._reports.pop(event["id"], None)
        return self._log.records

    def _follow_reports(self, record: TrialRecord) -> None:
        """Reads what a running trial has reported: its own folder has it, and the study's events when it has ended."""
        if record.state == "RUNNING":
            self.refresh(record.id)
            file = self.trial_folder(record.id).folder / "events.jsonl"
            for event in self._reports.setdefault(record.id, EventReader(file)).new():
                if event["event"] == "report":
                    self._log.report(record.id, event["metrics"])

    def _known(self, trial_id: str) -> TrialRecord:
        records = self._follow()
        if trial_id not in records:
            raise QueryError(f"{self.where} has no trial {trial_id!r}; {nearest(trial_id, records)}")
        return records[trial_id]

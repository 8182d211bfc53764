"""The searcher: Optuna samples configurations, `queue.JobQueue` decides which job runs when, Tune runs it.

The run folder is the truth. Optuna's storage is rebuilt from it on start and updated with all later events, with the
state in which a trial really ended (stock `OptunaSearch` stores a stopped trial as complete, and one that ended with
NaN as running forever).
"""

import dataclasses
import time
import warnings
from collections.abc import Callable
from typing import Any

import optuna
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from ftray.analysis.failures import PROCESS_DIED
from ftray.capacity.elastic import ElasticCapacity
from ftray.runs import RunFolder, State, TrialRecord
from ftray.runs.events import Event
from ftray.runs.records import JobKind
from ftray.search.objectives import is_number, is_undefined
from ftray.search.optuna_trials import OPTUNA_STATES, sampled_trials
from ftray.search.samplers import build_sampler
from ftray.study.budget import Limits
from ftray.study.inputs import StudyInputs
from ftray.study.optuna.mirror import OptunaMirror
from ftray.study.optuna.storage import name_in, note_run, open_storage
from ftray.study.queue import Job, JobQueue
from ftray.study.schedulers import TUNE_MODES
from ftray.study.spec import StudySpec
from ftray.study.warm_start import starting_points
from ftray.trial import TrialSpec
from ftray.trial.memory_plan import MemoryPlan
from ftray.trial.out_of_memory import memory_plan_of


class StudySearcher(OptunaSearch):
    """Gives Tune jobs in place of bare configurations; records a job's end in the run folder, then in Optuna."""

    def __init__(
        self,
        spec: StudySpec,
        run: RunFolder,
        limits: Limits | None = None,
        capacity: ElasticCapacity | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """capacity: how many jobs run at once; None: as many as Tune asks for."""
        self.spec, self.run, self.limits, self.capacity = spec, run, limits or Limits(spec, run), capacity
        self.inputs, self._clock = StudyInputs(spec, run), clock
        self.queue = JobQueue(
            self.inputs.has_encoder, self.inputs.pretraining_job, spec.search.max_failures, spec.search.retry_after
        )
        self._handed_out: dict[str, Job] = {}  # by Tune's id
        records = sampled_trials(run.records())
        self.n_ended = sum(record.state in OPTUNA_STATES for record in records)
        self.n_sampled = len(records)
        points = starting_points(spec, run)[len(records) :]
        self.sampler = build_sampler(
            spec.search.sampler, spec.space, [record.values for record in records], spec.search.seed
        )
        self.optuna_study = self._open_optuna_study()
        self.mirror = OptunaMirror(spec, run, self.optuna_study)
        for record in records:
            self.mirror.add(record)
            if record.state not in OPTUNA_STATES:
                self._add(record.id, spec.trial(spec.space.fill(record.values)), record.number or 0)
        for point in points:
            self.optuna_study.enqueue_trial(point)

    def _open_optuna_study(self) -> optuna.Study:
        """The still empty study that `OptunaSearch` makes in its storage."""
        search = self.spec.search
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            super().__init__(
                space=self.spec.space.sample,  # type: ignore[arg-type]  # any callable
                metric=[goal.metric for goal in search.goals],
                mode=[TUNE_MODES[goal.direction] for goal in search.goals],
                sampler=self.sampler,
                storage=open_storage(search.storage, self.spec.name, self.run),
                study_name=name_in(search.storage, self.spec.name, self.run),
            )
        assert self._ot_study is not None
        note_run(self._ot_study, self.run)
        return self._ot_study

    def suggest(self, trial_id: str) -> Any:
        """The next job's configuration; None while jobs wait or the cluster is full; FINISHED when a budget is used
        up or all jobs have ended: Tune then never asks again."""
        if self.limits.reached():
            return Searcher.FINISHED
        if self.capacity and self.capacity.is_full(len(self.queue.in_progress)):
            return None
        self.queue.end_back_off(self._clock())
        while self.queue.wants_jobs and self.n_sampled < self.spec.search.n_trials:
            self._sample()
        job = self.queue.next()
        if job is None:
            return Searcher.FINISHED if self.queue.is_empty else None
        self._handed_out[trial_id] = job
        return job.config() | self.inputs.files(job) | (self.capacity.now.config if self.capacity else {})

    def job(self, trial_id: str) -> Job:
        """The job behind one of Tune's trials."""
        return self._handed_out[trial_id]

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        job = self.job(trial_id)
        if job.number is not None:
            self.mirror.on_report(job.number, result)
            self.run.record_look(job.id, result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        job = self._handed_out.pop(trial_id, None)
        if job is None:
            return
        self.run.refresh(job.id)
        folder = self.run.trial_folder(job.id)
        metrics, last = folder.last_metrics() | folder.cost(), folder.last_event()
        if plan := _smaller_plan(last):
            self.run.trial_ended(job.id, "INTERRUPTED", metrics)
            self.queue.out_of_memory(job.id, plan)
        elif error and _recorded_error(last) is None:
            self._on_crash(job, metrics)
        else:
            self._on_end(job, metrics, _recorded_error(last))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: Tune's snapshots are never restored, the run folder is."""

    def _sample(self) -> None:
        """Asks Optuna for a configuration, records it as a trial and queues it."""
        asked = self.optuna_study.ask()
        values, filled = self.spec.space.sample(asked)
        trial, job_id = self.spec.trial(filled), f"trial-{asked.number:04d}"
        self.run.add_trial(job_id, number=asked.number, kind=self.spec.search.job, values=values, spec=trial)
        self.sampler.on_sampled(values)
        self.mirror.on_sampled(asked, job_id)
        self.n_sampled += 1
        for fold, choice in enumerate(self.inputs.choices(trial)):
            self.run.append_event("encoder_chosen", id=job_id, fold=fold, **dataclasses.asdict(choice))
        self._add(job_id, trial, asked.number)

    def _add(self, job_id: str, trial: TrialSpec, number: int) -> None:
        choices = self.inputs.choices(trial)
        job = Job(
            job_id,
            JobKind(self.spec.search.job),
            trial,
            encoders=tuple(choice.encoder for choice in choices),
            number=number,
            reasons=tuple(choice.why for choice in choices),
            memory_plan=memory_plan_of(self.run.trial_folder(job_id)),
        )
        if (error := self.queue.add(job)) is not None:
            self._record_end(job, "FAILED", {}, error)

    def _on_crash(self, job: Job, metrics: dict[str, Any]) -> None:
        """The process of a job died: the job is retried after a while, or ends if that happened too often.

        Tune itself would retry at once.
        """
        self.run.append_event(PROCESS_DIED, id=job.id)
        search = self.spec.search
        wait = self.queue.crashed(job.id, metrics.get(search.resource) or 0, self._clock())
        if wait is None:
            error = (
                f"its process died more than {search.max_failures} times and got no further; "
                f"what Ray knows of it is in {self.run.path / 'tune' / job.id / 'error.txt'}"
            )
            self._on_end(job, metrics, error)
        else:
            n_crashes = self.queue.crashes[job.id]
            error = f"its process died ({n_crashes} of {search.max_failures} times that it may); retried in {wait:g} s"
            self.run.trial_ended(job.id, "INTERRUPTED", metrics, error)

    def _on_end(self, job: Job, metrics: dict[str, Any], error: str | None) -> None:
        if job.kind == JobKind.PRETRAINING:
            self.run.fetch(*(f"encoders/{encoder}" for encoder in job.encoders))
        error = error or self._unmet(job, metrics)
        self._record_end(job, self._final_state(job, metrics, error), metrics, error)
        for waiter, reason in self.queue.ended(job.id, error):
            self._record_end(waiter, "FAILED", {}, reason)

    def _unmet(self, job: Job, metrics: dict[str, Any]) -> str | None:
        """What a job that ended without an error lacks, if anything. An undefined metric is an answer, too."""
        if job.number is None:
            (encoder,) = job.encoders
            if self.inputs.has_encoder(encoder):
                return None
            return f"it ended without the encoder {encoder}: do all nodes run the same version of ftray?"
        required = [name for name in self.spec.search.required_metrics if not is_undefined(name, metrics)]
        missing = [name for name in required if not is_number(metrics.get(name))]
        return f"{missing[0]} is {metrics.get(missing[0])}: not a number to compare" if missing else None

    def _final_state(self, job: Job, metrics: dict[str, Any], error: str | None) -> State:
        """COMPLETE for a job that reached its end, PRUNED for one that was stopped before it."""
        if error is not None:
            return "FAILED"
        if job.number is None:
            return "COMPLETE"
        if job.kind == JobKind.TRIAL:
            return "COMPLETE" if metrics.get("runs_done", 0) == job.spec.n_trainings else "PRUNED"
        enough = metrics.get(self.spec.search.resource, 0) >= self.spec.resource_of(job.spec)
        return "COMPLETE" if enough or self.inputs.has_encoder(job.encoders[0]) else "PRUNED"  # it may stop early

    def _record_end(self, job: Job, state: State, metrics: dict[str, Any], error: str | None) -> None:
        """Records how a job ended: once, in the run folder first."""
        self.run.trial_ended(job.id, state, metrics, error)
        if job.number is not None:
            record: TrialRecord = self.run.record(job.id)
            self.mirror.on_end(record)
            self.n_ended += 1
            self.limits.on_end(record)


def _recorded_error(last: Event | None) -> str | None:
    """The error that a job's process recorded as the last thing it did."""
    return last["error"] if last and last["event"] == "failed" else None


def _smaller_plan(last: Event | None) -> MemoryPlan | None:
    """The memory plan to retry with, if running out of memory was the last thing that a job's process recorded."""
    found = last["next"] if last and last["event"] == "out_of_memory" else None
    return MemoryPlan(**found) if found else None

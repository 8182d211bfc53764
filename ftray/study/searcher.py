"""The searcher: Optuna draws trials; a trial waits here until the pre-training of all its encoders is done.

The gate stands in the searcher because nothing that waits may hold resources: a drawn configuration is set aside, the
pre-training jobs that it needs (one per fold) are handed out in its place, and it follows when the weights exist.

The run folder is the truth. Optuna's storage is rebuilt from it on start and told everything after it, with the state a
trial really ended in (stock `OptunaSearch` stores a stopped trial as complete and leaves a NaN running for ever).
"""

import dataclasses
import math
import warnings
from collections import deque
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from ftray.pretraining import is_finished
from ftray.results import RunFolder, State, TrialFolder, TrialRecord
from ftray.spec import to_mapping
from ftray.study.schedulers import TUNE_MODES
from ftray.study.spec import StudySpec
from ftray.trial import TrialSpec, encoder_wanted, prepare_dataset

OPTUNA_STATES = {"COMPLETE": TrialState.COMPLETE, "PRUNED": TrialState.PRUNED, "FAILED": TrialState.FAIL}
TRIAL, PRETRAINING = "trial", "pretraining"

MOST_WAITING = 8
"""Trials set aside at once: whatever is drawn before others have ended is drawn blindly."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What Tune runs: an RL trial, or the pre-training of one encoder on one fold.

    encoders: what a trial needs, by fold; of a pre-training job, the one that it makes.
    """

    id: str
    kind: str
    spec: TrialSpec
    encoders: tuple[str, ...] = ()
    number: int | None = None
    fold: int = 0

    def config(self) -> dict[str, Any]:
        return {"id": self.id, "kind": self.kind, "spec": to_mapping(self.spec), "fold": self.fold}


class StudySearcher(OptunaSearch):
    """Hands out jobs in place of bare configurations; a job's outcome goes to the run folder, then to Optuna."""

    def __init__(self, study: StudySpec, run: RunFolder):
        self.study, self.run = study, run
        self.ready: deque[Job] = deque()
        self.waiting: list[Job] = []
        self.in_the_making: set[str] = set()  # encoders whose job is ready or handed out
        self.handed_out: dict[str, Job] = {}  # by Tune's id
        self.failed_encoders: dict[str, str] = {}
        records = drawn_trials(run)
        storage_path = run.path / "optuna.journal"
        storage_path.unlink(missing_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            super().__init__(
                space=study.space.draw,  # type: ignore[arg-type]  # any callable
                metric=study.search.metric,
                mode=TUNE_MODES[study.search.goal],
                sampler=_sampler(study, drawn=len(records)),
                storage=JournalStorage(JournalFileBackend(str(storage_path))),
                study_name=study.name,
            )
        assert self._ot_study is not None
        self.optuna: optuna.Study = self._ot_study
        for record in records:
            self.optuna.add_trial(self._frozen(record))
            if record.state not in OPTUNA_STATES:
                self._admit(record.id, study.trial(study.space.fill(record.values)), record.number or 0)
        for point in study.search.points[len(records) :]:
            self.optuna.enqueue_trial(dict(point))
        self.drawn = len(records)

    def suggest(self, trial_id: str) -> Any:
        """The next job's configuration; None while all that is drawn waits; FINISHED when the budget is spent."""
        while not self.ready and self.drawn < self.study.search.n_trials and len(self.waiting) < MOST_WAITING:
            self._draw()
        if self.ready:
            job = self.ready.popleft()
            self.handed_out[trial_id] = job
            return job.config()
        # What runs may come back for a smaller shape, and after FINISHED nobody asks again.
        return None if self.waiting or self.in_the_making or self.handed_out else Searcher.FINISHED

    def job(self, trial_id: str) -> Job:
        """The job behind one of Tune's trials."""
        return self.handed_out[trial_id]

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        job, value = self.job(trial_id), result.get(self.study.search.metric, math.nan)
        if job.number is None or not _finite(value):
            return
        stored, step = self.optuna.get_trials(deepcopy=False)[job.number], int(result[self.study.search.resource])
        if step not in stored.intermediate_values:  # a trial that went on from its checkpoint repeats a few
            optuna.Trial(self.optuna, stored._trial_id).report(value, step)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        job = self.handed_out.pop(trial_id, None)
        if job is None:
            return
        reached = self.run.trial(job.id).last_metrics()
        if _goes_on_smaller(self.run.trial(job.id)):
            self.run.trial_ended(job.id, "INTERRUPTED", reached)
            self.ready.appendleft(job)
            return
        problem = _failure(self.run.trial(job.id))
        if error and problem is None:
            problem = (
                f"its process died more than {self.study.search.max_failures} times; "
                f"what Ray knows of it is in {self.run.path / 'tune' / job.id / 'error.txt'}"
            )
        if job.number is None:
            if problem is None and not self._has(job.encoders[0]):
                problem = f"it ended without the encoder {job.encoders[0]}: do all nodes run the same version of ftray?"
            self.run.trial_ended(job.id, "FAILED" if problem else "COMPLETE", reached, problem)
            self._release(job, problem)
            return
        value = reached.get(self.study.search.metric)
        if problem is None and not _finite(value):
            problem = f"{self.study.search.metric} is {value}: not a number to compare"
        state: State = "FAILED" if problem else "COMPLETE" if self._finished(job, reached) else "PRUNED"
        self._end(job, state, reached, problem)
        if job.kind == PRETRAINING:
            self._release(job, problem)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: Tune's snapshots are never restored, the run folder is."""

    def _draw(self) -> None:
        trial = self.optuna.ask()
        values, filled = self.study.space.draw(trial)
        spec, job_id = self.study.trial(filled), f"trial-{trial.number:04d}"
        self.run.add_trial(job_id, number=trial.number, kind=self.study.search.job, values=values, spec=spec)
        self.drawn += 1
        self._admit(job_id, spec, trial.number)

    def _admit(self, job_id: str, spec: TrialSpec, number: int) -> None:
        datasets = (prepare_dataset(spec, self.run.path, fold)[1] for fold in range(spec.n_folds))
        wanted = [encoder_wanted(spec, dataset) for dataset in datasets]
        encoders = tuple(encoder for encoder in wanted if encoder is not None)  # of all folds, or of none
        self._place(Job(job_id, self.study.search.job, spec, encoders, number))

    def _place(self, job: Job) -> None:
        """Puts a job among the ready ones, or sets it aside and sees to it that what it waits for is made."""
        failed = [encoder for encoder in job.encoders if encoder in self.failed_encoders]
        missing = [encoder for encoder in job.encoders if not self._has(encoder)]
        makes_it = job.kind == PRETRAINING and not self.in_the_making.intersection(missing)
        if failed:
            self._end(job, "FAILED", {}, self.failed_encoders[failed[0]])
        elif not missing or makes_it:
            self.in_the_making.update(missing)
            self.ready.append(job)
        else:
            self.waiting.append(job)
            for encoder in missing:
                if encoder not in self.in_the_making:
                    self.in_the_making.add(encoder)
                    self.ready.append(self._pretraining(job.spec, encoder, fold=job.encoders.index(encoder)))

    def _pretraining(self, spec: TrialSpec, encoder: str, fold: int) -> Job:
        return Job(self._pretraining_id(encoder, spec), PRETRAINING, spec, (encoder,), fold=fold)

    def _pretraining_id(self, encoder: str, spec: TrialSpec) -> str:
        """The id of the job that makes an encoder: known from an interrupted run, or new."""
        name = f"encoder-{encoder[:12]}"
        earlier = [record for record in self.run.trials() if record.id.startswith(name)]
        if earlier and not earlier[-1].is_final:
            return earlier[-1].id
        job_id = f"{name}-{len(earlier) + 1}" if earlier else name  # its weights were deleted: made once more
        self.run.add_trial(job_id, number=None, kind=PRETRAINING, values={}, spec=spec)
        return job_id

    def _has(self, encoder: str) -> bool:
        return is_finished(self.run.encoders_folder / encoder)

    def _finished(self, job: Job, reached: dict[str, Any]) -> bool:
        """Whether a job came to its own end, and was not stopped before it."""
        if job.kind == TRIAL:
            return reached.get("runs_done", 0) == job.spec.n_runs
        enough = reached.get(self.study.search.resource, 0) >= self.study.resource_of(job.spec)
        return enough or self._has(job.encoders[0])  # by early stopping of its own

    def _release(self, job: Job, problem: str | None) -> None:
        """A pre-training job ended: who waited for nothing else may go, or fails with its error."""
        (encoder,) = job.encoders
        self.in_the_making.discard(encoder)
        if problem is not None:
            self.failed_encoders[encoder] = f"its pre-training job {job.id} failed: {problem}"
        waiters, self.waiting = self.waiting, []
        for waiter in waiters:
            self._place(waiter)

    def _end(self, job: Job, state: State, metrics: dict[str, Any], problem: str | None) -> None:
        """Records how a trial ended: once, in the run folder first."""
        assert job.number is not None
        self.run.trial_ended(job.id, state, metrics, problem)
        value = metrics.get(self.study.search.metric) if state == "COMPLETE" else None
        self.optuna.tell(job.number, value, state=OPTUNA_STATES[state])

    def _frozen(self, record: TrialRecord) -> optuna.trial.FrozenTrial:
        """A recorded trial as Optuna's storage wants it; an unfinished one is running."""
        state = OPTUNA_STATES.get(record.state, TrialState.RUNNING)
        return create_trial(
            state=state,
            value=record.metrics.get(self.study.search.metric) if state == TrialState.COMPLETE else None,
            params=dict(record.values),
            distributions={name: self.study.space.holes[name].distribution for name in record.values},
        )


def drawn_trials(run: RunFolder) -> list[TrialRecord]:
    """The configurations that a study drew, in Optuna's order; jobs that only serve them have no number."""
    return sorted((r for r in run.trials() if r.number is not None), key=lambda r: r.number or 0)


def _sampler(study: StudySpec, drawn: int) -> optuna.samplers.BaseSampler:
    """The sampler, seeded by what is drawn already: a resumed study must not repeat its first suggestions."""
    seed = study.search.seed + drawn
    if study.search.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)


def _failure(folder: TrialFolder) -> str | None:
    """The error that a job's process recorded as the last thing it did."""
    last = folder.last_event()
    return last["error"] if last and last["event"] == "failed" else None


def _goes_on_smaller(folder: TrialFolder) -> bool:
    """Whether a job ran out of memory as the last thing it did, and there is a smaller shape to go on with."""
    last = folder.last_event()
    return last is not None and last["event"] == "out_of_memory" and last["next"] is not None


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)

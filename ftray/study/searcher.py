"""The searcher: Optuna draws trials; a trial waits here until the pre-training of all its encoders is done.

The gate stands in the searcher because nothing that waits may hold resources: a drawn configuration is set aside, the
pre-training jobs that it needs (one per fold) are handed out in its place, and it follows when the weights exist.

The run folder is the truth. Optuna's storage is rebuilt from it on start and told everything after it, with the state a
trial really ended in (stock `OptunaSearch` stores a stopped trial as complete and leaves a NaN running for ever).
"""

import dataclasses
import time
import warnings
from collections import Counter, deque
from typing import Any

import optuna
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from ftray.analysis.failures import PROCESS_DIED
from ftray.capacity.elastic import ElasticCapacity
from ftray.features import Dataset
from ftray.pretraining import Choice, is_finished
from ftray.runs import RunFolder, State, TrialFolder
from ftray.runs.staging import partial_folder
from ftray.search.objectives import is_number
from ftray.search.optuna_trials import OPTUNA_STATES, sampled_trials
from ftray.search.samplers import build_sampler
from ftray.spec import fingerprint, to_mapping
from ftray.study.budget import Limits
from ftray.study.optuna.mirror import OptunaSide
from ftray.study.optuna.storage import name_in, note_run, open_storage
from ftray.study.schedulers import TUNE_MODES
from ftray.study.spec import StudySpec
from ftray.study.warm_start import starting_points
from ftray.trial import TrialSpec, choose_encoder, prepare_dataset
from ftray.trial.out_of_memory import shape_of

TRIAL, PRETRAINING = "trial", "pretraining"

SEARCHED_PRETRAINING = "trial/pretraining"
"""How the names of search parameters of pre-training begin."""

MOST_WAITING = 8
"""Trials set aside at once: whatever is drawn before others have ended is drawn blindly."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What Tune runs: an RL trial, or the pre-training of one encoder on one fold.

    encoders: what a trial needs, by fold; of a pre-training job, the one that it makes. why: for each, why that one.
    """

    id: str
    kind: str
    spec: TrialSpec
    encoders: tuple[str, ...] = ()
    number: int | None = None
    fold: int = 0
    why: tuple[str, ...] = ()

    def config(self) -> dict[str, Any]:
        return {"id": self.id, "kind": self.kind, "spec": to_mapping(self.spec), "fold": self.fold}


class StudySearcher(OptunaSearch):
    """Hands out jobs in place of bare configurations; a job's outcome goes to the run folder, then to Optuna."""

    def __init__(
        self, study: StudySpec, run: RunFolder, limits: Limits | None = None, capacity: ElasticCapacity | None = None
    ):
        """capacity: how many jobs run at once; None: as many as Tune asks for."""
        self.study, self.run, self.limits, self.capacity = study, run, limits or Limits(study, run), capacity
        self.ready: deque[Job] = deque()
        self.waiting: list[Job] = []
        self.in_the_making: set[str] = set()  # encoders whose job is ready or handed out
        self.handed_out: dict[str, Job] = {}  # by Tune's id
        self.later: list[tuple[float, Job]] = []  # whose process died, and when they go on
        self.deaths: Counter[str] = Counter()
        self.furthest: Counter[str] = Counter()  # how far those jobs had come
        self.failed_encoders: dict[str, str] = {}
        self.datasets: dict[str, list[Dataset]] = {}
        self.choices: dict[str, tuple[Choice, ...]] = {}
        records, search = sampled_trials(run.records()), study.search
        self.n_ended = sum(record.state in OPTUNA_STATES for record in records)
        points = starting_points(study, run)
        self.sampler = build_sampler(search.sampler, study.space, [record.values for record in records], search.seed)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            super().__init__(
                space=study.space.sample,  # type: ignore[arg-type]  # any callable
                metric=[goal.metric for goal in search.goals],
                mode=[TUNE_MODES[goal.direction] for goal in search.goals],
                sampler=self.sampler,
                storage=open_storage(search.storage, study.name, run),
                study_name=name_in(search.storage, study.name, run),
            )
        assert self._ot_study is not None
        self.optuna: optuna.Study = self._ot_study
        note_run(self.optuna, run)
        self.optunas = OptunaSide(study, run, self.optuna)
        for record in records:
            self.optunas.add(record)
            if record.state not in OPTUNA_STATES:
                self._admit(record.id, study.trial(study.space.fill(record.values)), record.number or 0)
        for point in points[len(records) :]:
            self.optuna.enqueue_trial(point)
        self.drawn = len(records)

    def suggest(self, trial_id: str) -> Any:
        """The next job's configuration; None while all that is drawn waits or there is no room; FINISHED when a
        budget is spent."""
        if self.limits.reached():
            return Searcher.FINISHED
        self._bring_back()
        if self.capacity and self.capacity.is_full(len(self.handed_out)):
            return None
        while not self.ready and self.drawn < self.study.search.n_trials and len(self.waiting) < MOST_WAITING:
            self._draw()
        if self.ready:
            job = self.ready.popleft()
            self.handed_out[trial_id] = job
            return job.config() | self._brought(job) | (self.capacity.now.config if self.capacity else {})
        # What runs may come back, for a smaller shape or after its process died, and after FINISHED nobody asks again.
        open_ends = self.waiting or self.in_the_making or self.handed_out or self.later
        return None if open_ends else Searcher.FINISHED

    def job(self, trial_id: str) -> Job:
        """The job behind one of Tune's trials."""
        return self.handed_out[trial_id]

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        number = self.job(trial_id).number
        if number is not None:
            self.optunas.reported(number, result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        job = self.handed_out.pop(trial_id, None)
        if job is None:
            return
        self.run.refresh(job.id)
        reached = self.run.trial_folder(job.id).last_metrics() | self.run.trial_folder(job.id).cost()
        if _goes_on_smaller(self.run.trial_folder(job.id)):
            self.run.trial_ended(job.id, "INTERRUPTED", reached)
            self.ready.appendleft(job)
            return
        problem = _failure(self.run.trial_folder(job.id))
        if error and problem is None:
            if self._goes_on_later(job, reached):
                return
            problem = (
                f"its process died more than {self.study.search.max_failures} times and got no further; "
                f"what Ray knows of it is in {self.run.path / 'tune' / job.id / 'error.txt'}"
            )
        if job.kind == PRETRAINING:
            self.run.fetch(*(f"encoders/{encoder}" for encoder in job.encoders))
        if job.number is None:
            if problem is None and not self._has(job.encoders[0]):
                problem = f"it ended without the encoder {job.encoders[0]}: do all nodes run the same version of ftray?"
            self.run.trial_ended(job.id, "FAILED" if problem else "COMPLETE", reached, problem)
            self._release(job, problem)
            return
        unknown = [name for name in self.study.search.judged if not is_number(reached.get(name))]
        if problem is None and unknown:
            problem = f"{unknown[0]} is {reached.get(unknown[0])}: not a number to compare"
        state: State = "FAILED" if problem else "COMPLETE" if self._finished(job, reached) else "PRUNED"
        self._end(job, state, reached, problem)
        if job.kind == PRETRAINING:
            self._release(job, problem)

    def _brought(self, job: Job) -> dict[str, Any]:
        """What a job must be told beside what it is: the shape that it has come down to, and what it needs and makes in
        a run folder on object storage."""
        shape = to_mapping(shape_of(self.run.trial_folder(job.id)))
        data = [f"data/{dataset.fingerprint}" for dataset in self._datasets(job.spec)]
        encoders = [f"encoders/{encoder}" for encoder in job.encoders]
        if job.kind == TRIAL:
            return {"shape": shape, "needs": ["encoders.json", *data, *encoders]}
        needs = ["encoders.json", data[job.fold], partial_folder(encoders[0])]
        return {"shape": shape, "needs": needs, "makes": encoders}

    def _goes_on_later(self, job: Job, reached: dict[str, Any]) -> bool:
        """Sets a job aside whose process died, once more than that for twice as long; False if it died too often.

        Tune would start it again at once, maybe on the node that is just going down, and keeps no time between. Deaths
        count anew once a job got further: on spot nodes a long one dies any number of times, through no fault of it.
        """
        self.run.append_event(PROCESS_DIED, id=job.id)
        search, further = self.study.search, reached.get(self.study.search.resource) or 0
        self.deaths[job.id] = 1 if further > self.furthest[job.id] else self.deaths[job.id] + 1
        self.furthest[job.id] = max(further, self.furthest[job.id])
        if self.deaths[job.id] > search.max_failures:
            return False
        wait = search.retry_after * 2 ** (self.deaths[job.id] - 1)
        why = f"its process died ({self.deaths[job.id]} of {search.max_failures} times that it may); next in {wait} s"
        self.run.trial_ended(job.id, "INTERRUPTED", reached, why)
        self.later.append((time.monotonic() + wait, job))
        return True

    def _bring_back(self) -> None:
        now = time.monotonic()
        self.ready.extendleft(job for at, job in self.later if at <= now)
        self.later = [(at, job) for at, job in self.later if at > now]

    def save(self, checkpoint_path: str) -> None:
        """Nothing: Tune's snapshots are never restored, the run folder is."""

    def _draw(self) -> None:
        trial = self.optuna.ask()
        values, filled = self.study.space.sample(trial)
        spec, job_id = self.study.trial(filled), f"trial-{trial.number:04d}"
        self.run.add_trial(job_id, number=trial.number, kind=self.study.search.job, values=values, spec=spec)
        self.sampler.on_sampled(values)
        self.optunas.drew(trial, job_id)
        self.drawn += 1
        for fold, choice in enumerate(self._choices(spec)):
            self.run.append_event("encoder_chosen", id=job_id, fold=fold, **dataclasses.asdict(choice))
        self._admit(job_id, spec, trial.number)

    def _admit(self, job_id: str, spec: TrialSpec, number: int) -> None:
        choices = self._choices(spec)
        encoders, why = tuple(choice.encoder for choice in choices), tuple(choice.why for choice in choices)
        self._place(Job(job_id, self.study.search.job, spec, encoders, number, why=why))

    def _choices(self, spec: TrialSpec) -> tuple[Choice, ...]:
        """Whose weights a trial starts from, by fold; none if it needs no job. Its data is prepared on the way."""
        datasets = self._datasets(spec)
        if spec.encoder_to_pretrain is None:
            return ()
        wants = fingerprint([dataset.fingerprint for dataset in datasets], spec.encoder, spec.pretraining)
        if wants not in self.choices:
            # Where pre-training itself is searched, the best weights known would make all its values the same.
            searched = any(name.startswith(SEARCHED_PRETRAINING) for name in self.study.space.params)
            similar = self.study.search.job == TRIAL and not searched
            self.choices[wants] = tuple(
                choose_encoder(spec, dataset, self.run.path, similar=similar) for dataset in datasets
            )
            self.run.sync("encoders", "encoders.json")
        return self.choices[wants]

    def _datasets(self, spec: TrialSpec) -> list[Dataset]:
        """A trial's data, by fold; prepared once, for trials of the same data would each read all candles again."""
        seen = fingerprint(spec.market, spec.windows, spec.features)
        if seen not in self.datasets:
            self.datasets[seen] = [prepare_dataset(spec, self.run.path, fold)[1] for fold in range(spec.n_folds)]
            self.run.sync("data")
        return self.datasets[seen]

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
                    self.ready.append(self._pretraining(job, fold=job.encoders.index(encoder)))

    def _pretraining(self, waiter: Job, fold: int) -> Job:
        encoder, why = waiter.encoders[fold], waiter.why[fold]
        job_id = self._pretraining_id(encoder, waiter.spec)
        return Job(job_id, PRETRAINING, waiter.spec, (encoder,), fold=fold, why=(why,))

    def _pretraining_id(self, encoder: str, spec: TrialSpec) -> str:
        """The id of the job that makes an encoder: known from an interrupted run, or new."""
        name = f"encoder-{encoder[:12]}"
        earlier = [record for record in self.run.records() if record.id.startswith(name)]
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
        self.optunas.ended(self.run.record(job.id))
        self.n_ended += 1
        self.limits.ended(self.run.record(job.id))


def _failure(folder: TrialFolder) -> str | None:
    """The error that a job's process recorded as the last thing it did."""
    last = folder.last_event()
    return last["error"] if last and last["event"] == "failed" else None


def _goes_on_smaller(folder: TrialFolder) -> bool:
    """Whether a job ran out of memory as the last thing it did, and there is a smaller shape to go on with."""
    last = folder.last_event()
    return last is not None and last["event"] == "out_of_memory" and last["next"] is not None

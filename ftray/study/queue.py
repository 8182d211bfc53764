"""The job queue of a study: which job runs next, and which has to wait. Knows no Tune, no Optuna, no Ray and no clock.

Takes: sampled jobs, and how those that were started ended. Gives: the next job to start, each job in one process at a
time, until all of them have ended.

A job waits for three reasons: the encoders that it starts from are not pre-trained yet, its process crashed a moment
ago, or it ran out of memory and is to be retried with a smaller memory plan. Nothing that waits holds resources.
"""

import dataclasses
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from ftray.runs.records import JobKind
from ftray.spec import to_mapping
from ftray.trial.memory_plan import FULL, MemoryPlan
from ftray.trial.spec import TrialSpec

MAX_WAITING = 8
"""The most jobs that wait for encoders: a configuration sampled before others have ended learns nothing from them."""


@dataclasses.dataclass(frozen=True)
class Job:
    """An RL trial, or the pre-training of one encoder on one fold.

    number: the configuration's, counted by Optuna; None for a pre-training job that only serves trials.
    encoders: those that a trial starts from, by fold; of a pre-training job, the one that it makes.
    reasons: why each encoder was chosen.
    """

    id: str
    kind: JobKind
    spec: TrialSpec
    encoders: tuple[str, ...] = ()
    number: int | None = None
    fold: int = 0
    reasons: tuple[str, ...] = ()
    memory_plan: MemoryPlan = FULL

    def config(self) -> dict[str, Any]:
        plain = {"id": self.id, "kind": self.kind.value, "spec": to_mapping(self.spec), "fold": self.fold}
        return plain | {"memory_plan": to_mapping(self.memory_plan)}


class JobQueue:
    """Every job of a study, from the moment it is sampled until it has ended for good.

    ready: in the order in which they start. waiting: for encoders, the oldest first. retrying: each with the time at
    which its back-off ends. in_progress: what was started, by id.
    """

    def __init__(
        self,
        has_encoder: Callable[[str], bool],
        pretraining_job: Callable[[Job, int], Job],
        max_crashes: int = 2,
        retry_after: float = 5.0,
    ):
        """has_encoder: whether an encoder's weights are finished.
        pretraining_job: makes the job that pre-trains the encoder of a trial's fold.
        max_crashes: how many crashes in a row, without any progress between them, a job survives.
        retry_after: seconds until the first retry, twice as many before each further one.
        """
        self.has_encoder, self.pretraining_job = has_encoder, pretraining_job
        self.max_crashes, self.retry_after = max_crashes, retry_after
        self.ready: deque[Job] = deque()
        self.waiting: list[Job] = []
        self.retrying: list[tuple[float, Job]] = []
        self.in_progress: dict[str, Job] = {}
        self.crashes: Counter[str] = Counter()
        self._best_step: dict[str, float] = {}
        self._encoder_errors: dict[str, str] = {}

    @property
    def is_empty(self) -> bool:
        """Whether every job has ended. A job in progress may be retried, after a crash or out of memory."""
        return not (self.ready or self.waiting or self.retrying or self.in_progress)

    @property
    def wants_jobs(self) -> bool:
        """Whether no job is ready to start and a new one may be sampled now."""
        return not self.ready and len(self.waiting) < MAX_WAITING

    def add(self, job: Job) -> str | None:
        """Adds a new job; returns why if it can never run: the pre-training of its encoder has failed."""
        error = next((self._encoder_errors[one] for one in job.encoders if one in self._encoder_errors), None)
        if error is not None:
            return error
        missing = [encoder for encoder in job.encoders if not self.has_encoder(encoder)]
        in_progress = self._encoders_in_progress()
        if not missing or (job.kind == JobKind.PRETRAINING and not in_progress.intersection(missing)):
            self.ready.append(job)
            return None
        self.waiting.append(job)
        for encoder in dict.fromkeys(missing):
            if encoder not in in_progress:
                self.ready.append(self.pretraining_job(job, job.encoders.index(encoder)))
        return None

    def end_back_off(self, now: float) -> None:
        """Puts the jobs whose back-off has ended before all others, the one that waits longest first."""
        due = sorted((retry for retry in self.retrying if retry[0] <= now), key=lambda retry: retry[0])
        self.retrying = [retry for retry in self.retrying if retry[0] > now]
        self.ready.extendleft(job for _, job in reversed(due))

    def next(self) -> Job | None:
        """The next job to start, now in progress; None if all have to wait."""
        if not self.ready:
            return None
        job = self.ready.popleft()
        self.in_progress[job.id] = job
        return job

    def out_of_memory(self, job_id: str, memory_plan: MemoryPlan) -> None:
        """Takes a job back that is to be retried, before all others, with a smaller memory plan."""
        self.ready.appendleft(dataclasses.replace(self.in_progress.pop(job_id), memory_plan=memory_plan))

    def crashed(self, job_id: str, step: float, now: float) -> float | None:
        """Takes a job back whose process died; the seconds until it is retried. None if it crashed too often: end it.

        step: how far it had come. The count of crashes starts again once a job has got further: on spot nodes a long
        job crashes any number of times, through no fault of its own. An immediate retry might be placed on the node
        that is just going down.
        """
        best = self._best_step.get(job_id, 0)
        self.crashes[job_id] = 1 if step > best else self.crashes[job_id] + 1
        self._best_step[job_id] = max(step, best)
        if self.crashes[job_id] > self.max_crashes:
            return None
        wait = self.retry_after * 2 ** (self.crashes[job_id] - 1)
        self.retrying.append((now + wait, self.in_progress.pop(job_id)))
        return wait

    def ended(self, job_id: str, error: str | None = None) -> list[tuple[Job, str]]:
        """Forgets a job that has ended for good; the waiting trials that fail with it, each with the reason.

        Those that waited for nothing else become ready.
        """
        job = self.in_progress.pop(job_id)
        if job.kind != JobKind.PRETRAINING:
            return []
        if error is not None:
            self._encoder_errors[job.encoders[0]] = f"its pre-training job {job.id} failed: {error}"
        waiting, self.waiting = self.waiting, []
        errors = [(one, self.add(one)) for one in waiting]
        return [(one, reason) for one, reason in errors if reason is not None]

    def _encoders_in_progress(self) -> set[str]:
        jobs = [*self.ready, *(job for _, job in self.retrying), *self.in_progress.values()]
        return {job.encoders[0] for job in jobs if job.kind == JobKind.PRETRAINING}

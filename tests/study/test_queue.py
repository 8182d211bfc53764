"""The job queue: nothing is lost, nothing runs twice at once, no job waits forever, whatever happens to the jobs."""

import dataclasses
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ftray.runs.records import JobKind
from ftray.study.queue import MAX_WAITING, Job, JobQueue
from ftray.trial import TrialSpec
from ftray.trial.memory_plan import FULL, MemoryPlan

SPEC: Any = None  # what a job does is no matter to the queue
MAX_CRASHES, RETRY_AFTER = 2, 10.0
ENCODERS = ("a", "b", "c", "d")
LONG = RETRY_AFTER * 2**MAX_CRASHES
"""Seconds after which every back-off has ended."""


def trial(number: int, *encoders: str, memory_plan: MemoryPlan = FULL) -> Job:
    reasons = tuple(f"wants {encoder}" for encoder in encoders)
    return Job(f"trial-{number}", JobKind.TRIAL, SPEC, encoders, number, reasons=reasons, memory_plan=memory_plan)


def search_for(number: int, encoder: str) -> Job:
    """A configuration of a study that searches pre-training alone."""
    return Job(f"trial-{number}", JobKind.PRETRAINING, SPEC, (encoder,), number, reasons=("",))


def pretraining(waiter: Job, fold: int) -> Job:
    encoder = waiter.encoders[fold]
    return Job(f"encoder-{encoder}", JobKind.PRETRAINING, SPEC, (encoder,), fold=fold, reasons=(waiter.reasons[fold],))


def queue_of(*jobs: Job, finished: set[str] | None = None) -> JobQueue:
    queue = JobQueue((set() if finished is None else finished).__contains__, pretraining, MAX_CRASHES, RETRY_AFTER)
    for job in jobs:
        assert queue.add(job) is None
    return queue


def handed_out(queue: JobQueue) -> list[str]:
    """All jobs that can start now."""
    jobs = []
    while (job := queue.next()) is not None:
        jobs.append(job.id)
    return jobs


def test_a_trial_waits_for_the_encoders_of_all_its_folds_and_each_is_made_once():
    finished: set[str] = set()
    queue = queue_of(trial(0, "a", "b"), trial(1, "b"), trial(2), finished=finished)
    assert handed_out(queue) == ["encoder-a", "encoder-b", "trial-2"]
    finished.add("b")
    assert queue.ended("encoder-b") == []
    assert handed_out(queue) == ["trial-1"]
    finished.add("a")
    queue.ended("encoder-a")
    assert handed_out(queue) == ["trial-0"]


def test_an_encoder_that_several_folds_share_is_made_once():
    assert handed_out(queue_of(trial(0, "a", "a"))) == ["encoder-a"]


def test_the_failure_of_an_encoder_fails_those_that_wait_for_it_and_those_that_come_later():
    queue = queue_of(trial(0, "a"), trial(1, "b"))
    handed_out(queue)
    ((waiter, reason),) = queue.ended("encoder-a", "broken")
    assert waiter.id == "trial-0" and reason == "its pre-training job encoder-a failed: broken"
    assert queue.add(trial(2, "a")) == reason
    assert [job.id for job in queue.waiting] == ["trial-1"]


def test_two_configurations_that_search_the_same_pretraining_run_one_after_the_other():
    finished: set[str] = set()
    queue = queue_of(search_for(0, "a"), search_for(1, "a"), finished=finished)
    assert handed_out(queue) == ["trial-0"]
    queue.ended("trial-0")  # stopped early: its weights are not finished
    assert handed_out(queue) == ["trial-1"]


def test_a_crashed_job_is_retried_after_ever_longer_times_before_all_others():
    queue = queue_of(trial(0), trial(1))
    queue.next()
    assert queue.crashed("trial-0", step=64, now=0.0) == RETRY_AFTER
    queue.end_back_off(RETRY_AFTER - 0.1)
    assert [job.id for job in queue.ready] == ["trial-1"] and not queue.is_empty
    queue.end_back_off(RETRY_AFTER)
    assert queue.next().id == "trial-0"
    assert queue.crashed("trial-0", step=64, now=RETRY_AFTER) == 2 * RETRY_AFTER
    queue.end_back_off(3 * RETRY_AFTER)
    assert queue.next().id == "trial-0"
    assert queue.crashed("trial-0", step=64, now=0.0) is None, "no further than before, and once too often"
    assert "trial-0" in queue.in_progress, "for its owner to end"


def test_crashes_count_from_zero_once_a_job_got_further():
    queue = queue_of(trial(0))
    for step in range(1, 10):
        queue.next()
        assert queue.crashed("trial-0", step, now=0.0) == RETRY_AFTER
        queue.end_back_off(RETRY_AFTER)


def test_a_job_out_of_memory_is_retried_before_all_others_with_its_smaller_plan():
    queue = queue_of(trial(0), trial(1))
    job = queue.next()
    queue.out_of_memory(job.id, MemoryPlan(2))
    again = queue.next()
    assert again == dataclasses.replace(job, memory_plan=MemoryPlan(2))
    config = dataclasses.replace(again, spec=TrialSpec()).config()
    assert config["memory_plan"] == {
        "micro_batches": 2,
        "activation_checkpointing": False,
        "n_env_runners": None,
    }


def test_few_jobs_are_sampled_blindly():
    queue = queue_of(*(trial(number, "a") for number in range(MAX_WAITING)))
    assert not queue.wants_jobs
    handed_out(queue)
    assert not queue.wants_jobs, "the next one would only wait as well"
    queue.ended("encoder-a", "broken")
    assert queue.wants_jobs and queue.is_empty


class Studies(RuleBasedStateMachine):
    """A driver and its jobs: the records of a run folder, and a queue that has to agree with them.

    unended: jobs that the records know and whose end they do not have. finished: encoders whose weights are there.
    running: what a process works on, as the driver handed it out.
    """

    @initialize(kind=st.sampled_from(JobKind))
    def begin(self, kind):
        self.kind, self.now, self.n_sampled = kind, 0.0, 0
        self.finished: set[str] = set()
        self.unended: dict[str, Job] = {}
        self.running: dict[str, Job] = {}
        self.restart()

    @rule()
    def restart(self):
        """The driver and all processes are gone; the next driver reads the records."""
        self.running = {}
        self.queue = JobQueue(self.finished.__contains__, pretraining, MAX_CRASHES, RETRY_AFTER)
        for job in list(self.unended.values()):
            self.add(job)

    def add(self, job: Job):
        if self.queue.add(job) is not None:
            del self.unended[job.id]

    @rule(encoders=st.lists(st.sampled_from(ENCODERS), max_size=3))
    def sample(self, encoders):
        if self.kind == JobKind.PRETRAINING:
            job = search_for(self.n_sampled, (encoders or ENCODERS)[0])
        else:
            job = trial(self.n_sampled, *encoders)
        self.n_sampled += 1
        self.unended[job.id] = job
        self.add(job)

    @rule()
    def hand_out(self):
        self.queue.end_back_off(self.now)
        job = self.queue.next()
        if job is None:
            return
        assert job.id not in self.running, "it runs already"
        assert job.number is None or job.id in self.unended, "it has ended"
        if job.kind == JobKind.TRIAL:
            assert self.finished.issuperset(job.encoders), "it has no weights to start from"
        else:
            at_work = [one.encoders for one in self.running.values() if one.kind == JobKind.PRETRAINING]
            assert job.encoders not in at_work or self.finished.issuperset(job.encoders), "it is being made already"
        self.running[job.id] = job

    @precondition(lambda self: self.running)
    @rule(
        data=st.data(), how=st.sampled_from(["ends", "is stopped", "fails", "crashes", "gets further", "lacks memory"])
    )
    def end_an_attempt(self, data, how):
        job = data.draw(st.sampled_from(list(self.running.values())))
        del self.running[job.id]
        if how == "lacks memory" and job.kind == JobKind.TRIAL:
            plan = MemoryPlan(2 * job.memory_plan.micro_batches)
            self.unended[job.id] = dataclasses.replace(self.unended[job.id], memory_plan=plan)
            self.queue.out_of_memory(job.id, plan)
        elif how in ("crashes", "gets further"):
            step = self.now + 1.0 if how == "gets further" else 0.0
            if self.queue.crashed(job.id, step, self.now) is None:
                self.end(job, "it crashed too often")
        else:
            if job.kind == JobKind.PRETRAINING and (how == "ends" or (job.number is None and how != "fails")):
                self.finished.update(job.encoders)
            self.end(job, "broken" if how == "fails" else None)

    def end(self, job: Job, error: str | None):
        self.unended.pop(job.id, None)
        for waiter, _ in self.queue.ended(job.id, error):
            assert error is not None and job.encoders[0] in waiter.encoders
            del self.unended[waiter.id]

    @rule(seconds=st.floats(0.0, LONG))
    def time_passes(self, seconds):
        self.now += seconds

    @invariant()
    def nothing_is_lost_and_nothing_is_there_twice(self):
        queue = self.queue
        there = [*queue.ready, *queue.waiting, *(job for _, job in queue.retrying), *queue.in_progress.values()]
        assert len({job.id for job in there}) == len(there)
        assert {job.id for job in there if job.number is not None} == self.unended.keys()
        assert queue.in_progress == self.running
        assert all(job.memory_plan == self.unended[job.id].memory_plan for job in there if job.number is not None)
        made = [job.encoders[0] for job in there if job.kind == JobKind.PRETRAINING and job not in queue.waiting]
        unfinished = [encoder for encoder in made if encoder not in self.finished]
        assert len(set(unfinished)) == len(unfinished), "an encoder is made twice at once"

    @invariant()
    def nobody_starves(self):
        """Whenever all that ran has ended and time has passed, something is ready, or nothing is left."""
        if not self.running:
            assert self.queue.ready or self.queue.retrying or self.queue.is_empty

    def teardown(self):
        """Let all that is left end well: every job comes to its end."""
        for job in list(self.running.values()):
            self.finish(job)
        for _ in range(4 * (len(self.unended) + len(ENCODERS)) + 4):
            self.now += LONG
            self.hand_out()
            for job in list(self.running.values()):
                self.finish(job)
        assert self.queue.is_empty and not self.unended

    def finish(self, job: Job):
        del self.running[job.id]
        if job.kind == JobKind.PRETRAINING:
            self.finished.update(job.encoders)
        self.end(job, None)


TestStudies = Studies.TestCase
TestStudies.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("kind", JobKind)
def test_kinds_are_what_the_run_folder_has_on_disk(kind):
    assert kind == kind.value in ("trial", "pretraining")
    assert dataclasses.replace(trial(0), kind=kind, spec=TrialSpec()).config()["kind"] == kind.value

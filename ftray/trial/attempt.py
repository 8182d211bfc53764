"""One attempt of a job, in the job's own process: an RL trial from its last checkpoint on, or a pre-training job.

Takes: what the job is, its folder, where it was placed. Gives: the events, metrics and costs of the attempt in that
folder, and how it ended. A study, `ftray train`, `ftray pretrain` and `ftray promote` all run their jobs with it.
"""

import dataclasses
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ftray.agent.devices import cap_gpu_memory
from ftray.capacity.placement import Placement, cpus, gpus
from ftray.errors import FtrayError, OutOfMemoryError
from ftray.runs import TrialFolder
from ftray.runs.costs import booked
from ftray.runs.provenance import machine
from ftray.runs.records import JobKind
from ftray.trial.memory_plan import FULL, MemoryPlan
from ftray.trial.out_of_memory import never_fitted, step_down
from ftray.trial.preparation import prepare_dataset, pretrain_encoder
from ftray.trial.spec import TrialSpec
from ftray.vram.gpus import local_gpu
from ftray.vram.plan import GpuShares


class Report(Protocol):
    """Takes each training result, and the folder of a checkpoint where one was just written."""

    def __call__(self, metrics: dict[str, Any], checkpoint: Path | None = None) -> None: ...


class TrialFn(Protocol):
    """What an RL trial does, as `run_trial`: reports, and returns at its end."""

    def __call__(
        self,
        spec: TrialSpec,
        report: Report,
        *,
        folder: Path,
        resume: Path | None,
        shared: Path | None,
        memory_plan: MemoryPlan,
        gpus: GpuShares,
    ) -> Any: ...


@dataclasses.dataclass(frozen=True)
class Attempt:
    """A job and where it runs. folder: the job's own. shared: the run folder. fold: of a pre-training job.

    memory_plan: of a trial; `place` is the placement of the job with that plan.
    """

    kind: JobKind
    spec: TrialSpec
    folder: TrialFolder
    shared: Path
    place: Placement
    fold: int = 0
    memory_plan: MemoryPlan = FULL


@dataclasses.dataclass(frozen=True)
class AttemptResult:
    """How an attempt ended: at the job's end; with an error, which is recorded in the job's folder; or out of memory.

    retry_with: the smaller memory plan to retry with after running out of memory.
    """

    error: Exception | None = None
    retry_with: MemoryPlan | None = None


def run_attempt(
    attempt: Attempt,
    on_report: Report,
    trial_fn: TrialFn | None = None,
    *,
    not_recorded: tuple[type[Exception], ...] = (),
    diagnose: Callable[[], str | None] = lambda: None,
    show_progress: bool = False,
) -> AttemptResult:
    """Runs a job to its end or to an error, and records in its folder how it ended.

    on_report: called after each report is stored. trial_fn: what an RL trial does, like `run_trial`.
    not_recorded: errors that are raised, as they say nothing about the job. diagnose: may explain an unknown error.
    """
    folder, place, is_trial = attempt.folder, attempt.place, attempt.kind == JobKind.TRIAL
    before, began = folder.cost(), time.monotonic()
    planned = {"vram/planned_gib": place.plan.learner_gib} if is_trial and place.plan else {}

    def cost() -> dict[str, float]:
        return booked(before, cpus(place.bundles), gpus(place.bundles), time.monotonic() - began)

    def report(metrics: dict[str, Any], checkpoint: Path | None = None) -> None:
        folder.report(metrics | planned | cost())
        on_report(metrics, checkpoint)

    folder.started(**host_info())
    try:
        if is_trial:
            _train(attempt, report, trial_fn)
        else:
            _pretrain(attempt, report, show_progress)
        folder.finished()
        return AttemptResult()
    except not_recorded:
        raise
    except Exception as error:
        return _failed(attempt, error, diagnose)
    finally:
        folder.spent(cost())


def describe_error(error: Exception) -> str:
    """An error as a job records it: the message of one of ours, any other with its traceback."""
    if isinstance(error, FtrayError):
        return str(error)
    trace = "".join(traceback.format_exception(error))
    return f"{type(error).__name__}: {error}\n{trace}"


def host_info() -> dict[str, Any]:
    """The machine, the process, the GPU that it sees, and the versions in it."""
    gpu = local_gpu()
    return {**machine(), "gpu": gpu.name if gpu else None}


def _train(attempt: Attempt, report: Report, trial_fn: TrialFn | None) -> None:
    assert trial_fn is not None
    trial_fn(
        attempt.spec,
        report,
        folder=attempt.folder.folder,
        resume=attempt.folder.checkpoint,
        shared=attempt.shared,
        memory_plan=attempt.memory_plan,
        gpus=attempt.place.shares,
    )


def _pretrain(attempt: Attempt, report: Report, show_progress: bool) -> None:
    shares = attempt.place.shares
    cap_gpu_memory(shares.learner_cap_gib, shares.planned_gib)  # as `run_trial` does
    _, dataset = prepare_dataset(attempt.spec, attempt.shared, attempt.fold)
    card = pretrain_encoder(attempt.spec, dataset, attempt.shared, report, device=shares.device, progress=show_progress)
    report({"epoch": card.epochs, "best_epoch": card.best_epoch, "validation_loss": card.validation_loss})


def _failed(attempt: Attempt, error: Exception, diagnose: Callable[[], str | None]) -> AttemptResult:
    if attempt.kind == JobKind.TRIAL and isinstance(error, OutOfMemoryError):
        return _out_of_memory(attempt, error)
    cause = None if isinstance(error, FtrayError) else diagnose()
    attempt.folder.failed(f"{cause}\n{describe_error(error)}" if cause else describe_error(error))
    return AttemptResult(error)


def _out_of_memory(attempt: Attempt, error: OutOfMemoryError) -> AttemptResult:
    smaller = step_down(attempt.folder, attempt.spec, attempt.memory_plan, error, attempt.place.plan)
    if smaller is not None:
        return AttemptResult(retry_with=smaller)
    never = OutOfMemoryError(never_fitted(attempt.folder, attempt.spec), error.process)
    attempt.folder.failed(str(never))
    return AttemptResult(never)

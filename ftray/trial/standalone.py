"""One trial, or its pre-training alone, without a study around it: what `ftray train` and `ftray pretrain` run."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ftray.analysis.looks import restore_looks
from ftray.boards.tensorboard import TensorBoard
from ftray.capacity.nodes import this_machine
from ftray.errors import MissingDependencyError
from ftray.metrics import EVALUATED, SELECTED_STEPS, SHARPE
from ftray.pretraining import EncoderCard
from ftray.runs import RunFolder, TrialFolder
from ftray.runs.location import runs_root
from ftray.runs.provenance import git_commit
from ftray.runs.records import JobKind
from ftray.runs.refused import kept_if_used
from ftray.tables.parquet import compact
from ftray.trial.attempt import Attempt, TrialFn, describe_error, run_attempt
from ftray.trial.out_of_memory import memory_plan_of, release_memory
from ftray.trial.preparation import check_checkpoint, choose_encoder, prepare_dataset, pretrain_encoder
from ftray.trial.resources import place_pretraining, place_trial
from ftray.trial.spec import TrialSpec
from ftray.trial.windows import record_bars

TRIAL_ID = "trial-0000"


def train(spec: TrialSpec, run: RunFolder, trial_fn: TrialFn | None = None) -> None:
    """Trains the one trial of a run folder after its pre-training, or continues where it was interrupted.

    trial_fn: what the trial does, where only the machinery around it matters. Raises: FtrayError, after recording it.
    """
    from ftray.capacity.local_ray import check_ray, local_ray
    from ftray.trial.judge import record_benchmarks

    with kept_if_used(run), run.driven():
        check_ray()
        check_checkpoint(spec)
        record_benchmarks(spec, run)
        record_bars(spec, run)
        restore_looks(run)
        if spec.encoder_to_pretrain:
            _pretrain(spec, run, similar=True)
        if _is_unfinished(run, TRIAL_ID, 0, JobKind.TRIAL, spec):
            with local_ray(), _recorded(run, TRIAL_ID) as on_report:
                train_trial(spec, run.trial_folder(TRIAL_ID), run, on_report, trial_fn)
        run.mark_done()


def pretrain_alone(spec: TrialSpec, run: RunFolder) -> list[EncoderCard]:
    """The file's pre-training jobs, one per fold; needs no Ray."""
    with kept_if_used(run), run.driven():
        cards = _pretrain(spec, run, similar=False)
        compact(run, whole=True)
        run.mark_done()
    return cards


def train_trial(
    spec: TrialSpec,
    folder: TrialFolder,
    run: RunFolder,
    on_report: Callable[[], object] = lambda: None,
    trial_fn: TrialFn | None = None,
) -> None:
    """Trains a trial in its folder from its last checkpoint on, with a smaller memory plan whenever memory runs out.

    run: the run folder whose data and encoders the trial uses. on_report: called after each report.

    Raises: FtrayError for what the user can fix; OutOfMemoryError, with all that was tried, if no memory plan fits.
    """
    from ftray.capacity.cluster_view import nodes_at_hand
    from ftray.capacity.measured_rows import MeasuredRows
    from ftray.trial.run import run_trial

    def print_progress(metrics: dict[str, Any], checkpoint: Path | None = None) -> None:
        on_report()
        sharpe = f", validation Sharpe {metrics[SHARPE]:.2f}" if SHARPE in metrics else ""
        selected = f" (selected: after {metrics[SELECTED_STEPS]:,} steps)" if EVALUATED in metrics else ""
        print(f"{metrics['env_steps']:,}/{spec.env_steps:,} steps{sharpe}{selected}", flush=True)

    while True:
        memory_plan = memory_plan_of(folder)
        place = place_trial(spec, MeasuredRows(runs_root(run.location)).nodes(nodes_at_hand()), memory_plan)
        attempt = Attempt(JobKind.TRIAL, spec, folder, run.path, place, memory_plan=memory_plan)
        result = run_attempt(attempt, print_progress, trial_fn or run_trial)
        if result.error is not None:
            raise result.error
        if result.retry_with is None:
            return
        before, after = memory_plan.describe(spec), result.retry_with.describe(spec)
        print(f"out of memory with {before}; retried with {after}", flush=True)
        release_memory()


def _pretrain(spec: TrialSpec, run: RunFolder, *, similar: bool) -> list[EncoderCard]:
    """The encoders of all folds. similar: whether weights of other jobs may be used (`choose_encoder`)."""
    cards = []
    for fold in range(spec.n_folds):
        _, dataset = prepare_dataset(spec, run.path, fold)
        choice = choose_encoder(spec, dataset, run.path, similar=similar)
        if choice.encoder != choice.wanted:
            print(choice.why, flush=True)
            continue
        job_id = f"encoder-{choice.encoder[:12]}"
        if _is_unfinished(run, job_id, None, JobKind.PRETRAINING, spec):
            place = place_pretraining(spec, [this_machine()])
            attempt = Attempt(JobKind.PRETRAINING, spec, run.trial_folder(job_id), run.path, place, fold)
            with _recorded(run, job_id) as on_report:
                result = run_attempt(attempt, lambda *row, on_report=on_report, **more: on_report(), show_progress=True)
                if result.error is not None:
                    raise result.error
        cards.append(pretrain_encoder(spec, dataset, run.path))
    return cards


def _is_unfinished(run: RunFolder, job_id: str, number: int | None, kind: JobKind, spec: TrialSpec) -> bool:
    """Whether a job has not ended for good; records a new one."""
    if job_id not in {record.id for record in run.records()}:
        run.add_trial(job_id, number, kind, values={}, spec=spec)
    return not run.record(job_id).is_final


@contextlib.contextmanager
def _recorded(run: RunFolder, job_id: str) -> Iterator[Callable[[], None]]:
    """Records in the run folder that a job runs, and how it ended; yields what sends its reports to TensorBoard."""
    board = TensorBoard(run)

    def show(write: Callable[[str], None]) -> None:
        with contextlib.suppress(MissingDependencyError):  # pre-training runs without Ray, which brings its format
            write(job_id)

    def end(state: Any, error: str | None = None) -> None:
        run.trial_ended(job_id, state, run.trial_folder(job_id).cost(), error)

    run.trial_started(job_id, commit=git_commit())
    try:
        yield lambda: show(board.follow)
    except KeyboardInterrupt:
        end("INTERRUPTED")
        raise
    except Exception as error:
        end("FAILED", describe_error(error))
        raise
    else:
        end("COMPLETE")
    finally:
        show(board.ended)

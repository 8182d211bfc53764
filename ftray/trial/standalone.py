"""One trial, or its pre-training alone, without a study around it: what `ftray train` and `ftray pretrain` run."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ftray.boards.tensorboard import TensorBoard
from ftray.errors import FtrayError, MissingDependencyError, OutOfMemoryError
from ftray.metrics import PLANNED_GIB, SHARPE
from ftray.pretraining import EncoderCard
from ftray.runs import RunFolder, TrialFolder
from ftray.runs.provenance import git_commit
from ftray.tables.parquet import compact
from ftray.trial.preparation import choose_encoder, prepare_dataset, pretrain_encoder
from ftray.trial.resources import place_trial
from ftray.trial.spec import TrialSpec
from ftray.trial.whereabouts import whereabouts

TRIAL_ID = "trial-0000"


def train(spec: TrialSpec, run: RunFolder) -> None:
    """Trains the one trial of a run folder after its pre-training; what was interrupted goes on, what is done stays.

    Raises: FtrayError, after recording it.
    """
    from ftray.capacity.local_ray import local_ray
    from ftray.trial.judge import record_benchmarks

    with run.driven():
        record_benchmarks(spec, run)
        if spec.encoder_to_pretrain:
            _pretrain(spec, run, similar=True)
        if _wanted(run, TRIAL_ID, 0, "trial", spec):
            with local_ray(), _recorded(run, TRIAL_ID) as reported:
                train_trial(spec, run.trial_folder(TRIAL_ID), run, reported)
        compact(run, whole=True)
        run.mark_done()


def pretrain_alone(spec: TrialSpec, run: RunFolder) -> list[EncoderCard]:
    """The file's pre-training jobs, one per fold; needs no Ray."""
    with run.driven():
        cards = _pretrain(spec, run, similar=False)
        compact(run, whole=True)
        run.mark_done()
    return cards


def train_trial(
    spec: TrialSpec, folder: TrialFolder, run: RunFolder, reported: Callable[[], object] = lambda: None
) -> None:
    """Trains a trial in its folder, from its last checkpoint on, in ever smaller shapes as long as memory runs out.

    run: what it shares with others. reported: called after each report. Raises: FtrayError for what the user can mend.
    """
    while not _trained(spec, folder, run, reported):
        pass


def _trained(spec: TrialSpec, folder: TrialFolder, run: RunFolder, reported: Callable[[], object]) -> bool:
    """Whether the trial came to its end in the shape that it has come down to; if not, it goes on in the next one.

    Raises: OutOfMemoryError with all that was tried, where there is no smaller shape.
    """
    from ftray.capacity.cluster_view import nodes_at_hand
    from ftray.capacity.measured_rows import MeasuredRows, runs_root
    from ftray.trial.out_of_memory import never_fitted, release_memory, shape_of, step_down
    from ftray.trial.run import run_trial

    def report(metrics: dict[str, Any], checkpoint: Path | None = None) -> None:
        folder.report(metrics | planned)
        reported()
        shown = f", validation Sharpe {metrics[SHARPE]:.2f}" if SHARPE in metrics else ""
        print(f"{metrics['env_steps']:,}/{spec.env_steps:,} steps{shown}", flush=True)

    shape = shape_of(folder)
    place = place_trial(spec, MeasuredRows(runs_root(run.location)).nodes(nodes_at_hand()), shape)
    planned = {PLANNED_GIB: place.plan.learner_gib} if place.plan else {}
    resume, gpus = folder.checkpoint, place.shares
    try:
        run_trial(spec, report, folder=folder.folder, resume=resume, shared=run.path, shape=shape, gpus=gpus)
    except OutOfMemoryError as error:
        smaller = step_down(folder, spec, shape, error, place.plan)
        if smaller is None:
            raise OutOfMemoryError(never_fitted(folder, spec), error.process) from None
        print(f"out of memory with {shape.describe(spec)}; goes on with {smaller.describe(spec)}", flush=True)
    else:
        return True
    release_memory()
    return False


def _pretrain(spec: TrialSpec, run: RunFolder, *, similar: bool) -> list[EncoderCard]:
    """The encoders of all folds. similar: whether other jobs than the file's own may stand in (`choose_encoder`)."""
    cards = []
    for fold in range(spec.n_folds):
        _, dataset = prepare_dataset(spec, run.path, fold)
        choice = choose_encoder(spec, dataset, run.path, similar=similar)
        if choice.encoder != choice.wanted:
            print(choice.why, flush=True)
            continue
        job_id = f"encoder-{choice.encoder[:12]}"
        if _wanted(run, job_id, None, "pretraining", spec):
            with _recorded(run, job_id) as reported:

                def report(metrics: Mapping[str, Any], job_id: str = job_id, reported: Any = reported) -> None:
                    run.trial_folder(job_id).report(metrics)
                    reported()

                pretrain_encoder(spec, dataset, run.path, report, progress=True)
        cards.append(pretrain_encoder(spec, dataset, run.path))
    return cards


def _wanted(run: RunFolder, job_id: str, number: int | None, kind: str, spec: TrialSpec) -> bool:
    """Whether a job is still to be done; a new one is noted."""
    if job_id not in {record.id for record in run.records()}:
        run.add_trial(job_id, number, kind, values={}, spec=spec)
    return not run.record(job_id).is_final


@contextlib.contextmanager
def _recorded(run: RunFolder, job_id: str) -> Iterator[Callable[[], None]]:
    """Notes that a job runs, and how it ended; gives what is to be called after each report, for TensorBoard's sake."""
    board = TensorBoard(run)

    def show(write: Callable[[str], None]) -> None:
        with contextlib.suppress(MissingDependencyError):  # pre-training runs without Ray, which brings its format
            write(job_id)

    run.trial_started(job_id, commit=git_commit())
    run.trial_folder(job_id).started(**whereabouts())
    try:
        yield lambda: show(board.follow)
    except KeyboardInterrupt:
        run.trial_ended(job_id, "INTERRUPTED")
        raise
    except Exception as error:
        known = isinstance(error, FtrayError)
        run.trial_ended(job_id, "FAILED", error=str(error) if known else f"{type(error).__name__}: {error}")
        raise
    else:
        run.trial_ended(job_id, "COMPLETE")
    finally:
        show(board.ended)

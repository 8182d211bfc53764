"""`run_study`: a study from its file to its leaderboard, or on from where it was stopped."""

from pathlib import Path

from ray import tune

from ftray.errors import StudyInterruptedError
from ftray.results import RunFolder, TrialRecord
from ftray.study.jobs import trainable
from ftray.study.opening import open_run
from ftray.study.pending import PendingLimit
from ftray.study.progress import Progress
from ftray.study.room import Room
from ftray.study.schedulers import build_scheduler
from ftray.study.searcher import OPTUNA_STATES, StudySearcher, drawn_trials
from ftray.study.spec import StudySpec
from ftray.trial.judge import record_benchmarks
from ftray.trial.local import Say, local_ray, nodes_at_hand


def run_study(study: StudySpec, root: Path, say: Say = print, show: Say = lambda line: None) -> RunFolder:
    """Runs a study to its end in `root/NAME`; a second call continues it, a finished one is only returned.

    say, show: take a line that stays, and the one that always tells the latest.

    Raises: StudyInterruptedError on Ctrl-C, NeverPlacedError where jobs wait in vain for room; either way everything up
        to the last checkpoints is kept.
    """
    run = open_run(study, root)
    if run.is_done and len(_ended(run)) >= study.search.n_trials:
        say(f"{run.path} is finished: nothing to run")
        return run
    with run.driven():
        record_benchmarks(study.trial(next(iter(study.space.ends()))), run)
        with local_ray(say):
            _search(study, run, Room.of(study, nodes_at_hand()), say, show)
    if len(_ended(run)) < study.search.n_trials:
        raise StudyInterruptedError(
            f"stopped with {len(_ended(run))} of {study.search.n_trials} trials ended; the same command continues"
        )
    run.mark_done()
    return run


def _search(study: StudySpec, run: RunFolder, room: Room, say: Say, show: Say) -> None:
    already = len(_ended(run))
    say(f"study {study.name}: {study.search.n_trials} trials, {already} of them ended before, in {run.path}")
    run.append_event("study_started", n_trials=study.search.n_trials)
    searcher = StudySearcher(study, run)
    try:
        _fit(study, run, room, searcher, Progress(run, searcher, say, show))
    except KeyboardInterrupt:
        pass
    finally:
        _interrupt_unended(run)
        run.compact()


def _fit(study: StudySpec, run: RunFolder, room: Room, searcher: StudySearcher, progress: Progress) -> None:
    tuner = tune.Tuner(
        trainable(),
        param_space={"run": str(run.path.absolute()), "metric": study.search.metric, **room.config},
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=build_scheduler(study),
            num_samples=-1,  # pre-training jobs count as samples; the searcher ends the study
            max_concurrent_trials=study.search.max_concurrent or room.at_once,
            trial_dirname_creator=lambda trial: trial.config["id"],
            trial_name_creator=lambda trial: trial.config["id"],
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(run.path.absolute()),
            failure_config=tune.FailureConfig(max_failures=study.search.max_failures),
            callbacks=[progress, PendingLimit(study.search.pending_timeout)],
            verbose=0,
        ),
    )
    tuner.fit()


def _ended(run: RunFolder) -> list[TrialRecord]:
    return [record for record in drawn_trials(run) if record.state in OPTUNA_STATES]


def _interrupt_unended(run: RunFolder) -> None:
    for record in run.trials():
        if record.state == "RUNNING":
            run.trial_ended(record.id, "INTERRUPTED")

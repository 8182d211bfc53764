"""`run_study`: a study from its file to its leaderboard, or on from where it was stopped."""

from pathlib import Path

import ray
from ray import tune

from ftray.errors import SpecError, StudyInterruptedError
from ftray.results import RunFolder, TrialRecord
from ftray.study.jobs import trainable
from ftray.study.opening import open_run
from ftray.study.progress import Progress
from ftray.study.schedulers import build_scheduler
from ftray.study.searcher import OPTUNA_STATES, PRETRAINING, StudySearcher, drawn_trials
from ftray.study.spec import StudySpec
from ftray.trial import Bundles, cpus, pretraining_bundles, trial_bundles
from ftray.trial.judge import record_benchmarks
from ftray.trial.local import Say, local_ray


def run_study(study: StudySpec, root: Path, say: Say = print, show: Say = lambda line: None) -> RunFolder:
    """Runs a study to its end in `root/NAME`; a second call continues it, a finished one is only returned.

    say, show: take a line that stays, and the one that always tells the latest.

    Raises: StudyInterruptedError on Ctrl-C, with everything up to the last checkpoints kept.
    """
    run = open_run(study, root)
    if run.is_done and len(_ended(run)) >= study.search.n_trials:
        say(f"{run.path} is finished: nothing to run")
        return run
    with run.driven():
        record_benchmarks(study.trial(next(iter(study.space.ends()))), run)
        with local_ray(say):
            _check_it_fits(study)
            _search(study, run, say, show)
    if len(_ended(run)) < study.search.n_trials:
        raise StudyInterruptedError(
            f"stopped with {len(_ended(run))} of {study.search.n_trials} trials ended; the same command continues"
        )
    run.mark_done()
    return run


def _search(study: StudySpec, run: RunFolder, say: Say, show: Say) -> None:
    already = len(_ended(run))
    say(f"study {study.name}: {study.search.n_trials} trials, {already} of them ended before, in {run.path}")
    run.append_event("study_started", n_trials=study.search.n_trials)
    searcher = StudySearcher(study, run)
    try:
        _fit(study, run, searcher, Progress(run, searcher, say, show))
    except KeyboardInterrupt:
        pass
    finally:
        _interrupt_unended(run)
        run.compact()


def _fit(study: StudySpec, run: RunFolder, searcher: StudySearcher, progress: Progress) -> None:
    tuner = tune.Tuner(
        trainable(),
        param_space={"run": str(run.path.absolute()), "metric": study.search.metric},
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=build_scheduler(study),
            num_samples=-1,  # pre-training jobs count as samples; the searcher ends the study
            max_concurrent_trials=study.search.max_concurrent or _room_for(study),
            trial_dirname_creator=lambda trial: trial.config["id"],
            trial_name_creator=lambda trial: trial.config["id"],
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(run.path.absolute()),
            failure_config=tune.FailureConfig(max_failures=study.search.max_failures),
            callbacks=[progress],
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


def _needs(study: StudySpec) -> list[tuple[str, Bundles]]:
    """Everything a job of the study may ask for."""
    found: dict[str, tuple[str, Bundles]] = {}
    for filled in study.space.ends():
        spec = study.trial(filled)
        needs = [("a trial", trial_bundles(spec))] if study.search.job != PRETRAINING else []
        if spec.encoder_to_pretrain:
            needs.append(("a pre-training job", pretraining_bundles(spec)))
        found |= {str(need): need for need in needs}
    return list(found.values())


def _check_it_fits(study: StudySpec) -> None:
    """A request that can never be placed would stay pending for ever, without a word from Ray."""
    available = ray.cluster_resources().get("CPU", 0.0)
    for what, bundles in _needs(study):
        if cpus(bundles) > available:
            raise SpecError(
                f"{what} of this study asks for {cpus(bundles):g} CPUs ({bundles}) and the cluster has {available:g}: "
                "lower trial.ppo.n_env_runners, trial.ppo.cpus_per_env_runner or trial.pretraining.cpus"
            )


def _room_for(study: StudySpec) -> int:
    """How many of the smallest jobs fit at once."""
    smallest = min(max(cpus(bundles), 0.1) for _, bundles in _needs(study))
    return max(1, int(ray.cluster_resources().get("CPU", 1.0) / smallest))

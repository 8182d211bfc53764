"""`run_study`: a study from its file to its leaderboard, or on from where it was stopped."""

from typing import Any

from ray import tune
from ray.tune.stopper import Stopper

from ftray.agent.names import has_dashboard
from ftray.analysis.failures import describe_crashes, describe_failures
from ftray.capacity.elastic import ElasticCapacity
from ftray.capacity.local_ray import Say, local_ray
from ftray.capacity.measured_rows import MeasuredRows
from ftray.capacity.pending import PendingLimit
from ftray.capacity.probing import Probe, check_gpu_nodes
from ftray.errors import StudyInterruptedError
from ftray.runs import RunFolder, State, TrialRecord
from ftray.search.optuna_trials import OPTUNA_STATES, sampled_trials
from ftray.storage import Location
from ftray.study.budget import Limits
from ftray.study.jobs import Work, trainable
from ftray.study.opening import open_run
from ftray.study.optuna.storage import translate_database_errors
from ftray.study.placing import elastic_capacity
from ftray.study.progress import Progress
from ftray.study.schedulers import build_scheduler
from ftray.study.searcher import StudySearcher
from ftray.study.spec import StudySpec
from ftray.study.warm_start import told
from ftray.tables.parquet import compact
from ftray.trial.judge import record_benchmarks
from ftray.trial.run import run_trial
from ftray.vram.probe import probe_gpu

MANY = 100_000
"""Jobs that may wait for nodes. With no number at all Tune lets one wait, and a cluster would grow a node at a time."""


def run_study(
    study: StudySpec,
    root: Location,
    say: Say = print,
    show: Say = lambda line: None,
    retry_failed: bool = False,
    work: Work = run_trial,
    probe: Probe = probe_gpu,
) -> RunFolder:
    """Runs a study to its end in `root/NAME`; a second call continues it, a finished one is only returned.

    Its end is when all trials have ended, or a budget is spent, or none was better than the best for a while; what runs
    then ends INTERRUPTED at its last checkpoint, and goes on if the command is repeated with a larger budget.

    root: a folder, or a URL of object storage.
    say, show: take a line that stays, and the one that always tells the latest.
    retry_failed: failed trials, which otherwise stay failed, go on from their checkpoints.
    work: what a trial does, where only the machinery around it matters.
    probe: what is asked of each type of GPU node before the first trial, likewise.

    Raises: StudyInterruptedError on Ctrl-C and where trials fail all alike, NeverPlacedError where jobs wait in vain
        for room, UnusableGpuError before any trial where torch cannot use the GPUs; in any case everything up to the
        last checkpoints is kept.
    """
    run = open_run(study, root)
    failed = [record for record in _ended(run) if record.state == "FAILED"] if retry_failed else []
    if run.is_done and len(_ended(run)) >= study.search.n_trials and not failed:
        say(f"{run.where} is finished: nothing to run")
        return run
    with run.driven(say):
        run.sweep()
        for record in failed:
            run.trial_ended(record.id, "INTERRUPTED", error=f"to be tried again: {record.error}")
        limits = Limits(study, run)
        if limits.before_start() is None:
            record_benchmarks(study.corner_trials[0], run)
            with local_ray(say):
                capacity = elastic_capacity(study, MeasuredRows(root).look)
                capacity.wait(say, study.search.pending_timeout)
                check_gpu_nodes(capacity.now, run, say, probe, pending_timeout=study.search.pending_timeout)
                _search(study, run, limits, capacity, say, show, work)
        _close(study, run, limits, say)
    return run


def _close(study: StudySpec, run: RunFolder, limits: Limits, say: Say) -> None:
    """Says how a study ended, and marks it done if that was its end."""
    for line in (*describe_failures(sampled_trials(run.records())), *describe_crashes(run.events(), run.path)):
        say(line)
    n_ended, n_trials = len(_ended(run)), study.search.n_trials
    stopped = f"stopped with {n_ended} of {n_trials} trials ended"
    if n_ended < n_trials:
        run.append_event("study_stopped", why=limits.why, n_ended=n_ended)
        if limits.broken:
            raise StudyInterruptedError(
                f"{stopped}: {limits.why}. Mend the cause; the same command continues, with --retry-failed also the "
                "failed ones"
            )
        if limits.why is None:
            raise StudyInterruptedError(f"{stopped}; the same command continues")
        say(f"{stopped}: {limits.why}")
        _interrupt(run, "PENDING")
    compact(run, whole=True)
    run.mark_done()


def _search(
    study: StudySpec, run: RunFolder, limits: Limits, capacity: ElasticCapacity, say: Say, show: Say, work: Work
) -> None:
    already = len(_ended(run))
    say(f"study {study.name}: {study.search.n_trials} trials, {already} of them ended before, in {run.where}")
    run.append_event("study_started", n_trials=study.search.n_trials)
    try:
        with translate_database_errors(study.search.storage):
            searcher = StudySearcher(study, run, limits, capacity)
            for line in told(run):
                say(line)
            _fit(study, run, searcher, Progress(run, searcher, say, show), work)
    except KeyboardInterrupt:
        pass
    finally:
        _interrupt(run, "RUNNING")
        compact(run)


def _fit(study: StudySpec, run: RunFolder, searcher: StudySearcher, progress: Progress, work: Work) -> None:
    tuner = tune.Tuner(
        trainable(work),
        param_space={"run": str(run.location), "metric": study.search.metric},
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=build_scheduler(study, run),
            num_samples=-1,  # pre-training jobs count as samples; the searcher ends the study
            max_concurrent_trials=MANY,  # the searcher's part: a cluster grows
            trial_dirname_creator=lambda trial: trial.config["id"],
            trial_name_creator=lambda trial: trial.config["id"],
            # On a GPU a trial starts in a process of its own: what the last one left in its memory is gone. Elsewhere
            # there is no such thing, and a process takes 4 s to start, 7 % of a trial of a minute. In Ray's dashboard a
            # process that is used again would keep the name of its first trial.
            reuse_actors=not (searcher.capacity and searcher.capacity.now.config) and not has_dashboard(),
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(run.path.absolute()),
            failure_config=tune.FailureConfig(max_failures=0),  # the searcher's part: it lets time pass between
            stop=_AtLimits(searcher.limits),
            callbacks=[progress, PendingLimit(study.search.pending_timeout)],
            verbose=0,
        ),
    )
    tuner.fit()


def _ended(run: RunFolder) -> list[TrialRecord]:
    return [record for record in sampled_trials(run.records()) if record.state in OPTUNA_STATES]


def _interrupt(run: RunFolder, state: State) -> None:
    for record in run.records():
        if record.state == state:
            run.refresh(record.id)
            run.trial_ended(record.id, "INTERRUPTED", run.trial_folder(record.id).cost())


class _AtLimits(Stopper):
    """Tells Tune that a study has reached its limits; it then stops all jobs, each at the end of a report."""

    def __init__(self, limits: Limits):
        self.limits = limits

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles stoppers into a snapshot that is never restored."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Never a single trial: that is the scheduler's."""
        return False

    def stop_all(self) -> bool:
        return self.limits.reached()

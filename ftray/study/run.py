"""`run_study`: runs a study from its file to its leaderboard, or continues where it was stopped."""

from collections.abc import Sequence
from typing import Any

from ray import tune
from ray.tune.stopper import Stopper

from ftray.agent.names import has_dashboard
from ftray.analysis.failures import describe_crashes, describe_failures
from ftray.analysis.looks import count_also, restore_looks
from ftray.capacity.elastic import ElasticCapacity
from ftray.capacity.local_ray import check_ray, local_ray
from ftray.capacity.measured_rows import MeasuredRows
from ftray.capacity.pending import PendingLimit
from ftray.capacity.probing import Probe, check_gpu_nodes
from ftray.errors import StudyInterruptedError
from ftray.plugins import carried
from ftray.runs import RunFolder, State, TrialRecord
from ftray.runs.refused import kept_if_used
from ftray.say import Say
from ftray.search.optuna_trials import OPTUNA_STATES, sampled_trials
from ftray.storage import Location
from ftray.study.budget import Limits
from ftray.study.check import describe_alike, describe_benchmarks
from ftray.study.data_summary import describe_data
from ftray.study.jobs import trainable
from ftray.study.optuna.storage import translate_database_errors
from ftray.study.placing import elastic_capacity
from ftray.study.progress import TuneReporter
from ftray.study.schedulers import build_scheduler
from ftray.study.searcher import StudySearcher
from ftray.study.spec import StudySpec, open_run
from ftray.study.start_check import check_weights
from ftray.study.warm_start import describe_warm_start
from ftray.tables.parquet import compact
from ftray.trial.attempt import TrialFn
from ftray.trial.judge import record_benchmarks
from ftray.trial.run import run_trial
from ftray.trial.windows import record_bars
from ftray.vram.probe import probe_gpu

MAX_PENDING = 100_000
"""Jobs that may wait for nodes. Without a number Tune lets only one wait, and a cluster would grow a node at a time."""


def run_study(
    spec: StudySpec,
    root: Location,
    say: Say = print,
    show: Say = lambda line: None,
    retry_failed: bool = False,
    trial_fn: TrialFn = run_trial,
    probe: Probe = probe_gpu,
    callbacks: Sequence[tune.Callback] = (),
) -> RunFolder:
    """Runs a study to its end in `root/NAME`; a second call continues it; a finished study is only returned.

    It ends when all trials have ended, or a budget is used up, or none was better than the best for a while; those that
    run then end INTERRUPTED at their last checkpoints, and continue if the command is repeated with a larger budget.
    Returns the run folder; `ftray.open_study(run.location)` reads it.

    say, show: print a line; the status line, in place of the last one.
    retry_failed: failed trials, which otherwise stay failed, continue from their checkpoints.
    trial_fn: what a trial does. probe: checks each type of GPU node first. callbacks: Tune's, after ftray's own.

    Raises: OutputError, ClusterError for a Ray that does not answer, NeverPlacedError if jobs wait too long for
    resources, UnusableGpuError, each before a first job, and then a new run folder is deleted again;
    StudyInterruptedError on Ctrl-C and if all trials fail alike: everything up to the last checkpoints is kept.
    """
    spec, run = _opened(spec, root, say)
    failed = [record for record in _ended(run) if record.state == "FAILED"] if retry_failed else []
    if run.is_done and len(_ended(run)) >= spec.search.n_trials and not failed:
        say(f"{run.where} is finished: nothing to run")
        return run
    with kept_if_used(run), run.driven(say):
        _take_over(run, failed)
        limits = Limits(spec, run)
        if limits.before_start() is None:
            _check_start(spec)
            _record_judge(spec, run, say)
            with local_ray(say):
                capacity = _wait_for_capacity(spec, run, root, say, probe)
                _search(spec, run, limits, capacity, say, show, trial_fn, callbacks)
        _close(spec, run, limits, say)
    return run


def _opened(spec: StudySpec, root: Location, say: Say) -> tuple[StudySpec, RunFolder]:
    """The study's run folder, and the study with the options that its trials have."""
    run = open_run(spec, root)
    with kept_if_used(run):
        count_also(run, spec.search.also_counts, say)
    return spec.continuing(run.study), run


def _take_over(run: RunFolder, failed: Sequence[TrialRecord]) -> None:
    """Records as interrupted what an earlier driver left running, and what is to be retried."""
    run.sweep()
    for record in failed:
        run.trial_ended(record.id, "INTERRUPTED", error=f"to be retried: {record.error}")


def _check_start(spec: StudySpec) -> None:
    """Refuses a study none of whose trials could start, before anything is prepared for them.

    Raises: ClusterError; WeightsError for a checkpoint, of several encoders that of the first if none fits.
    """
    check_ray()
    check_weights(spec)


def _record_judge(spec: StudySpec, run: RunFolder, say: Say) -> None:
    """Prints what the candles hold, and records what all trials are judged by: benchmarks, bars, and what others have
    seen of these."""
    for line in describe_data(spec.corner_trials[0], every_file=False):
        say(line.strip())
    record_benchmarks(spec.corner_trials[0], run)
    record_bars(spec.corner_trials[0], run)
    restore_looks(run, say)


def _wait_for_capacity(spec: StudySpec, run: RunFolder, root: Location, say: Say, probe: Probe) -> ElasticCapacity:
    """The cluster's capacity, once every job of the study can be placed and each type of GPU node works."""
    capacity = elastic_capacity(spec, MeasuredRows(root).look)
    capacity.wait(say, spec.search.pending_timeout)
    check_gpu_nodes(capacity.now, run, say, probe, pending_timeout=spec.search.pending_timeout)
    return capacity


def _close(spec: StudySpec, run: RunFolder, limits: Limits, say: Say) -> None:
    """Prints how a study ended, and marks it done if that was its end."""
    for line in (*describe_failures(sampled_trials(run.records())), *describe_crashes(run.events(), run.path)):
        say(line)
    n_ended, n_trials = len(_ended(run)), spec.search.n_trials
    stopped = f"stopped with {n_ended} of {n_trials} trials ended"
    if n_ended < n_trials:
        run.append_event("study_stopped", why=limits.why, n_ended=n_ended)
        if limits.broken:
            raise StudyInterruptedError(
                f"{stopped}: {limits.why}. Fix the cause; the same command continues, with --retry-failed also the "
                "failed ones"
            )
        if limits.why is None:
            raise StudyInterruptedError(f"{stopped}; the same command continues")
        say(f"{stopped}: {limits.why}")
        _interrupt(run, "PENDING")
    compact(run, whole=True)
    run.mark_done()


def _search(
    spec: StudySpec,
    run: RunFolder,
    limits: Limits,
    capacity: ElasticCapacity,
    say: Say,
    show: Say,
    trial_fn: TrialFn,
    callbacks: Sequence[tune.Callback],
) -> None:
    already = len(_ended(run))
    say(f"study {spec.name}: {spec.search.n_trials} trials, {already} of them ended earlier, in {run.where}")
    for line in (*describe_alike(spec), *describe_benchmarks(spec.corner_trials[0])):
        say(line)
    run.append_event("study_started", n_trials=spec.search.n_trials)
    try:
        with translate_database_errors(spec.search.storage):
            searcher = StudySearcher(spec, run, limits, capacity)
            for line in describe_warm_start(run):
                say(line)
            reporter = TuneReporter(run, searcher, say, show)
            _fit(spec, run, searcher, trial_fn, [reporter, PendingLimit(spec.search.pending_timeout), *callbacks])
    except KeyboardInterrupt:
        pass
    finally:
        _interrupt(run, "RUNNING")
        compact(run)


def _fit(
    spec: StudySpec, run: RunFolder, searcher: StudySearcher, trial_fn: TrialFn, callbacks: list[tune.Callback]
) -> None:
    tuner = tune.Tuner(
        trainable(trial_fn),
        param_space={"run": str(run.location), "metric": spec.search.metric, "plugins": carried()},
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=build_scheduler(spec, run),
            num_samples=-1,  # pre-training jobs count as samples; the searcher ends the study
            max_concurrent_trials=MAX_PENDING,  # the searcher decides: a cluster grows
            trial_dirname_creator=lambda trial: trial.config["id"],
            trial_name_creator=lambda trial: trial.config["id"],
            # On a GPU each trial starts in a new process, without what the last one left in GPU memory. On a CPU there
            # is nothing left, and a process takes 4 s to start, 7 % of a trial of a minute. In Ray's dashboard a
            # process that is reused would keep the name of its first trial.
            reuse_actors=not (searcher.capacity and searcher.capacity.now.config) and not has_dashboard(),
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(run.path.absolute()),
            failure_config=tune.FailureConfig(max_failures=0),  # the searcher decides: it waits before a retry
            stop=_AtLimits(searcher.limits),
            callbacks=callbacks,
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
    """Makes Tune stop all jobs once a study has reached its limits, each at its next report."""

    def __init__(self, limits: Limits):
        self.limits = limits

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles stoppers into a snapshot that is never restored."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Never a single trial: the scheduler stops those."""
        return False

    def stop_all(self) -> bool:
        return self.limits.reached()

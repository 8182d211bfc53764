"""Schedulers: which of the running jobs are stopped early. Tune's scheduler alone decides that.

A scheduler compares jobs of one kind. It never sees the pre-training behind a trial: a loss is no Sharpe ratio.
Takes: a study, and the run folder, which holds all earlier reports. Gives: Tune's scheduler.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from ftray import stats
from ftray.runs import RunFolder
from ftray.search.objectives import hardly_trades, is_number, is_undefined
from ftray.spec import parse
from ftray.study.spec import StudySpec
from ftray.study.stopping import AshaSpec, HyperbandSpec, MedianSpec, Scheduler, WilcoxonSpec
from ftray.trial import TrialSpec

TUNE_MODES = {"maximize": "max", "minimize": "min"}


@dataclasses.dataclass(frozen=True, eq=False)
class RungEntry:
    """A job as a rule sees it: one for all of Tune's trials that run it, and for all runs of the command.

    trial_id: the job's own. max_resource: env steps, or epochs, at its end. n_trainings: in it.
    """

    trial_id: str
    max_resource: int
    n_trainings: int


def build_scheduler(spec: StudySpec, run: RunFolder) -> TrialScheduler:
    """Tune's scheduler for a study, which knows all earlier reports; its resource is env steps, or epochs."""
    rule = build_rule(spec)
    if rule is None:
        return FIFOScheduler()
    scheduler = OneKind(rule, spec)
    scheduler.replay(run)
    return scheduler


def build_rule(spec: StudySpec) -> TrialScheduler | None:
    """The rule alone, before it has seen any report; None if every trial runs to its end."""
    build = RULES.get(type(spec.search.scheduler))
    return build(spec.search.scheduler, spec) if build else None


class Compared:
    """What a rule compares jobs by: the first objective's metric, of trials that trade."""

    def __init__(self, spec: StudySpec):
        self.metric, self.bounds = spec.search.metric, spec.search.bounds
        self.sign = 1.0 if spec.search.goal == "maximize" else -1.0

    def is_known(self, metrics: Mapping[str, Any]) -> bool:
        """Whether a report has the metric: a value, or the news that it is undefined."""
        return is_number(metrics.get(self.metric)) or is_undefined(self.metric, metrics)

    def gain(self, metrics: Mapping[str, Any]) -> float:
        """The metric, with the sign that makes a larger one better; NaN where there is none, or too little trading."""
        value = metrics.get(self.metric)
        return self.sign * value if is_number(value) and not hardly_trades(metrics, self.bounds) else math.nan


class OneKind(FIFOScheduler):
    """Shows a rule the jobs of one kind: each job once, each of its steps with the metric once.

    A job is retried after it ran out of memory or its process died, and repeats the steps since its checkpoint. The
    rule decides by results alone: it does not need to know that a job has ended.

    A job that hardly trades, or whose metric is undefined, counts as somewhat worse than the worst value that any job
    has reported so far. Before the first value there is nothing to compare with, and the rule is not shown it.
    """

    def __init__(self, rule: TrialScheduler, spec: StudySpec):
        super().__init__()
        search = spec.search
        self.rule, self.kind, self.compared_metric, self.resource = rule, search.job, search.metric, search.resource
        self._resource_of, self._compared = spec.resource_of, Compared(spec)
        self._worst = math.inf  # with the sign that makes a larger value better
        self._jobs: dict[str, RungEntry] = {}
        self._reached: dict[str, float] = {}
        self._stopped: set[str] = set()

    def replay(self, run: RunFolder) -> None:
        """Shows the rule all earlier reports, in the order they were made.

        A job that reported again after a step was not stopped there, whatever the rule decides now. A job that the rule
        stops at its very last report may have been stopped there by a driver that died before recording it: it is
        stopped when it is retried.
        """
        reports: list[tuple[str, str, Mapping[str, Any]]] = []
        for record in run.records():
            if record.kind == self.kind:
                self._add(record.id, record.spec)
                events = run.trial_folder(record.id).events()
                reports += [(e["at"], record.id, e["metrics"]) for e in events if e["event"] == "report"]
        for _, job_id, metrics in sorted(reports, key=lambda report: report[0]):
            if self._is_new(job_id, metrics):
                self._stopped.discard(job_id)
                self._decide(job_id, dict(metrics))

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        if trial.config["kind"] == self.kind:
            self._add(trial.config["id"], trial.config["spec"])

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        job_id = trial.config["id"]
        if trial.config["kind"] == self.kind and self._is_new(job_id, result):
            self._decide(job_id, result)
        return TrialScheduler.STOP if job_id in self._stopped else TrialScheduler.CONTINUE

    def _add(self, job_id: str, mapping: Mapping[str, Any]) -> None:
        if job_id not in self._jobs:
            spec = parse(TrialSpec, mapping, path=("trial",))
            self._jobs[job_id] = RungEntry(job_id, self._resource_of(spec), spec.n_trainings)
            self.rule.on_trial_add(None, self._jobs[job_id])  # type: ignore[arg-type]  # a rule reads `trial_id` only

    def _is_new(self, job_id: str, metrics: Mapping[str, Any]) -> bool:
        step = metrics.get(self.resource)
        if step is None or not is_number(step) or not self._compared.is_known(metrics):
            return False
        return step > self._reached.get(job_id, -1)

    def _decide(self, job_id: str, result: dict[str, Any]) -> None:
        job, step, gain = self._jobs[job_id], result[self.resource], self._compared.gain(result)
        if math.isnan(gain):
            if math.isinf(self._worst):
                return
            gain = math.nextafter(self._worst, -math.inf)
        else:
            self._worst = min(self._worst, gain)
        self._reached[job_id] = step
        shown = result | {self.compared_metric: self._compared.sign * gain}
        action = self.rule.on_trial_result(None, job, shown)  # type: ignore[arg-type]
        if action == TrialScheduler.STOP and step < job.max_resource:  # a job that reaches its end is COMPLETE
            self._stopped.add(job_id)


class Halving(AsyncHyperBandScheduler):
    """Tune's ASHA, which assigns jobs to brackets by their number: to the same one whenever the command is repeated.

    Half of them to the first, a quarter to the second, and so on; the rest to the last.
    """

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        number = 1 + int(trial.trial_id.rpartition("-")[2])
        turn = (number & -number).bit_length() - 1  # how often 2 divides it
        self._trial_info[trial.trial_id] = self._brackets[min(turn, len(self._brackets) - 1)]


class Median(MedianStoppingRule):
    """Tune's median rule, which stops and never pauses, and accepts a job that has continued after a stop."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        self._stopped_trials.discard(trial)
        return super().on_trial_result(tune_controller, trial, result)

    def _on_insufficient_samples(self, tune_controller: Any, trial: Any, time: float) -> str:
        """Continues: Tune's pauses a job for every other that waits, and a paused one has to start again."""
        return TrialScheduler.CONTINUE


class Wilcoxon(FIFOScheduler):
    """Stops a job whose trainings are worse than the best finished job's, in pairs of the same fold and seed.

    A training that hardly trades is worse than any other, and a job with one is never the best.
    """

    def __init__(self, options: WilcoxonSpec, compared: Compared):
        super().__init__()
        self.options, self.compared = options, compared
        self.best: dict[tuple[int, int], float] = {}

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Nothing: a job counts as soon as its first training has ended."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        trainings = result.get("runs") or []  # listed in the results that end a training
        gains = {(one["fold"], one["seed"]): self.compared.gain(one) for one in trainings}
        worse, mean = self._is_worse(gains), _mean(gains)
        if len(gains) == trial.n_trainings and (mean > _mean(self.best) if self.best else not math.isnan(mean)):
            self.best = gains
        return TrialScheduler.STOP if worse else TrialScheduler.CONTINUE

    def _is_worse(self, gains: Mapping[tuple[int, int], float]) -> bool:
        differences = [gain - self.best[pair] for pair, gain in gains.items() if pair in self.best]
        largest = max((abs(one) for one in differences if not math.isnan(one)), default=0.0)
        ranked = [-largest - 1.0 if math.isnan(one) else one for one in differences]  # the test goes by ranks alone
        return len(ranked) >= self.options.min_pairs and stats.signed_rank_probability(ranked) <= self.options.p


def _mean(gains: Mapping[tuple[int, int], float]) -> float:
    """NaN if one of them is, and of none."""
    return sum(gains.values()) / len(gains) if gains else math.nan


def _compared_by(spec: StudySpec) -> dict[str, Any]:
    search = spec.search
    return {"time_attr": search.resource, "metric": search.metric, "mode": TUNE_MODES[search.goal]}


def _grace(options: AshaSpec | HyperbandSpec | MedianSpec, spec: StudySpec) -> int:
    return options.grace or math.ceil(spec.max_resource / 8)


def _halving(options: AshaSpec | HyperbandSpec, spec: StudySpec) -> TrialScheduler:
    grace = _grace(options, spec)
    return Halving(
        grace_period=grace,
        reduction_factor=options.reduction,
        brackets=options.brackets if isinstance(options, HyperbandSpec) else 1,
        max_t=max(2 * spec.max_resource, grace),  # Tune stops a job that gets there, and none does
        **_compared_by(spec),
    )


def _median(options: MedianSpec, spec: StudySpec) -> TrialScheduler:
    return Median(
        grace_period=_grace(options, spec),
        min_samples_required=options.min_trials,
        **_compared_by(spec),
    )


def _wilcoxon(options: WilcoxonSpec, spec: StudySpec) -> TrialScheduler:
    return Wilcoxon(options, Compared(spec))


RULES: dict[type[Scheduler], Callable[[Any, StudySpec], TrialScheduler]] = {
    AshaSpec: _halving,
    HyperbandSpec: _halving,
    MedianSpec: _median,
    WilcoxonSpec: _wilcoxon,
}
"""The function that builds each rule; a scheduler without one stops nothing."""

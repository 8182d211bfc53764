"""Schedulers: which of the running jobs are stopped early. One owner of that decision: Tune's scheduler.

A study judges one kind of job. The other kind (the pre-training behind a trial) passes unseen: a loss is no Sharpe.
Takes: a study, and the run folder that remembers what was reported before. Gives: Tune's scheduler.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from ftray import stats
from ftray.runs import RunFolder
from ftray.search.objectives import is_number
from ftray.spec import parse
from ftray.study.spec import StudySpec
from ftray.study.stopping import AshaSpec, HyperbandSpec, MedianSpec, Scheduler, WilcoxonSpec
from ftray.trial import TrialSpec

TUNE_MODES = {"maximize": "max", "minimize": "min"}


@dataclasses.dataclass(frozen=True, eq=False)
class Judged:
    """A job as a rule sees it: one for all of Tune's trials that it is handed out as, and for all runs of the command.

    trial_id: the job's own. most: env steps, or epochs, at its end. n_runs: trainings in it.
    """

    trial_id: str
    most: int
    n_runs: int


def build_scheduler(study: StudySpec, run: RunFolder) -> TrialScheduler:
    """Tune's scheduler for a study, which knows all that was reported before; its resource is env steps, or epochs."""
    rule = build_rule(study)
    if rule is None:
        return FIFOScheduler()
    scheduler = OneKind(rule, study)
    scheduler.replay(run)
    return scheduler


def build_rule(study: StudySpec) -> TrialScheduler | None:
    """The rule by itself, before it has seen anything; None where every trial runs to its end."""
    build = RULES.get(type(study.search.scheduler))
    return build(study.search.scheduler, study) if build else None


class OneKind(FIFOScheduler):
    """Lets a rule see the jobs of one kind: each job once, each of its steps once, those with the metric alone.

    A job comes again after it ran out of memory or its process died, and repeats the steps since its checkpoint. The
    rule is asked through results alone: it needs no word of a job's end.
    """

    def __init__(self, rule: TrialScheduler, study: StudySpec):
        super().__init__()
        search = study.search
        self.rule, self.kind, self.judged_metric, self.resource = rule, search.job, search.metric, search.resource
        self._resource_of = study.resource_of
        self._jobs: dict[str, Judged] = {}
        self._reached: dict[str, float] = {}
        self._stopped: set[str] = set()

    def replay(self, run: RunFolder) -> None:
        """Shows the rule all earlier reports, in the order they were made.

        What went on after a step went on, whatever the rule says of that step now. A job that the rule stops at its
        very last report was stopped there, perhaps, and nobody lived to note it: it is stopped when it comes again.
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
                self._judge(job_id, dict(metrics))

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        if trial.config["kind"] == self.kind:
            self._add(trial.config["id"], trial.config["spec"])

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        job_id = trial.config["id"]
        if trial.config["kind"] == self.kind and self._is_new(job_id, result):
            self._judge(job_id, result)
        return TrialScheduler.STOP if job_id in self._stopped else TrialScheduler.CONTINUE

    def _add(self, job_id: str, mapping: Mapping[str, Any]) -> None:
        if job_id not in self._jobs:
            spec = parse(TrialSpec, mapping, path=("trial",))
            self._jobs[job_id] = Judged(job_id, self._resource_of(spec), spec.n_runs)
            self.rule.on_trial_add(None, self._jobs[job_id])  # type: ignore[arg-type]  # a rule reads `trial_id` alone

    def _is_new(self, job_id: str, metrics: Mapping[str, Any]) -> bool:
        step = metrics.get(self.resource)
        if step is None or not is_number(step) or not is_number(metrics.get(self.judged_metric)):
            return False
        return step > self._reached.get(job_id, -1)

    def _judge(self, job_id: str, result: dict[str, Any]) -> None:
        job, step = self._jobs[job_id], result[self.resource]
        self._reached[job_id] = step
        action = self.rule.on_trial_result(None, job, result)  # type: ignore[arg-type]
        if action == TrialScheduler.STOP and step < job.most:  # at its end a job ends by itself, and is complete
            self._stopped.add(job_id)


class Halving(AsyncHyperBandScheduler):
    """Tune's ASHA, whose jobs go into its brackets by their number: to the same one whenever the command is repeated.

    Half of them into the first, a quarter into the second, and so on; what is left into the last.
    """

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        number = 1 + int(trial.trial_id.rpartition("-")[2])
        turn = (number & -number).bit_length() - 1  # how often 2 divides it
        self._trial_info[trial.trial_id] = self._brackets[min(turn, len(self._brackets) - 1)]


class Median(MedianStoppingRule):
    """Tune's median rule, which stops and never pauses, and can live with a job that went on where it would stop it."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        self._stopped_trials.discard(trial)
        return super().on_trial_result(tune_controller, trial, result)

    def _on_insufficient_samples(self, tune_controller: Any, trial: Any, time: float) -> str:
        """Goes on: Tune's pauses a job for every other that waits, and a paused one has to start again."""
        return TrialScheduler.CONTINUE


class Wilcoxon(FIFOScheduler):
    """Stops a job whose runs are worse than the best finished job's, pair by pair of the same fold and seed."""

    def __init__(self, spec: WilcoxonSpec, metric: str, sign: float):
        super().__init__()
        self.spec, self.judged_metric, self.sign = spec, metric, sign
        self.best: dict[tuple[int, int], float] = {}

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Nothing: a job counts as soon as its first run has ended."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        runs = result.get("runs") or []  # listed in the rows that end a run
        gains = {(run["fold"], run["seed"]): self.sign * run[self.judged_metric] for run in runs}
        worse = self._is_worse(gains)
        if len(gains) == trial.n_runs and (not self.best or _mean(gains) > _mean(self.best)):
            self.best = gains
        return TrialScheduler.STOP if worse else TrialScheduler.CONTINUE

    def _is_worse(self, gains: Mapping[tuple[int, int], float]) -> bool:
        differences = [gain - self.best[pair] for pair, gain in gains.items() if pair in self.best]
        return len(differences) >= self.spec.least_pairs and stats.signed_rank_probability(differences) <= self.spec.p


def _mean(gains: Mapping[tuple[int, int], float]) -> float:
    return sum(gains.values()) / len(gains)


def _judge_by(study: StudySpec) -> dict[str, Any]:
    search = study.search
    return {"time_attr": search.resource, "metric": search.metric, "mode": TUNE_MODES[search.goal]}


def _grace(spec: AshaSpec | HyperbandSpec | MedianSpec, study: StudySpec) -> int:
    return spec.grace or math.ceil(study.most_resource / 8)


def _halving(spec: AshaSpec | HyperbandSpec, study: StudySpec) -> TrialScheduler:
    grace = _grace(spec, study)
    return Halving(
        grace_period=grace,
        reduction_factor=spec.reduction,
        brackets=spec.brackets if isinstance(spec, HyperbandSpec) else 1,
        max_t=max(2 * study.most_resource, grace),  # it would stop whatever gets there, and nothing does
        **_judge_by(study),
    )


def _median(spec: MedianSpec, study: StudySpec) -> TrialScheduler:
    return Median(
        grace_period=_grace(spec, study),
        min_samples_required=spec.min_trials,
        **_judge_by(study),
    )


def _wilcoxon(spec: WilcoxonSpec, study: StudySpec) -> TrialScheduler:
    return Wilcoxon(spec, study.search.metric, 1.0 if study.search.goal == "maximize" else -1.0)


RULES: dict[type[Scheduler], Callable[[Any, StudySpec], TrialScheduler]] = {
    AshaSpec: _halving,
    HyperbandSpec: _halving,
    MedianSpec: _median,
    WilcoxonSpec: _wilcoxon,
}
"""What builds each rule; a spec without one stops nothing."""

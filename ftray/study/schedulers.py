"""Schedulers: which of the running jobs are stopped early. One owner of that decision: Tune's scheduler.

A study judges one kind of job. The other kind (the pre-training behind a trial) passes unseen: a loss is no Sharpe.
"""

from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from ftray.study.spec import AshaSpec, MedianSpec, StudySpec

TUNE_MODES = {"maximize": "max", "minimize": "min"}


def build_scheduler(study: StudySpec) -> TrialScheduler:
    """Tune's scheduler for a study; its resource is env steps, or epochs of pre-training."""
    search = study.search
    judge: dict[str, Any] = {
        "time_attr": search.resource,
        "metric": search.metric,
        "mode": TUNE_MODES[search.goal],
    }
    match search.scheduler:
        case AshaSpec() as asha:
            # ASHA also stops whatever reaches max_t, in the middle of its last report: jobs end by themselves here.
            beyond = 2 * study.most_resource
            inner: TrialScheduler = AsyncHyperBandScheduler(
                grace_period=asha.grace, reduction_factor=asha.reduction, max_t=beyond, **judge
            )
        case MedianSpec() as median:
            inner = MedianStoppingRule(grace_period=median.grace, min_samples_required=median.min_trials, **judge)
        case _:
            return FIFOScheduler()
    return OneKind(inner, search.job, search.metric)


class OneKind(FIFOScheduler):
    """Lets another scheduler see the jobs of one kind, and of their results those that carry the metric."""

    def __init__(self, inner: TrialScheduler, kind: str, metric: str):
        super().__init__()
        self.inner, self.kind, self.judged_metric = inner, kind, metric

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        if self._sees(trial):
            self.inner.on_trial_add(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        if self._sees(trial):
            self.inner.on_trial_error(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if self._sees(trial) and result.get(self.judged_metric) is not None:
            return self.inner.on_trial_result(tune_controller, trial, result)
        return TrialScheduler.CONTINUE

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        if self._sees(trial) and result.get(self.judged_metric) is not None:
            self.inner.on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        if self._sees(trial):
            self.inner.on_trial_remove(tune_controller, trial)

    def _sees(self, trial: Any) -> bool:
        return trial.config["kind"] == self.kind

"""The one function that Tune runs, for both kinds of job, and what it asks Ray for."""

from pathlib import Path
from typing import Any

import torch
from ray import tune
from ray.exceptions import RayError
from ray.tune import PlacementGroupFactory
from ray.tune.trainable import wrap_function

from ftray.agent.devices import hide_gpus
from ftray.agent.names import name_process
from ftray.capacity.nodes import Node
from ftray.capacity.placement import Placement
from ftray.capacity.probing import why_no_gpu
from ftray.errors import PluginError
from ftray.plugins import load_carried
from ftray.runs import RunFolder
from ftray.runs.location import JOB
from ftray.runs.records import JobKind
from ftray.runs.staging import JobCopy, partial_folder
from ftray.spec import parse
from ftray.trial import TrialSpec, place_pretraining, place_trial
from ftray.trial.attempt import Attempt, Report, TrialFn, run_attempt
from ftray.trial.memory_plan import MemoryPlan
from ftray.trial.run import run_trial


def run_job(config: dict[str, Any], trial_fn: TrialFn = run_trial) -> None:
    """One pre-training job or RL trial inside Tune.

    An exception is recorded in the job's folder and ends the job: repeating it would fail again. A trial out of memory
    ends too, and the searcher retries it with the next smaller memory plan. A process that dies and Ray's own errors
    are left to Tune, and the searcher retries the job after a while, from its last checkpoint.

    trial_fn: what a trial does, where only the machinery around it matters.
    """
    run = RunFolder.open(config["run"], JOB)
    copy = JobCopy(run, config["id"])
    with copy.folder.write_lock():
        folder = copy.bring(config.get("needs", ()))
        try:
            load_carried(config.get("plugins", ()))
        except PluginError as error:
            folder.failed(str(error))
            copy.finish()
            return
        place = placed(config)
        attempt = Attempt(
            JobKind(config["kind"]),
            parse(TrialSpec, config["spec"], path=("trial",)),
            folder,
            run.path,
            place,
            config["fold"],
            _memory_plan(config),
        )
        torch.set_num_threads(place.threads)
        if place.plan is None:
            hide_gpus()
        diagnose = why_no_gpu if place.plan else lambda: None  # the node may have joined later, unchecked
        try:
            run_attempt(attempt, _reporter(config, copy), trial_fn, not_recorded=(RayError,), diagnose=diagnose)
        finally:
            copy.finish(*config.get("makes", ()))


def _reporter(config: dict[str, Any], copy: JobCopy) -> Report:
    """Where a job's metrics go: to object storage, and to Tune if a scheduler may decide by them."""
    makes = [partial_folder(folder) for folder in config.get("makes", ())]

    def report(metrics: dict[str, Any], checkpoint: Path | None = None) -> None:
        copy.send(*makes, checkpoint=checkpoint)
        if config["metric"] in metrics or config["kind"] == JobKind.PRETRAINING:
            tune.report(metrics)

    return report


def placed(config: dict[str, Any]) -> Placement:
    """A job's placement: the same in the driver, which books it, and in the job's own process, which obeys it."""
    spec = parse(TrialSpec, config["spec"], path=("trial",))
    nodes = [Node.from_mapping(node) for node in config.get("nodes", [])]
    if config["kind"] == JobKind.PRETRAINING:
        return place_pretraining(spec, nodes)
    return place_trial(spec, nodes, _memory_plan(config))


def placement(config: dict[str, Any]) -> PlacementGroupFactory:
    """The resources of a job."""
    place = placed(config)
    return PlacementGroupFactory(place.bundles, strategy=place.strategy)


def trainable(trial_fn: TrialFn = run_trial) -> Any:
    """`run_job` with resources that depend on the job, in processes named after it: `trial-0007`, `encoder-1f6a...`."""

    def job(config: dict[str, Any]) -> None:
        run_job(config, trial_fn)

    class Job(wrap_function(job)):
        __qualname__ = "Job"  # the class in Ray's dashboard

        @classmethod
        def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory:
            return placement(config)

        def __repr__(self) -> str:
            return self.config["id"]

        def step(self) -> Any:
            name_process(self, repr(self))
            return super().step()

    return Job


def _memory_plan(config: dict[str, Any]) -> MemoryPlan:
    return MemoryPlan(**config.get("memory_plan", {}))

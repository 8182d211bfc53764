"""The one function that Tune runs, for both kinds of job, and what it asks Ray for."""

import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from ray import tune
from ray.exceptions import RayError
from ray.tune import PlacementGroupFactory
from ray.tune.trainable import wrap_function

from ftray.agent.devices import cap_gpu_memory, hide_gpus
from ftray.agent.names import name_process
from ftray.capacity.nodes import Node
from ftray.capacity.placement import Placement, cpus, gpus
from ftray.capacity.probing import why_no_gpu
from ftray.errors import FtrayError, OutOfMemoryError
from ftray.metrics import PLANNED_GIB
from ftray.runs import RunFolder
from ftray.runs.costs import booked
from ftray.runs.location import JOB
from ftray.runs.staging import JobCopy, partial_folder
from ftray.spec import parse
from ftray.study.searcher import PRETRAINING
from ftray.trial import TrialSpec, place_pretraining, place_trial, prepare_dataset, pretrain_encoder
from ftray.trial.out_of_memory import never_fitted, step_down
from ftray.trial.reporting import Report
from ftray.trial.run import run_trial
from ftray.trial.shape import Shape
from ftray.trial.whereabouts import whereabouts
from ftray.vram.plan import GpuShares


class Work(Protocol):
    """What an RL trial does, as `run_trial` and in its place: reports, and returns at its end."""

    def __call__(
        self,
        spec: TrialSpec,
        report: Report,
        *,
        folder: Path,
        resume: Path | None,
        shared: Path | None,
        shape: Shape,
        gpus: GpuShares,
    ) -> Any: ...


def run_job(config: dict[str, Any], work: Work = run_trial) -> None:
    """One pre-training job or RL trial inside Tune.

    An exception is recorded in the job's folder and ends the job: repeating it would fail again. A trial out of memory
    ends too, and the searcher hands it out once more, in the next smaller shape. A process that dies and Ray's own
    errors are left to Tune, and the searcher hands the job out again a while later, from its last checkpoint.

    work: what is done in place of training, where only the machinery around it matters.
    """
    run = RunFolder.open(config["run"], JOB)
    spec = parse(TrialSpec, config["spec"], path=("trial",))
    copy = JobCopy(run, config["id"])
    with copy.folder.write_lock():
        folder = copy.bring(config.get("needs", ()))
        before, began = folder.cost(), time.monotonic()
        shape, place = Shape(**config.get("shape", {})), placed(config)
        torch.set_num_threads(place.threads)
        if place.plan is None:
            hide_gpus()

        def cost() -> dict[str, float]:
            return booked(before, cpus(place.bundles), gpus(place.bundles), time.monotonic() - began)

        folder.started(**whereabouts())
        try:
            report = _reporter(config, copy, place, cost)
            if config["kind"] == PRETRAINING:
                _pretrain(config, spec, place, run.path, report)
            else:
                resume = folder.checkpoint
                where = {"folder": folder.folder, "resume": resume, "shared": run.path}
                work(spec, report, **where, shape=shape, gpus=place.shares)
        except RayError:
            raise
        except OutOfMemoryError as error:
            if step_down(folder, spec, shape, error, place.plan) is None:
                folder.failed(never_fitted(folder, spec))
        except FtrayError as error:
            folder.failed(str(error))
        except Exception as error:
            why = why_no_gpu() if place.plan else None  # on a node that joined after the study began, untried
            words = f"{why}\n" if why else ""
            folder.failed(f"{words}{type(error).__name__}: {error}\n{traceback.format_exc()}")
        else:
            folder.finished()
        finally:
            folder.spent(cost())
            copy.finish(*config.get("makes", ()))


def _reporter(config: dict[str, Any], copy: JobCopy, place: Placement, cost: Callable[[], dict[str, float]]) -> Report:
    """Where a job's metrics go: to its folder, with what it costs, and to Tune what a scheduler may judge."""
    makes = [partial_folder(folder) for folder in config.get("makes", ())]
    planned = {PLANNED_GIB: place.plan.learner_gib} if place.plan and config["kind"] != PRETRAINING else {}

    def report(metrics: dict[str, Any], checkpoint: Path | None = None) -> None:
        copy.folder.report(metrics | planned | cost())
        copy.send(*makes, checkpoint=checkpoint)
        if config["metric"] in metrics or config["kind"] == PRETRAINING:
            tune.report(metrics)

    return report


def _pretrain(config: dict[str, Any], spec: TrialSpec, place: Placement, shared: Path, report: Report) -> None:
    cap_gpu_memory(place.shares.learner_cap_gib, place.shares.planned_gib)  # as `run_trial` does
    _, dataset = prepare_dataset(spec, shared, config["fold"])
    card = pretrain_encoder(spec, dataset, shared, report, device=place.shares.device)
    report({"epoch": card.epochs, "best_epoch": card.best_epoch, "validation_loss": card.validation_loss})


def placed(config: dict[str, Any]) -> Placement:
    """Where a job goes: the same in the driver, which books it, and in the job's own process, which keeps to it."""
    spec = parse(TrialSpec, config["spec"], path=("trial",))
    nodes = [Node.from_mapping(node) for node in config.get("nodes", [])]
    if config["kind"] == PRETRAINING:
        return place_pretraining(spec, nodes)
    return place_trial(spec, nodes, Shape(**config.get("shape", {})))


def placement(config: dict[str, Any]) -> PlacementGroupFactory:
    """The resources of a job."""
    place = placed(config)
    return PlacementGroupFactory(place.bundles, strategy=place.strategy)


def trainable(work: Work = run_trial) -> Any:
    """`run_job` with resources that depend on the job, in processes named after it: `trial-0007`, `encoder-1f6a...`."""

    def job(config: dict[str, Any]) -> None:
        run_job(config, work)

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

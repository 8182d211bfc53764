"""The one function that Tune runs, for both kinds of job, and what it asks Ray for."""

import os
import socket
import traceback
from pathlib import Path
from typing import Any

import torch
from ray import tune
from ray.exceptions import RayError
from ray.tune import PlacementGroupFactory

from ftray.agent.devices import claim
from ftray.errors import FtrayError, OutOfMemoryError
from ftray.results import RunFolder
from ftray.spec import parse
from ftray.study.searcher import PRETRAINING
from ftray.trial import Placement, TrialSpec, place_pretraining, place_trial, prepare_dataset, pretrain_encoder
from ftray.trial.nodes import Node
from ftray.trial.out_of_memory import never_fitted, shape_of, step_down
from ftray.trial.run import run_trial


def run_job(config: dict[str, Any]) -> None:
    """One pre-training job or RL trial inside Tune.

    An exception is recorded in the job's folder and ends the job: repeating it would fail again. A trial out of memory
    ends too, and the searcher hands it out once more, in the next smaller shape. A process that dies and Ray's own
    errors are left to Tune, which starts the job again from its last checkpoint.
    """
    run = RunFolder.open(Path(config["run"]))
    spec = parse(TrialSpec, config["spec"], path=("trial",))
    folder = run.trial(config["id"])
    shape, place = shape_of(folder), placed(config)
    torch.set_num_threads(place.threads)
    planned = {"vram/planned_gib": place.plan.learner_gib} if place.plan and config["kind"] != PRETRAINING else {}

    def report(metrics: dict[str, Any], checkpoint: Path | None = None) -> None:
        folder.report(metrics | planned)
        if config["metric"] in metrics or config["kind"] == PRETRAINING:
            tune.report(metrics)

    folder.started(host=socket.gethostname(), pid=os.getpid())
    try:
        if config["kind"] == PRETRAINING:
            claim(place.shares.learner_cap)  # an RL trial's module claims for itself
            _, dataset = prepare_dataset(spec, run.path, config["fold"])
            card = pretrain_encoder(spec, dataset, run.path, report)
            report({"epoch": card.epochs, "best_epoch": card.best_epoch, "validation_loss": card.validation_loss})
        else:
            resume, gpus = folder.checkpoint, place.shares
            run_trial(spec, report, folder=folder.folder, resume=resume, shared=run.path, shape=shape, gpus=gpus)
    except RayError:
        raise
    except OutOfMemoryError as error:
        if step_down(folder, spec, shape, error, place.plan) is None:
            folder.failed(never_fitted(folder, spec))
    except FtrayError as error:
        folder.failed(str(error))
    except Exception as error:
        folder.failed(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
    else:
        folder.finished()


def placed(config: dict[str, Any]) -> Placement:
    """Where a job goes: the same in the driver, which books it, and in the job's own process, which keeps to it."""
    spec = parse(TrialSpec, config["spec"], path=("trial",))
    nodes = [Node.from_mapping(node) for node in config.get("nodes", [])]
    if config["kind"] == PRETRAINING:
        return place_pretraining(spec, nodes)
    return place_trial(spec, nodes, shape_of(RunFolder.open(Path(config["run"])).trial(config["id"])))


def placement(config: dict[str, Any]) -> PlacementGroupFactory:
    """The resources of a job."""
    place = placed(config)
    return PlacementGroupFactory(place.bundles, strategy=place.strategy)


def trainable() -> Any:
    """`run_job` with resources that depend on the job."""
    return tune.with_resources(run_job, placement)

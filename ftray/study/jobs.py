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

from ftray.errors import FtrayError
from ftray.results import RunFolder
from ftray.spec import parse
from ftray.study.searcher import PRETRAINING
from ftray.trial import (
    TrialSpec,
    cpus,
    prepare_dataset,
    pretrain_encoder,
    pretraining_bundles,
    trial_bundles,
)
from ftray.trial.run import run_trial


def run_job(config: dict[str, Any]) -> None:
    """One pre-training job or RL trial inside Tune.

    An exception is recorded in the job's folder and ends the job: repeating it would fail again. A process that dies
    and Ray's own errors are left to Tune, which starts the job again from its last checkpoint.
    """
    run = RunFolder.open(Path(config["run"]))
    spec = parse(TrialSpec, config["spec"], path=("trial",))
    folder = run.trial(config["id"])
    torch.set_num_threads(max(1, round(cpus(bundles(config)))))

    def report(metrics: dict[str, Any], checkpoint: Path | None = None) -> None:
        folder.report(metrics)
        if config["metric"] in metrics or config["kind"] == PRETRAINING:
            tune.report(metrics)

    folder.started(host=socket.gethostname(), pid=os.getpid())
    try:
        if config["kind"] == PRETRAINING:
            _, dataset = prepare_dataset(spec, run.path, config["fold"])
            card = pretrain_encoder(spec, dataset, run.path, report)
            report({"epoch": card.epochs, "best_epoch": card.best_epoch, "validation_loss": card.validation_loss})
        else:
            run_trial(spec, report, folder=folder.folder, resume=folder.checkpoint, shared=run.path)
    except RayError:
        raise
    except FtrayError as error:
        folder.failed(str(error))
    except Exception as error:
        folder.failed(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
    else:
        folder.finished()


def bundles(config: dict[str, Any]) -> list[dict[str, float]]:
    spec = parse(TrialSpec, config["spec"])
    return pretraining_bundles(spec) if config["kind"] == PRETRAINING else trial_bundles(spec)


def placement(config: dict[str, Any]) -> PlacementGroupFactory:
    """The resources of a job."""
    return PlacementGroupFactory(bundles(config))


def trainable() -> Any:
    """`run_job` with resources that depend on the job."""
    return tune.with_resources(run_job, placement)

"""`run_trial`: one trial, top to bottom."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ftray.agent.devices import cap_gpu_memory
from ftray.agent.training import check_start, iterate, learner_module, ppo_config
from ftray.agent.vectors import write_market_vectors
from ftray.capacity.local_ray import check_capacity
from ftray.errors import WeightsError
from ftray.features import Dataset
from ftray.nets import FTSpec, market_state_dict, read_checkpoint
from ftray.pretraining import overlaps
from ftray.storage import local
from ftray.trial.evaluation import Evaluation
from ftray.trial.judge import exporting_policy
from ftray.trial.out_of_memory import memory_in_use, told_out_of_memory
from ftray.trial.outcome import keep_outcome
from ftray.trial.preparation import prepare_dataset, pretrain_encoder
from ftray.trial.progress import Progress, Run, runs_of
from ftray.trial.reporting import Report, Rows
from ftray.trial.resources import place_trial
from ftray.trial.shape import WHOLE, Shape
from ftray.trial.spec import TrialSpec
from ftray.vram.plan import NO_GPU, GpuShares


def run_trial(
    spec: TrialSpec,
    report: Report,
    *,
    folder: Path,
    resume: Path | None = None,
    shared: Path | None = None,
    shape: Shape = WHOLE,
    gpus: GpuShares = NO_GPU,
) -> dict[str, Any]:
    """Trains one policy per fold and seed and backtests each on its fold's validation windows; the last metrics.

    report: called after every iteration, in order; rows with a `validation/sharpe` come every `ppo.evaluate_every`
        iterations and at each run's end, each with a checkpoint. See `Progress.add` for what a row tells of several
        runs.
    folder: the trial's own, which its other processes are named after; checkpoints are written here, and the policy
        of the run that ended last.
    resume: a checkpoint to continue from, inside its run, with optimiser state and step count.
    shared: where prepared data and pre-trained encoders lie for many trials (default: `folder`).
    shape: how it is worked off; a smaller one needs less memory and computes the same.
    gpus: what learner and env runners book; nothing by default.

    Raises: OutOfMemoryError if the shape was too large; FtrayError for whatever else the user can mend. A local Ray is
        started if none is running.
    """
    folder, shared = Path(folder), Path(shared or folder)
    name, started = folder.absolute().name, time.monotonic()
    runs, progress = runs_of(spec), Progress.read(resume, spec)
    metrics = progress.row
    check_capacity(place_trial(spec, (), shape).bundles)
    cap_gpu_memory(gpus.learner_cap_gib, gpus.planned_gib)  # before anything allocates: weights may be missing still
    if len(progress.finished) == len(runs):  # killed before its last row was heard of
        report(metrics, checkpoint=resume)
    with contextlib.closing(Evaluation(spec.trading.rules, spec.ppo.evaluation_cpus, name)) as evaluation:
        for run in runs[len(progress.finished) :]:
            data, dataset = prepare_dataset(spec, shared, run.fold)
            with told_out_of_memory(spec, shape):
                weights, vectors = starting_weights(spec, dataset, shared, gpus)
            with (
                Rows(run, progress, report, folder, functools.partial(keep_outcome, folder, run, dataset)) as rows,
                told_out_of_memory(spec, shape),
                training(spec, run, data, weights, vectors, shape, gpus, name) as algorithm,
            ):
                start = market_state_dict(learner_module(algorithm).encoder)  # pre-trained, or the seed's own
                if progress.inside_a_run:
                    algorithm.restore_from_path(str(Path(resume).absolute()))  # type: ignore[arg-type]
                check_start(algorithm, gpus, None if progress.inside_a_run else weights)
                progress.inside_a_run = False
                rows.folder.run_started(**dataclasses.asdict(run), **origin(dataset, weights))
                done = False
                while not done:
                    own: dict[str, Any] = iterate(algorithm)
                    own |= {"wall_seconds": time.monotonic() - started} | memory_in_use()
                    done = own["env_steps"] >= spec.ppo.env_steps
                    if done or own["iteration"] % spec.ppo.evaluate_every == 0:
                        module, policy = learner_module(algorithm), folder / "policy"
                        with exporting_policy(module, spec, dataset, policy, run) if done else contextlib.nullcontext():
                            judged = evaluation.begin(module, dataset, start)
                        rows.add_judged(own, done, judged, algorithm.save_to_path)
                    else:
                        rows.add(own, done)
                metrics = rows.finish()
    return metrics


@contextlib.contextmanager
def training(
    spec: TrialSpec,
    run: Run,
    data: Path,
    weights: Path | None,
    vectors: Path | None,
    shape: Shape,
    gpus: GpuShares,
    trial: str,
) -> Iterator[Any]:
    """The PPO of a run at its start, stopped when the block ends."""
    torch.manual_seed(run.seed)
    algorithm = ppo_config(
        shape.ppo(spec.ppo),
        shape.encoder(spec.encoder),
        spec.trading,
        dataset=data,
        weights=weights,
        market_vectors=vectors,
        seed=run.seed,
        micro_batches=shape.micro_batches,
        gpus=gpus,
        trial=trial,
    ).build_algo()
    try:
        yield algorithm
    finally:
        algorithm.stop()


def starting_weights(
    spec: TrialSpec, dataset: Dataset, shared: Path, gpus: GpuShares = NO_GPU
) -> tuple[Path | None, Path | None]:
    """The checkpoint that the market tower starts from, and the vectors that replace it where it is frozen."""
    encoder = spec.encoder
    if not isinstance(encoder, FTSpec) or encoder.pretrained == "none":
        return None, None
    auto = encoder.pretrained == "auto"
    weights = pretrain_encoder(spec, dataset, shared, device=gpus.device).path if auto else local(encoder.pretrained)
    check_no_leakage(weights, dataset)
    if not encoder.frozen or encoder.fusion == "early":
        return weights, None
    return weights, write_market_vectors(encoder, weights, dataset, shared / "data" / dataset.fingerprint, gpus)


def origin(dataset: Dataset, weights: Path | None) -> dict[str, Any]:
    """What a run learns from: the data, and the job and the bars behind its first weights."""
    found = read_checkpoint(weights) if weights else {}
    began = {"encoder": found.get("fingerprint"), "trained_on": found.get("train_windows")}
    return {"dataset": dataset.fingerprint, **began}


def check_no_leakage(weights: Path, dataset: Dataset) -> None:
    """Refuses weights that were trained on bars of a validation window or the test window, or on unknown bars.

    Raises: WeightsError with all four times.
    """
    trained = read_checkpoint(weights).get("train_windows")
    if not trained:
        raise WeightsError(f"{weights} does not say on which bars it was trained; pre-train it with `ftray pretrain`")
    if problem := overlaps(trained, dataset):
        raise WeightsError(
            f"{weights} was {problem}: its metrics there would prove nothing. "
            "Pre-train on the trial's own train windows (pretrained: auto)."
        )

"""`run_trial`: one trial, top to bottom."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from ftray.agent.checkpoint import restore_checkpoint, save_checkpoint
from ftray.agent.devices import cap_gpu_memory
from ftray.agent.training import check_start, iterate, learner_module, ppo_config
from ftray.agent.vectors import write_market_vectors
from ftray.capacity.local_ray import check_capacity
from ftray.errors import WeightsError
from ftray.features import Dataset
from ftray.nets import FTSpec, exporting_onnx, market_state_dict, read_checkpoint
from ftray.outputs import check_output_folder
from ftray.pretraining import BAR_SECONDS, chosen_on_test, overlaps
from ftray.storage import local
from ftray.trading import Backtest
from ftray.trial.attempt import Report
from ftray.trial.bars import save_backtest
from ftray.trial.evaluation import Evaluation, Weights
from ftray.trial.judge import export_policy, has_onnx
from ftray.trial.memory_plan import FULL, MemoryPlan
from ftray.trial.out_of_memory import memory_in_use, translate_out_of_memory
from ftray.trial.preparation import prepare_dataset, pretrain_encoder
from ftray.trial.progress import Training, TrialProgress, trainings_of
from ftray.trial.reporting import ResultQueue
from ftray.trial.resources import place_trial
from ftray.trial.selection import FOLDER, POLICY
from ftray.trial.spec import TrialSpec
from ftray.vram.plan import NO_GPU, GpuShares


def run_trial(
    spec: TrialSpec,
    report: Report,
    *,
    folder: Path | str,
    resume: Path | str | None = None,
    shared: Path | str | None = None,
    memory_plan: MemoryPlan = FULL,
    gpus: GpuShares = NO_GPU,
) -> dict[str, Any]:
    """Trains one policy per fold and seed and backtests each on its fold's validation windows.

    Returns the last metrics. Pre-trains first where `encoder.pretrained` is `auto`. Starts a local Ray if none runs.

    report: called as `report(metrics, checkpoint)` after every iteration, in order. Metrics are a mapping with
        `env_steps`, counted over all trainings, losses and speeds; those named `validation/...` come every
        `ppo.evaluate_every` iterations and at the end of each training, each with the folder of a checkpoint, which is
        None otherwise. `ftray.metrics.METRICS` has all names. An exception that it raises ends the trial.
    folder: the trial's own, which its other processes are named after; checkpoints are written here, and to
        `folder/policy` the policy of the training that ended last, from the evaluation that `select` names.
    resume: a checkpoint to continue from, inside its training, on CPU cores of the same machine to the last bit.
    shared: where many trials share prepared data and pre-trained encoders; by default `folder`.
    memory_plan: how it computes; a smaller plan needs less memory for the same results.
    gpus: what learner and env runners book of a GPU; nothing by default.

    Raises: OutOfMemoryError if the memory plan was too large; FtrayError for whatever else the user can fix.
    """
    started, folder, shared = time.monotonic(), check_output_folder(folder), check_output_folder(shared or folder)
    resume, name = Path(resume) if resume else None, folder.absolute().name
    progress = TrialProgress.read(resume, spec)
    trainings, last = trainings_of(spec)[len(progress.finished) :], progress.last
    check_capacity(place_trial(spec, (), memory_plan).bundles)
    cap_gpu_memory(gpus.learner_cap_gib, gpus.planned_gib)  # before anything allocates; weights may still be missing
    if not trainings:  # killed before its last result was read
        report(last, checkpoint=resume)
    with contextlib.closing(Evaluation(spec.trading, spec.ppo.evaluation_cpus, name)) as evaluation:
        trial = _Trial(spec, memory_plan, gpus, folder, shared, resume, progress, report, evaluation, started)
        for training in trainings:
            last = _train(trial, training)
    return last


@dataclasses.dataclass(frozen=True)
class _Trial:
    """What the trainings of a trial have in common."""

    spec: TrialSpec
    memory_plan: MemoryPlan
    gpus: GpuShares
    folder: Path
    shared: Path
    resume: Path | None
    progress: TrialProgress
    report: Report
    evaluation: Evaluation
    started: float


def _train(trial: _Trial, training: Training) -> dict[str, Any]:
    """One training to its end, from its start or from the trial's checkpoint inside it; its last result."""
    spec, progress = trial.spec, trial.progress
    data, dataset = prepare_dataset(spec, trial.shared, training.fold)
    with translate_out_of_memory(spec, trial.memory_plan):
        weights, vectors = starting_weights(spec, dataset, trial.shared, trial.gpus)
    resume = trial.resume if progress.inside_training else None

    def save(folder: Path, backtest: Backtest) -> None:
        save_backtest(folder, training, dataset, backtest, trial.folder.absolute().name)

    onnx = has_onnx(spec, training)
    with (
        ResultQueue(training, progress, trial.report, trial.folder, save, resume, onnx) as results,
        translate_out_of_memory(spec, trial.memory_plan),
        _algorithm(trial, training, data, weights, vectors) as algorithm,
    ):
        start = market_state_dict(learner_module(algorithm).encoder)  # pre-trained, or the seed's own
        why = restore_checkpoint(algorithm, resume, dataset.fingerprint) if resume else None
        check_start(algorithm, trial.gpus, None if resume else weights)
        progress.inside_training = False
        began = origin(dataset, weights)
        results.folder.run_started(**dataclasses.asdict(training), **began)
        if resume:
            results.folder.resumed(exactly=why is None, why=why)
        while not _advance(trial, training, algorithm, dataset, start, results, began["trained_on"] or ()):
            pass
        return results.finish()


def _advance(
    trial: _Trial,
    training: Training,
    algorithm: Any,
    dataset: Dataset,
    start: Weights,
    results: ResultQueue,
    pretrained_on: Sequence[Sequence[str]],
) -> bool:
    """One iteration, with an evaluation if it is time for one; whether the training has ended.

    start: the market tower's weights at the training's start. pretrained_on: the bars behind them.
    """
    spec = trial.spec
    metrics: dict[str, Any] = iterate(algorithm)
    metrics |= {"wall_seconds": time.monotonic() - trial.started} | memory_in_use()
    done = metrics["env_steps"] >= spec.ppo.env_steps
    if done or metrics["iteration"] % spec.ppo.evaluate_every == 0:
        module = learner_module(algorithm)
        export = functools.partial(export_policy, module, spec, dataset, training=training, pretrained_on=pretrained_on)
        policy, exported = trial.folder / POLICY, done and spec.select == "last"
        if exported:
            export(policy)
        # Another process exports the ONNX file while the policy is evaluated.
        with exporting_onnx(policy) if exported and has_onnx(spec, training) else contextlib.nullcontext():
            pending = trial.evaluation.begin(module, dataset, start)

        def save(state: Path) -> None:
            save_checkpoint(algorithm, state, dataset=dataset.fingerprint)
            if spec.select == "best_validation":
                export(state / FOLDER / POLICY)

        results.add_evaluated(metrics, done, pending, save)
    else:
        results.add(metrics, done)
    return done


@contextlib.contextmanager
def _algorithm(
    trial: _Trial, training: Training, data: Path, weights: Path | None, vectors: Path | None
) -> Iterator[Any]:
    """The PPO of a training at its start, stopped when the block ends."""
    torch.manual_seed(training.seed)
    fitted = trial.memory_plan.apply(trial.spec)
    algorithm = ppo_config(
        fitted.ppo,
        fitted.encoder,
        fitted.trading,
        dataset=data,
        weights=weights,
        market_vectors=vectors,
        seed=training.seed,
        micro_batches=trial.memory_plan.micro_batches,
        gpus=trial.gpus,
        trial=trial.folder.absolute().name,
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
    """What a training starts from: the data, and the job and the bars behind its first weights."""
    found = read_checkpoint(weights) if weights else {}
    began = {"encoder": found.get("fingerprint"), "trained_on": found.get("train_windows")}
    return {"dataset": dataset.fingerprint, **began}


def check_no_leakage(weights: Path, dataset: Dataset) -> None:
    """Refuses weights that were trained on bars of a validation window or the test window, or closer to one than the
    purge, or that do not record on which; and weights whose best epoch was chosen on bars of the test window.

    Raises: WeightsError with all four times.
    """
    found = read_checkpoint(weights)
    trained = found.get("train_windows")
    if not trained:
        raise WeightsError(f"{weights} does not say on which bars it was trained; pre-train it with `ftray pretrain`")
    seconds = found.get(BAR_SECONDS)
    chosen = chosen_on_test(found.get("validation_windows") or (), dataset, seconds)
    if problem := overlaps(trained, dataset, seconds) or chosen:
        raise WeightsError(
            f"{weights} was {problem}: its metrics there would prove nothing. "
            "Pre-train on the trial's own train windows (pretrained: auto)."
        )

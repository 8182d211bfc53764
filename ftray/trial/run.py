"""`run_trial`: one trial, top to bottom."""

import time
from pathlib import Path
from typing import Any, Protocol

import torch
from ray.rllib.algorithms.ppo import PPO

from ftray.agent.training import check_weights_arrived, iterate, learner_module, ppo_config
from ftray.agent.vectors import acting, decision_bars, write_market_vectors
from ftray.errors import WeightsError
from ftray.features import Dataset
from ftray.nets import FTSpec, read_checkpoint
from ftray.results import TrialFolder
from ftray.trading import TradingSpec, backtest
from ftray.trial.judge import export_policy
from ftray.trial.preparation import prepare_dataset, pretrain_encoder
from ftray.trial.spec import TrialSpec


class Report(Protocol):
    """Takes each iteration's metrics, and the folder of a checkpoint where one was just written."""

    def __call__(self, metrics: dict[str, Any], checkpoint: Path | None = None) -> None: ...


def run_trial(
    spec: TrialSpec, report: Report, *, folder: Path, resume: Path | None = None, shared: Path | None = None
) -> dict[str, Any]:
    """Trains one policy and backtests it on the validation window; the last metrics.

    report: called after every iteration; rows with a `validation/sharpe` come every `ppo.evaluate_every` iterations and
        at the end, each with a checkpoint.
    folder: the trial's own; checkpoints are written here.
    resume: a checkpoint to continue from, with optimiser state and step count.
    shared: where prepared data and pre-trained encoders lie for many trials (default: `folder`).

    Raises: FtrayError for whatever the user can mend. RLlib starts a local Ray if none is running.
    """
    folder, shared = Path(folder), Path(shared or folder)
    started = time.monotonic()
    data_folder, dataset = prepare_dataset(spec, shared)
    weights, vectors = starting_weights(spec, dataset, shared)
    torch.manual_seed(spec.seed)
    config = ppo_config(
        spec.ppo,
        spec.encoder,
        spec.trading,
        dataset=data_folder,
        weights=weights,
        market_vectors=vectors,
        seed=spec.seed,
    )
    algorithm = config.build_algo()
    try:
        if resume is not None:
            algorithm.restore_from_path(str(Path(resume).absolute()))
        elif weights is not None:
            check_weights_arrived(algorithm, weights)  # type: ignore[arg-type]
        metrics: dict[str, Any] = {"env_steps": 0}
        while metrics["env_steps"] < spec.ppo.env_steps:
            metrics = iterate(algorithm)  # type: ignore[arg-type]
            last = metrics["env_steps"] >= spec.ppo.env_steps
            checkpoint = None
            if last or metrics["iteration"] % spec.ppo.evaluate_every == 0:
                metrics |= evaluate(algorithm, dataset, spec.trading)  # type: ignore[arg-type]
                with TrialFolder(folder).new_checkpoint(env_steps=metrics["env_steps"]) as empty:
                    algorithm.save_to_path(str(empty.absolute()))
                checkpoint = TrialFolder(folder).checkpoint
            metrics["wall_seconds"] = time.monotonic() - started
            report(metrics, checkpoint=checkpoint)
        export_policy(learner_module(algorithm), spec, dataset, folder / "policy")  # type: ignore[arg-type]
        return metrics
    finally:
        algorithm.stop()


def starting_weights(spec: TrialSpec, dataset: Dataset, shared: Path) -> tuple[Path | None, Path | None]:
    """The checkpoint that the market tower starts from, and the vectors that replace it where it is frozen."""
    encoder = spec.encoder
    if not isinstance(encoder, FTSpec) or encoder.pretrained == "none":
        return None, None
    if encoder.pretrained == "auto":
        weights = pretrain_encoder(spec, dataset, shared).path
    else:
        weights = Path(encoder.pretrained)
        check_weights_are_honest(weights, dataset)
    if not encoder.frozen or encoder.fusion == "early":
        return weights, None
    return weights, write_market_vectors(encoder, weights, dataset, shared / "data" / dataset.fingerprint)


def check_weights_are_honest(weights: Path, dataset: Dataset) -> None:
    """Refuses weights that were trained on bars of the trial's validation or test window, or do not say on which.

    Raises: WeightsError with both times.
    """
    trained = read_checkpoint(weights).get("train_window")
    first = dataset.times(dataset.windows.validation)[0]
    if not trained:
        raise WeightsError(f"{weights} does not tell the bars it was trained on; pre-train it with `ftray pretrain`")
    if trained[1] >= first:
        raise WeightsError(
            f"{weights} was trained on bars up to {trained[1]}, and the trial's validation window begins at {first}: "
            "its figures would be no validation. Pre-train on the trial's own train window (pretrained: auto)."
        )


def evaluate(algorithm: PPO, dataset: Dataset, trading: TradingSpec) -> dict[str, float]:
    """The deterministic policy's performance on the validation window, under `validation/` names."""
    module = learner_module(algorithm)
    act = acting(module, dataset, decision_bars(dataset, dataset.windows.validation))
    outcome = backtest(act, dataset, dataset.windows.validation, trading)
    return {f"validation/{name}": value for name, value in outcome.performance().items()}

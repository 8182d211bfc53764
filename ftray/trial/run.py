"""`run_trial`: one trial, top to bottom."""

import time
from pathlib import Path
from typing import Any, Protocol

import torch
from ray.rllib.algorithms.ppo import PPO

from ftray.agent.training import check_weights_arrived, iterate, learner_module, ppo_config
from ftray.agent.vectors import acting, write_market_vectors
from ftray.errors import WeightsError
from ftray.features import Dataset
from ftray.nets import FTSpec, read_checkpoint
from ftray.results import TrialFolder
from ftray.trading import TradingSpec, backtest
from ftray.trial.judge import export_policy
from ftray.trial.preparation import prepare_dataset, pretrain_encoder
from ftray.trial.progress import Progress, Run, runs_of
from ftray.trial.spec import TrialSpec


class Report(Protocol):
    """Takes each iteration's metrics, and the folder of a checkpoint where one was just written."""

    def __call__(self, metrics: dict[str, Any], checkpoint: Path | None = None) -> None: ...


def run_trial(
    spec: TrialSpec, report: Report, *, folder: Path, resume: Path | None = None, shared: Path | None = None
) -> dict[str, Any]:
    """Trains one policy per fold and seed and backtests each on its fold's validation windows; the last metrics.

    report: called after every iteration; rows with a `validation/sharpe` come every `ppo.evaluate_every` iterations and
        at each run's end, each with a checkpoint. See `Progress.add` for what a row tells of several runs.
    folder: the trial's own; checkpoints are written here, and the policy of the run that ended last.
    resume: a checkpoint to continue from, inside its run, with optimiser state and step count.
    shared: where prepared data and pre-trained encoders lie for many trials (default: `folder`).

    Raises: FtrayError for whatever the user can mend. RLlib starts a local Ray if none is running.
    """
    folder, shared = Path(folder), Path(shared or folder)
    started = time.monotonic()
    runs, progress = runs_of(spec), Progress.read(resume, spec)
    metrics = progress.row
    if len(progress.finished) == len(runs):  # killed before its last row was heard of
        report(metrics, checkpoint=resume)
    for run in runs[len(progress.finished) :]:
        algorithm, dataset, weights = build(spec, run, shared)
        try:
            if progress.inside_a_run:
                algorithm.restore_from_path(str(Path(resume).absolute()))  # type: ignore[arg-type]
                progress.inside_a_run = False
            elif weights is not None:
                check_weights_arrived(algorithm, weights)
            done = False
            while not done:
                own: dict[str, Any] = iterate(algorithm)
                done = own["env_steps"] >= spec.ppo.env_steps
                evaluated = done or own["iteration"] % spec.ppo.evaluate_every == 0
                if evaluated:
                    own |= evaluate(algorithm, dataset, spec.trading)
                metrics = progress.add(run, own | {"wall_seconds": time.monotonic() - started}, done)
                if done:
                    export_policy(learner_module(algorithm), spec, dataset, folder / "policy", run)
                if evaluated:
                    with TrialFolder(folder).new_checkpoint(env_steps=metrics["env_steps"]) as empty:
                        algorithm.save_to_path(str(empty.absolute()))
                        progress.write(empty)
                report(metrics, checkpoint=TrialFolder(folder).checkpoint if evaluated else None)
        finally:
            algorithm.stop()
    return metrics


def build(spec: TrialSpec, run: Run, shared: Path) -> tuple[Any, Dataset, Path | None]:
    """The PPO of a run at its start, the dataset of its fold, and the checkpoint that its market tower starts from."""
    data_folder, dataset = prepare_dataset(spec, shared, run.fold)
    weights, vectors = starting_weights(spec, dataset, shared)
    torch.manual_seed(run.seed)
    config = ppo_config(
        spec.ppo,
        spec.encoder,
        spec.trading,
        dataset=data_folder,
        weights=weights,
        market_vectors=vectors,
        seed=run.seed,
    )
    return config.build_algo(), dataset, weights


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
    """Refuses weights that were trained on bars of a validation window or the test window, or do not say on which.

    Raises: WeightsError with all four times.
    """
    trained = read_checkpoint(weights).get("train_windows")
    if not trained:
        raise WeightsError(f"{weights} does not tell the bars it was trained on; pre-train it with `ftray pretrain`")
    windows = [("validation", window) for window in dataset.windows.validation]
    for name, window in (*windows, ("test", dataset.windows.test)):
        first, last = dataset.times(window) if len(window) else ("~", "")  # an empty window overlaps nothing
        for start, end in trained:
            if start <= last and end >= first:
                raise WeightsError(
                    f"{weights} was trained on bars from {start} to {end}, and the trial's {name} window begins at "
                    f"{first} and ends at {last}: its figures would be no validation. "
                    "Pre-train on the trial's own train windows (pretrained: auto)."
                )


def evaluate(algorithm: PPO, dataset: Dataset, trading: TradingSpec) -> dict[str, float]:
    """The deterministic policy's performance on the validation windows, under `validation/` names."""
    module = learner_module(algorithm)
    act = acting(module, dataset, dataset.table.decision_bars(dataset.windows.validation))
    outcome = backtest(act, dataset, dataset.windows.validation, trading)
    return {f"validation/{name}": value for name, value in outcome.performance().items()}

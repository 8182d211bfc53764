"""Evaluation of the policy on the validation windows: in the trial's process, or in another while training continues.

Takes: the module as it is after an iteration. Gives: its validation metrics and those of its encoder, at once or
later, with the same values. Equal weight, which a policy is measured relative to, is backtested once per training.
"""

from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import ray
import torch
from ray.exceptions import RayTaskError
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from torch import Tensor

from ftray.agent.module import FTPolicy
from ftray.agent.names import name_process
from ftray.agent.vectors import acting
from ftray.errors import NeverPlacedError
from ftray.features import Dataset
from ftray.metrics import validation
from ftray.nets import encoder_metrics, weight_drift
from ftray.trading import Backtest, MarketRules, TradingSpec, backtest, equal_weight, outside_no_trade

Weights = dict[str, Tensor]


class EvalResult(NamedTuple):
    """A policy's metrics on the validation windows, and the backtest that they are from."""

    metrics: dict[str, float]
    backtest: Backtest | None = None


class Yardstick:
    """Equal weight on the validation windows of the training that is evaluated: computed once, and then kept."""

    def __init__(self, rules: MarketRules):
        self.rules = rules
        self._of, self._kept = "", None

    def on(self, dataset: Dataset) -> Backtest:
        """Its backtest on a dataset."""
        if self._kept is None or self._of != dataset.fingerprint:
            self._of, self._kept = dataset.fingerprint, equal_weight(dataset, dataset.windows.validation, self.rules)
        return self._kept


N_PROBED = 64
"""Train windows, always the same, on which attention is measured."""


class Evaluation:
    """Evaluates policies where a trial's spec says.

    cpus: 0 evaluates in this process, at once. From 1 on, an actor with that many cores does, one policy after another,
        each from a copy of its weights; it needs a bundle of its own, the last of the trial's.
    trial: the trial's id, after which the actor is named.
    """

    def __init__(self, trading: TradingSpec, cpus: int, trial: str):
        self.trading, self.cpus, self.trial = trading, cpus, trial
        self._yardstick = Yardstick(trading.rules)
        self._actor: Any = None

    def begin(self, module: FTPolicy, dataset: Dataset, start: Weights) -> "Future[EvalResult]":
        """Evaluates the policy that the module holds now; later changes have no effect.

        start: the market tower's weights at the training's start, on the CPU.
        """
        if self.cpus == 0:
            here: Future[EvalResult] = Future()
            here.set_result(evaluate(module, dataset, self.trading, self._yardstick, start))
            return here
        if self._actor is None:
            self._actor = (
                ray.remote(EvalActor).options(**_resources(self.cpus)).remote(self.trading, self.cpus, self.trial)
            )
        weights = module.get_state(inference_only=True)  # sent as they are now: the next iteration changes them
        return self._actor.evaluate.remote(blueprint(module), weights, start).future()

    def close(self) -> None:
        """Ends the actor and its computation."""
        if self._actor is not None:
            ray.kill(self._actor)
            self._actor = None


class EvalActor:
    """The process that evaluates a trial's policies while the trial trains."""

    def __init__(self, trading: TradingSpec, cpus: int, trial: str):
        self.trial, self.trading, self._yardstick = trial, trading, Yardstick(trading.rules)
        torch.set_num_threads(cpus)

    def __repr__(self) -> str:
        return f"{self.trial} evaluation"

    def evaluate(self, blueprint: RLModuleSpec, weights: dict[str, Any], start: Weights) -> EvalResult:
        name_process(self, repr(self))
        module = blueprint.build()
        assert isinstance(module, FTPolicy)
        module.set_state(weights)
        dataset = Dataset.load(Path(module.model_config["dataset"]))
        return evaluate(module, dataset, self.trading, self._yardstick, start)


def result_of(evaluation: "Future[EvalResult]") -> EvalResult:
    """Waits for an evaluation if needed; raises the error that it would have raised in this process."""
    try:
        return evaluation.result()
    except RayTaskError as error:
        raise error.cause from error


def evaluate(
    module: FTPolicy, dataset: Dataset, trading: TradingSpec, yardstick: Yardstick, start: Weights
) -> EvalResult:
    """The deterministic policy on the validation windows, with its performance under `validation/` names.

    Under `encoder/` names: how far its market tower moved from its start, and its attention in a few train windows.
    """
    act = acting(module, dataset, dataset.table.decision_bars(dataset.windows.validation))

    def trade(bars: np.ndarray, account: np.ndarray) -> np.ndarray:
        return outside_no_trade(act(bars, account), account[:, 1:], trading.no_trade)

    tested = backtest(trade, dataset, dataset.windows.validation, trading.rules)
    train = dataset.table.decision_bars(dataset.windows.train)
    probe = train[np.linspace(0, len(train) - 1, min(N_PROBED, len(train))).astype(int)]
    encoder = encoder_metrics(module.encoder, module.windows(torch.from_numpy(probe).to(module.table.device)))
    encoder["weight_drift"] = weight_drift(module.encoder, start)
    metrics = {validation(name): value for name, value in tested.performance(yardstick.on(dataset)).items()}
    return EvalResult(metrics | {f"encoder/{name}": value for name, value in encoder.items()}, tested)


def blueprint(module: FTPolicy) -> RLModuleSpec:
    """How another process builds the module to act with; that process books no GPU and uses none."""
    return RLModuleSpec(
        module_class=FTPolicy,
        observation_space=module.observation_space,
        action_space=module.action_space,
        inference_only=True,
        model_config={**module.model_config, "learner_cap_gib": 0.0, "env_runner_cap_gib": 0.0},
    )


def _resources(cpus: int) -> dict[str, Any]:
    """Where the actor runs: in the last bundle of the trial's placement group, or wherever the cluster has room.

    Raises: NeverPlacedError for a bundle that is too small: the trial would wait for its metrics forever.
    """
    group = ray.util.get_current_placement_group()
    if group is None:
        return {"num_cpus": cpus}
    there = group.bundle_specs[-1].get("CPU", 0.0)
    if there < cpus:
        raise NeverPlacedError(
            f"an actor that evaluates needs {cpus} CPUs in the last bundle of its placement group, which has "
            f"{there:g}: book it, or set trial.ppo.evaluation_cpus to 0 to evaluate in the trial's own process"
        )
    last = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=group.bundle_count - 1)
    return {"num_cpus": cpus, "scheduling_strategy": last}

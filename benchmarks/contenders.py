"""Who trains in benchmarks/rl.py, and one iteration of each, timed alike.

Takes: a contender, the setting that all share. Gives: a call that makes an iteration and returns its wall seconds,
those of them spent in the learner, and its steps.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainings import Stopwatch

from ftray.agent import PPOSpec
from ftray.nets import PRESETS, EncoderSpec, MLPSpec
from ftray.trading import TradingSpec
from ftray.vram.plan import NO_GPU, GpuShares

FTRAY, RLLIB, SB3 = "ftray", "rllib", "sb3"
Iteration = Callable[[], dict[str, float]]


@dataclasses.dataclass(frozen=True)
class Contender:
    """Who trains, and what.

    encoder: `mlp` or a preset. tower: `scratch`, `tuned` (a checkpoint, trained on) or `frozen`.
    shared: the first layer of an MLP once per bar; for rivals, one network for policy and value.
    """

    name: str
    who: str = FTRAY
    encoder: str = "mlp"
    tower: str = "scratch"
    accounts_per_bar: int = 1
    shared: bool = False
    width: int = 512


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is the same for all. towers: by preset, a checkpoint and a frozen tower's market vectors.

    gpus: what ftray's learner books.
    """

    dataset: Path
    towers: dict[str, tuple[Path, Path | None]]
    ppo: PPOSpec
    threads: int
    quick: bool
    gpus: GpuShares = NO_GPU


def ftray_iteration(contender: Contender, setting: Setting) -> Iteration:
    from ftray.agent.training import iterate

    algorithm = algorithm_of(contender, setting)
    return _iteration(algorithm, lambda: int(iterate(algorithm)["env_steps"]))


def rllib_iteration(contender: Contender, setting: Setting) -> Iteration:
    algorithm = algorithm_of(contender, setting)
    return _iteration(algorithm, lambda: algorithm.train()["num_env_steps_sampled_lifetime"])


def algorithm_of(contender: Contender, setting: Setting) -> Any:
    """RLlib's PPO with ftray's parts or without."""
    trading = TradingSpec(accounts_per_bar=contender.accounts_per_bar)
    if contender.who == RLLIB:
        from rivals import rllib_config

        widths = [contender.width, contender.width]
        return rllib_config(setting.dataset, trading, setting.ppo, widths, shared=contender.shared).build_algo()
    from ftray.agent.training import ppo_config
    from ftray.nets import MLPEncoder

    encoder: EncoderSpec = MLPSpec(hidden=contender.width, encoding_dim=contender.width)
    weights = vectors = None
    if contender.encoder == "mlp":
        MLPEncoder.shares_bars = contender.shared  # this process has no other encoder
    else:
        encoder, (weights, vectors) = PRESETS[contender.encoder], setting.towers[contender.encoder]
        frozen = contender.tower == "frozen"
        encoder = dataclasses.replace(encoder, pretrained=str(weights), frozen=frozen)
        vectors = vectors if frozen else None
    config = ppo_config(
        setting.ppo,
        encoder,
        trading,
        dataset=setting.dataset,
        weights=weights,
        market_vectors=vectors,
        gpus=setting.gpus,
    )
    return config.build_algo()


def _iteration(algorithm: Any, train: Callable[[], int]) -> Iteration:
    watch, before = Stopwatch(algorithm), 0

    def iteration() -> dict[str, float]:
        nonlocal before
        watch.learning, start = 0.0, time.perf_counter()
        steps = train()
        seconds, new, before = time.perf_counter() - start, steps - before, steps
        return {"seconds": seconds, "learning": watch.learning, "steps": new}

    return iteration


def sb3_iteration(contender: Contender, setting: Setting) -> Iteration:
    from rivals import sb3_ppo
    from stable_baselines3.common.callbacks import BaseCallback

    widths = [contender.width, contender.width]
    model = sb3_ppo(setting.dataset, TradingSpec(), setting.ppo, widths, shared=contender.shared)

    class RolloutEnd(BaseCallback):
        at = 0.0

        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            self.at = time.perf_counter()

    def iteration() -> dict[str, float]:
        sampled, start = RolloutEnd(), time.perf_counter()
        model.learn(setting.ppo.batch_size, callback=sampled, reset_num_timesteps=False)
        end = time.perf_counter()
        return {"seconds": end - start, "learning": end - sampled.at, "steps": setting.ppo.batch_size}

    return iteration


ITERATIONS = {FTRAY: ftray_iteration, RLLIB: rllib_iteration, SB3: sb3_iteration}

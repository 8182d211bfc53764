"""Checkpoints of a training: RLlib's own, and what that leaves out, so that a training continues as if never stopped.

Takes: an algorithm, a folder. Gives: RLlib's checkpoint (weights, optimisers, counts of steps) with one more file:

    continuation.npz    arrays and text, read without unpickling:
        layout              JSON: the dataset's fingerprint, env runners, accounts of each, devices
        learner/NAME        random state of the learner's process and of the minibatches' order
        env_runner_1/NAME   accounts, running episodes and random state of env runner 1; 0 is in the learner's process
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.rllib.algorithms.ppo import PPO

FILE = "continuation.npz"
LAYOUT, LEARNER, ENV_RUNNER = "layout", "learner", "env_runner_"

State = dict[str, Any]


def save_checkpoint(algorithm: PPO, folder: Path | str, dataset: str) -> None:
    """Writes a training's checkpoint to a folder. dataset: the fingerprint of what it trains on."""
    algorithm.save_to_path(str(Path(folder).absolute()))
    states = _foreach_env_runner(algorithm, lambda runner: (runner.worker_index, runner.sampling_state()))
    parts: dict[str, State] = {LEARNER: _learner(algorithm).random_state()}
    parts |= {f"{ENV_RUNNER}{number}": state for number, state in states if state is not None}
    arrays = {f"{part}/{name}": value for part, state in parts.items() for name, value in state.items()}
    np.savez(Path(folder) / FILE, **{LAYOUT: json.dumps(_layout(algorithm, dataset))}, **arrays)


def restore_checkpoint(algorithm: PPO, folder: Path | str, dataset: str) -> str | None:
    """Continues a training from its checkpoint, on the same machine to the last bit.

    Returns why, where weights, optimisers and counts continue, but with new episodes and the random numbers of a start.
    """
    algorithm.restore_from_path(str(Path(folder).absolute()))
    if not (Path(folder) / FILE).exists():
        return "an earlier version of ftray wrote the checkpoint, without episodes and random state"
    with np.load(Path(folder) / FILE, allow_pickle=False) as file:
        arrays = dict(file)
    before, now = json.loads(str(arrays.pop(LAYOUT))), _layout(algorithm, dataset)
    if changed := [
        f"{name} was {before.get(name)}, is {value}" for name, value in now.items() if before.get(name) != value
    ]:
        return f"its episodes need the layout that they began with: {', '.join(changed)}"
    parts: dict[str, State] = {}
    for path, value in arrays.items():
        part, _, name = path.partition("/")
        parts.setdefault(part, {})[name] = value
    numbers = range(1, now["env_runners"] + 1) if now["env_runners"] else [0]
    if missing := [number for number in numbers if f"{ENV_RUNNER}{number}" not in parts]:
        return f"env runner {missing[0]} was being replaced when the checkpoint was written"
    held = ray.put(parts)

    def take(runner: Any) -> None:
        runner.continue_sampling(ray.get(held)[f"{ENV_RUNNER}{runner.worker_index}"])

    _foreach_env_runner(algorithm, take)
    _learner(algorithm).set_random_state(parts[LEARNER])
    return None


def _layout(algorithm: PPO, dataset: str) -> dict[str, Any]:
    """What has to be equal where a training is to continue to the last bit."""
    config: Any = algorithm.config
    on_gpu = config.num_env_runners > 0 and config.num_gpus_per_env_runner > 0
    return {
        "dataset": dataset,
        "env_runners": config.num_env_runners,
        "accounts_of_each": config.num_envs_per_env_runner,
        "device_of_learner": _learner(algorithm).device.type,
        "device_of_env_runners": "cuda" if on_gpu else "cpu",
    }


def _learner(algorithm: PPO) -> Any:
    return algorithm.learner_group._learner  # type: ignore[union-attr]


def _foreach_env_runner(algorithm: PPO, call: Callable[[Any], Any]) -> list[Any]:
    """What each env runner gives; those that RLlib is replacing are left out."""
    group = algorithm.env_runner_group
    assert group is not None
    return group.foreach_env_runner(call, local_env_runner=group.num_remote_env_runners() == 0)

"""What a user would train with instead: RLlib as it comes, and Stable-Baselines3, on the same environment.

Takes: a prepared dataset, a `TradingSpec`, a `PPOSpec`. Gives: PPO over full observations, with the same accounts,
batch, minibatch, epochs, discount and clipping as ftray's.

Both keep a network for the policy and another one for the value unless they are set to share one; ftray has one encoder
for both.
"""

import functools
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv

from ftray.agent import PPOSpec
from ftray.features import Dataset
from ftray.spec import parse, to_mapping
from ftray.trading import TradingSpec, VectorTradingEnv


class FullEnv(VectorTradingEnv):
    """ftray's training environment with full observations, as RLlib makes it: from a mapping."""

    def __init__(self, context: Mapping[str, Any]):
        dataset = Dataset.load(Path(context["dataset"]))
        super().__init__(
            dataset,
            dataset.windows.train,
            parse(TradingSpec, context["trading"]),
            n_envs=context["num_envs"],
            observation="full",
            reward_scale=context["reward_scale"],
        )

    def begin_anew(self, observations: np.ndarray) -> np.ndarray:
        """Starts the next episode of every account that ended, in the step that ended it; observations of all.

        Shape: (E, size), as `step` gave them → (E, size).
        """
        ended = self._ended
        assert ended is not None
        self._restart(ended, self._starts.sample(int(ended.sum()) // self.trading.accounts_per_bar, self.np_random))
        self._ended = np.zeros_like(ended)
        observations[ended] = self._observations()[ended]
        return observations


def env_config(dataset: Path, trading: TradingSpec, ppo: PPOSpec) -> dict[str, Any]:
    return {"dataset": str(dataset), "trading": to_mapping(trading), "reward_scale": ppo.reward_scale}


def rllib_config(dataset: Path, trading: TradingSpec, ppo: PPOSpec, widths: list[int], *, shared: bool) -> Any:
    """RLlib's PPO with its default module and default connectors."""
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

    config = PPOConfig()
    config.environment(FullEnv, env_config=env_config(dataset, trading, ppo))
    config.env_runners(
        num_env_runners=ppo.n_env_runners,
        num_envs_per_env_runner=ppo.envs_per_runner,
        num_cpus_per_env_runner=ppo.cpus_per_env_runner,  # type: ignore[arg-type]  # fractions are allowed
        gym_env_vectorize_mode="vector_entry_point",
        rollout_fragment_length=ppo.fragment_length,
    )
    config.learners(num_learners=0)
    config.training(
        train_batch_size_per_learner=ppo.batch_size,
        minibatch_size=ppo.minibatch,
        num_epochs=ppo.epochs,
        lr=ppo.learning_rate,
        gamma=ppo.gamma,
        lambda_=ppo.gae_lambda,
        clip_param=ppo.clip,
        entropy_coeff=ppo.entropy,
        vf_loss_coeff=ppo.value_weight,
        use_kl_loss=False,
        grad_clip=ppo.grad_clip,
    )
    config.rl_module(
        model_config=DefaultModelConfig(fcnet_hiddens=widths, fcnet_activation="tanh", vf_share_layers=shared)
    )
    config.debugging(seed=0, log_level="ERROR")
    return config


def sb3_ppo(
    dataset: Path, trading: TradingSpec, ppo: PPOSpec, widths: list[int], *, shared: bool, seed: int = 0
) -> PPO:
    """Stable-Baselines3's PPO with its MlpPolicy."""
    policy: dict[str, Any] = {"net_arch": widths}
    if shared:
        extractor = {"features_extractor_class": SharedLayers, "features_extractor_kwargs": {"widths": widths}}
        policy = {"net_arch": [], **extractor}
    return PPO(
        "MlpPolicy",
        SB3Env(FullEnv(env_config(dataset, trading, ppo) | {"num_envs": ppo.n_envs})),
        learning_rate=ppo.learning_rate,
        n_steps=ppo.fragment_length,
        batch_size=ppo.minibatch,
        n_epochs=ppo.epochs,
        gamma=ppo.gamma,
        gae_lambda=ppo.gae_lambda,
        clip_range=ppo.clip,
        ent_coef=ppo.entropy,
        vf_coef=ppo.value_weight,
        max_grad_norm=ppo.grad_clip,
        policy_kwargs=policy,
        seed=seed,
        device="cpu",
    )


class SharedLayers(BaseFeaturesExtractor):
    """Tanh layers that policy and value share."""

    def __init__(self, observation_space: Any, widths: list[int]):
        super().__init__(observation_space, widths[-1])
        sizes = [observation_space.shape[0], *widths]
        pairs = itertools.pairwise(sizes)
        layers = [layer for pair in pairs for layer in (torch.nn.Linear(*pair), torch.nn.Tanh())]
        self.layers = torch.nn.Sequential(*layers)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.layers(observations)


class SB3Env(VecEnv):
    """A batch of accounts in the form that Stable-Baselines3 wants.

    It knows no step without an action: an episode that ended is replaced in the same step, its last observation comes
    in the infos, and an episode that was only cut off is marked so that the value of what follows counts.
    """

    def __init__(self, env: FullEnv):
        self.env = env
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> np.ndarray:
        """From the seed that Stable-Baselines3 gave for the first account, once."""
        seed = self._seeds[0]
        self._reset_seeds()
        return self.env.reset(seed=seed)[0]

    def step_async(self, actions: np.ndarray) -> None:
        self.actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        observations, rewards, terminated, truncated, _ = self.env.step(self.actions)
        ended, infos = terminated | truncated, [{} for _ in range(self.num_envs)]
        for account in np.flatnonzero(ended):
            last = observations[account].copy()
            infos[account] = {"terminal_observation": last, "TimeLimit.truncated": bool(truncated[account])}
        if ended.any():
            observations = self.env.begin_anew(observations)
        return observations, rewards, ended, infos

    def close(self) -> None:
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self.env, attr_name)] * len(self._indices(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *arguments: Any, indices: Any = None, **given: Any) -> list[Any]:
        return [
            functools.partial(getattr(self.env, method_name), *arguments, **given)() for _ in self._indices(indices)
        ]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False for _ in self._indices(indices)]

    def _indices(self, indices: Any) -> list[int]:
        return list(self._get_indices(indices))

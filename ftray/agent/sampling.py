"""Sampling in arrays: what all accounts do in a stretch of steps, cut into fragments of episodes at its end.

Takes: a vector environment's steps. Gives: RLlib's episodes. RLlib's own loop appends every account's observation,
action and reward to lists of that account, step by step: at 32 accounts that costs as much as a small encoder.

Legend: E accounts, T steps of a stretch, A assets.
"""

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.env.utils.infinite_lookback_buffer import InfiniteLookbackBuffer

from ftray.agent import alternatives
from ftray.agent.randomness import random_state, set_random_state

Steps = dict[str, np.ndarray]

NEXT_OBS, RESTARTING = "next_obs", "restarting"

STATE = ("seen", "restarting", "steps_before", "returns")
"""An env runner's arrays: what accounts see, whether their episodes have ended, steps and returns of these so far."""
ENV = "env/"
"""Begins the names of its environment's arrays."""


class ArrayEnvRunner(SingleAgentEnvRunner):
    """RLlib's env runner over a vector environment with next-step autoreset, without infos and episode callbacks."""

    def _sample(
        self, *, num_timesteps: int | None = None, explore: bool, force_reset: bool = False, **given: Any
    ) -> Any:
        if num_timesteps is None or given.get("random_actions"):
            return super()._sample(num_timesteps=num_timesteps, explore=explore, force_reset=force_reset, **given)
        if force_reset or self._needs_initial_reset:
            self._begin(explore)
        steps: list[Steps] = []
        taken = 0
        module: Any = self.module
        with module.prefetching(self._seen, -(-num_timesteps // self.num_envs)):
            while taken < num_timesteps:
                steps.append(self._step(explore))
                taken += self.num_envs - int(steps[-1][RESTARTING].sum())
        stretch = {name: np.stack([step[name] for step in steps], axis=1) for name in steps[0]}
        fragments = [fragment for account in range(self.num_envs) for fragment in self._cut(stretch, account)]
        self._log_env_steps(metric=self._metrics_num_env_steps_sampled, num_steps=taken)
        self._increase_sampled_metrics(taken, sum(fragment.is_done for fragment in fragments))
        return fragments

    def sampling_state(self) -> dict[str, np.ndarray | str] | None:
        """Where this env runner's accounts and episodes stand, and its random state; None before its first sample."""
        if self._needs_initial_reset:
            return None
        env: Any = self.env.unwrapped  # type: ignore[union-attr]
        own = {name: getattr(self, f"_{name}") for name in STATE}
        environment = {f"{ENV}{name}": value for name, value in env.get_state().items()}
        return own | environment | random_state(self._device)

    def continue_sampling(self, state: Mapping[str, Any]) -> None:
        """Continues, to the last bit, from the `sampling_state` of an env runner with the same configuration."""
        env: Any = self.env.unwrapped  # type: ignore[union-attr]
        env.set_state({name.removeprefix(ENV): value for name, value in state.items() if name.startswith(ENV)})
        for name in STATE:
            setattr(self, f"_{name}", np.array(state[name]))
        self._ids = [uuid.uuid4().hex for _ in range(self.num_envs)]
        self._needs_initial_reset = False
        set_random_state(state, self._device)

    def _begin(self, explore: bool) -> None:
        self._reset_envs_and_episodes(explore)
        self._needs_initial_reset = False
        self._seen = np.stack(
            [episode.get_observations(-1) for episode in self._ongoing_episodes if episode is not None]
        )
        self._restarting = np.zeros(self.num_envs, dtype=bool)
        self._ids = [uuid.uuid4().hex for _ in range(self.num_envs)]
        self._steps_before, self._returns = np.zeros(self.num_envs, dtype=int), np.zeros(self.num_envs)

    def _step(self, explore: bool) -> Steps:
        """One step of all accounts; every value an array with E in front."""
        module: Any = self.module
        pipes: dict[str, Any] = {"rl_module": module, "episodes": (), "explore": explore}
        given: dict[str, Any] = {Columns.OBS: self._seen}
        with torch.inference_mode():
            batch = self._env_to_module(batch={}, **pipes, **given)
            forward = module.forward_exploration if explore else module.forward_inference
            taken = self._module_to_env(batch=forward(batch), **pipes)
        # Unwrapped: RLlib's wrapper does nothing but turn infos, which nothing here reads, into a list per account.
        env: Any = self.env.unwrapped  # type: ignore[union-attr]
        if alternatives.ACTIONS in taken:
            taken |= alternatives.price(env, taken[alternatives.ACTIONS])
        seen, rewards, terminated, truncated, _ = env.step(taken.pop(Columns.ACTIONS_FOR_ENV))
        step = {
            Columns.OBS: self._seen,
            NEXT_OBS: seen,
            Columns.REWARDS: rewards,
            Columns.TERMINATEDS: terminated,
            Columns.TRUNCATEDS: truncated,
            RESTARTING: self._restarting,
            **taken,
        }
        self._seen, self._restarting = seen, terminated | truncated
        return step

    def _cut(self, stretch: Steps, account: int) -> Iterator[SingleAgentEpisode]:
        """The fragments of one account; a restarting step belongs to none. Shape: arrays of (E, T, ...)."""
        own = {name: column[account] for name, column in stretch.items()}
        n_steps = len(own[RESTARTING])
        start = int(own[RESTARTING][0])
        ends = np.flatnonzero(own[Columns.TERMINATEDS] | own[Columns.TRUNCATEDS])
        for end in (*ends, n_steps - 1):
            if start <= end:
                fragment = self._fragment(own, slice(start, end + 1), account)
                self._add_to_episode(fragment, account)
                yield fragment
            start = end + 2

    def _add_to_episode(self, fragment: SingleAgentEpisode, account: int) -> None:
        """Counts a fragment as part of its account's episode; logs an episode that ended, and counts the next from 0.

        RLlib would keep all fragments of an episode until it ends, just for the length and return of them all.
        """
        self._steps_before[account] += len(fragment)
        self._returns[account] += fragment.get_return()
        if fragment.is_done:
            self._log_episode_metrics(int(self._steps_before[account]), float(self._returns[account]), 0.0)
            self._ids[account], self._steps_before[account], self._returns[account] = uuid.uuid4().hex, 0, 0.0

    def _fragment(self, own: Steps, steps: slice, account: int) -> SingleAgentEpisode:
        columns = {name: column[steps] for name, column in own.items()}
        extra = [Columns.ACTION_LOGP, Columns.ACTION_DIST_INPUTS, Columns.VF_PREDS]
        extra += [name for name in alternatives.SAMPLED if name in columns]
        observations = np.concatenate([columns[Columns.OBS], columns[NEXT_OBS][-1:]])
        return SingleAgentEpisode(
            id_=self._ids[account],
            observations=_buffer(observations),
            infos=InfiniteLookbackBuffer([{}] * len(observations)),
            actions=_buffer(columns[Columns.ACTIONS]),
            rewards=_buffer(columns[Columns.REWARDS]),
            terminated=bool(columns[Columns.TERMINATEDS][-1]),
            truncated=bool(columns[Columns.TRUNCATEDS][-1]),
            extra_model_outputs={name: _buffer(columns[name]) for name in extra},
            t_started=int(self._steps_before[account]),
            len_lookback_buffer=0,
        )


def _buffer(data: np.ndarray) -> InfiniteLookbackBuffer:
    return InfiniteLookbackBuffer(data, lookback=0)

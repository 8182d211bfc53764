"""What travels between environment, module and learner: RLlib's pipelines cut down to one agent with a Box action.

Takes: batches of compact observations, of action distributions, finished fragments of episodes. Gives: tensors for the
module, actions for the environment, one train batch with advantages. RLlib's own pieces serve many agents, nested
spaces and stateful modules; per step they cost more than a small encoder.

Legend: E accounts, B samples of a train batch, T steps of a fragment, A assets.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing

from ftray import stats
from ftray.agent import alternatives as others
from ftray.agent.advantages import generalised_advantages
from ftray.agent.gaussian import log_probability
from ftray.errors import TrainingError


class ObservationsToModule(ConnectorV2):
    """One tensor for all accounts. Shape: E × (2 + A,) → (E, 2 + A)."""

    def __init__(self, input_observation_space: Any = None, input_action_space: Any = None, device: Any = None):
        super().__init__(input_observation_space, input_action_space)
        self.device = device

    def __call__(self, *, episodes: Any, **given: Any) -> dict[str, Any]:
        observations = given.get(Columns.OBS)
        if observations is None:  # straight after a reset RLlib hands over the episodes alone
            observations = [episode.get_observations(-1) for episode in episodes]
        batch = torch.from_numpy(np.asarray(observations, dtype=np.float32))
        return {Columns.OBS: batch.to(self.device) if self.device is not None else batch}


class ActionsToEnv(ConnectorV2):
    """Samples the actions: what the environment gets, clipped to its Box, and what the learner needs to know of them.

    A number that is not finite never reaches the environment: that account's action is 0, all cash, and the learner,
    which finds the number in the train batch, stops the trial.

    alternatives: how many further actions are sampled for each account (`ftray.agent.alternatives`).
    """

    def __init__(self, input_observation_space: Any = None, input_action_space: Any = None, *, alternatives: int = 0):
        super().__init__(input_observation_space, input_action_space)
        self.alternatives = alternatives

    def __call__(self, *, batch: dict[str, Any], explore: bool | None = None, **given: Any) -> dict[str, Any]:
        inputs = batch[Columns.ACTION_DIST_INPUTS]
        mean, log_std = inputs.chunk(2, dim=-1)
        sampled_actions = mean + log_std.exp() * torch.randn_like(mean) if explore else mean
        sampled = {
            Columns.ACTIONS: sampled_actions,
            Columns.ACTION_LOGP: log_probability(sampled_actions, mean, log_std),
            Columns.ACTION_DIST_INPUTS: inputs,
            Columns.VF_PREDS: batch[Columns.VF_PREDS],
        }
        if explore and self.alternatives:
            sampled |= others.draw(mean, log_std, self.alternatives)
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in sampled.items()}
        actions = arrays[Columns.ACTIONS]
        return arrays | {Columns.ACTIONS_FOR_ENV: np.where(np.isfinite(actions), actions, 0.0).clip(-1.0, 1.0)}


class EpisodesToTrainBatch(ConnectorV2):
    """Fragments of episodes → one train batch on the learner's device, with standardised advantages and value targets.

    RLlib adds an artificial step to every fragment, to be masked out of each loss, and runs the module over the whole
    batch for its values. Here env runners have noted them, with the very weights that the learner still holds: only the
    observation after a fragment's last step is left to ask for, and the batch holds real steps alone.
    """

    def __init__(
        self,
        input_observation_space: Any = None,
        input_action_space: Any = None,
        *,
        gamma: float,
        gae_lambda: float,
        accounts_per_bar: int,
    ):
        super().__init__(input_observation_space, input_action_space)
        self.gamma, self.gae_lambda, self.accounts_per_bar = gamma, gae_lambda, accounts_per_bar

    def __call__(self, *, rl_module: Any, episodes: Sequence[Any], metrics: Any = None, **given: Any) -> dict[str, Any]:
        module = rl_module[DEFAULT_MODULE_ID]
        device = next(module.parameters()).device
        fragments = [episode for episode in episodes if len(episode)]
        seen = [np.asarray(fragment.get_observations(), dtype=np.float32) for fragment in fragments]  # T + 1 each
        columns = {
            Columns.ACTIONS: _joined([fragment.get_actions() for fragment in fragments]),
            Columns.ACTION_LOGP: _extra(fragments, Columns.ACTION_LOGP),
            Columns.ACTION_DIST_INPUTS: _extra(fragments, Columns.ACTION_DIST_INPUTS),
        }
        check_bars_follow(seen)
        check_finite(columns[Columns.ACTIONS])
        closing = module.compute_values(
            {Columns.OBS: torch.from_numpy(np.stack([rows[-1] for rows in seen])).to(device)}
        )
        values = _extra(fragments, Columns.VF_PREDS)
        estimate = functools.partial(
            generalised_advantages,
            values,
            closing_values=np.where([one.is_terminated for one in fragments], 0.0, closing.cpu().numpy()),
            rewards=_joined([fragment.get_rewards() for fragment in fragments]),
            lengths=np.array([len(fragment) for fragment in fragments]),
            gamma=self.gamma,
        )
        advantages, targets = estimate(gae_lambda=self.gae_lambda)
        observations = np.concatenate([rows[:-1] for rows in seen])
        if metrics is not None:
            unexplained = float(np.var(advantages)) / max(float(np.var(targets)), 1e-12)
            metrics.log_value((DEFAULT_MODULE_ID, "explained_variance"), 1.0 - unexplained, window=1)
            if self.accounts_per_bar > 1:
                correlation = stats.intraclass_correlation(advantages, observations[:, 0])
                metrics.log_value((DEFAULT_MODULE_ID, "intraclass_correlation"), correlation, window=1)
        if others.ACTIONS in fragments[0].extra_model_outputs:
            one_step = estimate(gae_lambda=0.0)[0]
            columns |= self._over_alternatives(module, fragments, one_step + values, advantages - one_step)
        else:
            columns[Postprocessing.ADVANTAGES] = _standardised(advantages, advantages.mean(), advantages.std())
        columns |= {Columns.OBS: observations, Postprocessing.VALUE_TARGETS: targets}
        tensors = {name: torch.from_numpy(np.asarray(column, dtype=np.float32)) for name, column in columns.items()}
        return {DEFAULT_MODULE_ID: {name: tensor.to(device) for name, tensor in tensors.items()}}

    def _over_alternatives(
        self, module: Any, fragments: Sequence[Any], taken: np.ndarray, correction: np.ndarray
    ) -> dict[str, np.ndarray]:
        """The columns of actions that were taken and of their alternatives: see `ftray.agent.alternatives`.

        Shape: taken, correction (B,).
        """
        values = _extra(fragments, others.REWARDS)
        if self.gamma > 0.0:
            next_values = module.values_of(torch.from_numpy(_extra(fragments, others.OBS)))
            values = values + self.gamma * np.where(_extra(fragments, others.RUINED), 0.0, next_values.cpu().numpy())
        over, over_others = others.advantages_over(taken, values, correction=correction)
        scale = math.sqrt((np.square(over).sum() + np.square(over_others).sum()) / (over.size + over_others.size))
        return {
            Postprocessing.ADVANTAGES: _standardised(over, 0.0, scale),
            others.ADVANTAGES: _standardised(over_others, 0.0, scale),
            others.ACTIONS: _extra(fragments, others.ACTIONS),
            others.LOGP: _extra(fragments, others.LOGP),
        }


def _standardised(advantages: np.ndarray, mean: float, scale: float) -> np.ndarray:
    return (advantages - mean) / max(1e-4, float(scale))


def check_bars_follow(fragments: Sequence[np.ndarray]) -> None:
    """Proves that every fragment walks its market bar by bar. Shape: fragments of (T + 1, 2 + A).

    RLlib trains on silently with what an environment breaks here: with another autoreset mode a new episode's first
    observation stands at the end of the old one; an environment that returns the same array again and again leaves
    every stored observation equal to the last.

    Raises: TrainingError with the bars of the first broken fragment.
    """
    steps = np.concatenate([np.diff(rows[:, 0]) for rows in fragments])
    if (steps != 1).any():
        bars = next(rows[:, 0].astype(int) for rows in fragments if (np.diff(rows[:, 0]) != 1).any())
        at = max(0, int(np.argmax(np.diff(bars) != 1)) - 2)
        raise TrainingError(
            f"an episode must go from bar to bar, got bars {bars[at : at + 6].tolist()}: the vector environment must "
            "use next-step autoreset and return new arrays from every step"
        )


def check_finite(actions: np.ndarray) -> None:
    """Shape: (B, A). Raises: TrainingError if the policy gave numbers that are none."""
    broken = ~np.isfinite(actions).all(axis=-1)
    if broken.any():
        raise TrainingError(
            f"the policy gave {int(broken.sum())} actions of {len(actions)} that are not finite: its weights or the "
            "observations are broken. Lower trial.ppo.learning_rate or grad_clip; the last checkpoint is kept."
        )


def _joined(columns: Sequence[Any]) -> np.ndarray:
    return np.concatenate([np.asarray(column) for column in columns])


def _extra(fragments: Sequence[Any], name: str) -> np.ndarray:
    return _joined([fragment.get_extra_model_outputs(name) for fragment in fragments])

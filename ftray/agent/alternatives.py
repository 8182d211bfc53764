"""Alternatives: further actions of every account at every bar, which the environment prices and none of which is taken.

Takes: the action distribution, what actions would bring. Gives: K more actions, and the advantages of all 1 + K.

Prices do not answer what an account does. So `advance` knows the exact reward, costs included, and the exact next
account of any action, for the price of an array operation; other reinforcement learning has to try an action to know.

**Derivation.** At state s a policy π draws n = 1 + K actions independently; the first is taken. Each has the value
q_k = r_k + γ V(s'_k), exact but for V, with V = 0 where s'_k is ruin. The gradient's estimate is

    g = 1/n Σ_k ∇log π(a_k | s) A_k,   A_k = q_k − 1/(n − 1) Σ_{j≠k} q_j.

The baseline of a_k is made of the other actions, which are independent of it given s, and E ∇log π(a_k | s) = 0: it
adds nothing to the mean, so that E g = E [∇log π(a | s) q(s, a)], the policy gradient of one-step returns, for any K.
It takes out the whole of the market's own move, which is in every q_k alike, and which V(s) as a baseline cannot know:
it lies in the future. What is left varies with the actions alone, and 1/n as much for n of them.

With γ = 0, g is the exact gradient of the next reward. With γ > 0 it relies on V(s'), as the estimate GAE(0) does.
GAE(λ) corrects V by what followed the action that was taken, and that is known of no alternative. Its correction, A of
GAE(λ) less r_0 + γ V(s'_0) − V(s), is added n times to A_0: with the factor 1/n of g the mean is then that of GAE(λ).
It carries the market's noise, n times: with alternatives λ = 0 is the natural choice.

PPO's clipped ratio is taken of every action on its own (Schulman et al. 2017): all were drawn from the old policy.

Sources: leave-one-out baselines: Kool et al. 2019, Buy 4 REINFORCE Samples, Get a Baseline for Free!; baselines that
know an input which no action moves: Mao et al. 2019, arXiv:1807.02264; learning in hindsight where inputs are
exogenous: Sinclair et al. 2023, arXiv:2207.06272.

Legend: B samples, E accounts, K alternatives of each, A assets.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ftray.agent.gaussian import log_probability

ACTIONS, LOGP, ADVANTAGES = "other_actions", "other_logp", "other_advantages"
REWARDS, OBS, RUINED = "other_rewards", "other_obs", "other_ruined"
SAMPLED = (ACTIONS, LOGP, REWARDS, OBS, RUINED)
"""What env runners note of the alternatives of a step. Shape: (E, K, A), (E, K), (E, K), (E, K, 2 + A), (E, K)."""


def draw(mean: Tensor, log_std: Tensor, n: int) -> dict[str, Tensor]:
    """`n` more actions of the same distributions, and their log probabilities. Shape: mean, log_std (E, A)."""
    noise = torch.randn(len(mean), n, mean.shape[-1], device=mean.device)
    actions = mean[:, None] + log_std.exp()[:, None] * noise
    return {ACTIONS: actions, LOGP: log_probability(actions, mean[:, None], log_std[:, None])}


def price(env: Any, actions: np.ndarray) -> dict[str, np.ndarray]:
    """What these actions (E, K, A) would bring now, by the environment (`VectorTradingEnv.alternatives`)."""
    found = env.alternatives(np.where(np.isfinite(actions), actions, 0.0).clip(-1.0, 1.0))
    return {REWARDS: found.rewards, OBS: found.observations, RUINED: found.ruined}


def advantages_over(
    taken: np.ndarray, others: np.ndarray, *, correction: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Each action's value less the mean of the others at the same bar: of the actions taken, and of the alternatives.

    Shape: taken (B,), others (B, K), values q → (B,), (B, K). correction: (B,) what GAE(λ) adds to the one-step
    advantage of the action that was taken.
    """
    values = np.concatenate([taken[:, None], others], axis=1)
    n = values.shape[1]
    over = (values - values.mean(axis=1, keepdims=True)) * (n / (n - 1))
    if correction is not None:
        over[:, 0] += n * correction
    return over[:, 0], over[:, 1:]

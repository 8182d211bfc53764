"""Alternatives: their gradient has the mean of the exact policy gradient, and a fraction of plain PPO's variance.

The toy market: a Gaussian policy N(m, s) takes a position a before a return x that no action moves, and pays k a²; a
position that is held earns h a y one bar later. E [x a − k a²] has the gradient E x − 2 k m in m, in closed form.
"""

import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing

from ftray.agent import alternatives
from ftray.agent.gaussian import log_probability
from ftray.agent.loss import ppo_loss

M, LOG_STD, COST, HELD = 0.3, -0.5, 0.4, 0.7
MEAN_X, MEAN_Y, NOISE = 0.5, -0.2, 2.0
N = 20_000


def draws(k: int, seed: int = 0):
    """Actions (N, 1 + K), and the returns x, y (N, 1) of their bars."""
    rng = np.random.default_rng(seed)
    actions = M + np.exp(LOG_STD) * rng.standard_normal((N, 1 + k))
    return actions, MEAN_X + NOISE * rng.standard_normal((N, 1)), MEAN_Y + NOISE * rng.standard_normal((N, 1))


def gradients(actions: np.ndarray, first: np.ndarray, others: np.ndarray | None) -> np.ndarray:
    """The gradient in m of -loss, of each sample on its own. Shape: (N,)."""
    mean = torch.full((N, 1), M, requires_grad=True)
    log_std = torch.full((N, 1), LOG_STD)
    taken = torch.tensor(actions[:, :1], dtype=torch.float32)
    samples = {
        Columns.ACTIONS: taken,
        Columns.ACTION_DIST_INPUTS: torch.cat([mean, log_std], dim=1).detach(),
        Columns.ACTION_LOGP: log_probability(taken, mean, log_std).detach(),
        Postprocessing.ADVANTAGES: torch.tensor(first, dtype=torch.float32),
        Postprocessing.VALUE_TARGETS: torch.zeros(N),
    }
    if others is not None:
        drawn = torch.tensor(actions[:, 1:, None], dtype=torch.float32)
        samples |= {
            alternatives.ACTIONS: drawn,
            alternatives.LOGP: log_probability(drawn, mean[:, None], log_std[:, None]).detach(),
            alternatives.ADVANTAGES: torch.tensor(others, dtype=torch.float32),
        }
    distribution = torch.cat([mean, log_std], dim=1)
    loss, _ = ppo_loss(samples, distribution, torch.zeros(N), clip=0.2, value_weight=0.0, entropy_weight=0.0)
    (gradient,) = torch.autograd.grad(-loss * N, mean)
    return gradient[:, 0].double().numpy()


def is_unbiased(found: np.ndarray, exact: float) -> bool:
    return abs(found.mean() - exact) < 4.0 * found.std() / np.sqrt(N)


@pytest.mark.parametrize("k", [1, 4, 15])
def test_the_gradient_is_unbiased_with_a_fraction_of_the_variance(k):
    actions, x, _ = draws(k)
    rewards = x * actions - COST * actions**2
    exact, baseline = MEAN_X - 2 * COST * M, MEAN_X * M - COST * (M**2 + np.exp(2 * LOG_STD))
    plain = gradients(actions, rewards[:, 0] - baseline, None)
    found = gradients(actions, *alternatives.advantages_over(rewards[:, 0], rewards[:, 1:]))
    assert is_unbiased(plain, exact) and is_unbiased(found, exact)
    share = {1: 0.95, 4: 0.55, 15: 0.4}[k]  # measured: 0.88, 0.45, 0.33; the gradient itself moves with x: 0.28
    assert found.var() < share * plain.var()


def test_what_follows_the_action_taken_corrects_the_gradient_of_a_wrong_value_function():
    """V says that the next bar brings nothing; with λ = 1 the mean is that of the rewards of both bars."""
    actions, x, y = draws(4)
    gamma, rewards = 0.9, x * actions - COST * actions**2
    later = gamma * HELD * y * actions[:, :1]
    exact = MEAN_X - 2 * COST * M + gamma * HELD * MEAN_Y
    blind = gradients(actions, *alternatives.advantages_over(rewards[:, 0], rewards[:, 1:]))
    found = gradients(actions, *alternatives.advantages_over(rewards[:, 0], rewards[:, 1:], correction=later[:, 0]))
    assert is_unbiased(found, exact) and not is_unbiased(blind, exact)


def test_advantages_are_over_the_mean_of_the_other_actions():
    taken, others = np.array([3.0, 0.0]), np.array([[1.0, 2.0], [0.0, 6.0]])
    over, over_others = alternatives.advantages_over(taken, others)
    np.testing.assert_allclose(over, [1.5, -3.0])
    np.testing.assert_allclose(over_others, [[-1.5, 0.0], [-3.0, 6.0]])
    corrected, same = alternatives.advantages_over(taken, others, correction=np.array([0.1, 0.0]))
    np.testing.assert_allclose(corrected, [1.8, -3.0])
    np.testing.assert_array_equal(same, over_others)


def test_alternatives_are_drawn_from_the_policy_with_their_log_probability():
    torch.manual_seed(0)
    mean, log_std = torch.tensor([[0.2, -0.1]]).repeat(4_000, 1), torch.tensor([[-1.0, 0.3]]).repeat(4_000, 1)
    drawn = alternatives.draw(mean, log_std, 5)
    actions = drawn[alternatives.ACTIONS]
    assert actions.shape == (4_000, 5, 2) and drawn[alternatives.LOGP].shape == (4_000, 5)
    torch.testing.assert_close(actions.mean((0, 1)), mean[0], atol=0.03, rtol=0)
    torch.testing.assert_close(actions.std((0, 1)), log_std[0].exp(), atol=0.03, rtol=0)
    expected = torch.distributions.Normal(mean[:, None], log_std[:, None].exp()).log_prob(actions).sum(-1)
    torch.testing.assert_close(drawn[alternatives.LOGP], expected)

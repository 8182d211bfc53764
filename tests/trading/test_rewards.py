"""Every reward keeps the contract of its family, also where environments pay it, and computes what its name says."""

import dataclasses

import numpy as np
import pytest

from ftray.testing import RewardContract
from ftray.testing.rewards import FREE, life
from ftray.trading import REWARDS, Step, TradingEnv, TradingSpec, VectorTradingEnv
from ftray.trading.rewards import FIRST_VARIANCE, SHARPE_RATE

every_reward = pytest.mark.parametrize("reward", REWARDS)


class TestEveryReward(RewardContract):
    @pytest.fixture(autouse=True, params=REWARDS.values(), ids=REWARDS.keys())
    def member(self, request):
        self.reward = request.param


def differential_sharpe(steps: list[Step]) -> np.ndarray:
    """Shape: (steps, accounts)."""
    contract = RewardContract()
    contract.reward = REWARDS["differential_sharpe"]
    return contract.rewards(steps)


@every_reward
def test_a_new_episode_remembers_nothing_of_the_one_before(dataset, reward):
    """The second episode of each account is rewarded as a first one of a fresh environment would be."""
    spec = TradingSpec(reward=reward, episode_bars=7)

    def actions(k: int) -> np.ndarray:
        return np.sin(k + np.arange(6.0).reshape(2, 3))

    old, fresh = (VectorTradingEnv(dataset, dataset.windows.train, spec, n_envs=2, seed=0) for _ in range(2))
    old.reset()
    for k in range(8):  # seven steps of the first episodes, and the one that resets
        old.step(actions(k))
    fresh.reset(options={"bars": old.bars})
    for k in range(7):
        np.testing.assert_array_equal(old.step(actions(k))[1], fresh.step(actions(k))[1])


@every_reward
def test_the_turnover_penalty_is_taken_off_every_reward(dataset, reward):
    """Step for step the reward falls by penalty × turnover, and the books know nothing of it."""
    plain = TradingSpec(reward=reward, episode_bars=50)
    taxed = dataclasses.replace(plain, turnover_penalty=0.01)
    envs = [TradingEnv(dataset, dataset.windows.train, spec, seed=0, reward_scale=3.0) for spec in (plain, taxed)]
    for env in envs:
        env.reset(options={"bar": 300})
    difference = 0.0
    for k in range(50):
        (_, much, *_, info), (_, less, *_, taxed_info) = (env.step(np.sin(k + np.arange(3.0))) for env in envs)
        assert info["equity"] == taxed_info["equity"]
        difference += much - less
    assert difference == pytest.approx(3.0 * 0.01 * info["performance"]["turnover"], rel=1e-9)
    assert difference > 0


def test_log_growth_sums_to_the_log_of_total_growth(dataset):
    env = TradingEnv(dataset, dataset.windows.train, TradingSpec(), seed=0, reward_scale=100.0)
    _, info = env.reset(seed=3)
    start, total = info["equity"], 0.0
    for k in range(30):
        _, reward, _, _, info = env.step(np.sin(k + np.arange(3.0)))
        total += reward
    assert total == pytest.approx(100 * np.log(info["equity"] / start), rel=1e-9)


def test_equal_weight_without_costs_has_no_excess_growth(dataset):
    spec = TradingSpec(rules=dataclasses.replace(FREE, fill="close"), reward="excess_growth")
    env = TradingEnv(dataset, dataset.windows.train, spec, seed=0)
    env.reset(seed=3)
    assert all(abs(env.step(np.full(3, 1 / 3))[1]) < 1e-12 for _ in range(30))


def test_the_differential_sharpe_ratio_is_that_of_its_paper():
    """Moody and Saffell's recursion, written down for one account with plain numbers."""
    steps = list(life(1))
    mean, square, expected = 0.0, FIRST_VARIANCE, []
    for result in steps:
        r = float(result.equity[0] / result.equity_before[0] - 1)
        slope = (square * (r - mean) - 0.5 * mean * (r * r - square)) / (square - mean * mean) ** 1.5
        expected.append(SHARPE_RATE * slope)
        mean, square = mean + SHARPE_RATE * (r - mean), square + SHARPE_RATE * (r * r - square)
    np.testing.assert_allclose(differential_sharpe(steps)[:, 0], expected, rtol=1e-9)


def test_differential_sharpe_ratios_sum_to_about_the_change_of_the_moving_sharpe_ratio():
    steps = list(life(200, seed=1))
    memory = REWARDS["differential_sharpe"].fresh_memory(200)
    for result in steps:
        _, memory = REWARDS["differential_sharpe"].compute(result, memory)
    moving = memory[0] / np.sqrt(memory[1] - memory[0] ** 2)
    total = differential_sharpe(steps).sum(axis=0)
    assert np.corrcoef(total, moving)[0, 1] > 0.99
    assert np.abs(total - moving).max() < 0.2 * np.abs(moving).max()

"""The contract of the rewards: it runs over the whole table, so a new member is covered without an edit."""

import dataclasses

import numpy as np
import pytest

from ftray.trading import REWARDS, Account, MarketRules, StepPrices, TradingEnv, TradingSpec, VectorTradingEnv, advance
from ftray.trading.rewards import FIRST_VARIANCE, SHARPE_RATE

N_BARS = 60
every_reward = pytest.mark.parametrize("reward", REWARDS)


def a_life(n_accounts: int, seed: int = 0):
    """The steps of accounts that trade at random in a random market, one after the other."""
    rng = np.random.default_rng(seed)
    account, close = Account.all_cash(n_accounts, 3, 10_000), np.full((n_accounts, 3), 100.0)
    for _ in range(N_BARS):
        next_close = close * np.exp(0.01 * rng.standard_normal(close.shape))
        result = advance(
            account, rng.dirichlet(np.ones(4), n_accounts)[:, 1:], StepPrices(close, close, next_close), FREE
        )
        yield result
        account, close = result.account, next_close


FREE = MarketRules(fee=0, slippage=0, min_order=0)


def rewards_of(name: str, steps) -> np.ndarray:
    """Shape: (steps, accounts)."""
    steps = list(steps)
    memory, rewards = REWARDS[name].fresh_memory(len(steps[0].equity)), []
    for result in steps:
        reward, memory = REWARDS[name].compute(result, memory)
        rewards.append(reward)
    return np.array(rewards)


def one_account(result, e: int):
    row = slice(e, e + 1)
    prices = StepPrices(*(array[row] for array in (result.prices.close, result.prices.fill, result.prices.next_close)))
    return dataclasses.replace(
        result, equity_before=result.equity_before[row], equity=result.equity[row], prices=prices
    )


@every_reward
def test_a_reward_is_one_finite_number_per_account(reward):
    rewards = rewards_of(reward, a_life(5))
    assert rewards.shape == (N_BARS, 5)
    assert np.isfinite(rewards).all()
    assert rewards.std() > 0


@every_reward
def test_a_batch_of_accounts_is_rewarded_as_single_ones_to_the_last_bit(reward):
    steps = list(a_life(6))
    batch = rewards_of(reward, steps)
    for e in range(6):
        alone = rewards_of(reward, (one_account(result, e) for result in steps))
        assert alone[:, 0].tobytes() == batch[:, e].tobytes()


@every_reward
def test_a_reward_leaves_the_memory_it_was_given_alone(reward):
    result = next(a_life(4))
    memory = REWARDS[reward].fresh_memory(4)
    first, _ = REWARDS[reward].compute(result, memory)
    again, _ = REWARDS[reward].compute(result, memory)
    np.testing.assert_array_equal(first, again)


@every_reward
def test_a_new_episode_remembers_nothing_of_the_one_before(dataset, reward):
    """The second episode of each account is rewarded as a first one of a fresh environment would be."""
    spec = TradingSpec(reward=reward, episode_bars=7)

    def actions(k: int) -> np.ndarray:
        return np.sin(k + np.arange(6.0).reshape(2, 3))

    old, fresh = (VectorTradingEnv(dataset, dataset.windows.train, spec, n_envs=2) for _ in range(2))
    old.reset()
    for k in range(8):  # seven steps of the first episodes, and the one that resets
        old.step(actions(k))
    fresh.reset(options={"bars": old.bars})
    for k in range(7):
        np.testing.assert_array_equal(old.step(actions(k))[1], fresh.step(actions(k))[1])


@every_reward
def test_an_account_that_sits_in_cash_and_then_trades_is_rewarded_within_reason(dataset, reward):
    spec = TradingSpec(reward=reward, episode_bars=1_000)
    env = TradingEnv(dataset, dataset.windows.train, spec)
    env.reset(options={"bar": 200})
    idle = [env.step(np.zeros(3))[1] for _ in range(600)]
    active = [env.step(np.ones(3) if i % 2 else -np.ones(3))[1] for i in range(100)]
    assert np.isfinite(idle + active).all()
    assert np.abs(active).max() < 10


@every_reward
def test_the_turnover_penalty_is_taken_off_every_reward(dataset, reward):
    """Step for step the reward falls by penalty × turnover, and the books know nothing of it."""
    plain = TradingSpec(reward=reward, episode_bars=50)
    taxed = dataclasses.replace(plain, turnover_penalty=0.01)
    envs = [TradingEnv(dataset, dataset.windows.train, spec, reward_scale=3.0) for spec in (plain, taxed)]
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
    env = TradingEnv(dataset, dataset.windows.train, TradingSpec(), reward_scale=100.0)
    _, info = env.reset(seed=3)
    start, total = info["equity"], 0.0
    for k in range(30):
        _, reward, _, _, info = env.step(np.sin(k + np.arange(3.0)))
        total += reward
    assert total == pytest.approx(100 * np.log(info["equity"] / start), rel=1e-9)


def test_equal_weight_without_costs_has_no_excess_growth(dataset):
    spec = TradingSpec(rules=dataclasses.replace(FREE, fill="close"), reward="excess_growth")
    env = TradingEnv(dataset, dataset.windows.train, spec)
    env.reset(seed=3)
    assert all(abs(env.step(np.full(3, 1 / 3))[1]) < 1e-12 for _ in range(30))


def test_the_differential_sharpe_ratio_is_that_of_its_paper():
    """Moody and Saffell's recursion, written down for one account with plain numbers."""
    steps = list(a_life(1))
    mean, square, expected = 0.0, FIRST_VARIANCE, []
    for result in steps:
        r = float(result.equity[0] / result.equity_before[0] - 1)
        slope = (square * (r - mean) - 0.5 * mean * (r * r - square)) / (square - mean * mean) ** 1.5
        expected.append(SHARPE_RATE * slope)
        mean, square = mean + SHARPE_RATE * (r - mean), square + SHARPE_RATE * (r * r - square)
    np.testing.assert_allclose(rewards_of("differential_sharpe", steps)[:, 0], expected, rtol=1e-9)


def test_differential_sharpe_ratios_sum_to_about_the_change_of_the_moving_sharpe_ratio():
    steps = list(a_life(200, seed=1))
    memory = REWARDS["differential_sharpe"].fresh_memory(200)
    for result in steps:
        _, memory = REWARDS["differential_sharpe"].compute(result, memory)
    moving = memory[0] / np.sqrt(memory[1] - memory[0] ** 2)
    total = rewards_of("differential_sharpe", steps).sum(axis=0)
    assert np.corrcoef(total, moving)[0, 1] > 0.99
    assert np.abs(total - moving).max() < 0.2 * np.abs(moving).max()

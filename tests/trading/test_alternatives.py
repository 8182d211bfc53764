"""What the environment says of actions that were not taken is what it does when they are taken."""

import dataclasses

import numpy as np
import pytest

from ftray.errors import TrainingError
from ftray.trading import MarketRules, TradingSpec, VectorTradingEnv

SPECS = {
    "plain": TradingSpec(episode_bars=25),
    "a no-trade zone and a penalty": TradingSpec(episode_bars=25, no_trade=0.1, turnover_penalty=0.002),
    "a reward that remembers": TradingSpec(episode_bars=25, reward="differential_sharpe", accounts_per_bar=2),
    "a market with depth": TradingSpec(episode_bars=25, rules=MarketRules(impact=0.1, fill="close")),
    "ruin": TradingSpec(episode_bars=90, rules=MarketRules(fee=0.1, slippage=0.1, min_order=0)),
}


@pytest.mark.parametrize("observation", ["compact", "full"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_action_taken_brings_what_was_said_of_it(dataset, spec, observation):
    env = VectorTradingEnv(
        dataset, dataset.windows.train, spec, n_envs=4, observation=observation, seed=3, reward_scale=100.0
    )
    rng = np.random.default_rng(0)
    env.reset(seed=3)
    restarting, compared, ruined = np.zeros(4, dtype=bool), 0, 0
    for _ in range(120):
        actions = rng.uniform(-1, 1, (4, 3, 3))
        said = env.alternatives(actions)
        chosen = rng.integers(3)
        observations, rewards, terminated, truncated, _ = env.step(actions[:, chosen])
        real = ~restarting
        np.testing.assert_array_equal(said.rewards[real, chosen], rewards[real])
        np.testing.assert_array_equal(said.observations[real, chosen], observations[real])
        np.testing.assert_array_equal(said.ruined[real, chosen], terminated[real])
        compared, ruined = compared + int(real.sum()), ruined + int(terminated.sum())
        restarting = terminated | truncated
    assert compared > 400 and (ruined > 0) == (spec.rules.fee == 0.1)


def test_asking_changes_nothing(dataset):
    env = VectorTradingEnv(dataset, dataset.windows.train, SPECS["a reward that remembers"], n_envs=4, seed=3)
    rng = np.random.default_rng(0)
    env.reset(seed=3)
    for _ in range(30):
        actions = rng.uniform(-1, 1, (4, 5, 3))
        before = env.get_state()
        env.alternatives(actions)
        after = env.get_state()
        assert before.keys() == after.keys()
        for name, value in before.items():
            np.testing.assert_array_equal(value, after[name])
        env.step(actions[:, 0])


def test_an_environment_that_was_not_reset_prices_nothing(dataset):
    spec = dataclasses.replace(SPECS["plain"], episode_bars=10)
    with pytest.raises(TrainingError, match="must be reset before its actions can be priced"):
        VectorTradingEnv(dataset, dataset.windows.train, spec, n_envs=2).alternatives(np.zeros((2, 1, 3)))

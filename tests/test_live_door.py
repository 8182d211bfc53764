"""Whatever comes in from outside, live or in a notebook, is what training was given, or refused with what came."""

import dataclasses

import numpy as np
import pytest
import torch

from ftray.errors import DataError, SpecError, TrainingError, WeightsError
from ftray.features import Dataset, FeatureSpec, build_dataset
from ftray.features.history import History
from ftray.market import SimulatorSpec, WindowsSpec
from ftray.nets import MLPSpec, Policy, PolicyNetwork, build_encoder, policy_head
from ftray.trading import MarketRules, TradingEnv, TradingSpec, VectorTradingEnv, backtest

SPEC = TradingSpec(episode_bars=20)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    features = FeatureSpec(lookback=8, indicators=("close", "volume"))
    return build_dataset(SimulatorSpec(n_assets=2, n_bars=1_500), WindowsSpec(), features)


@pytest.fixture(scope="module")
def policy(dataset) -> Policy:
    torch.manual_seed(0)
    spec = MLPSpec(hidden=64, encoding_dim=64)
    network = PolicyNetwork(build_encoder(spec, dataset.layout), policy_head(spec.encoding_dim, 2))
    return Policy(network, dataset.table.scaler, {"fold": 0, **History.of(dataset).to_facts()})


ACCOUNTS = {
    "money": [5_000.0, 3_000.0, 2_000.0],
    "a negative holding": [1.2, -0.2, 0.0],
    "a sum below 1": [0.2, 0.2, 0.2],
    "a sum above 1": [1.0, 1.0, 0.0],
    "a number that is none": [np.nan, 0.5, 0.5],
}


@pytest.mark.parametrize("account", ACCOUNTS.values(), ids=ACCOUNTS)
def test_an_account_is_fractions_of_equity(policy, dataset, account):
    with pytest.raises(DataError, match="fractions of equity") as refused:
        policy.observe(dataset.candles, account)
    if np.isfinite(account).all():
        assert f"got {account}" in str(refused.value)
        observation = policy.observe(dataset.candles)
        observation[policy.layout.account] = account
        with pytest.raises(DataError, match="fractions of equity"):
            policy(observation)


def test_an_account_as_it_is_passes(policy, dataset):
    held = policy.observe(dataset.candles, [0.5, 0.25, 0.25])
    assert policy(held).shape == (2,) and policy(np.stack([held, held])).shape == (2, 2)


def test_bars_of_another_length_are_refused(policy, dataset):
    times = dataset.candles.times[0] + np.arange(len(dataset.candles)) * np.timedelta64(4, "h")
    other = dataclasses.replace(dataset.candles, times=times, interval=np.timedelta64(4, "h"))
    with pytest.raises(DataError, match="decides on bars of 1h, and these candles are of 4h"):
        policy.observe(other)


def test_times_that_do_not_increase_are_refused(policy, dataset):
    times = dataset.candles.times.copy()
    times[[700, 701]] = times[[701, 700]]
    with pytest.raises(DataError, match="must increase, and a bar at 2020-01-30 04:00:00 comes after one at"):
        policy.observe(dataclasses.replace(dataset.candles, times=times))


SHAPES = {"one number for all": np.ones(1), "one too few": np.ones((1, 1)), "one too many": np.ones((1, 3))}


@pytest.mark.parametrize("action", SHAPES.values(), ids=SHAPES)
def test_actions_have_a_number_for_each_account_and_asset(dataset, action):
    single, vector = (
        TradingEnv(dataset, dataset.windows.train, SPEC),
        VectorTradingEnv(dataset, dataset.windows.train, SPEC, n_envs=4),
    )
    single.reset()
    vector.reset()
    with pytest.raises(TrainingError, match=r"must have the shape \(accounts, assets\) = \(1, 2\)"):
        single.step(action.reshape(-1))
    with pytest.raises(TrainingError, match=r"= \(4, 2\), got"):
        vector.step(np.repeat(action.reshape(1, -1), 4, axis=0))
    with pytest.raises(TrainingError, match=r"= \(1, 2\), got"):
        backtest(lambda bars, account: action, dataset, dataset.windows.validation, MarketRules())


def test_a_step_after_the_end_is_refused_and_after_a_reset_it_is_not(dataset):
    env = TradingEnv(dataset, dataset.windows.train, SPEC)
    env.reset(seed=1)
    over = False
    while not over:
        *_, terminated, truncated, _ = env.step(np.zeros(2))
        over = terminated or truncated
    with pytest.raises(TrainingError, match=r"the episode has ended.*call reset\(\)"):
        env.step(np.zeros(2))
    env.reset()
    env.step(np.zeros(2))


def starts(env: VectorTradingEnv, n: int = 8) -> list[list[int]]:
    return [env.reset()[0][:, 0].astype(int).tolist() for _ in range(n)]


def test_without_a_seed_every_environment_walks_a_path_of_its_own(dataset):
    def made(**seed) -> VectorTradingEnv:
        return VectorTradingEnv(dataset, dataset.windows.train, SPEC, n_envs=4, **seed)

    first, second = starts(made()), starts(made())
    assert first != second and len({row[0] for row in first}) > 1 and len(set(first[0])) > 1
    assert starts(made(seed=3)) == starts(made(seed=3)) != first
    env = TradingEnv(dataset, dataset.windows.train, SPEC)
    bars = [env.reset()[1]["bar"] for _ in range(8)]
    assert bars != [env.reset()[1]["bar"] for _ in range(8)]
    seeded = [env.reset(seed=5)[1]["bar"], env.reset()[1]["bar"]]
    assert seeded == [env.reset(seed=5)[1]["bar"], env.reset()[1]["bar"]]


def changed(candles, change):
    values = candles.values.copy()
    change(values)
    return dataclasses.replace(candles, values=values)


ILLEGAL = {
    "a high below the low": lambda values: values[700, 0].__setitem__(1, values[700, 0, 2] / 2),
    "no number long ago": lambda values: values[100, 0].__setitem__(3, np.nan),
    "a negative close": lambda values: values[700, 0].__setitem__(3, -1.0),
}


@pytest.mark.parametrize("change", ILLEGAL.values(), ids=ILLEGAL)
def test_prices_that_no_market_has_are_refused(policy, dataset, change):
    with pytest.raises(DataError, match="finite and above 0, with open and close between low and high"):
        policy.observe(changed(dataset.candles, change))


def test_a_bar_that_is_not_over_is_refused(policy, dataset):
    later = dataset.candles.times + np.timedelta64(365 * 80, "D")
    live = dataclasses.replace(dataset.candles, times=later, regimes=None)
    with pytest.raises(DataError, match="after a bar's close, and the last one closes at 2100-02-12 12:00:00: it is"):
        policy.observe(live)
    assert policy.observe(dataclasses.replace(dataset.candles, regimes=None)).shape == (policy.layout.size,)


def test_an_older_policy_knows_its_interval_from_its_trial(policy, dataset):
    older = Policy(policy.network, policy.scaler, {"fold": 0, "trial": {"market": {"interval": "4h"}}})
    with pytest.raises(DataError, match="decides on bars of 4h, and these candles are of 1h"):
        older.observe(dataset.candles)


def test_features_that_are_not_scaled_are_refused(policy, dataset):
    observation = policy.observe(dataset.candles)
    observation[policy.layout.features] *= 10_000.0
    with pytest.raises(DataError, match="features must be scaled, and clipped at 8"):
        policy(observation)
    with pytest.raises(WeightsError, match="got the shape"):
        policy(np.zeros((1, 1, policy.layout.size)))


MADE = {
    "an unknown form": {"observation": "fulll"},
    "a seed below 0": {"seed": -1},
    "a seed that is no whole number": {"seed": 1.5},
    "a scale of 0": {"reward_scale": 0.0},
    "a scale that is none": {"reward_scale": float("nan")},
}


@pytest.mark.parametrize("given", MADE.values(), ids=MADE)
def test_an_environment_is_made_of_what_it_says(dataset, given):
    with pytest.raises(SpecError):
        VectorTradingEnv(dataset, dataset.windows.train, SPEC, n_envs=2, **given)


def test_options_of_a_reset_that_mean_nothing_are_refused(dataset):
    single = TradingEnv(dataset, dataset.windows.train, SPEC)
    vector = VectorTradingEnv(dataset, dataset.windows.train, SPEC, n_envs=2)
    for env, wrong in ((single, {"bars": [100]}), (vector, {"bar": 100})):
        with pytest.raises(SpecError, match="reset knows the option"):
            env.reset(options=wrong)
    assert single.reset(seed=np.int64(3))[1] == single.reset(seed=3)[1]

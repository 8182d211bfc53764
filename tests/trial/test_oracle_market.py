"""The oracle market: where a feature gives the future away, learning must take it; where none does, it finds nothing.

Three assets without drift, a fee of 0.02 %, and volumes that leak the return from fill to fill: from the open at which
an order decided now fills, to the open after. If training, environment and backtest disagreed about which bar is which
by a single one, or lost a gradient on the way, nothing of it could be exploited.
"""

import dataclasses

import numpy as np
import pytest

from ftray.agent import PPOSpec
from ftray.features import Dataset, FeatureSpec
from ftray.market import SimulatorSpec, WindowsSpec
from ftray.nets import MLPSpec
from ftray.trading import MarketRules, TradingSpec, backtest
from ftray.trial import TrialSpec, prepare_dataset

# What is worth knowing at a bar pays at the next one, so nothing is discounted and no lookback is needed.
TRIAL = TrialSpec(
    market=SimulatorSpec(n_assets=3, n_bars=3_000, drift=0.0, leak=1.0, seed=1),
    windows=WindowsSpec(holding=1),
    features=FeatureSpec(lookback=1, indicators=("volume",)),
    encoder=MLPSpec(hidden=64, encoding_dim=64),
    trading=TradingSpec(rules=MarketRules(fee=0.0002, slippage=0.0, min_order=0.0), episode_bars=100),
    ppo=PPOSpec(
        env_steps=40_000,
        train_batch_size=4_096,
        minibatch_size=512,
        epochs=6,
        learning_rate=1e-3,
        gamma=0.0,
        gae_lambda=0.0,
        n_env_runners=0,
        envs_per_runner=64,
        evaluate_every=100,
    ),
    onnx=False,
)
SHARE_TO_REACH = 0.7
SECONDS_AT_MOST = 300  # on two cores


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("oracle")


@pytest.fixture(scope="module")
def dataset(shared) -> Dataset:
    return prepare_dataset(TRIAL, shared)[1]


def fill_to_fill_returns(dataset: Dataset) -> np.ndarray:
    """What one bar of holding brings when it is decided at bar t: open t + 1 to open t + 2. Shape: (T, A)."""
    opens = dataset.candles.column("open")
    returns = np.zeros_like(opens)
    returns[:-2] = opens[2:] / opens[1:-1] - 1
    return returns


def greedy_growth(dataset: Dataset) -> float:
    """Validation log growth, net of costs, of knowing the next return.

    All goes into one asset or into cash, whichever brings most after the costs of changing over.
    """
    returns, choices = fill_to_fill_returns(dataset), np.vstack([np.zeros(3), np.eye(3)])

    def greedy(bars: np.ndarray, accounts: np.ndarray) -> np.ndarray:
        traded = np.abs(choices - accounts[:, None, 1:]).sum(axis=-1)
        return choices[np.argmax(returns[bars] @ choices.T - TRIAL.trading.rules.cost * traded, axis=1)]

    result = backtest(greedy, dataset, dataset.windows.validation, TRIAL.trading.rules)
    return float(np.log(result.equity[-1] / result.initial_cash))


def learned(spec: TrialSpec, folder, shared) -> tuple[float, float]:
    """Validation log growth, net of costs, of a policy that PPO trained; and the seconds it took."""
    from ftray.trial.run import run_trial

    metrics = run_trial(spec, lambda metrics, checkpoint=None: None, folder=folder, shared=shared)
    return float(np.log1p(metrics["validation/total_return"])), metrics["wall_seconds"]


def test_the_feature_of_a_bar_leaks_the_return_from_fill_to_fill(dataset):
    returns = fill_to_fill_returns(dataset)
    bars = dataset.table.decision_bars(dataset.windows.train)
    for asset in range(3):
        feature = dataset.table.values[bars, asset]
        assert np.corrcoef(feature, returns[bars, asset])[0, 1] > 0.9
        assert abs(np.corrcoef(feature, returns[bars - 1, asset])[0, 1]) < 0.1  # the one before is past already


def test_the_greedy_oracle_grows_after_costs(dataset):
    assert greedy_growth(dataset) > 1.0


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2))])
def test_ppo_takes_what_the_feature_gives_away(tmp_path, shared, dataset, seed):
    growth, seconds = learned(dataclasses.replace(TRIAL, seed=seed), tmp_path, shared)
    assert SHARE_TO_REACH <= growth / greedy_growth(dataset) < 1
    assert seconds < SECONDS_AT_MOST


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_the_same_training_finds_nothing_where_nothing_leaks(tmp_path, shared, dataset):
    noise = dataclasses.replace(TRIAL, market=dataclasses.replace(TRIAL.market, leak=0.0))
    growth, _ = learned(noise, tmp_path, shared)
    assert growth < 0.2 * greedy_growth(dataset)

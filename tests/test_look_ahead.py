"""The proof that nothing looks ahead: whatever happens after bar t, no bit of what ftray computes at t changes.

The future of a market is rewritten (other prices and volumes, a crash without a trade, no future at all), and all that
is computed from candles to actions is compared with what it was: indicators, scaled features, observations, rewards,
encodings, actions. The tests run over the tables of indicators and encoders: new members are covered without an edit.

Indicators are tested at every bar, scaled features from the last bar of the train window on: a scaler is fitted on the
whole train window, so that inside of it the scale of a feature depends on later train bars. Training may use those, and
nothing after them.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from ftray.features import INDICATORS, Dataset, FeatureSpec, FeatureTable, Indicator, build_table
from ftray.features.table import raw_features
from ftray.market import Candles, SimulatorSpec, Window, Windows, simulate
from ftray.nets import ENCODERS, EncoderSpec, build_encoder, policy_head
from ftray.spec import parse_member
from ftray.trading import MarketRules, TradingEnv, TradingSpec

N_BARS = 1_300
TRAIN = Window(0, 800)
WALK = 6
"""Steps that an account takes to arrive at t: its holdings are part of the observation there."""

MARKET = simulate(SimulatorSpec(n_assets=2, n_bars=N_BARS, seed=11))
OTHER = simulate(SimulatorSpec(n_assets=2, n_bars=N_BARS, seed=12))

RANDOM = np.random.default_rng(5)
ANY_BARS = sorted(RANDOM.integers(300, N_BARS - 1, 4).tolist())
BARS_AFTER_TRAINING = [TRAIN.stop - 1, *sorted(RANDOM.integers(TRAIN.stop + 150, N_BARS - 1, 3).tolist())]


def another_market(candles: Candles, t: int) -> Candles:
    return with_future(candles, t, OTHER.values[t + 1 :] * [9.0, 9.0, 9.0, 9.0, 1e3])


def a_crash_without_trades(candles: Candles, t: int) -> Candles:
    return with_future(candles, t, candles.values[t + 1 :] * [1e-3, 1e-3, 1e-3, 1e-3, 0.0])


def no_future(candles: Candles, t: int) -> Candles:
    return Candles(candles.symbols, candles.times[: t + 1], candles.values[: t + 1].copy(), candles.interval)


def with_future(candles: Candles, t: int, future: np.ndarray) -> Candles:
    values = np.concatenate([candles.values[: t + 1], future])
    return Candles(candles.symbols, candles.times, values, candles.interval)


every_future = pytest.mark.parametrize("rewrite", [another_market, a_crash_without_trades, no_future])
Rewrite = Callable[[Candles, int], Candles]
Policy = Callable[[np.ndarray], tuple[np.ndarray, ...]]
"""An observation (size,) → whatever the policy computes on its way, and last its action (A,)."""


def a_table(candles: Candles, train: Window = TRAIN) -> FeatureTable:
    return build_table(candles, FeatureSpec(indicators=tuple(INDICATORS)), train)


def walk(candles: Candles, t: int, policy: Policy) -> list[np.ndarray]:
    """All that an account sees and does on its way to bar t, in a market whose last bar may be t."""
    whole = Window(0, len(candles))
    dataset = Dataset(candles, a_table(candles), Windows(TRAIN, whole, whole), fingerprint="")
    env = TradingEnv(dataset, whole, TradingSpec(rules=MarketRules(impact=0.01), reward="differential_sharpe"))
    observation, _ = env.reset(options={"bar": t - WALK})
    history = [observation, *policy(observation)]
    for _ in range(WALK):
        observation, reward, _, _, info = env.step(history[-1])
        history += [np.array([reward, info["equity"]]), observation, *policy(observation)]
    assert info["bar"] == t
    return history


def at_random(observation: np.ndarray) -> tuple[np.ndarray, ...]:
    """A policy that hangs on every number it sees."""
    weights = np.random.default_rng(1).standard_normal((2, len(observation)))
    return (np.tanh(weights @ observation / 10),)


def assert_indicator_is_causal(name: str, t: int, rewrite: Rewrite) -> None:
    spec = FeatureSpec(indicators=(name,))
    known, rewritten = (raw_features(candles, spec)[: t + 1] for candles in (MARKET, rewrite(MARKET, t)))
    assert np.isfinite(known[-1]).all()
    np.testing.assert_array_equal(known, rewritten)


def assert_table_is_causal(t: int, rewrite: Rewrite, train: Window = TRAIN) -> None:
    known, rewritten = (a_table(candles, train) for candles in (MARKET, rewrite(MARKET, t)))
    np.testing.assert_array_equal(known.values[: t + 1], rewritten.values[: t + 1])
    account = np.array([[0.2, 0.5, 0.3]], np.float32)
    np.testing.assert_array_equal(*(table.observation(np.array([t]), account) for table in (known, rewritten)))


def assert_walk_is_causal(t: int, rewrite: Rewrite, policy: Policy) -> None:
    known, rewritten = (walk(candles, t, policy) for candles in (MARKET, rewrite(MARKET, t)))
    for one, other in zip(known, rewritten, strict=True):
        np.testing.assert_array_equal(one, other)


@every_future
@pytest.mark.parametrize("t", ANY_BARS)
@pytest.mark.parametrize("name", INDICATORS)
def test_no_indicator_changes_with_what_comes_after(name, t, rewrite):
    assert_indicator_is_causal(name, t, rewrite)


@every_future
@pytest.mark.parametrize("t", BARS_AFTER_TRAINING)
def test_no_scaled_feature_changes_with_what_comes_after(t, rewrite):
    assert_table_is_causal(t, rewrite)


@every_future
@pytest.mark.parametrize("t", BARS_AFTER_TRAINING)
def test_no_account_depends_on_what_comes_after(t, rewrite):
    """Observations, rewards, equity and actions on the way to t, with orders that fill at opens."""
    assert_walk_is_causal(t, rewrite, at_random)


@every_future
@pytest.mark.parametrize("kind", ENCODERS)
def test_no_encoding_and_no_action_changes_with_what_comes_after(kind, rewrite):
    torch.manual_seed(0)
    encoder = build_encoder(parse_member(EncoderSpec, {"kind": kind}), a_table(MARKET).layout).eval()
    head = policy_head(encoder.encoding_dim, MARKET.n_assets)
    torch.nn.init.normal_(head[-1].weight)  # its small initial gain would hide an encoding that differs

    @torch.inference_mode()
    def policy(observation: np.ndarray) -> tuple[np.ndarray, ...]:
        encoding = encoder.encode(torch.from_numpy(observation)[None])
        return encoding.numpy(), head(encoding)[0, : MARKET.n_assets].tanh().numpy()

    for t in BARS_AFTER_TRAINING[:2]:
        assert_walk_is_causal(t, rewrite, policy)


def the_next_return(ohlcv: np.ndarray) -> np.ndarray:
    return np.append(ohlcv[1:, 3] / ohlcv[:-1, 3], 1.0)


@pytest.mark.parametrize(
    "leak",
    [
        the_next_return,
        lambda ohlcv: ohlcv[:, 3] / ohlcv[:, 3].mean(),
        lambda ohlcv: np.convolve(ohlcv[:, 3], np.ones(5) / 5, mode="same"),
    ],
    ids=["the next return", "the mean of all bars", "a centred average"],
)
def test_the_proof_catches_an_indicator_that_looks_ahead(leak):
    with INDICATORS.having(Indicator("leak", leak, warm_up=0)), pytest.raises(AssertionError):
        assert_indicator_is_causal("leak", ANY_BARS[0], another_market)


def test_the_proof_catches_an_account_that_acts_on_the_next_return():
    with INDICATORS.having(Indicator("leak", the_next_return, warm_up=0)), pytest.raises(AssertionError):
        assert_walk_is_causal(BARS_AFTER_TRAINING[1], another_market, at_random)


def test_the_proof_catches_a_scaler_that_saw_more_than_the_train_window():
    t = BARS_AFTER_TRAINING[1]
    assert_table_is_causal(t, another_market, train=Window(0, t + 1))
    with pytest.raises(AssertionError):
        assert_table_is_causal(t, another_market, train=Window(0, t + 2))


def test_the_proof_catches_an_environment_that_shows_the_next_bar(monkeypatch):
    original = FeatureTable.observation
    monkeypatch.setattr(FeatureTable, "observation", lambda self, bars, account: original(self, bars + 1, account))
    with pytest.raises(AssertionError):
        assert_walk_is_causal(BARS_AFTER_TRAINING[1], another_market, at_random)

"""Nothing looks ahead: whatever happens after bar t, no bit of what ftray computes at t changes.

`ftray.testing.look_ahead` rewrites the future of a market, and here all that is computed from candles to actions is
compared with what it was: scaled features, observations, rewards, encodings, actions. Indicators and encoders prove it
one by one, by their contracts; here all of them together do.

Features are tested at every bar, scaled features from the last bar of the train window on: a scaler is fitted on the
whole train window, so that inside of it the scale of a feature depends on later train bars. Training may use those, and
nothing after them.
"""

import dataclasses
import functools

import numpy as np
import pytest

from ftray.features import INDICATORS, FeatureSpec, FeatureTable, Indicator, build_table
from ftray.features.raw import raw_features
from ftray.market import Candles, SimulatorSpec, Window, simulate
from ftray.testing import assert_no_look_ahead
from ftray.testing.look_ahead import assert_walk_has_no_look_ahead

N_BARS = 1_300
TRAIN = Window(0, 800)
MARKET = simulate(SimulatorSpec(n_assets=2, n_bars=N_BARS, seed=11))

RANDOM = np.random.default_rng(5)
ANY_BARS = sorted(RANDOM.integers(300, N_BARS - 1, 4).tolist())
BARS_AFTER_TRAINING = [TRAIN.stop - 1, *sorted(RANDOM.integers(TRAIN.stop + 150, N_BARS - 1, 3).tolist())]


def with_values(values: np.ndarray) -> Candles:
    return dataclasses.replace(MARKET, times=MARKET.times[: len(values)], values=values, regimes=None)


def every_indicator() -> FeatureSpec:
    return FeatureSpec(indicators=tuple(INDICATORS))


def a_table(candles: Candles, train: Window = TRAIN) -> FeatureTable:
    return build_table(candles, every_indicator(), train)


def assert_table_has_no_look_ahead(t: int, train: Window = TRAIN) -> None:
    assert_no_look_ahead(
        lambda values: a_table(with_values(values), train).values, MARKET.values, [t], name="the table"
    )


def at_random(observation: np.ndarray) -> tuple[np.ndarray, ...]:
    """A policy that hangs on every number it sees."""
    weights = np.random.default_rng(1).standard_normal((2, len(observation)))
    return (np.tanh(weights @ observation / 10),)


assert_account_has_no_look_ahead = functools.partial(assert_walk_has_no_look_ahead, MARKET, a_table, policy=at_random)


def test_no_feature_changes_with_what_comes_after():
    assert np.isfinite(raw_features(MARKET, every_indicator())[ANY_BARS]).all()
    assert_no_look_ahead(lambda values: raw_features(with_values(values), every_indicator()), MARKET.values, ANY_BARS)


@pytest.mark.parametrize("t", BARS_AFTER_TRAINING)
def test_no_scaled_feature_changes_with_what_comes_after(t):
    assert_table_has_no_look_ahead(t)


@pytest.mark.parametrize("t", BARS_AFTER_TRAINING)
def test_no_account_depends_on_what_comes_after(t):
    """Observations, rewards, equity and actions on the way to t, with orders that fill at opens."""
    assert_account_has_no_look_ahead(t)


def next_return(ohlcv: np.ndarray) -> np.ndarray:
    return np.append(ohlcv[1:, 3] / ohlcv[:-1, 3], 1.0)


LEAK = Indicator("leak", next_return, warm_up=0)


def test_the_proof_catches_a_table_that_holds_the_next_return():
    with INDICATORS.having(LEAK), pytest.raises(AssertionError, match="it looks 1 or more bars ahead"):
        assert_table_has_no_look_ahead(BARS_AFTER_TRAINING[1])


def test_the_proof_catches_an_account_that_acts_on_the_next_return():
    with INDICATORS.having(LEAK), pytest.raises(AssertionError, match="all that the account sees and does"):
        assert_account_has_no_look_ahead(BARS_AFTER_TRAINING[1])


def test_the_proof_catches_a_scaler_that_saw_more_than_the_train_window():
    t = BARS_AFTER_TRAINING[1]
    assert_table_has_no_look_ahead(t, train=Window(0, t + 1))
    with pytest.raises(AssertionError, match="it looks"):
        assert_table_has_no_look_ahead(t, train=Window(0, t + 2))


def test_the_proof_catches_an_environment_that_shows_the_next_bar(monkeypatch):
    original = FeatureTable.window
    monkeypatch.setattr(FeatureTable, "window", lambda self, bars: original(self, bars + 1))
    with pytest.raises(AssertionError):
        assert_account_has_no_look_ahead(BARS_AFTER_TRAINING[1])

"""Every indicator keeps the contract of its family, and computes what its name says."""

import numpy as np
import pytest
import talib
from hypothesis import given
from hypothesis import strategies as st

from ftray.features.indicators import BREAKOUT_VOLUME, INDICATORS, Indicator
from ftray.testing import IndicatorContract, extreme_ohlcv, ohlcv
from ftray.testing.candles import JUMPS, VOLATILITIES, VOLUMES

N_BARS = 600


class TestEveryIndicator(IndicatorContract):
    @pytest.fixture(autouse=True, params=INDICATORS.values(), ids=INDICATORS.keys())
    def member(self, request):
        self.indicator = request.param


def known(indicator: Indicator, candles: np.ndarray) -> np.ndarray:
    return indicator.compute(candles)[indicator.warm_up :]


def test_the_table_holds_the_14_indicators_under_their_names():
    assert list(INDICATORS) == [
        *("open", "high", "low", "close", "volume", "macd", "macd_signal", "macd_hist", "rsi", "cci", "dx"),
        *("atr_regime_shift", "range_breakout", "trend_reacceleration"),
    ]
    assert all(name == indicator.name for name, indicator in INDICATORS.items())


@given(
    seed=st.integers(0, 2**16),
    price=st.floats(1e-6, 1e6),
    volatility=st.sampled_from(VOLATILITIES),
    volume=st.sampled_from(VOLUMES),
    still=st.floats(0, 1),
    untraded=st.floats(0, 1),
    jump=st.sampled_from(JUMPS),
)
def test_every_legal_candle_gives_finite_values(seed, price, volatility, volume, still, untraded, jump):
    n_bars = max(indicator.warm_up for indicator in INDICATORS.values()) + 150
    market = {"price": price, "volatility": volatility, "volume": volume}
    candles = extreme_ohlcv(n_bars, seed=seed, still=still, untraded=untraded, jump=jump, **market)
    for indicator in INDICATORS.values():
        assert np.isfinite(known(indicator, candles)).all(), indicator.name


def test_rsi_is_ta_libs_rsi_centred():
    candles = ohlcv(N_BARS)
    rsi = talib.RSI(np.ascontiguousarray(candles[:, 3]), 14)
    np.testing.assert_allclose(
        known(INDICATORS["rsi"], candles), (rsi / 50 - 1)[INDICATORS["rsi"].warm_up :], atol=1e-9
    )


def test_a_steady_fall_has_the_lowest_rsi():
    close = 100 * 0.99 ** np.arange(N_BARS)
    candles = np.stack([close, close, close, close, np.ones(N_BARS)], axis=1)
    np.testing.assert_allclose(known(INDICATORS["rsi"], candles), -1.0)


def test_macd_hist_is_macd_less_its_signal():
    macd, signal, hist = (INDICATORS[name].compute(ohlcv(N_BARS)) for name in ("macd", "macd_signal", "macd_hist"))
    np.testing.assert_allclose((macd - signal)[150:], hist[150:], atol=1e-12)


def test_the_average_true_range_shifts_up_when_a_market_becomes_wilder_and_back_as_it_settles():
    calm, wild = ohlcv(400, volatility=0.002), ohlcv(400, volatility=0.02)
    wild[:, :4] *= calm[-1, 3] / wild[0, 0]
    shift = INDICATORS["atr_regime_shift"].compute(np.concatenate([calm, wild]))
    assert shift[300:400].max() < 0.7
    assert shift[400:440].max() > 1.2
    assert np.abs(shift[-100:]).mean() < 0.5


@pytest.mark.parametrize(("close", "sign"), [(103.0, 1.0), (97.0, -1.0), (100.5, 0.0)])
@pytest.mark.parametrize("volume", [BREAKOUT_VOLUME * 1.1, BREAKOUT_VOLUME * 0.9])
def test_a_breakout_counts_outside_the_channel_and_on_high_volume_alone(close, sign, volume):
    candles = np.tile([100.0, 101.0, 99.0, 100.0, 1.0], (N_BARS, 1))
    candles[-1] = [100.0, max(close, 100.0), min(close, 100.0), close, volume]
    breakout = INDICATORS["range_breakout"].compute(candles)
    confirmed = volume >= BREAKOUT_VOLUME * (99 + volume) / 100
    assert np.sign(breakout[-1]) == (sign if confirmed else 0.0)
    assert not breakout[150:-1].any()


def test_trend_reacceleration_is_the_second_difference_of_adx():
    candles = ohlcv(N_BARS)
    _, high, low, close, _ = np.ascontiguousarray(candles.T)
    expected = np.diff(talib.ADX(high, low, close, 14) / 100, n=2)
    np.testing.assert_allclose(INDICATORS["trend_reacceleration"].compute(candles)[200:], expected[198:], atol=1e-12)

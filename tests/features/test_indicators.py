"""The contract of the indicators: every test runs over the whole table, so a new member is covered without an edit."""

import numpy as np
import pytest
import talib
from hypothesis import given
from hypothesis import strategies as st

from ftray.features.indicators import BREAKOUT_VOLUME, FORGOTTEN, INDICATORS, Indicator
from tests.features.markets import ohlcv

N_BARS = 600
every_indicator = pytest.mark.parametrize("indicator", INDICATORS.values(), ids=INDICATORS.keys())


def known(indicator: Indicator, candles: np.ndarray) -> np.ndarray:
    return indicator.compute(candles)[indicator.warm_up :]


def assert_causal(indicator: Indicator) -> None:
    """Whatever comes after a bar, or nothing at all, leaves the values up to it bit-identical."""
    candles = ohlcv(N_BARS)
    whole = indicator.compute(candles)
    other = ohlcv(N_BARS, seed=9, volatility=0.2, price=7.0, volume=1e6)
    for t in (indicator.warm_up, indicator.warm_up + 1, 400, N_BARS - 2):
        changed = np.concatenate([candles[: t + 1], other[t + 1 :]])
        one_bar = candles.copy()
        one_bar[t + 1] *= 1.5
        for future in (changed, one_bar, candles[: t + 1]):
            np.testing.assert_array_equal(indicator.compute(future)[: t + 1], whole[: t + 1])


def test_the_table_holds_the_14_indicators_under_their_names():
    assert list(INDICATORS) == [
        *("open", "high", "low", "close", "volume", "macd", "macd_signal", "macd_hist", "rsi", "cci", "dx"),
        *("atr_regime_shift", "range_breakout", "trend_reacceleration"),
    ]
    assert all(name == indicator.name for name, indicator in INDICATORS.items())


@every_indicator
def test_no_indicator_looks_ahead(indicator):
    assert_causal(indicator)


@pytest.mark.parametrize(
    "leak",
    [
        lambda ohlcv: np.append(ohlcv[1:, 3], ohlcv[-1, 3]) / ohlcv[:, 3],
        lambda ohlcv: ohlcv[:, 3] / ohlcv[:, 3].mean(),
        lambda ohlcv: np.log(ohlcv[:, 3])[::-1].cumsum()[::-1],
    ],
    ids=["the next bar", "the mean of all bars", "a sum from the end"],
)
def test_the_causality_check_catches_an_indicator_that_looks_ahead(leak):
    with pytest.raises(AssertionError):
        assert_causal(Indicator("leak", leak, warm_up=0))


@every_indicator
def test_one_value_per_bar_finite_after_the_warm_up(indicator):
    candles = ohlcv(N_BARS)
    assert indicator.compute(candles).shape == (N_BARS,)
    assert np.isfinite(known(indicator, candles)).all()


@every_indicator
def test_an_indicator_moves(indicator):
    assert known(indicator, ohlcv(N_BARS)).std() > 1e-4


@every_indicator
@pytest.mark.parametrize("factor", [1e3, 1e-8])
def test_the_price_level_does_not_matter(indicator, factor):
    candles = ohlcv(N_BARS)
    scaled = candles * [factor, factor, factor, factor, 1.0]
    np.testing.assert_allclose(known(indicator, scaled), known(indicator, candles), rtol=1e-6, atol=1e-8)


@every_indicator
def test_the_unit_of_volume_does_not_matter(indicator):
    candles = ohlcv(N_BARS)
    scaled = candles * [1.0, 1.0, 1.0, 1.0, 1e4]
    np.testing.assert_allclose(known(indicator, scaled), known(indicator, candles), rtol=1e-6, atol=1e-8)


@every_indicator
@pytest.mark.parametrize("seed", range(5))
def test_after_the_warm_up_it_does_not_matter_where_the_segment_began(indicator, seed):
    candles = ohlcv(1_500, seed=seed)
    whole = indicator.compute(candles)
    for start in range(300, 1_200, 60):
        late = indicator.compute(candles[start:])[indicator.warm_up :]
        error = np.abs(late - whole[start + indicator.warm_up :]).max()
        assert error <= FORGOTTEN * whole[indicator.warm_up :].std()


@every_indicator
@pytest.mark.parametrize("price", [50.0, 0.1, 33.37, 61_234.56])
def test_a_market_that_does_not_move_gives_zeros(indicator, price):
    still = np.tile([price, price, price, price, 0.0], (N_BARS, 1))
    assert np.abs(known(indicator, still)).max() <= 1e-9


@given(
    seed=st.integers(0, 2**16),
    price=st.floats(1e-6, 1e6),
    volatility=st.sampled_from([1e-8, 1e-4, 0.02, 0.5]),
    volume=st.sampled_from([0.0, 1e-6, 1e12]),
    still=st.floats(0, 1),
    untraded=st.floats(0, 1),
    jump=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_every_legal_candle_gives_finite_values(seed, price, volatility, volume, still, untraded, jump):
    n_bars = max(indicator.warm_up for indicator in INDICATORS.values()) + 150
    candles = ohlcv(n_bars, seed=seed, volatility=volatility, price=price, volume=volume)
    a = seed % n_bars
    b = min(n_bars, a + int(still * n_bars))
    candles[a:b, :4] = candles[a, 3]  # a price that does not move
    candles[b:, :4] *= jump
    candles[: int(untraded * n_bars), 4] = 0.0
    for indicator in INDICATORS.values():
        assert np.isfinite(known(indicator, candles)).all(), indicator.name


@every_indicator
@pytest.mark.parametrize("n_bars", [1, 2, 13, 50])
def test_a_segment_shorter_than_the_warm_up_is_no_error(indicator, n_bars):
    assert indicator.compute(ohlcv(n_bars)).shape == (n_bars,)


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

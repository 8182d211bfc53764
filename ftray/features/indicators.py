"""The 14 indicators: causal functions of one asset's candles, one explicit table.

Takes: the candles of one asset over one contiguous segment, (T, 5) float64 in the order of `COLUMNS`.
Gives: one value per bar, (T,) float64, that depends on this bar and earlier ones alone and carries no price level:
every price is relative to another price, every volume to its trailing mean, so that years at 10 and at 60,000 can be
compared.

`open`, `high` and `low` are relative to the bar's own close, and `close` to its trailing mean. Relative to one common
reference the four would be near copies of each other: badly conditioned for a network, and a masked one could be copied
from its neighbours without learning anything.

Legend: T bars.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import talib

from ftray.families import Family

REFERENCE = 100
"""Bars of the trailing mean that closes, volumes and ranges are compared with."""

CHANNEL = 20
"""Bars of the price channel that a breakout leaves, and of the CCI."""

PERIOD = 14
"""Bars of Wilder's smoothing, his own choice (New Concepts in Technical Trading Systems, 1978)."""

BREAKOUT_VOLUME = 1.5
"""A breakout counts when its volume is at least this multiple of the trailing mean."""

FORGOTTEN = 1e-3
"""What is left of a segment's start after `warm_up` bars: at most this share of the indicator's standard deviation."""

# Added to divisors, so that a market that does not move gives finite values.
_STILL_PRICE = 1e-6  # of the price
_STILL_VOLUME = 1e-2  # of the mean volume; a bar without trades gives log(0.01), not minus infinity


@dataclasses.dataclass(frozen=True)
class Indicator:
    """One member of the table.

    name: what `FeatureSpec.indicators` calls it.
    compute: (T, 5) candles of one asset in one segment → (T,), causal; the first `warm_up` values mean nothing.
    warm_up: bars after which a recursive mean has forgotten where the segment began, within a thousandth of the
        indicator's standard deviation (`FORGOTTEN`).
    """

    name: str
    compute: Callable[[np.ndarray], np.ndarray]
    warm_up: int


def _trailing_mean(x: np.ndarray, n: int = REFERENCE) -> np.ndarray:
    """Mean of the last n values, this bar included; NaN before there are n.

    Every window is summed afresh: a running sum is faster, but carries the rounding of one huge volume on for ever.
    """
    mean = np.full(len(x), np.nan)
    if len(x) >= n:
        mean[n - 1 :] = np.lib.stride_tricks.sliding_window_view(x, n).mean(axis=-1)
    return mean


def _shifted(x: np.ndarray) -> np.ndarray:
    """The value of the bar before."""
    return np.concatenate([[np.nan], x[:-1]])


def _columns(ohlcv: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(np.ascontiguousarray(ohlcv.T))


def _open(ohlcv: np.ndarray) -> np.ndarray:
    """log(open / close): minus the bar's own return."""
    return np.log(ohlcv[:, 0] / ohlcv[:, 3])


def _high(ohlcv: np.ndarray) -> np.ndarray:
    """log(high / close) ≥ 0."""
    return np.log(ohlcv[:, 1] / ohlcv[:, 3])


def _low(ohlcv: np.ndarray) -> np.ndarray:
    """log(low / close) ≤ 0."""
    return np.log(ohlcv[:, 2] / ohlcv[:, 3])


def _close(ohlcv: np.ndarray) -> np.ndarray:
    """log(close / its trailing mean): its changes within a window are the returns."""
    close = ohlcv[:, 3]
    return np.log(close / _trailing_mean(close))


def _volume(ohlcv: np.ndarray) -> np.ndarray:
    """log(volume / its trailing mean), bounded from below; 0 where nothing was traded for the whole reference."""
    volume = ohlcv[:, 4]
    mean = _trailing_mean(volume)
    ratio = np.divide(volume, mean, out=np.ones_like(mean), where=mean > 0)
    return np.log((ratio + _STILL_VOLUME) / (1 + _STILL_VOLUME))


def _macd_lines(ohlcv: np.ndarray) -> tuple[np.ndarray, ...]:
    """MACD (12, 26), its signal (9) and their difference, each as a fraction of the close."""
    close = np.ascontiguousarray(ohlcv[:, 3])
    return tuple(line / close for line in talib.MACD(close))


def _rsi(ohlcv: np.ndarray) -> np.ndarray:
    """RSI / 50 − 1, from −1 to 1.

    That is the Chande momentum oscillator / 100 (TA-Lib gives both the same smoothing), which is a neutral 0
    for a price that does not move, where TA-Lib's RSI is 0 of 100: the deepest fall possible.
    """
    return talib.CMO(np.ascontiguousarray(ohlcv[:, 3]), PERIOD) / 100


def _cci(ohlcv: np.ndarray) -> np.ndarray:
    """Commodity channel index / 100."""
    _, high, low, close, _ = _columns(ohlcv)
    return talib.CCI(high, low, close, CHANNEL) / 100


def _dx(ohlcv: np.ndarray) -> np.ndarray:
    """Directional movement index / 100, from 0 (no direction) to 1."""
    _, high, low, close, _ = _columns(ohlcv)
    return talib.DX(high, low, close, PERIOD) / 100


def _atr_fraction(ohlcv: np.ndarray) -> np.ndarray:
    """Average true range as a fraction of the close, kept off zero."""
    _, high, low, close, _ = _columns(ohlcv)
    return talib.ATR(high, low, close, PERIOD) / close + _STILL_PRICE


def _atr_regime_shift(ohlcv: np.ndarray) -> np.ndarray:
    """log(average true range / its trailing mean): above 0 the market has become wilder than it was, below 0 calmer."""
    atr = _atr_fraction(ohlcv)
    return np.log(atr / _trailing_mean(atr))


def _range_breakout(ohlcv: np.ndarray) -> np.ndarray:
    """How far the close lies outside the channel of the bars before, in average true ranges, where volume confirms it.

    Above 0 through the top, below 0 through the bottom, 0 inside the channel or on ordinary volume.
    """
    _, high, low, close, volume = _columns(ohlcv)
    above = np.maximum(close - _shifted(talib.MAX(high, CHANNEL)), 0)
    below = np.minimum(close - _shifted(talib.MIN(low, CHANNEL)), 0)
    mean = _trailing_mean(volume)
    confirmed = (volume >= BREAKOUT_VOLUME * mean) & (mean > 0)
    return np.where(confirmed, (above + below) / (close * _atr_fraction(ohlcv)), 0.0)


def _trend_reacceleration(ohlcv: np.ndarray) -> np.ndarray:
    """Second difference of the average directional index / 100: above 0 a trend gathers strength faster than before."""
    _, high, low, close, _ = _columns(ohlcv)
    adx = talib.ADX(high, low, close, PERIOD) / 100
    return adx - 2 * _shifted(adx) + _shifted(_shifted(adx))


# A new indicator is one function and one line here; ftray/testing/indicators.py is the contract that it keeps.
INDICATORS: Family[Indicator] = Family(
    "indicator",
    Indicator("open", _open, warm_up=0),
    Indicator("high", _high, warm_up=0),
    Indicator("low", _low, warm_up=0),
    Indicator("close", _close, warm_up=REFERENCE - 1),
    Indicator("volume", _volume, warm_up=REFERENCE - 1),
    Indicator("macd", lambda ohlcv: _macd_lines(ohlcv)[0], warm_up=150),
    Indicator("macd_signal", lambda ohlcv: _macd_lines(ohlcv)[1], warm_up=150),
    Indicator("macd_hist", lambda ohlcv: _macd_lines(ohlcv)[2], warm_up=150),
    Indicator("rsi", _rsi, warm_up=150),
    Indicator("cci", _cci, warm_up=CHANNEL - 1),
    Indicator("dx", _dx, warm_up=170),
    Indicator("atr_regime_shift", _atr_regime_shift, warm_up=220),
    Indicator("range_breakout", _range_breakout, warm_up=150),
    Indicator("trend_reacceleration", _trend_reacceleration, warm_up=170),
)

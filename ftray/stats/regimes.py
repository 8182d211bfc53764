"""Bull, bear or sideways: what kind of market each bar closes in, and how a policy did in each kind.

Takes: closing prices of all assets, the runs of bars without a hole in time, the train window. Gives: one label per
bar, and measures per label.

A label is causal: it depends on the bars up to its own, inside its segment, and on thresholds of the train window. It
is known when a decision at that bar is made, so that an evaluation by regime uses no hindsight.

Legend: T bars, A assets.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from ftray.stats.checks import checked_along, checked_periods, checked_returns
from ftray.stats.measures import annual_return, kurtosis, sharpe, skewness
from ftray.stats.significance import sharpe_interval

UNKNOWN = -1
REGIMES = ("bear", "sideways", "bull")
"""The names of the labels 0, 1 and 2; `UNKNOWN` marks bars without enough history."""

MIN_BARS = 500
"""Below this many bars the interval of an hourly Sharpe ratio is wider than ±8: no measure is given."""

_CHUNK = 4_096


class Span(Protocol):
    """A range of bars `[start, stop)`."""

    @property
    def start(self) -> int: ...
    @property
    def stop(self) -> int: ...


@dataclasses.dataclass(frozen=True)
class RegimeThresholds:
    """What separates the regimes.

    trend: trailing return in units of its own volatility over the same bars (√bars × volatility per bar), as a size.
    drawdown: fraction below the highest close of the trailing bars.
    """

    trend: float
    drawdown: float


@dataclasses.dataclass(frozen=True)
class RegimePerformance:
    """A run's measures on the bars of one regime.

    sharpe, interval: annual, with its 95 % interval; annual_return: of these bars alone, compounded. All three are
    None where there are too few bars.
    """

    n_bars: int
    annual_return: float | None
    sharpe: float | None
    interval: tuple[float, float] | None


def regime_thresholds(closes: np.ndarray, segments: Iterable[Span], train: Span, *, lookback: int) -> RegimeThresholds:
    """The thresholds of a train window: the median size of its trends, and the upper quartile of its drawdowns.

    closes: (T, A). lookback: trailing bars, a couple of weeks' worth.
    Raises: ValueError if no run inside the train window is longer than the lookback.
    """
    inside = [range(max(s.start, train.start), min(s.stop, train.stop)) for s in segments]
    trend, drawdown = _trailing(np.asarray(closes, np.float64), inside, lookback)
    known = ~np.isnan(trend)
    if not known.any():
        raise ValueError(
            f"the train window [{train.start}, {train.stop}) must hold an unbroken run of more than {lookback} bars: "
            "take a shorter lookback"
        )
    return RegimeThresholds(float(np.median(np.abs(trend[known]))), float(np.quantile(drawdown[known], 0.75)))


def regime_labels(
    closes: np.ndarray, segments: Iterable[Span], thresholds: RegimeThresholds, *, lookback: int
) -> np.ndarray:
    """The regime of every bar, from the trailing bars of the equal-weight basket. Shape: (T, A) → (T,) int8.

    Bull: up over the lookback by more than the trend threshold, and close to the top. Bear: down by more than that, or
    down at all and deep below the top. Sideways: the rest.
    """
    trend, drawdown = _trailing(np.asarray(closes, np.float64), list(segments), lookback)
    deep = drawdown > thresholds.drawdown
    bull = (trend > thresholds.trend) & ~deep
    bear = (trend < -thresholds.trend) | ((trend < 0.0) & deep)
    labels = np.where(bull, np.int8(2), np.where(bear, np.int8(0), np.int8(1)))
    return np.where(np.isnan(trend), np.int8(UNKNOWN), labels)


def regime_performance(
    returns: ArrayLike, labels: ArrayLike, periods_per_year: float, *, min_bars: int = MIN_BARS
) -> dict[str, RegimePerformance]:
    """How a run did in each regime, as far as it has enough bars there.

    returns: (T,). labels: (T,), each of the bar at which the position behind the return was decided.
    """
    returns, periods = checked_returns(returns), checked_periods(periods_per_year)
    labels = checked_along(labels, returns, "labels")
    return {
        name: _performance(returns[labels == label], periods, max(2, min_bars)) for label, name in enumerate(REGIMES)
    }


def _performance(returns: np.ndarray, periods: float, min_bars: int) -> RegimePerformance:
    n_bars = len(returns)
    if n_bars < min_bars:
        return RegimePerformance(n_bars, None, None, None)
    ratio = sharpe(returns, periods)
    interval = sharpe_interval(ratio, n_bars, periods, skewness=skewness(returns), kurtosis=kurtosis(returns))
    return RegimePerformance(n_bars, annual_return(returns, periods), ratio, interval)


def _trailing(closes: np.ndarray, segments: Iterable[Span], lookback: int) -> tuple[np.ndarray, np.ndarray]:
    """Trend and drawdown of the basket over the trailing bars, each (T,); NaN where a segment has too few of them."""
    if closes.ndim != 2 or not (np.isfinite(closes).all() and (closes > 0).all()):
        raise ValueError(f"closes must be finite and positive, of the shape (bars, assets), got {closes.shape}")
    if lookback < 2:
        raise ValueError(f"lookback must be at least 2 bars, got {lookback}")
    trend, drawdown = np.full((2, len(closes)), np.nan)
    for run in segments:
        for known, growth in _windows(closes[run.start : run.stop], lookback):
            bars = run.start + known
            level = np.cumsum(growth, axis=1)
            size = growth.std(axis=1, ddof=1) * np.sqrt(lookback)
            trend[bars] = np.divide(level[:, -1], size, out=np.zeros_like(size), where=size > 1e-12)
            drawdown[bars] = 1.0 - np.exp(level[:, -1] - np.maximum(0.0, level.max(axis=1)))
    return trend, drawdown


def _windows(closes: np.ndarray, lookback: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Bars (n,) and the basket's last log returns at each (n, lookback), a chunk at a time.

    The basket is rebalanced to equal weights at every bar. Windows are copied out and summed each on its own, never as
    differences of running sums: a label then depends on its own bars to the last bit, wherever the history starts.
    """
    if len(closes) <= lookback:
        return
    growth = np.lib.stride_tricks.sliding_window_view(np.log((closes[1:] / closes[:-1]).mean(axis=1)), lookback)
    for start in range(0, len(growth), _CHUNK):
        chunk = np.ascontiguousarray(growth[start : start + _CHUNK])
        yield start + lookback + np.arange(len(chunk)), chunk

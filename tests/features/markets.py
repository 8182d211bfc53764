"""Small markets for the tests of features: several assets, with gaps in time where a test needs them."""

import numpy as np

from ftray.market.candles import Candles
from ftray.testing import ohlcv

HOUR = np.timedelta64(1, "h")


def candles(
    n_bars: int, *, symbols: tuple[str, ...] = ("BTC", "ETH"), holes: tuple[int, ...] = (), seed: int = 0
) -> Candles:
    """Candles of several assets; a hole of three bars lies before each bar named in `holes`."""
    steps = np.ones(n_bars, dtype=np.int64)
    steps[list(holes)] += 3
    times = np.datetime64("2021-01-01", "ns") + (np.cumsum(steps) - 1) * HOUR
    values = np.stack([ohlcv(n_bars, seed=100 * seed + i) for i in range(len(symbols))], axis=1)
    return Candles(symbols, times, values, HOUR)


def with_values(source: Candles, values: np.ndarray) -> Candles:
    return Candles(source.symbols, source.times, values, source.interval, source.regimes)

"""Small markets for the tests of this room: legal candles, seeded, with holes in time where asked."""

import numpy as np

from ftray.market.candles import Candles

HOUR = np.timedelta64(1, "h")


def ohlcv(
    n_bars: int, *, seed: int = 0, volatility: float = 0.01, price: float = 100.0, volume: float = 1e3
) -> np.ndarray:
    """Candles of one asset: a random walk with clustered volatility. Shape: (T, 5)."""
    rng = np.random.default_rng(seed)
    wildness = volatility * np.exp(0.5 * np.sin(np.arange(n_bars) / 40) + 0.3 * rng.normal(size=n_bars))
    close = price * np.exp(np.cumsum(wildness * rng.standard_t(4, size=n_bars).clip(-8, 8)))
    open_ = np.concatenate([[price], close[:-1]])
    top, bottom = np.maximum(open_, close), np.minimum(open_, close)
    high = np.maximum(top * np.exp(wildness * rng.exponential(size=n_bars)), top)
    low = np.minimum(bottom * np.exp(-wildness * rng.exponential(size=n_bars)), bottom)
    traded = volume * wildness / volatility * rng.lognormal(sigma=0.5, size=n_bars)
    return np.stack([open_, high, low, close, traded], axis=1)


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

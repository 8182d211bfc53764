"""Candles of made-up markets that indicators are tried on: an ordinary one, and what else a legal candle may be.

Legend: T bars.
"""

import numpy as np


def ohlcv(
    n_bars: int, *, seed: int = 0, volatility: float = 0.01, price: float = 100.0, volume: float = 1e3
) -> np.ndarray:
    """Candles of one asset: a random walk whose volatility comes in waves. Shape: (T, 5) float64.

    n_bars: T.
    seed: the same one gives the same candles.
    volatility: a typical log return of one bar.
    price: the first open.
    volume: a typical bar's, in units of the asset.
    """
    rng = np.random.default_rng(seed)
    wildness = volatility * np.exp(0.5 * np.sin(np.arange(n_bars) / 40) + 0.3 * rng.normal(size=n_bars))
    close = price * np.exp(np.cumsum(wildness * rng.standard_t(4, size=n_bars).clip(-8, 8)))
    open_ = np.concatenate([[price], close[:-1]]) * np.exp(0.1 * wildness * rng.normal(size=n_bars))
    top, bottom = np.maximum(open_, close), np.minimum(open_, close)
    high = np.maximum(top * np.exp(wildness * rng.exponential(size=n_bars)), top)
    low = np.minimum(bottom * np.exp(-wildness * rng.exponential(size=n_bars)), bottom)
    traded = volume * wildness / volatility * rng.lognormal(sigma=0.5, size=n_bars)
    return np.stack([open_, high, low, close, traded], axis=1)


VOLATILITIES = (1e-8, 1e-4, 0.02, 0.5)
VOLUMES = (0.0, 1e-6, 1e12)
JUMPS = (1e-6, 1.0, 1e6)


def extreme_ohlcv(
    n_bars: int,
    *,
    seed: int,
    price: float,
    volatility: float,
    volume: float,
    still: float,
    untraded: float,
    jump: float,
) -> np.ndarray:
    """Legal candles as no sane market has them. Shape: (T, 5) float64.

    n_bars, seed, volatility, price, volume: as of `ohlcv`.
    still: the share of bars in which the price does not move; it then jumps, by the factor `jump`.
    untraded: the share of bars, from the first on, without a trade.
    """
    candles = ohlcv(n_bars, seed=seed, volatility=volatility, price=price, volume=volume)
    a = seed % n_bars
    b = min(n_bars, a + int(still * n_bars))
    candles[a:b, :4] = candles[a, 3]
    candles[b:, :4] *= jump
    candles[: int(untraded * n_bars), 4] = 0.0
    return candles

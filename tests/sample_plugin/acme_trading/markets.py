"""`tides`: prices that rise and fall like tides, each asset at its own pace.

Legend: T bars, A assets.
"""

from typing import Annotated, Literal

import numpy as np

from ftray.market import MARKETS, Candles, Market, parse_interval
from ftray.spec import Between, Count, Index, spec


@spec
class TidesSpec:
    """What to make.

    days: of one tide of the first asset; each further one has a tide of another length.
    noise: standard deviation of a bar's log return around the tide.
    """

    kind: Literal["tides"] = "tides"
    n_assets: Count = 2
    n_bars: Count = 2_000
    interval: str = "1h"
    days: Annotated[float, Between(0.5)] = 7.0
    noise: Annotated[float, Between(0.0, 0.1)] = 0.002
    seed: Index = 0

    def check(self) -> None:
        parse_interval(self.interval)


def symbols(spec: TidesSpec) -> tuple[str, ...]:
    """TIDE1, TIDE2, and so on."""
    return tuple(f"TIDE{i + 1}" for i in range(spec.n_assets))


def load(spec: TidesSpec) -> Candles:
    """The candles: every bar opens where the last one closed."""
    rng = np.random.default_rng(spec.seed)
    interval = parse_interval(spec.interval)
    bars_per_tide = spec.days * (np.timedelta64(1, "D") / interval) * (1 + 0.3 * np.arange(spec.n_assets))
    tide = 0.05 * np.sin(2 * np.pi * np.arange(spec.n_bars + 1)[:, None] / bars_per_tide)
    walk = np.cumsum(spec.noise * rng.standard_normal(tide.shape), axis=0)
    prices = 100 * np.exp(tide + walk)
    opens, closes = prices[:-1], prices[1:]
    highs = np.maximum(opens, closes) * (1 + spec.noise * rng.random(opens.shape))
    lows = np.minimum(opens, closes) * (1 - spec.noise * rng.random(opens.shape))
    volumes = 1e4 * rng.lognormal(sigma=0.5, size=opens.shape)
    times = np.datetime64("2024-01-01", "ns") + np.arange(spec.n_bars) * interval
    return Candles(symbols(spec), times, np.stack([opens, highs, lows, closes, volumes], axis=-1), interval)


TIDES = Market(TidesSpec, load, symbols)
MARKETS.register(TIDES)

"""Indicators before scaling.

Takes: candles. Gives: every indicator of every asset at every bar, a function of the bars up to it alone.

Legend: T bars, A assets, F indicators, S = F × A series.
"""

from collections.abc import Sequence

import numpy as np

from ftray.features.indicators import INDICATORS
from ftray.features.spec import FeatureSpec
from ftray.market import Candles


def raw_features(candles: Candles, spec: FeatureSpec) -> np.ndarray:
    """Every indicator of every asset before scaling, each segment on its own; NaN while it warms up. Shape: (T, S)."""
    raw = np.full((len(candles), len(spec.indicators), candles.n_assets), np.nan)
    for segment in candles.segments:
        for asset in range(candles.n_assets):
            ohlcv = candles.values[segment.start : segment.stop, asset]
            fill_features(raw[segment.start : segment.stop, :, asset], ohlcv, spec.indicators)
    return raw.reshape(len(candles), -1)


def fill_features(raw: np.ndarray, ohlcv: np.ndarray, names: Sequence[str]) -> None:
    """Writes the indicators of one asset over one segment, and leaves `raw` as it is while they warm up.

    Shape: raw (T, F), ohlcv (T, 5).
    """
    for i, name in enumerate(names):
        indicator = INDICATORS[name]
        if len(ohlcv) > indicator.warm_up:
            raw[indicator.warm_up :, i] = indicator.compute(ohlcv)[indicator.warm_up :]

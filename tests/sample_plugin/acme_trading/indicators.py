"""`vwap_gap`: how far the close is from what the last day paid on average.

Legend: T bars.
"""

import numpy as np

from ftray.features import INDICATORS, Indicator

BARS = 24


def vwap_gap(ohlcv: np.ndarray) -> np.ndarray:
    """log(close / volume-weighted mean of the last 24 closes); 0 where none of them traded.

    Shape: (T, 5) open, high, low, close, volume of one asset → (T,); NaN before there are 24 bars.
    """
    values = np.full(len(ohlcv), np.nan)
    if len(ohlcv) >= BARS:
        closes, volumes = (np.lib.stride_tricks.sliding_window_view(ohlcv[:, i], BARS) for i in (3, 4))
        total = volumes.sum(axis=1, keepdims=True)
        weights = np.divide(volumes, total, out=np.zeros_like(closes), where=total > 0)
        mean = np.where(total[:, 0] > 0, (weights * closes).sum(axis=1), closes[:, -1])
        values[BARS - 1 :] = np.log(closes[:, -1] / mean)
    return values


VWAP_GAP = Indicator("vwap_gap", vwap_gap, warm_up=BARS - 1)
INDICATORS.register(VWAP_GAP)

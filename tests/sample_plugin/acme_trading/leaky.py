"""An indicator as it must not be: it reads one bar ahead. `acme_trading` does not import it; its tests do."""

import numpy as np

from ftray.features import INDICATORS, Indicator


def next_high(ohlcv: np.ndarray) -> np.ndarray:
    """log(high of the next bar / close): known only when that bar has ended."""
    return np.log(np.append(ohlcv[1:, 1], ohlcv[-1, 1]) / ohlcv[:, 3])


NEXT_HIGH = Indicator("next_high", next_high, warm_up=0)
INDICATORS.register(NEXT_HIGH)

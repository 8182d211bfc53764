"""The warm-up report: how far back an indicator's value depends on where its history starts.

Takes: the candles of one asset, and indicators. Gives: for each, the bars after which two histories, a long one and one
that starts late, agree. What a new member of `INDICATORS` must declare as its `warm_up` is read off here.

Legend: T bars.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np

from ftray.features.indicators import FORGOTTEN, INDICATORS, Indicator

TOLERANCES = (1e-1, 1e-2, FORGOTTEN, 1e-6, 0.0)
"""Differences that count as agreement, in standard deviations of the indicator; 0 is agreement to the last bit."""

HORIZON = 1_000
"""Bars for which two histories are compared."""

N_STARTS = 40


@dataclasses.dataclass(frozen=True)
class WarmUp:
    """How one indicator forgets.

    declared: bars, `Indicator.warm_up`.
    needed: bars by tolerance; None if two histories still differ after `HORIZON`, as running sums do by their rounding.
    """

    name: str
    declared: int
    needed: dict[float, int | None]

    @property
    def is_enough(self) -> bool:
        """Whether the start is forgotten within the declared bars, as `Indicator` promises."""
        bars = self.needed[FORGOTTEN]
        return bars is not None and bars <= self.declared


def warm_up_data(ohlcv: np.ndarray, indicators: Iterable[Indicator] = tuple(INDICATORS.values())) -> list[WarmUp]:
    """The worst of `N_STARTS` late starts, spread over the candles (T, 5); T must be well above `HORIZON`."""
    starts = np.linspace(HORIZON, len(ohlcv) - HORIZON, N_STARTS).astype(int)
    report = []
    for indicator in indicators:
        whole = indicator.compute(ohlcv)
        scale = whole[HORIZON:].std()
        worst = np.zeros(HORIZON)
        for start in starts:
            late = indicator.compute(ohlcv[start : start + HORIZON])
            difference = np.abs(late - whole[start : start + HORIZON]) / scale
            worst = np.maximum(worst, np.where(np.isnan(difference), np.inf, difference))
        report.append(WarmUp(indicator.name, indicator.warm_up, {t: _bars_until(worst <= t) for t in TOLERANCES}))
    return report


def _bars_until(agreed: np.ndarray) -> int | None:
    """Bars before agreement that lasts. Shape: (HORIZON,) bool."""
    apart = np.flatnonzero(~agreed)
    bars = int(apart[-1]) + 1 if len(apart) else 0
    return bars if bars < len(agreed) else None

"""Prices: what a step needs of the candles, and the runs of bars that can be traded at all.

Takes: candles; a dataset and a window (or several). Gives: `StepPrices` of any bars; `Segment`s that can be stepped.

Legend: T bars, E accounts, A assets.
"""

import numpy as np

from ftray.errors import DataError, RefusedError, SpecError
from ftray.features import Dataset
from ftray.market import Candles, Pieces, Segment, Window, pieces
from ftray.numeric import written
from ftray.trading.books import StepPrices
from ftray.trading.rules import MarketRules


class PriceTape:
    """The candles' prices, laid out so that those of many bars are gathered at once; volumes where depth matters."""

    def __init__(self, candles: Candles, rules: MarketRules):
        self._close = np.ascontiguousarray(candles.column("close"))
        # Row t of what follows is for orders decided at t: those for the next open fill in bar t + 1.
        later = 1 if rules.fill == "open" else 0
        self._fill = np.ascontiguousarray(candles.column("open")[1:]) if later else self._close
        self._volume = np.ascontiguousarray(candles.column("volume")[later:]) if rules.impact > 0 else None

    @property
    def n_assets(self) -> int:
        return self._close.shape[1]

    def close(self, bars: np.ndarray) -> np.ndarray:
        """Closing prices of bars (E,). Shape: (E, A)."""
        return self._close.take(bars, axis=0)

    def step(self, bars: np.ndarray) -> StepPrices:
        """The prices of the steps decided at bars (E,)."""
        volume = None if self._volume is None else self._volume.take(bars, axis=0)
        return StepPrices(self.close(bars), self._fill.take(bars, axis=0), self.close(bars + 1), volume)


def tradable_segments(dataset: Dataset, window: Pieces) -> tuple[Segment, ...]:
    """The decision segments in which at least one step is possible, in time order, each inside one window.

    A step decided at t ends at the close of t + 1, so a segment's last bar is seen but never decided on.
    Raises: SpecError for what is no window; DataError if there is none; RefusedError if one holds a bar of the test
        window.
    """
    named = window if isinstance(window, list | tuple) else [window]
    if not all(isinstance(one, Window) for one in named):
        raise SpecError(f"a window must be a Window or several, such as dataset.windows.train; got {written(window)}")
    segments = tuple(segment for segment in dataset.table.decision_segments(window) if len(segment) > 1)
    if not segments:
        raise DataError(
            f"the window {', '.join(map(str, pieces(window)))} has no two neighbouring bars with a full lookback of "
            f"{dataset.layout.lookback} bars behind them; use more candles, a longer window or a shorter lookback"
        )
    closed = dataset.windows.test
    if any(len(segment.within(closed.start, closed.stop)) for segment in segments):
        raise RefusedError(
            f"the test window {closed} is closed, and {', '.join(map(str, pieces(window)))} has bars of it: `ftray "
            "promote` alone reads it, once, and records the read; take a window of `train` or `validation`"
        )
    return segments

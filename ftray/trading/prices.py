"""Prices: what a step needs of the candles, and the runs of bars that can be traded at all.

Takes: candles, a dataset and a window. Gives: `StepPrices` of any bars, `Segment`s whose bars can be stepped.

Legend: T bars, E accounts, A assets.
"""

import dataclasses
from typing import Literal

import numpy as np

from ftray.errors import DataError
from ftray.features import Dataset
from ftray.market import Candles, Segment, Window


@dataclasses.dataclass(frozen=True, eq=False)
class StepPrices:
    """The three prices (E, A) of a step: close of the deciding bar, fill price, close of the next bar."""

    close: np.ndarray
    fill: np.ndarray
    next_close: np.ndarray


class PriceTape:
    """The candles' prices, laid out so that the prices of many bars are gathered at once."""

    def __init__(self, candles: Candles, fill: Literal["open", "close"]):
        self._close = np.ascontiguousarray(candles.column("close"))
        # Row t is the price at which orders decided at t fill.
        self._fill = self._close if fill == "close" else np.ascontiguousarray(candles.column("open")[1:])

    @property
    def n_assets(self) -> int:
        return self._close.shape[1]

    def close(self, bars: np.ndarray) -> np.ndarray:
        """Closing prices of bars (E,). Shape: (E, A)."""
        return self._close.take(bars, axis=0)

    def step(self, bars: np.ndarray) -> StepPrices:
        """The prices of the steps decided at bars (E,)."""
        return StepPrices(self.close(bars), self._fill.take(bars, axis=0), self.close(bars + 1))


def tradable_segments(dataset: Dataset, window: Window) -> tuple[Segment, ...]:
    """The window's decision segments in which at least one step is possible.

    A step decided at t ends at the close of t + 1, so a segment's last bar is seen but never decided on.
    Raises: DataError if there is none.
    """
    segments = tuple(segment for segment in dataset.table.decision_segments(window) if len(segment) > 1)
    if not segments:
        raise DataError(
            f"the window [{window.start}, {window.stop}) has no two neighbouring bars with a full lookback of "
            f"{dataset.layout.lookback} bars behind them; use more candles, a longer window or a shorter lookback"
        )
    return segments

"""What in candles can hardly be real: false prices, and stretches in which an asset does not move.

Takes: candles. Gives: which bars, and a `Quality` per asset. It repairs nothing.

Legend: T bars, A assets.
"""

import dataclasses

import numpy as np

from ftray.market.candles import Candles

STILL_BARS = 24
"""Bars without any move that no open market has: it is closed, or the asset is not listed yet."""

SPIKE = 1.5
"""A price that leaves its neighbours by this factor and is back one bar later is false: no crash is undone so soon."""


@dataclasses.dataclass(frozen=True)
class Quality:
    """What can hardly be real in one asset's candles.

    spikes: bars whose price leaves and returns by a factor of `SPIKE` or more. still: bars in stretches of at least
    `STILL_BARS` without a move. longest: first and last bar of the longest of these, None without one.
    never_moves: whether the asset has one price from beginning to end.
    """

    symbol: str
    spikes: tuple[int, ...]
    still: int
    longest: tuple[int, int] | None
    never_moves: bool


def quality_of(candles: Candles) -> tuple[Quality, ...]:
    """The quality of each asset's candles, in their order."""
    spikes, still = spiked_bars(candles.values), still_bars(candles.values)
    closes = candles.column("close")
    return tuple(
        Quality(
            symbol,
            tuple(np.flatnonzero(spikes[:, a]).tolist()),
            int(still[:, a].sum()),
            _longest(still[:, a]),
            bool((closes[:, a] == closes[0, a]).all()),
        )
        for a, symbol in enumerate(candles.symbols)
    )


def spiked_bars(values: np.ndarray) -> np.ndarray:
    """Whether a bar has a price beyond both neighbours' closes by a factor of `SPIKE`: its high, its low or its close.

    Shape: values (T, A, 5), as `Candles` has them → (T, A) bool.
    """
    closes = np.log(values[:, :, 3])
    before, after = closes.copy(), closes.copy()
    before[1:], after[:-1] = closes[:-1], closes[1:]
    up = np.log(values[:, :, 1]) - np.maximum(before, after)
    down = np.minimum(before, after) - np.log(values[:, :, 2])
    return np.maximum(up, down) >= np.log(SPIKE)


def still_bars(values: np.ndarray) -> np.ndarray:
    """Whether a bar lies in a stretch of `STILL_BARS` or more that all have one price.

    Shape: values (T, A, 5), as `Candles` has them → (T, A) bool.
    """
    n_bars, n_assets, _ = values.shape
    moves = np.ones((n_bars, n_assets), bool)
    moves[1:] = (values[1:, :, :4] != values[:-1, :, 3:4]).any(axis=2)
    still = np.zeros_like(moves)
    for a in range(n_assets):
        starts = np.flatnonzero(moves[:, a])
        lengths = np.diff(np.append(starts, n_bars))
        still[:, a] = np.repeat(lengths >= STILL_BARS, lengths)
    return still


def _longest(still: np.ndarray) -> tuple[int, int] | None:
    """First and last bar of the longest run. Shape: (T,) bool."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], still, [False])).astype(np.int8)))
    starts, stops = edges[::2], edges[1::2]
    if not len(starts):
        return None
    longest = int(np.argmax(stops - starts))
    return int(starts[longest]), int(stops[longest]) - 1

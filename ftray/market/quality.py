"""What in candles can hardly be real: false prices and volumes, and stretches in which an asset does not move.

Takes: candles, or the values of one segment. Gives: which bars, a `Quality` per asset, and values as they are without
what is false. The candles themselves are not repaired: backtests trade at them as they are.

Legend: T bars, A assets.
"""

import dataclasses

import numpy as np

from ftray.market.candles import COLUMNS, Candles, Segment

SPIKE = 2.0
"""A price that leaves what comes before and after it by this factor, for `LONGEST_SPIKE` bars at most, is false. In
four years of seven coins the most by which closes did so is 1.25 on hourly candles and 1.27 on daily ones, and the
farthest wicks are at 1.42 and 1.61."""

LONGEST_SPIKE = 5
"""Bars after which a price that is back has been elsewhere, and was not false."""

VOLUME_SPIKE = 50.0
"""A bar is false whose volume is this many times that of the busiest of the `AROUND` bars on either side. In the same
candles the most is 10, and 15 on candles of five minutes. Of bars whose volume is taken 1,000 times, it finds 96 to
99 %: the others lie in a lull."""

AROUND = 12

STILL = np.timedelta64(1, "D")
"""Time without any move that no open market has: it is closed, or the asset is not listed yet."""

LEAST_STILL = 6
"""Bars without a move that are such a stretch at least, however long a bar is."""


@dataclasses.dataclass(frozen=True)
class Quality:
    """What can hardly be real in one asset's candles.

    spikes: first and last bar of each run of bars with a false price (`spiked_bars`).
    volume_spikes: bars with a false volume (`busy_bars`).
    still: bars in stretches of a day or more without a move (`still_bars`). longest: first and last bar of the longest
        of these, None without one.
    """

    symbol: str
    spikes: tuple[tuple[int, int], ...]
    volume_spikes: tuple[int, ...]
    still: int
    longest: tuple[int, int] | None


def quality_of(candles: Candles) -> tuple[Quality, ...]:
    """The quality of each asset's candles, in their order; bars on the two sides of a gap in time are not compared."""
    segments = candles.segments
    parts = [candles.values[segment.start : segment.stop] for segment in segments]
    spiked = np.concatenate([spiked_bars(part) for part in parts])
    busy = np.concatenate([busy_bars(part) for part in parts])
    still = np.concatenate([still_bars(part, candles.interval) for part in parts])
    return tuple(
        Quality(
            symbol,
            _runs(spiked[:, a], segments),
            tuple(np.flatnonzero(busy[:, a]).tolist()),
            int(still[:, a].sum()),
            max(_runs(still[:, a], segments), key=lambda run: run[1] - run[0], default=None),
        )
        for a, symbol in enumerate(candles.symbols)
    )


def spiked_bars(values: np.ndarray, factor: float = SPIKE) -> np.ndarray:
    """Whether a bar has a false price: open, high, low or close is beyond what comes before and after it by that
    factor, and back after `LONGEST_SPIKE` bars at most. The bar that opens at such a price has one, too.

    Shape: values (T, A, 5), as `Candles` has them, of one segment → (T, A) bool. At its ends, nobody knows whether a
    price of another level is false, and only wicks are found.
    """
    return _spiked(values, *_closes_around(_honest_closes(values, factor)), factor)


def busy_bars(values: np.ndarray) -> np.ndarray:
    """Whether a bar has a false volume: `VOLUME_SPIKE` times that of the busiest of the bars around it, or more.

    Shape: values (T, A, 5), of one segment → (T, A) bool.
    """
    volumes, most = values[:, :, COLUMNS.index("volume")], _busiest_around(values)
    return (volumes >= VOLUME_SPIKE * most) & (most > 0)


def still_bars(values: np.ndarray, interval: np.timedelta64) -> np.ndarray:
    """Whether a bar lies in a stretch that all has one price, and is as long as `STILL`, or `LEAST_STILL` bars.

    Shape: values (T, A, 5), of one segment → (T, A) bool. interval: length of a bar.
    """
    n_bars, n_assets, _ = values.shape
    least = max(LEAST_STILL, int(np.ceil(STILL / interval)))
    moves = np.ones((n_bars, n_assets), bool)
    moves[1:] = (values[1:, :, :4] != values[:-1, :, 3:4]).any(axis=2)
    still = np.zeros_like(moves)
    for a in range(n_assets):
        starts = np.flatnonzero(moves[:, a])
        lengths = np.diff(np.append(starts, n_bars))
        still[:, a] = np.repeat(lengths >= least, lengths)
    return still


def honest_values(values: np.ndarray, factor: float = SPIKE) -> np.ndarray:
    """The values without what is false: a bar with a false price goes straight from the last true close to its own, and
    one with a false volume has that of the busiest bar around it.

    Shape: values (T, A, 5), of one segment → (T, A, 5): a copy, or `values` themselves where nothing is false.
    """
    closes, busy = _honest_closes(values, factor), busy_bars(values)
    before, after = _closes_around(closes)
    spiked = _spiked(values, before, after, factor)
    if not (spiked.any() or busy.any()):
        return values
    honest = values.copy()
    low, high = np.minimum(before, closes)[..., None], np.maximum(before, closes)[..., None]
    honest[:, :, :3] = np.where(spiked[..., None], np.clip(values[:, :, :3], low, high), values[:, :, :3])
    honest[:, :, 3] = closes
    honest[:, :, 4] = np.where(busy, _busiest_around(values), values[:, :, 4])
    return honest


def _honest_closes(values: np.ndarray, factor: float) -> np.ndarray:
    """Closes, those that are false replaced by the last true one before. Shape: (T, A, 5) → (T, A)."""
    closes = values[:, :, 3]
    false = np.zeros(closes.shape, bool)
    least = most = closes  # of n bars, the first of which has the row's index
    for n in range(1, min(LONGEST_SPIKE, len(closes) - 2) + 1):
        if n > 1:
            least, most = np.minimum(least[:-1], closes[n - 1 :]), np.maximum(most[:-1], closes[n - 1 :])
        before, after = closes[: -n - 1], closes[n + 1 :]
        above = least[1:-1] >= factor * np.maximum(before, after)
        away = above | (factor * most[1:-1] <= np.minimum(before, after))
        for at in range(1, n + 1):
            false[at : at + len(away)] |= away
    last_true = np.maximum.accumulate(np.where(false, 0, np.arange(len(closes))[:, None]), axis=0)
    return np.take_along_axis(closes, last_true, axis=0)


def _closes_around(closes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The closes of the bar before and of the bar after; at the ends those of the bar itself. Shape: (T, A)."""
    return np.concatenate([closes[:1], closes[:-1]]), np.concatenate([closes[1:], closes[-1:]])


def _spiked(values: np.ndarray, before: np.ndarray, after: np.ndarray, factor: float) -> np.ndarray:
    """Whether high or low, between which all prices of a bar are, is far beyond the true closes around it."""
    high, low = values[:, :, 1], values[:, :, 2]
    return (high >= factor * np.maximum(before, after)) | (factor * low <= np.minimum(before, after))


def _busiest_around(values: np.ndarray) -> np.ndarray:
    """The largest volume of the `AROUND` bars on either side of each. Shape: (T, A, 5) → (T, A)."""
    volumes = values[:, :, COLUMNS.index("volume")]
    most = np.zeros(volumes.shape)
    for n in range(1, min(AROUND, len(volumes) - 1) + 1):
        most[n:] = np.maximum(most[n:], volumes[:-n])
        most[:-n] = np.maximum(most[:-n], volumes[n:])
    return most


def _runs(found: np.ndarray, segments: tuple[Segment, ...]) -> tuple[tuple[int, int], ...]:
    """First and last bar of each run of bars that are found, none across a gap in time. Shape: (T,) bool."""
    runs = []
    for segment in segments:
        part = np.concatenate(([False], found[segment.start : segment.stop], [False]))
        edges = segment.start + np.flatnonzero(np.diff(part.astype(np.int8)))
        runs += zip(edges[::2].tolist(), (edges[1::2] - 1).tolist(), strict=True)
    return tuple(runs)

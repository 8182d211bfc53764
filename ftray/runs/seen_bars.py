"""Bars that somebody has seen, in a form in which they are recognised again.

Takes: candles and windows. Gives: `SeenBars`, and the `StudyBars` that a run folder records.
"""

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ftray.spec import fingerprint

if TYPE_CHECKING:
    from ftray.market import Candles, Window  # which imports pandas, and a reader of looks needs none

MAX_DAYS = 32
"""Days whose closes make candles recognisable."""

SAME_CLOSE = 1e-6
"""Relative difference of two closes that are the same: files may hold numbers of 32 bits."""


@dataclasses.dataclass(frozen=True)
class SeenBars:
    """The bars of some windows of a market.

    Two candle files are of the same market where most daily closes of an asset are the same on the days that they
    share: a copied file, one with a day appended, another choice of assets, and other bars of the same prices (5m
    and 1h) are therefore the same market, which a hash of all candles would take for different ones. So are prices in
    another unit, like cents: closes that are the same up to one factor. Where no day is shared, the symbols decide.

    interval: length of a bar, like `1h`.
    windows: when the first bar of each window opens and the last one closes; ISO 8601, UTC.
    days: of the closes, at most `MAX_DAYS`. Their numbers since 1970 are multiples of a power of two, so that windows
        of different lengths share days.
    closes: symbol → the last close of each of these days, in quote currency.
    """

    interval: str
    windows: tuple[tuple[str, str], ...]
    days: tuple[str, ...]
    closes: Mapping[str, tuple[float, ...]]

    @classmethod
    def of(cls, candles: "Candles", windows: Iterable["Window"]) -> "SeenBars":
        """The bars of some windows of candles; equal windows count once, empty ones not at all."""
        from ftray.market.intervals import interval_text
        from ftray.market.moments import moment_text

        ranges = sorted({(window.start, window.stop) for window in windows if len(window)})
        closed = candles.times + candles.interval
        last = _last_bars_of_days(closed, ranges)
        closes = candles.column("close")[last]
        return cls(
            interval_text(candles.interval),
            tuple((moment_text(candles.times[start]), moment_text(closed[stop - 1])) for start, stop in ranges),
            tuple(map(str, _days(closed)[last])),
            {symbol: tuple(closes[:, i].tolist()) for i, symbol in enumerate(candles.symbols)},
        )

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "SeenBars":
        """What `dataclasses.asdict` made a mapping of. Raises: LookupError, TypeError, ValueError for another one."""
        closes = {symbol: tuple(map(float, values)) for symbol, values in plain["closes"].items()}
        days = tuple(map(str, plain["days"]))
        if any(len(values) != len(days) for values in closes.values()):
            raise ValueError(f"an asset must have a close on each of {len(days)} days")
        windows = tuple((str(start), str(stop)) for start, stop in plain["windows"])
        return cls(str(plain["interval"]), windows, days, closes)

    @property
    def fingerprint(self) -> str:
        """8 hex digits of a hash of all of this."""
        return fingerprint(dataclasses.asdict(self))[:8]

    def overlap(self, other: "SeenBars") -> tuple[str, str] | None:
        """When the first bar that is in both begins, and when the last one ends; None if they share none."""
        shared = [(max(a[0], b[0]), min(a[1], b[1])) for a in self.windows for b in other.windows]
        shared = [(start, stop) for start, stop in shared if start < stop]
        return (min(shared)[0], max(stop for _, stop in shared)) if shared and self._is_market_of(other) else None

    def __str__(self) -> str:
        """When they begin and end."""
        return f"{self.windows[0][0]} to {max(stop for _, stop in self.windows)}" if self.windows else "no bars"

    def _is_market_of(self, other: "SeenBars") -> bool:
        at = {day: i for i, day in enumerate(other.days)}
        shared = [(i, at[day]) for i, day in enumerate(self.days) if day in at]
        if not shared:
            return bool(self.closes.keys() & other.closes.keys())
        return any(_mostly_equal(a, b, shared) for a in self.closes.values() for b in other.closes.values())


@dataclasses.dataclass(frozen=True)
class StudyBars:
    """The bars that a study judges its trials on, as its run folder records them.

    validation: of all folds. test_window: None where a study has none. simulated: nobody trades these candles, and
    looks at them are not counted.
    """

    validation: SeenBars
    test_window: SeenBars | None
    simulated: bool

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "StudyBars":
        """What `dataclasses.asdict` made a mapping of."""
        test_window = plain["test_window"]
        return cls(
            SeenBars.from_plain(plain["validation"]),
            None if test_window is None else SeenBars.from_plain(test_window),
            bool(plain["simulated"]),
        )


def _last_bars_of_days(closed: np.ndarray, ranges: Iterable[tuple[int, int]]) -> np.ndarray:
    """The last bars, in these ranges, of at most `MAX_DAYS` days. closed: when each bar closes, (T,) datetime64[ns]."""
    days = _days(closed).astype(np.int64)
    inside = np.zeros(len(closed), bool)
    for start, stop in ranges:
        inside[start:stop] = True
    last = np.flatnonzero(inside & np.append(np.diff(days) > 0, True))
    step = 1
    while len(last) > MAX_DAYS:
        step *= 2
        last = last[days[last] % step == 0]
    return last


def _days(closed: np.ndarray) -> np.ndarray:
    """The day that each bar ends: a bar that closes at midnight belongs to the day before."""
    return (closed - np.timedelta64(1, "ns")).astype("datetime64[D]")


def _mostly_equal(a: tuple[float, ...], b: tuple[float, ...], shared: list[tuple[int, int]]) -> bool:
    """Two exchanges may agree on the close of a day, and a file may be repaired.

    Up to a factor, if prices move on three days or more: of fewer, or of prices that stand still, any two are alike.
    """
    ratios = [a[i] / b[j] if b[j] else math.inf for i, j in shared]
    moves = len({a[i] for i, _ in shared}) > len(shared) / 2 and len(shared) >= 3
    factors = (1.0, statistics.median_low(ratios)) if moves else (1.0,)
    return any(
        2 * sum(math.isclose(ratio, factor, rel_tol=SAME_CLOSE) for ratio in ratios) > len(ratios) for factor in factors
    )

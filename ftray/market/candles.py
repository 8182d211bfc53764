"""Candles: the prices of several assets on one common time axis, with its gaps known.

Legend: T bars, A assets.
"""

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Sequence

import numpy as np

from ftray.errors import DataError
from ftray.market.moments import moment

COLUMNS = ("open", "high", "low", "close", "volume")


@dataclasses.dataclass(frozen=True, order=True)
class Segment:
    """A run of bars `[start, stop)` with no gap in time."""

    start: int
    stop: int

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def within(self, start: int, stop: int) -> "Segment":
        """The part of this segment inside `[start, stop)`; possibly empty."""
        return Segment(max(self.start, start), max(max(self.start, start), min(self.stop, stop)))


@dataclasses.dataclass(frozen=True, eq=False)
class Candles:
    """Open, high, low, close and volume of A assets over T common bars; a frozen value, its arrays read-only.

    symbols: the A asset names, in the order of every asset axis in ftray.
    times: (T,) datetime64[ns], UTC, the opening time of each bar, strictly increasing.
    values: (T, A, 5) float64: open, high, low, close in quote currency, volume in units of the asset.
    interval: length of one bar; where two times differ by more than this, a segment ends.
    regimes: (T,) int8 labels of the simulator (0 bear, 1 sideways, 2 bull), or None for real markets.

    Raises: DataError for values of another shape.
    """

    symbols: tuple[str, ...]
    times: np.ndarray
    values: np.ndarray
    interval: np.timedelta64
    regimes: np.ndarray | None = None

    def __post_init__(self) -> None:
        expected = (len(self.times), len(self.symbols), len(COLUMNS))
        if self.values.shape != expected:
            raise DataError(
                f"candle values must have the shape (bars, assets, 5) = {expected}, got {self.values.shape}"
            )
        for array in (self.times, self.values):
            array.flags.writeable = False

    def __len__(self) -> int:
        return len(self.times)

    @property
    def n_assets(self) -> int:
        """How many assets there are, A."""
        return len(self.symbols)

    def column(self, name: str) -> np.ndarray:
        """One column of all assets. Shape: (T, A), a view.

        name: `open`, `high`, `low`, `close` or `volume`.
        """
        return self.values[:, :, COLUMNS.index(name)]

    @functools.cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The contiguous runs of bars, `[start, stop)` each; between them are exchange outages."""
        return unbroken_runs(self.times, self.interval)

    @property
    def bars_per_day(self) -> float:
        """Bars of one day, 24 for hourly candles; a fraction where bars are longer than a day."""
        return float(np.timedelta64(1, "D") / self.interval)

    @property
    def bars_per_year(self) -> float:
        """Crypto trades every day of the year: 365 × bars per day."""
        return 365.0 * self.bars_per_day

    def between(self, start: np.datetime64 | None, stop: np.datetime64 | None) -> "Candles":
        """The bars that open from `start` on and before `stop`, UTC; None is no limit.

        Raises: DataError if there is none, with the times that there are.
        """
        first = 0 if start is None else int(np.searchsorted(self.times, start))
        last = len(self) if stop is None else int(np.searchsorted(self.times, stop))
        if first >= last:
            limits = [f"{word} {moment(at)}" for word, at in (("from", start), ("before", stop)) if at is not None]
            raise DataError(
                f"no bar opens {' and '.join(limits)}; there are {len(self)}, from {moment(self.times[0])} to "
                f"{moment(self.times[-1])}"
            )
        regimes = None if self.regimes is None else self.regimes[first:last]
        return dataclasses.replace(self, times=self.times[first:last], values=self.values[first:last], regimes=regimes)

    def of(self, symbols: Sequence[str]) -> "Candles":
        """The candles of some assets alone.

        symbols: of these, in this order.

        Raises: DataError for an asset that is missing.
        """
        missing = [symbol for symbol in symbols if symbol not in self.symbols]
        if missing:
            raise DataError(
                f"candles of {', '.join(missing)} are missing; there are those of {', '.join(self.symbols)}"
            )
        columns = [self.symbols.index(symbol) for symbol in symbols]
        return dataclasses.replace(self, symbols=tuple(symbols), values=self.values[:, columns])

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of symbols, times, values and interval; 64 hex digits."""
        digest = hashlib.sha256("\0".join(self.symbols).encode())
        digest.update(str(self.interval.astype("timedelta64[ns]")).encode())
        digest.update(self.times.astype("datetime64[ns]").tobytes())
        digest.update(np.ascontiguousarray(self.values).tobytes())
        return digest.hexdigest()


def unbroken_runs(times: np.ndarray, interval: np.timedelta64) -> tuple[Segment, ...]:
    """The runs of bars that are one interval apart. Shape: times (T,) datetime64[ns], increasing."""
    breaks = np.flatnonzero(np.diff(times) != interval) + 1
    edges = [0, *breaks.tolist(), len(times)]
    return tuple(Segment(a, b) for a, b in itertools.pairwise(edges) if b > a)

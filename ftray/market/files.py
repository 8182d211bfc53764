"""Candles from files: freqtrade's feather, parquet and CSV, one file per asset in one folder.

Takes: a `FilesSpec`. Gives: `Candles` on the times that all files share.
Nothing is repaired: a file that breaks a rule is refused with its name, the column and the first bad row.
"""

import dataclasses
import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from ftray.errors import DataError, MissingCandlesError, SpecError
from ftray.market.candles import COLUMNS, Candles
from ftray.market.intervals import Interval, interval_text, parse_interval, same_interval
from ftray.market.moments import Moment, moment, parse_moment
from ftray.market.timestamps import TIME, read_times
from ftray.spec import Distinct, nearest, spec
from ftray.storage import local

READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".feather": pd.read_feather,
    ".parquet": pd.read_parquet,
    ".csv": functools.partial(pd.read_csv, index_col=False, low_memory=False),
}
TIME_COLUMNS = ("date", "timestamp")
_NAME = re.compile(r"(?P<base>[^\W_]+)(?:[_-](?P<quote>(?!\d+[smhdwM]$)[^\W_]+))?(?:[_-](?P<interval>\d+[smhdwM]))?")


@spec
class FilesSpec:
    """Candles from files: freqtrade's feather, parquet or CSV with date, open, high, low, close and volume.

    path: a folder, or its URL on object storage, with one file per asset: `BTC_USDT-1h.feather`, `ETH_USDT.csv`,
        `LTC.parquet`.
    interval: length of a bar, such as `5m`, `1h`, `1d`; files whose name says another interval are left out.
    symbols: the assets to take, without the quote currency; None takes all.
    from_: the first time of a bar that is taken, a date or a time in UTC, such as `2024-01-01` or `2024-01-01T12:00`;
        None begins with the first bar that all files have. Its key in a file is `from`.
    to: the time before which a bar that is taken opens: that bar itself is left out. None ends with the last bar that
        all files have; with a time, bars that are appended to the files later change nothing.
    """

    kind: Literal["files"] = "files"
    path: str
    interval: Interval = "1h"
    symbols: Annotated[tuple[str, ...], Distinct("symbol", fold=True)] | None = None
    from_: Moment | None = None
    to: Moment | None = None

    PATHS = ("path",)

    def check(self) -> None:
        if self.from_ and self.to and parse_moment(self.from_) >= parse_moment(self.to):
            raise SpecError(f"must be later than `from`, {self.from_}; got {self.to}", ("to",))


def list_symbols(spec: FilesSpec) -> tuple[str, ...]:
    """The symbols that `read_candles` would return, sorted, from file names alone.

    Raises: DataError for a missing or empty folder, an ambiguous file name or an unknown symbol.
    """
    return tuple(_candle_files(spec))


def read_candles(spec: FilesSpec) -> Candles:
    """The candles of every wanted file, cut to the times that all of them share, and to `from_` and `to`.

    Raises: DataError that names the file, the column and the first bad row, or the times that the files hold.
    """
    interval = parse_interval(spec.interval)
    files = _candle_files(spec)
    series = {symbol: read_file(path, interval) for symbol, path in files.items()}
    times = functools.reduce(np.intersect1d, (own for own, _ in series.values()))
    if not len(times):
        spans = "; ".join(
            f"{files[symbol].name} {moment(own[0])} to {moment(own[-1])}" for symbol, (own, _) in series.items()
        )
        raise DataError(
            f"{spec.path}: the files must share times, and no time is in all of them ({spans}); "
            "leave out the file that does not overlap, with `symbols`"
        )
    values = np.stack([own[np.searchsorted(at, times)] for at, own in series.values()], axis=1)
    candles = Candles(symbols=tuple(series), times=times, values=values, interval=interval)
    try:
        return candles.between(*(None if at is None else parse_moment(at) for at in (spec.from_, spec.to)))
    except DataError as error:
        raise DataError(f"{spec.path}: {error}") from None


@dataclasses.dataclass(frozen=True)
class FileName:
    """What the name of a candle file says. quote: empty, and interval: None, where the name leaves it out."""

    path: Path
    symbol: str
    quote: str
    interval: str | None


def _candle_files(spec: FilesSpec) -> dict[str, Path]:
    """Symbol → file, sorted by symbol."""
    by_symbol: dict[str, list[FileName]] = {}
    for name in _named_files(spec):
        by_symbol.setdefault(name.symbol, []).append(name)
    wanted = sorted(by_symbol) if spec.symbols is None else sorted(symbol.upper() for symbol in spec.symbols)
    for symbol in wanted:
        if symbol not in by_symbol:
            raise DataError(f"{spec.path}: no candle file for symbol {symbol!r}; {nearest(symbol, sorted(by_symbol))}")
        if len(by_symbol[symbol]) > 1:
            clash = ", ".join(name.path.name for name in by_symbol[symbol])
            raise DataError(
                f"{spec.path}: one file per symbol is needed, and {symbol} has several: {clash}; remove all but one"
            )
    chosen = {symbol: by_symbol[symbol][0] for symbol in wanted}
    quotes = {name.quote: name.path.name for name in chosen.values()}
    if len(quotes) > 1:
        raise DataError(
            f"{spec.path}: all candles must be quoted in one currency, got {', '.join(sorted(quotes.values()))}; "
            "choose those of one currency with `symbols`, or move the others away"
        )
    return {symbol: name.path for symbol, name in chosen.items()}


def _named_files(spec: FilesSpec) -> list[FileName]:
    """The candle files of the wanted interval in the folder."""
    folder, names = local(spec.path).expanduser(), list[FileName]()
    try:
        paths = candle_paths(folder)
    except MissingCandlesError as error:
        raise MissingCandlesError(f"{error}: --set trial.market.path=FOLDER") from None
    for path in paths:
        try:
            names.append(parse_name(path))
        except DataError:
            if spec.symbols is None:  # otherwise the wanted files are named, and this one is none of them
                raise
    fitting = [name for name in names if name.interval is None or same_interval(name.interval, spec.interval)]
    if not fitting:
        others = ", ".join(sorted({str(name.interval) for name in names}))
        raise DataError(
            f"{folder}: no candle files with interval {spec.interval}; those there have: {others}; "
            f"name a folder with files of {spec.interval}, or set `interval` where another length will do"
        )
    return fitting


def candle_paths(folder: Path) -> list[Path]:
    """The files in a folder that may hold candles, by their suffix. Raises: DataError where there is none."""
    if not folder.is_dir():
        raise MissingCandlesError(f"{folder}: no such folder; it must be a folder with one candle file per asset")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in READERS and not p.name.startswith("."))
    if not paths:
        raise DataError(
            f"{folder}: no candle files in this folder; expected names like BTC_USDT-1h.feather ({', '.join(READERS)})"
        )
    return paths


def parse_name(path: Path) -> FileName:
    """What a file's name says. Raises: DataError for a name that says no symbol."""
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise DataError(
            f"{path}: the name must say the symbol, as BASE_QUOTE-interval, BASE_QUOTE or BASE "
            "(BTC_USDT-1h, BTC_USDT, BTC); rename the file or move it away"
        )
    return FileName(path, match["base"].upper(), (match["quote"] or "").upper(), match["interval"])


def read_file(path: Path, interval: np.timedelta64 | None) -> tuple[np.ndarray, np.ndarray]:
    """Times (T,) datetime64[ns] and values (T, 5) float64 of one file, checked.

    interval: between two rows; None takes the one that most rows have.
    Raises: DataError that names the file, the column and the first bad row.
    """
    try:
        frame = READERS[path.suffix.lower()](path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read ({error}); download it again") from error
    if frame.index.name:
        frame = frame.reset_index()
    frame.columns = [str(name).strip().lower() for name in frame.columns]
    time_column = next((name for name in TIME_COLUMNS if name in frame.columns), None)
    missing = [*([] if time_column else ["date (or timestamp)"]), *(c for c in COLUMNS if c not in frame.columns)]
    if time_column is None or missing:
        raise DataError(f"{path}: column {', '.join(missing)} is missing; it has: {', '.join(frame.columns)}")
    twice = sorted({name for name in (time_column, *COLUMNS) if list(frame.columns).count(name) > 1})
    if twice:
        raise DataError(f"{path}: column {', '.join(twice)} is there more than once; keep one of each")
    if len(frame) < 2:
        raise DataError(f"{path}: at least 2 rows are needed, got {len(frame)}; download it again")
    times = _checked_times(path, frame.loc[:, time_column], interval)
    return times, _checked_values(path, frame, times)


def _checked_times(path: Path, column: pd.Series, interval: np.timedelta64 | None) -> np.ndarray:
    """The opening times (T,) datetime64[ns], UTC: increasing, mostly one interval apart, always whole intervals."""
    name = str(column.name)
    try:
        times = read_times(column)
    except ValueError as error:
        raise DataError(f"{path}: column {name!r}: {error}") from error
    _refuse(path, name, times, np.isnat(times), TIME, column)
    steps = np.diff(times)
    _refuse(path, name, times, np.append(False, steps <= np.timedelta64(0)), "later than the row before it", column)
    usual = usual_step(times)
    interval = usual if interval is None else interval
    if usual != interval:
        raise DataError(
            f"{path}: column {name!r}: rows must be one interval apart, {interval_text(interval)}, and most are "
            f"{interval_text(usual)}; set `interval` to the file's own"
        )
    rule = f"a whole number of intervals ({interval_text(interval)}) after the row before it"
    _refuse(path, name, times, np.append(False, steps % interval != np.timedelta64(0)), rule, column)
    return times


def usual_step(times: np.ndarray) -> np.timedelta64:
    """The most frequent step between increasing times (T,): the interval of their bars."""
    lengths, counts = np.unique(np.diff(times), return_counts=True)
    return lengths[counts.argmax()]


def _checked_values(path: Path, frame: pd.DataFrame, times: np.ndarray) -> np.ndarray:
    """The columns as (T, 5) float64: finite, prices positive, open and close between low and high."""
    for name in COLUMNS:  # `to_numeric` makes numbers of times and of truth values, too
        if frame[name].dtype.kind in "bmM":
            raise DataError(f"{path}: column {name!r}: must hold numbers, got {frame[name].iloc[0]}")
    values = frame[list(COLUMNS)].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    opens, highs, lows, closes, volumes = values.T
    rules = [(name, ~np.isfinite(values[:, i]), "a finite number") for i, name in enumerate(COLUMNS)]
    rules += [(name, values[:, i] <= 0, "a positive price") for i, name in enumerate(COLUMNS[:4])]
    rules += [
        ("volume", volumes < 0, "0 or more"),
        ("high", highs < lows, "at least the low"),
        ("high", highs < np.maximum(opens, closes), "at least the open and the close"),
        ("low", lows > np.minimum(opens, closes), "at most the open and the close"),
    ]
    for name, bad, rule in rules:
        _refuse(path, name, times, bad, rule, frame.loc[:, name])
    return values


def _refuse(path: Path, column: str, times: np.ndarray, bad: np.ndarray, rule: str, raw: pd.Series) -> None:
    """Raise a DataError about the first row where `bad` holds, if any."""
    if not bad.any():
        return
    row = int(bad.argmax())
    raise DataError(
        f"{path}: column {column!r}, row {row} counted from 0 ({moment(times[row])}): must be {rule}, got "
        f"{raw.iloc[row]}; {int(bad.sum())} such row(s) in all: repair them, or download the file again"
    )

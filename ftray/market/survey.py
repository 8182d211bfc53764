"""A survey of a folder of candles: each file by itself, and the bars that all files share.

Takes: a folder, and the interval and symbols that its user wants. Gives: a `Survey`: the files that can be used
together, the times that all of them share, and the reason why each other file is left out. It repairs nothing, and
raises an error rather than choose between two files of one symbol.
"""

import contextlib
import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ftray.errors import DataError, SpecError
from ftray.market.candles import Segment, unbroken_runs
from ftray.market.files import FileName, candle_paths, parse_name, read_file, usual_step
from ftray.market.intervals import interval_text, parse_interval, same_interval
from ftray.market.moments import moment
from ftray.market.overlap import Overlap
from ftray.spec import nearest
from ftray.storage import Location, local


@dataclasses.dataclass(frozen=True, eq=False)
class CandleFile:
    """A file that was read. interval: of its bars, as its name or its rows say. times: (T,) datetime64[ns]."""

    name: FileName
    interval: str
    times: np.ndarray

    @property
    def n_gaps(self) -> int:
        """Gaps in time between its first bar and its last."""
        return len(unbroken_runs(self.times, parse_interval(self.interval))) - 1

    @property
    def span(self) -> str:
        return f"{moment(self.times[0])} to {moment(self.times[-1])}"


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A file that is not used. why: the reason, and what to do. symbol: empty if it is not wanted, or unknown."""

    path: Path
    why: str
    symbol: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Survey:
    """A folder's candles.

    files: those that go together, sorted by symbol. times: (T,) datetime64[ns], the bars that all of them have.
    costs: by symbol, the usable bars that the other files would have more without this one. A bar is usable where an
        unbroken run of `run` bars ends.
    """

    path: Location
    files: tuple[CandleFile, ...]
    left_out: tuple[LeftOut, ...]
    interval: str
    times: np.ndarray
    costs: dict[str, int]

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(file.name.symbol for file in self.files)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The runs of common bars without a gap in time."""
        return unbroken_runs(self.times, parse_interval(self.interval))

    @property
    def bars_per_year(self) -> float:
        """As `Candles.bars_per_year`."""
        return 365.0 * float(np.timedelta64(1, "D") / parse_interval(self.interval))


def survey_candles(
    path: Location, run: int = 1, interval: str | None = None, symbols: Sequence[str] | None = None
) -> Survey:
    """Reads every candle file of a folder.

    run: bars without a gap in time that a decision needs; see `Survey.costs`.
    interval: files with other bars are left out; it must be given where files of several intervals can be read.
    symbols: the assets to take, without the quote currency; then no file is left out for what it costs the others.

    Raises: DataError with the reason per file, where no files go together.
    """
    if interval is not None:
        parse_interval(interval)
    if symbols is not None and not symbols:
        raise SpecError("must name at least one symbol, or be left out to take all", ("symbols",))
    wanted = None if symbols is None else {symbol.upper() for symbol in symbols}
    good, left_out = _read(_listed(path), interval, wanted)
    _refuse_missing(path, wanted or set(), good, left_out)
    interval = _one_interval(path, good, left_out)
    broken = [parse_name(one.path) for one in left_out if one.symbol]
    _refuse_duplicates(path, [file.name for file in good] + broken, interval)
    _refuse_several_quotes(path, good)
    overlap = Overlap([file.times for file in good], parse_interval(interval), run)
    kept = list(range(len(good))) if wanted else overlap.worth_keeping()
    left_out += [_too_costly(good, overlap, kept, i) for i in range(len(good)) if i not in kept]
    files, times = [good[i] for i in kept], overlap.common(kept)
    if not len(times):
        spans = "\n  ".join(f"{file.name.path.name}: {file.span}" for file in files)
        raise DataError(
            f"{path}: no time is in all of these files; choose files that overlap with --symbols:\n  {spans}"
        )
    costs = {good[i].name.symbol: overlap.cost(kept, i) for i in kept}
    return Survey(path, tuple(files), tuple(left_out), interval, times, costs)


def _listed(path: Location) -> list[Path]:
    """The candle files of the folder; where it has none, the message names the folders below that have some."""
    folder = local(path).expanduser()
    if folder.is_file():
        raise DataError(f"{path} is a file: name its folder, which has one candle file per asset")
    try:
        return candle_paths(folder)
    except DataError as error:
        below = sorted({file.parent for file in _candles_below(folder)}) if folder.is_dir() else []
        if not below:
            raise
        raise DataError(f"{error}; there are some in {', '.join(map(str, below[:5]))}: name that folder") from None


def _candles_below(folder: Path) -> Iterable[Path]:
    for child in folder.iterdir():
        if child.is_dir():
            try:
                yield from candle_paths(child)
            except (DataError, OSError):
                continue


def _read(
    paths: Iterable[Path], interval: str | None, wanted: set[str] | None
) -> tuple[list[CandleFile], list[LeftOut]]:
    """The files that can be read, sorted by symbol, and the others with the reason."""
    good: list[CandleFile] = []
    left_out: list[LeftOut] = []
    for path in paths:
        name = None
        try:
            name = parse_name(path)
            if wanted is not None and name.symbol not in wanted:
                left_out.append(LeftOut(path, "its symbol is not among those asked for"))
            elif interval is not None and name.interval and not same_interval(name.interval, interval):
                left_out.append(LeftOut(path, f"its name says {name.interval}, and {interval} is asked for"))
            else:
                good.append(_read_one(name, interval))
        except (DataError, SpecError) as error:
            why = error.problem if isinstance(error, SpecError) else str(error).removeprefix(f"{path}: ")
            left_out.append(LeftOut(path, why, symbol=name.symbol if name else ""))
    return sorted(good, key=lambda file: file.name.symbol), left_out


def _read_one(name: FileName, interval: str | None) -> CandleFile:
    """Raises: DataError for a broken file, and for rows that are not as far apart as the name, or the user, says."""
    said = name.interval or interval
    length = parse_interval(said) if said else None
    times, _ = read_file(name.path, None)
    own = usual_step(times)
    if length is not None and own != length:
        advice = "rename it" if name.interval else "leave out --interval, or name its own"
        raise DataError(f"its rows are {interval_text(own)} apart, and {said} was expected: {advice}")
    text = interval_text(own)
    parse_interval(text)  # bars of less than a second
    return CandleFile(name, text, times)


def _one_interval(path: Location, good: Sequence[CandleFile], left_out: Sequence[LeftOut]) -> str:
    if not good:
        reasons = "\n  ".join(f"{one.path.name}: {one.why}" for one in left_out)
        raise DataError(f"{path}: none of its candle files can be used:\n  {reasons}")
    found: dict[str, list[str]] = {}
    for file in good:
        found.setdefault(file.interval, []).append(file.name.path.name)
    if len(found) > 1:
        lines = "\n  ".join(f"--interval {text}: {', '.join(names)}" for text, names in found.items())
        raise DataError(f"{path}: these files have bars of several intervals; choose one of them:\n  {lines}")
    return next(iter(found))


def _refuse_duplicates(path: Location, names: Iterable[FileName], interval: str) -> None:
    """Refuses two files of one symbol, even if one of them is broken: a later reader could not know which to take."""
    found: dict[str, list[str]] = {}
    for name in names:
        if name.interval is None or same_interval(name.interval, interval):
            found.setdefault(name.symbol, []).append(name.path.name)
    several = [f"{symbol}: {', '.join(files)}" for symbol, files in found.items() if len(files) > 1]
    if several:
        lines = "\n  ".join(several)
        raise DataError(f"{path}: one file per symbol is needed; move all but one away, of each of these:\n  {lines}")


def _refuse_missing(path: Location, wanted: set[str], good: Sequence[CandleFile], left_out: Sequence[LeftOut]) -> None:
    """Every symbol that is asked for must have a file."""
    missing = sorted(wanted - {file.name.symbol for file in good})
    if not missing:
        return
    reasons = _reasons(left_out)
    known = sorted({file.name.symbol for file in good} | set(reasons))
    lines = "\n  ".join(
        reasons.get(symbol) or f"{symbol}: no such file; {nearest(symbol, known)}" for symbol in missing
    )
    raise DataError(f"{path}: not all symbols that are asked for can be used:\n  {lines}")


def _reasons(left_out: Iterable[LeftOut]) -> dict[str, str]:
    """Why files are left out, by the symbols that their names say."""
    found: dict[str, str] = {}
    for one in left_out:
        with contextlib.suppress(DataError):
            found[parse_name(one.path).symbol] = f"{one.path.name}: {one.why}"
    return found


def _refuse_several_quotes(path: Location, good: Sequence[CandleFile]) -> None:
    found: dict[str, list[str]] = {}
    for file in good:
        found.setdefault(file.name.quote, []).append(file.name.symbol)
    if len(found) > 1:
        lines = "\n  ".join(f"{quote or 'no currency named'}: --symbols {','.join(s)}" for quote, s in found.items())
        raise DataError(
            f"{path}: all candles must be quoted in one currency, which file names say; choose one:\n  {lines}"
        )


def _too_costly(good: Sequence[CandleFile], overlap: Overlap, kept: Sequence[int], i: int) -> LeftOut:
    """Why the i-th file is left out."""
    file, together = good[i], sorted([*kept, i])
    why = (
        f"with it, all files share {overlap.n_usable(together):,} usable bars, without it "
        f"{overlap.n_usable(kept):,} (it has {file.span}, {file.n_gaps} gaps); bring it back with --symbols "
        f"{','.join(good[k].name.symbol for k in together)}"
    )
    return LeftOut(file.name.path, why, file.name.symbol)

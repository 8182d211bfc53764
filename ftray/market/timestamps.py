"""The times in a column of a candle file, however its writer spelt them.

Takes: a column of numbers, texts, dates or datetimes. Gives: datetime64[ns], UTC.

Each row is read by itself: a number's unit by its size, a date's order of year, month and day by its form. What a row
leaves open is decided by all rows together, or refused: 01/02/2024 has the day first where another row has a day above
12 there, and is ambiguous where no row says so.
"""

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd

TIME = "a time: a date such as 2024-01-31 or 2024-01-31 12:00, or a number of s, ms, µs or ns since 1970"
"""What a value must be, in words."""

FIRST, LAST = 1e8, 7_258_118_400
"""Seconds since 1970 of the times that a number may mean: 1973-03-03 and 2200-01-01. Their ratio is below 1000, so
that a number means such a time in one unit at most."""

UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

COMPACT = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
"""Dates whose digits are written as one number, by how many there are."""

_YEARS = (1900, 2200)
_NUMBER = r"[+-]?\d+(?:\.\d*)?(?:[eE]\+?\d+)?"
_ISO = r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}(?::\d{2}(?::\d{2}(?:\.\d{1,9})?)?)?(?:Z|[+-]\d{2}(?::?\d{2})?)?)?"
_CLOCK = (
    r"(?:[T ,]+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}(?:\.\d{1,9})?))?"
    r"(?: ?(?P<half>[AaPp])\.?[Mm]\.?)?(?: ?(?P<zone>Z|UTC|GMT|[+-]\d{2}:?\d{2}))?)?"
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WORD = (
    r"(?P<month>Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|"
    r"Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\.?"
)
_FORMS = (
    r"(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})",
    rf"(?P<day>\d{{1,2}})[ -]{_WORD}[ ,-]+(?P<year>\d{{4}})",
    rf"{_WORD} (?P<day>\d{{1,2}}),? (?P<year>\d{{4}})",
)
"""Dates whose parts cannot be taken for each other."""

_ORDERLESS = r"(?P<first>\d{{1,2}}){0}(?P<second_>\d{{1,2}}){0}(?P<year>\d{{4}})"
"""A day and a month, in an order that the text does not say, around one separator."""


def read_times(column: pd.Series) -> np.ndarray:
    """The times (T,) of a column, UTC; NaT where a value is no time between 1900 and 2200. Without a zone it is UTC.

    Raises: ValueError for a column whose rows can be read in more ways than one, with the rows that show it.
    """
    if pd.api.types.is_bool_dtype(column):
        raise ValueError(f"must hold times, got {column.iloc[0]}")
    if pd.api.types.is_numeric_dtype(column):
        return _of_numbers(column)
    if pd.api.types.is_datetime64_any_dtype(column):
        return _in_utc(column)
    texts = column.astype(object).map(lambda value: str(value).strip(), na_action="ignore").astype("str")
    numbers = texts.str.fullmatch(_NUMBER).fillna(False).to_numpy(bool)
    if not numbers.any():
        return _of_texts(texts)
    if numbers[texts.notna()].all():
        return _of_numbers(pd.Series(pd.to_numeric(texts)))
    date = int((~numbers & texts.notna().to_numpy()).argmax())
    raise ValueError(
        f"must hold dates or numbers, not both; got {_row(texts, int(numbers.argmax()))} and {_row(texts, date)}"
    )


def _of_numbers(column: pd.Series) -> np.ndarray:
    """Numbers since 1970, each in the unit that its size says, or dates whose digits are written as one number."""
    size, times = column.astype("float64").to_numpy(), np.full(len(column), "NaT", "datetime64[ns]")
    if (compact := _compact(size)) is not None:
        return compact
    for unit, factor in UNITS.items():
        own = (size >= FIRST * factor) & (size < LAST * factor)
        if own.any():
            times[own] = _in_utc(pd.Series(pd.to_datetime(column[own], unit=unit, utc=True)))
    return times


def _compact(numbers: np.ndarray) -> np.ndarray | None:
    """The dates that all numbers (T,) are if their digits are read as year, month, day and time of day, if they are.

    No such column holds times since 1970: as those, it would lie in 1970, 1976, after 2592, or in the 2030s with hours
    whose every second has a number that is no date.
    """
    there = numbers[np.isfinite(numbers)]
    if not len(there) or not (there == np.floor(there)).all() or there.min() < 1:
        return None
    digits = len(str(int(there.max())))
    years = there // 10.0 ** (digits - 4)
    if digits not in COMPACT or years.min() < _YEARS[0] or years.max() >= _YEARS[1]:
        return None
    found = pd.Series(pd.NaT, range(len(numbers)), dtype="datetime64[ns]")
    texts = pd.Series(there.astype("int64")).astype("str")
    parsed = pd.to_datetime(texts, format=COMPACT[digits], errors="coerce")
    if parsed.isna().any():
        return None
    found[np.isfinite(numbers)] = parsed.to_numpy()
    return _in_utc(found)


def _of_texts(texts: pd.Series) -> np.ndarray:
    """Dates, each in a form that says which part is what; days and months of one separator in the order of all rows."""
    iso = texts.str.fullmatch(_ISO).fillna(False).to_numpy(bool)
    if not iso.all():
        written = pd.Series(pd.NA, texts.index, dtype="str")
        written[iso] = texts[iso]
        for rows, parts in _parts(texts.loc[~iso]):
            written[rows] = _joined(parts)
        texts = written
    _check_zones(texts)
    return _in_utc(pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce"))


def _parts(texts: pd.Series) -> Iterator[tuple[pd.Index, pd.DataFrame]]:
    """The rows that have one form, and their year, month, day, hour, minute, second, half and zone."""
    for form in _FORMS:
        parts = texts.str.extract(f"^{form}{_CLOCK}$", flags=re.IGNORECASE).dropna(subset="year")
        yield parts.index, parts
    for separator in "/-.":
        parts = texts.str.extract(f"^{_ORDERLESS.format(re.escape(separator))}{_CLOCK}$").dropna(subset="year")
        if len(parts):
            names = ("day", "month") if _day_first(texts.loc[parts.index], parts) else ("month", "day")
            yield parts.index, parts.rename(columns=dict(zip(("first", "second_"), names, strict=True)))


def _day_first(texts: pd.Series, parts: pd.DataFrame) -> bool:
    """Whether the day comes before the month in these rows. Raises: ValueError where they do not say, or disagree."""
    day_first, month_first = (parts[name].astype(int).to_numpy() > 12 for name in ("first", "second_"))
    if day_first.any() and month_first.any():
        one, other = (_row(texts, int(rows.argmax())) for rows in (day_first, month_first))
        raise ValueError(f"must have the day and the month in one order, got {one} and {other}: write 2024-01-31")
    if not day_first.any() and not month_first.any():
        raise ValueError(
            f"must say which is the day and which the month, and no row does, such as {_row(texts, 0)}: write the "
            "year first, 2024-01-31"
        )
    return bool(day_first.any())


def _joined(parts: pd.DataFrame) -> pd.Series:
    """Parts of dates as ISO 8601."""
    month = parts["month"].str[:3].str.lower()
    month = month.replace({name: str(i + 1) for i, name in enumerate(_MONTHS)})
    hour = parts["hour"].fillna("0").astype(int)
    half = parts["half"].str.lower()
    of_twelve = hour % 12 + 12 * (half == "p")
    hour = hour.where(half.isna(), of_twelve.where(hour.between(1, 12), 99))  # 99 is no hour, and the row no time
    zone = parts["zone"].fillna("").str.upper().replace({"UTC": "Z", "GMT": "Z"})
    date = parts["year"] + "-" + month.str.zfill(2) + "-" + parts["day"].str.zfill(2)
    clock = hour.astype("str").str.zfill(2) + ":" + parts["minute"].fillna("00") + ":" + parts["second"].fillna("00")
    return date + "T" + clock + zone


def _check_zones(texts: pd.Series) -> None:
    """Refuses times without a zone next to times of a zone that is not UTC: they could be of either."""
    zone = texts.str.slice(10).str.extract("(Z|[+-].*)$").loc[:, 0]
    away = (zone.notna() & ~zone.fillna("").str.fullmatch(r"Z|[+-]00(?::?00)?")).to_numpy(bool)
    without = (texts.notna() & zone.isna()).to_numpy(bool)
    if away.any() and without.any():
        one, other = (_row(texts, int(rows.argmax())) for rows in (away, without))
        raise ValueError(f"must have a time zone in every row or in none, got {one} and {other}")


def _in_utc(column: pd.Series) -> np.ndarray:
    """Datetimes of any zone and unit as datetime64[ns]; NaT outside of 1900 to 2200, which nanoseconds could not count
    everywhere."""
    times = column.dt.tz_convert("UTC").dt.tz_localize(None) if column.dt.tz is not None else column
    return times.where(times.dt.year.between(_YEARS[0], _YEARS[1] - 1)).dt.as_unit("ns").to_numpy("datetime64[ns]")


def _row(texts: pd.Series, i: int) -> str:
    return f"{texts.iloc[i]!r} in row {texts.index[i]}"

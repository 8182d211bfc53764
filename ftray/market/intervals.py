"""The length of a bar, as exchanges write it: `5m`, `1h`, `1d`."""

import dataclasses
from typing import Annotated

import numpy as np

from ftray.errors import SpecError
from ftray.spec import Matching

INTERVAL_UNITS = {"s": "s", "m": "m", "h": "h", "d": "D", "w": "W"}

MOST_WEEKS = 53
"""The longest bar."""


@dataclasses.dataclass(frozen=True)
class _Length(Matching):
    """A text of that form that names no more than a year."""

    def check(self, value: str) -> None:
        super().check(value)
        n, unit = int(value[:-1]), np.timedelta64(1, INTERVAL_UNITS[value[-1]])
        if n > np.timedelta64(MOST_WEEKS, "W") / unit:
            raise SpecError(f"must be a year at most; got {value!r}")


_RULE = _Length(
    f"[1-9][0-9]{{0,9}}[{''.join(INTERVAL_UNITS)}]",
    f"a number and a unit out of {', '.join(INTERVAL_UNITS)}, such as '5m' or '1h'",
)

Interval = Annotated[str, _RULE]


def parse_interval(text: str) -> np.timedelta64:
    """The length of a bar, in nanoseconds.

    Raises: SpecError for anything but a positive number and a unit.

    >>> parse_interval("4h") / np.timedelta64(1, "m")
    np.float64(240.0)
    """
    try:
        _RULE.check(text)
    except SpecError as error:
        raise error.within("interval") from None
    return np.timedelta64(int(text[:-1]), INTERVAL_UNITS[text[-1]]).astype("timedelta64[ns]")


def same_interval(one: str, other: str) -> bool:
    """Whether two texts name one length.

    >>> same_interval("60m", "1h"), same_interval("1M", "1m")  # a month has no fixed length
    (True, False)
    """
    try:
        return one == other or bool(parse_interval(one) == parse_interval(other))
    except SpecError:
        return False


def interval_text(interval: np.timedelta64) -> str:
    """A length of time in the largest unit that it is a whole number of.

    >>> interval_text(np.timedelta64(3600, "s"))
    '1h'
    """
    for text, unit in reversed(INTERVAL_UNITS.items()):
        if interval % np.timedelta64(1, unit) == np.timedelta64(0):
            return f"{interval // np.timedelta64(1, unit)}{text}"
    return str(interval)

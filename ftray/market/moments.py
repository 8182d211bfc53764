"""Moments: times as text, ISO 8601 in UTC, such as `2024-01-01` or `2024-01-01T12:00`."""

import dataclasses
import datetime
from typing import Annotated

import numpy as np

from ftray.errors import SpecError
from ftray.spec import Matching


@dataclasses.dataclass(frozen=True)
class _Written(Matching):
    """A text of that form that names a day of the calendar and a time of that day."""

    def check(self, value: str) -> None:
        super().check(value)
        try:
            datetime.datetime.fromisoformat(value)
        except ValueError as error:
            raise SpecError(f"must be {self.words}; got {value!r}: {error}") from None


_RULE = _Written(
    "(?:19|20|21)[0-9]{2}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2})?Z?)?",
    "a date, or a date and a time in UTC, such as '2024-01-01' or '2024-01-01T12:00'",
)

Moment = Annotated[str, _RULE]


def parse_moment(text: str) -> np.datetime64:
    """The time that a text names, as datetime64[ns], UTC; a date names its first moment.

    Raises: SpecError for anything else.

    >>> str(parse_moment("2024-01-01 12:00"))
    '2024-01-01T12:00:00.000000000'
    """
    _RULE.check(text)
    return np.datetime64(text.removesuffix("Z"), "ns")


def moment_text(time: np.datetime64) -> str:
    """A time to the second, as ISO 8601 without a zone: it is UTC.

    >>> moment_text(np.datetime64("2024-01-01"))
    '2024-01-01T00:00:00'
    """
    return str(time.astype("datetime64[s]"))


def moment(time: np.datetime64) -> str:
    """A time to the second, as messages print it."""
    return "no time" if np.isnat(time) else moment_text(time).replace("T", " ")

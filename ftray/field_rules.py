"""Rules of a single field: a range, a form of text, the names of a table, a list without repetitions.

Takes: a value of the field's type. Gives: a SpecError that states what must hold; the same rule as keywords of JSON
Schema. Specs import them from `ftray.spec` and annotate their fields: `Annotated[float, Between(0.0, 1.0)]`.

>>> Between(above=0.0, high=1.0).keywords()
{'exclusiveMinimum': 0.0, 'maximum': 1.0}
>>> Matching(r"[a-z]+", "a word in lower case").check("Up")
Traceback (most recent call last):
ftray.errors.SpecError: must be a word in lower case; got 'Up'
"""

import contextlib
import dataclasses
import difflib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from ftray.errors import SpecError

NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
"""The form of a number as text."""

LISTED = 30
"""A message lists all known names up to this many, otherwise the first five."""


class Rule:
    """What a field's value must be, beyond its type; None passes."""

    def check(self, value: Any) -> None:
        """Raises: SpecError."""
        raise NotImplementedError

    def keywords(self) -> dict[str, Any]:
        """The rule as keywords of JSON Schema, as far as it can be expressed there."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Between(Rule):
    """A range that a number must be in: from `low` to `high`, both included, or above `above` and below `below`, both
    excluded. An end of None is unbounded."""

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None

    def check(self, value: float) -> None:
        inside = (
            (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )
        if not inside:
            raise SpecError(f"must be {self}, got {value!r}")

    def keywords(self) -> dict[str, Any]:
        ends = {"minimum": self.low, "exclusiveMinimum": self.above, "maximum": self.high}
        return {name: end for name, end in {**ends, "exclusiveMaximum": self.below}.items() if end is not None}

    def __str__(self) -> str:
        if self.low is not None and self.high is not None:
            return f"between {_end(self.low)} and {_end(self.high)}"
        ends = (("at least", self.low), ("above", self.above), ("at most", self.high), ("below", self.below))
        return " and ".join(f"{word} {_end(end)}" for word, end in ends if end is not None)


def _end(end: float) -> str:
    return str(end) if isinstance(end, int) else f"{end:g}"


@dataclasses.dataclass(frozen=True)
class Matching(Rule):
    """A regular expression that a whole text must match, and what such a text is, in words.

    The expression must mean the same in Python and in ECMA 262, whose dialect JSON Schema uses: no named groups.
    secret: the message does not repeat the text, which may hold a password.
    """

    pattern: str
    words: str
    secret: bool = False

    def check(self, value: str) -> None:
        if not re.fullmatch(self.pattern, value):
            raise SpecError(f"must be {self.words}" + ("" if self.secret else f"; got {value!r}"))

    def keywords(self) -> dict[str, Any]:
        return {"pattern": f"^(?:{self.pattern})$", "patternErrorMessage": f"must be {self.words}"}


class Table(Protocol):
    """What has names, and says what is wrong with one that it has not: `ftray.families.Family`."""

    def __contains__(self, name: object, /) -> bool: ...
    def __iter__(self) -> Iterator[str]: ...
    def unknown(self, name: str) -> str: ...


@dataclasses.dataclass(frozen=True, eq=False)
class NameIn(Rule):
    """A name in a table, as the table is when the name is parsed: a plug-in may have added to it."""

    table: Table

    def check(self, value: str) -> None:
        if value not in self.table:
            raise SpecError(self.table.unknown(value))

    def keywords(self) -> dict[str, Any]:
        return {"enum": list(self.table)}


@dataclasses.dataclass(frozen=True)
class Distinct(Rule):
    """A list that is not empty and names nothing twice, in whatever case with `fold`. noun: what it lists."""

    noun: str
    fold: bool = False

    def check(self, value: Sequence[str]) -> None:
        if not value:
            raise SpecError(f"must name at least one {self.noun}, or be left out")
        seen: set[str] = set()
        for i, name in enumerate(value):
            key = name.casefold() if self.fold else name
            if key in seen:
                raise SpecError(f"names {name!r} twice; leave one", (str(i),))
            seen.add(key)

    def keywords(self) -> dict[str, Any]:
        return {"minItems": 1, "uniqueItems": True}


def number(value: Any) -> float:
    """The finite number that a value is, or that a text has the form of: YAML 1.1 reads 1e-4, without a dot, as text.

    Raises: ValueError for anything else.
    """
    if isinstance(value, str) and not re.fullmatch(NUMBER, value):
        raise ValueError(f"must be a number, got {value!r}")
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):  # a whole number beyond every float
            if math.isfinite(found := float(value)):
                return found
    raise ValueError(f"must be a finite number, got {value!r}")


def nearest(word: str, known: Iterable[object]) -> str:
    """Ends a message about an unknown word: the nearest known one, and the known ones, or the first of many.

    >>> nearest("fe", ["fee", "slippage"])
    "did you mean 'fee'? Known: fee, slippage"
    """
    names = [str(name) for name in known]
    listed = ", ".join(names if len(names) <= LISTED else [*names[:5], f"... ({len(names)} in all)"])
    meant = closest(word, names)
    return (f"did you mean {meant!r}? " if meant else "") + f"Known: {listed}"


def closest(word: str, known: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The known word that is spelt most like this one; None if none is close. cutoff: of 1.0 for the same word."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)), None)

"""Windows: chronological ranges of bars for training, validation and test, with a purge gap between them.

An observation looks `lookback` bars back and a position is held for up to `holding` bars. Two windows that are closer
than the sum share information: the last labels of one are in the first observations of the next (López de Prado 2018,
Advances in Financial Machine Learning, chapter 7). Windows in time order need the purge alone: an embargo is for
training bars after an evaluated window, and here there are none.

What an observation looks back on is its lookback, and what its indicators remember before that: their warm-up. A study
that searches either one gives the largest of both to all its trials (`Reach`), so that one judge compares them: the
edges of windows and the first decisions in them do not depend on what a trial observes.
"""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Literal

from ftray.errors import DataError, SpecError
from ftray.market.candles import Candles, Segment
from ftray.spec import Between, Count, Index, spec


@dataclasses.dataclass(frozen=True, order=True)
class Window:
    """A contiguous range of bars `[start, stop)`; it may have gaps in time."""

    start: int
    stop: int

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def __str__(self) -> str:
        return f"[{self.start}, {self.stop})"

    def segments(self, candles: Candles) -> tuple[Segment, ...]:
        """The parts of the candles' segments inside this window, in time order, none empty."""
        parts = (segment.within(self.start, self.stop) for segment in candles.segments)
        return tuple(part for part in parts if len(part))


Pieces = Window | Sequence[Window]
"""A window, or the separate windows of one side of a fold: nothing is ever carried over the seams between them."""


def pieces(window: Pieces) -> tuple[Window, ...]:
    """The windows that are meant, in time order."""
    return (window,) if isinstance(window, Window) else tuple(sorted(window))


Part = Annotated[float, Between(0.0, below=1.0)]
"""A fraction of all bars that leaves some."""


@spec
class WindowsSpec:
    """One training, validation and test window, in time order.

    validation: fraction of all bars that policies are validated on; training gets the bars before, less the purge gap.
    test: fraction of all bars at the end, which `ftray promote` alone reads; 0: none, and no purge gap before.
    purge: bars left out between two windows; None: lookback + holding, the least without leakage.
    holding: bars that a position or a label may reach into the future.
    lookback: bars that decisions wait for in every window, and that the purge is for; None: `features.lookback`, or the
        largest that the study searches.
    warm_up: bars that decisions wait for before that, in which indicators become known; None: what the trial's
        indicators need, or the most that those of the study's trials need.
    """

    kind: Literal["single"] = "single"
    validation: Annotated[float, Between(above=0.0, below=1.0)] = 0.15
    test: Part = 0.15
    purge: Index | None = None
    holding: Count = 24
    lookback: Count | None = None
    warm_up: Index | None = None

    def check(self) -> None:
        if self.validation + self.test >= 1:
            raise SpecError(
                f"validation + test must leave bars for training: below 1, got {self.validation:g} + {self.test:g}"
            )


@dataclasses.dataclass(frozen=True)
class Reach:
    """How far back the decisions look that windows are made for.

    lookback: bars of an observation, the deciding bar included. warm_up: bars before those that indicators need.
    """

    lookback: int
    warm_up: int = 0

    def within(self, lookback: int | None, warm_up: int | None) -> "Reach":
        """The reach that windows give, where they give one: it is for observations that look back this far.

        Raises: SpecError for a given one that is smaller.
        """
        for name, given in (("lookback", lookback), ("warm_up", warm_up)):
            if given is not None and given < getattr(self, name):
                raise SpecError(
                    f"must be at least what the trial's observations need, {getattr(self, name)} bars, got {given}; "
                    "leave it out to get exactly that",
                    (name,),
                )
        return Reach(
            self.lookback if lookback is None else lookback,
            self.warm_up if warm_up is None else warm_up,
        )


@dataclasses.dataclass(frozen=True)
class Windows:
    """What one policy trains on, is validated on and, once, tested on; no window closer to another than the purge gap.

    train, validation: separate windows in time order. test: after all of them; empty if there is none.
    gap_before, gap_after: bars before and after an evaluated window that no weights may be trained on.
    """

    train: tuple[Window, ...]
    validation: tuple[Window, ...]
    test: Window
    gap_before: int = 0
    gap_after: int = 0


def split(n_bars: int, spec: WindowsSpec, lookback: int, warm_up: int = 0) -> Windows:
    """The only fold of a market with `n_bars` bars, observed through `lookback` bars after `warm_up` more.

    Raises: SpecError for a purge below lookback + holding, or a reach of the spec below what is observed; DataError for
    a window too short for one observation and the holding horizon after it.

    >>> windows = split(1_000, WindowsSpec(), lookback=60)
    >>> print(*windows.train, *windows.validation, windows.test)
    [0, 532) [616, 766) [850, 1000)
    """
    reach = Reach(lookback, warm_up).within(spec.lookback, spec.warm_up)
    least = reach.lookback + spec.holding
    purge = purge_gap(spec.purge, spec.holding, reach.lookback)
    n_validation, n_test = round(n_bars * spec.validation), round(n_bars * spec.test)
    n_gaps = 2 if spec.test else 1
    n_train = n_bars - n_validation - n_test - n_gaps * purge
    lengths = {"train": n_train, "validation": n_validation} | ({"test": n_test} if spec.test else {})
    for name, length in lengths.items():
        if length < least:
            gaps = f"{n_gaps} purge gap{'s' * (n_gaps > 1)} of {purge}"
            raise DataError(
                f"the {name} window must hold at least lookback + holding = {reach.lookback} + {spec.holding} = "
                f"{least} bars, got {max(length, 0)} ({n_bars} bars in all, less {gaps}, validation "
                f"{spec.validation:g}, test {spec.test:g}); take more candles, a shorter lookback or other fractions"
            )
    validation = Window(n_train + purge, n_train + purge + n_validation)
    test = Window(n_bars - n_test, n_bars)
    return Windows((Window(0, n_train),), (validation,), test, purge, purge + reach.warm_up)


def purge_gap(purge: int | None, holding: int, lookback: int) -> int:
    """Bars to leave out between two windows: `purge`, or for None lookback + holding, the least without leakage.

    Raises: SpecError for a purge below that.
    """
    reach = lookback + holding
    if purge is None:
        return reach
    if purge < reach:
        raise SpecError(
            f"must be at least lookback + holding = {lookback} + {holding} = {reach} bars, got {purge}; "
            "leave it out to get exactly that",
            ("purge",),
        )
    return purge

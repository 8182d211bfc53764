"""Folds: several pairs of training and validation over one market, and the test window outside all of them.

Takes: a number of bars, a spec (`kind: single | walk_forward | combinatorial`), lookback and warm-up. Gives: `Folds`.

What a fold trains on and what it is validated on are lists of separate windows, each contiguous. They are never joined:
from one window to the next prices jump by whatever happened in the bars between, and an account that is carried over
such a seam earns returns that nobody could have traded. Returns of windows may be chained, prices and positions not.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

from ftray.errors import DataError, SpecError
from ftray.market.windows import Reach, Window, Windows, WindowsSpec, purge_gap, split
from ftray.spec import Between, Count, Fraction, Index, spec


@spec
class WalkForwardSpec:
    """Validation windows one after the other, each after the bars that its policy has trained on.

    The development bars are all but the test window and its purge gap.

    n_folds: validation windows; they follow each other without a gap and end where the development bars end.
    train: fraction of the development bars before the first validation window.
    expanding: whether every fold trains on all bars before its validation; else it trains on as many as the first fold.
    test: fraction of all bars at the end, outside all folds.
    purge: bars left out between two windows; None: lookback + holding, the least without leakage.
    holding: bars that a position or a label may reach into the future.
    lookback: bars that decisions wait for in every window, and that the purge is for; None: `features.lookback`, or the
        largest that the study searches.
    warm_up: bars that decisions wait for before that, in which indicators become known; None: what the trial's
        indicators need, or the most that those of the study's trials need.
    """

    kind: Literal["walk_forward"] = "walk_forward"
    n_folds: Count = 4
    train: Fraction = 0.5
    expanding: bool = True
    test: Fraction = 0.15
    purge: Index | None = None
    holding: Count = 24
    lookback: Count | None = None
    warm_up: Index | None = None


@spec
class CombinatorialSpec:
    """Combinatorial purged cross-validation: every choice of some groups of bars is validated on, once.

    The development bars are all but the test window and its purge gap. They make
    C(n_groups, n_validation_groups) folds, from which C(n_groups − 1, n_validation_groups − 1) whole paths over the
    development bars are rebuilt.

    n_groups: contiguous groups of equal length (± 1 bar) that the development bars are cut into.
    n_validation_groups: groups that each fold is validated on, fewer than `n_groups`.
    embargo: fraction of the development bars left out of training after a validation window, on top of the purge:
        markets depend on their past for longer than observations reach. It is never shorter than the warm-up: until
        then, indicators remember the validation window.
    test: fraction of all bars at the end, outside all folds.
    purge: bars left out on both sides of a validation window; None: lookback + holding, the least without leakage.
    holding: bars that a position or a label may reach into the future.
    lookback: bars that decisions wait for in every window, and that the purge is for; None: `features.lookback`, or the
        largest that the study searches.
    warm_up: bars that decisions wait for before that, in which indicators become known; None: what the trial's
        indicators need, or the most that those of the study's trials need.

    Source: López de Prado 2018, Advances in Financial Machine Learning, chapter 12; purge and embargo: chapter 7.
    """

    kind: Literal["combinatorial"] = "combinatorial"
    n_groups: Annotated[int, Between(2)] = 6
    n_validation_groups: Count = 2
    embargo: Fraction = 0.01
    test: Fraction = 0.15
    purge: Index | None = None
    holding: Count = 24
    lookback: Count | None = None
    warm_up: Index | None = None

    def check(self) -> None:
        if self.n_validation_groups >= self.n_groups:
            raise SpecError(
                f"must leave groups to train on: below n_groups = {self.n_groups}, got {self.n_validation_groups}",
                ("n_validation_groups",),
            )


@dataclasses.dataclass(frozen=True)
class Fold:
    """What one policy trains on and is validated on: windows in time order, each side's never closer than the purge."""

    train: tuple[Window, ...]
    validation: tuple[Window, ...]


@dataclasses.dataclass(frozen=True)
class Folds:
    """All folds of a market.

    test: after every fold and a purge gap; empty if the spec asks for none.
    gap_before, gap_after: bars before and after an evaluated window that no weights may be trained on.
    """

    folds: tuple[Fold, ...]
    test: Window
    gap_before: int = 0
    gap_after: int = 0

    @property
    def windows(self) -> tuple[Windows, ...]:
        """Each fold with the test window."""
        return tuple(
            Windows(one.train, one.validation, self.test, self.gap_before, self.gap_after) for one in self.folds
        )

    def paths(self) -> tuple[tuple[tuple[int, Window], ...], ...]:
        """Paths over the validated bars: each is a tuple of (index of a fold, one of its validation windows).

        A path goes through every validation window once, in time order; path p takes it from the p-th fold that is
        validated on it. Single and walk-forward folds have one path.
        """
        validated: dict[Window, list[int]] = {}
        for i, fold in enumerate(self.folds):
            for window in fold.validation:
                validated.setdefault(window, []).append(i)
        n_paths = min(map(len, validated.values()))
        return tuple(tuple((validated[w][path], w) for w in sorted(validated)) for path in range(n_paths))


FoldsSpec = WindowsSpec | WalkForwardSpec | CombinatorialSpec


def n_folds(spec: FoldsSpec) -> int:
    """How many folds a spec makes of any market."""
    match spec:
        case WindowsSpec():
            return 1
        case WalkForwardSpec():
            return spec.n_folds
        case CombinatorialSpec():
            return math.comb(spec.n_groups, spec.n_validation_groups)


def fold(n_bars: int, spec: FoldsSpec, lookback: int, warm_up: int = 0) -> Folds:
    """The folds of a market with `n_bars` bars, observed through `lookback` bars after `warm_up` more.

    warm_up: bars before an observation that its indicators remember.

    Raises: SpecError for a purge below lookback + holding, or a reach of the spec below what is observed; DataError for
    a window too short for one observation and the holding horizon after it.

    >>> for one in fold(1_000, WalkForwardSpec(n_folds=2, test=0.0, holding=20), lookback=80).folds:
    ...     print(one)
    Fold(train=(Window(start=0, stop=400),), validation=(Window(start=500, stop=750),))
    Fold(train=(Window(start=0, stop=650),), validation=(Window(start=750, stop=1000),))
    """
    return FOLDS[spec.kind](n_bars, spec, Reach(lookback, warm_up).within(spec.lookback, spec.warm_up))


def _single(n_bars: int, spec: WindowsSpec, reach: Reach) -> Folds:
    windows = split(n_bars, spec, reach.lookback, reach.warm_up)
    return Folds((Fold(windows.train, windows.validation),), windows.test, windows.gap_before, windows.gap_after)


def _walk_forward(n_bars: int, spec: WalkForwardSpec, reach: Reach) -> Folds:
    purge, n_developed, test = _development(n_bars, spec, reach)
    first = round(n_developed * spec.train)
    starts = _edges(first, n_developed, spec.n_folds)
    folds = tuple(
        Fold((Window(0 if spec.expanding else start - first, start - purge),), (Window(start, stop),))
        for start, stop in itertools.pairwise(starts)
    )
    return _checked(Folds(folds, test, purge, purge + reach.warm_up), spec, reach)


def _combinatorial(n_bars: int, spec: CombinatorialSpec, reach: Reach) -> Folds:
    purge, n_developed, test = _development(n_bars, spec, reach)
    # An indicator remembers the validation window for as long as its warm-up, and an observation reads `lookback` bars
    # of it: of all windows, only these train on bars after those that they are validated on.
    after = purge + max(math.ceil(n_developed * spec.embargo), reach.warm_up)
    groups = [Window(*edges) for edges in itertools.pairwise(_edges(0, n_developed, spec.n_groups))]
    folds = tuple(
        Fold(_around(validation, n_developed, purge, after), validation)
        for validation in itertools.combinations(groups, spec.n_validation_groups)
    )
    return _checked(Folds(folds, test, purge, after), spec, reach)


FOLDS: dict[str, Callable[[int, Any, Reach], Folds]] = {
    "single": _single,
    "walk_forward": _walk_forward,
    "combinatorial": _combinatorial,
}


def _development(n_bars: int, spec: WalkForwardSpec | CombinatorialSpec, reach: Reach) -> tuple[int, int, Window]:
    """The purge gap, how many bars the folds share, and the test window after them."""
    purge = purge_gap(spec.purge, spec.holding, reach.lookback)
    n_test = round(n_bars * spec.test)
    return purge, max(0, n_bars - n_test - (purge if n_test else 0)), Window(n_bars - n_test, n_bars)


def _edges(start: int, stop: int, n: int) -> list[int]:
    """The n + 1 edges of n ranges of equal length (± 1) between two bars."""
    return [start + i * (stop - start) // n for i in range(n + 1)]


def _around(holes: tuple[Window, ...], stop: int, before: int, after: int) -> tuple[Window, ...]:
    """What is left of `[0, stop)` outside some windows, less so many bars before and after each of them."""
    starts = [0, *(hole.stop + after for hole in holes)]
    stops = [*(hole.start - before for hole in holes), stop]
    return tuple(Window(a, b) for a, b in zip(starts, stops, strict=True) if b > a)


def _checked(folds: Folds, spec: WalkForwardSpec | CombinatorialSpec, reach: Reach) -> Folds:
    least = reach.lookback + spec.holding
    shortest = min(len(window) for one in folds.folds for window in one.validation)
    longest = min(max(map(len, one.train), default=0) for one in folds.folds)
    lengths = {"validation": shortest, "train": longest} | ({"test": len(folds.test)} if spec.test else {})
    for name, length in lengths.items():
        if length < least:
            raise DataError(
                f"the {name} windows of every fold must hold at least lookback + holding = {reach.lookback} + "
                f"{spec.holding} = {least} bars, got {max(length, 0)} ({folds.test.stop} bars in all, "
                f"{len(folds.folds)} folds); take more candles, fewer folds, a shorter lookback or other fractions"
            )
    return folds

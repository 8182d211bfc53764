"""The lookback and the windows that fit candles: as many folds as leave each of them enough bars.

Takes: the runs of bars without a gap in time. Gives: a `Fit`, the folds with their usable bars counted.
A bar is usable where a policy could decide: after the warm-up of its run, with its whole lookback inside the window.
"""

import bisect
import dataclasses
from collections.abc import Sequence

from ftray.errors import DataError
from ftray.features import FeatureSpec
from ftray.market import Folds, FoldsSpec, Pieces, Segment, WalkForwardSpec, Window, WindowsSpec, fold, n_folds, pieces
from ftray.nets import FTSpec
from ftray.pretraining import PretrainingSpec
from ftray.pretraining.samples import cut_off

LOOKBACKS = (60, 24, 12)
"""Bars that an observation looks back, the reference's first; a shorter one is for candles too few for a longer one."""

MIN_TRAIN, MIN_EVALUATED = 400, 100
"""Usable bars of a train window, and of a validation or test window, below which no study is worth its time."""

MIN_FOLD_TRAIN, MIN_FOLD_EVALUATED = 1_500, 400
"""The same for several folds; with fewer bars, one longer split gives a more precise result."""

MIN_LABELLED = 16
"""Bars with a label that either part of a pre-training's window must have at the least."""

MOST = 100_000
"""More bars than the smallest windows need, where the search for their number ends."""

FOLDS = (4, 2)
"""Numbers of walk-forward folds, the most first."""

SPLITS = ((0.15, 0.15), (0.2, 0.2))
"""Shares of a single split for validation and for test."""


@dataclasses.dataclass(frozen=True)
class Fit:
    """Windows that fit candles.

    n_train, n_validation: usable bars of each fold. n_test: of the test window.
    """

    lookback: int
    windows: FoldsSpec
    folds: Folds
    n_train: tuple[int, ...]
    n_validation: tuple[int, ...]
    n_test: int

    @property
    def n_folds(self) -> int:
        return len(self.folds.folds)


def fits(segments: Sequence[Segment]) -> list[Fit]:
    """Every choice of windows that fits, under the longest lookback that has one: most folds first, one split last.

    segments: the candles' runs of bars without a gap in time.
    Raises: DataError with the bars that are needed and those that there are.
    """
    for lookback in LOOKBACKS:
        choices: list[FoldsSpec] = [WalkForwardSpec(n_folds=n) for n in FOLDS]
        found = [fit for fit in (_fit(segments, spec, lookback) for spec in [*choices, *_splits()]) if fit is not None]
        if found:
            return [fit for fit in found if fit.n_folds > 1] + [fit for fit in found if fit.n_folds == 1][:1]
    raise DataError(_too_few(segments))


def usable_runs(segments: Sequence[Segment], window: Pieces, lookback: int) -> list[int]:
    """How many usable bars each unbroken run inside a window has, as `FeatureTable.decision_segments` has them."""
    warm_up = FeatureSpec().warm_up
    inside = (
        Segment(segment.start + warm_up, segment.stop).within(piece.start, piece.stop)
        for piece in pieces(window)
        for segment in segments
        if len(segment) > warm_up
    )
    return [n for n in (len(run) - lookback + 1 for run in inside) if n > 0]


def _fit(segments: Sequence[Segment], spec: FoldsSpec, lookback: int) -> Fit | None:
    """The counted windows; None where one of them has too few usable bars."""
    try:
        folds = fold(segments[-1].stop, spec, lookback)
    except DataError:
        return None
    trains, validations = ([getattr(one, side) for one in folds.folds] for side in ("train", "validation"))
    n_train, n_validation = ([sum(usable_runs(segments, w, lookback)) for w in side] for side in (trains, validations))
    n_test = sum(usable_runs(segments, folds.test, lookback))
    several = n_folds(spec) > 1
    enough_train, enough = (MIN_FOLD_TRAIN, MIN_FOLD_EVALUATED) if several else (MIN_TRAIN, MIN_EVALUATED)
    if min(n_train) < enough_train or min(n_validation) < enough or n_test < MIN_EVALUATED:
        return None
    if not all(_can_pretrain(segments, train, lookback) for train in trains):
        return None
    return Fit(lookback, spec, folds, tuple(n_train), tuple(n_validation), n_test)


def _can_pretrain(segments: Sequence[Segment], train: tuple[Window, ...], lookback: int) -> bool:
    """Whether both parts of a train window have bars whose label lies in them too, as `draw_samples` needs."""
    spec = PretrainingSpec()
    reach = spec.reach(FTSpec())
    parts = cut_off(train, round(sum(map(len, train)) * spec.validation))
    return all(max(usable_runs(segments, part, lookback), default=0) > reach + MIN_LABELLED for part in parts)


def _too_few(segments: Sequence[Segment]) -> str:
    lookback, holding, warm_up = LOOKBACKS[-1], WindowsSpec().holding, FeatureSpec().warm_up
    least = bisect.bisect_left(
        range(MOST), True, key=lambda n: any(_fit([Segment(0, n)], split, lookback) for split in _splits())
    )
    n, longest = sum(map(len, segments)), max(map(len, segments))
    return (
        f"the smallest windows need {least:,} bars in one unbroken run ({warm_up} of warm-up; train, validation and "
        f"test under a lookback of {lookback}; {lookback} + {holding} bars between two of them), and all files share "
        f"{n:,}, in {len(segments)} run(s), the longest of {longest:,}: take a longer history or a shorter interval, "
        "or leave out, with --symbols, the files that are short or have gaps"
    )


def _splits() -> list[FoldsSpec]:
    return [WindowsSpec(validation=validation, test=test) for validation, test in SPLITS]

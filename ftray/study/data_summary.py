"""What a study's candles hold, and the windows that they are cut into, printed before it runs.

Takes: a trial of the study; all of them have the same candles and windows. Gives: lines.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from ftray.boards.terminal import align
from ftray.features import Dataset, dataset_of
from ftray.market import (
    Candles,
    FilesSpec,
    Quality,
    Window,
    load_market,
    moment,
    parse_moment,
    quality_of,
    survey_candles,
)
from ftray.market.candles import unbroken_runs
from ftray.market.intervals import interval_text
from ftray.market.overlap import Overlap
from ftray.market.quality import AROUND, LONGEST_SPIKE, SPIKE, VOLUME_SPIKE
from ftray.trial import TrialSpec


def describe_data(trial: TrialSpec, *, every_file: bool = True) -> Iterator[str]:
    """Lines about the candles: what all assets share, each of them, what can hardly be real, which file costs most.

    every_file: False leaves out the table with a line for each asset.

    Raises: DataError for candles that cannot be used.
    """
    candles = load_market(trial.market)
    bars = f"{len(candles):,} common bars of {interval_text(candles.interval)}"
    span, n_gaps = f"{moment(candles.times[0])} to {moment(candles.times[-1])}", len(candles.segments) - 1
    yield f"  candles       {candles.n_assets} assets, {bars}, {span}, {n_gaps} gaps"
    overlap, qualities = _overlap(trial, candles), quality_of(candles)
    if every_file:
        for line in align(list(_rows(candles, overlap, qualities)), left=(0,)):
            yield f"    {line}"
    yield from _odd(candles, qualities)
    if overlap:
        yield from _expensive(candles, overlap)


def describe_windows(trial: TrialSpec, candles: Candles) -> Iterator[str]:
    """A line for each window of each fold: its bars, its dates, and at how many bars a policy decides there.

    Raises: DataError for a window without such a bar.
    """
    rows = [("window", "bars", "from (UTC)", "to", "decisions")]
    datasets = [dataset_of(candles, trial.windows, trial.features, fold) for fold in range(trial.n_folds)]
    for fold, dataset in enumerate(datasets):
        named = f" {fold}" if len(datasets) > 1 else ""
        rows += [_window_row(f"train{named}", window, dataset) for window in dataset.windows.train]
        rows += [_window_row(f"validation{named}", window, dataset) for window in dataset.windows.validation]
    last = datasets[-1]
    if len(last.windows.test):
        rows.append(_window_row("test", last.windows.test, last))
    for line in align(rows, left=(0, 2, 3)):
        yield f"    {line}"


def _window_row(name: str, window: Window, dataset: Dataset) -> tuple[str, str, str, str, str]:
    times = dataset.candles.times
    decisions = len(dataset.table.decision_bars(window))
    return name, f"{len(window):,}", moment(times[window.start]), moment(times[window.stop - 1]), f"{decisions:,}"


def _overlap(trial: TrialSpec, candles: Candles) -> "tuple[Overlap, list[np.ndarray]] | None":
    """The bars of each file, between the market's `from` and `to`; None for a market without files."""
    market = trial.market
    if not isinstance(market, FilesSpec):
        return None
    reach = trial.features.reach
    survey = survey_candles(market.path, reach.lookback + reach.warm_up, market.interval, candles.symbols)
    times = [_between(file.times, market.from_, market.to) for file in survey.files]
    return Overlap(times, candles.interval, reach.lookback + reach.warm_up), times


def _between(times: np.ndarray, first: str | None, stop: str | None) -> np.ndarray:
    """The times from `first` on and before `stop`. Shape: (T,) → (T',)."""
    after = 0 if first is None else int(np.searchsorted(times, parse_moment(first)))
    before = len(times) if stop is None else int(np.searchsorted(times, parse_moment(stop)))
    return times[after:before]


def _rows(
    candles: Candles, overlap: "tuple[Overlap, list[np.ndarray]] | None", qualities: Sequence[Quality]
) -> Iterator[tuple[str, ...]]:
    """A row per asset: of its own file, where it has one."""
    false = ("false prices", "false volumes")
    yield ("asset", "bars", "from (UTC)", "to", "gaps", *false, "bars without a move", "usable bars lost")
    everyone = range(candles.n_assets)
    for a, quality in enumerate(qualities):
        times = overlap[1][a] if overlap else candles.times
        n_gaps = len(unbroken_runs(times, candles.interval)) - 1
        lost = f"{overlap[0].cost(everyone, a):,}" if overlap else "-"
        span = (moment(times[0]), moment(times[-1]))
        false = (str(sum(last - first + 1 for first, last in quality.spikes)), str(len(quality.volume_spikes)))
        yield (quality.symbol, f"{len(times):,}", *span, str(n_gaps), *false, f"{quality.still:,}", lost)


def _odd(candles: Candles, qualities: Sequence[Quality]) -> Iterator[str]:
    """What can hardly be real, with where it is."""
    for one in qualities:
        if one.longest is not None:
            first, last = (moment(candles.times[at]) for at in one.longest)
            yield f"  no move       {one.symbol} has {one.still:,} bars without a move, the most from {first} to {last}"
        if one.spikes:
            yield (
                f"  false price?  {one.symbol} leaves what comes before and after by a factor of {SPIKE:g} or more for "
                f"up to {LONGEST_SPIKE} bars, {_at(candles, one.spikes)}: backtests trade at such prices"
            )
        if one.volume_spikes:
            yield (
                f"  false volume? {one.symbol} has {VOLUME_SPIKE:g} times the volume of the busiest of {AROUND} bars "
                f"on either side, or more, {_at(candles, [(bar, bar) for bar in one.volume_spikes])}"
            )


def _at(candles: Candles, runs: Sequence[tuple[int, int]]) -> str:
    """When the first of some runs of bars begin, and how many more there are."""
    first = ", ".join(
        moment(candles.times[start]) + (f" ({stop - start + 1} bars)" if stop > start else "")
        for start, stop in runs[:3]
    )
    return f"at {first}" + (f" and {len(runs) - 3} more" if len(runs) > 3 else "")


def _expensive(candles: Candles, overlap: tuple[Overlap, list[np.ndarray]]) -> Iterator[str]:
    """The files that the others are better without, and how to leave them out."""
    bars, _ = overlap
    kept, everyone = bars.worth_keeping(), list(range(candles.n_assets))
    if kept == everyone:
        return
    out = ", ".join(candles.symbols[a] for a in everyone if a not in kept)
    names = ",".join(candles.symbols[a] for a in kept)
    yield (
        f"  costly        with {out} all files share {bars.n_usable(everyone):,} usable bars, without "
        f"{bars.n_usable(kept):,}: --set 'trial.market.symbols=[{names}]'"
    )

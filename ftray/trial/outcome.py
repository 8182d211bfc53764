"""A backtest on the validation windows as the run folder keeps it: bar by bar, with the regime of each bar.

Takes: backtests, and the dataset that they are of. Gives: what `ftray.tables.bars` writes.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ftray import stats
from ftray.features import Dataset
from ftray.market import Window
from ftray.tables.bars import Outcome, write_benchmarks, write_outcome
from ftray.trading import Backtest
from ftray.trial.progress import Run

REGIME_DAYS = 14
"""Days that a regime looks back."""


def keep_outcome(folder: Path, run: Run, dataset: Dataset, outcome: Backtest) -> None:
    """Writes what a run's policy did beside the trial's events."""
    write_outcome(Path(folder), run.fold, run.seed, _plain(outcome, regimes_of(dataset)))


def keep_benchmarks(run_folder: Path, fold: int, dataset: Dataset, outcomes: Mapping[str, Backtest]) -> None:
    """Writes what everyone could have had on a fold's validation windows."""
    regimes = regimes_of(dataset)
    write_benchmarks(run_folder, fold, {name: _plain(outcome, regimes) for name, outcome in outcomes.items()})


def regimes_of(dataset: Dataset) -> np.ndarray:
    """The regime of every bar by the thresholds of the train windows. Shape: (T,) int8.

    All unknown, where no train window has so many days without a hole.
    """
    candles, train = dataset.candles, dataset.windows.train
    lookback = max(2, round(REGIME_DAYS * candles.bars_per_day))
    inside = [part for window in train for part in window.segments(candles)]
    try:
        closes = candles.column("close")
        thresholds = stats.regime_thresholds(closes, inside, Window(0, len(candles)), lookback=lookback)
        return stats.regime_labels(closes, candles.segments, thresholds, lookback=lookback)
    except ValueError:
        return np.full(len(candles), stats.UNKNOWN, np.int8)


def _plain(outcome: Backtest, regimes: np.ndarray) -> Outcome:
    return Outcome(
        times=outcome.times,
        returns=outcome.returns,
        equity=outcome.equity,
        exposure=outcome.weights.sum(axis=1),
        turnover=outcome.turnover,
        notional=outcome.notional,
        symbols=outcome.symbols,
        regimes=regimes[outcome.bars],
    )

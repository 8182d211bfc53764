"""A backtest on the validation windows as the run folder stores it: bar by bar, with the regime of each bar.

Takes: backtests, and the dataset that they are of. Gives: what `ftray.tables.bars` writes.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ftray import stats
from ftray.features import Dataset
from ftray.market import Window
from ftray.tables.bars import BarRecord, write_bars, write_benchmarks
from ftray.tables.schema import Frame
from ftray.trading import Backtest
from ftray.trial.progress import Training

REGIME_DAYS = 14
"""Days of past returns that determine the regime of a bar."""


def save_backtest(
    folder: Path, training: Training, dataset: Dataset, backtest: Backtest, trial: str | None = None
) -> None:
    """Writes the backtest of a training's policy.

    folder: the trial's. trial: its id, where the folder has another name.
    """
    write_bars(folder, training.fold, training.seed, _bar_record(backtest, regimes_of(dataset)), trial)


def save_benchmarks(run_folder: Path, fold: int, dataset: Dataset, backtests: Mapping[str, Backtest]) -> None:
    """Writes the backtests of the benchmarks on a fold's validation windows."""
    regimes = regimes_of(dataset)
    write_benchmarks(run_folder, fold, {name: _bar_record(one, regimes) for name, one in backtests.items()})


def regimes_of(dataset: Dataset) -> np.ndarray:
    """The regime of every bar by the thresholds of the train windows. Shape: (T,) int8.

    All unknown if no train window has that many days without a gap.
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


def _bar_record(backtest: Backtest, regimes: np.ndarray) -> BarRecord:
    filled: Frame = backtest.fills()
    fills = {column: filled[column].to_numpy() for column in filled}
    return BarRecord(
        times=backtest.times,
        returns=backtest.returns,
        equity=backtest.equity,
        exposure=backtest.weights.sum(axis=1),
        turnover=backtest.turnover,
        fees=backtest.fees.sum(axis=1),
        slippage=backtest.slippage.sum(axis=1),
        regimes=regimes[backtest.bars],
        symbols=backtest.symbols,
        weights=backtest.weights,
        fills=fills,
    )

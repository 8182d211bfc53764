"""The samples of a pre-training job: bars whose window and label both lie inside their part of the train window.

Takes: a dataset. Gives: `Samples` to fit and to validate on.

Legend: T bars, S series, A assets, L lookback.
"""

import dataclasses

import numpy as np

from ftray.errors import DataError, TrainingError
from ftray.features import Dataset
from ftray.market.windows import Window
from ftray.pretraining.spec import PretrainingSpec

MIN_VARIANCE = 1e-12
"""Floor of a bar's variance, so that prices that stand still have a logarithm."""


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """bars: (n,) int64, where windows end. volatility: (n, A) float32, the label of the pooled vector, standardised."""

    bars: np.ndarray
    volatility: np.ndarray

    def __len__(self) -> int:
        return len(self.bars)


def draw_samples(dataset: Dataset, spec: PretrainingSpec) -> tuple[Samples, Samples]:
    """The samples to fit and to validate on; the labels of both are standardised with statistics of the former.

    The train window is cut in two; windows and labels keep to their side of the cut, so the decision bars of one part
    are at least lookback + horizon away from those of the other, and nothing after the train window is read.

    Raises: DataError for a value that is not finite; TrainingError for a train window too short for either part.
    """
    train = dataset.windows.train
    cut = train.stop - round(len(train) * spec.validation)
    bars = {
        "training": labelled_bars(dataset, Window(train.start, cut), spec.horizon),
        "validation": labelled_bars(dataset, Window(cut, train.stop), spec.horizon),
    }
    for part, found in bars.items():
        if not len(found):
            raise TrainingError(
                f"the {part} part of the train window must hold an unbroken run of lookback + horizon = "
                f"{dataset.layout.lookback} + {spec.horizon} bars, and has none: the train window has {len(train)} "
                f"bars and is cut at bar {cut}; take more candles, a shorter horizon or another validation fraction"
            )
        _refuse_non_finite(dataset, found)
    close = dataset.candles.column("close")
    labels = {part: log_volatility(close, found, spec.horizon) for part, found in bars.items()}
    center, scale = labels["training"].mean(axis=0), np.maximum(labels["training"].std(axis=0), 1e-6)
    fit, validation = (
        Samples(bars[part], ((labels[part] - center) / scale).astype(np.float32)) for part in ("training", "validation")
    )
    return fit, validation


def log_volatility(close: np.ndarray, bars: np.ndarray, horizon: int) -> np.ndarray:
    """Log of the root mean square of the next `horizon` log returns after each bar. Shape: (T, A), (n,) → (n, A)."""
    squares = np.diff(np.log(close), axis=0) ** 2
    total = np.concatenate([np.zeros((1, close.shape[1])), np.cumsum(squares, axis=0)])
    variance = (total[bars + horizon] - total[bars]) / horizon
    return 0.5 * np.log(np.maximum(variance, MIN_VARIANCE))


def labelled_bars(dataset: Dataset, window: Window, horizon: int) -> np.ndarray:
    """The decision bars of a window whose next `horizon` bars lie in it too, with no hole between. Shape: (n,)."""
    runs = dataset.table.decision_segments(window)
    return np.concatenate([np.empty(0, np.int64), *(np.arange(run.start, run.stop - horizon) for run in runs)])


def _refuse_non_finite(dataset: Dataset, bars: np.ndarray) -> None:
    lookback = dataset.layout.lookback
    read = np.zeros(len(dataset.table.values), bool)
    for run in np.split(bars, np.flatnonzero(np.diff(bars) != 1) + 1):
        read[run[0] - lookback + 1 : run[-1] + 1] = True
    rows = np.flatnonzero(read)
    broken = ~np.isfinite(dataset.table.values[rows])
    if broken.any():
        row, series = np.argwhere(broken)[0]
        bar = int(rows[row])
        raise DataError(
            f"every feature that pre-training reads must be finite: {dataset.layout.series_name(int(series))} at bar "
            f"{bar} ({dataset.candles.times[bar]}) is {dataset.table.values[bar, series]}, the first of "
            f"{int(broken.sum())}; repair the candles or leave the indicator out"
        )

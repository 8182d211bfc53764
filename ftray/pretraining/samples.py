"""The samples of a pre-training job: bars whose window and label both lie inside one train window.

Takes: a dataset. Gives: `Samples` to fit and to validate on.

Legend: T bars, S series, A assets, L lookback, R labels of returns.
"""

import dataclasses

import numpy as np

from ftray.errors import DataError, TrainingError
from ftray.features import Dataset
from ftray.market import Pieces, Window
from ftray.nets import FTSpec
from ftray.pretraining.spec import PretrainingSpec

MIN_VARIANCE = 1e-12
"""Floor of a bar's variance, so that prices that stand still have a logarithm."""

MOST = 10.0
"""Standard deviations that a return counts at most."""


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """bars: (n,) int64, where windows end. labels: (n, A + R) float32, what the pooled vector predicts, standardised:
    volatility, then returns and ranks."""

    bars: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.bars)


def draw_samples(dataset: Dataset, encoder: FTSpec, spec: PretrainingSpec) -> tuple[Samples, Samples]:
    """The samples to fit an encoder and to validate it on; all labels are standardised with statistics of the former.

    The train windows, joined end to end, are cut in two; windows and labels keep to their side of the cut and to their
    piece, so the decision bars of one part are at least lookback + horizon away from those of the other, and no bar
    outside the train windows is read.

    Raises: DataError for a value that is not finite; TrainingError for train windows too short for either part.
    """
    train, reach = dataset.windows.train, spec.reach(encoder)
    n_bars = sum(map(len, train))
    sides = cut_off(train, round(n_bars * spec.validation))
    bars = {
        part: labelled_bars(dataset, side, reach) for part, side in zip(("training", "validation"), sides, strict=True)
    }
    for part, found in bars.items():
        if not len(found):
            raise TrainingError(
                f"the {part} part of the train window must hold an unbroken run of lookback + horizon = "
                f"{dataset.layout.lookback} + {reach} bars, and has none: the train window "
                f"{', '.join(map(str, train))} has {n_bars} bars, of which the last {spec.validation:g} are for "
                "validation; take more candles, a shorter horizon or another validation fraction"
            )
        _refuse_non_finite(dataset, found)
    close = dataset.candles.column("close")
    labels = {part: _labels(close, found, encoder, spec, dataset.layout.lookback) for part, found in bars.items()}
    center, scale = labels["training"].mean(axis=0), np.maximum(labels["training"].std(axis=0), 1e-6)
    fit, validation = (
        Samples(bars[part], ((labels[part] - center) / scale).astype(np.float32)) for part in ("training", "validation")
    )
    return fit, validation


def cut_off(train: tuple[Window, ...], n_last: int) -> tuple[tuple[Window, ...], tuple[Window, ...]]:
    """The windows without their last bars, and those bars; a window that the cut goes through is on both sides.

    >>> before, last = cut_off((Window(0, 100), Window(200, 230), Window(300, 310)), n_last=25)
    >>> print(*before, "|", *last)
    [0, 100) [200, 215) | [215, 230) [300, 310)
    """
    before: list[Window] = []
    last: list[Window] = []
    for window in reversed(train):
        cut = max(window.start, window.stop - n_last)
        n_last -= window.stop - cut
        before += [Window(window.start, cut)] * (cut > window.start)
        last += [Window(cut, window.stop)] * (window.stop > cut)
    return tuple(reversed(before)), tuple(reversed(last))


def thin(bars: np.ndarray, n: int) -> np.ndarray:
    """At most n of the bars, evenly spread."""
    return bars if len(bars) <= n else bars[np.linspace(0, len(bars) - 1, n).round().astype(int)]


def log_volatility(close: np.ndarray, bars: np.ndarray, horizon: int) -> np.ndarray:
    """Log of the root mean square of the next `horizon` log returns after each bar. Shape: (T, A), (n,) → (n, A)."""
    squares = np.diff(np.log(close), axis=0) ** 2
    total = np.concatenate([np.zeros((1, close.shape[1])), np.cumsum(squares, axis=0)])
    variance = (total[bars + horizon] - total[bars]) / horizon
    return 0.5 * np.log(np.maximum(variance, MIN_VARIANCE))


def _labels(close: np.ndarray, bars: np.ndarray, encoder: FTSpec, spec: PretrainingSpec, lookback: int) -> np.ndarray:
    """What the pooled vector predicts, not yet standardised. Shape: (T, A), (n,) → (n, A + R)."""
    found = [log_volatility(close, bars, spec.horizon)]
    for horizon in encoder.horizons if spec.return_weight else ():
        returns = scaled_returns(close, bars, horizon, lookback)
        found += [returns, ranks(returns)] if close.shape[1] > 1 else [returns]
    return np.concatenate(found, axis=1)


def scaled_returns(close: np.ndarray, bars: np.ndarray, horizon: int, lookback: int) -> np.ndarray:
    """Log returns over the next `horizon` bars, relative to their standard deviation were they like those of the
    lookback; at most ±`MOST`, since prices that stood still over the lookback have none. Shape: (T, A), (n,) → (n, A).
    """
    n_known = lookback - 1
    known = np.exp(log_volatility(close, bars - n_known, n_known)) if n_known else 1.0
    return np.clip(np.log(close[bars + horizon] / close[bars]) / (known * np.sqrt(horizon)), -MOST, MOST)


def ranks(values: np.ndarray) -> np.ndarray:
    """Each asset's place among the assets of its row, from −1 to 1. Shape: (n, A)."""
    return 2.0 * values.argsort(axis=1).argsort(axis=1) / (values.shape[1] - 1) - 1.0


def labelled_bars(dataset: Dataset, windows: Pieces, horizon: int) -> np.ndarray:
    """The decision bars of windows whose next `horizon` bars lie in them too, with no hole between. Shape: (n,)."""
    runs = dataset.table.decision_segments(windows)
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

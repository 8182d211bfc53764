"""The feature table: every indicator of every asset at every bar, scaled with statistics of the train window.

Takes: candles, a `FeatureSpec` and the train window. Gives: a `FeatureTable`, whose row t is a function of the bars up
to t alone, and which gives the windows of observations.

Legend: T bars, A assets, F indicators, S = F × A series, L lookback, B a batch of bars.
"""

import dataclasses
import functools

import numpy as np

from ftray.errors import DataError
from ftray.features.layout import ObservationLayout, check_accounts
from ftray.features.raw import raw_features
from ftray.features.scaling import Scaler, fit_scaler
from ftray.features.spec import FeatureSpec
from ftray.market import Candles, Pieces, Reach, Segment, Window, pieces
from ftray.numeric import whole_numbers


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureTable:
    """The scaled features of every bar.

    values: (T, S) float32; row t belongs to bar t of the candles. NaN where an indicator still warms up.
    segments: the runs of bars in which every feature is known, less the bars that decisions wait for.
    lookback: bars of a segment and of a window before the first decision in it, that bar included: at least those of
        an observation, and more where a study compares it with longer ones; None: those of an observation.
    """

    layout: ObservationLayout
    values: np.ndarray
    scaler: Scaler
    segments: tuple[Segment, ...]
    lookback: int | None = None

    def __post_init__(self) -> None:
        self.values.flags.writeable = False

    def __len__(self) -> int:
        return len(self.values)

    def decision_segments(self, window: Pieces) -> tuple[Segment, ...]:
        """The runs of bars at which a policy may decide, in time order.

        The whole lookback is known, unbroken and inside the window: of several, inside one of them.
        """
        known = (segment.within(w.start, w.stop) for w in pieces(window) for segment in self.segments)
        ready = (Segment(run.start + (self.lookback or self.layout.lookback) - 1, run.stop) for run in known)
        return tuple(run for run in ready if len(run))

    def decision_bars(self, window: Pieces) -> np.ndarray:
        """All bars of `decision_segments`, in time order. Shape: (n,) int64."""
        runs = [np.arange(run.start, run.stop) for run in self.decision_segments(window)]
        return np.concatenate(runs) if runs else np.empty(0, dtype=np.int64)

    def window(self, bars: np.ndarray) -> np.ndarray:
        """The market part of observations, the oldest bar first.

        Shape: bars (B,) int → (B, S, L) float32, a fresh array.
        Raises: DataError at a bar whose lookback is not wholly known, and for what is no list of whole numbers.
        """
        bars = whole_numbers(bars, "bars")
        inside = (bars >= 0) & (bars < len(self))
        if not (inside.all() and self._observable[bars].all()):
            unknown = bars[~(inside & self._observable[np.where(inside, bars, 0)])]
            raise DataError(
                f"a window needs {self.layout.lookback} known bars in one segment; bar {unknown[0]} "
                f"({len(unknown)} of {len(bars)} asked for) has fewer: take bars from decision_segments()"
            )
        return np.ascontiguousarray(self._windows[bars - self.layout.lookback + 1])

    def observation(self, bars: np.ndarray, account: np.ndarray) -> np.ndarray:
        """Full observations. Shape: bars (B,) int, account (B, 1 + A) → (B, size) float32.

        Raises: DataError as `window` does, and for accounts that are not cash and holdings as fractions of equity.
        """
        windows = self.window(bars)
        observation = np.empty((len(windows), self.layout.size), np.float32)
        observation[:, self.layout.account] = check_accounts(account, len(windows), self.layout.n_account)
        observation[:, self.layout.features] = windows.reshape(len(windows), self.layout.n_features)
        return observation

    @functools.cached_property
    def _windows(self) -> np.ndarray:
        """Every window, by its first bar. Shape: (T − L + 1, S, L), a view.

        The view is of a second table, in which the bars of a series are contiguous: an observation then copies runs of
        L values, which is three times as fast as picking one value per row.
        """
        by_series = np.ascontiguousarray(self.values.T)
        return np.lib.stride_tricks.sliding_window_view(by_series, self.layout.lookback, axis=1).swapaxes(0, 1)

    @functools.cached_property
    def _observable(self) -> np.ndarray:
        """Whether a bar has its whole lookback. Shape: (T,) bool."""
        observable = np.zeros(len(self), bool)
        observable[self.decision_bars(Window(0, len(self)))] = True
        return observable


def build_table(
    candles: Candles, spec: FeatureSpec, train: Pieces, reach: Reach | None = None, *, scaler: Scaler | None = None
) -> FeatureTable:
    """The features of all candles, with a scaler that has seen the bars of the train window, or windows, alone.

    reach: what decisions wait for (`reach_of`), at least what the spec needs; None: exactly that.
    scaler: one that was fitted before, in place of a new one; the train windows are then not looked at.

    Warns: DataWarning for series that never, or hardly, move in the train windows (`fit_scaler`).
    Raises: DataError if no bar of the train windows has its whole lookback.
    """
    reach = reach or spec.reach
    segments = tuple(Segment(s.start + reach.warm_up, s.stop) for s in candles.segments if len(s) > reach.warm_up)
    raw = raw_features(candles, spec)
    scaler = scaler or fit_scaler(raw, candles, _train_runs(segments, train, reach), spec)
    layout = ObservationLayout(candles.symbols, spec.indicators, spec.lookback)
    return FeatureTable(layout, scaler(raw), scaler, segments, reach.lookback)


def _train_runs(segments: tuple[Segment, ...], train: Pieces, reach: Reach) -> list[Segment]:
    """The runs of bars of the train windows in which every feature is known.

    Raises: DataError if none of them is a lookback long.
    """
    runs = [run for w in pieces(train) for run in (s.within(w.start, w.stop) for s in segments) if len(run)]
    if max(map(len, runs), default=0) < reach.lookback:
        raise DataError(
            f"the train window {', '.join(map(str, pieces(train)))} must hold an unbroken run of {reach.lookback} bars "
            f"after {reach.warm_up} bars of warm-up, and has none: take more candles or a shorter lookback"
        )
    return runs

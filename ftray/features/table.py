"""The feature table: every indicator of every asset at every bar, scaled with statistics of the train window.

Takes: candles, a `FeatureSpec` and the train window. Gives: a `FeatureTable`, whose row t is a function of the bars up
to t alone, and which gives the windows of observations.

Legend: T bars, A assets, F indicators, S = F × A series, L lookback, B a batch of bars.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np

from ftray.errors import DataError
from ftray.features.indicators import INDICATORS
from ftray.features.layout import ObservationLayout, check_accounts
from ftray.market import Candles, FoldsSpec, Pieces, Reach, Segment, Window, pieces, spiked_bars, still_bars
from ftray.numeric import whole_numbers
from ftray.spec import Between, Count, Distinct, NameIn, spec

IndicatorName = Annotated[str, NameIn(INDICATORS)]

LEAST_SCALE = 1e-9
"""What a series moves by at least; rounding is below."""

FAR = 15.0
"""Robust standard deviations from the median beyond which a value is winsorised. On four years of hourly candles this
lowers the scales of highs and lows by 7 to 9 %, and no other."""


@spec
class FeatureSpec:
    """What a policy observes of the market.

    lookback: bars of an observation, the deciding bar included.
    indicators: names in `ftray.features.INDICATORS`, in the order of the observation; by default all of this package,
        and none of a plug-in.
    clip: standard deviations of the train windows that a scaled feature is clipped at.
    scaling: what center and scale are of the train windows: `winsorised` mean and standard deviation, which neither a
        false price nor a stretch without trades moves (see `Scaler.fit`), or those of all bars as they are, `moments`.
    """

    lookback: Count = 60
    indicators: Annotated[tuple[IndicatorName, ...], Distinct("indicator")] = tuple(INDICATORS)
    clip: Annotated[float, Between(1.0)] = 8.0
    scaling: Literal["winsorised", "moments"] = "winsorised"

    @property
    def plugins(self) -> dict[str, str]:
        """The plug-ins that its indicators come from → hash of their source."""
        return INDICATORS.sources(self.indicators)

    @property
    def warm_up(self) -> int:
        """Bars at the start of every segment before all indicators are known."""
        return max(INDICATORS[name].warm_up for name in self.indicators)

    @property
    def reach(self) -> Reach:
        """How far back an observation looks: its lookback, and what its indicators remember before that."""
        return Reach(self.lookback, self.warm_up)


@dataclasses.dataclass(frozen=True, eq=False)
class Scaler:
    """Subtract `center`, divide by `scale`, clip at ±`clip`: one pair per series, from the bars of the train window.

    center, scale: (S,) float64. clip: in standard deviations.
    """

    center: np.ndarray
    scale: np.ndarray
    clip: float

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Scaled values; NaN stays NaN. Shape: (..., S) → (..., S) float32."""
        return np.clip((raw - self.center) / self.scale, -self.clip, self.clip).astype(np.float32)

    @classmethod
    def fit(
        cls, raw: np.ndarray, clip: float, *, scaling: str = "winsorised", used: np.ndarray | None = None
    ) -> "Scaler":
        """Mean and standard deviation of each series. Shape: raw (T, S), the bars of the train window alone.

        scaling: `winsorised`: of the bars that are `used`, with values beyond `FAR` robust standard deviations of the
            median (1.4826 times the median absolute deviation from it) taken as if they were there. Source: Wilcox
            2012, Introduction to Robust Estimation and Hypothesis Testing, sections 2.2 and 3.6. `moments`: of all bars
            as they are.
        used: (T, S) bars at which a series says something of the market; None: all. Not used are bars at which the
            asset was closed or not listed yet, and those that remember a false price.

        A series that never moves (a price that stays the same) is centred and left at its scale.
        """
        if scaling == "winsorised":
            used = np.ones(raw.shape, bool) if used is None else used
            moments = np.array([_winsorised_moments(raw[:, s], used[:, s]) for s in range(raw.shape[1])]).T
        else:
            moments = np.array([raw.mean(axis=0), raw.std(axis=0)])
        center, deviation = moments
        return cls(center, np.where(deviation > LEAST_SCALE, deviation, 1.0), clip)

    def to_mapping(self) -> dict[str, Any]:
        return {"center": self.center.tolist(), "scale": self.scale.tolist(), "clip": self.clip}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> "Scaler":
        return cls(np.array(mapping["center"], float), np.array(mapping["scale"], float), float(mapping["clip"]))


def _winsorised_moments(series: np.ndarray, used: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of one series, as `Scaler.fit` says. Shape: (T,), (T,) bool."""
    values = series[used] if used.any() else series
    median = np.median(values)
    reach = FAR * 1.4826 * np.median(np.abs(values - median))
    if reach > LEAST_SCALE:  # of a series that is mostly one value the others are no errors
        values = np.clip(values, median - reach, median + reach)
    return float(values.mean()), float(values.std())


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

    Raises: DataError if no bar of the train windows has its whole lookback.
    """
    reach = reach or spec.reach
    segments = tuple(Segment(s.start + reach.warm_up, s.stop) for s in candles.segments if len(s) > reach.warm_up)
    raw = raw_features(candles, spec)
    scaler = scaler or _fit(raw, candles, _train_runs(segments, train, reach), spec)
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


def _fit(raw: np.ndarray, candles: Candles, runs: list[Segment], spec: FeatureSpec) -> Scaler:
    """The scaler of some runs of bars; it looks at no other. Shape: raw (T, S)."""
    rows = np.concatenate([raw[run.start : run.stop] for run in runs])
    memories = [INDICATORS[name].warm_up for name in spec.indicators]
    used = np.concatenate([_real_bars(candles.values[run.start : run.stop], memories) for run in runs])
    return Scaler.fit(rows, spec.clip, scaling=spec.scaling, used=used)


def _real_bars(values: np.ndarray, memories: Sequence[int]) -> np.ndarray:
    """Bars at which an indicator of an asset knows neither a false price nor a stretch without a move.

    Shape: values (T, A, 5) → (T, F × A) bool. memories: (F,) bars that each indicator looks back.
    """
    unreal = still_bars(values) | spiked_bars(values)
    ends = np.argwhere(unreal[:-1] & ~unreal[1:])
    found = np.repeat(unreal[:, None], len(memories), axis=1)
    for f, memory in enumerate(memories):
        for at, asset in ends:
            found[at : at + memory + 2, f, asset] = True  # the bar after has its return from the false price, too
    return ~found.reshape(len(values), -1)


def reach_of(windows: FoldsSpec, features: FeatureSpec) -> Reach:
    """How far back the decisions look that windows are made for: as far as the features need, or as the windows say.

    Raises: SpecError for windows that say less than the features need.
    """
    return features.reach.within(windows.lookback, windows.warm_up)


def raw_features(candles: Candles, spec: FeatureSpec) -> np.ndarray:
    """Every indicator of every asset before scaling, each segment on its own; NaN while it warms up. Shape: (T, S)."""
    raw = np.full((len(candles), len(spec.indicators), candles.n_assets), np.nan)
    for segment in candles.segments:
        for asset in range(candles.n_assets):
            ohlcv = candles.values[segment.start : segment.stop, asset]
            for i, name in enumerate(spec.indicators):
                indicator = INDICATORS[name]
                if len(segment) > indicator.warm_up:
                    known = slice(segment.start + indicator.warm_up, segment.stop)
                    raw[known, i, asset] = indicator.compute(ohlcv)[indicator.warm_up :]
    return raw.reshape(len(candles), -1)

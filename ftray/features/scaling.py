"""How features are scaled: what of the train windows says how large they usually are.

Takes: features before scaling, their candles, the runs of bars of the train windows. Gives: a `Scaler`.

Legend: T bars, A assets, F indicators, S = F × A series.
"""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ftray.errors import DataWarning
from ftray.features.indicators import INDICATORS
from ftray.features.raw import fill_features
from ftray.features.spec import FeatureSpec
from ftray.market import Candles, Segment, honest_values, still_bars

LEAST_SCALE = 1e-9
"""What a series moves by at least; rounding is below."""

FAR = 15.0
"""Robust standard deviations from the median beyond which a value is winsorised. On four years of hourly candles this
lowers the scales of highs and lows by 7 to 9 %, and no other."""

DOUBTFUL = 1.5
"""A price that leaves and comes back by this factor does not count for a scale, though it may be real (`SPIKE`): real
ones are rare, and one doubles the scale of a breakout."""

ENOUGH = 100
"""Bars that say something of the market. Of fewer, even independent ones, a standard deviation is off by 7 %."""


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
            asset was closed or not listed yet, unless fewer than `ENOUGH` are left.

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
    values = series[used] if np.count_nonzero(used) >= ENOUGH else series
    median = np.median(values)
    reach = FAR * 1.4826 * np.median(np.abs(values - median))
    if reach > LEAST_SCALE:  # of a series that is mostly one value the others are no errors
        values = np.clip(values, median - reach, median + reach)
    return float(values.mean()), float(values.std())


def fit_scaler(raw: np.ndarray, candles: Candles, runs: Sequence[Segment], spec: FeatureSpec) -> Scaler:
    """The scaler of some runs of bars. It looks at no other but the warm-up before each. Shape: raw (T, S).

    Winsorised moments are those of candles without false prices and volumes (`honest_values`): one of them changes a
    scale by less than 2 % of it. A stretch without a move costs its own bars, and after them as many as an indicator
    remembers, where enough are left: a scale is then within 1 % of that of a market that begins after the stretch.
    It has the error of fewer bars: a `range_breakout`, of which there are few, is easily off by 20 %.

    Warns: DataWarning with the features that never move in these bars, and the assets that hardly do.
    """
    if spec.scaling == "moments":
        rows = np.concatenate([raw[run.start : run.stop] for run in runs])
        used = np.ones(rows.shape, bool)
    else:
        parts = [_honest_rows(raw, candles, run, spec) for run in runs]
        rows, moving, clean = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        used = np.where(clean.sum(axis=0) >= ENOUGH, clean, moving)  # clean bars are few where every weekend is closed
    scaler = Scaler.fit(rows, spec.clip, scaling=spec.scaling, used=used)
    _warn(_constant(rows, scaler), used.sum(axis=0), len(rows), candles.symbols, spec.indicators)
    return scaler


def _honest_rows(
    raw: np.ndarray, candles: Candles, run: Segment, spec: FeatureSpec
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The features of a run of bars, as they are without false prices; the bars at which their assets move, and those
    at which an indicator remembers no bar without a move.

    Shape: raw (T, S) → (T', S) float64, (T', S) bool, (T', S) bool, where T' = len(run).
    """
    seen = candles.values[run.start - spec.warm_up : run.stop]
    values, rows = honest_values(seen, DOUBTFUL), raw[run.start : run.stop]
    shape = (len(seen), len(spec.indicators), candles.n_assets)
    changed = np.flatnonzero((values != seen).any(axis=(0, 2)))
    if len(changed):
        again = np.full(shape, np.nan)
        again[spec.warm_up :] = rows.reshape(len(rows), *shape[1:])
        for asset in changed:
            fill_features(again[:, :, asset], values[:, asset], spec.indicators)
        rows = again[spec.warm_up :].reshape(len(rows), -1)
    still = still_bars(values, candles.interval)
    masks = np.broadcast_to(~still[:, None], shape), _clean_bars(still, spec)
    moving, clean = (mask[spec.warm_up :].reshape(len(rows), -1) for mask in masks)
    return rows, moving, clean


def _clean_bars(still: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """Bars at which an indicator remembers no bar without a move. Shape: (T, A) bool → (T, F, A) bool."""
    ends = np.argwhere(still[:-1] & ~still[1:])
    clean = np.repeat(~still[:, None], len(spec.indicators), axis=1)
    for f, name in enumerate(spec.indicators):
        for at, asset in ends:
            clean[at : at + INDICATORS[name].warm_up + 2, f, asset] = False  # the bar after has the jump, too
    return clean


def _constant(rows: np.ndarray, scaler: Scaler) -> np.ndarray:
    """Whether a series never moves. Shape: rows (T, S) → (S,) bool."""
    left = np.flatnonzero(scaler.scale == 1.0)  # at its scale, or a deviation of exactly 1
    constant = np.zeros(len(scaler.scale), bool)
    constant[left] = np.ptp(rows[:, left], axis=0) <= LEAST_SCALE
    return constant


def _warn(
    constant: np.ndarray, n_used: np.ndarray, n_bars: int, symbols: Sequence[str], indicators: Sequence[str]
) -> None:
    """Names the features of each asset that never move, and the assets that hardly do. Shape: constant, n_used (S,)."""
    found = list[str]()
    for symbol, fixed, n in zip(
        symbols, constant.reshape(-1, len(symbols)).T, n_used.reshape(-1, len(symbols)).min(axis=0), strict=True
    ):
        still = [name for name, one in zip(indicators, fixed, strict=True) if one]
        moving = [name for name in indicators if name not in still]
        if still and len(still) <= len(moving):
            found.append(f"{symbol} {', '.join(still)}")
        elif still:
            found.append(f"{symbol} all features" + (f" but {', '.join(moving)}" if moving else ""))
        elif n < min(ENOUGH, n_bars):
            found.append(f"{symbol} all features, at all but {n} of {n_bars:,} bars")
    if found:
        warnings.warn(
            f"a policy learns nothing of features that do not move in the train windows: {'; '.join(found)}. Leave out "
            "the asset (market.symbols) or the indicator (features.indicators)",
            DataWarning,
            stacklevel=4,  # whoever calls `build_table`
        )

"""The standard error of a Sharpe ratio whose returns depend on each other.

Takes: simple returns per bar, and where segments start. Gives: an annual standard error.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from ftray.stats.checks import checked_periods, checked_returns, checked_series

_ROUNDING = 1e-14
_LARGEST_PERSISTENCE = 0.97
"""Of the autoregression that prewhitens, as in Andrews and Monahan: a unit root would have no long-run variance."""


def sharpe_newey_west(returns: ArrayLike, periods_per_year: float, segment_starts: ArrayLike | None = None) -> float:
    """Standard error of an annual Sharpe ratio, robust to autocorrelation, changing volatility, skewness and kurtosis.

    √(Ω / (T − 1)), annualised, Ω the long-run variance of ψ = z − SR/2 (z² − 1), z = (r − r̄) / s, SR per bar. Of
    independent returns Ω is 1 − γ₃ SR + (γ₄ − 1)/4 SR², as in `sharpe_error`. Ω is estimated with Bartlett's kernel and
    an automatic bandwidth, after an autoregression of order one has been taken out of ψ.
    Source: Lo 2002, The Statistics of Sharpe Ratios; Ledoit and Wolf 2008, Robust Performance Hypothesis Testing with
    the Sharpe Ratio; Newey and West 1994, Automatic Lag Selection in Covariance Matrix Estimation; prewhitened as in
    Andrews and Monahan 1992.

    returns: (T,). segment_starts: (G,) index of each segment's first return, the first one 0: no bars of different
        segments are paired. None: one segment.
    Returns: NaN for a single return; the error of a Sharpe ratio of 0 where returns do not vary.
    """
    returns, periods = checked_returns(returns), checked_periods(periods_per_year)
    n = len(returns)
    if n < 2:
        return math.nan
    deviation = float(returns.std(ddof=1))
    if deviation <= _ROUNDING:
        return math.sqrt(periods / (n - 1))
    scores = (returns - returns.mean()) / deviation
    influence = scores - returns.mean() / deviation / 2 * (scores**2 - 1.0)
    return math.sqrt(_long_run_variance(influence, _segments(segment_starts, n)) / (n - 1) * periods)


def long_run_variance(values: ArrayLike, segment_starts: ArrayLike | None = None) -> float:
    """T times the variance of the mean of values that depend on each other, as `sharpe_newey_west` estimates it.

    values: (T,), at least two. segment_starts: (G,) as there.
    Returns: 0.0 where the values do not vary.
    """
    values = checked_series(values, "values")
    if len(values) < 2 or float(values.std()) <= _ROUNDING:
        return 0.0
    return _long_run_variance(values, _segments(segment_starts, len(values)))


def _segments(starts: ArrayLike | None, n: int) -> np.ndarray:
    """Which segment each return belongs to. Shape: (T,)."""
    starts = np.zeros(1, np.int64) if starts is None else np.asarray(starts, np.int64)
    if starts.ndim != 1 or not len(starts) or starts[0] != 0 or np.any(np.diff(starts) <= 0) or starts[-1] >= n:
        raise ValueError(f"segment_starts must begin with 0 and increase up to {n - 1}, got {starts.tolist()}")
    return np.repeat(np.arange(len(starts)), np.diff(starts, append=n))


def _long_run_variance(values: np.ndarray, segments: np.ndarray) -> float:
    values = values - values.mean()
    persistence = float(np.dot(*_pairs(values, segments, 1)) / (values @ values))
    persistence = min(_LARGEST_PERSISTENCE, max(-_LARGEST_PERSISTENCE, persistence))
    earlier, later = _pairs(values, segments, 1)
    left = later - persistence * earlier
    if len(left) < 2:
        return float(values @ values) / len(values)
    left, within = left - left.mean(), segments[1:][segments[1:] == segments[:-1]]
    return _bartlett(left, within) / (1.0 - persistence) ** 2


def _bartlett(values: np.ndarray, segments: np.ndarray) -> float:
    """Σ w_j γ_j over lags |j| up to the bandwidth, w falling linearly to 0 (Newey and West 1994, table II)."""
    n = len(values)
    n_pilot = min(n - 1, int(4.0 * (n / 100.0) ** (2.0 / 9.0)))
    covariances = [float(values @ values) / n] + [_covariance(values, segments, lag) for lag in range(1, n_pilot + 1)]
    level = covariances[0] + 2.0 * sum(covariances[1:])
    slope = 2.0 * sum(lag * covariances[lag] for lag in range(1, n_pilot + 1))
    ratio = (slope / level) ** 2 if level != 0.0 else math.inf
    bandwidth = min(n - 1, int(min(1.1447 * (ratio * n) ** (1.0 / 3.0), math.sqrt(n))))
    total = covariances[0]
    for lag in range(1, bandwidth + 1):
        covariance = covariances[lag] if lag <= n_pilot else _covariance(values, segments, lag)
        total += 2.0 * (1.0 - lag / (bandwidth + 1)) * covariance
    return max(0.0, total)


def _covariance(values: np.ndarray, segments: np.ndarray, lag: int) -> float:
    return float(np.dot(*_pairs(values, segments, lag))) / len(values)


def _pairs(values: np.ndarray, segments: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Values and those `lag` bars later in the same segment."""
    same = segments[lag:] == segments[:-lag]
    return values[:-lag][same], values[lag:][same]

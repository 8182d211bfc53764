"""Performance relative to a benchmark: what a strategy earned that the benchmark did not.

Takes: simple returns per bar and exposures of a strategy and of a benchmark, on the same bars. Gives: floats; NaN where
a measure is undefined.

Below zero, a higher volatility makes a Sharpe ratio better: in a falling market, of two portfolios that lose alike, the
one that swings more ranks higher. Active returns do not fall with the market.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from ftray.stats.checks import checked_along, checked_periods, checked_returns
from ftray.stats.measures import ROUNDING, exposure_matched, kurtosis, sharpe, skewness
from ftray.stats.newey_west import long_run_variance, sharpe_newey_west

MIN_EXPOSURE = 0.01
"""Mean fraction of equity in assets below which a portfolio has no active returns: they would be those of cash."""

MEASURES = (
    *("active_sharpe", "active_skewness", "active_kurtosis", "active_newey_west"),
    *("information_ratio", "alpha", "alpha_error", "beta"),
)


def active_performance(
    returns: ArrayLike,
    benchmark: ArrayLike,
    periods_per_year: float,
    *,
    exposure: ArrayLike,
    benchmark_exposure: ArrayLike,
    segment_starts: ArrayLike | None = None,
) -> dict[str, float]:
    """Every measure relative to a benchmark, under flat names; all are NaN below a mean exposure of 1 %, of either.

    The active returns are the returns less those of the benchmark at the strategy's own mean exposure
    (`exposure_matched`), after the costs of both. `active_sharpe` is their annual Sharpe ratio, with `active_skewness`
    and `active_kurtosis` of its standard error and `active_newey_west`, that error (`sharpe_newey_west`).
    `information_ratio` is the Sharpe ratio of the returns less the benchmark's, at the benchmark's exposure.
    `alpha` and `beta` are the least-squares line of the returns on the benchmark's, alpha annual (times the periods per
    year), with its Newey-West standard error `alpha_error`.
    A portfolio relative to itself has active returns of 0: ratios and alpha are 0, beta is 1.
    Sources: Sharpe 1994, The Sharpe Ratio (the differential return of its first section); Grinold and Kahn 1999, Active
    Portfolio Management; Jensen 1968, The Performance of Mutual Funds (alpha); Newey and West 1987, A Simple, Positive
    Semi-definite, Heteroskedasticity and Autocorrelation Consistent Covariance Matrix.

    returns, benchmark: (T,). exposure, benchmark_exposure: (T,) fractions of equity in assets.
    segment_starts: (G,) index of each segment's first return: no bars of different segments are paired.
    """
    returns, periods = checked_returns(returns), checked_periods(periods_per_year)
    benchmark = checked_along(benchmark, returns, "benchmark")
    exposure = checked_along(exposure, returns, "exposure")
    benchmark_exposure = checked_along(benchmark_exposure, returns, "benchmark_exposure")
    if min(exposure.mean(), benchmark_exposure.mean()) < MIN_EXPOSURE:
        return dict.fromkeys(MEASURES, math.nan)
    active = _scaled(returns - exposure_matched(benchmark, benchmark_exposure, exposure))
    alpha, alpha_error, beta = _line(returns, benchmark, segment_starts)
    of_active = sharpe(active, periods), skewness(active), kurtosis(active)
    error, information = (
        sharpe_newey_west(active, periods, segment_starts),
        sharpe(_scaled(returns - benchmark), periods),
    )
    of_line = alpha * periods, alpha_error * periods, beta
    return dict(zip(MEASURES, (*of_active, error, information, *of_line), strict=True))


def _scaled(differences: np.ndarray) -> np.ndarray:
    """Differences of returns within ±1, as returns must be; no ratio or moment depends on their scale."""
    return differences / max(1.0, float(np.abs(differences).max()))


def _line(returns: np.ndarray, benchmark: np.ndarray, segment_starts: ArrayLike | None) -> tuple[float, float, float]:
    """Intercept of the least-squares line per bar, its Newey-West standard error, and the slope.

    The intercept is a mean over bars of the residuals times 1 − b̄ (b − b̄) / var(b), so that its variance is their
    long-run variance over T. A benchmark that does not vary has a slope of 0.
    """
    apart = benchmark - benchmark.mean()
    variance = float(np.mean(apart**2))
    if math.sqrt(variance) <= ROUNDING:
        return float(returns.mean()), math.sqrt(long_run_variance(returns, segment_starts) / len(returns)), 0.0
    slope = float(np.mean(apart * (returns - returns.mean()))) / variance
    intercept = float(returns.mean() - slope * benchmark.mean())
    influence = (returns - intercept - slope * benchmark) * (1.0 - benchmark.mean() * apart / variance)
    return intercept, math.sqrt(long_run_variance(influence, segment_starts) / len(returns)), slope

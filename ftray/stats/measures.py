"""Performance of a run of returns.

Takes: `returns` (T,), simple returns per bar as fractions of the equity before the bar, or `equity` (T,), positive and
in any currency. Gives: floats; fractions, never percentages.
A ratio whose denominator vanishes (flat equity, no losing bar, no drawdown) is undefined and answers 0.0, so that no
infinity ever leads a ranking. Empty input and values that are not finite raise ValueError.
"""

import numpy as np
from numpy.typing import ArrayLike

from ftray.stats.checks import checked_along, checked_equity, checked_periods, checked_returns
from ftray.stats.costs import break_even_fee
from ftray.stats.newey_west import sharpe_newey_west

ROUNDING = 1e-14
"""Less variation than this is rounding: returns are ratios of equities near 1, so float64 carries them to 2e-16."""
# Annualising multiplies the log growth of a short run many times; exp(500) keeps the answer, and ratios of it, finite.
_MAX_LOG_GROWTH = 500.0


def equity_curve(returns: ArrayLike, initial: float = 1.0) -> np.ndarray:
    """Compounded equity, starting with `initial`. Shape: (T,) → (T + 1,).

    >>> equity_curve([0.5, -0.5]).tolist()
    [1.0, 1.5, 0.75]
    """
    return initial * np.concatenate([[1.0], np.cumprod(1.0 + checked_returns(returns))])


def total_return(equity: ArrayLike) -> float:
    """Last equity over first, less one.

    >>> total_return([100.0, 90.0, 150.0])
    0.5
    """
    equity = checked_equity(equity)
    return float(equity[-1] / equity[0] - 1.0)


def annual_return(returns: ArrayLike, periods_per_year: float) -> float:
    """Compound annual growth rate: (Π (1 + r)) ^ (periods per year / T) − 1."""
    returns, periods = checked_returns(returns), checked_periods(periods_per_year)
    if np.any(returns == -1.0):
        return -1.0
    log_growth = np.log1p(returns).sum() * periods / len(returns)
    return float(np.expm1(min(log_growth, _MAX_LOG_GROWTH)))


def volatility(returns: ArrayLike, periods_per_year: float) -> float:
    """Annualised sample standard deviation (ddof 1): s · √(periods per year); 0.0 for a single return."""
    returns, periods = checked_returns(returns), checked_periods(periods_per_year)
    return float(_deviation(returns) * np.sqrt(periods))


def sharpe(returns: ArrayLike, periods_per_year: float) -> float:
    """Annualised Sharpe ratio against cash at 0 %: mean / s · √(periods per year), s with ddof 1.

    Source: Sharpe 1994, The Sharpe Ratio, Journal of Portfolio Management 21(1); annualised as for independent returns
    (Lo 2002, The Statistics of Sharpe Ratios).
    """
    returns, periods = checked_returns(returns), checked_periods(periods_per_year)
    return _ratio(returns.mean(), _deviation(returns)) * float(np.sqrt(periods))


def sortino(returns: ArrayLike, periods_per_year: float) -> float:
    """Annualised Sortino ratio with target 0: mean / √(mean of min(r, 0)²) · √(periods per year).

    All T returns count in the denominator, the winning ones as zeros.
    Source: Sortino and Price 1994, Performance Measurement in a Downside Risk Framework, Journal of Investing 3(3).
    """
    returns, periods = checked_returns(returns), checked_periods(periods_per_year)
    downside = np.sqrt(np.mean(np.minimum(returns, 0.0) ** 2))
    return _ratio(returns.mean(), downside) * float(np.sqrt(periods))


def calmar(returns: ArrayLike, periods_per_year: float) -> float:
    """Annual return over maximum drawdown, both over the whole run.

    Source: Young 1991, Calmar Ratio: A Smoother Tool, Futures 20(1), there over 36 months.
    """
    return _ratio(annual_return(returns, periods_per_year), max_drawdown(equity_curve(returns)))


def drawdowns(equity: ArrayLike) -> np.ndarray:
    """How far equity is below its highest value so far, as a fraction ≥ 0 of that value. Shape: (T,).

    >>> drawdowns([100.0, 80.0, 120.0, 90.0]).tolist()
    [0.0, 0.2, 0.0, 0.25]
    """
    equity = checked_equity(equity)
    peaks = np.maximum.accumulate(equity)
    return (peaks - equity) / peaks


def max_drawdown(equity: ArrayLike) -> float:
    """The largest loss from a peak, as a fraction between 0 and 1 of that peak."""
    return float(drawdowns(equity).max())


def drawdown_length(equity: ArrayLike) -> int:
    """The longest run of bars spent below an earlier peak, in bars; one that has not ended yet counts, too.

    >>> drawdown_length([100.0, 80.0, 90.0, 120.0, 110.0])
    2
    """
    at_peak = np.flatnonzero(drawdowns(equity) == 0.0)
    return int(np.diff(at_peak, append=len(np.asarray(equity))).max()) - 1


def hit_rate(returns: ArrayLike) -> float:
    """Bars with a gain over bars with a gain or a loss; bars without a position do not count.

    >>> hit_rate([0.01, 0.0, 0.02, -0.05])
    0.6666666666666666
    """
    returns = checked_returns(returns)
    moved = np.count_nonzero(returns)
    return float(np.count_nonzero(returns > 0.0) / moved) if moved else 0.0


def tail_ratio(returns: ArrayLike) -> float:
    """95th percentile of the returns over the 5th, both as sizes: above 1, the good bars outgrow the bad ones.

    Source: the definition in wide use is that of Quantopian's empyrical; percentiles are interpolated linearly.
    """
    low, high = np.abs(np.percentile(checked_returns(returns), [5, 95]))
    return _ratio(high, low)


def skewness(returns: ArrayLike) -> float:
    """Third standardised moment of the sample, biased: m₃ / m₂^(3/2); 0.0, as of a normal, if nothing varies."""
    return _standardised_moment(returns, 3, 0.0)


def kurtosis(returns: ArrayLike) -> float:
    """Fourth standardised moment of the sample, biased, not in excess: m₄ / m₂²; 3.0, a normal's, if nothing varies.

    Both moments are what the standard error of a Sharpe ratio is made of: `stats.sharpe_error`.
    """
    return _standardised_moment(returns, 4, 3.0)


def exposure_matched(benchmark: ArrayLike, benchmark_exposure: ArrayLike, exposure: ArrayLike) -> np.ndarray:
    """Returns of a benchmark that is as exposed, on average, as a strategy; the rest is in cash.

    A policy that is half in cash has half the return and half the drawdown; this is what the same caution would have
    earned without it. The mean exposure is matched, not each bar's, so that the strategy's timing stays its own merit.
    The benchmark's costs are scaled with it, and the trades that hold its exposure constant are free.

    benchmark, benchmark_exposure: (T,) its returns and its fraction of equity in assets.
    exposure: (T,) the strategy's.
    Shape: → (T,).

    >>> exposure_matched([0.1, -0.2], [1.0, 1.0], [0.0, 1.0]).tolist()
    [0.05, -0.1]
    """
    benchmark = checked_returns(benchmark)
    own = checked_along(benchmark_exposure, benchmark, "benchmark_exposure").mean()
    return benchmark * _ratio(checked_along(exposure, benchmark, "exposure").mean(), own)


def round_trips(returns: ArrayLike, turnover: ArrayLike) -> float:
    """How often the account was turned over: traded notional over twice the mean equity.

    Buying with all equity and selling it all again is one. Equity is that before each bar, chained from 1, so that it
    makes no difference what an account began with.

    turnover: (T,) notional traded in each bar, as a fraction of the equity before it.

    >>> round_trips([0.0, 0.0, 0.0], [1.0, 0.0, 1.0])
    1.0
    """
    returns = checked_returns(returns)
    before = equity_curve(returns)[:-1]
    return float((checked_along(turnover, returns, "turnover") * before).sum() / (2.0 * before.mean()))


def performance(
    returns: ArrayLike,
    periods_per_year: float,
    *,
    turnover: ArrayLike | None = None,
    fees: ArrayLike | None = None,
    exposure: ArrayLike | None = None,
    orders: ArrayLike | None = None,
    segment_starts: ArrayLike | None = None,
) -> dict[str, float]:
    """Every measure of one run, under flat names.

    turnover: (T,) notional traded in each bar, as a fraction of equity; answered per year, and as `round_trips`.
    fees: (T,) fees paid in each bar, as a fraction of equity; answered as the sum, and with turnover as
        `break_even_fee`.
    exposure: (T,) fraction of equity in assets; answered as the mean.
    orders: (T,) orders filled in each bar; answered as their number, `n_trades`.
    segment_starts: (G,) index of each segment's first return, for `sharpe_newey_west`; None: one segment.
    Returns: what depends on an argument only where it is given; `drawdown_length` and `n_bars` in bars, `years` all of
        them together.
    """
    returns, periods = checked_returns(returns), checked_periods(periods_per_year)
    measures = _of_returns(returns, periods)
    measures["sharpe_newey_west"] = sharpe_newey_west(returns, periods, segment_starts)
    if turnover is not None:
        measures["turnover"] = float(checked_along(turnover, returns, "turnover").mean() * periods)
        measures["round_trips"] = round_trips(returns, turnover)
    if fees is not None:
        measures["fees"] = float(checked_along(fees, returns, "fees").sum())
    if turnover is not None and fees is not None:
        measures["break_even_fee"] = break_even_fee(returns, turnover, fees)
    if exposure is not None:
        measures["exposure"] = float(checked_along(exposure, returns, "exposure").mean())
    if orders is not None:
        measures["n_trades"] = float(checked_along(orders, returns, "orders").sum())
    return measures


def _of_returns(returns: np.ndarray, periods: float) -> dict[str, float]:
    """The measures that need nothing but returns."""
    equity = equity_curve(returns)
    return {
        "total_return": total_return(equity),
        "annual_return": annual_return(returns, periods),
        "volatility": volatility(returns, periods),
        "sharpe": sharpe(returns, periods),
        "sortino": sortino(returns, periods),
        "calmar": calmar(returns, periods),
        "max_drawdown": max_drawdown(equity),
        "drawdown_length": float(drawdown_length(equity)),
        "hit_rate": hit_rate(returns),
        "tail_ratio": tail_ratio(returns),
        "skewness": skewness(returns),
        "kurtosis": kurtosis(returns),
        "best_bar": float(returns.max()),
        "worst_bar": float(returns.min()),
        "n_bars": float(len(returns)),
        "years": len(returns) / periods,
    }


def _deviation(returns: np.ndarray) -> float:
    return float(returns.std(ddof=1)) if len(returns) > 1 else 0.0


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator > ROUNDING else 0.0


def _standardised_moment(returns: ArrayLike, order: int, of_nothing: float) -> float:
    returns = checked_returns(returns)
    deviations = returns - returns.mean()
    scale = float(np.sqrt(np.mean(deviations**2)))
    return float(np.mean((deviations / scale) ** order)) if scale > ROUNDING else of_nothing

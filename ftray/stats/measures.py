"""Performance of a run of returns.

Takes: `returns` (T,), simple returns per bar as fractions of the equity before the bar, or `equity` (T,), positive and
in any currency. Gives: floats; fractions, never percentages.
A ratio whose denominator vanishes (flat equity, no losing bar, no drawdown) is undefined and answers 0.0, so that no
infinity ever leads a ranking. Empty input and values that are not finite raise ValueError.
"""

import numpy as np
from numpy.typing import ArrayLike

# Returns are ratios of equities near 1, so float64 carries them to about 2e-16: less variation than this is rounding.
_ROUNDING = 1e-14
# Annualising a short run multiplies its log growth manifold; exp(500) keeps the answer, and ratios of it, finite.
_MOST_LOG_GROWTH = 500.0


def equity_curve(returns: ArrayLike, initial: float = 1.0) -> np.ndarray:
    """Compounded equity, starting with `initial`. Shape: (T,) → (T + 1,).

    >>> equity_curve([0.5, -0.5]).tolist()
    [1.0, 1.5, 0.75]
    """
    return initial * np.concatenate([[1.0], np.cumprod(1.0 + _checked_returns(returns))])


def total_return(equity: ArrayLike) -> float:
    """Last equity over first, less one.

    >>> total_return([100.0, 90.0, 150.0])
    0.5
    """
    equity = _checked_equity(equity)
    return float(equity[-1] / equity[0] - 1.0)


def annual_return(returns: ArrayLike, periods_per_year: float) -> float:
    """Compound annual growth rate: (Π (1 + r)) ^ (periods per year / T) − 1."""
    returns, periods = _checked_returns(returns), _checked_periods(periods_per_year)
    if np.any(returns == -1.0):
        return -1.0
    log_growth = np.log1p(returns).sum() * periods / len(returns)
    return float(np.expm1(min(log_growth, _MOST_LOG_GROWTH)))


def volatility(returns: ArrayLike, periods_per_year: float) -> float:
    """Annualised sample standard deviation (ddof 1): s · √(periods per year); 0.0 for a single return."""
    returns, periods = _checked_returns(returns), _checked_periods(periods_per_year)
    return float(_deviation(returns) * np.sqrt(periods))


def sharpe(returns: ArrayLike, periods_per_year: float) -> float:
    """Annualised Sharpe ratio against cash at 0 %: mean / s · √(periods per year), s with ddof 1.

    Source: Sharpe 1994, The Sharpe Ratio, Journal of Portfolio Management 21(1); annualised as for independent returns
    (Lo 2002, The Statistics of Sharpe Ratios).
    """
    returns, periods = _checked_returns(returns), _checked_periods(periods_per_year)
    return _ratio(returns.mean(), _deviation(returns)) * float(np.sqrt(periods))


def sortino(returns: ArrayLike, periods_per_year: float) -> float:
    """Annualised Sortino ratio with target 0: mean / √(mean of min(r, 0)²) · √(periods per year).

    All T returns count in the denominator, the winning ones as zeros.
    Source: Sortino and Price 1994, Performance Measurement in a Downside Risk Framework, Journal of Investing 3(3).
    """
    returns, periods = _checked_returns(returns), _checked_periods(periods_per_year)
    downside = np.sqrt(np.mean(np.minimum(returns, 0.0) ** 2))
    return _ratio(returns.mean(), downside) * float(np.sqrt(periods))


def calmar(returns: ArrayLike, periods_per_year: float) -> float:
    """Annual return over maximum drawdown, both over the whole run.

    Source: Young 1991, Calmar Ratio: A Smoother Tool, Futures 20(1), there over 36 months.
    """
    return _ratio(annual_return(returns, periods_per_year), max_drawdown(equity_curve(returns)))


def drawdowns(equity: ArrayLike) -> np.ndarray:
    """How far equity lies below its highest value so far, as a fraction ≥ 0 of that value. Shape: (T,).

    >>> drawdowns([100.0, 80.0, 120.0, 90.0]).tolist()
    [0.0, 0.2, 0.0, 0.25]
    """
    equity = _checked_equity(equity)
    peaks = np.maximum.accumulate(equity)
    return (peaks - equity) / peaks


def max_drawdown(equity: ArrayLike) -> float:
    """The largest loss from a peak, as a fraction between 0 and 1 of that peak."""
    return float(drawdowns(equity).max())


def drawdown_length(equity: ArrayLike) -> int:
    """The longest run of bars spent below an earlier peak, in bars; a run that has not recovered counts as it stands.

    >>> drawdown_length([100.0, 80.0, 90.0, 120.0, 110.0])
    2
    """
    at_peak = np.flatnonzero(drawdowns(equity) == 0.0)
    return int(np.diff(at_peak, append=len(np.asarray(equity))).max()) - 1


def performance(
    returns: ArrayLike,
    periods_per_year: float,
    *,
    turnover: ArrayLike | None = None,
    fees: ArrayLike | None = None,
    exposure: ArrayLike | None = None,
) -> dict[str, float]:
    """Every measure of one run, under flat names.

    turnover: (T,) notional traded in each bar, as a fraction of equity; answered per year.
    fees: (T,) fees paid in each bar, in the unit the caller counts in; answered as the sum.
    exposure: (T,) fraction of equity in assets; answered as the mean.
    Returns: `turnover`, `fees` and `exposure` only where given; `drawdown_length` and `n_bars` in bars, `win_rate` as
    the fraction of bars with a positive return.
    """
    returns, periods = _checked_returns(returns), _checked_periods(periods_per_year)
    equity = equity_curve(returns)
    measures = {
        "total_return": total_return(equity),
        "annual_return": annual_return(returns, periods),
        "volatility": volatility(returns, periods),
        "sharpe": sharpe(returns, periods),
        "sortino": sortino(returns, periods),
        "calmar": calmar(returns, periods),
        "max_drawdown": max_drawdown(equity),
        "drawdown_length": float(drawdown_length(equity)),
        "win_rate": float(np.mean(returns > 0.0)),
        "best_bar": float(returns.max()),
        "worst_bar": float(returns.min()),
        "n_bars": float(len(returns)),
    }
    if turnover is not None:
        measures["turnover"] = float(_along(turnover, returns, "turnover").mean() * periods)
    if fees is not None:
        measures["fees"] = float(_along(fees, returns, "fees").sum())
    if exposure is not None:
        measures["exposure"] = float(_along(exposure, returns, "exposure").mean())
    return measures


def _deviation(returns: np.ndarray) -> float:
    return float(returns.std(ddof=1)) if len(returns) > 1 else 0.0


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator > _ROUNDING else 0.0


def _checked_returns(returns: ArrayLike) -> np.ndarray:
    returns = _checked_series(returns, "returns")
    if returns.min() < -1.0:
        bar = int(np.argmin(returns))
        raise ValueError(f"returns must be at least -1 (all equity lost), got {returns[bar]:g} at bar {bar}")
    return returns


def _checked_equity(equity: ArrayLike) -> np.ndarray:
    equity = _checked_series(equity, "equity")
    if equity[0] <= 0.0 or equity.min() < 0.0:
        raise ValueError(f"equity must start above 0 and never fall below it, got {equity[0]:g} and {equity.min():g}")
    return equity


def _checked_series(values: ArrayLike, name: str) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"{name} must have the shape (bars,) with at least one bar, got {values.shape}")
    if not np.isfinite(values).all():
        bar = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(f"{name} must be finite, got {values[bar]} at bar {bar}")
    return values


def _along(values: ArrayLike, returns: np.ndarray, name: str) -> np.ndarray:
    values = _checked_series(values, name)
    if len(values) != len(returns):
        raise ValueError(f"{name} must have one value per return: {len(returns)}, got {len(values)}")
    return values


def _checked_periods(periods_per_year: float) -> float:
    if not (np.isfinite(periods_per_year) and periods_per_year > 0):
        raise ValueError(f"periods_per_year must be a positive number, got {periods_per_year}")
    return float(periods_per_year)

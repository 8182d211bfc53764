"""How an equity curve went: its deepest drawdowns, its Sharpe ratio as time goes on, its months.

Takes: equity or returns per bar, their times. Gives: plain tuples and arrays; fractions, never percentages.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ftray.stats.checks import checked_periods, checked_returns
from ftray.stats.measures import drawdowns, sharpe


class Drawdown(NamedTuple):
    """One drawdown, as places on its curve.

    peak: the last bar at the high before it. trough: the lowest bar. end: the first bar at that high again; None where
    the curve ends below it. depth: of the trough, as a fraction of the peak.
    """

    peak: int
    trough: int
    end: int | None
    depth: float


def top_drawdowns(equity: ArrayLike, n: int = 5) -> list[Drawdown]:
    """The n deepest drawdowns, deepest first. Each lies between two highs, so that none overlaps another.

    >>> top_drawdowns([4.0, 3.0, 8.0, 4.0, 6.0])
    [Drawdown(peak=2, trough=3, end=None, depth=0.5), Drawdown(peak=0, trough=1, end=2, depth=0.25)]
    """
    under = drawdowns(equity)
    highs = np.flatnonzero(under == 0.0)
    found = []
    for peak, end in zip(highs, [*highs[1:], len(under)], strict=True):
        if end - peak > 1:
            trough = int(peak + 1 + np.argmax(under[peak + 1 : end]))
            found.append(Drawdown(int(peak), trough, int(end) if end < len(under) else None, float(under[trough])))
    return sorted(found, key=lambda one: -one.depth)[:n]


def rolling_sharpe(returns: ArrayLike, periods_per_year: float, window: int, at: ArrayLike) -> np.ndarray:
    """The annual Sharpe ratio of the bars of a window, as it moves along. Shape: at (K,) → (K,).

    window: bars of it, at least 2. at: (K,) the windows' last bars; NaN where fewer bars are behind one.

    >>> rolling_sharpe([0.01, 0.02, 0.03, -0.01], 1.0, window=3, at=[1, 2]).round(2).tolist()
    [nan, 2.0]
    """
    returns, periods = checked_returns(returns), checked_periods(periods_per_year)
    if window < 2:
        raise ValueError(f"window must have at least 2 bars, got {window}")
    ends = np.asarray(at, dtype=int) + 1
    return np.array([sharpe(returns[end - window : end], periods) if end >= window else np.nan for end in ends])


def monthly_returns(times: ArrayLike, returns: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The compounded return of each calendar month (UTC) that has bars.

    times: (T,) datetime64, the closes that the returns end at; a close at midnight belongs to the month before.
    Returns: the months (K,) as datetime64[M], and their returns (K,).

    >>> times = np.array(["2024-01-31T12", "2024-02-01T00", "2024-02-01T12"], dtype="datetime64[h]")
    >>> months, returns = monthly_returns(times, [0.1, 0.1, -0.5])
    >>> months.astype(str).tolist(), returns.round(2).tolist()
    (['2024-01', '2024-02'], [0.21, -0.5])
    """
    returns = checked_returns(returns)
    before = np.asarray(times, dtype="datetime64[us]") - np.timedelta64(1, "us")
    if before.shape != returns.shape:
        raise ValueError(f"times must have the shape of returns, {returns.shape}, got {before.shape}")
    months, starts = np.unique(before.astype("datetime64[M]"), return_index=True)
    return months, np.multiply.reduceat(1.0 + returns, starts) - 1.0

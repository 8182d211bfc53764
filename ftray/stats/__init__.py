"""Statistics of returns, in plain numpy.

Takes: simple returns per bar, or equity. Gives: performance measures as floats, each with a defined answer.
"""

from ftray.stats.measures import (
    annual_return,
    calmar,
    drawdown_length,
    drawdowns,
    equity_curve,
    max_drawdown,
    performance,
    sharpe,
    sortino,
    total_return,
    volatility,
)

__all__ = [
    "annual_return",
    "calmar",
    "drawdown_length",
    "drawdowns",
    "equity_curve",
    "max_drawdown",
    "performance",
    "sharpe",
    "sortino",
    "total_return",
    "volatility",
]

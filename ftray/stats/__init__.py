"""Statistics of returns, in plain numpy.

Takes: simple returns per bar, equity, scores of several runs. Gives: measures of one run; how much of the best of many
runs is luck; which of several runs are better, and how surely; what kind of market a run did well in. Every measure is
defined for any legal input.
"""

from ftray.stats.active import MIN_EXPOSURE, active_performance
from ftray.stats.comparison import (
    interquartile_mean,
    interquartile_mean_interval,
    probability_of_improvement,
    probability_of_improvement_interval,
)
from ftray.stats.costs import break_even_fee
from ftray.stats.curves import Drawdown, monthly_returns, rolling_sharpe, top_drawdowns
from ftray.stats.dependence import intraclass_correlation
from ftray.stats.measures import (
    annual_return,
    calmar,
    drawdown_length,
    drawdowns,
    equity_curve,
    exposure_matched,
    hit_rate,
    kurtosis,
    max_drawdown,
    performance,
    round_trips,
    sharpe,
    skewness,
    sortino,
    tail_ratio,
    total_return,
    volatility,
)
from ftray.stats.newey_west import long_run_variance, sharpe_newey_west
from ftray.stats.overfitting import overfitting_probability, returns_matrix
from ftray.stats.paired import signed_rank_probability
from ftray.stats.regimes import (
    MIN_BARS,
    REGIMES,
    UNKNOWN,
    RegimePerformance,
    RegimeThresholds,
    regime_labels,
    regime_performance,
    regime_thresholds,
)
from ftray.stats.significance import (
    deflated_sharpe,
    effective_trials,
    expected_maximum_sharpe,
    luck_line,
    minimum_backtest_length,
    minimum_track_record,
    probabilistic_sharpe,
    probability_above,
    sharpe_error,
    sharpe_interval,
)
from ftray.stats.trades import ClosedTrades, closed_trades

__all__ = [
    "MIN_BARS",
    "MIN_EXPOSURE",
    "REGIMES",
    "UNKNOWN",
    "ClosedTrades",
    "Drawdown",
    "RegimePerformance",
    "RegimeThresholds",
    "active_performance",
    "annual_return",
    "break_even_fee",
    "calmar",
    "closed_trades",
    "deflated_sharpe",
    "drawdown_length",
    "drawdowns",
    "effective_trials",
    "equity_curve",
    "expected_maximum_sharpe",
    "exposure_matched",
    "hit_rate",
    "interquartile_mean",
    "interquartile_mean_interval",
    "intraclass_correlation",
    "kurtosis",
    "long_run_variance",
    "luck_line",
    "max_drawdown",
    "minimum_backtest_length",
    "minimum_track_record",
    "monthly_returns",
    "overfitting_probability",
    "performance",
    "probabilistic_sharpe",
    "probability_above",
    "probability_of_improvement",
    "probability_of_improvement_interval",
    "regime_labels",
    "regime_performance",
    "regime_thresholds",
    "returns_matrix",
    "rolling_sharpe",
    "round_trips",
    "sharpe",
    "sharpe_error",
    "sharpe_interval",
    "sharpe_newey_west",
    "signed_rank_probability",
    "skewness",
    "sortino",
    "tail_ratio",
    "top_drawdowns",
    "total_return",
    "volatility",
]

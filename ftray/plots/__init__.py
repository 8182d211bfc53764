"""Every plot by name.

Takes: a study, or what `*_data` functions return: plain values. Gives: plotly figures in one look.
"""

from ftray.plots.attention import plot_attention
from ftray.plots.encoders import describe_encoder, plot_history, plot_probes, plot_reconstruction
from ftray.plots.equity import equities_data, equity_data, plot_equity, plot_regimes, regimes_data
from ftray.plots.known_returns import describe_known_returns, describe_pooled, known_returns
from ftray.plots.optuna import (
    plot_contour,
    plot_edf,
    plot_parallel_coordinate,
    plot_param_importances,
    plot_pareto_front,
    plot_rank,
    plot_slice,
    plot_timeline,
)
from ftray.plots.portfolio import plot_activity, plot_monthly_returns, plot_rolling_sharpe, plot_weights
from ftray.plots.search import plot_comparison, plot_search, search_data
from ftray.plots.tear_sheet import backtest_data, tear_sheet_data
from ftray.plots.trials import cost_data, curves_data, plot_cost, plot_curves, plot_vram, vram_data

__all__ = [
    "backtest_data",
    "cost_data",
    "curves_data",
    "describe_encoder",
    "describe_known_returns",
    "describe_pooled",
    "equities_data",
    "equity_data",
    "known_returns",
    "plot_activity",
    "plot_attention",
    "plot_comparison",
    "plot_contour",
    "plot_cost",
    "plot_curves",
    "plot_edf",
    "plot_equity",
    "plot_history",
    "plot_monthly_returns",
    "plot_parallel_coordinate",
    "plot_param_importances",
    "plot_pareto_front",
    "plot_probes",
    "plot_rank",
    "plot_reconstruction",
    "plot_regimes",
    "plot_rolling_sharpe",
    "plot_search",
    "plot_slice",
    "plot_timeline",
    "plot_vram",
    "plot_weights",
    "regimes_data",
    "search_data",
    "tear_sheet_data",
    "vram_data",
]

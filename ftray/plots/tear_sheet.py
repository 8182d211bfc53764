"""A tear sheet: what a policy did with the money, net and gross, over time, by asset and by trade.

Takes: backtests, or a trial of a study. Gives: `backtest_data` and `tear_sheet_data`, the same plain mapping of either.

Net is after fees and slippage. Gross is the same trades, as the same fractions of equity, with each bar's fees and
slippage added back to its return. Segments and folds are chained in time order: where bars are missing, equity stays.

Legend: N bars in time order, P portfolios: net first, then gross, then benchmarks.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ftray import stats
from ftray.errors import NoResultError
from ftray.metrics import CASH, EQUAL_WEIGHT
from ftray.plots.equity import YEAR, bars_of, benchmark_returns, with_start
from ftray.plots.trades import asset_profits
from ftray.tables.schema import Frame

if TYPE_CHECKING:
    from ftray.analysis.study import Study
    from ftray.trading import Backtest

GROSS = "gross"
DRAWN = (EQUAL_WEIGHT, CASH)
"""Benchmarks that a tear sheet compares with, where they are known."""

ROLLING_DAYS = 30
"""Days of the rolling Sharpe ratio's window."""

MAX_POINTS = 500
"""Windows of the rolling Sharpe ratio that are computed."""

MEASURES = ("total_return", "annual_return", "volatility", "sharpe", "sortino", "calmar", "max_drawdown")
OF_LONG_RUNS = ("annual_return", "calmar")
"""Measures that annualise growth: of less than a month they would be astronomical, and are left out."""


def backtest_data(backtests: Mapping[str, "Backtest"], name: str = "policy") -> dict[str, Any]:
    """The tear sheet of a backtest, and of the benchmarks on the same bars.

    backtests: by name, as `ftray.backtest` gives each. name: of the one that the sheet is about.

    Returns: what `tear_sheet_data` does.
    """
    import pandas as pd

    own = backtests[name]
    others = {other: backtests[other].returns for other in DRAWN if other in backtests}
    bars = pd.DataFrame(
        {
            "return": own.returns,
            GROSS: own.gross_returns,
            "fees": own.fees.sum(axis=1) / own.equity_before,
            "slippage": own.slippage.sum(axis=1) / own.equity_before,
            "exposure": own.weights.sum(axis=1),
            "turnover": own.turnover,
        },
        index=pd.Index(own.times, name="time"),
    )
    weights = pd.DataFrame(own.weights, index=bars.index, columns=list(own.symbols))
    times = np.concatenate((own.filled_at[:1], own.times))
    return _sheet(name, times, bars, others, weights, [own.fills()], own.bars_per_year)


def tear_sheet_data(study: "Study", trial: str, benchmarks: Sequence[str] = DRAWN) -> dict[str, Any]:
    """The tear sheet of a trial on its validation windows: its trainings share the money equally.

    Returns, exposure, turnover and weights are means over its seeds, and over folds that share a bar. Money is the mean
    over its trainings, each of which starts with the initial cash; trades are those of all of them.

    trial: its id.
    benchmarks: names of what is shown with it; one that the study does not have is left out.

    Returns: a mapping with name; times (N + 1,) datetime64: where the first bar begins, then each bar's close; returns:
    portfolio → (N,); equity: portfolio → (N + 1,), from 1; and frames: bars (exposure, turnover and costs by close),
    weights (by close), numbers (measure × portfolio), months, drawdowns, rolling (Sharpe ratios by close), assets.
    What files of version 0.1 do not hold, gross returns, weights and assets, is None.

    Raises: NoResultError where the returns per bar are not known; QueryError for an unknown trial.
    """
    own = bars_of(study, trial)
    before = own["equity"] / (1.0 + own["return"])
    own = own.assign(fees=own["fees"] / before, slippage=own["slippage"] / before)
    own[GROSS] = own["return"] + own["fees"] + own["slippage"]
    columns = ["return", GROSS, "fees", "slippage", "exposure", "turnover"]
    by_seed = own.pivot_table(index="time", columns="seed", values=columns, aggfunc="mean", dropna=False)
    bars = by_seed.T.groupby(level=0).mean().T.sort_index()[columns]
    known = set(study.read("returns", ["portfolio"], trial=None)["portfolio"].to_pylist())
    others = {name: benchmark_returns(study, name, bars.index) for name in benchmarks if name in known}
    held: Frame = study.frame("weights", trial=trial)
    weights = held.pivot_table(index="time", columns="symbol", values="weight", sort=False).sort_index()
    fills: Frame = study.fills(trial)
    per_training = [fills[fills[["fold", "seed"]].eq(key).all(axis=1)] for key in _trainings(own)]
    times = with_start(bars.index.to_numpy())
    interval = np.median(np.diff(times)) if len(bars) > 1 else np.timedelta64(1, "D")
    return _sheet(trial, times, bars, others, weights, per_training, float(YEAR / interval))


def _trainings(bars: Frame) -> list[list[int]]:
    return bars[["fold", "seed"]].drop_duplicates().to_numpy().tolist()


def _sheet(
    name: str,
    times: np.ndarray,
    bars: Frame,
    others: Mapping[str, np.ndarray],
    weights: Frame,
    fills: Sequence[Frame],
    bars_per_year: float,
) -> dict[str, Any]:
    returns = {name: bars["return"].to_numpy()}
    if bars[GROSS].notna().all():
        returns[GROSS] = bars[GROSS].to_numpy()
    returns |= others
    equity = {portfolio: stats.equity_curve(own) for portfolio, own in returns.items()}
    has_prices = all(own["price"].notna().all() for own in fills)
    return {
        "name": name,
        "times": times,
        "returns": returns,
        "equity": equity,
        "bars": bars[["exposure", "turnover", "fees", "slippage"]],
        "weights": None if weights.empty else weights,
        "numbers": _numbers(returns, bars, bars_per_year),
        "months": _months(times[1:], returns),
        "drawdowns": _drawdowns(times, equity[name]),
        "rolling": _rolling(times[1:], returns, bars_per_year),
        "assets": asset_profits(fills) if has_prices else None,
    }


def _numbers(returns: Mapping[str, np.ndarray], bars: Frame, bars_per_year: float) -> Frame:
    """Measures of each portfolio; what only the policy has is NaN for the others."""
    import pandas as pd

    found = {name: stats.performance(own, bars_per_year) for name, own in returns.items()}
    is_short = len(bars) < bars_per_year * ROLLING_DAYS / 365
    shown = [measure for measure in MEASURES if not (is_short and measure in OF_LONG_RUNS)]
    table: Frame = pd.DataFrame({name: {measure: own[measure] for measure in shown} for name, own in found.items()})
    own = {"turnover": bars["turnover"].mean() * bars_per_year, "exposure": bars["exposure"].mean()}
    own |= {cost: bars[cost].sum(skipna=False) for cost in ("fees", "slippage")}
    return pd.concat([table, pd.DataFrame({next(iter(returns)): own})])


def _months(times: np.ndarray, returns: Mapping[str, np.ndarray]) -> Frame:
    """The return of each portfolio in each month that has bars, by its first day."""
    import pandas as pd

    found = {name: stats.monthly_returns(times, own) for name, own in returns.items()}
    months, _ = next(iter(found.values()))
    return pd.DataFrame({name: own for name, (_, own) in found.items()}, index=pd.Index(months.astype("datetime64[s]")))


def _drawdowns(times: np.ndarray, equity: np.ndarray) -> Frame:
    """The five deepest: start (the last high), trough, end (the same height again; NaT: not yet), depth, length."""
    import pandas as pd

    rows = []
    for one in stats.top_drawdowns(equity, 5):
        end = len(equity) - 1 if one.end is None else one.end
        row = {"start": times[one.peak], "trough": times[one.trough], "depth": one.depth}
        over = np.datetime64("NaT") if one.end is None else times[one.end]
        rows.append(row | {"end": over, "length": times[end] - times[one.peak]})
    return pd.DataFrame(rows, columns=["start", "trough", "end", "depth", "length"])


def _rolling(times: np.ndarray, returns: Mapping[str, np.ndarray], bars_per_year: float) -> Frame:
    """Sharpe ratios of the last 30 days, by their last close; without rows where there are no 30 days of bars."""
    import pandas as pd

    window = max(2, round(bars_per_year * ROLLING_DAYS / 365))
    n = len(times)
    at = np.unique(np.linspace(window - 1, n - 1, MAX_POINTS).astype(int)) if n >= window else np.empty(0, int)
    ratios = {
        name: stats.rolling_sharpe(own, bars_per_year, window, at) for name, own in returns.items() if np.ptp(own) > 0
    }
    return pd.DataFrame(ratios, index=pd.Index(times[at], name="time"))


def need(part: Any, name: str) -> Any:
    """A part of a tear sheet. Raises: NoResultError where it is None."""
    if part is None:
        raise NoResultError(f"{name} has no weights, prices and costs: version 0.1 ran it, and did not store them")
    return part

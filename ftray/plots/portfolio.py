"""Figures of a tear sheet: months, rolling Sharpe ratio, weights, exposure and turnover.

Takes: what `backtest_data` or `tear_sheet_data` gives. Gives: figures that compute nothing but what fits a screen.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ftray.metrics import UNITS
from ftray.plots.equity import MAX_POINTS
from ftray.plots.tear_sheet import ROLLING_DAYS, need
from ftray.plots.theme import BLACK, BLUE, GREY, SERIES, VERMILLION, faint, figure, series

if TYPE_CHECKING:
    import plotly.graph_objects as go

WIDE = 960
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def plot_monthly_returns(data: Mapping[str, Any]) -> "go.Figure":
    """Net returns by calendar month, a row per year.

    data: of `backtest_data` or `tear_sheet_data`.

    Raises: MissingDependencyError where plotly is missing.
    """
    months = data["months"][data["name"]]
    years = sorted({month.year for month in months.index})
    returns = np.full((len(years), 12), np.nan)
    for month, value in months.items():
        returns[years.index(month.year), month.month - 1] = value
    limit = max(float(np.nanmax(np.abs(returns))), 1e-9)
    made = figure(
        f"Monthly returns of {data['name']}",
        "net; UTC; the first and the last month may have only some of their days",
        height=150 + 42 * len(years),
        width=WIDE,
    )
    made.add_heatmap(
        x=list(MONTHS),
        y=[str(year) for year in years],
        z=returns,
        text=[["" if np.isnan(one) else UNITS["fraction"].format(one) for one in row] for row in returns],
        texttemplate="%{text}",
        hovertemplate="%{x} %{y}: %{text}<extra></extra>",
        hoverongaps=False,
        colorscale=[[0.0, VERMILLION], [0.5, "#ffffff"], [1.0, BLUE]],
        zmin=-1.6 * limit,  # so that the text is legible on the strongest colour, too
        zmax=1.6 * limit,
        showscale=False,
        xgap=2,
        ygap=2,
    )
    made.update_xaxes(side="top", showline=False, ticks="")
    return made.update_yaxes(type="category", autorange="reversed", showline=False, ticks="")


def plot_rolling_sharpe(data: Mapping[str, Any]) -> "go.Figure":
    """The annual Sharpe ratio of the last 30 days, net, gross and of the benchmarks.

    data: of `backtest_data` or `tear_sheet_data`.

    Raises: MissingDependencyError where plotly is missing.
    """
    rolling = data["rolling"]
    note = f"annual, of the {ROLLING_DAYS} days before" if len(rolling) else f"there are no {ROLLING_DAYS} days of bars"
    made = figure("Rolling Sharpe ratio", note, height=360, width=WIDE)
    looks = series(["policy", *rolling.columns[1:]])
    for i, name in enumerate(rolling):
        look = looks["policy" if i == 0 else name]
        line = {"color": look.color, "dash": look.dash, "width": 2 if i == 0 else 1.5}
        mode = "lines" if len(rolling) > 1 else "markers"
        made.add_scatter(x=rolling.index, y=rolling[name], name=name, line=line, mode=mode)
    made.add_hline(y=0, line={"color": GREY, "width": 1, "dash": "dot"})
    return made.update_yaxes(title="Sharpe ratio")


def plot_weights(data: Mapping[str, Any]) -> "go.Figure":
    """Holdings and cash as fractions of equity, stacked.

    data: of `backtest_data` or `tear_sheet_data`.

    Raises: NoResultError where the weights were not stored; MissingDependencyError where plotly is missing.
    """
    weights = need(data["weights"], data["name"])
    shown = weights.iloc[_spread(len(weights))]
    stacked = {**{symbol: shown[symbol] for symbol in shown}, "cash": 1.0 - shown.sum(axis="columns")}
    made = figure("Weights over time", "fractions of equity at the close", height=360, width=WIDE)
    for i, (symbol, held) in enumerate(stacked.items()):
        color = GREY if symbol == "cash" else SERIES[i % len(SERIES)].color
        fill = {"fillcolor": faint(color, 0.15 if symbol == "cash" else 0.65), "line": {"color": color, "width": 0.5}}
        mode = "lines" if len(shown) > 1 else "lines+markers"
        made.add_scatter(x=shown.index, y=held, name=symbol, stackgroup="held", mode=mode, **fill)
    return made.update_yaxes(title="weight", tickformat=".0%", range=[0, 1])


def plot_activity(data: Mapping[str, Any]) -> "go.Figure":
    """Exposure, and the notional that was traded on each day.

    data: of `backtest_data` or `tear_sheet_data`.

    Raises: MissingDependencyError where plotly is missing.
    """
    bars = data["bars"]
    grid = {"rows": 2, "cols": 1, "shared_xaxes": True, "vertical_spacing": 0.08}
    note = "exposure at the close; turnover: notional traded in a day, over equity"
    made = figure("Exposure and turnover", note, height=420, width=WIDE, **grid)
    shown = bars["exposure"].iloc[_spread(len(bars))]
    area = {"fill": "tozeroy", "fillcolor": faint(BLUE, 0.2), "line": {"color": BLUE, "width": 1}}
    made.add_scatter(x=shown.index, y=shown, name="exposure", showlegend=False, row=1, col=1, **area)
    days = (bars.index.to_numpy() - np.timedelta64(1, "us")).astype("datetime64[D]")  # midnight ends the day before
    traded = bars["turnover"].groupby(days).sum()
    bar = {"marker": {"color": BLACK, "line": {"width": 0}}, "showlegend": False}
    made.add_bar(x=traded.index, y=traded, name="turnover", row=2, col=1, **bar)
    made.update_yaxes(title="exposure", tickformat=".0%", rangemode="tozero", row=1, col=1)
    return made.update_yaxes(title="turnover per day", tickformat=".3~g", rangemode="tozero", row=2, col=1)


def _spread(n: int) -> np.ndarray:
    """Places of at most as many bars as fit a screen, the first and the last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, MAX_POINTS)).round().astype(int))

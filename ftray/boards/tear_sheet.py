"""A tear sheet as part of a page: figures, and the numbers that they show.

Takes: what `plots.backtest_data` or `plots.tear_sheet_data` gives. Gives: blocks; a page that opens anywhere, offline.
"""

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftray import plots
from ftray.boards.blocks import Block, Paragraph, Plot, Table, plot_or_why, render, table_of
from ftray.boards.columns import TableColumn
from ftray.files import replace_file
from ftray.metrics import UNITS, find_metric, validation
from ftray.outputs import check_output_file
from ftray.plots.tear_sheet import ROLLING_DAYS
from ftray.plots.theme import plotly
from ftray.plots.trades import ALL
from ftray.tables.schema import Frame

NAME = "tear_sheet.html"

DRAWDOWNS = {
    "start": TableColumn("start"),
    "trough": TableColumn("trough"),
    "end": TableColumn("recovered"),
    "depth": TableColumn("depth", "fraction"),
    "length": TableColumn("days", "number"),
}

ASSETS = {
    "asset": TableColumn("asset"),
    "gross": TableColumn("gross profit", "money"),
    "fees": TableColumn("fees", "money"),
    "slippage": TableColumn("slippage", "money"),
    "profit": TableColumn("net profit", "money"),
    "closed": TableColumn("of closed trades", "money"),
    "open": TableColumn("of open ones", "money"),
    "n_closed": TableColumn("closed trades", "count"),
    "winning": TableColumn("with a profit", "fraction"),
    "mean_profit": TableColumn("mean profit", "money"),
    "held": TableColumn("held, h:m:s", "duration"),
}


def write_tear_sheet(out: Path, title: str, data: Mapping[str, Any]) -> Path:
    """Writes a tear sheet as one HTML file, and returns its path.

    out: the file, or a folder for `tear_sheet.html`.

    Raises: MissingDependencyError where plotly is missing; OutputError for an `out` that no file can be written to.
    """
    path = check_output_file(tear_sheet_file(out))
    plotly()
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    now = datetime.datetime.now(datetime.UTC)
    sections = tear_sheet(data)
    note = f"A backtest of ftray. Written {now:%Y-%m-%d %H:%M} UTC. {described(data)}"
    page = render("report.html", title=title, note=note, plotly=Markup(get_plotlyjs()), sections=sections)
    replace_file(path, page.encode())
    return path


def tear_sheet_file(out: Path) -> Path:
    """The file of a tear sheet: `out` itself, or `tear_sheet.html` in that folder."""
    return out if out.suffix.lower() in (".html", ".htm") and not out.is_dir() else out / NAME


def described(data: Mapping[str, Any]) -> str:
    """Which bars a tear sheet is of."""
    times = data["times"]
    return f"{len(times) - 1:,} bars, {_minute(times[0])} to {_minute(times[-1])} UTC."


def tear_sheet(data: Mapping[str, Any]) -> dict[str, list[Block]]:
    """The blocks of each part, by its title."""
    return {
        "Net and gross": [_numbers(data), Paragraph(GROSS, "note")],
        "Equity and drawdown": [Plot(plots.plot_equity(data), "equity"), *_drawdowns(data["drawdowns"])],
        "Months": [Plot(plots.plot_monthly_returns(data), "months")],
        "Rolling Sharpe ratio": _rolling(data),
        "Weights, exposure and turnover": [
            plot_or_why(lambda: plots.plot_weights(data), "weights"),
            Plot(plots.plot_activity(data), "activity"),
        ],
        "Profit by asset and closed trades": _assets(data),
    }


GROSS = (
    "Net: after fees and slippage. Gross: the same trades, as the same fractions of equity, with each bar's fees and "
    "slippage added back to its return. Turnover is per year. The last two are sums over the bars, of equity."
)

TRADES = (
    "A closed trade is a sale with the purchases that it closes, first in, first out; its profit is after the costs of "
    "both, and held is the mean time between them, weighted by units. What is held when a segment ends is not sold, "
    "but marked at its last close: that is the profit of open trades. Money is in quote currency, of an account whose "
    "growth is chained over segments: the net profits of the assets add up to what it gained."
)


def _numbers(data: Mapping[str, Any]) -> Table:
    numbers: Frame = data["numbers"]
    rows = []
    for measure, values in numbers.iterrows():
        known = find_metric(validation(str(measure)))
        title, unit = (known.title, known.unit) if known else (str(measure), "fraction")
        rows.append([title, *map(UNITS[unit].format, values)])
    names = [f"{name}, net" if name == data["name"] else name for name in numbers]
    return Table(["", *names], rows, numbers=range(1, 1 + len(names)))


def _drawdowns(drawdowns: Frame) -> list[Block]:
    if drawdowns.empty:
        return [Paragraph("Equity never fell below an earlier high.", "note")]
    rows = [
        {
            **{key: _minute(row[key]) for key in ("start", "trough")},
            "end": _minute(row["end"]) if row["end"] == row["end"] else "not yet",
            "depth": row["depth"],
            "length": row["length"].total_seconds() / 86_400,
        }
        for _, row in drawdowns.iterrows()
    ]
    return [Paragraph("The deepest drawdowns, net, of the chained equity:"), table_of(DRAWDOWNS, rows)]


def _rolling(data: Mapping[str, Any]) -> list[Block]:
    if data["rolling"].empty:
        words = f"Nothing to show: this takes {ROLLING_DAYS} days of bars in which equity moves."
        return [Paragraph(words, "note")]
    return [Plot(plots.plot_rolling_sharpe(data), "rolling-sharpe")]


def _assets(data: Mapping[str, Any]) -> list[Block]:
    assets: Frame = data["assets"]
    if assets is None:
        words = f"Nothing to show: {data['name']} has no prices and costs: version 0.1 ran it, and did not store them"
        return [Paragraph(words, "note")]
    if len(assets) == 1:
        return [Paragraph("It bought nothing.", "note")]
    rows = [{"asset": "all" if name == ALL else name, **row.to_dict()} for name, row in assets.iterrows()]
    return [table_of(ASSETS, rows), Paragraph(TRADES, "note")]


def _minute(time: Any) -> str:
    return str(time).replace("T", " ")[:16]

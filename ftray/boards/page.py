"""The layout of the live page. Knows Dash's components, and nothing about studies.

Takes: titles, rows, figures. Gives: components. Everything is served from this machine.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import dash_ag_grid
from dash import dcc, html

from ftray.boards.blocks import render
from ftray.boards.columns import Columns, TableColumn
from ftray.boards.sidecars import Link
from ftray.units import CLOCK, UNITS

MIN_WIDTHS = {"rank": 50, "trial": 106, "state": 194, "encoder": 124, "pretrained": 126}
MIN_WIDTHS |= {"validation_max_drawdown": 84, "validation_exposure": 80}
"""Pixels in which each value is whole, `COMPLETE, hardly trades` and `auto, fine-tuned` among them."""
SWITCHED_OFF = ("validation_turnover", "validation_round_trips", "cpu_seconds", "gpu_seconds")
"""Columns that a reader switches on: with them, a window of 1280 pixels would cut the leaderboard."""

HEADER, ROW = 52, 32
"""Pixels of the leaderboard's titles and of a row."""

FILTERED = ("trial", "state", "encoder", "pretrained")


def index() -> str:
    """The HTML around the application."""
    return render("live.html")


def layout(
    name: str,
    metric: str,
    groups: Sequence[str],
    plots: Sequence[str],
    every_seconds: float,
    columns: Columns,
    params: Sequence[str] = (),
) -> html.Main:
    """The whole page, still empty.

    groups: what learning curves may be grouped by. plots: names of the others. columns: of the leaderboard. params:
        searched values, columns that are switched off at first.
    """
    shown = dict(columns) | {name: TableColumn(name) for name in params}
    return html.Main(
        [
            dcc.Interval(id="clock", interval=round(every_seconds * 1000)),
            dcc.Store(id="stamp"),
            html.Header(
                [
                    html.H1(name),
                    html.Span(id="state", className="state"),
                    html.Span(id="heard", className="note"),
                    html.Nav(id="links", className="links"),
                ]
            ),
            html.Div(id="problem"),
            html.Div(id="failure"),
            html.Div(id="tiles", className="tiles"),
            _leaderboard(shown),
            html.Div(id="failures"),
            html.Div(id="trial"),
            html.Div([_curves(metric, groups), *map(_plot, plots)], className="plots"),
            html.Div(id="jobs"),
            html.Div(id="machines"),
        ],
    )


CLICK = "Click a trial to see its settings and equity; Ctrl-click more of them to compare their equity."


def tiles(values: Iterable[tuple[str, str]]) -> list[html.Div]:
    return [html.Div([html.B(value), title], className="tile") for title, value in values]


def links(found: Iterable[Link]) -> list[Any]:
    return [
        html.Span(f"{link.name}: {link.problem}") if link.problem else html.A(link.name, href=link.url, target="_blank")
        for link in found
    ]


def table(title: str, rows: Sequence[Mapping[str, Any]], columns: Columns) -> Any:
    """A card with a table; nothing where there are no rows."""
    if not rows:
        return None
    kinds = ["words" if column.unit is None else "number" for column in columns.values()]
    titles = [html.Th(column.title, className=kind) for column, kind in zip(columns.values(), kinds, strict=True)]
    body = []
    for row in rows:
        cells = (column.format(row[key]) for key, column in columns.items())
        body.append(html.Tr([html.Td(cell, className=kind) for cell, kind in zip(cells, kinds, strict=True)]))
    return html.Section([html.H2(title), html.Table([html.Thead(html.Tr(titles)), html.Tbody(body)])], className="card")


def trial_card(name: str, facts: Mapping[str, str], error: str | None, plot: Any) -> Any:
    """One trial: its settings, its error, its equity."""
    rows = [html.Tr([html.Th(key), html.Td(value)]) for key, value in facts.items()]
    shown: list[Any] = [html.H2(name)]
    if error:
        shown.append(html.Div(html.Pre(error), className="problem"))
    shown.append(html.Table(html.Tbody(rows)))
    shown.append(plot if isinstance(plot, str) else graph("equity", plot))
    return html.Section(shown, className="card", id="trial-card")


def problem(text: str) -> Any:
    return html.Div(text, className="problem", role="alert")


def graph(name: str, made: Any = None) -> dcc.Graph:
    style = {"height": made.layout.height or 460} if made is not None else {"height": 460}
    return dcc.Graph(
        id=name,
        figure=nothing() if made is None else fluid(made, name),
        style=style,
        responsive=True,
        config={"displaylogo": False, "displayModeBar": "hover"},
    )


def fluid(made: Any, name: str) -> Any:
    """A figure as wide as its place; what a reader has zoomed into stays when it is drawn again."""
    return made.update_layout(width=None, autosize=True, uirevision=name)


class Panel(NamedTuple):
    """What is shown in a card of a chart. style: its class; without a chart the card takes a line."""

    figure: Any
    title: list[Any]
    style: str


def drawn(made: Any, name: str) -> Panel:
    """A figure without its title, and the title as words that a narrow window can wrap."""
    words, _, note = (made.layout.title.text or "").partition("<br><sup>")
    made.update_layout(title=None, margin={"t": 44})
    return Panel(fluid(made, name), title(words, note.removesuffix("</sup>")), "card")


def not_drawn(name: str, why: str) -> Panel:
    """No figure, and why there is none yet."""
    return Panel(nothing(), title(f"{_capital(name)}: not yet", why), "card empty")


def title(words: str, note: str) -> list[Any]:
    return [html.H2(words), html.Div(note, className="note")]


def _waits(name: str) -> list[Any]:
    """The title of a chart until it is drawn."""
    return title(_capital(name), "is being drawn")


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]


def nothing() -> dict[str, Any]:
    """A figure without anything, not even axes."""
    return {"layout": {"xaxis": {"visible": False}, "yaxis": {"visible": False}}}


def _leaderboard(columns: Columns) -> html.Section:
    inside = [html.H2("Leaderboard, on the validation windows"), html.Div(CLICK, className="note"), _grid(columns)]
    return html.Section([*inside, _switches(columns), html.Div(id="luck", className="note")], className="card")


def _grid(columns: Columns) -> dash_ag_grid.AgGrid:
    return dash_ag_grid.AgGrid(
        id="leaderboard",
        columnDefs=column_defs(columns, switched_on(columns)),
        defaultColDef={
            "sortable": True,
            "resizable": True,
            "minWidth": 70,
            "wrapHeaderText": True,
            "autoHeaderHeight": True,
        },
        columnSize="responsiveSizeToFit",
        getRowId="params.data.id",
        rowClassRules={"benchmark": "params.data.is_benchmark"},
        dashGridOptions={
            "rowSelection": {
                "mode": "multiRow",
                "checkboxes": False,
                "headerCheckbox": False,
                "enableClickSelection": True,
            },
            "suppressFieldDotNotation": True,
            "rowHeight": ROW,
            "headerHeight": 36,
            "animateRows": False,
        },
        style=grid_style(0),
    )


def grid_style(n_rows: int) -> dict[str, Any]:
    """As high as its rows, up to a dozen."""
    return {"height": HEADER + ROW * min(max(n_rows, 2), 12)}


def switched_on(columns: Columns) -> list[str]:
    """The columns that are shown until a reader chooses."""
    return [key for key in columns if key not in SWITCHED_OFF and not key.startswith("trial/")]


def column_defs(columns: Columns, shown: Sequence[str]) -> list[dict[str, Any]]:
    """The grid's columns; all but `shown` are hidden."""
    return [_grid_column(key, column) | {"hide": key not in shown} for key, column in columns.items()]


def _switches(columns: Columns) -> html.Details:
    options = [{"label": column.title.removeprefix("trial/"), "value": key} for key, column in columns.items()]
    choice = dcc.Checklist(options, switched_on(columns), id="columns", inline=True, className="switches")
    return html.Details([html.Summary("Columns"), choice])


def _grid_column(key: str, column: TableColumn) -> dict[str, Any]:
    """A column that the browser formats, because it sorts by the numbers themselves; durations in hours."""
    shown: dict[str, Any] = {"field": key, "headerName": column.title.removeprefix("trial/")}
    if key in MIN_WIDTHS:
        shown["minWidth"] = MIN_WIDTHS[key]
    if key.startswith("trial/"):
        number = "typeof params.value == 'number' ? d3.format('.4~g')(params.value) : params.value"
        return shown | {"valueFormatter": {"function": f"params.value == null ? '-' : {number}"}}
    if column.unit is None:
        return shown | {"tooltipField": key} | ({"filter": True} if key in FILTERED else {})
    unit = UNITS[column.unit]
    value = "params.value"
    if unit.form == CLOCK:
        shown["headerName"], value = f"{column.title}, h", "params.value / 3600"
    number = f"'{column.prefix}' + d3.format('{unit.d3_form}')({value})"
    return shown | {
        "valueFormatter": {"function": f"params.value == null ? '-' : {number}"},
        "type": "rightAligned",
    }


def _plot(name: str) -> html.Section:
    return html.Section([html.Div(_waits(name), id=f"{name}-title"), graph(name)], id=f"{name}-card", className="card")


def _curves(metric: str, groups: Sequence[str]) -> html.Section:
    choices = [
        html.Div(dcc.Dropdown(list(groups), "trial", id="by", clearable=False)),
        html.Div(dcc.Dropdown([metric], metric, id="metric", clearable=False)),
    ]
    inside = [html.Div(_waits("curves"), id="curves-title"), html.Div(choices, className="choices"), graph("curves")]
    return html.Section(inside, id="curves-card", className="card")

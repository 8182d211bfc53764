"""The live page: what stands where. Knows Dash's components, and nothing about studies.

Takes: titles, rows, figures. Gives: components. Everything is served from this machine; nothing comes from elsewhere.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dash_ag_grid
from dash import dcc, html

from ftray.boards.beside import Link

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #f4f5f7; color: #111; font: 15px/1.45 Helvetica, Arial, sans-serif; }
main { max-width: 1760px; margin: 0 auto; padding: 16px; }
header { display: flex; flex-wrap: wrap; gap: 6px 14px; align-items: baseline; }
h1 { font-size: 24px; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 17px; margin: 0 0 8px; }
.state { padding: 2px 10px; border-radius: 10px; background: #56585c; color: #fff; font-size: 13px; }
.state.running { background: #0072b2; } .state.done { background: #00694d; }
.state.silent, .state.stopped { background: #a34700; }
.note { color: #4a4d52; font-size: 13px; } .links { margin-left: auto; display: flex; flex-wrap: wrap; gap: 12px; }
a { color: #00588a; }
.tiles { display: flex; flex-wrap: wrap; gap: 8px; margin: 12px 0; }
.tile { background: #fff; border: 1px solid #d9dbdf; border-radius: 6px; padding: 6px 14px; min-width: 104px; }
.tile b { display: block; font-size: 20px; font-weight: 600; }
.card { background: #fff; border: 1px solid #d9dbdf; border-radius: 6px; padding: 12px; margin-bottom: 12px;
        min-width: 0; overflow-x: auto; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(560px, 100%), 1fr)); gap: 12px;
         margin-bottom: 12px; }
.plots .card { margin: 0; }
.choices { display: flex; flex-wrap: wrap; gap: 8px; margin: 8px 0; } .choices > div { flex: 1 1 220px; min-width: 0; }
.problem { background: #fff1e6; border: 1px solid #d55e00; border-radius: 6px; padding: 10px; margin: 12px 0;
           white-space: pre-wrap; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; padding: 4px 14px 4px 0; border-bottom: 1px solid #e6e7ea; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; font-size: 13px; }
.benchmark { font-style: italic; color: #4a4d52; }
#luck { padding-top: 8px; } .plots .note { min-height: 1.45em; } .card h2 + .note { margin-top: -6px; }
@media (max-width: 700px) { main { padding: 8px; } .card { padding: 10px; } table { font-size: 12px; }
  th, td { padding-right: 8px; } .links { margin-left: 0; } }
"""

INDEX = (
    "<!DOCTYPE html><html lang='en'><head>{%metas%}<title>{%title%}</title>{%favicon%}{%css%}<style>"
    + STYLE
    + "</style></head><body>{%app_entry%}<footer>{%config%}{%scripts%}{%renderer%}</footer></body></html>"
)


def _number(form: str) -> dict[str, Any]:
    shown = {"function": f"params.value == null ? '–' : d3.format('{form}')(params.value)"}
    return {"valueFormatter": shown, "type": "rightAligned"}


HOURS = {
    "valueFormatter": {"function": "params.value == null ? '–' : d3.format(',.2f')(params.value / 3600)"},
    "type": "rightAligned",
}

COLUMNS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "rank": ("rank", {**_number("d"), "minWidth": 70}),
    "trial": ("trial", {"minWidth": 132, "filter": True}),
    "state": ("state", {"minWidth": 126, "filter": True}),
    "encoder": ("encoder", {"minWidth": 132, "filter": True}),
    "pretrained": ("pretrained", {"minWidth": 132, "filter": True}),
    "objective": ("objective", _number(".3~g")),
    "validation_sharpe": ("Sharpe", _number(".2f")),
    "error": ("± error", _number(".2f")),
    "deflated_sharpe": ("deflated", _number(".0%")),
    "validation_return": ("return", _number(".1%")),
    "validation_max_drawdown": ("drawdown", {**_number(".1%"), "minWidth": 104}),
    "validation_turnover": ("turnover", _number(".1f")),
    "validation_exposure": ("exposure", {**_number(".0%"), "minWidth": 100}),
    "cpu_seconds": ("CPU h", HOURS),
    "gpu_seconds": ("GPU h", HOURS),
    "wall_seconds": ("wall h", HOURS),
}


def layout(
    name: str, metric: str, groups: Sequence[str], plots: Sequence[str], every_seconds: float, left_out: Sequence[str]
) -> html.Main:
    """The whole page, still empty.

    groups: what learning curves may be grouped by. plots: names of the others. left_out: of the leaderboard's columns.
    """
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
            html.Section(
                [
                    html.H2("Leaderboard, on the validation windows"),
                    _grid(left_out),
                    html.Div(id="luck", className="note"),
                ],
                className="card",
            ),
            html.Div(id="failures"),
            html.Div(id="trial"),
            html.Div([_curves(metric, groups), *map(_plot, plots)], className="plots"),
            html.Div(id="jobs"),
            html.Div(id="machines"),
        ],
    )


def tiles(told: Iterable[tuple[str, str]]) -> list[html.Div]:
    return [html.Div([html.B(value), title], className="tile") for title, value in told]


def links(found: Iterable[Link]) -> list[Any]:
    return [
        html.Span(f"{link.name}: {link.problem}") if link.problem else html.A(link.name, href=link.url, target="_blank")
        for link in found
    ]


def table(title: str, rows: Sequence[Mapping[str, Any]], shown: Mapping[str, tuple[str, Any]], note: str = "") -> Any:
    """A card with a table; nothing where there are no rows. shown: column → (title, how a value is written)."""
    if not rows:
        return None
    numbers = {key for key in shown if any(isinstance(row[key], int | float) for row in rows)}

    def classes(key: str) -> str:
        return "number" if key in numbers else ""

    head = html.Tr([html.Th(words, className=classes(key)) for key, (words, _) in shown.items()])
    body = [
        html.Tr([html.Td(write(row[key]), className=classes(key)) for key, (_, write) in shown.items()]) for row in rows
    ]
    below = [html.Div(note, className="note")] if note else []
    return html.Section([html.H2(title), html.Table([html.Thead(head), html.Tbody(body)]), *below], className="card")


def trial_card(name: str, facts: Mapping[str, str], error: str | None, plot: Any) -> Any:
    """One trial: what it is, why it failed, how its equity went."""
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
        figure={} if made is None else fluid(made, name),
        style=style,
        responsive=True,
        config={"displaylogo": False, "displayModeBar": "hover"},
    )


def fluid(made: Any, name: str) -> Any:
    """A figure as wide as its place; what a reader has zoomed into stays when it is drawn again."""
    return made.update_layout(width=None, autosize=True, uirevision=name)


def parts(made: Any, name: str) -> tuple[Any, list[Any]]:
    """A figure without its title, and the title as words that a narrow window can wrap."""
    words, _, note = (made.layout.title.text or "").partition("<br><sup>")
    made.update_layout(title=None, margin={"t": 44})
    return fluid(made, name), title(words, note.removesuffix("</sup>"))


def title(words: str, note: str) -> list[Any]:
    return [html.H2(words), html.Div(note, className="note")]


def nothing() -> dict[str, Any]:
    """A figure without anything, not even axes."""
    return {"layout": {"xaxis": {"visible": False}, "yaxis": {"visible": False}}}


def _grid(left_out: Sequence[str]) -> dash_ag_grid.AgGrid:
    columns = [
        {"field": field, "headerName": title, **how} for field, (title, how) in COLUMNS.items() if field not in left_out
    ]
    return dash_ag_grid.AgGrid(
        id="leaderboard",
        columnDefs=columns,
        defaultColDef={
            "sortable": True,
            "resizable": True,
            "minWidth": 88,
            "wrapHeaderText": True,
            "autoHeaderHeight": True,
        },
        columnSize="responsiveSizeToFit",
        getRowId="params.data.id",
        rowClassRules={"benchmark": "params.data.is_benchmark"},
        dashGridOptions={
            "rowSelection": {"mode": "singleRow", "checkboxes": False, "enableClickSelection": True},
            "rowHeight": 32,
            "headerHeight": 36,
            "animateRows": False,
        },
        style={"height": 420},
    )


def _plot(name: str) -> html.Section:
    return html.Section([html.Div(id=f"{name}-title"), graph(name)], id=f"{name}-card", className="card")


def _curves(metric: str, groups: Sequence[str]) -> html.Section:
    choices = [
        html.Div(dcc.Dropdown(list(groups), "trial", id="by", clearable=False)),
        html.Div(dcc.Dropdown([metric], metric, id="metric", clearable=False)),
    ]
    inside = [html.Div(id="curves-title"), html.Div(choices, className="choices"), graph("curves")]
    return html.Section(inside, className="card")

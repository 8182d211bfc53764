"""Plots of what `*_data()` functions return: plain values in, plotly figures out, computing nothing of their own.

Readable without colour: one dark-to-light scale, and the numbers stand beside their marks.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ftray.errors import MissingDependencyError

if TYPE_CHECKING:
    import plotly.graph_objects as go

INK, PAPER_GREY = "#1b3a5c", "#8a8a8a"
SCALE = ((0.0, "#ffffff"), (1.0, INK))
"""White to dark blue: one hue, so that it reads the same to the colour-blind and in a black-and-white print."""


def plot_attention(data: Mapping[str, Any]) -> "go.Figure":
    """Which assets and indicators [CLS] looks at: a bar per asset, a bar per indicator, a map of both.

    data: what `ftray.nets.attention_data` returns. A dotted line marks even attention.

    Raises: MissingDependencyError where plotly is missing.
    """
    go, subplots = _plotly()
    assets, indicators = list(data["assets"]), list(data["indicators"])
    figure = subplots.make_subplots(
        rows=2,
        cols=2,
        column_widths=[0.68, 0.32],
        row_heights=[0.22, 0.78],
        shared_xaxes=True,
        shared_yaxes=True,
        horizontal_spacing=0.02,
        vertical_spacing=0.02,
    )
    bars = {"marker": {"color": INK}, "texttemplate": "%{text}", "textposition": "outside", "cliponaxis": False}
    columns, rows = list(data["assets"].values()), list(data["indicators"].values())
    cells = [[data["series"][indicator][symbol] for symbol in assets] for indicator in indicators]
    figure.add_trace(go.Bar(x=assets, y=columns, text=_percent(columns), **bars), row=1, col=1)
    figure.add_trace(go.Bar(x=rows, y=indicators, text=_percent(rows), orientation="h", **bars), row=2, col=2)
    figure.add_trace(
        go.Heatmap(
            x=assets,
            y=indicators,
            z=cells,
            text=[_percent(row) for row in cells],
            texttemplate="%{text}",
            colorscale=SCALE,
            zmin=0.0,
            showscale=False,
            xgap=1,
            ygap=1,
            hovertemplate="%{y}[%{x}]: %{z:.2%}<extra></extra>",
        ),
        row=2,
        col=1,
    )
    even = {"line": {"dash": "dot", "color": PAPER_GREY}}
    figure.add_hline(y=sum(columns) / len(columns), row=1, col=1, **even)  # type: ignore[arg-type]
    figure.add_vline(x=sum(rows) / len(rows), row=2, col=2, **even)  # type: ignore[arg-type]
    figure.update_xaxes(visible=False, range=[0, 1.25 * max(rows)], row=2, col=2)
    figure.update_yaxes(visible=False, range=[0, 1.3 * max(columns)], row=1, col=1)
    figure.update_yaxes(autorange="reversed", row=2)
    rest = f"to itself {data['cls']:.1%}" + (f", to the account {data['account']:.1%}" if data["account"] else "")
    figure.update_layout(
        title={"text": f"Share of [CLS] attention by asset and indicator<br><sub>{rest}; dotted: even attention</sub>"},
        template="simple_white",
        showlegend=False,
        width=820,
        height=200 + 34 * len(indicators),
    )
    return figure


def _percent(shares: list[float]) -> list[str]:
    return [f"{share:.1%}" for share in shares]


def _plotly() -> tuple[Any, Any]:
    try:
        from plotly import graph_objects, subplots
    except ImportError:
        raise MissingDependencyError(
            "plots need the package plotly, which is not installed: pip install 'ftray[plots]'"
        ) from None
    return graph_objects, subplots

"""Plots of what `*_data()` functions return: plain values in, plotly figures out, nothing computed but positions.

Readable without colour: lightness alone carries meaning, and every mark has its number beside it.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ftray.errors import MissingDependencyError

if TYPE_CHECKING:
    import numpy as np
    import plotly.graph_objects as go

BLUE = "#7aaddb"
GREY = "#8c8c8c"
SCALE = ((0.0, "#ffffff"), (1.0, BLUE))
"""White to blue: one hue, the same to the colour-blind and in a black-and-white print; black numbers stand out on all
of it."""


def plot_attention(data: Mapping[str, Any]) -> "go.Figure":
    """Which assets and indicators [CLS] looks at: a bar per asset, a bar per indicator, a map of both.

    data: what `ftray.nets.attention_data` returns. Dotted lines mark even attention.

    Raises: MissingDependencyError where plotly is missing.
    """
    go, subplots = _plotly()
    assets, indicators = data["assets"], data["indicators"]
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
    figure.add_trace(_bars(go, assets, "v"), row=1, col=1)
    figure.add_trace(_bars(go, indicators, "h"), row=2, col=2)
    figure.add_trace(_heatmap(go, data["series"]), row=2, col=1)
    even = {"line": {"dash": "dot", "color": "black", "width": 1}, "opacity": 1}
    figure.add_hline(y=sum(assets.values()) / len(assets), row=1, col=1, **even)
    figure.add_vline(x=sum(indicators.values()) / len(indicators), row=2, col=2, **even)
    bare = {"ticks": "", "showticklabels": False, "showline": False}
    figure.update_yaxes(range=[0, 1.1 * max(assets.values())], row=1, col=1, **bare)
    figure.update_xaxes(range=[0, 1.1 * max(indicators.values())], row=2, col=2, **bare)
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


def plot_equity(times: "np.ndarray", equity: Mapping[str, "np.ndarray"]) -> "go.Figure":
    """Equity over time, each from 1, and the drawdown of the first: the policy in black, what stands beside it thinner.

    times: (N,). equity: name → (N,), the policy first, then benchmarks.

    Raises: MissingDependencyError where plotly is missing.
    """
    import numpy as np

    go, subplots = _plotly()
    figure = subplots.make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.7, 0.3], vertical_spacing=0.04)
    dashes = ("dash", "dot", "dashdot", "longdash", "longdashdot")
    for i, (name, values) in enumerate(equity.items()):
        style = {"color": "black", "width": 2} if i == 0 else {"color": GREY, "width": 1, "dash": dashes[i % 5 - 1]}
        if i == 1:
            style |= {"color": BLUE, "width": 2}
        figure.add_trace(go.Scatter(x=times, y=values / values[0], name=name, line=style), row=1, col=1)
    first = next(iter(equity.values()))
    peaks = np.maximum.accumulate(first)
    drawdown = go.Scatter(
        x=times, y=first / peaks - 1.0, fill="tozeroy", line={"color": "black", "width": 1}, showlegend=False
    )
    figure.add_trace(drawdown, row=2, col=1)
    figure.update_yaxes(title="equity, from 1", type="log", row=1, col=1)
    figure.update_yaxes(title="drawdown", tickformat=".0%", row=2, col=1)
    figure.update_layout(template="simple_white", width=960, height=560)
    return figure


def _bars(go: Any, shares: Mapping[str, float], orientation: str) -> Any:
    names, values = list(shares), list(shares.values())
    return go.Bar(
        x=names if orientation == "v" else values,
        y=values if orientation == "v" else names,
        text=[f"{value:.1%}" for value in values],
        orientation=orientation,
        marker={"color": BLUE},
        textposition="inside",
        insidetextanchor="start",  # at the foot of the bar, clear of the dotted line
        constraintext="none",
        textangle=0,
        textfont={"color": "black"},
    )


def _heatmap(go: Any, series: Mapping[str, Mapping[str, float]]) -> Any:
    cells = [list(row.values()) for row in series.values()]
    return go.Heatmap(
        x=list(next(iter(series.values()))),
        y=list(series),
        z=cells,
        text=[[f"{value:.1%}" for value in row] for row in cells],
        texttemplate="%{text}",
        textfont={"color": "black"},
        hovertemplate="%{y}[%{x}]: %{z:.2%}<extra></extra>",
        colorscale=SCALE,
        zmin=0.0,
        zmax=max(map(max, cells)),
        showscale=False,
        xgap=1,
        ygap=1,
    )


def _plotly() -> tuple[Any, Any]:
    try:
        from plotly import graph_objects, subplots
    except ImportError:
        raise MissingDependencyError(
            "plots need the package plotly, which is not installed: pip install -e '.[plots]'"
        ) from None
    return graph_objects, subplots

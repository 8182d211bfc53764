"""What an encoder looks at, as a figure.

Takes: what `ftray.nets.attention_data` returns. Gives: a plotly figure.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ftray.plots.theme import figure, plotly

if TYPE_CHECKING:
    import plotly.graph_objects as go

BLUE = "#7aaddb"
SCALE = ((0.0, "#ffffff"), (1.0, BLUE))
"""White to blue: one hue, the same to the colour-blind and in a black-and-white print; black numbers stand out on all
of it."""


def plot_attention(data: Mapping[str, Any]) -> "go.Figure":
    """Which assets and indicators the encoder's readout looks at: a bar per asset, a bar per indicator, a map of both.

    Dotted lines mark even attention.

    data: what `ftray.nets.attention_data` returns.

    Raises: MissingDependencyError where plotly is missing.
    """
    go, _ = plotly()
    assets, indicators = data["assets"], data["indicators"]
    rest = f"to [CLS] {data['cls']:.1%}" + (f", to the account {data['account']:.1%}" if data["account"] else "")
    made = figure(
        "Share of attention by asset and indicator",
        f"{rest}; dotted: even attention",
        height=200 + 34 * len(indicators),
        rows=2,
        cols=2,
        column_widths=[0.68, 0.32],
        row_heights=[0.22, 0.78],
        shared_xaxes=True,
        shared_yaxes=True,
        horizontal_spacing=0.02,
        vertical_spacing=0.02,
    )
    made.add_trace(_bars(go, assets, "v"), row=1, col=1)
    made.add_trace(_bars(go, indicators, "h"), row=2, col=2)
    made.add_trace(_heatmap(go, data["series"]), row=2, col=1)
    even = {"line": {"dash": "dot", "color": "black", "width": 1}, "opacity": 1}
    made.add_hline(y=sum(assets.values()) / len(assets), row=1, col=1, **even)
    made.add_vline(x=sum(indicators.values()) / len(indicators), row=2, col=2, **even)
    bare = {"ticks": "", "showticklabels": False, "showline": False}
    made.update_yaxes(range=[0, 1.1 * max(assets.values())], row=1, col=1, **bare)
    made.update_xaxes(range=[0, 1.1 * max(indicators.values())], row=2, col=2, **bare)
    made.update_yaxes(autorange="reversed", row=2)
    return made.update_layout(showlegend=False)


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

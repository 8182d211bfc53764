"""The look of every plot: readable by the colour-blind, in print and without colour.

Takes: nothing. Gives: plotly figures to draw into. Series differ by colour (Okabe and Ito 2008), by dash and by symbol,
so that each of the three is enough. plotly is imported when the first figure is made.
"""

from typing import Any, NamedTuple

from ftray.errors import MissingDependencyError

BLACK, BLUE, VERMILLION, GREEN = "#000000", "#0072b2", "#d55e00", "#009e73"
ORANGE, PURPLE, SKY, GREY = "#e69f00", "#cc79a7", "#56b4e9", "#8c8c8c"

WIDTH, HEIGHT = 820, 460

FONT = {"family": "Helvetica, Arial, sans-serif", "size": 13, "color": BLACK}


class Series(NamedTuple):
    """How one of several series is drawn."""

    color: str
    dash: str
    symbol: str


SERIES = (
    Series(BLUE, "solid", "circle"),
    Series(VERMILLION, "dash", "square"),
    Series(GREEN, "dot", "diamond"),
    Series(PURPLE, "dashdot", "triangle-up"),
    Series(ORANGE, "longdash", "cross"),
    Series(SKY, "longdashdot", "x"),
    Series(BLACK, "solid", "star"),
)

NAMED = {
    "ft": SERIES[0],
    "mlp": SERIES[1],
    "policy": Series(BLACK, "solid", "circle"),
    "equal_weight": Series(BLUE, "dash", "square"),
}
"""What always looks the same."""


def series(names: Any) -> dict[str, Series]:
    """A look for each name: its own where it has one, else the next that is free."""
    names = list(dict.fromkeys(map(str, names)))
    taken = [NAMED[name] for name in names if name in NAMED]
    free = [one for one in SERIES if one not in taken] or list(SERIES)
    others = [name for name in names if name not in NAMED]
    looks = {name: free[i % len(free)] for i, name in enumerate(others)}
    return {name: NAMED.get(name) or looks[name] for name in names}


def figure(title: str, note: str = "", *, width: int = WIDTH, height: int = HEIGHT, **grid: Any) -> Any:
    """An empty plotly figure in the house's look.

    note: a line below the title. grid: of `make_subplots`, for several panels.

    Raises: MissingDependencyError where plotly is missing.
    """
    go, subplots = plotly()
    made = subplots.make_subplots(**grid) if grid else go.Figure()
    text = f"{title}<br><sup>{note}</sup>" if note else title
    made.update_layout(
        title={"text": text, "x": 0.02, "xanchor": "left", "y": 1, "yanchor": "top", "pad": {"t": 16}},
        template="simple_white",
        font=FONT,
        width=width,
        height=height,
        margin={"l": 70, "r": 30, "t": 84, "b": 60},
        legend={
            "orientation": "h",
            "x": 1.0,
            "xanchor": "right",
            "y": 1.01,
            "yanchor": "bottom",
            "traceorder": "normal",
        },
        hovermode="closest",
    )
    return made


def faint(color: str, opacity: float = 0.18) -> str:
    """A colour for a band behind a line of that colour.

    >>> faint("#0072b2", 0.5)
    'rgba(0,114,178,0.5)'
    """
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


def plotly() -> tuple[Any, Any]:
    """plotly's graph objects and subplots. Raises: MissingDependencyError."""
    try:
        import plotly.graph_objects as graph_objects
        import plotly.subplots as subplots
    except ImportError:
        raise MissingDependencyError(
            "plots need the package plotly, which is not installed: pip install -e '.[plots]'"
        ) from None
    return graph_objects, subplots

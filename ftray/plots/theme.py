"""The look of every plot: readable by the colour-blind, in print and without colour.

Takes: nothing. Gives: plotly figures to draw into. Series differ by colour (Okabe and Ito 2008), by dash and by symbol,
so that each of the three is enough. plotly is imported when the first figure is made.
"""

import math
from typing import Any, NamedTuple

from ftray.errors import MissingDependencyError
from ftray.metrics import EQUAL_WEIGHT, find_metric, metric_title
from ftray.units import ANY_SIZE, CLOCK, UNITS

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
    "gross": Series(BLACK, "dot", "circle-open"),
    EQUAL_WEIGHT: Series(BLUE, "dash", "square"),
}
"""What is drawn in the same way everywhere."""


def series(names: Any) -> dict[str, Series]:
    """How each name is drawn: in its own way where it has one in `NAMED`, else in the next free way."""
    names = list(dict.fromkeys(map(str, names)))
    taken = [NAMED[name] for name in names if name in NAMED]
    free = [one for one in SERIES if one not in taken] or list(SERIES)
    others = [name for name in names if name not in NAMED]
    looks = {name: free[i % len(free)] for i, name in enumerate(others)}
    return {name: NAMED.get(name) or looks[name] for name in names}


def figure(title: str, note: str = "", *, width: int = WIDTH, height: int = HEIGHT, **grid: Any) -> Any:
    """An empty plotly figure in the look of all plots.

    note: a line below the title. grid: of `make_subplots`, for several panels.

    Raises: MissingDependencyError where plotly is missing.
    """
    go, subplots = plotly()
    return themed(subplots.make_subplots(**grid) if grid else go.Figure(), title, note, width=width, height=height)


def themed(made: Any, title: str, note: str = "", *, width: int = WIDTH, height: int = HEIGHT) -> Any:
    """A plotly figure in the look of all plots; see `figure`."""
    text = f"{title}<br><sup>{note}</sup>" if note else title
    return made.update_layout(
        title={
            "text": text,
            "x": 0.02,
            "xanchor": "left",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"t": 16},
        },
        template="simple_white",
        colorway=[one.color for one in SERIES],
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


def metric_axis(name: str, values: Any) -> dict[str, Any]:
    """Title and ticks of an axis with these values of a metric; those of a count are whole numbers.

    >>> metric_axis("validation/max_drawdown", [0.1]), metric_axis("vram/used_gib", [])["title"]
    ({'title': 'max drawdown', 'tickformat': '.1%'}, 'GPU memory used, GiB')
    >>> metric_axis("validation/n_trades", [1.5, 4.0])
    {'title': 'trades', 'tickformat': ',d', 'dtick': 1}
    """
    found = find_metric(name)
    if found is None:
        return {"title": name, "tickformat": None}
    unit = f", {UNITS[found.unit].name}" if found.unit in ("GiB", "seconds", "duration") else ""
    if found.unit in ("count", "bars"):
        return {"title": metric_title(name), **integer_axis(values)}
    form = UNITS[found.unit].form
    return {"title": metric_title(name) + unit, "tickformat": None if form in (ANY_SIZE, CLOCK) else form}


def integer_axis(values: Any) -> dict[str, Any]:
    """Ticks of an axis with whole numbers, like steps or epochs: never a half.

    >>> integer_axis([1, 4]), integer_axis([0, 5_000])
    ({'tickformat': ',d', 'dtick': 1}, {'tickformat': ',d', 'dtick': None})
    """
    known = [value for value in values if math.isfinite(value)]
    is_short = not known or max(known) - min(known) <= 10
    return {"tickformat": ",d", "dtick": 1 if is_short else None}


def logarithmic_axis(values: Any) -> dict[str, Any]:
    """Ticks of a logarithmic axis: 1, 2 and 5 where the values lie within a decade or two, where plotly labels every
    digit, one over the other; else its own.

    >>> logarithmic_axis([0.03, 0.09])["ticktext"], logarithmic_axis([1e-5, 1e-3])
    (['0.01', '0.02', '0.05', '0.1', '0.2', '0.5'], {})
    """
    low, high = min(values), max(values)
    if high > 30 * low:
        return {}
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    labelled = [float(f"{digit}e{power}") for power in powers for digit in (1, 2, 5)]
    return {"tickvals": labelled, "ticktext": [f"{one:g}" for one in labelled]}


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
            "plots need the package plotly, which is not installed: pip install 'ftray[plots]'"
        ) from None
    return graph_objects, subplots

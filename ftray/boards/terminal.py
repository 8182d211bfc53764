"""Tables in a terminal, and without one as plain lines: how figures are written, and in which columns.

Takes: rows as plain mappings. Gives: lines on a console.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

Shown = Mapping[str, tuple[str, Callable[[Any], str]]]
"""Column → (title, how a value is written)."""

WORDS = ("trial", "job", "encoder", "pretrained", "state")
"""Titles of columns that are aligned at their left."""


def text(value: Any) -> str:
    return "-" if value is None else str(value)


def ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def figure(value: float | None) -> str:
    """Whatever size it has."""
    return "-" if value is None else f"{value:.2f}" if 0.1 <= abs(value) < 1e4 else f"{value:.3g}"


def fraction(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def whole_percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def error(value: float | None) -> str:
    return "-" if value is None else f"±{figure(value)}"


def duration(seconds: float | None) -> str:
    """Hours, minutes, seconds.

    >>> duration(3_723.4)
    '1:02:03'
    """
    if seconds is None:
        return "-"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def print_table(title: str, shown: Shown, rows: list[dict[str, Any]], console: "Console") -> None:
    """A title where there is a terminal, the columns' titles, and a line per row, however wide."""
    titles = [name for name, _ in shown.values()]
    lines = [[show(row[name]) for name, (_, show) in shown.items()] for row in rows]
    if console.is_terminal:
        console.print(title, style="bold", highlight=False)
    widths = [max(map(len, column)) for column in zip(titles, *lines, strict=True)]
    for line in [titles, *lines]:
        cells = (f"{c:<{w}}" if t in WORDS else f"{c:>{w}}" for c, w, t in zip(line, widths, titles, strict=True))
        console.print("  ".join(cells).rstrip(), highlight=False, markup=False, soft_wrap=True)

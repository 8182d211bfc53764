"""Tables in a terminal, and without one as plain lines of any width, so that each row is one line to grep.

Takes: rows of texts, or plain mappings and their columns. Gives: lines, on a console.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ftray.boards.columns import Columns

if TYPE_CHECKING:
    from rich.console import Console


def align(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> list[str]:
    """Rows as lines with aligned columns, two spaces apart. left: columns that are aligned at the left.

    Widths are those that a terminal shows. A `rich.table` would have to be kept from wrapping and truncating, and takes
    9 seconds for 10,000 trials; this takes 0.1.

    >>> align([["trial", "Sharpe"], ["a", "0.50"]])
    ['trial  Sharpe', 'a        0.50']
    """
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        gaps = [" " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
        cells = (cell + gap if i in left else gap + cell for i, (cell, gap) in enumerate(zip(row, gaps, strict=True)))
        lines.append("  ".join(cells).rstrip())
    return lines


def print_lines(lines: Iterable[str], console: "Console") -> None:
    """Lines as they are, whatever the terminal's width."""
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def print_table(title: str, columns: Columns, rows: Iterable[Mapping[str, Any]], console: "Console") -> None:
    """A title where there is a terminal, the columns' titles, and a line per row."""
    if console.is_terminal:
        console.print(title, style="bold", highlight=False)
    cells = [[column.format(row[key]) for key, column in columns.items()] for row in rows]
    words = [i for i, column in enumerate(columns.values()) if column.unit is None]
    print_lines(align([[column.title for column in columns.values()], *cells], words), console)

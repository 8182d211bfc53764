"""What a report is made of: plain values, each drawn by the macro of its kind in `templates/blocks.html`.

Takes: texts, rows, plotly figures. Gives: blocks, and HTML of them. The templates escape whatever comes from files.

>>> str(render("report.html", title="<script>", note="", plotly="", sections={"A": [Paragraph("<b>")]})).count("&lt;")
3
"""

import functools
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ftray.boards.columns import Columns
from ftray.errors import NoResultError

if TYPE_CHECKING:
    import jinja2


class Block(Protocol):
    """kind: the macro that draws it."""

    @property
    def kind(self) -> str: ...


class Paragraph(NamedTuple):
    """style: `note`, `verdict`, or none."""

    words: str
    style: str = ""
    kind: str = "paragraph"


class Heading(NamedTuple):
    """The title of what follows, inside a part of the page."""

    words: str
    kind: str = "heading"


class Facts(NamedTuple):
    """A table of names and values; values that are None are left out."""

    rows: Mapping[str, Any]
    kind: str = "facts"


class Table(NamedTuple):
    """numbers: places of the columns that are aligned at the right."""

    titles: Sequence[str]
    rows: Sequence[Sequence[Any]]
    numbers: Collection[int] = ()
    kind: str = "table"


class Code(NamedTuple):
    """A text as it is. title: of one that opens with a click."""

    text: str
    title: str = ""
    kind: str = "code"


class Plot(NamedTuple):
    """A plotly figure. name: its element's id, whatever characters it holds."""

    figure: Any
    name: str
    kind: str = "plot"

    @property
    def html(self) -> Any:
        """The figure alone, as wide as the page around it, which must hold plotly's script."""
        from markupsafe import Markup

        name = re.sub(r"[^\w-]", "-", self.name)  # plotly does not escape it
        config = {"displaylogo": False, "responsive": True}
        fluid = type(self.figure)(self.figure).update_layout(width=None, autosize=True)
        return Markup(fluid.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=config))


def plot_or_why(draw: Callable[[], Any], name: str) -> Block:
    """The plot that `draw` returns, or why there is none."""
    try:
        return Plot(draw(), name)
    except NoResultError as error:
        return Paragraph(f"Nothing to show: {error}", "note")


def table_of(columns: Columns, rows: Iterable[Mapping[str, Any]]) -> Table:
    """Rows as a table of these columns; a key that a row lacks is a dash."""
    numbers = [i for i, column in enumerate(columns.values()) if column.unit is not None]
    cells = [[column.format(row.get(key)) for key, column in columns.items()] for row in rows]
    return Table([column.title for column in columns.values()], cells, numbers)


def render(template: str, **values: Any) -> str:
    """A template of `templates/`, filled in."""
    return _templates().get_template(template).render(values)


@functools.cache
def _templates() -> "jinja2.Environment":
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("ftray.boards"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

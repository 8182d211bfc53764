"""Pieces of an HTML page: everything that comes from files is escaped here and nowhere else.

Takes: plain texts, rows, plotly figures. Gives: HTML.

>>> paragraph("an error said <script>")
'<p>an error said &lt;script&gt;</p>'
"""

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Cell = Any
"""Shown as text; numbers are right-aligned."""

STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 1040px; padding: 24px 16px 60px; color: #111; background: #fff;
       font: 15px/1.5 Helvetica, Arial, sans-serif; }
h1 { font-size: 28px; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 40px 0 8px; padding-top: 10px; border-top: 1px solid #c9ccd1; }
.note, nav { color: #4a4d52; font-size: 14px; } nav a { margin-right: 14px; display: inline-block; }
a, summary { color: #00588a; } summary { cursor: pointer; margin: 10px 0; } .wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 10px 0; font-size: 14px; }
th, td { text-align: left; padding: 4px 16px 4px 0; border-bottom: 1px solid #e6e7ea; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
pre { background: #f4f5f7; border: 1px solid #d9dbdf; border-radius: 6px; padding: 10px; font-size: 13px;
      white-space: pre-wrap; overflow-wrap: anywhere; }
.verdict { font-size: 17px; border-left: 4px solid #0072b2; padding-left: 12px; margin: 14px 0; }
.plot { margin: 10px 0; overflow-x: auto; }
@media print { nav { display: none; } h2 { break-after: avoid; } .plot, tr { break-inside: avoid; } }
"""


def paragraph(words: str, kind: str = "") -> str:
    return f"<p{_class(kind)}>{html.escape(words)}</p>"


def verbatim(words: str) -> str:
    return f"<pre>{html.escape(words)}</pre>"


def facts(rows: Mapping[str, Cell]) -> str:
    """A table of names and values; values that are None are left out."""
    cells = (
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>"
        for name, value in rows.items()
        if value is not None
    )
    return f'<div class="wide"><table>{"".join(cells)}</table></div>'


def folded(title: str, inside: str) -> str:
    """HTML that opens with a click."""
    return f"<details><summary>{html.escape(title)}</summary>{inside}</details>"


def table(titles: Sequence[str], rows: Iterable[Sequence[Cell]], numbers: Iterable[int] = ()) -> str:
    """numbers: places of the columns that are right-aligned."""
    right = set(numbers)

    def line(cells: Sequence[Cell], tag: str) -> str:
        inside = (
            f"<{tag}{_class('number' if i in right else '')}>{html.escape(str(cell))}</{tag}>"
            for i, cell in enumerate(cells)
        )
        return f"<tr>{''.join(inside)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f'<div class="wide"><table><thead>{line(titles, "th")}</thead><tbody>{body}</tbody></table></div>'


def plot(made: Any, name: str) -> str:
    """A plotly figure by itself; the page that it stands on must have plotly's script. name: its element's id, which
    plotly does not escape."""
    name = re.sub(r"[^\w-]", "-", name)
    inside = made.to_html(full_html=False, include_plotlyjs=False, div_id=name, config={"displaylogo": False})
    return f'<div class="plot">{inside}</div>'


def page(title: str, note: str, sections: Sequence[tuple[str, str]]) -> str:
    """A whole page that needs nothing from elsewhere. sections: titles, and HTML."""
    from plotly.offline import get_plotlyjs

    names = [f"part-{i}" for i in range(len(sections))]
    links = "".join(
        f'<a href="#{name}">{html.escape(title)}</a>' for name, (title, _) in zip(names, sections, strict=True)
    )
    body = "".join(
        f'<section id="{name}"><h2>{html.escape(title)}</h2>{inside}</section>'
        for name, (title, inside) in zip(names, sections, strict=True)
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{html.escape(title)}</title><style>{STYLE}</style>'
        f"<script>{get_plotlyjs()}</script></head><body><h1>{html.escape(title)}</h1>"
        f"{paragraph(note, 'note')}<nav>{links}</nav>{body}</body></html>"
    )


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""

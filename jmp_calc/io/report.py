"""A report as one HTML file: facts and tables, readable without a network, scripts or files beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 76em; padding: 0 1em; color: #222;
  background: #fff }
h1 { font-size: 1.5em; margin-bottom: 0 } h2 { font-size: 1.15em; margin: 1.6em 0 .4em }
p.lead { margin-top: .3em; color: #555 }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; vertical-align: top;
  padding: .35em .7em; border-bottom: 1px solid #ddd } th { color: #555; font-weight: 600 }
td:first-child { white-space: nowrap } dt { color: #555; float: left; width: 9em }
dd { margin: 0 0 .2em 9.5em }
tr.pass td:first-child { color: #0a6b2d } tr.fail td, tr.error td { background: #fdecea }
tr.fail td:first-child, tr.error td:first-child { color: #b3261e; font-weight: 600 }
tr.not td { color: #777 } tr.warning td { background: #fff6e0 }
"""


@dataclass(frozen=True)
class Table:
    """Rows of texts under column heads."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    classes: Sequence[str] = ()
    """One per row, which decides its colour: pass, fail, not, error, warning."""
    title: str = ""


def html_report(
    title: str, lead: str, facts: Mapping[str, str], tables: Sequence[Table], *, figure: str = ""
) -> str:
    """The page; every text is escaped. ``figure`` is SVG, and stands before the tables as it is."""
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>\n" for name, text in facts.items())
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        f'<h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n<dl>\n{listed}</dl>\n'
        + figure
        + "\n".join(map(_table, tables))
        + "\n</body></html>\n"
    )


def _table(table: Table) -> str:
    heads = "".join(f"<th>{escape(name)}</th>" for name in table.columns)
    classes = table.classes or ("",) * len(table.rows)
    rows = "\n".join(
        f'<tr class="{escape(kind)}">' + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>"
        for kind, row in zip(classes, table.rows, strict=True)
    )
    title = f"<h2>{escape(table.title)}</h2>\n" if table.title else ""
    return f"{title}<table>\n<tr>{heads}</tr>\n{rows}\n</table>"

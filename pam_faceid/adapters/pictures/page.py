"""One HTML page that holds its pictures, loads nothing and runs nothing."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a heading line.

    Args:
        columns: The heading line.
        rows: As many cells each.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the page.

    Args:
        title: Its heading.
        paragraphs: What the picture says and how to read it, or why there is none.
        png: The picture.
        alternative: The picture in words, for whoever does not see it.
        table: Under the picture.
    """

    title: str
    paragraphs: Sequence[str]
    png: bytes | None = field(default=None, repr=False)
    alternative: str = ""
    table: Table | None = None


# "default-src 'none'": a browser loads nothing for this page, whatever a name in it may hold.
_HEAD: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light; }}
body {{ max-width: 42rem; margin: 0 auto; padding: 1rem; background: #fff; color: #222;
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }}
h1 {{ font-size: 1.5rem; line-height: 1.2; }}
h2 {{ font-size: 1.15rem; margin: 2rem 0 .25rem; border-top: 1px solid #ccc; padding-top: 1rem; }}
p {{ margin: .5rem 0; }}
.notice {{ border-left: .3rem solid #d55e00; padding: .1rem .8rem; background: #fff6ee; }}
img {{ display: block; width: 100%; max-width: 36rem; height: auto; margin: .5rem auto; }}
table {{ border-collapse: collapse; width: 100%; font-size: .9rem; margin: .5rem 0; }}
th, td {{ text-align: left; vertical-align: top; padding: .2rem .6rem .2rem 0;
  border-bottom: 1px solid #ddd; }}
td:first-child {{ overflow-wrap: anywhere; }}
@media print {{
  body {{ max-width: none; font-size: 10pt; padding: 0; }}
  section, img {{ break-inside: avoid; }}
  img {{ max-width: 13cm; }}
  h2 {{ break-after: avoid; }}
}}
</style>
</head>
<body>
"""


def page(
    title: str, *, facts: Mapping[str, str], notices: Sequence[str], sections: Sequence[Section]
) -> str:
    """Return the page. Every text may hold anything: none of it becomes markup.

    Args:
        title: Of the page.
        facts: What it was made from, by name.
        notices: What a reader must know before all else.
        sections: In their order.
    """
    parts = [_HEAD.format(title=escape(title)), f"<h1>{escape(title)}</h1>\n"]
    parts += [f'<p class="notice">{escape(notice)}</p>\n' for notice in notices]
    parts.append(_table(Table((), list(facts.items()))))
    parts += map(_section, sections)
    parts.append("</body>\n</html>\n")
    return "".join(parts)


def _section(section: Section) -> str:
    parts = [f"<section>\n<h2>{escape(section.title)}</h2>\n"]
    if section.png is not None:
        data = base64.b64encode(section.png).decode("ascii")
        words = escape(section.alternative)
        parts.append(f'<img alt="{words}" src="data:image/png;base64,{data}">\n')
    parts += [f"<p>{escape(text)}</p>\n" for text in section.paragraphs]
    if section.table is not None:
        parts.append(_table(section.table))
    parts.append("</section>\n")
    return "".join(parts)


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n"
        for row in table.rows
    )
    return f"<table>\n{f'<tr>{head}</tr>' if head else ''}{rows}</table>\n"

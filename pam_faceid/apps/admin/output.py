"""How results reach the terminal: JSON for programs, tables for people."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import click

SHORT_CELL: Final = 16


def as_json(value: object) -> None:
    """Write one JSON document to standard output."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table with a heading line; columns of short cells, such as dates, never wrap."""
    # Imported here: drawing is not needed to take the face out of a broken machine.
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        short = all(len(row[index]) <= SHORT_CELL for row in rows)
        drawn.add_column(column, no_wrap=short, overflow="fold")
    for row in rows:
        # As Text: a file name in brackets is not markup.
        drawn.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(drawn)


def facts(pairs: Mapping[str, str]) -> None:
    """Write name and value, one pair a line, values aligned."""
    indent = max(map(len, pairs)) + 2
    for name, value in pairs.items():
        click.echo(paragraph(value or "-", lead=f"{name:<{indent}}", indent=" " * indent))


def paragraph(text: str, *, lead: str, indent: str, used: int = 0) -> str:
    """Return text wrapped to the terminal; paths and options are never broken.

    Args:
        text: What to wrap.
        lead: Before the first line.
        indent: Before every other line.
        used: Columns before `lead` that the caller has written.
    """
    wrapped = textwrap.fill(
        text,
        width=shutil.get_terminal_size().columns,
        initial_indent=" " * used + lead,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return wrapped[used:]


def local_time(seconds: float) -> str:
    """Return seconds since the epoch as local date and minute."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")


def iso_time(seconds: float) -> str:
    """Return seconds since the epoch as ISO 8601 with offset, for JSON."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")

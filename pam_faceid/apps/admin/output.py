"""How results reach the terminal: JSON for programs, tables for people."""

from __future__ import annotations

import contextlib
import json
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

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

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for index, column in enumerate(columns):
        short = all(len(row[index]) <= SHORT_CELL for row in rows)
        is_last = index == len(columns) - 1
        drawn.add_column(column, no_wrap=short and not is_last, overflow="fold")
    for row in rows:
        # As Text: a file name in brackets is not markup.
        drawn.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(drawn)


class Show(Protocol):
    """Tells the person what to do, and how far they are."""

    def __call__(self, text: str, *, done: int | None = None, wanted: int | None = None) -> None:
        """Replace the advice; `done` of `wanted` samples are good."""


@contextlib.contextmanager
def guide(text: str) -> Iterator[Show]:
    """Show a line of advice and a bar on standard error while a person is looked at.

    Args:
        text: The first advice.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(text, total=None)

        def show(text: str, *, done: int | None = None, wanted: int | None = None) -> None:
            progress.update(task, description=text, completed=done, total=wanted)

        yield show


class ShowPoses(Protocol):
    """Tells the person what to do, and fills a bar for each pose."""

    def __call__(self, text: str, taken: Mapping[str, int]) -> None:
        """Replace the advice; so many samples of each pose are good."""


@contextlib.contextmanager
def guide_poses(wanted: Mapping[str, int], text: str) -> Iterator[ShowPoses]:
    """Show a line of advice above one bar a pose on standard error.

    Args:
        wanted: How many samples of each pose.
        text: The first advice.
    """
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.text import Text

    console = Console(stderr=True)
    if console.is_dumb_terminal:  # one that cannot go back a line
        yield _Lines(text)
        return
    advice = Text(text, style="bold")
    columns = (TextColumn("{task.description:>10}"), BarColumn(bar_width=30), MofNCompleteColumn())
    bars = Progress(*columns, console=console)
    tasks = {pose: bars.add_task(pose, total=count) for pose, count in wanted.items()}
    with Live(Group(advice, bars), console=console, transient=True, refresh_per_second=10):

        def show(text: str, taken: Mapping[str, int]) -> None:
            advice.plain = text
            for pose, task in tasks.items():
                bars.update(task, completed=min(taken.get(pose, 0), wanted[pose]))

        yield show


class _Lines:
    """The same where lines cannot be redrawn: each new advice once."""

    def __init__(self, text: str) -> None:
        self._last = ""
        self(text, {})

    def __call__(self, text: str, taken: Mapping[str, int]) -> None:
        if text != self._last:
            click.echo(text, err=True)
        self._last = text


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


def printable(text: str) -> str:
    """Return text that moves no terminal: what is read back is as hostile as it came in."""
    return "".join(c if c.isprintable() else f"\\u{{{ord(c):x}}}" for c in text)

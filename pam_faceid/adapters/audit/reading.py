"""Reading the log back, with the files that logrotate has put aside."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO, Final, cast

from pam_faceid.adapters.audit.lines import MAX_LINE_BYTES, LineError, parse_line
from pam_faceid.adapters.audit.links import Link
from pam_faceid.adapters.audit.log import FileAuditLog
from pam_faceid.adapters.audit.sealed import head_of
from pam_faceid.core.errors import AuditError

_STAMP: Final = "%Y-%m-%dT%H:%M:%S.%fZ"
_GZIP: Final = b"\x1f\x8b"
_PIECE_BYTES: Final = 2 * MAX_LINE_BYTES


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file.

    Args:
        file: Its path.
        number: From 1.
        text: Without its newline; what is longer than any record is cut.
        ended: Whether a newline followed.
    """

    file: Path
    number: int
    text: bytes
    ended: bool = True


@dataclass(frozen=True, slots=True)
class Record:
    """A line that can be read.

    Args:
        line: Where it is.
        moment: When it was written.
        pairs: What it says; `time` and `event` are there.
    """

    line: Line
    moment: datetime
    pairs: dict[str, str]


def log_files(path: Path) -> list[Path]:
    """Return the log and the files rotated away from it, oldest first."""
    try:
        names = [entry for entry in path.parent.iterdir() if _belongs(entry.name, path.name)]
    except FileNotFoundError:
        return []
    # Rotating keeps the time of the last line, and so does compressing.
    return sorted(names, key=lambda file: (file == path, file.stat().st_mtime_ns, file.name))


def read_lines(files: Iterable[Path]) -> Iterator[Line]:
    """Yield every line of the files, as they are now.

    Raises:
        AuditError: One cannot be read.
    """
    with snapshot(files) as opened:
        yield from opened


@contextmanager
def snapshot(files: Iterable[Path]) -> Iterator[Iterator[Line]]:
    """Open the files at one moment and yield the lines that they had then.

    Raises:
        AuditError: One cannot be opened or, later, read.
    """
    with ExitStack() as stack:
        opened = []
        for path in files:
            try:
                file = stack.enter_context(path.open("rb"))
            except OSError as error:
                raise _cannot_read(path, error) from error
            opened.append((path, file, os.fstat(file.fileno()).st_size))
        yield (line for path, file, size in opened for line in _lines(path, file, size))


@contextmanager
def as_it_is(log: FileAuditLog) -> Iterator[tuple[Link | None, Iterator[Line]]]:
    """Yield the head of the chain and every line of every file, as they were at one moment.

    Raises:
        AuditError: A file, or the head, cannot be read.
    """
    with ExitStack() as stack:
        with log.held():
            head = head_of(log)
            link = head.read() if head.exists() else None
            lines = stack.enter_context(snapshot(log_files(log.path)))
        yield link, lines


def record_of(line: Line) -> Record | None:
    """Return what a line says, or None when it is no record: torn, altered, of an older format."""
    if not line.ended:
        return None
    try:
        pairs = parse_line(line.text)
        if "event" not in pairs:
            return None
        moment = datetime.strptime(pairs["time"], _STAMP).replace(tzinfo=timezone.utc)
    except (LineError, KeyError, ValueError):
        return None
    return Record(line, moment, pairs)


def _belongs(name: str, log: str) -> bool:
    return name == log or name.startswith((f"{log}.", f"{log}-"))


def _lines(path: Path, file: BinaryIO, size: int) -> Iterator[Line]:
    try:
        packed = file.read(2) == _GZIP
        file.seek(0)
        plain = cast("BinaryIO", gzip.GzipFile(fileobj=file)) if packed else file
        number = 0
        while packed or file.tell() < size:
            text = rest = plain.readline(_PIECE_BYTES)
            while len(rest) == _PIECE_BYTES and not rest.endswith(b"\n"):
                rest = plain.readline(_PIECE_BYTES)  # of a line longer than any record
            if not text:
                return
            number += 1
            yield Line(path, number, text.removesuffix(b"\n"), ended=rest.endswith(b"\n"))
    except (OSError, EOFError, zlib.error) as error:
        raise _cannot_read(path, error) from error


def _cannot_read(path: Path, error: Exception) -> AuditError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return AuditError(f"cannot read {path}: {reason}", hint="run it as root, on a file of the log")

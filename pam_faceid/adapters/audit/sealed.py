"""Appending to a sealed log: line first, then head, and whole after a crash between the two."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

from pam_faceid.adapters.audit.head import HeadFile
from pam_faceid.adapters.audit.lines import MAX_LINE_BYTES
from pam_faceid.adapters.audit.links import START, STOP, Link, first_link, is_sealed_by
from pam_faceid.adapters.audit.log import FileAuditLog, make_directory
from pam_faceid.adapters.audit.record import describe
from pam_faceid.core.errors import AuditError

ROTATED: Final = ".1"  # what logrotate calls the file before this one, not yet compressed
_READ: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


def append_sealed(log: FileAuditLog, pairs: dict[str, str], directory: int) -> None:
    """Seal and append one line, and move the head on.

    Args:
        log: Held by the caller.
        pairs: Of the record.
        directory: What `FileAuditLog.held` yielded.

    Raises:
        AuditError: The head is damaged.
        FileRefusedError, OSError: Log or head cannot be written.
    """
    head = head_of(log)
    link = head.read()
    if _ends_with(log, link, directory):
        # Killed between line and head: the line counts, and its key must not seal another.
        link = link.next()
    log.append(link.seal(pairs), directory)
    head.advance(link.next())


def start_chain(log: FileAuditLog, keep: Callable[[Link], None]) -> None:
    """Begin to seal; the first sealed line says so.

    Args:
        log: To seal from now on.
        keep: Stores the first link, which checks every line of the chain. Called before anything
            is written.

    Raises:
        AuditError: There is a chain, or it cannot be written.
    """
    link = first_link()
    with log.held() as directory:
        head = head_of(log)
        if head.exists():
            raise AuditError(
                f"there is a chain already: {log.chain}",
                hint="to begin another: faceid-admin audit stop",
            )
        keep(link)
        make_directory(log.chain.parent, log.owner)
        head.create(link, uid=log.owner.uid, gid=log.owner.gid)
        append_sealed(log, describe(START, {}, seconds=time.time()), directory)


def stop_chain(log: FileAuditLog) -> None:
    """Seal a last line that says so, and remove the head.

    Raises:
        AuditError: There is no chain, or log or head cannot be written.
    """
    with log.held() as directory:
        head = head_of(log)
        if not head.exists():
            raise AuditError("the log is not sealed: there is no chain to stop")
        append_sealed(log, describe(STOP, {}, seconds=time.time()), directory)
        head.remove()


def head_of(log: FileAuditLog) -> HeadFile:
    """Return the head of the log's chain, which may not exist."""
    return HeadFile(log.chain, owner_uid=log.owner.uid)


def _ends_with(log: FileAuditLog, link: Link, directory: int) -> bool:
    """Whether one of the newest lines, of this file or of the one before it, is this link's."""
    for name in (log.path.name, log.path.name + ROTATED):
        tail = _tail(name, directory)
        if any(is_sealed_by(link, line) for line in tail.split(b"\n")[:-1]):
            return True
        if tail:
            return False
    return False


def _tail(name: str, directory: int) -> bytes:
    try:
        fd = os.open(name, _READ, dir_fd=directory)
    except FileNotFoundError:
        return b""
    try:
        return os.pread(fd, MAX_LINE_BYTES, max(0, os.fstat(fd).st_size - MAX_LINE_BYTES))
    finally:
        os.close(fd)

"""Appending to the log: a record is on the disk before the reply is sent, or there is no match."""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pam_faceid.adapters.audit import journal
from pam_faceid.adapters.audit.head import HeadFile
from pam_faceid.adapters.audit.lines import MAX_LINE_BYTES, write_line
from pam_faceid.adapters.audit.links import START, STOP, Link, first_link, is_sealed_by
from pam_faceid.adapters.audit.record import Field, describe, for_journal
from pam_faceid.adapters.safe_files import check_regular, open_directory, refused_as
from pam_faceid.core.errors import AuditError
from pam_faceid.layout import KEEPER_USER

DIRECTORY_MODE: Final = 0o750
FILE_MODE: Final = 0o600
ROTATED: Final = ".1"  # what logrotate calls the file before this one
_READ: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN: Final = os.O_RDWR | os.O_APPEND | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose the log is: the daemon appends to it, and so does root.

    Args:
        uid: User id.
        gid: Group id.
    """

    uid: int
    gid: int


def log_owner() -> Owner:
    """Return the daemon's user, or the process's own where root is not one of the writers."""
    try:
        keeper = pwd.getpwnam(KEEPER_USER)
    except KeyError:
        return Owner(os.geteuid(), os.getegid())
    if os.geteuid() not in (0, keeper.pw_uid):
        return Owner(os.geteuid(), os.getegid())
    return Owner(keeper.pw_uid, keeper.pw_gid)


class FileAuditLog:
    """An `AuditLog` that appends to a file, and copies what others may see to the journal.

    Args:
        path: Made mode 0600 if it is not there, and so is its directory, mode 0750.
        chain: Head of the chain. Where it exists, each line is sealed.
        must_chain: Refuse to write a line that cannot be sealed because there is no head.
        syslog: Datagram socket of the system's log.
    """

    def __init__(
        self, path: Path, *, chain: Path, must_chain: bool, syslog: Path = journal.DEV_LOG
    ) -> None:
        self.path = path
        self._chain = chain
        self._must_chain = must_chain
        self._syslog = syslog
        self._owner = log_owner()

    def record(self, event: str, **fields: Field) -> None:
        """Append one line.

        Args:
            event: What happened.
            fields: See `record.describe`.

        Raises:
            AuditError: It could not be made durable.
            TypeError: A field is not a plain value. Arrays, and so embeddings, are not.
        """
        pairs = describe(event, fields, seconds=time.time())
        with self.held() as directory:
            head = self.head()
            if head.exists():
                self._append_sealed(pairs, head, directory)
            elif self._must_chain:
                raise AuditError(
                    f"[audit] chain is true and there is no chain: {self._chain} does not exist",
                    hint="if nobody removed it, start one: faceid-admin audit start",
                )
            else:
                self._append(write_line(pairs), directory)
        journal.send(write_line(for_journal(pairs)), to=self._syslog)

    def start_chain(self, keep: Callable[[Link], None]) -> None:
        """Begin to seal; the first sealed line says so.

        Args:
            keep: Stores the first link, which checks every line of the chain. Called before
                anything is written.

        Raises:
            AuditError: There is a chain, or it cannot be written.
        """
        link = first_link()
        owner = self._owner
        with self.held() as directory:
            head = self.head()
            if head.exists():
                raise AuditError(
                    f"there is a chain already: {self._chain}",
                    hint="to begin another: faceid-admin audit stop",
                )
            keep(link)
            _make_directory(self._chain.parent, owner)
            head.create(link, uid=owner.uid, gid=owner.gid)
            self._append_sealed(describe(START, {}, seconds=time.time()), head, directory)

    def stop_chain(self) -> None:
        """Seal a last line that says so, and remove the head.

        Raises:
            AuditError: There is no chain, or the log or the head cannot be written.
        """
        with self.held() as directory:
            head = self.head()
            if not head.exists():
                raise AuditError("the log is not sealed: there is no chain to stop")
            self._append_sealed(describe(STOP, {}, seconds=time.time()), head, directory)
            head.remove()

    @contextmanager
    def held(self) -> Iterator[int]:
        """Hold the log, so that one process at a time reads head and log and appends.

        Yields the descriptor of its directory. That is what is locked, and not the file, because
        logrotate puts another file in its place.

        Raises:
            AuditError: It is not safe, or what was done within failed.
        """
        try:
            with refused_as(AuditError):
                _make_directory(self.path.parent, self._owner)
                with open_directory(self.path.parent, owner_uid=self._owner.uid) as directory:
                    fcntl.flock(directory, fcntl.LOCK_EX)
                    yield directory
        except OSError as error:
            raise _cannot_record(self.path, error) from error

    def head(self) -> HeadFile:
        """Return the head of the chain, which may not exist."""
        return HeadFile(self._chain, owner_uid=self._owner.uid)

    def _append_sealed(self, pairs: dict[str, str], head: HeadFile, directory: int) -> None:
        link = head.read()
        if self._ends_with(link, directory):
            # Killed between line and head: the line counts, and its key must not seal another.
            link = link.next()
        self._append(link.seal(pairs), directory)
        head.advance(link.next())

    def _ends_with(self, link: Link, directory: int) -> bool:
        """Whether the newest line, of this file or of the one rotated away, is this link's."""
        for name in (self.path.name, self.path.name + ROTATED):
            try:
                fd = os.open(name, _READ, dir_fd=directory)
            except FileNotFoundError:
                continue
            try:
                size = os.fstat(fd).st_size
                start = max(0, size - MAX_LINE_BYTES)
                tail = os.pread(fd, MAX_LINE_BYTES, start)
            finally:
                os.close(fd)
            if any(is_sealed_by(link, line) for line in tail.splitlines()):
                return True
            if size:
                return False
        return False

    def _append(self, line: bytes, directory: int) -> None:
        fd, made = _open(self.path.name, directory, self._owner)
        try:
            check_regular(self.path, os.fstat(fd), owner_uid=self._owner.uid, max_mode=FILE_MODE)
            _write_line(fd, line + b"\n")
            os.fsync(fd)
        finally:
            os.close(fd)
        if made:
            os.fsync(directory)


def _make_directory(directory: Path, owner: Owner) -> None:
    try:
        directory.mkdir(mode=DIRECTORY_MODE)
    except FileExistsError:
        return
    os.chown(directory, owner.uid, owner.gid, follow_symlinks=False)


def _open(name: str, directory: int, owner: Owner) -> tuple[int, bool]:
    """Open the log; also say whether it was made just now."""
    try:
        return os.open(name, _OPEN, dir_fd=directory), False
    except FileNotFoundError:
        fd = os.open(name, _OPEN | os.O_CREAT, FILE_MODE, dir_fd=directory)
    os.fchown(fd, owner.uid, owner.gid)
    return fd, True


def _write_line(fd: int, line: bytes) -> None:
    """Append in a single write."""
    size = os.fstat(fd).st_size
    if size and os.pread(fd, 1, size - 1) != b"\n":
        # A full disk or a power cut left half a line, which must not swallow this one.
        line = b"\n" + line
    written = os.write(fd, line)
    if written != len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _cannot_record(path: Path, error: OSError) -> AuditError:
    hint = f"see that root can write there: ls -ld {path.parent}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = f"make room: df {path.parent}"
    elif error.errno == errno.ELOOP:
        hint = f"it is a symbolic link, which is not followed: rm {path}"
    return AuditError(f"cannot record the attempt in {path}: {error.strerror}", hint=hint)

"""Appending to the log: a record is on the disk before the reply is sent, or there is no match."""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from pam_faceid.adapters.audit import journal
from pam_faceid.adapters.audit.lines import write_line
from pam_faceid.adapters.audit.record import Field, describe, for_journal
from pam_faceid.adapters.safe_files import check_regular, open_directory, refused_as
from pam_faceid.core.errors import AuditError
from pam_faceid.layout import KEEPER_USER

DIRECTORY_MODE: Final = 0o750
FILE_MODE: Final = 0o600
LOCK_SECONDS: Final = 5.0  # whoever holds it needs milliseconds, unless it was stopped
_LOCK_POLL_SECONDS: Final = 0.002
TORN: Final = b" torn"  # no line that ends in it is canonical
_OPEN: Final = os.O_RDWR | os.O_APPEND | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


class Owner(NamedTuple):
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
        chain: Head of the chain; where it exists, each line is sealed.
        must_chain: Refuse to write a line that cannot be sealed because there is no head.
        syslog: Datagram socket of the system's log.
        lock_seconds: How long to wait for another writer.
    """

    def __init__(
        self,
        path: Path,
        *,
        chain: Path,
        must_chain: bool,
        syslog: Path = journal.DEV_LOG,
        lock_seconds: float = LOCK_SECONDS,
    ) -> None:
        self.path = path
        self.chain = chain
        self._must_chain = must_chain
        self._syslog = syslog
        self._lock_seconds = lock_seconds
        self.owner = log_owner()

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
            if os.path.lexists(self.chain):
                # Few logs are sealed, and start-up time counts.
                from pam_faceid.adapters.audit.sealed import append_sealed  # noqa: PLC0415

                append_sealed(self, pairs, directory)
            elif self._must_chain:
                raise AuditError(
                    f"[audit] chain is true and there is no chain: {self.chain} does not exist",
                    hint="if nobody removed it, start one: faceid-admin audit start",
                )
            else:
                self.append(write_line(pairs), directory)
        journal.send(write_line(for_journal(pairs)), to=self._syslog)

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
                make_directory(self.path.parent, self.owner)
                with open_directory(self.path.parent, owner_uid=self.owner.uid) as directory:
                    self._wait_for_lock(directory)
                    yield directory
        except OSError as error:
            raise _cannot_record(self.path, error) from error

    def _wait_for_lock(self, directory: int) -> None:
        """Wait for other writers, but not for ever: one that was stopped must not stop all."""
        until = time.monotonic() + self._lock_seconds
        while True:
            try:
                fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise AuditError(
                        f"another process has held {self.path.parent} for {self._lock_seconds:g} s",
                        hint=f"see which: fuser -v {self.path.parent}",
                    ) from None
                time.sleep(_LOCK_POLL_SECONDS)
            else:
                return

    def append(self, line: bytes, directory: int) -> None:
        """Append a line and make it durable.

        Args:
            line: Without a newline.
            directory: What `held` yielded.

        Raises:
            FileRefusedError: The file is not what it must be.
            OSError: It cannot be written.
        """
        fd, made = _open(self.path.name, directory, self.owner)
        try:
            check_regular(self.path, os.fstat(fd), owner_uid=self.owner.uid, max_mode=FILE_MODE)
            _write_line(fd, line + b"\n")
            os.fsync(fd)
        finally:
            os.close(fd)
        if made:
            os.fsync(directory)


def make_directory(directory: Path, owner: Owner) -> None:
    """Make a directory of the log's owner where there is none."""
    try:
        directory.mkdir(mode=DIRECTORY_MODE)
    except FileExistsError:
        return
    if os.geteuid() != owner.uid:
        os.chown(directory, owner.uid, owner.gid, follow_symlinks=False)


def _open(name: str, directory: int, owner: Owner) -> tuple[int, bool]:
    """Open the log; also say whether it was made just now."""
    try:
        return os.open(name, _OPEN, dir_fd=directory), False
    except FileNotFoundError:
        fd = os.open(name, _OPEN | os.O_CREAT, FILE_MODE, dir_fd=directory)
    # Not by the owner itself: the unit's filter of system calls refuses even what changes nothing.
    if os.geteuid() != owner.uid:
        os.fchown(fd, owner.uid, owner.gid)
    return fd, True


def _write_line(fd: int, line: bytes) -> None:
    """Append in a single write."""
    size = os.fstat(fd).st_size
    if size and os.pread(fd, 1, size - 1) != b"\n":
        # A full disk or a power cut left half a line, which must neither swallow this one nor pass
        # for a record: it may end between two pairs.
        line = TORN + b"\n" + line
    written = os.write(fd, line)
    if written != len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _cannot_record(path: Path, error: OSError) -> AuditError:
    hint = f"see that its owner can write there: ls -ld {path.parent}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = f"make room: df {path.parent}"
    elif error.errno == errno.ELOOP:
        hint = f"it is a symbolic link, which is not followed: rm {path}"
    return AuditError(f"cannot record the attempt in {path}: {error.strerror}", hint=hint)

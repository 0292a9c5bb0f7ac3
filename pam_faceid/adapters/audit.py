"""One line of JSON an attempt, on the disk before the reply is sent; a copy goes to syslog."""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import socket
import time
from pathlib import Path
from typing import Final

from pam_faceid.adapters.safe_files import (
    check_regular,
    open_directory,
    refused_as,
)
from pam_faceid.core.errors import AuditError

DEV_LOG: Final = Path("/dev/log")
DIRECTORY_MODE: Final = 0o750
FILE_MODE: Final = 0o600
MAX_TEXT: Final = 1024
_AUTHPRIV_INFO: Final = (10 << 3) | 6
_OPEN: Final = os.O_RDWR | os.O_APPEND | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC

Field = str | int | float | bool | None


class FileAuditLog:
    """An `AuditLog` that appends to a file.

    Args:
        path: Made mode 0600 if it is not there, and so is its directory, mode 0750.
        syslog: Datagram socket of the system's log; each line goes there too, if it can.
    """

    def __init__(self, path: Path, *, syslog: Path = DEV_LOG) -> None:
        self._path = path
        self._syslog = syslog

    def record(self, event: str, **fields: Field) -> None:
        """Append one line.

        Args:
            event: What happened.
            fields: Anything else, in alphabetical order on the line. Text is cut after 1024
                characters.

        Raises:
            AuditError: It could not be made durable.
            TypeError: A field is not a plain value. Arrays, and so embeddings, are not.
        """
        line = _line(event, fields, seconds=time.time())
        with refused_as(AuditError):
            self._append(line)
        _send(self._syslog, line)

    def _append(self, line: bytes) -> None:
        owner_uid = os.geteuid()
        try:
            _make_directory(self._path.parent)
            with open_directory(self._path.parent, owner_uid=owner_uid) as directory:
                fd, made = _open(self._path.name, directory)
                try:
                    check_regular(self._path, os.fstat(fd), owner_uid=owner_uid, max_mode=FILE_MODE)
                    _write_line(fd, line)
                    os.fsync(fd)
                finally:
                    os.close(fd)
                if made:
                    os.fsync(directory)
        except OSError as error:
            raise _cannot_record(self._path, error) from error


def _line(event: str, fields: dict[str, Field], *, seconds: float) -> bytes:
    """Return one line of printable ASCII: nothing in a field can end it or move a terminal."""
    if "time" in fields:
        raise TypeError("`time` is set by the log itself")
    milliseconds = round(seconds * 1000)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(milliseconds // 1000))
    record: dict[str, Field] = {"time": f"{stamp}.{milliseconds % 1000:03d}Z", "event": event}
    for name in sorted(fields):
        record[name] = _plain(name, fields[name])
    text = json.dumps(record, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.encode("ascii") + b"\n"


def _plain(name: str, value: Field) -> Field:
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else value[:MAX_TEXT] + "..."
    if isinstance(value, float):
        # JSON has no word for NaN and the infinities; the attempt must be recorded all the same.
        return float(value) if math.isfinite(value) else str(value)
    if value is None or isinstance(value, int):
        return value
    raise TypeError(f"the audit field {name} is a {type(value).__name__}, not a plain value")


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(mode=DIRECTORY_MODE)
    except FileExistsError:
        return


def _open(name: str, directory: int) -> tuple[int, bool]:
    """Open the log; also say whether it was made just now."""
    try:
        return os.open(name, _OPEN, dir_fd=directory), False
    except FileNotFoundError:
        return os.open(name, _OPEN | os.O_CREAT, FILE_MODE, dir_fd=directory), True


def _write_line(fd: int, line: bytes) -> None:
    """Append in a single write. The lock ends when the descriptor is closed."""
    fcntl.flock(fd, fcntl.LOCK_EX)
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


def _send(syslog: Path, line: bytes) -> None:
    """Tell the system's log. The file is the record, so a failure here changes nothing."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
            message = b"<%d>pam_faceid[%d]: %b" % (_AUTHPRIV_INFO, os.getpid(), line.rstrip())
            sender.sendto(message, str(syslog))
    except OSError:
        return

"""Files that nobody vouches for, such as a backup on somebody's disk: read, never believed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pam_faceid.core.errors import FaceIdError


class ForeignFileError(FaceIdError):
    """The file cannot be read, or is not what it must be to be looked at."""


def read_foreign(path: Path, *, max_bytes: int) -> bytes:
    """Read a regular file of a bounded size; a pipe or a device is not waited for.

    Raises:
        ForeignFileError: It is missing, not a regular file, too large, or cannot be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise ForeignFileError(f"{path} is not a regular file")
            if status.st_size > max_bytes:
                raise ForeignFileError(
                    f"{path} holds {status.st_size} bytes, more than the {max_bytes} that it may"
                )
            with os.fdopen(fd, "rb", closefd=False) as file:
                return file.read(max_bytes)
        finally:
            os.close(fd)
    except OSError as error:
        raise ForeignFileError(f"cannot read {path}: {error.strerror}") from error

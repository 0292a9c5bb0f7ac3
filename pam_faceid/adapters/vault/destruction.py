"""Getting rid of a key: overwritten where it lies, then removed.

A disk that writes elsewhere than it read (an SSD, a file system that copies on write, a snapshot)
may keep the old blocks all the same; `docs/vault.md` says what that means.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

OLD: Final = ".old"


def retire(path: Path) -> None:
    """Take a key's name away and destroy it. Harmless when there is none.

    Renamed first: whoever opens the name while it is overwritten must not read half of each.

    Raises:
        OSError: The disk says no.
    """
    old = path.with_name(path.name + OLD)
    try:
        path.rename(old)
    except FileNotFoundError:
        return
    sync_directory(path.parent)
    destroy(old)


def destroy(path: Path) -> None:
    """Overwrite a file with random bytes and remove it. Harmless when there is none.

    A file that has another name too is in use under that one: only this name is removed.

    Raises:
        OSError: The disk says no.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        status = os.fstat(fd)
        if status.st_nlink == 1:
            os.pwrite(fd, os.urandom(status.st_size), 0)
            os.fsync(fd)
    finally:
        os.close(fd)
    path.unlink()
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

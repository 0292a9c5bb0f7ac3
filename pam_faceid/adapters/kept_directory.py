"""A directory of small files in which root and the daemon's user both write, one at a time.

Root (the embedded worker, faceid-admin) and the daemon's user are each at work there, so a file
belongs to that user, whoever wrote it.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pam_faceid.adapters.safe_files import (
    FileMissingError,
    open_directory,
    read_private,
    refused_as,
    remove_durably,
    remove_unfinished,
    write_atomically,
)
from pam_faceid.core.errors import FaceIdError

FILE_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700
LOCK_SECONDS: Final = 5.0  # whoever holds it needs milliseconds, unless it was stopped
_LOCK_POLL_SECONDS: Final = 0.002
_MAX_FILE_BYTES: Final = 1 << 16


class KeptDirectory:
    """Files by name.

    Args:
        directory: Made at the first write if it is not there.
        owner: Name of the user that files belong to. Where nobody has it, or neither that user nor
            root runs this, they belong to the process's own.
        error: What is raised.
        lock_seconds: How long to wait for another process to finish.
    """

    def __init__(
        self,
        directory: Path,
        *,
        owner: str,
        error: type[FaceIdError],
        lock_seconds: float = LOCK_SECONDS,
    ) -> None:
        self._directory = directory
        self._lock_seconds = lock_seconds
        self._error = error
        self._owner_uid = _owner_uid(owner)

    def path(self, name: str) -> Path:
        """Return where a file lies."""
        return self._directory / name

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None when there is none.

        Raises:
            FaceIdError: There is one, and it cannot be read or must not be believed.
        """
        with refused_as(self._error):
            try:
                return read_private(
                    self.path(name),
                    owner_uid=self._owner_uid,
                    max_mode=FILE_MODE,
                    max_bytes=_MAX_FILE_BYTES,
                )
            except FileMissingError:
                return None

    def write(self, name: str, data: bytes, *, durable: bool) -> None:
        """Write a whole file, with the directory held. Raises FaceIdError; nothing is changed."""
        with refused_as(self._error):
            remove_unfinished(self.path(name), owner_uid=self._owner_uid)
            write_atomically(
                self.path(name),
                data,
                mode=FILE_MODE,
                owner_uid=self._owner_uid,
                group=None,
                replace=True,
                owner=self._owner_uid if os.geteuid() == 0 else None,
                durable=durable,
            )

    def remove(self, name: str) -> bool:
        """Remove a file; return whether there was one. Raises FaceIdError."""
        with refused_as(self._error):
            try:
                remove_durably(self.path(name), owner_uid=self._owner_uid)
            except FileMissingError:
                return False
        return True

    def names(self) -> list[str]:
        """Return the names of the files, sorted. Raises FaceIdError."""
        with refused_as(self._error):
            try:
                with (
                    open_directory(self._directory, owner_uid=self._owner_uid) as descriptor,
                    os.scandir(descriptor) as entries,
                ):
                    return sorted(entry.name for entry in entries)
            except FileMissingError:
                return []

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the directory. The kernel lets go of it when the process ends, however it does.

        Raises:
            FaceIdError: It cannot be made or is not safe, or another process does not let go.
        """
        with refused_as(self._error):
            self._make_directory()
            with open_directory(self._directory, owner_uid=self._owner_uid) as descriptor:
                self._wait_for_lock(descriptor)
                yield

    def _wait_for_lock(self, descriptor: int) -> None:
        until = time.monotonic() + self._lock_seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise self._error(
                        f"another process has held {self._directory} for {self._lock_seconds:g} s",
                        hint=f"see which: fuser -v {self._directory}",
                    ) from None
                time.sleep(_LOCK_POLL_SECONDS)
            else:
                return

    def _make_directory(self) -> None:
        try:
            for directory in (self._directory.parent, self._directory):
                if not directory.exists():
                    directory.mkdir(mode=DIRECTORY_MODE, parents=True)
                    if os.geteuid() == 0:
                        os.chown(directory, self._owner_uid, -1)
        except FileExistsError:
            return
        except OSError as error:
            raise self._error(
                f"cannot make {self._directory}: {error.strerror}", hint="run install.sh"
            ) from error


def _owner_uid(owner: str) -> int:
    try:
        uid = pwd.getpwnam(owner).pw_uid
    except KeyError:
        return os.geteuid()
    return uid if os.geteuid() in (0, uid) else os.geteuid()

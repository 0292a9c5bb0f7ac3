"""What is remembered of people's attempts: one small file a user.

Root (the embedded worker, faceid-admin) and the daemon's user both write here, so a file belongs to
that user, whoever wrote it. A file that cannot be believed is an error and never an empty record:
failures that were counted are not forgotten by damaging what they are kept in.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import msgspec

from pam_faceid.adapters.safe_files import (
    FileMissingError,
    open_directory,
    read_private,
    refused_as,
    remove_durably,
    remove_unfinished,
    write_atomically,
)
from pam_faceid.core.errors import StateError
from pam_faceid.core.lockout import Record

FILE_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700
SUFFIX: Final = ".json"
LOCK_SECONDS: Final = 5.0  # whoever holds it needs milliseconds, unless it was stopped
_LOCK_POLL_SECONDS: Final = 0.002
_MAX_FILE_BYTES: Final = 1 << 16


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of a file.

    Args:
        user: Whose it is: a file put in another's place is not theirs.
    """

    version: Literal[1] = 1
    user: str
    record: Record


class StateStore:
    """The records of one machine.

    Args:
        directory: Made at the first write if it is not there.
        owner: Name of the user that files belong to. Where nobody has it, or neither that user nor
            root runs this, they belong to the process's own.
        lock_seconds: How long to wait for another process to finish with a record.
    """

    def __init__(self, directory: Path, *, owner: str, lock_seconds: float = LOCK_SECONDS) -> None:
        self._directory = directory
        self._lock_seconds = lock_seconds
        self._owner_uid = _owner_uid(owner)

    def load(self, user: str) -> Record | None:
        """Return what is remembered of a user; None when nothing is.

        Raises:
            StateError: There is something, and it cannot be read or must not be believed.
        """
        path = self._path(user)
        with refused_as(StateError):
            try:
                data = read_private(
                    path,
                    owner_uid=self._owner_uid,
                    max_mode=FILE_MODE,
                    max_bytes=_MAX_FILE_BYTES,
                )
            except FileMissingError:
                return None
        try:
            file = msgspec.json.decode(data, type=_File)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise _damaged(path, str(error)) from error
        if file.user != user:
            raise _damaged(path, f"it is of {file.user!r}")
        return file.record

    def change(
        self,
        user: str,
        transition: Callable[[Record | None], Record | None],
        *,
        durable: bool = True,
    ) -> None:
        """Replace what is remembered by what a function makes of it, one process at a time.

        Args:
            transition: Gets the record, or None when there is none. What it returns is written,
                None is not. It is called while others wait.
            durable: Wait for the disk. Without, a power cut may bring back the record of before or
                damage it, which costs comfort: for a change that takes a charge back.

        Raises:
            StateError: The record cannot be believed, read or written, or another process did not
                finish with it. What was there is unchanged.
        """
        with self._locked():
            record = transition(self.load(user))
            if record is not None:
                self._write(user, record, durable=durable)

    def replace(self, user: str, record: Record) -> None:
        """Write a record whatever was there before, also what cannot be believed.

        Raises:
            StateError: As `change`.
        """
        with self._locked():
            self._write(user, record, durable=True)

    def remove(self, user: str) -> None:
        """Forget a user. Nothing happens when nothing is remembered. Raises StateError."""
        with refused_as(StateError):
            try:
                remove_durably(self._path(user), owner_uid=self._owner_uid)
            except FileMissingError:
                return

    def _path(self, user: str) -> Path:
        if not user or user.startswith(".") or "/" in user or "\0" in user:
            raise StateError(f"{user!r} is not a user name")
        return self._directory / f"{user}{SUFFIX}"

    def _write(self, user: str, record: Record, *, durable: bool) -> None:
        path = self._path(user)
        with refused_as(StateError):
            remove_unfinished(path, owner_uid=self._owner_uid)
            write_atomically(
                path,
                msgspec.json.encode(_File(user=user, record=record)),
                mode=FILE_MODE,
                owner_uid=self._owner_uid,
                group=None,
                replace=True,
                owner=self._owner_uid if os.geteuid() == 0 else None,
                durable=durable,
            )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the directory. The kernel lets go of it when the process ends, however it does."""
        with refused_as(StateError):
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
                    raise StateError(
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
            raise StateError(
                f"cannot make {self._directory}: {error.strerror}", hint="run install.sh"
            ) from error


def _owner_uid(owner: str) -> int:
    try:
        uid = pwd.getpwnam(owner).pw_uid
    except KeyError:
        return os.geteuid()
    return uid if os.geteuid() in (0, uid) else os.geteuid()


def _damaged(path: Path, why: str) -> StateError:
    return StateError(
        f"{path} is damaged: {why}", hint="the next use of the password writes it anew"
    )

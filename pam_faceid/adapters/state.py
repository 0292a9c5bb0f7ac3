"""What is remembered of people's attempts: one small file a user.

A file that cannot be believed is an error and never an empty record: failures that were counted are
not forgotten by damaging what they are kept in.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import msgspec

from pam_faceid.adapters.kept_directory import LOCK_SECONDS, KeptDirectory
from pam_faceid.core.errors import StateError
from pam_faceid.core.lockout import Record

SUFFIX: Final = ".json"


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
        self._files = KeptDirectory(
            directory, owner=owner, error=StateError, lock_seconds=lock_seconds
        )

    def load(self, user: str) -> Record | None:
        """Return what is remembered of a user; None when nothing is.

        Raises:
            StateError: There is something, and it cannot be read or must not be believed.
        """
        name = _name(user)
        path = self._files.path(name)
        data = self._files.read(name)
        if data is None:
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
        with self._files.held():
            record = transition(self.load(user))
            if record is not None:
                self._write(user, record, durable=durable)

    def replace(self, user: str, record: Record) -> None:
        """Write a record whatever was there before, also what cannot be believed.

        Raises:
            StateError: As `change`.
        """
        with self._files.held():
            self._write(user, record, durable=True)

    def remove(self, user: str) -> None:
        """Forget a user. Nothing happens when nothing is remembered. Raises StateError."""
        self._files.remove(_name(user))

    def _write(self, user: str, record: Record, *, durable: bool) -> None:
        data = msgspec.json.encode(_File(user=user, record=record))
        self._files.write(_name(user), data, durable=durable)


def _name(user: str) -> str:
    if not user or user.startswith(".") or "/" in user or "\0" in user:
        raise StateError(f"{user!r} is not a user name")
    return f"{user}{SUFFIX}"


def _damaged(path: Path, why: str) -> StateError:
    return StateError(
        f"{path} is damaged: {why}", hint="the next use of the password writes it anew"
    )

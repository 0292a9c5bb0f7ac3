"""The template key as a file: 256 bits from the kernel that only root can read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from pam_faceid.adapters.safe_files import (
    FileMissingError,
    FileTakenError,
    open_private,
    refused_as,
    write_atomically,
)
from pam_faceid.adapters.vault.sealing import KEY_BYTES
from pam_faceid.core.errors import VaultError

KEY_MODE: Final = 0o400


def create_key_file(path: Path) -> None:
    """Make a new template key, mode 0400. Never replaces one.

    Raises:
        VaultError: There is one already, or it cannot be written.
    """
    with refused_as(VaultError):
        try:
            write_atomically(
                path,
                os.getrandom(KEY_BYTES),
                mode=KEY_MODE,
                owner_uid=os.geteuid(),
                group=None,
                replace=False,
            )
        except FileTakenError as error:
            raise VaultError(
                f"{path} exists already; a new key would lock every template for good",
                hint="keep it; to start afresh, remove it and every template, and enrol again",
            ) from error


class KeyFile:
    """A `KeyProvider` that reads the key anew each time and keeps no copy.

    Args:
        path: Made by `create_key_file`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def key(self) -> bytearray:
        """Return 32 bytes in a buffer of the caller's own, to be overwritten after use.

        Raises:
            VaultError: It is missing, not as private as it must be, or not a key.
        """
        buffer = bytearray(KEY_BYTES + 1)
        with refused_as(VaultError):
            try:
                file = open_private(
                    self._path, owner_uid=os.geteuid(), max_mode=KEY_MODE, max_bytes=1 << 20
                )
            except FileMissingError as error:
                raise VaultError(
                    f"the template key {self._path} is missing",
                    hint="restore it from a backup; without one, run install.sh and enrol again",
                ) from error
        with file:
            try:
                size = file.readinto(buffer)
            except OSError as error:
                raise VaultError(f"cannot read {self._path}: {error.strerror}") from error
        if size != KEY_BYTES:
            held = f"{size} bytes" if size < KEY_BYTES else f"more than {KEY_BYTES} bytes"
            raise VaultError(
                f"the template key {self._path} holds {held}, not {KEY_BYTES}",
                hint="restore it from a backup",
            )
        del buffer[KEY_BYTES:]
        if not any(buffer):
            raise VaultError(
                f"the template key {self._path} is all zeros, as after a disk failure",
                hint="restore it from a backup",
            )
        return buffer

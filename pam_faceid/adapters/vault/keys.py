"""Where the template key comes from: 256 bits that only root, or systemd for root, can read.

It lies in a file, or sealed in a credential of systemd; a service that systemd starts finds either
in its credential directory. `docs/vault.md` has the rules for two of them at once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pam_faceid.adapters.safe_files import (
    FileMissingError,
    FileTakenError,
    open_private,
    read_private,
    refused_as,
    write_atomically,
)
from pam_faceid.adapters.vault.sealing import KEY_BYTES
from pam_faceid.core.errors import VaultError

if TYPE_CHECKING:
    from pam_faceid.core.ports import KeyProvider
    from pam_faceid.layout import Layout

KEY_MODE: Final = 0o400
NEXT: Final = ".next"
ABSENT: Final = b"absent"  # what faceidd.service has in place of a credential that is not there
MAX_SEALED_BYTES: Final = 1 << 16
_CREDENTIAL_MODE: Final = 0o440
_NAMES: Final = ("template.key", "template.cred")


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
                hint="keep it; for another key: faceid-admin key rotate",
            ) from error


def key_provider(layout: Layout) -> KeyProvider:
    """Return where this process gets the key: from systemd if it hands one over, else the files."""
    handed_over = os.environ.get("CREDENTIALS_DIRECTORY", "")
    if handed_over and any(Path(handed_over, name).exists() for name in _NAMES):
        return ServiceCredentials(Path(handed_over))
    return KeyFile(layout.key_file, sealed=layout.sealed_key)


class KeyFile:
    """A `KeyProvider` that reads the key anew each time and keeps no copy.

    Args:
        path: The key in clear. Read first: while it is there it costs no TPM.
        sealed: The key as a credential, for where the first is not there. When both are, both hold
            the same key, and a move from one to the other was interrupted.
    """

    def __init__(self, path: Path, *, sealed: Path | None = None) -> None:
        self._path = path
        self._sealed = sealed

    def key(self) -> bytearray:
        """Return 32 bytes in a buffer of the caller's own, to be overwritten after use.

        Raises:
            VaultError: It is missing, not as private as it must be, not a key, or systemd cannot
                open it.
        """
        found = self._find("")
        # Again, because a move back to a file may have ended between the two looks.
        found = self._find("") if found is None and self._sealed else found
        if found is None:
            raise VaultError(
                f"the template key {self._path} is missing",
                hint="restore it from a backup; without one, run install.sh and enrol again",
            )
        return found

    def next_key(self) -> bytearray | None:
        """Return the key that a rotation is going over to. Raises VaultError as `key`."""
        return self._find(NEXT)

    def _find(self, suffix: str) -> bytearray | None:
        path = self._path.with_name(self._path.name + suffix)
        found = _read(path, max_mode=KEY_MODE)
        if found is not None:
            return _checked(found, path)
        if self._sealed is None:
            return None
        return read_sealed(self._sealed.with_name(self._sealed.name + suffix))


class ServiceCredentials:
    """A `KeyProvider` of a service: systemd opened the key before the service started.

    Args:
        directory: `$CREDENTIALS_DIRECTORY`, which only this service can read.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def key(self) -> bytearray:
        """Return 32 bytes in a buffer of the caller's own, to be overwritten after use.

        Raises:
            VaultError: systemd handed over none, or not a key.
        """
        found = self._find("")
        if found is None:
            raise VaultError(
                f"systemd found no template key for this service ({self._directory})",
                hint="see: faceid-admin key status; then: systemctl restart faceidd.service",
            )
        return found

    def next_key(self) -> bytearray | None:
        """Return the key that a rotation is going over to. Raises VaultError as `key`."""
        return self._find(NEXT)

    def _find(self, suffix: str) -> bytearray | None:
        for name in _NAMES:
            path = self._directory / (name + suffix)
            found = _read(path, max_mode=_CREDENTIAL_MODE)
            if found is not None and found != ABSENT:
                return _checked(found, path)
        return None


class OpenedOnce:
    """A `KeyProvider` for what is read in one go: a TPM is asked once, not once a file.

    Args:
        keys: Where the key comes from.
    """

    def __init__(self, keys: KeyProvider) -> None:
        self._keys = keys
        self._kept: bytearray | None = None

    def key(self) -> bytearray:
        """Return 32 bytes in a buffer of the caller's own. Raises VaultError."""
        if self._kept is None:
            self._kept = self._keys.key()
        return bytearray(self._kept)

    def next_key(self) -> bytearray | None:
        """Return the key that a rotation is going over to. Raises VaultError.

        Who asks has found the key to be the wrong one: it is read anew the next time.
        """
        self.forget()
        return self._keys.next_key()

    def forget(self) -> None:
        """Overwrite the key."""
        if self._kept is not None:
            self._kept[:] = bytes(len(self._kept))
            self._kept = None


def read_sealed(path: Path) -> bytearray | None:
    """Let systemd open a sealed key; None when there is none.

    Raises:
        VaultError: It is not as private as it must be, not a key, or does not open here.
    """
    with refused_as(VaultError):
        try:
            sealed = read_private(
                path, owner_uid=os.geteuid(), max_mode=KEY_MODE, max_bytes=MAX_SEALED_BYTES
            )
        except FileMissingError:
            return None
    # Imported here: it starts a process, which a key in a file has no need of.
    from pam_faceid.adapters.vault.credentials import open_credential  # noqa: PLC0415

    return _checked(open_credential(sealed, name=path.name, origin=str(path)), path)


def _read(path: Path, *, max_mode: int) -> bytearray | None:
    """Return up to one byte more than a key has; None when there is no such file."""
    buffer = bytearray(KEY_BYTES + 1)
    with refused_as(VaultError):
        try:
            file = open_private(path, owner_uid=os.geteuid(), max_mode=max_mode, max_bytes=1 << 20)
        except FileMissingError:
            return None
    with file:
        try:
            size = file.readinto(buffer)
        except OSError as error:
            raise VaultError(f"cannot read {path}: {error.strerror}") from error
    del buffer[size:]
    return buffer


def _checked(key: bytearray, path: Path) -> bytearray:
    if len(key) != KEY_BYTES:
        held = f"{len(key)} bytes" if len(key) < KEY_BYTES else f"more than {KEY_BYTES} bytes"
        raise VaultError(
            f"the template key {path} holds {held}, not {KEY_BYTES}",
            hint="restore it from a backup",
        )
    if not any(key):
        raise VaultError(
            f"the template key {path} is all zeros, as after a disk failure",
            hint="restore it from a backup",
        )
    return key

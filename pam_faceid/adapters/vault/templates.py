"""Sealed reference templates, one file a user."""

from __future__ import annotations

import fcntl
import grp
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pam_faceid.adapters.safe_files import (
    FileMissingError,
    FileTakenError,
    open_directory,
    read_private,
    refused_as,
    remove_durably,
    write_atomically,
)
from pam_faceid.adapters.vault.body import decode, encode
from pam_faceid.adapters.vault.sealing import (
    Opened,
    WrongKeyError,
    check_opens,
    reseal,
    seal,
    unseal,
    wipe,
)
from pam_faceid.core.errors import FaceIdError, NotEnrolledError, VaultError
from pam_faceid.core.types import ReferenceTemplate
from pam_faceid.layout import KEEPER_USER, TEMPLATE_SUFFIX

if TYPE_CHECKING:
    from pam_faceid.core.ports import KeyProvider

FILE_MODE: Final = 0o640
DIRECTORY_MODE: Final = 0o750
MAX_USER_BYTES: Final = 32
_MAX_FILE_BYTES: Final = 1 << 20
_USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+$-]*")


class SealedTemplateStore:
    """A `TemplateStore`: one sealed file a user in one directory.

    Args:
        directory: Made at the first `save` if it is not there.
        keys: Gives the template key.
    """

    def __init__(self, directory: Path, keys: KeyProvider) -> None:
        self._directory = directory
        self._keys = keys

    def load(self, user: str, uid: int) -> ReferenceTemplate:
        """Open one template.

        Raises:
            NotEnrolledError: There is none.
            VaultError: It is there and must not be believed; the message says why.
        """
        path = template_path(self._directory, user)
        try:
            opened = self._unseal(path, user=user, uid=uid)
        except WrongKeyError:
            # A rotation that ended between the two reads has changed both.
            opened = self._unseal(path, user=user, uid=uid)
        try:
            return decode(
                opened.body, version=opened.version, user=user, uid=uid, model_id=opened.model_id
            )
        except FaceIdError as error:
            raise VaultError(
                f"{path} opens, but does not hold a valid template: {error.message}",
                hint=f"enrol again: faceid-admin add-user {user} --replace",
            ) from error
        finally:
            wipe(opened.body)

    def save(self, template: ReferenceTemplate, *, replace: bool) -> None:
        """Seal and store one template atomically. Waits for a rotation that is running.

        Raises:
            VaultError: It exists and `replace` is false, or it cannot be written.
        """
        path = template_path(self._directory, template.user)
        with refused_as(VaultError):
            _make_directory(self._directory, group=_keeper_group())
            with self._locked(fcntl.LOCK_SH):
                self._seal_and_write(path, template, replace=replace)

    def update(
        self, user: str, uid: int, change: Callable[[ReferenceTemplate], ReferenceTemplate]
    ) -> ReferenceTemplate:
        """Replace one template by what `change` makes of it, with nobody else in between.

        Waits for a rotation that is running, and for every other change.

        Returns:
            What is stored now.

        Raises:
            NotEnrolledError: There is none.
            VaultError: It must not be believed, or cannot be written; it is as it was.
        """
        path = template_path(self._directory, user)
        with refused_as(VaultError):
            try:
                with self._locked(fcntl.LOCK_EX):
                    changed = change(self.load(user, uid))
                    self._seal_and_write(path, changed, replace=True)
            except FileMissingError as error:
                raise _not_enrolled(user) from error
        return changed

    def remove(self, user: str) -> None:
        """Delete one template. Raises NotEnrolledError when there is none."""
        path = template_path(self._directory, user)
        with refused_as(VaultError):
            try:
                # Else a rotation that has read the template would bring it back.
                with self._locked(fcntl.LOCK_SH):
                    remove_durably(path, owner_uid=os.geteuid())
            except FileMissingError as error:
                raise _not_enrolled(user) from error

    def users(self) -> list[str]:
        """Names that have a template file, sorted.

        Raises:
            VaultError: The directory cannot be read or is not safe.
        """
        with refused_as(VaultError):
            try:
                with (
                    open_directory(self._directory, owner_uid=os.geteuid()) as directory,
                    os.scandir(directory) as entries,
                ):
                    names = [entry.name for entry in entries]
            except FileMissingError:
                return []
        users = (
            name.removesuffix(TEMPLATE_SUFFIX) for name in names if name.endswith(TEMPLATE_SUFFIX)
        )
        return sorted(user for user in users if _USER.fullmatch(user))

    @contextmanager
    def held_still(self) -> Iterator[None]:
        """Keep every other process from adding or removing templates, for a rotation.

        Raises:
            VaultError: Another process is at it.
        """
        with refused_as(VaultError):
            _make_directory(self._directory, group=_keeper_group())
            with self._locked(fcntl.LOCK_EX | fcntl.LOCK_NB):
                self._sweep()
                yield

    def reseal(self, user: str, *, key: bytearray, new_key: bytearray) -> None:
        """Seal one template with another key, whether or not its account is still there.

        Raises:
            WrongKeyError: `key` does not open it.
            VaultError: It is damaged, or cannot be read or written.
        """
        path = template_path(self._directory, user)
        data = reseal(self._read(path, user), key=key, new_key=new_key, origin=str(path))
        with refused_as(VaultError):
            self._write(path, data, replace=True)

    def check_opens(self, user: str, key: bytearray) -> None:
        """Check that a key opens one template. Raises as `reseal`."""
        path = template_path(self._directory, user)
        check_opens(self._read(path, user), key=key, origin=str(path))

    def _unseal(self, path: Path, *, user: str, uid: int) -> Opened:
        data = self._read(path, user)
        key = self._keys.key()
        try:
            return unseal(data, key=key, user=user, uid=uid, origin=str(path))
        except WrongKeyError:
            next_key = self._keys.next_key()
            if next_key is None:
                raise
        finally:
            wipe(key)
        try:
            return unseal(data, key=next_key, user=user, uid=uid, origin=str(path))
        finally:
            wipe(next_key)

    def _seal_and_write(self, path: Path, template: ReferenceTemplate, *, replace: bool) -> None:
        key = self._keys.key()
        try:
            data = seal(
                encode(template),
                key=key,
                user=template.user,
                uid=template.uid,
                model_id=template.model_id,
            )
        finally:
            wipe(key)
        try:
            self._write(path, data, replace=replace)
        except FileTakenError as error:
            raise VaultError(
                f"{template.user!r} is enrolled already, in {path}",
                hint=f"to enrol anew: faceid-admin add-user {template.user} --replace",
            ) from error

    def _read(self, path: Path, user: str) -> bytes:
        with refused_as(VaultError):
            try:
                return read_private(
                    path, owner_uid=os.geteuid(), max_mode=FILE_MODE, max_bytes=_MAX_FILE_BYTES
                )
            except FileMissingError as error:
                raise _not_enrolled(user) from error

    def _write(self, path: Path, data: bytes, *, replace: bool) -> None:
        write_atomically(
            path,
            data,
            mode=FILE_MODE,
            owner_uid=os.geteuid(),
            group=_keeper_group(),
            replace=replace,
        )

    def _sweep(self) -> None:
        """Remove the unfinished copies that killed processes left."""
        for path in self._directory.glob(".*.tmp"):
            path.unlink(missing_ok=True)

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        with open_directory(self._directory, owner_uid=os.geteuid()) as fd:
            try:
                fcntl.flock(fd, how)
            except BlockingIOError as error:
                raise VaultError(
                    "another faceid-admin is changing the templates or their key",
                    hint="wait for it to end",
                ) from error
            yield


def check_user_name(user: str) -> None:
    """Refuse a name that cannot be a login name or would lead elsewhere as a file name.

    Raises:
        VaultError: It is empty, longer than 32 bytes (the limit of useradd), not ASCII, starts with
            a dot or a dash, or holds "..", "/", NUL or any other character but letters, digits
            and ``_ . @ + $ -``.
    """
    # Shortened, because the name may be as long as whoever sent it liked.
    shown = repr(user if len(user) <= MAX_USER_BYTES else user[:MAX_USER_BYTES] + "...")
    if not user:
        reason = "it is empty"
    elif not user.isascii():
        reason = "it is not ASCII"
    elif len(user) > MAX_USER_BYTES:
        reason = f"it is longer than {MAX_USER_BYTES} characters"
    elif user[0] in ".-":
        reason = f"it starts with {user[0]!r}"
    elif ".." in user:
        reason = "it holds '..'"
    elif not _USER.fullmatch(user):
        reason = "it holds something else than letters, digits and _ . @ + $ -"
    else:
        return
    raise VaultError(
        f"{shown} is not a user name that can be enrolled: {reason}",
        hint="login names of this machine: getent passwd",
    )


def template_path(directory: Path, user: str) -> Path:
    """Return where a user's template lies. Raises VaultError as `check_user_name`."""
    check_user_name(user)
    return directory / f"{user}{TEMPLATE_SUFFIX}"


def _not_enrolled(user: str) -> NotEnrolledError:
    return NotEnrolledError(
        f"{user!r} has no reference template", hint=f"enrol: faceid-admin add-user {user}"
    )


def _keeper_group() -> int | None:
    """Return the group that may read sealed templates; None when it is not ours to give."""
    if os.geteuid() != 0:
        return None
    try:
        return grp.getgrnam(KEEPER_USER).gr_gid
    except KeyError:
        return None


def _make_directory(directory: Path, *, group: int | None) -> None:
    """Make the directory, or let the keeper's group into one of an older version."""
    try:
        try:
            directory.mkdir(mode=DIRECTORY_MODE & ~0o077)
        except FileExistsError:
            with open_directory(directory, owner_uid=os.geteuid()) as fd:
                if group is not None and os.fstat(fd).st_gid != group:
                    os.fchown(fd, -1, group)
            return
        if group is not None:
            os.chown(directory, -1, group)
        directory.chmod(DIRECTORY_MODE)
    except OSError as error:
        raise VaultError(
            f"cannot make {directory}: {error.strerror}", hint="run install.sh"
        ) from error

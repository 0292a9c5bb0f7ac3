"""The template key changes, or changes its place, one durable step after another.

Killed between any two steps, either the key or the next one opens every template, and the same
command run again ends what was begun. `docs/vault.md` lists the steps.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pam_faceid.adapters.safe_files import refused_as, write_atomically
from pam_faceid.adapters.vault.adapted import SealedAdaptedStore
from pam_faceid.adapters.vault.credentials import (
    Place,
    open_credential,
    place_of,
    seal_credential,
)
from pam_faceid.adapters.vault.destruction import OLD, destroy, retire, sync_directory
from pam_faceid.adapters.vault.keys import KEY_MODE, NEXT, KeyFile
from pam_faceid.adapters.vault.sealing import KEY_BYTES, key_id, wipe
from pam_faceid.adapters.vault.templates import SealedTemplateStore
from pam_faceid.core.errors import VaultError

_FINISH_ROTATION: Final = "finish it first: faceid-admin key rotate"
_FINISH_MOVE: Final = "finish it first: faceid-admin key move --to PLACE"


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """What is known of the key without changing anything.

    Args:
        place: Where it lies; None when there is none, or its kind of credential is not known.
        path: The file that holds it; None when there is none.
        key_id: The same 16 digits are in clear in each template of this key.
        error: Why it does not open; empty when it does.
        interrupted: What was begun and not ended.
        templates: Each user with an empty text, or why the template does not open.
    """

    place: Place | None
    path: Path | None
    key_id: str | None
    error: str
    interrupted: Literal["rotation", "move"] | None
    templates: dict[str, str]


class KeyCustody:
    """Where the template key lies, and the ways to change that.

    Args:
        key_file: The key in clear.
        sealed_key: The key as a credential of systemd, in the same directory.
        templates: What it opens.
        refresh: Called when a process that keeps the key must read it anew.
        report: Told of each step when it is on the disk.
        adapted: What else the key seals. It never stops a rotation: what does not open is dropped.
    """

    def __init__(
        self,
        key_file: Path,
        sealed_key: Path,
        templates: Path,
        *,
        refresh: Callable[[], None],
        report: Callable[[str], None],
        adapted: SealedAdaptedStore | None = None,
    ) -> None:
        self._adapted = adapted
        self._key_file = key_file
        self._sealed_key = sealed_key
        self._directory = key_file.parent
        self._keys = KeyFile(key_file, sealed=sealed_key)
        self._store = SealedTemplateStore(templates, self._keys)
        self._refresh = refresh
        self._report = report

    def status(self) -> KeyStatus:
        """Look at the key and at what it opens."""
        path = next((p for p in (self._key_file, self._sealed_key) if p.exists()), None)
        known: list[bytearray] = []
        error = ""
        try:
            known.append(self._keys.key())
            if (next_key := self._keys.next_key()) is not None:
                known.append(next_key)
        except VaultError as refusal:
            error = refusal.message
        try:
            return KeyStatus(
                place=None if path is None else self._place(path),
                path=path,
                key_id=key_id(known[0]) if known else None,
                error=error,
                interrupted=self._interrupted(),
                templates={user: self._complaint(user, known) for user in self._store.users()},
            )
        finally:
            for key in known:
                wipe(key)

    def rotate(self, *, leave_broken: bool) -> None:
        """Seal every template with a new key and destroy the old one.

        Ends a rotation that was interrupted, in place of beginning another.

        Args:
            leave_broken: Go on although templates do not open; they never will after that.

        Raises:
            VaultError: A template does not open, the key cannot be had or sealed, another process
                changes the vault, or the disk says no. Everything that opened before still does.
        """
        with self._alone():
            if self._key_file.exists() and self._sealed_key.exists():
                raise VaultError("a move of the key was interrupted", hint=_FINISH_MOVE)
            current = self._sealed_key if self._sealed_key.exists() else self._key_file
            key = self._keys.key()
            next_key = self._keys.next_key()
            try:
                place = self._known_place(current)
                upcoming = current.with_name(current.name + NEXT)
                if next_key is None:
                    self._refuse_broken([key], leave_broken=leave_broken)
                    next_key = bytearray(os.getrandom(KEY_BYTES))
                    _write(upcoming, _encode(next_key, place, upcoming))
                    self._report("a new key is made")
                else:
                    self._report("ending the rotation that was interrupted")
                if next_key != key:
                    self._refuse_broken([key, next_key], leave_broken=leave_broken)
                    self._refresh()
                    self._reseal_adapted(key, next_key)
                    self._reseal(key, next_key)
                    self._replace(current, next_key, place)
                    self._report("the new key is in use, and the old one destroyed")
            finally:
                wipe(key)
                if next_key is not None:
                    wipe(next_key)
            retire(upcoming)
        self._refresh()

    def move(self, to: Place) -> None:
        """Keep the same key somewhere else, and destroy it where it was.

        Raises:
            VaultError: As `rotate`.
        """
        with self._alone():
            if self._interrupted() == "rotation":
                raise VaultError("a rotation was interrupted", hint=_FINISH_ROTATION)
            target, other = self._key_file, self._sealed_key
            if to is not Place.FILE:
                target, other = other, target
            key = self._keys.key()
            try:
                if target.exists() and other.exists():
                    # What readers use is the key in clear: it stays the key, whatever is sealed.
                    self._refuse_broken([key], leave_broken=False)
                if not (to is Place.FILE and target.exists()):
                    self._replace(target, key, to)
                self._report(f"the key is in {target}")
            finally:
                wipe(key)
            if other.exists():
                retire(other)
                self._report(f"{other} is destroyed")
        self._refresh()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            with self._store.held_still():
                self._clear_away()
                yield
        except OSError as error:
            where = error.filename or self._directory
            raise VaultError(
                f"cannot change the key: {where}: {error.strerror}",
                hint="everything still opens; put it right and run the same command again",
            ) from error

    def _clear_away(self) -> None:
        """Destroy what killed processes left of keys that are not in use."""
        for name in (self._key_file.name, self._sealed_key.name):
            for path in self._directory.glob(f".{name}*.tmp"):
                destroy(path)
            for suffix in (OLD, NEXT + OLD):
                destroy(self._directory / (name + suffix))

    def _interrupted(self) -> Literal["rotation", "move"] | None:
        files = (self._key_file, self._sealed_key)
        if any(path.with_name(path.name + NEXT).exists() for path in files):
            return "rotation"
        return "move" if all(path.exists() for path in files) else None

    def _place(self, path: Path) -> Place | None:
        return Place.FILE if path == self._key_file else place_of(path.read_bytes())

    def _known_place(self, path: Path) -> Place:
        place = self._place(path)
        if place is None:
            raise VaultError(
                f"{path} is sealed in a way that this machine cannot repeat",
                hint="choose one: faceid-admin key move --to PLACE; then rotate",
            )
        return place

    def _refuse_broken(self, keys: Sequence[bytearray], *, leave_broken: bool) -> None:
        if leave_broken:
            return
        for user in self._store.users():
            if complaint := self._complaint(user, keys):
                raise VaultError(
                    f"{complaint}; nothing was changed",
                    hint=f"enrol or remove {user}, or lose that template: --leave-broken",
                )

    def _complaint(self, user: str, keys: Sequence[bytearray]) -> str:
        """Return why none of the keys opens a template; empty when one does."""
        complaint = "there is no key to open it"
        for key in keys:
            try:
                self._store.check_opens(user, key)
            except VaultError as error:
                complaint = error.message
            else:
                return ""
        return complaint

    def _reseal(self, key: bytearray, next_key: bytearray) -> None:
        users = []
        for user in self._store.users():
            if complaint := self._complaint(user, [key, next_key]):
                self._report(f"left as it is: {complaint}")
            else:
                users.append(user)
        for number, user in enumerate(users, start=1):
            if self._complaint(user, [next_key]):
                self._store.reseal(user, key=key, new_key=next_key)
            self._report(f"{user} is sealed with the new key ({number} of {len(users)})")
        for user in users:
            self._store.check_opens(user, next_key)

    def _reseal_adapted(self, key: bytearray, next_key: bytearray) -> None:
        if self._adapted is None:
            return
        try:
            with self._adapted.held_still():
                for user in self._adapted.users():
                    self._reseal_or_drop(self._adapted, user, key, next_key)
        except VaultError as error:
            self._report(f"adapted references are left as they are: {error.message}")

    def _reseal_or_drop(
        self, adapted: SealedAdaptedStore, user: str, key: bytearray, next_key: bytearray
    ) -> None:
        try:
            adapted.reseal(user, key=key, new_key=next_key)
        except VaultError as error:
            self._report(f"the adapted references of {user} are dropped: {error.message}")
            adapted.discard(user)

    def _replace(self, path: Path, key: bytearray, place: Place) -> None:
        """Put a key where another may be, and destroy that one."""
        data = _encode(key, place, path)
        old = path.with_name(path.name + OLD)
        if path.exists():
            # A second name, so that what `rename` takes the first from can still be overwritten.
            old.hardlink_to(path)
            sync_directory(self._directory)
        _write(path, data)
        destroy(old)


def _encode(key: bytearray, place: Place, path: Path) -> bytes:
    if place is Place.FILE:
        return bytes(key)
    sealed = seal_credential(key, place=place, name=path.name)
    opened = open_credential(sealed, name=path.name, origin=str(path))
    if opened != key:
        raise VaultError(f"systemd gave back another key than it sealed for {path}")
    wipe(opened)
    return sealed


def _write(path: Path, data: bytes) -> None:
    with refused_as(VaultError):
        write_atomically(
            path, data, mode=KEY_MODE, owner_uid=os.geteuid(), group=None, replace=True
        )

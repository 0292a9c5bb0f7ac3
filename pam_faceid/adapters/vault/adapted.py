"""Sealed references that were adapted, one file a person. `docs/vault.md` specifies the format.

They are comfort: whoever cannot read them goes on with the enrolled ones, and says why.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from pam_faceid.adapters.kept_directory import KeptDirectory
from pam_faceid.adapters.vault.sealing import (
    ADAPTED,
    Opened,
    WrongKeyError,
    reseal,
    seal,
    unseal,
    wipe,
)
from pam_faceid.adapters.vault.templates import check_user_name
from pam_faceid.core.adaptation import Adapted, AdaptedReference, Origin
from pam_faceid.core.errors import FaceIdError, VaultError
from pam_faceid.core.types import Embedding
from pam_faceid.layout import ADAPTED_SUFFIX

if TYPE_CHECKING:
    from pam_faceid.core.ports import KeyProvider

_USUAL_BODY: Final = 1 << 14  # a longer one leaves a copy where the buffer was before it grew


class _StoredReference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    adapted_at: float
    origin: Origin
    score: float


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is sealed. `vectors` are as in a template, in the order of `references`."""

    model_id: str
    enrolled_at: float
    last_at: float
    dimensions: int
    vectors: memoryview
    references: list[_StoredReference]


class SealedAdaptedStore:
    """What was adapted of each person, in one directory.

    Args:
        directory: Made at the first write if it is not there.
        owner: Name of the user that files belong to, as `KeptDirectory` has it.
        keys: Gives the template key.
    """

    def __init__(self, directory: Path, *, owner: str, keys: KeyProvider) -> None:
        self._files = KeptDirectory(directory, owner=owner, error=VaultError)
        self._keys = keys

    def exists(self, user: str) -> bool:
        """Whether there may be a file of this user: no key is asked for in vain."""
        return self._files.path(_name(user)).exists()

    def load(self, user: str, uid: int) -> Adapted | None:
        """Open what is kept of a user; None when nothing is.

        Raises:
            VaultError: It is there and must not be believed; the message says why.
        """
        name = _name(user)
        data = self._files.read(name)
        if data is None:
            return None
        origin = str(self._files.path(name))
        opened = self._unseal(data, user=user, uid=uid, origin=origin)
        try:
            return _decode(opened, user=user, uid=uid)
        except (FaceIdError, msgspec.MsgspecError, RecursionError, ValueError) as error:
            raise VaultError(
                f"{origin} opens, but holds no valid references: {error}",
                hint=ADAPTED.again.format(user=user),
            ) from error
        finally:
            wipe(opened.body)

    def change(
        self,
        user: str,
        uid: int,
        transition: Callable[[Adapted | None, str], Adapted | None],
    ) -> None:
        """Replace what is kept by what a function makes of it, one process at a time.

        Args:
            transition: Gets what is kept, or None, and why it does not open, else an empty text.
                What it returns is written; None changes nothing.

        Raises:
            VaultError: It cannot be written, or another process does not let go; nothing changed.
        """
        with self._files.held():
            known, why = None, ""
            try:
                known = self.load(user, uid)
            except VaultError as error:
                why = error.message
            try:
                changed = transition(known, why)
                if changed is not None:
                    self._write(changed)
            finally:
                if known is not None:
                    known.wipe()

    def remove(self, user: str) -> bool:
        """Forget everything of a user, whether or not it opens; say whether there was anything.

        Raises:
            VaultError: It cannot be removed.
        """
        name = _name(user)
        if not self._files.path(name).exists() and not self._files.path(name).is_symlink():
            return False
        with self._files.held():
            return self._files.remove(name)

    def users(self) -> list[str]:
        """Names that have a file, sorted. Raises VaultError."""
        found = self._files.names()
        return [
            name.removesuffix(ADAPTED_SUFFIX)
            for name in found
            if name.endswith(ADAPTED_SUFFIX) and not name.startswith(".")
        ]

    @contextmanager
    def held_still(self) -> Iterator[None]:
        """Keep every other process from adapting, for a rotation. Raises VaultError."""
        if not self._files.names():
            yield
            return
        with self._files.held():
            yield

    def reseal(self, user: str, *, key: bytearray, new_key: bytearray) -> None:
        """Seal one file with another key, with the directory held.

        Raises:
            VaultError: Neither key opens it, or it cannot be written.
        """
        name = _name(user)
        data = self._files.read(name)
        if data is None:
            return
        origin = str(self._files.path(name))
        try:
            changed = reseal(data, key=key, new_key=new_key, origin=origin, kind=ADAPTED)
        except WrongKeyError:  # a rotation that was interrupted may have done it
            changed = reseal(data, key=new_key, new_key=new_key, origin=origin, kind=ADAPTED)
        self._files.write(name, changed, durable=True)

    def discard(self, user: str) -> None:
        """Remove one file, with the directory held. Raises VaultError."""
        self._files.remove(_name(user))

    def _unseal(self, data: bytes, *, user: str, uid: int, origin: str) -> Opened:
        key = self._keys.key()
        try:
            return unseal(data, key=key, user=user, uid=uid, origin=origin, kind=ADAPTED)
        except WrongKeyError:
            next_key = self._keys.next_key()
            if next_key is None:
                raise
        finally:
            wipe(key)
        try:
            return unseal(data, key=next_key, user=user, uid=uid, origin=origin, kind=ADAPTED)
        finally:
            wipe(next_key)

    def _write(self, adapted: Adapted) -> None:
        body = _encode(adapted)
        key = self._keys.key()
        try:
            data = seal(
                body,
                key=key,
                user=adapted.user,
                uid=adapted.uid,
                model_id=adapted.model_id,
                version=ADAPTED.newest,
                kind=ADAPTED,
            )
        finally:
            wipe(key)
            wipe(body)
        self._files.write(_name(adapted.user), data, durable=True)


def _name(user: str) -> str:
    check_user_name(user)
    return f"{user}{ADAPTED_SUFFIX}"


def _encode(adapted: Adapted) -> bytearray:
    """Return what is sealed, in a buffer of the caller's own."""
    vectors = bytearray()
    for reference in adapted.references:
        stored = array("f", reference.embedding.vector)
        _little_endian(stored)
        vectors += memoryview(stored).cast("B")
        memoryview(stored).cast("B")[:] = bytes(stored.itemsize * len(stored))
    body = bytearray(_USUAL_BODY)
    first = adapted.references[0].embedding.vector if adapted.references else ()
    msgspec.msgpack.Encoder().encode_into(
        _Body(
            model_id=adapted.model_id,
            enrolled_at=adapted.enrolled_at,
            last_at=adapted.last_at,
            dimensions=len(first),
            vectors=memoryview(vectors),
            references=[
                _StoredReference(r.adapted_at, r.origin, r.score) for r in adapted.references
            ],
        ),
        body,
    )
    wipe(vectors)
    return body


def _decode(opened: Opened, *, user: str, uid: int) -> Adapted:
    body = msgspec.msgpack.decode(opened.body, type=_Body)
    if body.model_id != opened.model_id:
        raise VaultError(f"it says {opened.model_id!r} outside and {body.model_id!r} inside")
    octets = 4 * body.dimensions
    if body.dimensions < 0 or len(body.vectors) != octets * len(body.references):
        raise VaultError(f"{len(body.references)} embeddings do not fill {len(body.vectors)} bytes")
    references = []
    for number, stored in enumerate(body.references):
        vector = array("f")
        vector.frombytes(body.vectors[number * octets : (number + 1) * octets])
        _little_endian(vector)
        references.append(
            AdaptedReference(
                embedding=Embedding(vector, body.model_id),
                adapted_at=_finite(stored.adapted_at),
                origin=stored.origin,
                score=_finite(stored.score),
            )
        )
    return Adapted(
        user=user,
        uid=uid,
        model_id=body.model_id,
        enrolled_at=_finite(body.enrolled_at),
        last_at=_finite(body.last_at),
        references=tuple(references),
    )


def _little_endian(vector: array[float]) -> None:
    """Make it as it is stored, or back: the file does not depend on the processor."""
    if sys.byteorder == "big":
        vector.byteswap()


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise VaultError(f"{number} is no number")
    return number

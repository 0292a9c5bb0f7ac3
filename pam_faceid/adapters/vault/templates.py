"""Sealed reference templates, one file a user."""

from __future__ import annotations

import grp
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from pam_faceid.adapters.safe_files import (
    FileMissingError,
    FileTakenError,
    open_directory,
    read_private,
    refused_as,
    remove_durably,
    write_atomically,
)
from pam_faceid.adapters.vault.sealing import seal, unseal, wipe
from pam_faceid.core.errors import FaceIdError, NotEnrolledError, VaultError
from pam_faceid.core.types import Embedding, Reference, ReferenceTemplate, SampleQuality
from pam_faceid.layout import SERVICE_USER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pam_faceid.core.ports import KeyProvider

FILE_MODE: Final = 0o640
DIRECTORY_MODE: Final = 0o750
MAX_USER_BYTES: Final = 32
_MAX_FILE_BYTES: Final = 1 << 20
_SUFFIX: Final = ".template"
_USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+$-]*")


class _StoredReference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    enrolled_at: float
    quality: SampleQuality
    source: str


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is sealed. The envelope's format version covers this layout too.

    Args:
        model_id: As in the envelope.
        created_at: Seconds since the epoch.
        dimensions: Of each embedding.
        vectors: Every embedding, one after the other, little-endian float32.
        references: What else is known of each, in the same order.
    """

    model_id: str
    created_at: float
    dimensions: int
    vectors: bytes
    references: list[_StoredReference]


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
        with refused_as(VaultError):
            try:
                data = read_private(
                    path, owner_uid=os.geteuid(), max_mode=FILE_MODE, max_bytes=_MAX_FILE_BYTES
                )
            except FileMissingError as error:
                raise _not_enrolled(user) from error
        key = self._keys.key()
        try:
            model_id, plaintext = unseal(data, key=key, user=user, uid=uid, origin=str(path))
        finally:
            wipe(key)
        try:
            return _decode(plaintext, user=user, uid=uid, model_id=model_id)
        except FaceIdError as error:
            raise VaultError(
                f"{path} opens, but does not hold a valid template: {error.message}",
                hint=f"enrol again: faceid-admin add-user {user} --replace",
            ) from error

    def save(self, template: ReferenceTemplate, *, replace: bool) -> None:
        """Seal and store one template atomically.

        Raises:
            VaultError: It exists and `replace` is false, or it cannot be written.
        """
        path = template_path(self._directory, template.user)
        key = self._keys.key()
        try:
            data = seal(
                _encode(template),
                key=key,
                user=template.user,
                uid=template.uid,
                model_id=template.model_id,
            )
        finally:
            wipe(key)
        with refused_as(VaultError):
            try:
                group = _service_group()
                _make_directory(self._directory, group=group)
                write_atomically(
                    path,
                    data,
                    mode=FILE_MODE,
                    owner_uid=os.geteuid(),
                    group=group,
                    replace=replace,
                )
            except FileTakenError as error:
                raise VaultError(
                    f"{template.user!r} is enrolled already, in {path}",
                    hint=f"to enrol anew: faceid-admin add-user {template.user} --replace",
                ) from error

    def remove(self, user: str) -> None:
        """Delete one template. Raises NotEnrolledError when there is none."""
        path = template_path(self._directory, user)
        with refused_as(VaultError):
            try:
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
        users = (name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX))
        return sorted(user for user in users if _USER.fullmatch(user))


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
    return directory / f"{user}{_SUFFIX}"


def _not_enrolled(user: str) -> NotEnrolledError:
    return NotEnrolledError(
        f"{user!r} has no reference template", hint=f"enrol: faceid-admin add-user {user}"
    )


def _encode(template: ReferenceTemplate) -> bytes:
    vectors = np.stack([reference.embedding.vector for reference in template.references])
    return msgspec.msgpack.encode(
        _Body(
            model_id=template.model_id,
            created_at=template.created_at,
            dimensions=vectors.shape[1],
            vectors=vectors.astype("<f4").tobytes(),
            references=[
                _StoredReference(
                    enrolled_at=reference.enrolled_at,
                    quality=reference.quality,
                    source=reference.source,
                )
                for reference in template.references
            ],
        )
    )


def _decode(plaintext: bytes, *, user: str, uid: int, model_id: str) -> ReferenceTemplate:
    try:
        body = msgspec.msgpack.decode(plaintext, type=_Body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise VaultError(f"its body is not understood: {error}") from error
    if body.model_id != model_id:
        raise VaultError(f"it says {model_id!r} outside and {body.model_id!r} inside")
    references = tuple(
        Reference(
            embedding=Embedding(vector=vector, model_id=model_id),
            enrolled_at=_finite(stored.enrolled_at),
            quality=stored.quality,
            source=stored.source,
        )
        for vector, stored in zip(_vectors(body), body.references, strict=True)
    )
    return ReferenceTemplate(
        user=user,
        uid=uid,
        model_id=model_id,
        references=references,
        created_at=_finite(body.created_at),
    )


def _vectors(body: _Body) -> NDArray[np.float32]:
    """Return the embeddings, (references, dimensions) float32."""
    wanted = 4 * body.dimensions * len(body.references)
    if body.dimensions < 1 or len(body.vectors) != wanted:
        raise VaultError(
            f"{len(body.references)} embeddings of {body.dimensions} dimensions need {wanted} "
            f"bytes, and it holds {len(body.vectors)}"
        )
    flat = np.frombuffer(body.vectors, dtype="<f4").astype(np.float32, copy=False)
    return flat.reshape(len(body.references), body.dimensions)


def _finite(seconds: float) -> float:
    if not math.isfinite(seconds):
        raise VaultError(f"{seconds} is not a time")
    return seconds


def _service_group() -> int | None:
    """Return the group that may read sealed templates; None when it is not ours to give."""
    if os.geteuid() != 0:
        return None
    try:
        return grp.getgrnam(SERVICE_USER).gr_gid
    except KeyError:
        return None


def _make_directory(directory: Path, *, group: int | None) -> None:
    try:
        directory.mkdir(mode=DIRECTORY_MODE & ~0o077)
        if group is not None:
            os.chown(directory, -1, group)
        directory.chmod(DIRECTORY_MODE)
    except FileExistsError:
        return
    except OSError as error:
        raise VaultError(
            f"cannot make {directory}: {error.strerror}", hint="run install.sh"
        ) from error

"""A backup: every template in one file that a passphrase opens. `docs/vault.md` specifies it."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pam_faceid.adapters.vault.body import decode, encode
from pam_faceid.core.errors import FaceIdError, VaultError
from pam_faceid.core.types import ReferenceTemplate

MAGIC: Final = b"\x89FaceBK\n"
FORMAT_VERSION: Final = 3  # that of the templates' bodies in it
OLDEST_VERSION: Final = 1
MAX_BYTES: Final = 1 << 26
MAX_TIME: Final = 2**32
# NIST SP 800-63B-4, 3.1.1.2: a password that is the only factor.
MIN_PASSPHRASE: Final = 15

_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_CHECK_BYTES: Final = 8
_TAG_BYTES: Final = 16
_KEY_INFO: Final = b"pam_faceid backup key"
_CHECK_INFO: Final = b"pam_faceid backup check"
# magic, version, passes, lanes, KiB, salt, key check, nonce, length of the sealed body
_HEADER: Final = struct.Struct(f">8sHIII{_SALT_BYTES}s{_CHECK_BYTES}s{_NONCE_BYTES}sI")
_CHECKSUM: Final = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one guess of the passphrase costs, as Argon2id's parameters.

    Args:
        passes: Over the memory.
        lanes: That can run side by side.
        kibibytes: Memory.
    """

    passes: int
    lanes: int
    kibibytes: int


# RFC 9106, 4: the second recommended option has 3 passes, 4 lanes and 64 MiB. A backup is made
# seldom: four times the memory, measured 0.65 s.
COST: Final = Cost(passes=3, lanes=4, kibibytes=1 << 18)
# A file that asks for more is a trap for whoever restores it.
MAX_COST: Final = Cost(passes=16, lanes=16, kibibytes=1 << 20)


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user: str
    uid: int
    model_id: str
    body: bytes


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    made_at: Annotated[float, msgspec.Meta(ge=0, le=MAX_TIME)]
    machine: str
    templates: list[_Entry]


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds.

    Args:
        made_at: Seconds since the epoch.
        machine: Host name of where it was made, for the reader's eyes.
        templates: One a user.
    """

    made_at: float
    machine: str
    templates: Sequence[ReferenceTemplate]


def seal_backup(backup: Backup, *, passphrase: str, cost: Cost = COST) -> bytes:
    """Encrypt a backup.

    Returns:
        The whole file.

    Raises:
        VaultError: This machine's OpenSSL has no Argon2id.
    """
    body = msgspec.msgpack.encode(
        _Body(
            made_at=backup.made_at,
            machine=backup.machine,
            templates=[
                _Entry(user=t.user, uid=t.uid, model_id=t.model_id, body=encode(t))
                for t in backup.templates
            ],
        )
    )
    salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
    key, check = _keys(passphrase, salt, cost)
    header = _HEADER.pack(
        *(MAGIC, FORMAT_VERSION, cost.passes, cost.lanes, cost.kibibytes),
        *(salt, check, nonce, len(body) + _TAG_BYTES),
    )
    sealed = header + AESGCM(key).encrypt(nonce, body, header)
    return sealed + _CHECKSUM.pack(zlib.crc32(sealed))


def open_backup(data: bytes, *, passphrase: str, origin: str) -> Backup:
    """Decrypt a backup.

    Args:
        data: The whole file.
        passphrase: As it was made with.
        origin: The file's name, for messages.

    Raises:
        VaultError: It is not a backup, of another version, truncated, damaged, asks for more
            memory or time than any backup of ours, was made with another passphrase, or was
            altered. Each has a message of its own.
    """
    if not data.startswith(MAGIC):
        raise VaultError(f"{origin} is not a backup of pam_faceid", hint="is it the right file?")
    if len(data) < _HEADER.size + _CHECKSUM.size:
        raise _truncated(data, origin)
    _, version, passes, lanes, kibibytes, salt, check, nonce, size = _HEADER.unpack_from(data)
    if not OLDEST_VERSION <= version <= FORMAT_VERSION:
        raise VaultError(
            f"{origin} has format {version}; this pam_faceid reads formats "
            f"{OLDEST_VERSION} to {FORMAT_VERSION}",
            hint="restore it with the version that it was made with, or upgrade",
        )
    whole = _HEADER.size + size + _CHECKSUM.size
    if len(data) < whole:
        raise _truncated(data, origin)
    (checksum,) = _CHECKSUM.unpack_from(data, whole - _CHECKSUM.size)
    if len(data) > whole or size < _TAG_BYTES or checksum != zlib.crc32(data[: whole - 4]):
        raise VaultError(
            f"{origin} is damaged: its checksum does not fit its content",
            hint="use another copy of it",
        )
    cost = Cost(passes=passes, lanes=lanes, kibibytes=kibibytes)
    _refuse_trap(cost, origin)
    key, expected = _keys(passphrase, salt, cost)
    if check != expected:
        raise VaultError(
            f"this is not the passphrase of {origin}",
            hint="try again; without it nobody can open the backup",
        )
    header = data[: _HEADER.size]
    try:
        plaintext = AESGCM(key).decrypt(nonce, data[_HEADER.size : whole - 4], header)
    except InvalidTag as error:
        raise VaultError(
            f"{origin} was altered by someone without its passphrase",
            hint="use another copy of it, and find out who could write there",
        ) from error
    return _decoded(plaintext, version, origin)


def _decoded(plaintext: bytes, version: int, origin: str) -> Backup:
    try:
        body = msgspec.msgpack.decode(plaintext, type=_Body)
        return Backup(
            made_at=body.made_at,
            machine=body.machine,
            templates=[
                decode(
                    entry.body,
                    version=version,
                    user=entry.user,
                    uid=entry.uid,
                    model_id=entry.model_id,
                )
                for entry in body.templates
            ],
        )
    except (msgspec.MsgspecError, FaceIdError) as error:
        raise VaultError(
            f"{origin} opens, but does not hold a valid backup: {error}",
            hint="use another copy of it",
        ) from error


def _refuse_trap(cost: Cost, origin: str) -> None:
    """Refuse what would take this machine's memory, or a day, before a passphrase is tried."""
    within = (
        1 <= cost.passes <= MAX_COST.passes
        and 1 <= cost.lanes <= MAX_COST.lanes
        and 8 * cost.lanes <= cost.kibibytes <= MAX_COST.kibibytes
    )
    if not within:
        raise VaultError(
            f"{origin} asks for {cost.passes} passes over {cost.kibibytes} KiB in {cost.lanes} "
            "lanes to open it, which no backup of pam_faceid needs",
            hint="it was made to exhaust this machine: find out where it comes from",
        )


def _keys(passphrase: str, salt: bytes, cost: Cost) -> tuple[bytes, bytes]:
    """Return the key, and 8 bytes that tell a wrong passphrase from an altered file."""
    try:
        stretched = Argon2id(
            salt=salt,
            length=32,
            iterations=cost.passes,
            lanes=cost.lanes,
            memory_cost=cost.kibibytes,
        ).derive(passphrase.encode("utf-8"))
    except UnsupportedAlgorithm as error:
        raise VaultError(
            "the OpenSSL of this Python environment has no Argon2id",
            hint="use the environment that install.sh makes, or OpenSSL 3.2",
        ) from error
    except MemoryError as error:
        raise VaultError(
            f"there are no {cost.kibibytes // 1024} MiB of memory for the passphrase",
            hint="close something and try again",
        ) from error
    return _derive(stretched, _KEY_INFO, 32), _derive(stretched, _CHECK_INFO, _CHECK_BYTES)


def _derive(key: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(key)


def _truncated(data: bytes, origin: str) -> VaultError:
    return VaultError(
        f"{origin} is truncated: it ends after {len(data)} bytes", hint="use another copy of it"
    )

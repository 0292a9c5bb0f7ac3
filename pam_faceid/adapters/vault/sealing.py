"""The envelope of a template, or of what was adapted: a clear header, and a sealed body.

`docs/vault.md` specifies the format byte by byte.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

# HKDF from here costs 0.1 ms to import beside AESGCM; hmac and hashlib of the standard library
# would cost 3 ms, because they load another copy of OpenSSL.
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pam_faceid.core.errors import VaultError

MAGIC: Final = b"\x89FaceID\n"
FORMAT_VERSION: Final = 3
OLDEST_VERSION: Final = 1
KEY_BYTES: Final = 32

_KEY_CHECK_INFO: Final = b"pam_faceid key check"
_KEY_CHECK_BYTES: Final = 8
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_VERSION: Final = struct.Struct(">H")
_UID: Final = struct.Struct(">I")
_LENGTH: Final = struct.Struct(">I")
_CHECKSUM: Final = struct.Struct(">I")
_MAX_TEXT: Final = 255


@dataclass(frozen=True, slots=True)
class Kind:
    """What an envelope holds. Two kinds share no key.

    Args:
        what: For messages, with its article.
        magic: 8 bytes that it starts with.
        key_info: Which of the keys that come from the template key.
        oldest, newest: Format versions that are read.
        again: What to do where it cannot be believed; `{user}` stands for the name.
    """

    what: str
    magic: bytes
    key_info: bytes
    oldest: int
    newest: int
    again: str


TEMPLATE: Final = Kind(
    "a template",
    MAGIC,
    b"pam_faceid template key\0",
    OLDEST_VERSION,
    FORMAT_VERSION,
    "enrol again: faceid-admin add-user {user} --replace",
)
ADAPTED: Final = Kind(
    "a file of adapted references",
    b"\x89FaceAD\n",
    b"pam_faceid adapted key\0",
    1,
    1,
    "forget it, which costs comfort only: faceid-admin forget-adapted {user} --all",
)


class WrongKeyError(VaultError):
    """A file was sealed with another template key."""


class Opened(NamedTuple):
    """What a template's envelope held.

    Args:
        version: Of the format, which says how the body is laid out.
        model_id: Of every embedding.
        body: In a buffer of the caller's own, to be overwritten after use.
    """

    version: int
    model_id: str
    body: bytearray


class _Header(msgspec.Struct, frozen=True):
    magic: bytes
    version: int
    user: str
    uid: int
    model_id: str
    key_check: bytes
    nonce: bytes
    body_bytes: int

    def encode(self) -> bytes:
        user, model_id = self.user.encode("ascii"), self.model_id.encode("ascii")
        return b"".join(
            (
                self.magic,
                _VERSION.pack(self.version),
                bytes([len(user)]),
                user,
                _UID.pack(self.uid),
                bytes([len(model_id)]),
                model_id,
                self.key_check,
                self.nonce,
                _LENGTH.pack(self.body_bytes),
            )
        )


def seal(
    plaintext: bytes | bytearray,
    *,
    key: bytes | bytearray,
    user: str,
    uid: int,
    model_id: str,
    version: int = FORMAT_VERSION,
    kind: Kind = TEMPLATE,
) -> bytes:
    """Encrypt a body for one user of one model.

    Args:
        plaintext: The body.
        key: The template key, 32 bytes.
        user: Login name, 1 to 255 ASCII characters.
        uid: Numeric user id, 0 to 2**32 - 1.
        model_id: ASCII, 1 to 255 characters.
        version: Of the body's layout.
        kind: What the body is.

    Returns:
        The whole file.

    Raises:
        VaultError: An argument does not fit the format.
    """
    _check_key(key)
    for what, text in (("user name", user), ("model id", model_id)):
        if not (text.isascii() and 0 < len(text) <= _MAX_TEXT):
            raise VaultError(f"the {what} {text!r} is not 1 to {_MAX_TEXT} ASCII characters")
    if not 0 <= uid < 2**32:
        raise VaultError(f"the user id {uid} is not between 0 and 2**32 - 1")
    header = _Header(
        magic=kind.magic,
        version=version,
        user=user,
        uid=uid,
        model_id=model_id,
        key_check=_key_check(key),
        nonce=os.urandom(_NONCE_BYTES),
        body_bytes=len(plaintext) + _TAG_BYTES,
    )
    clear = header.encode()
    user_key = _user_key(key, user, uid, kind)
    try:
        sealed = clear + AESGCM(user_key).encrypt(header.nonce, plaintext, clear)
    finally:
        wipe(user_key)
    return sealed + _CHECKSUM.pack(zlib.crc32(sealed))


def unseal(
    data: bytes,
    *,
    key: bytes | bytearray,
    user: str,
    uid: int,
    origin: str,
    kind: Kind = TEMPLATE,
) -> Opened:
    """Open an envelope.

    Args:
        data: The whole file.
        key: The template key, 32 bytes.
        user: Whose it must be.
        uid: The user's numeric id now.
        origin: The file's name, for messages.
        kind: What it must hold.

    Raises:
        WrongKeyError: It was made with another key.
        VaultError: It is not of that kind, of another format version, truncated, damaged, another
            user's, made for another user id, or it was altered. Each has a message of its own.
    """
    _check_key(key)
    again = kind.again.format(user=user)
    clear, header = _parse(data, origin=origin, again=again, kind=kind)
    if header.user != user:
        raise VaultError(
            f"{origin} is {_definite(kind)} of {header.user!r}, not of {user!r}",
            hint=f"it was copied or renamed; {again}",
        )
    if header.uid != uid:
        raise VaultError(
            f"{origin} was made when {user!r} had user id {header.uid}; now it is {uid}",
            hint=f"the account was made anew, perhaps for someone else; {again}",
        )
    if header.key_check != _key_check(key):
        raise WrongKeyError(
            f"{origin} was sealed with another template key",
            hint=f"restore the key file that belongs to it, or {again}",
        )
    body = data[len(clear) : len(clear) + header.body_bytes]
    plaintext = bytearray(header.body_bytes - _TAG_BYTES)
    user_key = _user_key(key, user, uid, kind)
    try:
        AESGCM(user_key).decrypt_into(header.nonce, body, clear, plaintext)
    except InvalidTag as error:
        raise VaultError(
            f"{origin} was altered by someone without the template key",
            hint=f"find out who can write there; {again}",
        ) from error
    finally:
        wipe(user_key)
    return Opened(header.version, header.model_id, plaintext)


def reseal(
    data: bytes,
    *,
    key: bytes | bytearray,
    new_key: bytes | bytearray,
    origin: str,
    kind: Kind = TEMPLATE,
) -> bytes:
    """Seal a file with another key, for the user and the user id that it has, as it is.

    Raises:
        WrongKeyError: It was not sealed with `key`.
        VaultError: It does not open, as `unseal` says.
    """
    _, header = _parse(data, origin=origin, again=kind.again.format(user="NAME"), kind=kind)
    opened = unseal(data, key=key, user=header.user, uid=header.uid, origin=origin, kind=kind)
    try:
        return seal(
            opened.body,
            key=new_key,
            user=header.user,
            uid=header.uid,
            model_id=opened.model_id,
            version=opened.version,
            kind=kind,
        )
    finally:
        wipe(opened.body)


def check_opens(data: bytes, *, key: bytes | bytearray, origin: str, kind: Kind = TEMPLATE) -> None:
    """Check that a key opens a file, whoever it is of. Raises VaultError as `unseal`."""
    _, header = _parse(data, origin=origin, again=kind.again.format(user="NAME"), kind=kind)
    opened = unseal(data, key=key, user=header.user, uid=header.uid, origin=origin, kind=kind)
    wipe(opened.body)


def key_id(key: bytes | bytearray) -> str:
    """Return 16 hexadecimal digits that tell keys apart; every template carries them in clear."""
    return _key_check(key).hex()


def wipe(secret: bytearray) -> None:
    """Overwrite a key or a template. Copies that libraries made are out of reach."""
    secret[:] = bytes(len(secret))


def _parse(data: bytes, *, origin: str, again: str, kind: Kind) -> tuple[bytes, _Header]:
    """Split off the header. Nothing in it is believed until the body has been decrypted."""
    if not data:
        raise VaultError(f"{origin} is empty", hint=again)
    if not data.startswith(kind.magic):
        raise VaultError(
            f"{origin} is not {kind.what}",
            hint=f"move it away; {again}",
        )
    reader = _Reader(data, position=len(kind.magic), origin=origin, again=again)
    (version,) = _VERSION.unpack(reader.take(_VERSION.size))
    if version > kind.newest:
        raise VaultError(
            f"{origin} has format {version}, made by a newer pam_faceid than this one, "
            f"which reads formats {kind.oldest} to {kind.newest}",
            hint=f"upgrade pam_faceid, or {again}",
        )
    if version < kind.oldest:
        raise VaultError(
            f"{origin} has the older format {version}, which is no longer read",
            hint=again,
        )
    user = reader.take(reader.take(1)[0])
    (uid,) = _UID.unpack(reader.take(_UID.size))
    model_id = reader.take(reader.take(1)[0])
    key_check = reader.take(_KEY_CHECK_BYTES)
    nonce = reader.take(_NONCE_BYTES)
    (body_bytes,) = _LENGTH.unpack(reader.take(_LENGTH.size))
    clear = data[: reader.position]
    reader.take(body_bytes)
    (checksum,) = _CHECKSUM.unpack(reader.take(_CHECKSUM.size))
    damaged = reader.position != len(data) or checksum != zlib.crc32(data[: -_CHECKSUM.size])
    if damaged or not (user.isascii() and model_id.isascii()) or body_bytes < _TAG_BYTES:
        raise VaultError(
            f"{origin} is damaged: its checksum does not fit its content",
            hint=f"restore it from a backup and check the disk, or {again}",
        )
    return clear, _Header(
        magic=kind.magic,
        version=version,
        user=user.decode("ascii"),
        uid=uid,
        model_id=model_id.decode("ascii"),
        key_check=key_check,
        nonce=nonce,
        body_bytes=body_bytes,
    )


class _Reader:
    """Takes bytes from the front, and refuses to run past the end."""

    def __init__(self, data: bytes, *, position: int, origin: str, again: str) -> None:
        self._data = data
        self._origin = origin
        self._again = again
        self.position = position

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self._data):
            raise VaultError(
                f"{self._origin} is truncated: it ends after {len(self._data)} bytes",
                hint=f"restore it from a backup and check the disk, or {self._again}",
            )
        taken = self._data[self.position : end]
        self.position = end
        return taken


def _check_key(key: bytes | bytearray) -> None:
    if len(key) != KEY_BYTES:
        raise VaultError(f"a template key has {KEY_BYTES} bytes, not {len(key)}")


def _user_key(key: bytes | bytearray, user: str, uid: int, kind: Kind = TEMPLATE) -> bytearray:
    info = kind.key_info + user.encode("ascii") + b"\0" + _UID.pack(uid)
    return _derive(key, info, KEY_BYTES)


def _definite(kind: Kind) -> str:
    return f"the {kind.what.removeprefix('a ')}"


def _key_check(key: bytes | bytearray) -> bytes:
    return bytes(_derive(key, _KEY_CHECK_INFO, _KEY_CHECK_BYTES))


def _derive(key: bytes | bytearray, info: bytes, length: int) -> bytearray:
    derived = bytearray(length)
    HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive_into(key, derived)
    return derived

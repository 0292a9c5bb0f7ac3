"""The head of the chain on the disk: the key of the next line, in one of two slots.

Written in place, so that the key before it is overwritten and not merely unlinked, its owner stays
what it was, and a full disk is no obstacle. The new slot is durable before the old one is wiped: of
two that are valid the later one counts, so a crash at any instant leaves a head.
"""

from __future__ import annotations

import errno
import hashlib
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pam_faceid.adapters.audit.links import KEY_BYTES, Link
from pam_faceid.adapters.safe_files import (
    check_regular,
    open_directory,
    open_private,
    write_atomically,
)
from pam_faceid.core.errors import AuditError

FILE_MODE: Final = 0o600
SLOT_BYTES: Final = 4096  # no write of one slot touches the other's page
_SLOTS: Final = 2
_FIELDS: Final = struct.Struct(f">16s8sQ{KEY_BYTES}s")
_MAGIC: Final = b"faceid audit 1\0\n"
_CHECK_BYTES: Final = 16
_OPEN: Final = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


class HeadFile:
    """The file. Its callers hold the log's lock.

    Args:
        path: In a directory that passes `safe_files.open_directory`.
        owner_uid: Who may own it, besides root.
    """

    def __init__(self, path: Path, *, owner_uid: int) -> None:
        self.path = path
        self._owner_uid = owner_uid

    def exists(self) -> bool:
        """Whether there is one, of any kind."""
        return os.path.lexists(self.path)

    def read(self) -> Link:
        """Return where the chain stands.

        Raises:
            AuditError: Neither slot is valid.
            FileRefusedError: It is missing, or not as private as it must be.
        """
        with open_private(
            self.path,
            owner_uid=self._owner_uid,
            max_mode=FILE_MODE,
            max_bytes=_SLOTS * SLOT_BYTES,
        ) as file:
            return self._latest(file.fileno())[1]

    def advance(self, link: Link) -> None:
        """Make `link` the head, and wipe the one before it.

        Raises:
            AuditError, FileRefusedError: As `read`.
            OSError: It cannot be written.
        """
        with self._open() as (fd, _):
            old, _link = self._latest(fd)
            _write_all(fd, _packed(link), at=(1 - old) * SLOT_BYTES)
            os.fsync(fd)
            _write_all(fd, bytes(SLOT_BYTES), at=old * SLOT_BYTES)

    def create(self, link: Link, *, uid: int, gid: int) -> None:
        """Write the first head.

        Raises:
            FileRefusedError: There is one, or it cannot be written.
        """
        write_atomically(
            self.path,
            _packed(link) + bytes(SLOT_BYTES),
            mode=FILE_MODE,
            owner_uid=self._owner_uid,
            owner=uid,
            group=gid,
            replace=False,
        )

    def remove(self) -> None:
        """Remove and wipe it.

        Raises:
            FileRefusedError: It is missing, or not as private as it must be.
            OSError: It cannot be removed.
        """
        with self._open() as (fd, directory):
            os.unlink(self.path.name, dir_fd=directory)
            os.fsync(directory)
            _write_all(fd, bytes(_SLOTS * SLOT_BYTES), at=0)
            os.fsync(fd)

    @contextmanager
    def _open(self) -> Iterator[tuple[int, int]]:
        """Open it for writing; yield its descriptor and its directory's."""
        with open_directory(self.path.parent, owner_uid=self._owner_uid) as directory:
            fd = os.open(self.path.name, _OPEN, dir_fd=directory)
            try:
                status = os.fstat(fd)
                check_regular(self.path, status, owner_uid=self._owner_uid, max_mode=FILE_MODE)
                yield fd, directory
            finally:
                os.close(fd)

    def _latest(self, fd: int) -> tuple[int, Link]:
        """Return the slot that counts and what it holds."""
        found = [
            (link.seq, slot, link)
            for slot in range(_SLOTS)
            if (link := _unpacked(os.pread(fd, SLOT_BYTES, slot * SLOT_BYTES))) is not None
        ]
        if not found:
            raise AuditError(
                f"the head of the audit chain is damaged: {self.path}",
                hint=f"see what is intact: faceid-admin audit verify; then: rm {self.path} and"
                " faceid-admin audit start",
            )
        _, slot, link = max(found, key=lambda entry: entry[:2])
        return slot, link


def _packed(link: Link) -> bytes:
    fields = _FIELDS.pack(_MAGIC, link.chain.encode(), link.seq, link.key)
    return (fields + hashlib.sha256(fields).digest()[:_CHECK_BYTES]).ljust(SLOT_BYTES, b"\0")


def _unpacked(slot: bytes) -> Link | None:
    fields, check = slot[: _FIELDS.size], slot[_FIELDS.size : _FIELDS.size + _CHECK_BYTES]
    if not fields.startswith(_MAGIC) or hashlib.sha256(fields).digest()[:_CHECK_BYTES] != check:
        return None
    _, chain, seq, key = _FIELDS.unpack(fields)
    return Link(chain.decode("ascii", "replace"), seq, key)


def _write_all(fd: int, data: bytes, *, at: int) -> None:
    # Not pwrite: the confined keeper has no right to that call.
    os.lseek(fd, at, os.SEEK_SET)
    if os.write(fd, data) != len(data):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

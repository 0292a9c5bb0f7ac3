"""Reading and writing files that decide who is let in.

Every refusal names the file and says how to put it right. A file is believed only when root, or the
user that this process runs as, owns both it and its directory, nobody else can write to either, and
neither is a symbolic link.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from pam_faceid.core.errors import FaceIdError

WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
_OPEN: Final = os.O_CLOEXEC | os.O_NOFOLLOW
_ROOT: Final = 0
_FULL: Final = "make room on that disk; what was there before is unchanged"
_CURES: Final = {
    errno.EACCES: "run this as root",
    errno.EPERM: "run this as root",
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: "that file system is read-only: mount it writable",
    errno.ENOTDIR: "move it out of the way and make a directory",
    errno.ENXIO: "it is not a regular file: remove it and restore the file",
}


class FileRefusedError(FaceIdError):
    """A file or directory is not what it must be, or cannot be read or written."""


class FileMissingError(FileRefusedError):
    """There is no such file."""


class FileTakenError(FileRefusedError):
    """The file is there already and was not to be replaced."""


@contextmanager
def refused_as(kind: type[FaceIdError]) -> Iterator[None]:
    """Turn a refusal into the caller's own kind of error; message and hint stay."""
    try:
        yield
    except FileRefusedError as error:
        raise kind(error.message, hint=error.hint) from error


@contextmanager
def open_directory(path: Path, *, owner_uid: int) -> Iterator[int]:
    """Open a directory that only its owner can change, and yield its descriptor.

    Args:
        path: Its last component must not be a symbolic link.
        owner_uid: Who may own it, besides root.

    Raises:
        FileMissingError: There is no such directory.
        FileRefusedError: It is not a directory, is a link, or can be changed by someone else.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _OPEN)
    except OSError as error:
        raise _cannot("open", path, error) from error
    try:
        status = os.fstat(fd)
        _check_owner(path, status, owner_uid)
        _check_not_writable(path, status)
        yield fd
    finally:
        os.close(fd)


def open_private(path: Path, *, owner_uid: int, max_mode: int, max_bytes: int) -> io.FileIO:
    """Open a file for reading, unbuffered, after checking that it can be believed.

    Args:
        path: A regular file in a directory that passes `open_directory`.
        owner_uid: Who may own it, besides root.
        max_mode: Permission bits that it may have; any other is refused.
        max_bytes: Largest size, bytes.

    Raises:
        FileMissingError: There is no such file or directory.
        FileRefusedError: It is not a regular file, is a link, has another owner, a wider mode or a
            larger size, or cannot be opened.
    """
    with open_directory(path.parent, owner_uid=owner_uid) as directory:
        try:
            # Without O_NONBLOCK, opening a named pipe would wait for a writer.
            fd = os.open(path.name, os.O_RDONLY | os.O_NONBLOCK | _OPEN, dir_fd=directory)
        except OSError as error:
            raise _cannot("open", path, error) from error
    try:
        status = os.fstat(fd)
        check_regular(path, status, owner_uid=owner_uid, max_mode=max_mode)
        _check_size(path, status, max_bytes)
        return io.FileIO(fd, "rb")
    except BaseException:
        os.close(fd)
        raise


def read_private(path: Path, *, owner_uid: int, max_mode: int, max_bytes: int) -> bytes:
    """Read a whole file. Arguments and errors as `open_private`."""
    with open_private(path, owner_uid=owner_uid, max_mode=max_mode, max_bytes=max_bytes) as file:
        try:
            data = io.BufferedReader(file).read(max_bytes + 1)
        except OSError as error:
            raise _cannot("read", path, error) from error
    if len(data) > max_bytes:
        raise FileRefusedError(f"{path} grew beyond {max_bytes} bytes while it was read")
    return data


def write_atomically(
    path: Path,
    data: bytes,
    *,
    mode: int,
    owner_uid: int,
    group: int | None,
    replace: bool,
    owner: int | None = None,
    durable: bool = True,
) -> None:
    """Write a whole file so that a reader, or a power cut, finds the old one or the new one.

    The new file is complete and on the disk before it gets its name. It is never more open than
    `mode`. When this raises, the file under `path` is the one that was there before, except when
    only the last step, making the new name durable, failed.

    Args:
        path: In a directory that passes `open_directory`.
        data: The whole content.
        mode: Permission bits.
        owner_uid: Who may own the directory, besides root.
        group: Group id of the new file; None for the process's own.
        replace: False refuses an existing file, also one that another process makes meanwhile.
        owner: User id of the new file, which only root can choose; None for the process's own.
        durable: False does not wait for the disk: readers still find the old one or the new one,
            but a power cut soon after may leave the old one, or an empty one.

    Raises:
        FileTakenError: The file is there and `replace` is false.
        FileRefusedError: The directory is not safe, or it cannot be written: disk full, read-only.
    """
    with open_directory(path.parent, owner_uid=owner_uid) as directory:
        temporary = f".{path.name}.{os.urandom(8).hex()}.tmp"
        try:
            owners = (-1 if owner is None else owner, -1 if group is None else group)
            _write_new(
                temporary, data, mode=mode, owners=owners, directory=directory, durable=durable
            )
            if replace:
                os.rename(temporary, path.name, src_dir_fd=directory, dst_dir_fd=directory)
            else:
                # link(2) never replaces, so of two writers at once exactly one wins.
                os.link(temporary, path.name, src_dir_fd=directory, dst_dir_fd=directory)
            if durable:
                os.fsync(directory)
        except FileExistsError as error:
            raise FileTakenError(f"{path} exists already") from error
        except OSError as error:
            raise _cannot("write", path, error) from error
        finally:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=directory)


def remove_durably(path: Path, *, owner_uid: int) -> None:
    """Remove a file, and the unfinished copies that a killed `write_atomically` left of it.

    Raises:
        FileMissingError: There is no such file.
        FileRefusedError: The directory is not safe, or the file cannot be removed.
    """
    with open_directory(path.parent, owner_uid=owner_uid) as directory:
        try:
            _remove_unfinished(path.name, directory)
            os.unlink(path.name, dir_fd=directory)
            os.fsync(directory)
        except OSError as error:
            raise _cannot("remove", path, error) from error


def remove_unfinished(path: Path, *, owner_uid: int) -> None:
    """Remove what a killed `write_atomically` left, when no other can be at work.

    Raises:
        FileRefusedError: The directory is not safe, or a file cannot be removed.
    """
    with open_directory(path.parent, owner_uid=owner_uid) as directory:
        try:
            _remove_unfinished(path.name, directory)
        except OSError as error:
            raise _cannot("clear the way for", path, error) from error


def check_regular(path: Path, status: os.stat_result, *, owner_uid: int, max_mode: int) -> None:
    """Check what fstat says about an open file.

    Raises:
        FileRefusedError: It is not a regular file, or has another owner or a wider mode.
    """
    if not stat.S_ISREG(status.st_mode):
        raise FileRefusedError(
            f"{path} is not a regular file", hint=f"remove it: rm -r {path}, and restore the file"
        )
    _check_owner(path, status, owner_uid)
    mode = stat.S_IMODE(status.st_mode)
    if mode & ~max_mode & WRITABLE_BY_OTHERS:
        _check_not_writable(path, status, hint=f"chmod {max_mode:04o} {path}")
    if mode & ~max_mode:
        raise FileRefusedError(
            f"{path} has mode {mode:04o}, more open than {max_mode:04o}",
            hint=f"chmod {max_mode:04o} {path}",
        )


def _remove_unfinished(name: str, directory: int) -> None:
    with os.scandir(directory) as entries:
        found = [entry.name for entry in entries]
    for other in found:
        if other.startswith(f".{name}.") and other.endswith(".tmp"):
            os.unlink(other, dir_fd=directory)


def _write_new(
    name: str,
    data: bytes,
    *,
    mode: int,
    owners: tuple[int, int],
    directory: int,
    durable: bool,
) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN
    fd = os.open(name, flags, mode & stat.S_IRWXU, dir_fd=directory)
    try:
        # The group's bits come only once the right group owns the file.
        if owners != (-1, -1):
            os.fchown(fd, *owners)
        os.fchmod(fd, mode)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)


def _check_owner(path: Path, status: os.stat_result, owner_uid: int) -> None:
    if status.st_uid not in (_ROOT, owner_uid):
        wanted = "root" if owner_uid == _ROOT else f"root or user id {owner_uid}"
        raise FileRefusedError(
            f"{path} belongs to user id {status.st_uid}, not to {wanted}",
            hint=f"find out who put it there; then: chown root {path}",
        )


def _check_not_writable(path: Path, status: os.stat_result, *, hint: str = "") -> None:
    mode = stat.S_IMODE(status.st_mode)
    if mode & WRITABLE_BY_OTHERS:
        raise FileRefusedError(
            f"{path} can be written by others than its owner (mode {mode:04o})",
            hint=hint or f"find out who changed it; then: chmod go-w {path}",
        )


def _check_size(path: Path, status: os.stat_result, max_bytes: int) -> None:
    if status.st_size > max_bytes:
        raise FileRefusedError(
            f"{path} holds {status.st_size} bytes, more than the {max_bytes} that it may",
            hint="it is not what its name says: restore it from a backup, or remove it",
        )


def _cannot(verb: str, path: Path, error: OSError) -> FileRefusedError:
    """Name what stood in the way of opening, reading, writing or removing."""
    if error.errno == errno.ENOENT:
        return FileMissingError(f"{path} does not exist")
    if error.errno in (errno.ELOOP, errno.ENOTDIR) and path.is_symlink():
        return FileRefusedError(
            f"{path} is a symbolic link, and links are not followed here",
            hint="put the file itself in its place",
        )
    return FileRefusedError(
        f"cannot {verb} {path}: {error.strerror}", hint=_CURES.get(error.errno or 0, "")
    )

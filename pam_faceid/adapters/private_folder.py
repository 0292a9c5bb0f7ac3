"""A folder that only its owner can look into, for files that somebody asked for."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from pam_faceid.adapters.safe_files import (
    FileRefusedError,
    open_directory,
    remove_durably,
    write_atomically,
)

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600


def prepare(path: Path, *, ours: Collection[str], replace: bool) -> None:
    """Make the folder, or check one that is there.

    Args:
        path: Its parent must be there.
        ours: Names of files that may be replaced.
        replace: Accept a folder that holds files; without it, it must be empty.

    Raises:
        FileRefusedError: It cannot be made or written to, is a link or no folder, is open to
            others, or holds something.
    """
    try:
        path.mkdir(mode=FOLDER_MODE)
    except FileExistsError:
        pass
    except OSError as error:
        if not path.parent.exists():
            raise FileRefusedError(
                f"{path.parent} does not exist", hint=f"mkdir {path.parent}"
            ) from error
        raise FileRefusedError(
            f"cannot make {path}: {error.strerror}", hint="name a folder that can be written"
        ) from error
    with open_directory(path, owner_uid=os.geteuid()) as folder:
        mode = stat.S_IMODE(os.fstat(folder).st_mode)
        with os.scandir(folder) as entries:
            held = sorted(entry.name for entry in entries)
    if mode & ~FOLDER_MODE:
        raise FileRefusedError(
            f"{path} can be looked into by others than its owner (mode {mode:04o})",
            hint=f"name a new folder, or: chmod 0700 {path}",
        )
    if not os.access(path, os.W_OK | os.X_OK):
        raise FileRefusedError(
            f"{path} cannot be written", hint="name a folder on a file system that is writable"
        )
    if held and not replace:
        raise FileRefusedError(
            f"{path} is not empty: it holds {held[0]}{' and more' if len(held) > 1 else ''}",
            hint="name a new folder, or pass --replace"
            if set(held) & set(ours)
            else "name a new folder; --replace would leave those files and write beside them",
        )


def fill(path: Path, files: Mapping[str, bytes], *, ours: Collection[str]) -> None:
    """Write files that only the owner can read, each whole or not at all.

    Args:
        path: A folder that `prepare` accepted.
        files: Content by name.
        ours: Names of files of an earlier time, removed when they are not in `files`.

    Raises:
        FileRefusedError: The folder was changed meanwhile, or cannot be written: disk full.
    """
    owner = os.geteuid()
    for name in sorted(set(ours) - files.keys()):
        if (path / name).exists():
            remove_durably(path / name, owner_uid=owner)
    for name, content in files.items():
        write_atomically(
            path / name,
            content,
            mode=FILE_MODE,
            owner_uid=owner,
            group=None,
            replace=True,
            durable=False,
        )

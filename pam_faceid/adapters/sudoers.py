"""Does sudo give every caller a PATH of root's choosing? The hook in sudo depends on it.

pam_python finds its standard library through PATH. Under `secure_path` sudo replaces PATH before it
authenticates; without it, a directory of the caller's could carry a standard library that runs as
root.

Source: sudoers(5).
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pam_faceid.core.errors import PamStackError

_DEFAULTS: Final = re.compile(r"Defaults(?P<scope>[@:!>]\S+)?\s+(?P<settings>.*)")
_INCLUDE: Final = re.compile(r"[@#](?P<kind>include|includedir)\s+(?P<path>.+)")
_SECURE_PATH: Final = re.compile(r'(?<![!\w])secure_path\s*\+?=\s*(?:"([^"]*)"|([^\s,]+))')
MAX_DEPTH: Final = 16


def path_hazards(root: Path) -> list[str]:
    """Return why sudo's PATH cannot be relied on; empty when it can.

    Args:
        root: "/" on the running machine.

    Raises:
        PamStackError: A sudoers file cannot be read, so nothing can be promised.
    """
    hazards = []
    secure = None
    for where, scope, settings in _defaults(root, root / "etc/sudoers", depth=0):
        if re.search(r"!\s*secure_path", settings):
            hazards.append(f"{where}: `!secure_path` lets a caller keep the PATH")
        if re.search(r"(?<![!\w])exempt_group\b", settings):
            hazards.append(f"{where}: `exempt_group` lets its members keep the PATH")
        found = _SECURE_PATH.search(settings)
        if found is not None:
            secure = secure or not scope
            folders = (found[1] if found[1] is not None else found[2]).split(":")
            hazards += [f"{where}: {fault}" for f in folders if (fault := _folder_fault(root, f))]
    if not secure:
        hazards.append(f"{root / 'etc/sudoers'}: there is no `Defaults secure_path`")
    return hazards


def _defaults(root: Path, path: Path, *, depth: int) -> Iterator[tuple[str, str | None, str]]:
    """Yield (file and line, scope, settings) of every Defaults line, in sudo's order."""
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise PamStackError(
            f"{path}: {error.strerror}", hint="without it nobody can say which PATH sudo uses"
        ) from error
    for number, line in _logical_lines(text):
        include = _INCLUDE.match(line)
        if include is not None and depth < MAX_DEPTH:
            target = include["path"].strip().strip('"')
            folder = root / target.lstrip("/") if target.startswith("/") else path.parent / target
            for file in _included(folder, is_folder=include["kind"] == "includedir"):
                yield from _defaults(root, file, depth=depth + 1)
            continue
        defaults = _DEFAULTS.match(line.partition("#")[0].strip())
        if defaults is not None:
            yield f"{path} line {number}", defaults["scope"], defaults["settings"]


def _included(target: Path, *, is_folder: bool) -> list[Path]:
    if not is_folder:
        return [target]
    if not target.is_dir():
        return []
    # sudo skips names with a dot and those that end in a tilde.
    return sorted(
        p for p in target.iterdir() if p.is_file() and "." not in p.name and p.name[-1] != "~"
    )


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    joined, first = "", 1
    for number, line in enumerate(text.split("\n"), start=1):
        first = first if joined else number
        if line.endswith("\\"):
            joined += line[:-1] + " "
            continue
        yield first, (joined + line).strip()
        joined = ""


def _folder_fault(root: Path, folder: str) -> str | None:
    if not folder.startswith("/"):
        return f"secure_path holds {folder!r}, which is not an absolute path"
    try:
        status = (root / folder.lstrip("/")).stat()
    except OSError:
        return None
    # Not S_IWGRP: Debian lets the group staff, which is as good as root, write to /usr/local.
    if status.st_uid != 0 or status.st_mode & stat.S_IWOTH:
        return f"secure_path holds {folder}, which is not root's alone"
    return None

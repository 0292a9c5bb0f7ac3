"""The keys that check sealed logs: the first link of each chain, in a file for root alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from pam_faceid.adapters.audit.lines import LineError, parse_line, write_line
from pam_faceid.adapters.audit.links import KEY_BYTES, Link
from pam_faceid.adapters.safe_files import (
    FileMissingError,
    read_private,
    refused_as,
    write_atomically,
)
from pam_faceid.core.errors import AuditError

FILE_MODE: Final = 0o400
MAX_BYTES: Final = 1 << 20


def read_keys(path: Path) -> dict[str, Link]:
    """Return the first links by chain; none when there is no file.

    Raises:
        AuditError: It is not private to its owner, or holds another thing than keys.
    """
    with refused_as(AuditError):
        try:
            data = read_private(
                path, owner_uid=os.geteuid(), max_mode=FILE_MODE | 0o200, max_bytes=MAX_BYTES
            )
        except FileMissingError:
            return {}
    links = (_parse(path, number, line) for number, line in enumerate(data.splitlines(), start=1))
    return {link.chain: link for link in links}


def add_key(path: Path, link: Link) -> None:
    """Add the first link of a chain.

    Raises:
        AuditError: The file is not safe, or cannot be written.
    """
    links = [*read_keys(path).values(), link]
    lines = [write_line({"chain": each.chain, "key": each.key.hex()}) + b"\n" for each in links]
    with refused_as(AuditError):
        write_atomically(
            path,
            b"".join(lines),
            mode=FILE_MODE,
            owner_uid=os.geteuid(),
            group=None,
            replace=True,
        )


def _parse(path: Path, number: int, line: bytes) -> Link:
    try:
        pairs = parse_line(line)
        link = Link(pairs["chain"], 0, bytes.fromhex(pairs["key"]))
    except (LineError, KeyError, ValueError):
        link = None
    if link is None or len(link.key) != KEY_BYTES:
        raise AuditError(
            f"{path}:{number} is not a key of an audit chain",
            hint="give the file that `faceid-admin audit start` has written",
        )
    return link

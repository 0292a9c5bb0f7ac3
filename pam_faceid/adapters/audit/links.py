"""The chain that seals the log: a key for each line, of which only the next one is ever kept.

Line *n* is sealed with HMAC-SHA256 under a key made from *A(n)*, and *A(n+1)* is made from *A(n)*
by a one-way step after which *A(n)* is forgotten. Who takes over the machine finds the key of the
next line, and can forge what is yet to be written, but no line before it. Who holds *A(0)* can
check all. `docs/adr/0014-sealed-audit-log.md` argues this.
"""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pam_faceid.adapters.audit.lines import LineError, parse_line, write_line

START: Final = "chain-start"
STOP: Final = "chain-stop"
KEY_BYTES: Final = 32
SEAL_BYTES: Final = 16
_SEALED: Final = re.compile(
    rb".* chain=([0-9a-f]{8}) seq=(0|[1-9][0-9]{0,15}) seal=[0-9a-f]{%d}" % (2 * SEAL_BYTES)
)


@dataclass(frozen=True, slots=True)
class Link:
    """Where a chain stands: the key of one line.

    Args:
        chain: Eight hexadecimal digits that tell chains apart.
        seq: Number of the line, from 0.
        key: *A(seq)*, 32 bytes.
    """

    chain: str
    seq: int
    key: bytes = field(repr=False)

    def next(self) -> Link:
        """Return the link of the line after. There is no way back."""
        return Link(self.chain, self.seq + 1, _derive(self.key, b"next"))

    def seal(self, pairs: Mapping[str, str]) -> bytes:
        """Return a line that carries chain, number and seal."""
        body = write_line({**pairs, "chain": self.chain, "seq": str(self.seq)})
        return body + b" seal=" + self._seal(body).hex().encode()

    def has_sealed(self, line: bytes) -> bool:
        """Whether this very line was sealed with this link's key."""
        body, _, seal = line.rpartition(b" seal=")
        return hmac.compare_digest(seal, self._seal(body).hex().encode())

    def _seal(self, body: bytes) -> bytes:
        return hmac.digest(_derive(self.key, b"line"), body, "sha256")[:SEAL_BYTES]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a line says that it belongs.

    Args:
        chain: Of the link.
        seq: Of the link.
    """

    chain: str
    seq: int


def place_of(line: bytes) -> Place | None:
    """Return where a line says that it belongs; None when it carries no seal.

    Raises:
        LineError: It is not a canonical line.
    """
    parse_line(line)
    found = _SEALED.fullmatch(line)
    return None if found is None else Place(found[1].decode(), int(found[2]))


def first_link() -> Link:
    """Return the start of a new chain; its key is *A(0)*."""
    return Link(os.urandom(4).hex(), 0, os.urandom(KEY_BYTES))


def is_sealed_by(link: Link, line: bytes) -> bool:
    """Whether a line of the log is this link's, whatever the line is."""
    try:
        place = place_of(line)
    except LineError:
        return False
    return place == Place(link.chain, link.seq) and link.has_sealed(line)


def _derive(key: bytes, purpose: bytes) -> bytes:
    return hmac.digest(key, b"pam_faceid audit " + purpose, "sha256")

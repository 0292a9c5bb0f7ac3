r"""The canonical line: `key=value` pairs that no value can break out of.

    time=2026-11-21T20:15:02.118Z event=authenticate user=maria rhost="" error="no \"frame\""

Pairs are separated by one blank. A value of letters, digits and `_./:@+,%-` stands as it is; any
other, the empty one too, stands in double quotes, where `"` and `\` follow a `\`, and every
character that is not printable ASCII is `\u{HEX}`. So a line is printable ASCII without a newline
whatever is in it, and there is one way to write it: `parse_line` is the exact inverse of
`write_line`, and refuses every other spelling.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from typing import Final

MAX_VALUE_BYTES: Final = 512
MAX_PAIRS: Final = 48
MAX_LINE_BYTES: Final = MAX_PAIRS * (MAX_VALUE_BYTES + 40)
CUT: Final = "..."  # ends a value that was longer

_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz")
_IN_KEY: Final = _LETTERS | frozenset("0123456789_")
_BARE: Final = _IN_KEY | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ./:@+,%-")
_KEY_LENGTH: Final = 32
# Patterns are compiled where a line is read: writing one is part of every login.
_PAIR: Final = (
    r'([a-z][a-z0-9_]*)=(?:([A-Za-z0-9_./:@+,%-]+)|"((?:[^"\\]|\\["\\]|\\u\{[0-9a-f]{1,6}\})*)")'
)
_ESCAPE: Final = r'\\(?:(["\\])|u\{([0-9a-f]+)\})'


class LineError(ValueError):
    """The bytes are not a canonical line."""


def write_line(pairs: Mapping[str, str]) -> bytes:
    """Return the line, without a newline, in the order of the mapping.

    Args:
        pairs: At most `MAX_PAIRS`. Keys are lower-case words; values are any text, and what does
            not fit in `MAX_VALUE_BYTES` as written is cut and ends in `CUT`.

    Raises:
        LineError: A key is not a word, or there are too many or none: a fault of the program, never
            of a value.
    """
    if not 0 < len(pairs) <= MAX_PAIRS:
        raise LineError(f"{len(pairs)} pairs in an audit line")
    for key in pairs:
        if not is_key(key):
            raise LineError(f"{key!r} cannot be a key of an audit line")
    return " ".join(f"{key}={_write(value)}" for key, value in pairs.items()).encode("ascii")


def parse_line(line: bytes) -> dict[str, str]:
    """Return the pairs in their order.

    Args:
        line: Without its newline.

    Raises:
        LineError: `write_line` would never have written it.
    """
    if len(line) > MAX_LINE_BYTES:
        raise LineError(f"{len(line)} bytes are too many for an audit line")
    try:
        text = line.decode("ascii")
        pairs = _read_pairs(text)
    except ValueError as error:
        raise LineError(f"not an audit line: {error}") from error
    # Whatever the grammar lets pass that is not canonical (a printable character escaped, quotes
    # without need, upper case, a surrogate pair) is written otherwise.
    if write_line(pairs) != line:
        raise LineError("not the canonical way to write it")
    return pairs


def is_key(key: str) -> bool:
    """Whether a text can be the key of a pair: a lower-case word of at most 32 characters."""
    return key[:1] in _LETTERS and _IN_KEY.issuperset(key) and len(key) <= _KEY_LENGTH


def fit(value: str) -> str:
    """Return the value, or as much of its beginning as fits in a line, with the mark `CUT`."""
    room = MAX_VALUE_BYTES - 2  # the quotes
    start = value[: room + 1]
    sizes = [len(_escape(character)) for character in start]
    if sum(sizes) <= room:
        return value
    return start[: bisect_right(list(accumulate(sizes)), room - len(CUT))] + CUT


def _write(value: str) -> str:
    fitting = fit(value)
    if fitting and _BARE.issuperset(fitting):
        return fitting
    return f'"{"".join(map(_escape, fitting))}"'


def _escape(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if " " <= character <= "~" else f"\\u{{{ord(character):x}}}"


def _read_pairs(text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    pattern = re.compile(_PAIR)
    at = 0
    while True:
        found = pattern.match(text, at)
        if found is None:
            raise LineError(f"no pair at byte {at}")
        key, bare, quoted = found.groups()
        pairs[key] = re.sub(_ESCAPE, _unescape, quoted) if bare is None else bare
        at = found.end()
        if at == len(text):
            return pairs
        if text[at] != " ":
            raise LineError(f"no blank at byte {at}")
        at += 1


def _unescape(found: re.Match[str]) -> str:
    plain, number = found.groups()
    return plain or chr(int(number, 16))

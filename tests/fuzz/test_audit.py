"""Whatever lies in the log is records or broken lines, and no change of a sealed one is unseen."""

from __future__ import annotations

import gzip
import random
import re
from pathlib import Path

from pam_faceid.adapters.audit.lines import LineError, fit, parse_line, write_line
from pam_faceid.adapters.audit.links import Link, first_link
from pam_faceid.adapters.audit.reading import Line, read_lines, record_of
from pam_faceid.adapters.audit.record import describe
from pam_faceid.adapters.audit.verification import verify_log
from pam_faceid.core.errors import AuditError
from tests.fuzz.harness import mutate, tries

WORDS = [
    *(b"time=", b"event=", b"user=", b"outcome=match", b" ", b"  ", b"=", b'"', b"\\", b"\\u{"),
    *(
        b"\\u{41}",
        b"\\u{110000}",
        b"\\u{D800}",
        b'\\"',
        b"\\\\",
        b"\n",
        b"\r",
        b"\0",
        b"\xff",
        b"...",
    ),
    *(b" chain=00000000", b" seq=0", b" seq=00", b" seq=9999999999999999", b" seal=", b" torn"),
    *(b"x" * 600, b"a=1 " * 60, b"\x1f\x8b\x08", b"\xe2\x80\xae"),
]
ALPHABET = ' ="\\\n\r\t\0\x1b\x7f\x85\u2028\u202e\ud800\udcff\U0010ffffaZ09_./:@+,%-{}u'
FACTS = {"user": "alice", "service": "sudo", "rhost": "", "tty": "/dev/pts/3", "outcome": "match"}


def sealed(count: int) -> tuple[list[bytes], dict[str, Link], Link]:
    """Lines of a chain, what checks them, and its head."""
    first = link = first_link()
    lines = []
    for number in range(count):
        pairs = describe("authenticate", {**FACTS, "frames": number}, seconds=1.7e9 + number)
        lines.append(link.seal(pairs))
        link = link.next()
    return lines, {first.chain: first}, link


def test_whatever_a_line_holds_it_is_canonical_or_refused() -> None:
    lines, _, _ = sealed(4)
    corpus = [*lines, write_line({"user": ALPHABET, "tty": "", "error": "x" * 999})]
    for chance in tries("audit lines", count=60_000):
        line = mutate(chance, corpus, WORDS)
        try:
            pairs = parse_line(line)
        except LineError:
            continue
        assert write_line(pairs) == line, chance


def text(chance: random.Random) -> str:
    length = chance.choice((0, 1, 3, 20, 520, 3000))
    return "".join(chance.choices(ALPHABET, k=chance.randint(0, length)))


def test_whatever_is_written_comes_back() -> None:
    for chance in tries("audit values", count=8_000):
        pairs = {key: text(chance) for key in ("user", "service", "rhost", "tty")}
        line = write_line(pairs)
        assert re.fullmatch(rb"[ -~]+", line), chance
        assert parse_line(line) == {key: fit(value) for key, value in pairs.items()}, chance


def test_whatever_a_file_holds_it_is_read_to_its_end_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    lines, _, _ = sealed(6)
    plain = b"".join(line + b"\n" for line in lines)
    corpus = [plain, gzip.compress(plain), b""]
    for chance in tries("audit files", count=6_000):
        content = mutate(chance, corpus, WORDS)
        path.write_bytes(content)
        try:
            found = list(read_lines([path]))
        except AuditError:
            assert content.startswith(b"\x1f\x8b"), chance
            continue
        for line in found:
            record = record_of(line)
            assert record is None or write_line(record.pairs) == line.text, chance


def test_no_change_of_a_sealed_log_is_unseen(tmp_path: Path) -> None:
    """What counts as intact was written so; and what was written is intact or missed."""
    lines, keys, head = sealed(8)
    whole = b"\n".join(lines)
    for chance in tries("sealed logs", count=4_000):
        changed = mutate(chance, [whole], WORDS).split(b"\n")
        report = verify_log(
            (Line(tmp_path, number, line) for number, line in enumerate(changed, start=1)),
            keys=keys,
            head=head,
        )
        left = [line for line in changed if line in lines]
        assert report.intact <= len(set(left)), chance
        if left != lines[len(lines) - len(left) :] or not left:
            # Only the oldest lines may go, as when they are rotated away.
            assert report.findings, chance

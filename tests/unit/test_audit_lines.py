"""One way to write a record, and no value that breaks out of it."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pam_faceid.adapters.audit.lines import (
    CUT,
    MAX_LINE_BYTES,
    MAX_PAIRS,
    MAX_VALUE_BYTES,
    LineError,
    fit,
    parse_line,
    write_line,
)

keys = st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True)
# Surrogates too: Python has them in names that are not UTF-8.
texts = st.text(st.characters(), max_size=80) | st.text(' ="\\\n\r\t\0\x7f\x85\u202e\u2066\udcff.a')
pairs = st.dictionaries(keys, texts, min_size=1, max_size=8)
HOSTILE = [
    'x" outcome=match user="x',
    "x outcome=match",
    "x\ntime=2026-01-01T00:00:00.000Z event=authenticate outcome=match",
    "\r\n\0\x1b[2J\x7f\x85\x9b31m\u2028\u2029",
    "\ud800 \udcff",
    "\u202egnp.exe\u2066",
    "имя",
    "\\",
    '\\"',
    "\\u{41}",
    "",
    " ",
    "=",
    "\U0010ffff",
]


@settings(deadline=None)
@given(pairs=pairs)
def test_what_is_written_is_read_back(pairs: dict[str, str]) -> None:
    expected = {key: fit(value) for key, value in pairs.items()}
    assert parse_line(write_line(pairs)) == expected
    assert list(parse_line(write_line(pairs))) == list(pairs)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_stays_inside_its_pair(text: str) -> None:
    line = write_line({"user": text, "outcome": "non_match"})
    assert all(0x20 <= byte < 0x7F for byte in line)
    assert parse_line(line) == {"user": text, "outcome": "non_match"}


@settings(deadline=None)
@given(line=st.binary(max_size=60) | st.text('ab=" \\u{}0419fF\n', max_size=40).map(str.encode))
@example(line=b'a="\\u{41}"')
@example(line=b'a="plain"')
@example(line=b"a=1 a=2")
@example(line=b"a=1  b=2")
@example(line=b"a=1 ")
@example(line=b'a="\\u{00a}"')
@example(line=b'a="\\u{A0}"')
@example(line=b'a="\\u{110000}"')
@example(line=b"a=\xff")
@example(line=b"")
def test_only_the_canonical_spelling_is_read(line: bytes) -> None:
    try:
        found = parse_line(line)
    except LineError:
        return
    assert write_line(found) == line


@pytest.mark.parametrize("line", [b'a="b"', b'a="\\u{62}"', b"a=1 a=2", b"a=1 ", b'a="\\u{0a}"'])
def test_another_spelling_of_the_same_is_refused(line: bytes) -> None:
    with pytest.raises(LineError):
        parse_line(line)


@pytest.mark.parametrize("character", ["x", "\n", '"', "\U0010ffff"])
def test_a_long_value_is_cut_and_says_so(character: str) -> None:
    line = write_line({"user": character * 100_000, "outcome": "match"})
    found = parse_line(line)
    assert found["user"].endswith(CUT)
    assert found["user"].removesuffix(CUT).strip(character) == ""
    assert len(line) <= MAX_VALUE_BYTES + len("user= outcome=match")


def test_a_line_has_a_longest_length() -> None:
    line = write_line({f"{'k' * 30}{n:02}": "\U0010ffff" * 999 for n in range(MAX_PAIRS)})
    assert len(line) <= MAX_LINE_BYTES
    with pytest.raises(LineError, match="too many"):
        parse_line(b"a=" + b"x" * MAX_LINE_BYTES)


@pytest.mark.parametrize("key", ["", "User", "a b", "a=b", "1a", "k" * 33])
def test_a_key_that_is_no_word_is_a_fault_of_the_program(key: str) -> None:
    with pytest.raises(LineError):
        write_line({key: "x"})

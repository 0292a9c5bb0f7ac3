"""Looking for an embedding's bytes in the memory of processes and in files.

To see what a running daemon keeps: `leaks(pid, traces(vector))` for each of its processes.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

Traces = Mapping[str, Sequence[bytes]]
_MOST_AT_ONCE = 64 << 20


def traces(vector: Sequence[float]) -> Traces:
    """Return what parts of a vector look like, by the form that somebody may have put it into.

    Parts from its middle: what is freed loses its first bytes to the allocator at once.

    Args:
        vector: At least 64 numbers.
    """
    numbers = [float(number) for number in vector]
    parts = [numbers[start : start + 8] for start in range(16, len(numbers) - 8, 24)]
    single = [struct.pack("<8f", *part) for part in parts]
    whole = struct.pack(f"<{len(numbers)}f", *numbers)
    return {
        "float32": single,
        "float64": [struct.pack("<8d", *part) for part in parts],
        # Each group of three bytes is four letters, so there are three ways to begin.
        "base64": [base64.b64encode(whole[64 + shift : 64 + shift + 24]) for shift in range(3)],
        "hex": [part.hex().encode() for part in single[:2]],
        "text": [
            separator.join(map(repr, part[:3])).encode()
            for part in parts[:2]
            for separator in (",", ", ", " ")
        ],
    }


def leaks(pid: int, found: Traces) -> set[str]:
    """Return the forms in which any part is in a process's memory. Needs root."""
    return _forms(_memory(pid), found)


def leaks_in_files(files: Iterable[Path], found: Traces) -> dict[str, set[str]]:
    """Return the files that hold any part, with its forms."""
    return {str(file): forms for file in files if (forms := _forms(_content(file), found))}


def _forms(pieces: Iterable[bytes], found: Traces) -> set[str]:
    return {
        form
        for piece in pieces
        for form, parts in found.items()
        if any(part in piece for part in parts)
    }


def _memory(pid: int) -> Iterator[bytes]:
    """Yield what is mapped, can be written and is there, each piece with the end of the last."""
    with Path("/proc", str(pid), "mem").open("rb", buffering=0) as memory:
        for start, end in _written(pid):
            for at in range(start, end, _MOST_AT_ONCE - 4096):
                try:
                    memory.seek(at)
                    yield memory.read(min(_MOST_AT_ONCE, end - at))
                except OSError:  # unmapped meanwhile, or a device's
                    continue


def _written(pid: int) -> Iterator[tuple[int, int]]:
    for entry in re.finditer(
        r"^([0-9a-f]+)-([0-9a-f]+) rw.*\n(?:\w+:.*\n)*?Rss: +([1-9]\d*) kB",
        Path("/proc", str(pid), "smaps").read_text(),
        re.MULTILINE,
    ):
        yield int(entry[1], 16), int(entry[2], 16)


def _content(file: Path) -> Iterator[bytes]:
    try:
        yield file.read_bytes()
    except OSError:  # removed meanwhile
        return

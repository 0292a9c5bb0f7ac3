"""Is the lid closed: what the kernel says where it has ACPI, else what logind says.

ACPI's lid has a file. Any other is a switch of the input layer, and whoever may read those may read
the keyboard too: logind reads them anyway, and is asked. docs/adr/0040-lid-and-seats.md

Source: D-Bus Specification 0.43, "Message Protocol"; org.freedesktop.login1(5).
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from pathlib import Path
from typing import BinaryIO, Final

ANSWER_SECONDS: Final = 0.5  # a bus that hangs hangs no login
_SW_LID: Final = 1  # of the switches in linux/input-event-codes.h, the first bit

_HEADER: Final = struct.Struct("=cBBBIII")
_ORDER: Final = b"l" if sys.byteorder == "little" else b"B"
_CALL, _RETURN, _ERROR = 1, 2, 3
_PATH, _INTERFACE, _MEMBER, _DESTINATION, _SIGNATURE = 1, 2, 3, 6, 8
_TRUE: Final = struct.pack("=B2sxI", 1, b"b", 1)  # a variant that holds a boolean


def lid_is_closed(proc: Path, sys_: Path, bus: Path) -> bool:
    """Whether a lid is closed. A machine without one has none closed; nor is one that nobody knows.

    Args:
        proc: Where the kernel shows ACPI.
        sys_: Where the kernel shows switches.
        bus: Where the system's bus listens.
    """
    states = list(proc.glob("acpi/button/lid/*/state"))
    if states:
        return any(_text(state).split()[-1:] == ["closed"] for state in states)
    return _has_switch(sys_) and _logind_says_closed(bus)


def _has_switch(sys_: Path) -> bool:
    for switches in sys_.glob("class/input/input*/capabilities/sw"):
        words = _text(switches).split()  # in hexadecimal, the lowest last
        if words and int(words[-1], 16) & _SW_LID:
            return True
    return False


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _logind_says_closed(bus: Path) -> bool:
    me = str(os.geteuid()).encode().hex()
    # Nothing here waits for an answer before the last question: it is one exchange.
    questions = (
        f"\0AUTH EXTERNAL {me}\r\nBEGIN\r\n".encode()
        + _call(1, "org.freedesktop.DBus", "org.freedesktop.DBus", "Hello")
        + _call(
            *(2, "org.freedesktop.login1", "org.freedesktop.DBus.Properties", "Get"),
            *("org.freedesktop.login1.Manager", "LidClosed"),
        )
    )
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(ANSWER_SECONDS)
            client.connect(str(bus))
            client.sendall(questions)
            with client.makefile("rb") as answers:
                return _second_return(answers) == _TRUE
    except (OSError, struct.error):
        return False


def _call(serial: int, destination: str, interface: str, member: str, *arguments: str) -> bytes:
    path = "/" + destination.replace(".", "/")
    fields = [
        bytes([code, 1, ord(kind), 0]) + _string(text)
        for code, kind, text in (
            (_PATH, "o", path),
            (_DESTINATION, "s", destination),
            (_INTERFACE, "s", interface),
            (_MEMBER, "s", member),
        )
    ]
    if arguments:
        signature = b"s" * len(arguments)
        fields.append(bytes([_SIGNATURE, 1, ord("g"), 0, len(signature)]) + signature + b"\0")
    named = b"".join(_padded(field, 8) for field in fields[:-1]) + fields[-1]
    body = b"".join(_padded(_string(text), 4) for text in arguments[:-1])
    body += b"".join(map(_string, arguments[-1:]))
    header = _HEADER.pack(_ORDER, _CALL, 0, 1, len(body), serial, len(named))
    return _padded(header + named, 8) + body


def _string(text: str) -> bytes:
    return struct.pack("=I", len(text)) + text.encode() + b"\0"


def _padded(data: bytes, size: int) -> bytes:
    return data + bytes(-len(data) % size)


def _second_return(answers: BinaryIO) -> bytes:
    """Return what the second call returned, which comes after what the first did."""
    if not answers.readline().startswith(b"OK "):
        return b""
    returned = b""
    for _ in range(2):
        kind = 0
        while kind != _RETURN:
            _, kind, _, _, length, _, named = _HEADER.unpack(answers.read(_HEADER.size))
            answers.read(named + -named % 8)
            returned = answers.read(length)
            if kind == _ERROR:
                return b""
    return returned

"""Whether the lid is closed, from files as the kernel writes them and a bus that speaks D-Bus."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pam_faceid.adapters import lid

HELLO = b"\x05\0\0\0:1.42\0"
CLOSED, OPEN = b"\x01b\0\0\1\0\0\0", b"\x01b\0\0\0\0\0\0"
RETURN, ERROR, SIGNAL = 2, 3, 4


def message(kind: int, body: bytes) -> bytes:
    """A message with a field of 13 bytes, so that it has to be padded."""
    field = b"\x06\x01s\0\x04\0\0\0:1.4\0"
    return struct.pack("<cBBBIII", b"l", kind, 1, 1, len(body), 7, 13) + field + bytes(3) + body


def switch(tree: Path, bits: str) -> None:
    """Give the machine an input device with these switches."""
    device = tree / "class/input/input3/capabilities"
    device.mkdir(parents=True, exist_ok=True)
    (device / "sw").write_text(f"{bits}\n")


@contextmanager
def bus(path: Path, *messages: bytes, welcome: bytes = b"OK 1234deadbeef\r\n") -> Iterator[None]:
    """Answer one client, and keep the line open."""
    done = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                heard = b""
                while b"LidClosed" not in heard:
                    heard += client.recv(4096)
                client.sendall(welcome + b"".join(messages))
                done.wait()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def is_closed(tree: Path) -> bool:
    return lid.lid_is_closed(tree, tree, tree / "bus")


def test_acpi_says_whether_a_lid_is_closed(tmp_path: Path) -> None:
    assert not is_closed(tmp_path), "a desktop has none"
    state = tmp_path / "acpi/button/lid/LID0/state"
    state.parent.mkdir(parents=True)
    state.write_text("state:      open\n")
    assert not is_closed(tmp_path)
    state.write_text("state:      closed\n")
    assert is_closed(tmp_path)


@pytest.mark.parametrize(
    ("said", "closed"), [(CLOSED, True), (OPEN, False)], ids=["closed", "open"]
)
def test_logind_says_it_of_a_switch(tmp_path: Path, *, said: bytes, closed: bool) -> None:
    switch(tmp_path, "1")
    name_acquired = message(SIGNAL, HELLO)
    with bus(tmp_path / "bus", message(RETURN, HELLO), name_acquired, message(RETURN, said)):
        assert is_closed(tmp_path) == closed


def test_a_machine_without_a_switch_asks_nobody(tmp_path: Path) -> None:
    """Headphones have one, too."""
    switch(tmp_path, "14")
    assert not is_closed(tmp_path)


@pytest.mark.parametrize(
    ("welcome", "messages"),
    [
        (b"REJECTED EXTERNAL\r\n", []),
        (b"OK 12\r\n", [message(RETURN, HELLO), message(ERROR, HELLO)]),
        (b"OK 12\r\n", [message(ERROR, HELLO)]),
        (b"OK 12\r\n", [message(RETURN, HELLO), message(RETURN, HELLO)]),
        (b"OK 12\r\n", [message(RETURN, HELLO)[:11]]),
    ],
    ids=["refused", "no such property", "no hello", "another type", "silent amid a message"],
)
def test_whatever_else_the_bus_says_is_no_closed_lid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, welcome: bytes, messages: list[bytes]
) -> None:
    monkeypatch.setattr(lid, "ANSWER_SECONDS", 0.05)
    switch(tmp_path, "1")
    with bus(tmp_path / "bus", *messages, welcome=welcome):
        assert not is_closed(tmp_path)


def test_without_a_bus_nothing_is_known(tmp_path: Path) -> None:
    switch(tmp_path, "1")
    assert not is_closed(tmp_path)

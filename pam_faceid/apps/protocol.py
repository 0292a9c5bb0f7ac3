"""What the processes say to each other: one JSON object a line over a Unix stream socket.

hook -> worker: `Authenticate`, then perhaps `Skip`. worker -> hook: `Within`, any number of `Info`,
one `Ended`. What the observer says to the worker is in `apps.sightings`.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from pam_faceid.core.errors import ProtocolError

MAX_LINE_BYTES: Final = 1 << 16

T = TypeVar("T")


class Message(msgspec.Struct, frozen=True, tag_field="op", forbid_unknown_fields=True):
    """A line on the wire."""


class Authenticate(Message, frozen=True, tag="authenticate"):
    """hook -> worker: authenticate this user for this service."""

    user: str
    service: str
    rhost: str = ""
    tty: str = ""


class Skip(Message, frozen=True, tag="skip"):
    """hook -> worker: the person wants to type the password."""


class Within(msgspec.Struct, frozen=True):
    """worker -> hook: the outcome follows within this many seconds."""

    within: float


class Info(msgspec.Struct, frozen=True):
    """worker -> hook: show this to the person."""

    info: str


class Ended(msgspec.Struct, frozen=True):
    """worker -> hook: the last line."""

    outcome: str


class Channel:
    """One end of a socket that carries lines.

    Args:
        connection: A connected stream socket, which the channel owns from now on.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._pending = b""

    def fileno(self) -> int:
        """For `select`."""
        return self._connection.fileno()

    def send(self, message: msgspec.Struct) -> None:
        """Send one line. Raises OSError when the other side is gone."""
        self._connection.sendall(msgspec.json.encode(message) + b"\n")

    def has_line(self) -> bool:
        """Whether `receive` would return at once without reading."""
        return b"\n" in self._pending

    def receive(self, decode: Callable[[bytes], T]) -> T | None:
        """Wait for one line and decode it; None when the other side is gone.

        Raises:
            ProtocolError: The line is too long or not what was expected.
        """
        while not self.has_line():
            if len(self._pending) > MAX_LINE_BYTES:
                raise ProtocolError("a line is longer than the protocol allows")
            if not self._read():
                return None
        line, _, self._pending = self._pending.partition(b"\n")
        try:
            return decode(line)
        # A hostile line can also be nested deeper than the decoder recurses.
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ProtocolError(f"a line is not in the protocol: {error}") from error

    def _read(self) -> bool:
        """Read what is there; False when the other side is gone."""
        try:
            received = self._connection.recv(MAX_LINE_BYTES)
        except ConnectionError:
            return False
        self._pending += received
        return bool(received)

    def close(self) -> None:
        """Close the socket."""
        self._connection.close()


def wait_for_line(channels: list[Channel], *, until: float | None) -> Channel | None:
    """Return the first channel that has something to read, or None at `until` (monotonic)."""
    for channel in channels:
        if channel.has_line():
            return channel
    timeout = None if until is None else max(0.0, until - time.monotonic())
    readable, _, _ = select.select(channels, [], [], timeout)
    return next((channel for channel in channels if channel in readable), None)

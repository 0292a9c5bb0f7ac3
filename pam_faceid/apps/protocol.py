"""What a client and the service say to each other; see docs/protocol.md.

What the service and its observer say to each other is in `apps.sightings`.
"""

from __future__ import annotations

import array
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from pam_faceid.core.errors import ProtocolError

MAX_REQUEST_BYTES: Final = 4096
MAX_LINE_BYTES: Final = 1 << 16
LINE_SECONDS: Final = 2.0  # from the first byte of a line to its last
_USUAL_LINE: Final = 2048  # a longer one leaves a copy where the buffer was before it grew
NOTED: Final = "noted"  # the outcome of a `LetIn`

T = TypeVar("T")


class Message(msgspec.Struct, frozen=True, tag_field="op", forbid_unknown_fields=True):
    """A line on the wire."""


class Authenticate(Message, frozen=True, tag="authenticate"):
    """client -> service: authenticate this user for this service."""

    user: str
    service: str
    rhost: str = ""
    tty: str = ""
    seat: str = ""


class LetIn(Message, frozen=True, tag="let_in"):
    """client -> service: something else than the face, the password, let this user in."""

    user: str
    service: str


class Skip(Message, frozen=True, tag="skip"):
    """client -> service: the person wants to type the password."""


class Confirmed(Message, frozen=True, tag="confirmed"):
    """client -> service: the person pressed the deliberate key that `Confirm` asked for."""


class Within(msgspec.Struct, frozen=True):
    """service -> client: the next line that matters follows within this many seconds."""

    within: float


class Info(msgspec.Struct, frozen=True):
    """service -> client: show this to the person."""

    info: str


class Confirm(msgspec.Struct, frozen=True):
    """service -> client: ask the person for a deliberate key, with this text."""

    confirm: str


class Ended(msgspec.Struct, frozen=True):
    """service -> client: the last line."""

    outcome: str


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end, as the kernel knows it.

    Args:
        pid: 0 when it lives in another process namespace.
        uid: Its effective user at the time of the connection.
    """

    pid: int
    uid: int


def peer_of(connection: socket.socket) -> Peer:
    """Ask the kernel who is at the other end of a Unix socket."""
    format_ = "3i"
    credentials = connection.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(format_)
    )
    pid, uid, _gid = struct.unpack(format_, credentials)
    return Peer(pid, uid)


class Channel:
    """One end of a socket that carries lines.

    Args:
        connection: A connected stream socket, which the channel owns from now on.
        received: What was read from it already.
        max_line: Longest line that is believed, bytes.
        max_descriptors: How many open files may come with a line; see `take_descriptors`.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        received: bytes = b"",
        max_line: int = MAX_LINE_BYTES,
        max_descriptors: int = 0,
    ) -> None:
        self._connection = connection
        self._pending = bytearray(received)
        self._max_line = max_line
        self._max_descriptors = max_descriptors
        self._descriptors: list[int] = []

    def fileno(self) -> int:
        """For `select`."""
        return self._connection.fileno()

    def send(self, message: msgspec.Struct, *, descriptors: Sequence[int] = ()) -> None:
        """Send one line, and open files with it.

        Raises:
            OSError: The other side is gone, or a timeout set on the connection ran out.
        """
        line = bytearray(_USUAL_LINE)
        msgspec.json.Encoder().encode_into(message, line)
        line += b"\n"
        try:
            sent = 0
            if descriptors:
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
                sent = self._connection.sendmsg([line], [rights])
            self._connection.sendall(memoryview(line)[sent:])
        finally:
            _wipe(line)

    def has_line(self) -> bool:
        """Whether `receive` would return at once without reading."""
        return b"\n" in self._pending

    def receive(self, decode: Callable[[bytearray], T]) -> T | None:
        """Wait for one line and decode it; None when the other side is gone.

        Raises:
            ProtocolError: The line is too long, too slow or not what was expected.
        """
        until = None
        while not self.has_line():
            if len(self._pending) > self._max_line:
                raise ProtocolError("a line is longer than the protocol allows")
            if self._pending:
                # Who sends a byte now and then must not hold whoever waits for the line.
                until = until or time.monotonic() + LINE_SECONDS
                if not select.select([self], [], [], max(0.0, until - time.monotonic()))[0]:
                    raise ProtocolError("a line did not arrive whole in time")
            if not self._read():
                return None
        end = self._pending.index(b"\n") + 1
        line = self._pending[:end]
        _wipe(self._pending, end)
        del self._pending[:end]
        try:
            return decode(line)
        # A hostile line can also be nested deeper than the decoder recurses.
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ProtocolError(f"a line is not in the protocol: {error}") from error
        finally:
            _wipe(line)

    def take_descriptors(self) -> list[int]:
        """Return the open files that came with the lines so far; the caller closes them."""
        taken, self._descriptors = self._descriptors, []
        return taken

    def _read(self) -> bool:
        """Read what is there; False when the other side is gone."""
        try:
            if self._max_descriptors:
                received, descriptors, _, _ = socket.recv_fds(
                    self._connection, MAX_LINE_BYTES, self._max_descriptors
                )
                self._descriptors += descriptors
                self._pending += received
                return bool(received)
            # Into a buffer of our own: a line can hold an embedding, which is overwritten after.
            buffer = bytearray(MAX_LINE_BYTES)
            size = self._connection.recv_into(buffer)
        except ConnectionError:
            return False
        self._pending += memoryview(buffer)[:size]
        _wipe(buffer, size)
        return bool(size)

    def close(self) -> None:
        """Close the socket, and the open files that nobody took."""
        self._connection.close()
        for descriptor in self.take_descriptors():
            os.close(descriptor)


def _wipe(buffer: bytearray, size: int | None = None) -> None:
    """Overwrite the first bytes of a buffer, or all."""
    count = len(buffer) if size is None else size
    buffer[:count] = bytes(count)


def wait_for_line(channels: list[Channel], *, until: float | None) -> Channel | None:
    """Return the first channel that has something to read, or None at `until` (monotonic).

    The time counts first: who never stops sending does not stop the clock.
    """
    if until is not None and time.monotonic() >= until:
        return None
    for channel in channels:
        if channel.has_line():
            return channel
    timeout = None if until is None else max(0.0, until - time.monotonic())
    readable, _, _ = select.select(channels, [], [], timeout)
    return next((channel for channel in channels if channel in readable), None)

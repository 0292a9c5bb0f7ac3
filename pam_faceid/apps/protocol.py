"""What the processes say to each other: one JSON object a line over a Unix stream socket.

hook -> worker: `Authenticate`, then perhaps `Skip`. worker -> hook: `Within`, any number of `Info`,
one `Ended`. worker -> observer: one `Order`, then the recording's descriptors. What the observer
answers is in `apps.sightings`. Imports no numpy: both processes want this module first.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from typing import Final, Literal, TypeVar

import msgspec

from pam_faceid.adapters.models.manifest import ModelSpec
from pam_faceid.core.config import CameraConfig, DetectionConfig, QualityConfig
from pam_faceid.core.errors import ProtocolError

MAX_LINE_BYTES: Final = 1 << 18  # an order names every file of a recording
MAX_DESCRIPTORS: Final = 200  # the kernel passes 253 in one message

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


class RecordedFile(msgspec.Struct, frozen=True):
    """One file of a recording; its descriptor follows the order."""

    name: str
    kind: Literal["image", "video"]


class Order(Message, frozen=True, tag="observe"):
    """worker -> observer: look through this camera with these models.

    Args:
        recording: Files that stand in for the camera; empty for a live one.
        loop: Show the recording over and over, as a camera would.
        optimise: Spend time on loading to gain it on each frame: for long runs.
    """

    camera: CameraConfig
    detection: DetectionConfig
    quality: QualityConfig
    detector: tuple[ModelSpec, ModelSpec, ModelSpec]
    embedder: ModelSpec
    recording: tuple[RecordedFile, ...] = ()
    loop: bool = False
    optimise: bool = False
    threads: int = 2


class Channel:
    """One end of a socket that carries lines.

    Args:
        connection: A connected stream socket, which the channel owns from now on.
        takes_descriptors: Whether the other side is trusted to hand over open files.
    """

    def __init__(self, connection: socket.socket, *, takes_descriptors: bool = False) -> None:
        self._connection = connection
        self._takes_descriptors = takes_descriptors
        self._pending = b""
        self._descriptors: list[int] = []

    def fileno(self) -> int:
        """For `select`."""
        return self._connection.fileno()

    def send(self, message: msgspec.Struct) -> None:
        """Send one line. Raises OSError when the other side is gone."""
        self._connection.sendall(msgspec.json.encode(message) + b"\n")

    def send_descriptors(self, descriptors: list[int]) -> None:
        """Send open files, each batch with an empty line, after a line that announced how many."""
        for start in range(0, len(descriptors), MAX_DESCRIPTORS):
            batch = descriptors[start : start + MAX_DESCRIPTORS]
            socket.send_fds(self._connection, [b"\n"], batch)

    def receive_descriptors(self, count: int) -> list[int]:
        """Receive as many open files as were announced.

        Raises:
            ProtocolError: The other side hung up before.
        """
        while len(self._descriptors) < count:
            if not self._read():
                raise ProtocolError("the recording's files did not arrive")
        return self._descriptors[:count]

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
        # A stream glues lines and descriptors together, so both are read in one place. A plain
        # recv drops descriptors that nobody asked for.
        descriptors: list[int] = []
        try:
            if self._takes_descriptors:
                received, descriptors, _, _ = socket.recv_fds(
                    self._connection, MAX_LINE_BYTES, MAX_DESCRIPTORS
                )
            else:
                received = self._connection.recv(MAX_LINE_BYTES)
        except ConnectionError:
            return False
        self._descriptors += descriptors
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

"""Where clients come in: who may, and what they ask.

Nothing that a client sends, or leaves unsent, holds anybody else.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from pam_faceid.apps.protocol import (
    LINE_SECONDS,
    MAX_REQUEST_BYTES,
    Authenticate,
    LetIn,
    Peer,
    peer_of,
)
from pam_faceid.apps.turns import Visitor

MOST_CONNECTIONS: Final = 256
MOST_OF_USERS: Final = 128  # so that nobody keeps sudo or a login out
MOST_OF_ONE_USER: Final = 8
ACCEPTS_AT_ONCE: Final = 64  # then those who are in get their turn
FULL_SECONDS: Final = 0.2  # until we see whether a descriptor was freed
ROOT: Final = 0


@dataclass(slots=True, eq=False)
class Newcomer:
    """A connection that has not said yet what it wants.

    Args:
        until: When it must have; monotonic seconds.
        received: What it has sent of it.
    """

    connection: socket.socket
    peer: Peer
    until: float
    received: bytes = b""


class Places:
    """How many connections there are, and whose.

    Root has some that nobody else can take.
    """

    def __init__(self) -> None:
        self._taken: Counter[int] = Counter()

    def take(self, uid: int) -> bool:
        """Take one; False when there is none for this user."""
        everybody = self._taken.total()
        users = everybody - self._taken[ROOT]
        if everybody >= MOST_CONNECTIONS:
            return False
        if uid != ROOT and (users >= MOST_OF_USERS or self._taken[uid] >= MOST_OF_ONE_USER):
            return False
        self._taken[uid] += 1
        return True

    def free(self, uid: int) -> None:
        """Give one back."""
        self._taken[uid] -= 1
        self._taken += Counter()  # forgets who has none


class Door:
    """Takes clients in, and hands them on once they have asked something.

    Args:
        listener: Where they come.
        selector: Of the loop; the door's own sockets come and go in it, with a callable as data.
        welcome: Takes over a client and what it asks.
    """

    def __init__(
        self,
        listener: socket.socket,
        *,
        selector: selectors.BaseSelector,
        welcome: Callable[[Visitor], None],
    ) -> None:
        self._listener = listener
        self._selector = selector
        self._welcome = welcome
        self._decode = msgspec.json.Decoder(Authenticate | LetIn).decode
        self._places = Places()
        self._newcomers: set[Newcomer] = set()
        self._opens_at: float | None = None
        listener.settimeout(0)
        self._open()

    def next_deadline(self) -> float | None:
        """When `expire` has something to do; monotonic seconds."""
        times = [newcomer.until for newcomer in self._newcomers]
        if self._opens_at is not None:
            times.append(self._opens_at)
        return min(times, default=None)

    def expire(self) -> None:
        """Part from those whose time is up."""
        now = time.monotonic()
        for newcomer in [each for each in self._newcomers if each.until <= now]:
            self._part(newcomer)
        if self._opens_at is not None and self._opens_at <= now:
            self._open()

    def close(self) -> None:
        """Let nobody in any more."""
        if self._opens_at is None:
            self._selector.unregister(self._listener)
        self._opens_at = None
        for newcomer in list(self._newcomers):
            self._part(newcomer)

    def _open(self) -> None:
        self._opens_at = None
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:
                # No descriptor or no memory left. The listener stays readable: do not spin.
                self._selector.unregister(self._listener)
                self._opens_at = time.monotonic() + FULL_SECONDS
                return
            peer = peer_of(connection)
            if not self._places.take(peer.uid):
                connection.close()
                continue
            connection.settimeout(0)
            newcomer = Newcomer(connection, peer, time.monotonic() + LINE_SECONDS)
            self._newcomers.add(newcomer)
            self._selector.register(
                connection, selectors.EVENT_READ, lambda newcomer=newcomer: self._read(newcomer)
            )

    def _read(self, newcomer: Newcomer) -> None:
        try:
            # Without room for them, the kernel closes descriptors that come along.
            received = newcomer.connection.recv(MAX_REQUEST_BYTES + 1)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        newcomer.received += received
        line, end, rest = newcomer.received.partition(b"\n")
        if not received or len(line) > MAX_REQUEST_BYTES:
            self._part(newcomer)
        elif end:
            try:
                request = self._decode(line)
            # A hostile line can also be nested deeper than the decoder recurses.
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                self._part(newcomer)
                return
            self._forget(newcomer)
            connection, peer = newcomer.connection, newcomer.peer
            self._welcome(
                Visitor(connection, peer, request, rest, lambda: self._places.free(peer.uid))
            )

    def _part(self, newcomer: Newcomer) -> None:
        self._forget(newcomer)
        newcomer.connection.close()
        self._places.free(newcomer.peer.uid)

    def _forget(self, newcomer: Newcomer) -> None:
        self._newcomers.discard(newcomer)
        self._selector.unregister(newcomer.connection)

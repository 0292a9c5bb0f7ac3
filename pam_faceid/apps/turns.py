"""Clients that have asked, until each has its outcome: one camera, one look at a time.

The loop itself reads no file and asks nobody: what may take a while is an errand for one of two
hands. One makes the attempts. The other answers what needs no camera, so that neither a refusal nor
the news of a password waits behind an attempt.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from pam_faceid.apps.errands import Hand, Mailbox
from pam_faceid.apps.protocol import (
    MAX_REQUEST_BYTES,
    Authenticate,
    Channel,
    Ended,
    Info,
    LetIn,
    Peer,
    Skip,
    Within,
)
from pam_faceid.apps.queueing import FairQueue, RateLimit
from pam_faceid.core.types import Outcome

MOST_WAITING: Final = 128
MOST_WAITING_OF_ONE: Final = 64
WAITING_SECONDS: Final = 60.0  # less than the longest `within`
WAITING: Final = "Waiting for the camera"
ROOT: Final = 0
_SEND_TIMEOUT: Final = struct.pack("ll", 2, 0)  # struct timeval


class Desk(Protocol):
    """Who answers. Nothing of it raises."""

    def answer_at_once(self, request: Authenticate | LetIn, channel: Channel, peer: Peer) -> bool:
        """Answer if it needs no camera; False when it does."""

    def answer(self, request: Authenticate | LetIn, channel: Channel, peer: Peer) -> None:
        """Answer, with a look if it needs one."""

    def turned_away(
        self, request: Authenticate | LetIn, peer: Peer, outcome: Outcome, reason: str
    ) -> None:
        """Record that a request was not looked at."""


@dataclass(slots=True, eq=False)
class Visitor:
    """A client that has asked.

    Args:
        received: What came after its request.
        leave: Gives its place back.
        until: How long it waits for its turn; monotonic seconds.
    """

    connection: socket.socket
    peer: Peer
    request: Authenticate | LetIn
    received: bytes
    leave: Callable[[], None]
    until: float = 0.0

    @property
    def caller(self) -> Hashable:
        """Whose share of the service it uses up: root asks on behalf of others."""
        return self.request.user if self.peer.uid == ROOT else self.peer.uid

    def channel(self) -> Channel:
        """Return the line to it, for a hand that may wait a little for it to read."""
        self.connection.settimeout(None)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SEND_TIMEOUT)
        return Channel(self.connection, received=self.received, max_line=MAX_REQUEST_BYTES)

    def tell(self, message: msgspec.Struct) -> None:
        """Send a line if there is room for it: there is, unless nobody reads."""
        self.connection.settimeout(0)
        with contextlib.suppress(OSError):
            self.connection.send(msgspec.json.encode(message) + b"\n")

    def close(self) -> None:
        """Hang up."""
        self.connection.close()
        self.leave()


class Turns:
    """Gives each visitor its turn.

    Args:
        selector: Of the loop; who waits is in it, with a callable as data.
        mailbox: Brings what the hands have done back into the loop.
        desk: Answers.
    """

    def __init__(self, *, selector: selectors.BaseSelector, mailbox: Mailbox, desk: Desk) -> None:
        self._selector = selector
        self._mailbox = mailbox
        self._desk = desk
        self._looking = Hand("look")
        self._deciding = Hand("decide")
        self._decode = msgspec.json.Decoder(Skip).decode
        self._queue: FairQueue[Visitor] = FairQueue(
            most=MOST_WAITING, most_each=MOST_WAITING_OF_ONE
        )
        self._waiting: set[Visitor] = set()
        self._running: Visitor | None = None
        self._closed = False
        # A screen locker asks for one person; root's programs for everybody, maybe at once.
        self._user_rate = RateLimit(burst=10, per_second=1.0, clock=time.monotonic)
        self._root_rate = RateLimit(burst=64, per_second=20.0, clock=time.monotonic)
        self._record_rate = RateLimit(burst=3, per_second=0.1, clock=time.monotonic)

    @property
    def is_idle(self) -> bool:
        """Whether nobody is looked at; then nobody waits either."""
        return self._running is None

    def busy_seconds(self) -> float:
        """How long the slower hand has been at what it does."""
        return max(self._looking.busy_seconds(), self._deciding.busy_seconds())

    def between_looks(self, errand: Callable[[], None]) -> None:
        """Have something done while nobody is looked at."""
        self._looking.give(errand)

    def aside(self, errand: Callable[[], None]) -> None:
        """Have something done that needs no camera."""
        self._deciding.give(errand)

    def welcome(self, visitor: Visitor) -> None:
        """Answer a visitor sooner or later, unless its caller asks too often."""
        rate = self._root_rate if visitor.peer.uid == ROOT else self._user_rate
        if not rate.allows(visitor.caller):
            self._turn_away(visitor, Outcome.INTERNAL_ERROR, "too_often")
        elif self.is_idle and isinstance(visitor.request, Authenticate):
            self._look_at(visitor)
        else:
            self._decide(visitor)

    def next_deadline(self) -> float | None:
        """When `expire` has something to do; monotonic seconds."""
        return min((visitor.until for visitor in self._waiting), default=None)

    def expire(self) -> None:
        """Send away who has waited for long enough."""
        now = time.monotonic()
        for visitor in [each for each in self._waiting if each.until <= now]:
            self._give_up(visitor, Outcome.INTERNAL_ERROR, "waited_too_long")

    def close(self) -> None:
        """Send away who waits; who is looked at is not disturbed."""
        self._closed = True
        for visitor in list(self._waiting):
            self._give_up(visitor, Outcome.INTERNAL_ERROR, "stopping")

    def _decide(self, visitor: Visitor) -> None:
        request, channel, peer = visitor.request, visitor.channel(), visitor.peer

        def decide() -> None:
            answered = self._desk.answer_at_once(request, channel, peer)
            self._mailbox.post(lambda: self._decided(visitor, answered=answered))

        self._deciding.give(decide)

    def _decided(self, visitor: Visitor, *, answered: bool) -> None:
        if answered:
            visitor.close()
        elif self._closed:
            self._turn_away(visitor, Outcome.INTERNAL_ERROR, "stopping")
        elif self.is_idle:
            self._look_at(visitor)
        elif not self._queue.add(visitor.caller, visitor):
            self._turn_away(visitor, Outcome.INTERNAL_ERROR, "queue_full")
        else:
            self._let_wait(visitor)

    def _let_wait(self, visitor: Visitor) -> None:
        visitor.until = time.monotonic() + WAITING_SECONDS
        visitor.tell(Within(WAITING_SECONDS))
        visitor.tell(Info(WAITING))
        self._waiting.add(visitor)
        self._selector.register(
            visitor.connection, selectors.EVENT_READ, lambda: self._read(visitor)
        )
        self._heed(visitor)

    def _read(self, visitor: Visitor) -> None:
        """Read from somebody who waits."""
        try:
            received = visitor.connection.recv(MAX_REQUEST_BYTES + 1)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self._give_up(visitor, Outcome.SKIPPED, "hung_up")
            return
        visitor.received += received
        self._heed(visitor)

    def _heed(self, visitor: Visitor) -> None:
        """See whether somebody who waits does not want to any more."""
        line, end, _ = visitor.received.partition(b"\n")
        if not end and len(line) <= MAX_REQUEST_BYTES:
            return
        try:
            self._decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._give_up(visitor, Outcome.INTERNAL_ERROR, "not_in_the_protocol")
        else:
            self._give_up(visitor, Outcome.SKIPPED, "while_waiting")

    def _give_up(self, visitor: Visitor, outcome: Outcome, reason: str) -> None:
        self._queue.remove(visitor.caller, visitor)
        self._stop_waiting(visitor)
        self._turn_away(visitor, outcome, reason)

    def _stop_waiting(self, visitor: Visitor) -> None:
        self._waiting.discard(visitor)
        self._selector.unregister(visitor.connection)

    def _turn_away(self, visitor: Visitor, outcome: Outcome, reason: str) -> None:
        """Answer without a look; record it, but let no caller fill the log."""
        visitor.tell(Ended(outcome.value))
        visitor.close()
        request, peer = visitor.request, visitor.peer
        if self._record_rate.allows(visitor.caller):
            self._deciding.give(lambda: self._desk.turned_away(request, peer, outcome, reason))

    def _look_at(self, visitor: Visitor) -> None:
        self._running = visitor
        request, channel, peer = visitor.request, visitor.channel(), visitor.peer

        def look() -> None:
            self._desk.answer(request, channel, peer)
            self._mailbox.post(lambda: self._looked_at(visitor))

        self._looking.give(look)

    def _looked_at(self, visitor: Visitor) -> None:
        self._running = None
        visitor.close()
        following = self._queue.take()
        if following is not None:
            self._stop_waiting(following)
            self._look_at(following)

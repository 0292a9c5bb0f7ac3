"""Attempts that were nearly a match, until the password confirms them or seconds have passed."""

from __future__ import annotations

import os
import select
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pam_faceid.core.facts import ROOT

if TYPE_CHECKING:
    from pam_faceid.apps.adapting import Gathered
    from pam_faceid.apps.protocol import LetIn, Peer

NEAR_MISS_SECONDS: Final = 20.0  # to type the password, once more if need be
MOST_NEAR_MISSES: Final = 8


@dataclass(slots=True, eq=False)
class _NearMiss:
    """An attempt that the password may confirm.

    Args:
        process: The pidfd of who asked: the same program has to say that the password was right.
        until: Monotonic seconds.
    """

    gathered: Gathered
    process: int
    until: float

    def end(self) -> None:
        self.gathered.wipe()
        with suppress(OSError):
            os.close(self.process)

    def is_of(self, request: LetIn, peer: Peer) -> bool:
        asked = self.gathered
        return (
            time.monotonic() < self.until
            and (asked.user, asked.service) == (request.user, request.service)
            and (asked.peer.pid, asked.peer.uid) == (peer.pid, peer.uid)
            and peer.uid == ROOT
            # It has not ended, so that its number is still its own.
            and not select.select([self.process], [], [], 0)[0]
        )


class NearMisses:
    """Attempts that were nearly a match, in memory alone, for seconds. Any thread may ask.

    Args:
        seconds: For how many.
    """

    def __init__(self, *, seconds: float = NEAR_MISS_SECONDS) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._by_user: dict[str, _NearMiss] = {}

    def keep(self, gathered: Gathered) -> None:
        """Take over the samples of an attempt."""
        process = os.pidfd_open(gathered.peer.pid)
        with self._lock:
            self._end(gathered.user)
            while len(self._by_user) >= MOST_NEAR_MISSES:
                self._end(next(iter(self._by_user)))
            self._by_user[gathered.user] = _NearMiss(
                gathered.handed_over(), process, time.monotonic() + self._seconds
            )

    def take(self, request: LetIn, peer: Peer) -> Gathered | None:
        """Return the samples that this confirms, for the caller to wipe; others of the user go."""
        with self._lock:
            found = self._by_user.pop(request.user, None)
        if found is None:
            return None
        taken = found.gathered.handed_over() if found.is_of(request, peer) else None
        found.end()
        return taken

    def forget(self, user: str) -> None:
        """Wipe what is kept of a user."""
        with self._lock:
            self._end(user)

    def next_deadline(self) -> float | None:
        """When `expire` has something to do; monotonic seconds."""
        with self._lock:
            return min((each.until for each in self._by_user.values()), default=None)

    def expire(self) -> None:
        """Wipe what nobody confirmed in time."""
        now = time.monotonic()
        with self._lock:
            for user in [u for u, each in self._by_user.items() if each.until <= now]:
                self._end(user)

    def _end(self, user: str) -> None:
        found = self._by_user.pop(user, None)
        if found is not None:
            found.end()

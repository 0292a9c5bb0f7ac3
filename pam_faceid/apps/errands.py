"""Threads that do one errand at a time, and tell the loop when it is done."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

Errand = Callable[[], None]


class Mailbox:
    """What other threads want done in the loop's own."""

    def __init__(self) -> None:
        self._errands: SimpleQueue[Errand] = SimpleQueue()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """Readable when there is something; for a selector."""
        return self._bell

    def post(self, errand: Errand) -> None:
        """Have it done soon. From any thread."""
        self._errands.put(errand)
        os.eventfd_write(self._bell, 1)

    def work(self) -> None:
        """Do what was posted. In the loop's thread, when `fileno` is readable."""
        os.eventfd_read(self._bell)
        while True:
            try:
                errand = self._errands.get_nowait()
            except Empty:
                return
            errand()


class Hand:
    """A thread of its own.

    Args:
        name: For process listings and debuggers.
    """

    def __init__(self, name: str) -> None:
        self._errands: SimpleQueue[Errand] = SimpleQueue()
        self._since: float | None = None
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def give(self, errand: Errand) -> None:
        """Have it done, after what was given before. It raises nothing."""
        self._errands.put(errand)

    def busy_seconds(self) -> float:
        """How long the errand in hand has taken; 0.0 when there is none."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def _work(self) -> None:
        while True:
            errand = self._errands.get()
            self._since = time.monotonic()
            errand()
            self._since = None

"""What systemd is told: sd_notify(3), one datagram a message."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, MutableMapping
from typing import Final

_OURS: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """Tells the manager how it goes, where there is one.

    Args:
        environment: Loses what was meant for this process alone.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        address, microseconds, pid = (environment.pop(name, "") for name in _OURS)
        self._address = address.replace("@", "\0", 1) if address.startswith("@") else address
        mine = microseconds.isdecimal() and pid in ("", str(os.getpid()))
        self.watchdog_seconds: Final = int(microseconds) / 1e6 if mine else None

    def ready(self, status: str) -> None:
        """Started, or read the configuration again."""
        # A newline would begin another variable.
        self._send("READY=1", f"STATUS={' '.join(status.split())}")

    def reloading(self) -> None:
        """Reading the configuration again; `ready` follows."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """On the way out."""
        self._send("STOPPING=1", "STATUS=Finishing the running attempt")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        # Nobody listens any more, or not now: that is the manager's loss.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender,
        ):
            sender.sendto("\n".join(lines).encode(), self._address)


class Watchdog:
    """Tells the manager that all is well, only while it is.

    Args:
        notifier: To the manager.
        busy_seconds: How long the slowest part has been at what it does.
        longest_seconds: What is not done after that hangs.
    """

    def __init__(
        self,
        notifier: Notifier,
        *,
        busy_seconds: Callable[[], float],
        longest_seconds: float,
    ) -> None:
        self._notifier = notifier
        self._busy_seconds = busy_seconds
        self._longest_seconds = longest_seconds
        self._fed_at = time.monotonic()

    def next_deadline(self) -> float | None:
        """When to call `feed`, monotonic seconds; None when nobody watches."""
        seconds = self._notifier.watchdog_seconds
        return None if seconds is None else self._fed_at + seconds / 2

    def feed(self) -> None:
        """Feed it if it is time; not while something hangs, so that the manager ends us."""
        due, now = self.next_deadline(), time.monotonic()
        if due is not None and due <= now:
            self._fed_at = now
            if self._busy_seconds() < self._longest_seconds:
                self._notifier.alive()

"""`faceidd`: answers from one attempt to the next, with the models loaded.

The keeper of the key, as a service: it reads templates and decides, and sees no camera. Started by
systemd with a listening socket, or with `--foreground` to make its own.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import selectors
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pam_faceid.adapters import sandbox
from pam_faceid.adapters.sandbox.memory import lock_memory
from pam_faceid.adapters.seat import plugged_in
from pam_faceid.apps import wiring
from pam_faceid.apps.door import Door
from pam_faceid.apps.errands import Mailbox
from pam_faceid.apps.listener import own_listener, passed_listener
from pam_faceid.apps.near_misses import NearMisses
from pam_faceid.apps.notify import Notifier, Watchdog
from pam_faceid.apps.observer import WarmObserver
from pam_faceid.apps.observing import start_observer
from pam_faceid.apps.protocol import Authenticate, Channel, LetIn, Peer
from pam_faceid.apps.service import Service
from pam_faceid.apps.settings import Settings
from pam_faceid.apps.turns import Turns
from pam_faceid.core.errors import FaceIdError
from pam_faceid.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from pam_faceid.core.types import Outcome

STUCK_SECONDS: Final = 180.0  # longer than the longest attempt and its confirmation


class SettingsInForce:
    """The last valid settings.

    Args:
        layout: Where they are.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._reading = threading.Lock()
        self._settings: Settings | None = None

    def __call__(self) -> Settings:
        """Return them. While there were none, each call looks again. Raises ConfigError."""
        with self._reading:  # the first attempt comes while they are read for the first time
            if self._settings is None:
                self._settings = self._read()
            return self._settings

    @property
    def idle_seconds(self) -> float:
        """How long models outlive an attempt; 0.0 while there are no settings."""
        return 0.0 if self._settings is None else self._settings.config.daemon.idle_seconds

    def read(self) -> None:
        """Read them again; what is not valid leaves those before in force.

        Raises:
            ConfigError, ModelError: What is not valid.
        """
        with self._reading:
            self._settings = self._read()

    def _read(self) -> Settings:
        settings = Settings(self._layout)
        _ = settings.rule  # reads the manifest too
        return settings


class Desk:
    """Answers visitors; see `turns.Desk`.

    Args:
        service: Makes the attempts.
        layout: Where the audit log is.
    """

    def __init__(self, service: Service, layout: Layout) -> None:
        self._service = service
        self._layout = layout

    def answer_at_once(self, request: Authenticate | LetIn, channel: Channel, peer: Peer) -> bool:
        """See `turns.Desk`."""
        try:
            return self._service.answer_at_once(request, channel, peer)
        except ConnectionError:
            return True
        except Exception as error:  # no outcome: the client falls to the password
            _say(f"a request for {request.user!r} failed: {error!r}")
            return True

    def answer(self, request: Authenticate | LetIn, channel: Channel, peer: Peer) -> None:
        """See `turns.Desk`."""
        try:
            self._service.answer(request, channel, peer)
        except ConnectionError:
            return
        except Exception as error:  # as above
            _say(f"a request for {request.user!r} failed: {error!r}")

    def turned_away(
        self, request: Authenticate | LetIn, peer: Peer, outcome: Outcome, reason: str
    ) -> None:
        """See `turns.Desk`."""
        try:
            wiring.audit_log(self._layout).record(
                "authenticate",
                user=request.user,
                service=request.service,
                peer_uid=peer.uid,
                peer_pid=peer.pid,
                outcome=outcome.value,
                reason=reason,
            )
        except Exception as error:
            _say(f"{request.user!r} was turned away ({reason}), unrecorded: {error!r}")


class Daemon:
    """The loop: signals, clients, the idle models and the watchdog.

    Args:
        layout: Where everything lives.
        listener: Where clients come.
        notifier: To whoever started us.
    """

    def __init__(self, layout: Layout, listener: socket.socket, notifier: Notifier) -> None:
        self._layout = layout
        self._notifier = notifier
        self._settings = SettingsInForce(layout)
        self._observer = WarmObserver(
            lambda: start_observer(layout.observer_socket), cameras=lambda: plugged_in(layout.sys)
        )
        self._selector = selectors.DefaultSelector()
        self._mailbox = Mailbox()
        self._near_misses = NearMisses()
        service = Service(
            layout,
            settings=self._settings,
            look=self._observer.look,
            one_shot=False,
            near_misses=self._near_misses,
            prepare=self._observer.prepare,
        )
        self._turns = Turns(
            selector=self._selector, mailbox=self._mailbox, desk=Desk(service, layout)
        )
        service.adapting.between_looks = self._turns.between_looks
        self._door = Door(listener, selector=self._selector, welcome=self._turns.welcome)
        self._stopping = False
        self._active_at = time.monotonic()
        self._watchdog = Watchdog(
            notifier, busy_seconds=self._turns.busy_seconds, longest_seconds=STUCK_SECONDS
        )

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; then finish the running attempt."""
        bell = self._hear_signals()
        self._selector.register(bell, selectors.EVENT_READ, lambda: self._take_signals(bell))
        self._selector.register(self._mailbox, selectors.EVENT_READ, self._mailbox.work)
        self._turns.aside(self._read_settings)
        while not (self._stopping and self._turns.is_idle):
            for key, _ in self._selector.select(self._seconds_to_sleep()):
                key.data()
            self._door.expire()
            self._turns.expire()
            self._near_misses.expire()
            self._rest()
            self._watchdog.feed()

    def _seconds_to_sleep(self) -> float | None:
        """Until the next thing to do by the clock; None while there is none: no idle wake-ups."""
        times = [
            self._door.next_deadline(),
            self._turns.next_deadline(),
            self._near_misses.next_deadline(),
            self._rests_at(),
            self._watchdog.next_deadline(),
        ]
        due = [each for each in times if each is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _rests_at(self) -> float | None:
        if not (self._turns.is_idle and self._observer.is_loaded):
            return None
        return self._active_at + self._settings.idle_seconds

    def _rest(self) -> None:
        """Give the memory of the models back, when nobody came for long enough."""
        now = time.monotonic()
        if not self._turns.is_idle:
            self._active_at = now
        due = self._rests_at()
        if due is not None and due <= now:
            self._active_at = now
            self._turns.between_looks(self._observer.drop)

    def _hear_signals(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(0)
        theirs.settimeout(0)
        signal.set_wakeup_fd(theirs.detach())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, _leave_to_the_loop)
        return ours

    def _take_signals(self, bell: socket.socket) -> None:
        for number in bell.recv(64):
            if number == signal.SIGHUP:
                self._notifier.reloading()
                self._turns.aside(self._read_settings)
            elif not self._stopping:
                self._stopping = True
                self._notifier.stopping()
                self._door.close()
                self._turns.close()

    def _read_settings(self) -> None:
        try:
            self._settings.read()
            status = "Ready"
        except Exception as error:  # also one that nobody foresaw: what was in force stays
            status = f"Configuration not valid, and not in force: {error}"
            _say(status)
            with contextlib.suppress(FaceIdError, OSError):  # it has been said
                wiring.audit_log(self._layout).record("settings", error=str(error))
        # In the loop, which thereby also learns of a new idle time.
        self._mailbox.post(lambda: self._tell_ready(status))

    def _tell_ready(self, status: str) -> None:
        if not self._stopping:
            self._notifier.ready(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 after a stop that was asked for, 1 when it cannot start."""
    parser = argparse.ArgumentParser(prog="faceidd", description="Face authentication service.")
    parser.add_argument("--root", type=Path, default=Path("/"), help="where everything lives")
    parser.add_argument(
        "--foreground", action="store_true", help="make the socket; without it, systemd passes one"
    )
    options = parser.parse_args(arguments)
    layout = Layout(options.root)
    sandbox.no_core_dumps()
    # As another user than root, the limit is the unit's, which keeps all of it off the swap.
    lock_memory(limit_counts=os.geteuid() != 0)
    os.umask(0o077)
    try:
        notifier = Notifier(os.environ)
        with contextlib.ExitStack() as cleanup:
            listener = passed_listener(os.environ)
            if listener is None:
                if not options.foreground:
                    parser.error("systemd passed no socket; --foreground makes one")
                listener = cleanup.enter_context(own_listener(layout.socket))
            Daemon(layout, listener, notifier).run()
    except FaceIdError as error:
        _say(f"{error.message}{f' ({error.hint})' if error.hint else ''}")
        return 1
    return 0


def _leave_to_the_loop(number: int, frame: FrameType | None) -> None:
    """Do nothing: what matters is the byte that the interpreter writes to the loop."""


def _say(message: str) -> None:
    print(f"faceidd: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

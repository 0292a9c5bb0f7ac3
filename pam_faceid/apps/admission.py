"""Before the camera: what is known of an attempt, and its charge."""

from __future__ import annotations

import grp
import os
import pwd
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Final

from pam_faceid.adapters import lid, seat
from pam_faceid.adapters.clock import moment
from pam_faceid.core import lockout
from pam_faceid.core.errors import NotEnrolledError, StateError
from pam_faceid.core.hours import WeekTime
from pam_faceid.layout import TEMPLATE_SUFFIX

if TYPE_CHECKING:
    from pam_faceid.adapters.state import StateStore
    from pam_faceid.apps.protocol import Peer
    from pam_faceid.core.lockout import Ladder, LockedOut, Moment, Record
    from pam_faceid.layout import Layout

# Attacks are looked for, but nobody knows how many of all get in: docs/adr/0033.
LADDER: Final = lockout.WITHOUT_DETECTION


class Surroundings:
    """The facts that `policy.admit` asks for. Implements `core.facts.Facts`.

    Args:
        user: Who is claimed.
        peer: The process that asks.
        layout: Where everything lives.
        store: What is remembered of people.
        recording: A recording stands in for the camera.
    """

    def __init__(
        self, user: str, peer: Peer, layout: Layout, store: StateStore, *, recording: bool = False
    ) -> None:
        self._user = user
        self._layout = layout
        self._store = store
        self._recording = recording
        self._caller = seat.Caller(peer.pid, layout.proc, layout.logind)

    @cached_property
    def account(self) -> pwd.struct_passwd:
        """The account of who is claimed. Raises NotEnrolledError when nobody has that name."""
        try:
            return pwd.getpwnam(self._user)
        except (KeyError, ValueError):  # a NUL in it
            raise NotEnrolledError(f"there is no user {self._user!r}") from None

    def uid(self) -> int | None:
        """See `Facts`."""
        with suppress(NotEnrolledError):
            return self.account.pw_uid
        return None

    def now(self) -> Moment:
        """See `Facts`."""
        return moment(self._layout.proc)

    def week_time(self) -> WeekTime:
        """See `Facts`."""
        now = time.localtime()
        return WeekTime(now.tm_wday, now.tm_hour * 60 + now.tm_min)

    def excluded_group(self, groups: Collection[str]) -> str:
        """See `Facts`."""
        members = set(os.getgrouplist(self._user, self.account.pw_gid))
        for name in groups:
            with suppress(KeyError):
                if grp.getgrnam(name).gr_gid in members:
                    return name
        return ""

    def is_enrolled(self) -> bool:
        """See `Facts`. The store of templates would say so too, but loads a cipher first."""
        path = self._layout.templates / f"{self._user}{TEMPLATE_SUFFIX}"
        return self.uid() is not None and path.exists()

    def remote_by(self) -> str:
        """See `Facts`."""
        return self._caller.remote_by()

    def record(self) -> Record | None:
        """See `Facts`."""
        return self._store.load(self._user)

    def seat_is_active(self) -> bool:
        """See `Facts`."""
        session = self._caller.session()
        return session is None or not session.seat or session.active

    def seat(self) -> str:
        """See `Facts`."""
        session = self._caller.session()
        return "" if session is None else session.seat

    def seats_of(self, device: str) -> frozenset[str]:
        """See `Facts`."""
        if self._recording:
            return frozenset()
        return seat.seats_of(device, self._layout.sys, self._layout.udev)

    def lid_is_closed(self) -> bool:
        """See `Facts`."""
        return lid.lid_is_closed(self._layout.proc, self._layout.sys, self._layout.bus)

    def has_camera(self) -> bool:
        """See `Facts`."""
        return self._recording or seat.has_camera(self._layout.sys)


class Charge:
    """One attempt's charge: made before any score exists, struck out when it was no failure.

    Args:
        store: Where it is kept.
        user: Who is claimed.
        layout: Where the kernel shows its clock.
    """

    def __init__(self, store: StateStore, user: str, layout: Layout) -> None:
        self.attempt = os.urandom(8).hex()
        self._store = store
        self._user = user
        self._layout = layout
        self._made_at: Moment | None = None

    def make(self, ladder: Ladder) -> LockedOut | None:
        """Make it durable, or say why the attempt may not go on.

        Others may have been charged since `policy.admit` looked, so this looks again, alone.

        Raises:
            StateError: It could not be made, so nothing may be compared.
        """
        now = moment(self._layout.proc)
        refused: LockedOut | None = None

        def transition(record: Record | None) -> Record | None:
            nonlocal refused
            if record is None:
                raise StateError("what was remembered of the user is gone since they were admitted")
            charged = lockout.charge(record, self.attempt, now, ladder)
            if isinstance(charged, lockout.LockedOut):
                refused = charged
                return None
            return charged

        self._store.change(self._user, transition)
        if refused is None:
            self._made_at = now
        return refused

    def matched(self) -> None:
        """Strike out this one and all before it. Raises StateError."""
        if self._made_at is not None:
            used_at = self._made_at  # a worker that has confined itself cannot look at the clock
            self._settle(lambda record: lockout.matched(record, self.attempt, used_at))

    def refund(self) -> None:
        """Strike this one out, if it was made. Raises StateError."""
        if self._made_at is not None:
            self._settle(lambda record: lockout.refund(record, self.attempt))

    def _settle(self, settled: Callable[[Record], Record]) -> None:
        # Not waiting for the disk, since the reply would wait with it: what a power cut can bring
        # back is the charge.
        self._store.change(
            self._user, lambda record: None if record is None else settled(record), durable=False
        )

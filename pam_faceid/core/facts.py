"""What `policy.admit` asks for, and what it answers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol

from pam_faceid.core.types import Outcome

if TYPE_CHECKING:
    from pam_faceid.core.hours import WeekTime
    from pam_faceid.core.lockout import Moment, Record

ROOT: Final = 0


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks, and from where.

    Args:
        user: Login name that is claimed.
        service: PAM service.
        rhost: PAM_RHOST; empty for a local attempt.
        tty: PAM_TTY; empty when there is none.
        seat: XDG_SEAT of the PAM environment, from a login manager; empty when it named none.
        peer_uid: User id of the process that asks, as the kernel knows it.
    """

    user: str
    service: str
    rhost: str = ""
    tty: str = ""
    seat: str = ""
    peer_uid: int = ROOT


class Facts(Protocol):
    """What can be known of an attempt before a camera opens. Each is looked up when it is asked.

    What is unknown is said as what is no objection, but for the record: docs/policy.md.
    """

    def uid(self) -> int | None:
        """User id of who is claimed; None when nobody has that name."""

    def now(self) -> Moment:
        """The present moment. Raises StateError when it cannot be told."""

    def week_time(self) -> WeekTime:
        """The local time."""

    def excluded_group(self, groups: Collection[str]) -> str:
        """The first of the groups that the user is a member of; empty when of none."""

    def is_enrolled(self) -> bool:
        """Whether there is a reference template."""

    def remote_by(self) -> str:
        """What says that the process that asks is used from elsewhere; empty when nothing does."""

    def record(self) -> Record | None:
        """What is remembered of the user; None when nothing. Raises StateError when damaged."""

    def seat_is_active(self) -> bool:
        """Whether the session that asks is the one in front."""

    def seat(self) -> str:
        """The seat of the session that asks; empty when unknown."""

    def seats_of(self, device: str) -> Collection[str]:
        """The seats of the cameras that a name may mean; none when a recording stands in."""

    def lid_is_closed(self) -> bool:
        """Whether the lid is closed."""

    def has_camera(self) -> bool:
        """Whether there is a camera, or a recording in its place."""


class Reason(str, Enum):
    """Why an attempt may not start, for the record."""

    WRONG_CALLER = "wrong_caller"
    SERVICE_OFF = "service_off"
    OUTSIDE_HOURS = "outside_hours"
    NO_INFRARED = "no_infrared"
    NO_DEPTH = "no_depth"
    ROOT = "root"
    EXCLUDED = "excluded"
    REMOTE = "remote"
    NOT_ENROLLED = "not_enrolled"
    FAILURES = "failures"
    PASSWORD_FIRST = "password_first"  # noqa: S105 (a reason, not a password)
    SEAT_NOT_ACTIVE = "seat_not_active"
    OTHER_SEAT = "other_seat"
    LID_CLOSED = "lid_closed"
    NO_CAMERA = "no_camera"


@dataclass(frozen=True, slots=True)
class Refused:
    """An attempt that may not start.

    Args:
        outcome: What the client is told.
        reason: Why, for the record.
        detail: What exactly, for the record.
        text: For the person; empty where it would tell a stranger or help nobody.
    """

    outcome: Outcome
    reason: Reason
    detail: str = ""
    text: str = ""

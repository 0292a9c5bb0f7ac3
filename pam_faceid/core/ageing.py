"""When the password is due: the face alone is trusted for a while only."""

from __future__ import annotations

import math
from enum import Enum
from typing import Final

from pam_faceid.core.config import PasswordConfig
from pam_faceid.core.lockout import Moment, Record, elapsed

HOUR: Final = 3600.0  # seconds
DAY: Final = 24 * HOUR


class Due(str, Enum):
    """Why the password comes first."""

    NO_RECORD = "password_never_used"
    LOCKED = "locked"
    CLOCK = "clock_set_back"
    BOOT = "password_after_boot"
    AGE = "password_too_old"
    UNUSED = "unused_too_long"


def password_due(record: Record | None, now: Moment, rule: PasswordConfig) -> Due | None:
    """Say why the password has to be used before the face, or None when it has not.

    Args:
        record: None when nothing is remembered of the person, or nothing that can be believed.
    """
    if record is None:
        return Due.NO_RECORD
    # Before the next one: locking somebody of whom nothing is remembered makes such a record.
    if record.locked:
        return Due.LOCKED
    if record.password_at is None or record.used_at is None:
        return Due.NO_RECORD
    if rule.after_boot and record.password_at.boot != now.boot:
        return Due.BOOT
    return _outlived(record, record.password_at, record.used_at, now, rule)


def _outlived(
    record: Record, password_at: Moment, used_at: Moment, now: Moment, rule: PasswordConfig
) -> Due | None:
    password_age, unused = elapsed(password_at, now), elapsed(used_at, now)
    latest = elapsed(record.charges[-1].at, now) if record.charges else 0.0
    # What nobody can know is refused, whatever the rule allows.
    if math.inf in (password_age, unused, latest):
        return Due.CLOCK
    if rule.every_hours and not password_age < rule.every_hours * HOUR:
        return Due.AGE
    if rule.unused_days and not unused < rule.unused_days * DAY:
        return Due.UNUSED
    return None

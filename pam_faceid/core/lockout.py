"""What is remembered of a person's attempts, and when too many have failed.

An attempt is charged before any score exists, and a charge is struck out only by what proves that
it was no failure. So whatever ends a process, the attempt counts. Charges are kept in the order in
which they were made: a match strikes out its own and the ones before it, never a later one, however
many attempts run at once.

Source: NIST SP 800-63B-4, section 3.2.3: at most 5 failures in a row (10 with presentation attack
detection), then at least 30 s before each further attempt, at most 50 (100) in all, until another
factor was used.
"""

from __future__ import annotations

import math
from typing import Annotated, Final

import msgspec
from msgspec import Meta

Words = Annotated[str, Meta(min_length=1, max_length=64)]


class Moment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A point in time on the clocks that a machine has.

    Args:
        boot: Which run of the kernel; `since_boot` of two runs cannot be compared.
        since_boot: Seconds, suspended time included. Nobody can set this clock.
        wall: Seconds since the epoch. Anybody may have set this one.
    """

    boot: Words
    since_boot: Annotated[float, Meta(ge=0.0)]
    wall: float


class Charge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An attempt that counts as failed, until something else is known of it.

    Args:
        attempt: Its id.
        at: When it was charged.
    """

    attempt: Words
    at: Moment


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is remembered of one person.

    Args:
        charges: Failures in a row, oldest first; attempts that are under way among them.
        password_at: When the password was last used; None: never since there is a record.
        used_at: When anything, face or password, last let them in.
        locked: The face is off until the password is used, because somebody said so.
    """

    charges: tuple[Charge, ...] = ()
    password_at: Moment | None = None
    used_at: Moment | None = None
    locked: bool = False


class Ladder(msgspec.Struct, frozen=True):
    """How many failures in a row are allowed.

    Args:
        free: Before the first wait.
        cap: Before only the password helps.
        first_wait: Seconds; each further failure doubles it.
    """

    free: int
    cap: int
    first_wait: float = 30.0


WITHOUT_DETECTION: Final = Ladder(free=5, cap=50)
WITH_DETECTION: Final = Ladder(free=10, cap=100)


class LockedOut(msgspec.Struct, frozen=True):
    """Why no attempt may start now.

    Args:
        failures: In a row.
        seconds: Until one may; None: not before the password was used.
    """

    failures: int
    seconds: float | None


def locked_out(record: Record, now: Moment, ladder: Ladder) -> LockedOut | None:
    """Say whether failures in a row keep an attempt from starting; None when they do not."""
    failures = len(record.charges)
    if failures >= ladder.cap:
        return LockedOut(failures, None)
    if failures < ladder.free:
        return None
    wait = ladder.first_wait * 2.0 ** (failures - ladder.free)
    left = wait - _served(record.charges[-1].at, now)
    return LockedOut(failures, left) if left > 0 else None


def charge(record: Record, attempt: str, now: Moment, ladder: Ladder) -> Record | LockedOut:
    """Count an attempt as failed before it begins, or say why it may not.

    Args:
        attempt: An id that no other attempt has.
    """
    refusal = locked_out(record, now, ladder)
    if refusal is not None:
        return refusal
    return msgspec.structs.replace(record, charges=(*record.charges, Charge(attempt, now)))


def refund(record: Record, attempt: str) -> Record:
    """Strike out the charge of an attempt in which no face was refused."""
    left = tuple(charge for charge in record.charges if charge.attempt != attempt)
    return msgspec.structs.replace(record, charges=left)


def matched(record: Record, attempt: str, now: Moment) -> Record:
    """End the row of failures at an attempt that matched. Attempts charged after it still count.

    One that is not charged, because the password was used meanwhile, strikes out nothing.
    """
    ids = [charge.attempt for charge in record.charges]
    later = record.charges[ids.index(attempt) + 1 :] if attempt in ids else record.charges
    return msgspec.structs.replace(record, charges=later, used_at=now)


def password_used(now: Moment) -> Record:
    """Begin anew: the right password ends every wait and every lock."""
    return Record(password_at=now, used_at=now)


def lock(record: Record | None) -> Record:
    """Turn the face off until the password is used."""
    return msgspec.structs.replace(record or Record(), locked=True)


def clear(record: Record) -> Record:
    """Lift a lock and forget the failures. The password's age stays as it is."""
    return msgspec.structs.replace(record, charges=(), locked=False)


def elapsed(earlier: Moment, now: Moment) -> float:
    """Return the seconds since a moment, or infinity when nothing can be known of them.

    In one run of the kernel the clock that nobody can set tells. From one run to another only the
    wall clock does, and it was set back if less time passed on it than the machine has been up.
    """
    if earlier.boot == now.boot:
        passed = now.since_boot - earlier.since_boot
        return passed if passed >= 0 else math.inf
    passed = now.wall - earlier.wall
    return passed if passed >= now.since_boot else math.inf


def _served(since: Moment, now: Moment) -> float:
    """Return the seconds of a wait that have passed for certain: the wall clock is not asked."""
    if since.boot != now.boot:
        return now.since_boot
    return max(0.0, now.since_boot - since.since_boot)

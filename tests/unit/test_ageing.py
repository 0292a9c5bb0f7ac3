"""When the password comes first."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from pam_faceid.core.ageing import DAY, HOUR, Due, password_due
from pam_faceid.core.config import PasswordConfig
from pam_faceid.core.lockout import Charge, Moment, Record, lock, password_used

RULE = PasswordConfig()
ACROSS_BOOTS = PasswordConfig(after_boot=False)
NEVER = PasswordConfig(after_boot=False, every_hours=0, unused_days=0)


def at(seconds: float, *, boot: str = "one", wall: float | None = None) -> Moment:
    return Moment(boot, seconds, seconds if wall is None else wall)


def test_nobody_is_trusted_of_whom_nothing_is_known() -> None:
    assert password_due(None, at(0), NEVER) is Due.NO_RECORD
    assert password_due(Record(), at(0), NEVER) is Due.NO_RECORD


def test_just_after_the_password_the_face_is_enough() -> None:
    assert password_due(password_used(at(10)), at(10), RULE) is None


def test_a_lock_holds_whatever_the_rule_allows() -> None:
    assert password_due(lock(password_used(at(0))), at(0), NEVER) is Due.LOCKED
    assert password_due(lock(None), at(0), NEVER) is Due.LOCKED


def test_after_a_boot_the_password_comes_first_unless_switched_off() -> None:
    record = password_used(at(100))
    later = at(60, boot="two", wall=200)
    assert password_due(record, later, RULE) is Due.BOOT
    assert password_due(record, later, ACROSS_BOOTS) is None


def test_a_face_does_not_make_the_password_younger() -> None:
    """Somebody who is let in by face every hour types the password after 72 of them."""
    record = replace(password_used(at(0)), used_at=at(72 * HOUR - 1))
    assert password_due(record, at(72 * HOUR - 1), RULE) is None
    assert password_due(record, at(72 * HOUR), RULE) is Due.AGE
    assert password_due(record, at(72 * HOUR), replace(RULE, every_hours=0)) is None


def test_who_was_away_too_long_types_the_password() -> None:
    record = replace(password_used(at(0)), used_at=at(10 * HOUR))
    rule = replace(RULE, every_hours=0)
    assert password_due(record, at(10 * HOUR + 2 * DAY - 1), rule) is None
    assert password_due(record, at(10 * HOUR + 2 * DAY), rule) is Due.UNUSED
    assert password_due(record, at(1e9), replace(rule, unused_days=0)) is None


@pytest.mark.parametrize("wall", [-1e9, 0.0, 1e9])
def test_within_a_boot_no_wall_clock_prolongs_trust(wall: float) -> None:
    record = password_used(at(0, wall=1000.0))
    assert password_due(record, at(72 * HOUR, wall=wall), RULE) is Due.AGE
    assert password_due(record, at(HOUR, wall=wall), RULE) is None


def test_a_clock_set_back_over_a_reboot_ends_trust() -> None:
    record = password_used(at(100, wall=1e6))
    assert password_due(record, at(60, boot="two", wall=1e6 - 1), NEVER) is Due.CLOCK
    assert password_due(record, at(60, boot="two", wall=1e6 + 59), NEVER) is Due.CLOCK
    assert password_due(record, at(60, boot="two", wall=1e6 + 60), NEVER) is None


def test_a_clock_set_back_to_just_after_the_password_is_seen_by_what_happened_since() -> None:
    """Password, then a face two days later, then the clock is set to the first hour."""
    password, face = at(0, wall=0.0), at(2 * DAY, wall=2 * DAY)
    reset = at(60, boot="two", wall=HOUR)
    used = replace(password_used(password), used_at=face)
    assert password_due(used, reset, ACROSS_BOOTS) is Due.CLOCK
    refused = replace(password_used(password), charges=(Charge("stranger", face),))
    assert password_due(refused, reset, ACROSS_BOOTS) is Due.CLOCK

"""Failures in a row: what is counted, what is struck out, and how long one has to wait."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pam_faceid.core.lockout import (
    WITH_DETECTION,
    WITHOUT_DETECTION,
    Ladder,
    LockedOut,
    Moment,
    Record,
    charge,
    clear,
    elapsed,
    lock,
    locked_out,
    matched,
    password_used,
    refund,
)

LADDERS = pytest.mark.parametrize("ladder", [WITHOUT_DETECTION, WITH_DETECTION])


def at(seconds: float, *, boot: str = "one", wall: float = 0.0) -> Moment:
    return Moment(boot, seconds, wall)


def failed(times: int, *, moment: Moment, record: Record | None = None) -> Record:
    """A row of failures that were made whatever the ladder says."""
    record = record or password_used(moment)
    endless = Ladder(free=10**6, cap=10**6)
    for number in range(times):
        charged = charge(record, f"failure {number}", moment, endless)
        assert isinstance(charged, Record)
        record = charged
    return record


@LADDERS
def test_the_ladder_is_that_of_nist(ladder: Ladder) -> None:
    """5 failures in a row, 10 with attack detection; then 30 s at least; 50 and 100 in all."""
    free, cap = (5, 50) if ladder is WITHOUT_DETECTION else (10, 100)
    assert locked_out(failed(free - 1, moment=at(0)), at(0), ladder) is None
    waits = []
    for failures in range(free, cap):
        refusal = locked_out(failed(failures, moment=at(0)), at(0), ladder)
        assert refusal is not None
        assert refusal.seconds is not None
        waits.append(refusal.seconds)
    assert waits[0] == 30.0
    assert all(later == 2 * earlier for earlier, later in pairwise(waits))
    assert locked_out(failed(cap, moment=at(0)), at(1e18), ladder) == LockedOut(cap, None)


def test_a_wait_ends_to_the_second() -> None:
    record = failed(5, moment=at(100))
    assert locked_out(record, at(129.9), WITHOUT_DETECTION) is not None
    assert locked_out(record, at(130.0), WITHOUT_DETECTION) is None


@pytest.mark.parametrize("wall", [-1e12, 0.0, 1e12])
def test_no_wall_clock_shortens_a_wait(wall: float) -> None:
    record = failed(5, moment=at(100, wall=0.0))
    refusal = locked_out(record, at(101, wall=wall), WITHOUT_DETECTION)
    assert refusal == LockedOut(5, 29.0)


@pytest.mark.parametrize("wall", [-1e12, 0.0, 1e12])
def test_after_a_reboot_only_the_new_uptime_counts(wall: float) -> None:
    """Ten years switched off, or a clock that says so, are not a wait that was served."""
    record = failed(5, moment=at(100, wall=0.0))
    refusal = locked_out(record, at(10, boot="two", wall=wall), WITHOUT_DETECTION)
    assert refusal == LockedOut(5, 20.0)
    assert locked_out(record, at(30, boot="two", wall=wall), WITHOUT_DETECTION) is None


def test_a_clock_that_no_kernel_has_serves_nothing() -> None:
    record = failed(5, moment=at(100))
    assert locked_out(record, at(1), WITHOUT_DETECTION) == LockedOut(5, 30.0)


def test_a_charge_that_is_refused_is_not_made() -> None:
    """Asking during a wait neither counts nor lengthens it."""
    record = failed(5, moment=at(0))
    assert isinstance(charge(record, "more", at(1), WITHOUT_DETECTION), LockedOut)
    assert isinstance(charge(record, "more", at(30), WITHOUT_DETECTION), Record)


def test_a_refund_gives_the_earlier_wait_back_and_happens_once() -> None:
    """Who skips after a wait that was served has not to wait again."""
    record = failed(5, moment=at(0))
    charged = charge(record, "skipped", at(30), WITHOUT_DETECTION)
    assert isinstance(charged, Record)
    assert locked_out(charged, at(30), WITHOUT_DETECTION) == LockedOut(6, 60.0)
    assert refund(charged, "skipped") == record
    assert refund(refund(charged, "skipped"), "skipped") == record


def test_a_match_strikes_out_what_was_charged_before_it_and_nothing_later() -> None:
    record = failed(2, moment=at(0))
    for attempt in ("mine", "a stranger's"):
        charged = charge(record, attempt, at(1), WITHOUT_DETECTION)
        assert isinstance(charged, Record)
        record = charged
    after = matched(record, "mine", at(2))
    assert [one.attempt for one in after.charges] == ["a stranger's"]
    assert after.used_at == at(2)
    assert after.password_at == at(0)


def test_a_match_whose_charge_a_password_took_strikes_out_nothing() -> None:
    record = failed(3, moment=at(5), record=password_used(at(1)))
    assert len(matched(record, "charged before the password", at(6)).charges) == 3


def test_a_password_ends_every_wait_and_lock() -> None:
    assert password_used(at(3)) == Record(password_at=at(3), used_at=at(3))


def test_clearing_lifts_a_lock_and_makes_no_password_younger() -> None:
    record = lock(failed(50, moment=at(0)))
    assert record.locked
    assert clear(record) == Record(password_at=at(0), used_at=at(0))


def test_locking_keeps_what_was_counted() -> None:
    record = failed(7, moment=at(0))
    assert lock(record).charges == record.charges
    assert lock(None) == Record(locked=True)


MOMENTS = st.builds(
    Moment,
    st.sampled_from(["one", "two"]),
    st.floats(0, 1e9),
    st.floats(-1e10, 1e10),
)


@given(MOMENTS, MOMENTS, st.floats(-1e10, 1e10))
def test_within_one_boot_the_wall_clock_says_nothing(
    earlier: Moment, now: Moment, wall: float
) -> None:
    other = Moment(now.boot, now.since_boot, wall)
    if earlier.boot == now.boot:
        assert elapsed(earlier, now) == elapsed(earlier, other)
    assert elapsed(earlier, now) >= 0
    if earlier.boot != now.boot:
        assert elapsed(earlier, now) >= now.since_boot


def test_a_wall_clock_that_was_set_back_over_a_reboot_is_not_believed() -> None:
    """It shows less than the machine has been up since: nobody can know how long it was off."""
    earlier = at(500, wall=1000.0)
    assert elapsed(earlier, at(60, boot="two", wall=1059.0)) == float("inf")
    assert elapsed(earlier, at(60, boot="two", wall=900.0)) == float("inf")
    assert elapsed(earlier, at(60, boot="two", wall=1060.0)) == 60.0


@dataclass
class Event:
    """What happened, for a model that forgets nothing."""

    what: str
    attempt: str = ""
    seconds: float = 0.0


@dataclass
class SlowModel:
    """Counts failures by reading the whole history anew each time."""

    history: list[Event] = field(default_factory=list)

    def standing(self) -> list[int]:
        """Where in the history the charges are that still count."""
        charged: list[int] = []
        for index, event in enumerate(self.history):
            ids = [self.history[place].attempt for place in charged]
            if event.what == "charge":
                charged = [*charged, index]
            elif event.what == "refund" and event.attempt in ids:
                del charged[ids.index(event.attempt)]
            elif event.what == "match" and event.attempt in ids:
                charged = charged[ids.index(event.attempt) + 1 :]
            elif event.what in ("password", "clear"):
                charged = []
        return charged

    def wait(self) -> float | None:
        """Seconds still to wait; None: for ever."""
        standing = self.standing()
        if len(standing) >= 50:
            return None
        if len(standing) < 5:
            return 0.0
        served = 0.0
        for event in self.history[standing[-1] :]:
            if event.what == "reboot":
                served = 0.0
            elif event.what == "pass":
                served += event.seconds
        return max(0.0, 30.0 * 2 ** (len(standing) - 5) - served)


class Attempts(RuleBasedStateMachine):
    """Attempts of one user that run at once, are killed, reboot the machine and turn its clock."""

    def __init__(self) -> None:
        super().__init__()
        self.boot = 0
        self.uptime = 0
        self.wall = 0.0
        self.record = password_used(self.now())
        self.model = SlowModel()
        self.running: list[str] = []
        self.number = 0

    def now(self) -> Moment:
        return Moment(f"boot {self.boot}", float(self.uptime), self.wall)

    @rule(count=st.integers(1, 60))
    def start(self, count: int) -> None:
        """So many at once, in the way that a lock makes of them: one after another."""
        for _ in range(count):
            self.number += 1
            attempt = f"attempt {self.number}"
            allowed = self.model.wait() == 0.0
            charged = charge(self.record, attempt, self.now(), WITHOUT_DETECTION)
            assert isinstance(charged, Record) == allowed
            if isinstance(charged, Record):
                self.record = charged
                self.running.append(attempt)
                self.model.history.append(Event("charge", attempt))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), end=st.sampled_from(["fail", "killed", "refund", "match"]))
    def end(self, data: st.DataObject, end: str) -> None:
        attempt = data.draw(st.sampled_from(self.running))
        self.running.remove(attempt)
        if end == "refund":
            self.record = refund(self.record, attempt)
        elif end == "match":
            self.record = matched(self.record, attempt, self.now())
        self.model.history.append(Event(end, attempt))

    @rule()
    def password(self) -> None:
        self.record = password_used(self.now())
        self.model.history.append(Event("password"))

    @rule()
    def root_clears(self) -> None:
        self.record = clear(self.record)
        self.model.history.append(Event("clear"))

    @rule(seconds=st.one_of(st.integers(0, 40), st.integers(0, 10**7)))
    def time_passes(self, seconds: int) -> None:
        self.uptime += seconds
        self.wall += seconds
        self.model.history.append(Event("pass", seconds=seconds))

    @rule()
    def wait_is_served(self) -> None:
        wait = self.model.wait()
        if wait:
            self.time_passes(int(wait) + 1)

    @rule(off=st.integers(0, 10**8))
    def reboot(self, off: int) -> None:
        """Whatever ran is gone, and was not settled."""
        self.boot += 1
        self.uptime = 0
        self.wall += off
        self.running = []
        self.model.history.append(Event("reboot"))

    @rule(wall=st.floats(-1e9, 1e10))
    def clock_is_set(self, wall: float) -> None:
        self.wall = wall

    @invariant()
    def the_row_and_the_wait_are_those_of_the_model(self) -> None:
        standing, wait = self.model.standing(), self.model.wait()
        assert [one.attempt for one in self.record.charges] == [
            self.model.history[place].attempt for place in standing
        ]
        expected = None if wait == 0.0 else LockedOut(len(standing), wait)
        assert locked_out(self.record, self.now(), WITHOUT_DETECTION) == expected


TestAttempts = Attempts.TestCase
TestAttempts.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

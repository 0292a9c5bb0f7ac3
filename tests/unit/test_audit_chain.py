"""A sealed log that was edited, cut, reordered or added to says so; a crash alone does not."""

from __future__ import annotations

import gzip
import multiprocessing
import multiprocessing.connection
import os
import random
import signal
from pathlib import Path

import pytest

from pam_faceid.adapters.audit.head import SLOT_BYTES
from pam_faceid.adapters.audit.lines import parse_line, write_line
from pam_faceid.adapters.audit.links import Link, first_link
from pam_faceid.adapters.audit.log import FileAuditLog
from pam_faceid.adapters.audit.reading import as_it_is, read_lines
from pam_faceid.adapters.audit.sealed import head_of, start_chain, stop_chain
from pam_faceid.adapters.audit.verification import Fault, Report, verify_lines, verify_log
from pam_faceid.core.errors import AuditError


class Sealed:
    """A sealed log and the keys that check it."""

    def __init__(self, root: Path) -> None:
        for folder in ("log", "lib"):
            (root / folder).mkdir(mode=0o750)
        self.path = root / "log" / "audit.log"
        self.chain = root / "lib" / "audit.chain"
        self.log = FileAuditLog(
            self.path,
            chain=self.chain,
            must_chain=True,
            syslog=Path("/nonexistent/log"),
            lock_seconds=60.0,
        )
        self.keys: dict[str, Link] = {}

    def start(self) -> None:
        start_chain(self.log, lambda link: self.keys.update({link.chain: link}))

    def attempts(self, count: int) -> None:
        for number in range(count):
            self.log.record("authenticate", user="alice", outcome="match", number=number)

    def verify(self) -> Report:
        with as_it_is(self.log) as (head, lines):
            return verify_log(lines, keys=self.keys, head=head)

    def faults(self) -> list[Fault]:
        return [finding.fault for finding in self.verify().findings]

    def lines(self) -> list[bytes]:
        return self.path.read_bytes().splitlines()

    def write(self, lines: list[bytes]) -> None:
        self.path.write_bytes(b"".join(line + b"\n" for line in lines))

    def rotate(self) -> None:
        """Do what logrotate does."""
        aside = self.path.with_name("audit.log.1")
        if aside.exists():
            older = self.path.with_name("audit.log.2.gz")
            older.write_bytes(gzip.compress(aside.read_bytes()))
            os.utime(older, ns=(0, aside.stat().st_mtime_ns))
        self.path.rename(aside)


@pytest.fixture
def sealed(tmp_path: Path) -> Sealed:
    sealed = Sealed(tmp_path)
    sealed.start()
    sealed.attempts(6)
    return sealed


def test_a_log_that_nobody_touched_is_intact(sealed: Sealed) -> None:
    report = sealed.verify()
    assert report.findings == []
    assert report.notes == []
    assert (report.intact, report.unsealed, report.fragments) == (7, 0, 0)
    assert [parse_line(line)["seq"] for line in sealed.lines()] == [str(n) for n in range(7)]


@pytest.mark.parametrize("number", range(7))
def test_an_edited_line_is_named(sealed: Sealed, number: int) -> None:
    lines = sealed.lines()
    before = lines[number]
    lines[number] = before.replace(b"event=", b"event=x", 1)
    sealed.write(lines)
    (finding,) = sealed.verify().findings
    assert finding.fault is Fault.ALTERED
    assert finding.where == f"{sealed.path}:{number + 1}"


def test_no_bit_of_a_line_can_be_flipped(sealed: Sealed) -> None:
    lines = sealed.lines()
    for bit in range(8 * len(lines[3])):
        changed = bytearray(lines[3])
        changed[bit // 8] ^= 1 << bit % 8
        if b"\n" not in changed:
            sealed.write([*lines[:3], bytes(changed), *lines[4:]])
            assert sealed.faults(), bytes(changed)


@pytest.mark.parametrize("number", range(6))
def test_a_deleted_line_is_missed(sealed: Sealed, number: int) -> None:
    lines = sealed.lines()
    sealed.write(lines[:number] + lines[number + 1 :])
    report = sealed.verify()
    if number == 0:  # as when older files are gone: it cannot be told from rotation, and is said
        assert report.findings == []
        assert "from line 1 on" in report.notes[0]
    else:
        assert [finding.fault for finding in report.findings] == [Fault.MISSING]
        assert f"lines {number} to {number}" in report.findings[0].what


@pytest.mark.parametrize("kept", range(7))
def test_an_end_that_was_cut_off_is_missed(sealed: Sealed, kept: int) -> None:
    sealed.write(sealed.lines()[:kept])
    assert sealed.faults() == [Fault.CUT]


def test_lines_in_another_order_are_found(sealed: Sealed) -> None:
    lines = sealed.lines()
    lines[2], lines[4] = lines[4], lines[2]
    sealed.write(lines)
    assert Fault.OUT_OF_ORDER in sealed.faults()


def test_a_line_written_twice_is_found(sealed: Sealed) -> None:
    lines = sealed.lines()
    sealed.write([*lines[:4], lines[2], *lines[4:]])
    assert sealed.faults() == [Fault.OUT_OF_ORDER]


def test_a_record_slipped_in_is_found(sealed: Sealed) -> None:
    lines = sealed.lines()
    forged = write_line({"time": "2026-01-01T00:00:00.000Z", "event": "authenticate"})
    sealed.write([*lines[:4], forged, *lines[4:]])
    assert sealed.faults() == [Fault.INSERTED]


def test_a_line_sealed_with_a_key_of_ones_own_is_found(sealed: Sealed) -> None:
    lines = sealed.lines()
    chain = next(iter(sealed.keys))
    forged = Link(chain, 4, bytes(32)).seal(parse_line(lines[4]) | {"outcome": "non_match"})
    sealed.write([*lines[:4], forged, *lines[5:]])
    assert Fault.ALTERED in sealed.faults() or sealed.verify().fragments


def test_a_number_beyond_belief_costs_no_time(sealed: Sealed) -> None:
    lines = sealed.lines()
    far = lines[6].replace(b" seq=6 ", b" seq=9999999999999999 ")
    sealed.write([*lines[:6], far])
    assert sealed.faults() == [Fault.ALTERED, Fault.CUT]


def test_who_takes_the_head_cannot_forge_what_was_written_before(sealed: Sealed) -> None:
    """The head's key seals the next line; no step leads from it to the key of line 3."""
    stolen = head_of(sealed.log).read()
    lines = sealed.lines()
    pairs = {k: v for k, v in parse_line(lines[3]).items() if k not in ("chain", "seq", "seal")}
    pairs["outcome"] = "non_match"
    link = stolen
    for _ in range(20):
        forged = Link(link.chain, 3, link.key).seal(pairs)
        sealed.write([*lines[:3], forged, *lines[4:]])
        assert sealed.faults() == [Fault.ALTERED]
        link = link.next()


def test_the_key_of_a_line_is_wiped_from_the_head(sealed: Sealed) -> None:
    used = head_of(sealed.log).read().key
    assert used in sealed.chain.read_bytes()
    sealed.attempts(1)
    assert used not in sealed.chain.read_bytes()


def test_a_head_set_back_to_match_a_shorter_log_is_found(sealed: Sealed) -> None:
    """The keys of lines 3 to 6 cannot be had again, so a head for line 3 holds a wrong one."""
    chain = next(iter(sealed.keys))
    sealed.write(sealed.lines()[:3])
    head = head_of(sealed.log)
    head.remove()
    head.create(Link(chain, 3, os.urandom(32)), uid=os.geteuid(), gid=os.getegid())
    assert sealed.faults() == [Fault.HEAD]


def test_an_older_head_put_back_is_found(sealed: Sealed) -> None:
    older = sealed.chain.read_bytes()
    sealed.attempts(3)
    sealed.chain.write_bytes(older)
    assert sealed.faults() == [Fault.HEAD]


def test_without_its_head_nobody_is_let_in_and_the_log_is_not_intact(sealed: Sealed) -> None:
    sealed.chain.unlink()
    with pytest.raises(AuditError, match="there is no chain") as refusal:
        sealed.attempts(1)
    assert "audit start" in refusal.value.hint
    assert sealed.faults() == [Fault.HEAD]


@pytest.mark.parametrize("slot", [0, 1])
def test_half_a_head_is_survived_and_no_head_is_not(sealed: Sealed, slot: int) -> None:
    """A power cut tears the slot that is being written; the other one still counts."""
    content = bytearray(sealed.chain.read_bytes())
    spare = 0 if content[:SLOT_BYTES].count(0) == SLOT_BYTES else 1
    content[spare * SLOT_BYTES : spare * SLOT_BYTES + 100] = os.urandom(100)
    sealed.chain.write_bytes(content)
    sealed.attempts(1 + slot)
    assert sealed.faults() == []
    sealed.chain.write_bytes(bytes(2 * SLOT_BYTES))
    with pytest.raises(AuditError, match="damaged"):
        sealed.attempts(1)


def test_a_line_that_its_head_does_not_know_yet_is_counted_once(sealed: Sealed) -> None:
    """Killed between line and head: the next writer goes on after the line."""
    before = sealed.chain.read_bytes()
    sealed.attempts(1)
    sealed.chain.write_bytes(before)
    report = sealed.verify()
    assert report.findings == []
    assert "one line behind" in report.notes[0]
    sealed.attempts(1)
    assert sealed.faults() == []
    assert [parse_line(line)["seq"] for line in sealed.lines()] == [str(n) for n in range(9)]


def test_the_same_when_the_log_was_rotated_meanwhile(sealed: Sealed) -> None:
    before = sealed.chain.read_bytes()
    sealed.attempts(1)
    sealed.chain.write_bytes(before)
    sealed.rotate()
    sealed.attempts(1)
    assert sealed.faults() == []
    assert parse_line(sealed.lines()[0])["seq"] == "8"


def test_a_torn_line_hides_nothing(sealed: Sealed) -> None:
    with sealed.path.open("ab") as file:
        file.write(b"time=2026-")
    sealed.attempts(2)
    report = sealed.verify()
    assert report.findings == []
    assert (report.intact, report.fragments) == (9, 1)


def test_a_chain_goes_through_rotated_and_packed_files(sealed: Sealed) -> None:
    for _ in range(2):
        sealed.rotate()
        sealed.attempts(3)
    assert len(list(sealed.path.parent.iterdir())) == 3
    report = sealed.verify()
    assert report.findings == []
    assert report.intact == 13


def test_an_older_file_that_was_changed_is_named(sealed: Sealed) -> None:
    sealed.rotate()
    sealed.attempts(1)
    aside = sealed.path.with_name("audit.log.1")
    aside.write_bytes(aside.read_bytes().replace(b"alice", b"carol", 1))
    (finding,) = sealed.verify().findings
    assert finding.fault is Fault.ALTERED
    assert finding.where == f"{aside}:2"


def test_a_part_of_the_log_can_be_checked_alone(sealed: Sealed, tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(b"\n".join(sealed.lines()[2:5]) + b"\n")
    report = verify_lines(read_lines([part]), keys=sealed.keys)
    assert report.findings == []
    assert report.intact == 3


def test_records_before_the_chain_are_counted_apart(tmp_path: Path) -> None:
    sealed = Sealed(tmp_path)
    log = FileAuditLog(sealed.path, chain=sealed.chain, must_chain=False, syslog=Path("/nowhere"))
    log.record("authenticate")
    sealed.start()
    sealed.attempts(1)
    report = sealed.verify()
    assert report.findings == []
    assert (report.unsealed, report.intact) == (1, 2)


def test_a_chain_that_was_stopped_ends_well_and_another_may_follow(sealed: Sealed) -> None:
    stop_chain(sealed.log)
    assert sealed.faults() == []
    sealed.start()
    sealed.attempts(2)
    report = sealed.verify()
    assert report.findings == []
    assert report.intact == 11


def test_a_chain_that_was_replaced_and_not_stopped_is_found(sealed: Sealed) -> None:
    sealed.chain.unlink()
    sealed.start()
    assert sealed.faults() == [Fault.CUT]


def test_a_chain_without_its_key_is_not_called_intact(sealed: Sealed) -> None:
    sealed.keys.clear()
    assert set(sealed.faults()) == {Fault.NO_KEY}


def test_a_second_chain_is_not_started_over_the_first(sealed: Sealed) -> None:
    with pytest.raises(AuditError, match="a chain already"):
        sealed.start()
    assert len(sealed.keys) == 1
    assert sealed.faults() == []


def _attempts(sealed: Sealed, count: int) -> None:
    sealed.attempts(count)


def test_several_writers_make_one_chain(sealed: Sealed) -> None:
    processes = multiprocessing.get_context("fork")
    writers = [processes.Process(target=_attempts, args=(sealed, 25)) for _ in range(4)]
    for writer in writers:
        writer.start()
    sealed.rotate()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    report = sealed.verify()
    assert report.findings == []
    assert report.intact == 107


def test_a_writer_killed_at_any_moment_leaves_a_log_that_is_intact(sealed: Sealed) -> None:
    """Kills fall anywhere in line and head: no record that was said to be durable is lost."""
    chance = random.Random(14)
    processes = multiprocessing.get_context("fork")
    recorded = 7
    for _ in range(15):
        receiver, sender = processes.Pipe(duplex=False)
        writer = processes.Process(target=_record_and_tell, args=(sealed, sender))
        writer.start()
        sender.close()
        for _ in range(chance.randrange(1, 6)):
            receiver.recv()
            recorded += 1
        assert writer.pid
        os.kill(writer.pid, signal.SIGKILL)
        writer.join(60)
        while _has_more(receiver):
            recorded += 1
        report = sealed.verify()
        assert report.findings == []
        assert report.intact >= recorded
        recorded = report.intact


def _record_and_tell(sealed: Sealed, sender: multiprocessing.connection.Connection) -> None:
    while True:
        sealed.attempts(1)
        sender.send(None)


def _has_more(receiver: multiprocessing.connection.Connection) -> bool:
    try:
        receiver.recv()
    except EOFError:
        return False
    return True


@pytest.mark.parametrize("step", ["nothing yet", "half a line", "line", "line and half a head"])
def test_after_a_crash_at_each_step_the_chain_goes_on(sealed: Sealed, step: str) -> None:
    head = sealed.chain.read_bytes()
    sealed.attempts(1)
    *before, last = sealed.lines()
    after = sealed.chain.read_bytes()
    if step == "nothing yet":
        sealed.write(before)
    if step == "half a line":
        sealed.path.write_bytes(b"\n".join([*before, last[:40]]))
    torn = bytearray(head)
    if step == "line and half a head":
        new = 0 if head[:SLOT_BYTES].count(0) == SLOT_BYTES else 1
        torn[new * SLOT_BYTES : new * SLOT_BYTES + 40] = after[new * SLOT_BYTES :][:40]
    sealed.chain.write_bytes(torn)
    sealed.attempts(2)
    assert sealed.faults() == []


def test_a_head_that_cannot_be_written_is_an_error(sealed: Sealed) -> None:
    """The line is on the disk by then; it counts, and whoever comes next goes on after it."""
    link = head_of(sealed.log).read()
    sealed.chain.chmod(0o644)
    with pytest.raises(AuditError, match="mode 0644"):
        sealed.attempts(1)
    sealed.chain.chmod(0o600)
    assert head_of(sealed.log).read() == link
    sealed.attempts(1)
    assert sealed.faults() == []


def test_a_link_in_the_place_of_the_head_is_refused(sealed: Sealed, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    sealed.chain.rename(moved)
    sealed.chain.symlink_to(moved)
    with pytest.raises(AuditError, match="symbolic link"):
        sealed.attempts(1)


def test_the_keys_of_two_lines_are_unrelated_in_both_directions() -> None:
    link = first_link()
    assert link.next().key != link.key
    assert link.next() == link.next()
    assert link.key.hex() not in repr(link)


def test_a_head_is_private(sealed: Sealed) -> None:
    assert sealed.chain.stat().st_mode & 0o7777 == 0o600

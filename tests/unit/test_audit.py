"""An attempt is on the disk in one line, or the caller learns that it is not."""

from __future__ import annotations

import fcntl
import itertools
import multiprocessing
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from pam_faceid.adapters.audit.lines import parse_line
from pam_faceid.adapters.audit.log import FileAuditLog, log_owner
from pam_faceid.adapters.audit.reading import read_lines, record_of
from pam_faceid.core.errors import AuditError
from pam_faceid.core.types import Outcome

NOWHERE = Path("/nonexistent/log")


def log_at(path: Path, *, syslog: Path = NOWHERE, lock_seconds: float = 60.0) -> FileAuditLog:
    return FileAuditLog(
        path,
        chain=path.parent.parent / "lib" / "audit.chain",
        must_chain=False,
        syslog=syslog,
        lock_seconds=lock_seconds,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pam_faceid" / "audit.log"


@pytest.fixture
def log(path: Path) -> FileAuditLog:
    return log_at(path)


def lines(path: Path) -> list[dict[str, str]]:
    return [parse_line(line) for line in path.read_bytes().splitlines()]


def test_a_line_has_its_fields_in_a_fixed_order(log: FileAuditLog, path: Path) -> None:
    before = time.time()
    log.record(
        "authenticate",
        zeta=1,
        attempt="7f",
        embed_ms=1.25,
        milliseconds=812.04,
        recording=False,
        frames=3,
        outcome="match",
        rhost=None,
        tty="",
        user="alice",
        alpha="b c",
    )
    (line,) = path.read_text().splitlines()
    found = parse_line(line.encode())["time"]
    stamp = datetime.strptime(found, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    assert before - 0.001 <= stamp.timestamp() <= time.time() + 0.001
    assert line == (
        f'time={found} event=authenticate attempt=7f user=alice tty="" outcome=match frames=3 '
        'recording=no milliseconds=812.0 embed_ms=1.2 alpha="b c" zeta=1'
    )


def test_an_attempt_without_an_id_gets_one(log: FileAuditLog, path: Path) -> None:
    log.record("authenticate")
    log.record("authenticate")
    log.record("remove-user")
    first, second, other = lines(path)
    assert len(first["attempt"]) == 16
    assert first["attempt"] != second["attempt"]
    assert "attempt" not in other


def test_log_and_directory_are_made_private_whatever_the_umask(
    log: FileAuditLog, path: Path
) -> None:
    before = os.umask(0)
    try:
        log.record("authenticate")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o7777 == 0o600
    assert path.parent.stat().st_mode & 0o7777 == 0o750


def test_lines_are_appended(log: FileAuditLog, path: Path) -> None:
    for number in range(5):
        log.record("authenticate", number=number)
    assert [line["number"] for line in lines(path)] == [str(n) for n in range(5)]


def test_no_text_can_forge_a_line_or_reach_a_terminal(log: FileAuditLog, path: Path) -> None:
    text = 'x" outcome=match\nevent=authenticate \x1b[2J\u202e\udcff'
    log.record("authenticate", user=text, rhost=text, tty=text, outcome="non_match")
    content = path.read_bytes()
    assert content.count(b"\n") == 1
    assert all(0x20 <= byte < 0x7F for byte in content[:-1])
    (line,) = lines(path)
    assert (line["user"], line["rhost"], line["tty"]) == (text, text, text)
    assert line["outcome"] == "non_match"


def test_no_name_of_a_stage_keeps_an_attempt_from_being_recorded(
    log: FileAuditLog, path: Path
) -> None:
    """The process that decodes pixels names its stages, and may be taken over."""
    hostile = {f"{name}_ms": 1.0 for name in ("A", "a b", "a=b", "x\ny", "", '"', "k" * 99, "ü")}
    many = {f"stage{number:03}_ms": 1.0 for number in range(500)}
    log.record("authenticate", user="alice", outcome="match", **hostile, **many)
    (line,) = lines(path)
    assert (line["user"], line["outcome"]) == ("alice", "match")
    assert int(line["left_out"]) == 508 - sum(name.endswith("_ms") for name in line)
    assert len(line) <= 48


@pytest.mark.parametrize(
    ("best", "threshold", "word"),
    [
        (0.4721, 0.4721, "reached"),
        (0.9, 0.4721, "reached"),
        (0.4720, 0.4721, "near"),
        (0.3541, 0.4721, "near"),
        (0.3540, 0.4721, "far"),
        (-1.0, 0.4721, "far"),
        (float("nan"), 0.4721, "far"),
        (float("inf"), 0.4721, "reached"),
        (0.5, float("nan"), "far"),
    ],
)
def test_of_a_score_three_words_are_left(
    log: FileAuditLog, path: Path, best: float, threshold: float, word: str
) -> None:
    log.record("authenticate", best_score=best, threshold=threshold)
    (line,) = lines(path)
    assert line.keys() == {"time", "event", "attempt", "closeness"}
    assert line["closeness"] == word


def test_a_score_alone_is_not_recorded(log: FileAuditLog, path: Path) -> None:
    log.record("authenticate", best_score=0.4)
    assert lines(path)[0].keys() == {"time", "event", "attempt"}


@pytest.mark.parametrize("name", ["score", "cosine", "margin", "best_score_2"])
def test_a_fraction_that_is_no_time_cannot_be_recorded(
    log: FileAuditLog, path: Path, name: str
) -> None:
    """A score under another name must not slip in: at 0.001 a step it could be climbed."""
    with pytest.raises(TypeError, match="may be a score"):
        log.record("authenticate", **{name: 0.4321})
    assert not path.exists()


def test_an_outcome_is_recorded_as_its_word(log: FileAuditLog, path: Path) -> None:
    log.record("authenticate", outcome=Outcome.NON_MATCH)
    assert lines(path)[0]["outcome"] == "non_match"


@pytest.mark.parametrize(
    "value",
    [np.ones(128, np.float32), np.float32(1.0), [0.1, 0.2], (1,), b"bytes", {"a": 1}, object()],
)
def test_biometrics_cannot_be_recorded(log: FileAuditLog, path: Path, value: object) -> None:
    with pytest.raises(TypeError, match=r"the audit field probe is a .*, not a plain value"):
        log.record("authenticate", probe=value)  # type: ignore[arg-type]
    assert not path.exists()


def test_the_time_cannot_be_given(log: FileAuditLog) -> None:
    with pytest.raises(TypeError, match="set by the log itself"):
        log.record("authenticate", time="2026-01-01")
    with pytest.raises(TypeError, match="set by the log itself"):
        log.record("authenticate", closeness="near")


def test_half_a_line_left_by_a_crash_does_not_swallow_the_next(
    log: FileAuditLog, path: Path
) -> None:
    log.record("authenticate", number=1)
    with path.open("ab") as file:
        file.write(b"time=2026-")
    log.record("authenticate", number=2)
    first, half, second = path.read_bytes().splitlines()
    assert parse_line(first)["number"] == "1"
    assert half == b"time=2026- torn"
    assert parse_line(second)["number"] == "2"


@pytest.mark.parametrize("left", range(40, 120, 7))
def test_half_a_line_never_passes_for_a_record(log: FileAuditLog, path: Path, left: int) -> None:
    """Cut between two pairs it would read as a record, of which the refusal is lost."""
    log.record("authenticate", user="alice", service="sudo", outcome="non_match", reason="x")
    path.write_bytes(path.read_bytes()[:left])
    log.record("authenticate", number=2)
    records = [record_of(line) for line in read_lines([path])]
    assert [record.pairs["number"] for record in records if record is not None] == ["2"]


def test_a_link_in_the_place_of_the_log_is_refused(
    log: FileAuditLog, path: Path, tmp_path: Path
) -> None:
    path.parent.mkdir(mode=0o750)
    path.symlink_to(tmp_path / "target")
    with pytest.raises(AuditError, match="symbolic link") as refusal:
        log.record("authenticate")
    assert str(path) in refusal.value.message
    assert not (tmp_path / "target").exists()


def test_a_linked_directory_is_refused(log: FileAuditLog, path: Path, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    path.parent.symlink_to(tmp_path / "target")
    with pytest.raises(AuditError, match="is a symbolic link"):
        log.record("authenticate")
    assert list((tmp_path / "target").iterdir()) == []


@pytest.mark.parametrize("mode", [0o666, 0o660, 0o644, 0o640])
def test_a_log_that_others_could_forge_or_read_is_refused(
    log: FileAuditLog, path: Path, mode: int
) -> None:
    log.record("authenticate")
    path.chmod(mode)
    with pytest.raises(AuditError, match=f"mode {mode:04o}"):
        log.record("authenticate")


def test_a_directory_that_others_can_write_is_refused(log: FileAuditLog, path: Path) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o777)
    with pytest.raises(AuditError, match="can be written by others"):
        log.record("authenticate")


def test_a_pipe_in_the_place_of_the_log_does_not_block(log: FileAuditLog, path: Path) -> None:
    path.parent.mkdir(mode=0o750)
    os.mkfifo(path, 0o600)
    with pytest.raises(AuditError, match="is not a regular file"):
        log.record("authenticate")


def test_a_writer_that_was_stopped_does_not_hold_up_the_others(path: Path) -> None:
    """Whoever holds the lock and never lets go costs the record, and so the match, not a hang."""
    log_at(path).record("authenticate")
    held = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(AuditError, match="another process has held"):
            log_at(path, lock_seconds=0.05).record("authenticate")
    finally:
        os.close(held)
    log_at(path).record("authenticate")
    assert len(lines(path)) == 2


def test_a_missing_directory_above_is_named(tmp_path: Path) -> None:
    log = log_at(tmp_path / "gone" / "pam_faceid" / "audit.log")
    with pytest.raises(AuditError, match=r"cannot record .*audit\.log: No such file") as refusal:
        log.record("authenticate")
    assert refusal.value.hint


@pytest.fixture
def tiny_disk(path: Path) -> Iterator[Path]:
    path.parent.mkdir(mode=0o750)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8k,mode=0750", "tmpfs", path.parent], check=True
    )
    yield path.parent
    subprocess.run(["umount", path.parent], check=True)


def _record_until_it_fails(log: FileAuditLog) -> None:
    for number in itertools.count():
        log.record("authenticate", user="x" * 300, number=number)


@pytest.mark.root
def test_a_full_disk_is_an_error_and_later_lines_are_whole(
    tiny_disk: Path, log: FileAuditLog, path: Path
) -> None:
    with pytest.raises(AuditError, match="No space left on device") as refusal:
        _record_until_it_fails(log)
    assert "make room" in refusal.value.hint
    recorded = path.read_bytes().count(b"\n")
    assert recorded > 3
    subprocess.run(["mount", "-o", "remount,size=64k", tiny_disk], check=True)
    log.record("authenticate", number=recorded)
    *whole, last = path.read_bytes().splitlines()
    assert [parse_line(line)["number"] for line in whole[:recorded]] == [
        str(number) for number in range(recorded)
    ]
    assert parse_line(last)["number"] == str(recorded)


@pytest.mark.root
def test_a_read_only_disk_is_an_error(tiny_disk: Path, log: FileAuditLog) -> None:
    subprocess.run(["mount", "-o", "remount,ro", tiny_disk], check=True)
    with pytest.raises(AuditError, match="Read-only file system"):
        log.record("authenticate")


def _record(log: FileAuditLog, process: int) -> None:
    for number in range(50):
        log.record("authenticate", process=process, number=number, user="x" * 500)


def test_several_processes_never_mix_their_lines(log: FileAuditLog, path: Path) -> None:
    processes = multiprocessing.get_context("fork")
    writers = [processes.Process(target=_record, args=(log, number)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    found = {(line["process"], line["number"]) for line in lines(path)}
    assert len(found) == 200


def sent_to_the_journal(path: Path, **fields: str | float) -> bytes:
    with (
        tempfile.TemporaryDirectory() as directory,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind(f"{directory}/log")
        receiver.settimeout(5)
        log_at(path, syslog=Path(directory) / "log").record("authenticate", **fields)
        return receiver.recv(65536)


def test_syslog_gets_the_same_line(path: Path) -> None:
    message = sent_to_the_journal(path, user="a\nb")
    assert message == b"<86>pam_faceid[%d]: " % os.getpid() + path.read_bytes().rstrip()


def test_a_picture_of_the_right_face_is_a_non_match_in_the_journal(path: Path) -> None:
    """Whoever reads there that it was an attack knows that the face would have matched."""
    message = sent_to_the_journal(path, outcome="presentation_attack", presentation="attack")
    assert b" outcome=presentation_attack presentation=attack" in path.read_bytes()
    assert b" outcome=non_match" in message
    assert b"attack" not in message


def test_how_near_it_came_is_not_in_the_journal(path: Path) -> None:
    message = sent_to_the_journal(path, outcome="non_match", best_score=0.45, threshold=0.47)
    assert b" closeness=near" in path.read_bytes()
    assert b"closeness" not in message
    assert b"0.4" not in message


def test_syslog_that_does_not_listen_delays_nothing(path: Path) -> None:
    """A reader that is stuck fills its queue; the log of attempts must not wait for it."""
    with (
        tempfile.TemporaryDirectory() as directory,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind(f"{directory}/log")
        log = log_at(path, syslog=Path(directory) / "log")
        # In a process of its own: one that waits would wait for ever, and this test with it.
        writer = multiprocessing.get_context("fork").Process(target=_fill, args=(log,))
        writer.start()
        writer.join(60)
        ended = writer.exitcode
        writer.kill()
        writer.join()
    assert ended == 0
    assert len(lines(path)) == 600


def _fill(log: FileAuditLog) -> None:
    for _ in range(600):
        log.record("authenticate")


def test_a_log_of_ones_own_belongs_to_oneself(log: FileAuditLog, path: Path) -> None:
    log.record("authenticate")
    owner = log_owner()
    for entry in (path, path.parent):
        assert (entry.stat().st_uid, entry.stat().st_gid) == (owner.uid, owner.gid)

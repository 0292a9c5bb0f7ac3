"""An attempt is on the disk in one line, or the caller learns that it is not."""

from __future__ import annotations

import itertools
import json
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

from pam_faceid.adapters.audit import FileAuditLog
from pam_faceid.core.errors import AuditError
from pam_faceid.core.types import Outcome

NOWHERE = Path("/nonexistent/log")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pam_faceid" / "audit.log"


@pytest.fixture
def log(path: Path) -> FileAuditLog:
    return FileAuditLog(path, syslog=NOWHERE)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_bytes().decode("ascii").splitlines()]


def test_a_line_has_time_event_and_then_the_fields_in_order(log: FileAuditLog, path: Path) -> None:
    before = time.time()
    log.record(
        "authenticate", user="alice", best_score=0.625, frames=3, recording=False, rhost=None
    )
    (line,) = path.read_text().splitlines()
    found = json.loads(line)
    stamp = datetime.strptime(found["time"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    assert before - 0.001 <= stamp.timestamp() <= time.time() + 0.001
    assert line == (
        '{"time":"' + found["time"] + '","event":"authenticate","best_score":0.625,"frames":3,'
        '"recording":false,"rhost":null,"user":"alice"}'
    )


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
    assert [line["number"] for line in lines(path)] == list(range(5))


@pytest.mark.parametrize(
    "text",
    [
        'x"}\n{"time":"2026-01-01T00:00:00.000Z","event":"authenticate","outcome":"match"}',
        "\r\n\0\x1b[2J\x7f\x85\x9b31m\u2028\u2029",
        "\ud800 \udcff",
        "имя",
    ],
)
def test_no_text_can_forge_a_line_or_reach_a_terminal(
    log: FileAuditLog, path: Path, text: str
) -> None:
    log.record("authenticate", user=text)
    content = path.read_bytes()
    assert content.count(b"\n") == 1
    assert all(0x20 <= byte < 0x7F for byte in content[:-1])
    assert lines(path)[0]["user"] == text


def test_a_long_text_is_cut(log: FileAuditLog, path: Path) -> None:
    log.record("authenticate", user="x" * 1_000_000)
    assert lines(path)[0]["user"] == "x" * 1024 + "..."


def test_a_score_that_is_not_a_number_is_recorded_all_the_same(
    log: FileAuditLog, path: Path
) -> None:
    log.record("authenticate", best_score=float("nan"), threshold=float("-inf"))
    assert (lines(path)[0]["best_score"], lines(path)[0]["threshold"]) == ("nan", "-inf")


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


def test_half_a_line_left_by_a_crash_does_not_swallow_the_next(
    log: FileAuditLog, path: Path
) -> None:
    log.record("authenticate", number=1)
    with path.open("ab") as file:
        file.write(b'{"time":"2026-')
    log.record("authenticate", number=2)
    first, half, second = path.read_bytes().splitlines()
    assert json.loads(first)["number"] == 1
    assert half == b'{"time":"2026-'
    assert json.loads(second)["number"] == 2


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


def test_a_missing_directory_above_is_named(tmp_path: Path) -> None:
    log = FileAuditLog(tmp_path / "gone" / "pam_faceid" / "audit.log", syslog=NOWHERE)
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
    recorded = path.read_bytes().count(b"}\n")
    assert recorded > 3
    subprocess.run(["mount", "-o", "remount,size=64k", tiny_disk], check=True)
    log.record("authenticate", number=recorded)
    whole = [line for line in path.read_bytes().splitlines() if line.endswith(b"}")]
    assert [json.loads(line)["number"] for line in whole] == list(range(recorded + 1))


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


def test_syslog_gets_the_same_line(path: Path) -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind(f"{directory}/log")
        receiver.settimeout(5)
        FileAuditLog(path, syslog=Path(directory) / "log").record("authenticate", user="a\nb")
        message = receiver.recv(65536)
    assert message == b"<86>pam_faceid[%d]: " % os.getpid() + path.read_bytes().rstrip()


def test_syslog_that_does_not_listen_delays_nothing(path: Path) -> None:
    """A reader that is stuck fills its queue; the log of attempts must not wait for it."""
    with (
        tempfile.TemporaryDirectory() as directory,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind(f"{directory}/log")
        log = FileAuditLog(path, syslog=Path(directory) / "log")
        for _ in range(600):
            log.record("authenticate")
    assert len(lines(path)) == 600

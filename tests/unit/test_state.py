"""What is remembered of attempts survives whatever happens, and is never believed when damaged."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import pwd
import signal
import subprocess
import tempfile
from multiprocessing.synchronize import Barrier
from pathlib import Path

import msgspec
import pytest

from pam_faceid.adapters.clock import BOOT_ID, moment
from pam_faceid.adapters.state import StateStore
from pam_faceid.core.errors import StateError
from pam_faceid.core.lockout import Ladder, Moment, Record, charge, lock, password_used, refund

NOW = Moment("one", 10.0, 1e9)
ENDLESS = Ladder(free=10**6, cap=10**6)
NOBODY = "nobody"


@pytest.fixture
def store(tmp_path: Path) -> StateStore:
    return StateStore(tmp_path / "lib" / "state", owner="no-such-account")


@pytest.fixture
def file(store: StateStore, tmp_path: Path) -> Path:
    store.replace("alice", password_used(NOW))
    return tmp_path / "lib" / "state" / "alice.json"


def charge_as(attempt: str):
    def transition(record: Record | None) -> Record:
        assert record is not None
        charged = charge(record, attempt, NOW, ENDLESS)
        assert isinstance(charged, Record)
        return charged

    return transition


def test_of_a_stranger_nothing_is_remembered(store: StateStore) -> None:
    assert store.load("alice") is None


def test_what_is_written_is_read_back(store: StateStore) -> None:
    record = lock(password_used(NOW))
    store.replace("alice", record)
    store.change("alice", charge_as("one"))
    found = store.load("alice")
    assert found is not None
    assert found.charges[0].attempt == "one"
    assert found.locked
    assert found.password_at == NOW


def test_a_transition_that_returns_nothing_writes_nothing(file: Path, store: StateStore) -> None:
    before = file.stat()
    store.change("alice", lambda record: None)
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert file.stat().st_ino == before.st_ino


def test_a_removed_user_is_forgotten_and_may_be_removed_again(
    file: Path, store: StateStore
) -> None:
    store.remove("alice")
    store.remove("alice")
    assert store.load("alice") is None


@pytest.mark.parametrize("name", ["", "../alice", "a/b", ".alice", "a\0b"])
def test_a_name_that_leads_elsewhere_is_refused(store: StateStore, name: str) -> None:
    with pytest.raises(StateError, match="not a user name"):
        store.load(name)
    with pytest.raises(StateError, match="not a user name"):
        store.replace(name, Record())


GOOD = msgspec.json.encode({"version": 1, "user": "alice", "record": {}})
DAMAGE = {
    "nothing": b"",
    "zeros, as after a power cut": bytes(300),
    "half": GOOD[: len(GOOD) // 2],
    "no JSON": b"failures=0",
    "not UTF-8": b'{"version":1,"user":"\xff"}',
    "a list": b"[]",
    "another version": GOOD.replace(b"1", b"2"),
    "of somebody else": GOOD.replace(b"alice", b"mallo"),
    "an unknown key": GOOD.replace(b"{}", b'{"failures":0}'),
    "endless time": GOOD.replace(b"{}", b'{"used_at":{"boot":"one","since_boot":1e999,"wall":0}}'),
    "time before the boot": GOOD.replace(
        b"{}", b'{"used_at":{"boot":"one","since_boot":-1,"wall":0}}'
    ),
    "nested too deep": GOOD.replace(b"{}", b"[" * 20000 + b"]" * 20000),
    "too large": GOOD + b" " * (1 << 16),
}


@pytest.mark.parametrize("data", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_an_error_and_never_a_clean_record(
    file: Path, store: StateStore, data: bytes
) -> None:
    """A damaged count is not zero: nothing is charged on it, and only the password ends it."""
    file.write_bytes(data)
    with pytest.raises(StateError):
        store.load("alice")
    with pytest.raises(StateError):
        store.change("alice", charge_as("one"))
    assert file.read_bytes() == data
    store.replace("alice", password_used(NOW))
    assert store.load("alice") == password_used(NOW)


def test_an_undamaged_record_is_the_same_bytes_as_the_damaged_ones_were_made_of(
    file: Path, store: StateStore
) -> None:
    file.write_bytes(GOOD)
    assert store.load("alice") == Record()


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o644])
def test_a_record_that_others_may_read_or_write_is_not_believed(
    file: Path, store: StateStore, mode: int
) -> None:
    file.chmod(mode)
    with pytest.raises(StateError):
        store.load("alice")


def test_a_link_is_not_followed(file: Path, store: StateStore, tmp_path: Path) -> None:
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError):
        store.load("alice")


@pytest.mark.root
def test_a_record_of_another_owner_is_not_believed(file: Path, store: StateStore) -> None:
    os.chown(file, pwd.getpwnam(NOBODY).pw_uid, -1)
    with pytest.raises(StateError, match="belongs to"):
        store.load("alice")


@pytest.mark.root
def test_what_root_writes_the_daemon_can_read_and_write_again() -> None:
    """And the other way round: the embedded worker and faceid-admin are root, the daemon is not."""
    with tempfile.TemporaryDirectory(dir="/run") as name:
        # As root's worker runs, with a umask that leaves nothing to others.
        Path(name).chmod(0o755)
        umask = os.umask(0o077)
        try:
            directory = Path(name, "pam_faceid/state")
            store = StateStore(directory, owner=NOBODY)
            store.replace("alice", password_used(NOW))
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    account = pwd.getpwnam(NOBODY)
                    os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
                    os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
                    StateStore(directory, owner=NOBODY).change("alice", charge_as("daemon's"))
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            store.change("alice", charge_as("root's"))
        finally:
            os.umask(umask)
        found = store.load("alice")
        assert found is not None
        assert [one.attempt for one in found.charges] == ["daemon's", "root's"]
        file = directory / "alice.json"
        assert file.stat().st_uid == pwd.getpwnam(NOBODY).pw_uid
        assert file.stat().st_mode & 0o777 == 0o600


def _charge_many(directory: Path, name: str, start: Barrier) -> None:
    store = StateStore(directory, owner="no-such-account", lock_seconds=120)
    start.wait()
    for number in range(4):
        store.change("alice", charge_as(f"{name} {number}"))
    store.change("alice", lambda record: None if record is None else refund(record, f"{name} 3"))


def test_fifty_processes_at_once_lose_no_charge(file: Path, store: StateStore) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Barrier(50)
    names = [f"process {number}" for number in range(50)]
    processes = [
        context.Process(target=_charge_many, args=(file.parent, name, start)) for name in names
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 50
    found = store.load("alice")
    assert found is not None
    assert sorted(one.attempt for one in found.charges) == sorted(
        f"{name} {number}" for name in names for number in range(3)
    )


def test_a_killed_writer_leaves_the_old_record_or_the_new_and_no_lock(
    file: Path, store: StateStore
) -> None:
    """Killed with the lock held and the new file half made: the next one waits for nobody."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:

        def stop(record: Record | None) -> Record:
            (file.parent / ".alice.json.0123456789abcdef.tmp").write_bytes(b'{"version":1,"us')
            os.write(writing, b"x")
            signal.pause()
            raise AssertionError

        store.change("alice", stop)
        os._exit(1)
    assert os.read(reading, 1) == b"x"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    store.change("alice", charge_as("next"))
    found = store.load("alice")
    assert found is not None
    assert len(found.charges) == 1
    assert [path.name for path in file.parent.iterdir()] == ["alice.json"]


def test_a_stopped_holder_of_the_lock_is_not_waited_for_without_end(
    file: Path, store: StateStore
) -> None:
    impatient = StateStore(file.parent, owner="no-such-account", lock_seconds=0.05)
    descriptor = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(StateError, match="another process has held"):
            impatient.change("alice", charge_as("one"))
        assert store.load("alice") == password_used(NOW), "reading needs no lock"
    finally:
        os.close(descriptor)


@pytest.mark.root
def test_a_full_disk_refuses_the_charge_and_keeps_the_record() -> None:
    with tempfile.TemporaryDirectory(dir="/run") as name:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", name], check=True)
        try:
            store = StateStore(Path(name, "lib/state"), owner="no-such-account")
            store.replace("alice", password_used(NOW))
            full = ["dd", "if=/dev/zero", f"of={Path(name, 'filler')}", "bs=1k"]
            assert b"No space" in subprocess.run(full, capture_output=True, check=False).stderr
            with pytest.raises(StateError):
                store.change("alice", charge_as("one"))
            assert store.load("alice") == password_used(NOW)
        finally:
            subprocess.run(["umount", name], check=True)


def test_the_moment_is_of_this_boot_and_a_machine_that_does_not_say_is_refused(
    tmp_path: Path,
) -> None:
    now = moment(Path("/proc"))
    assert now.boot == Path("/proc", BOOT_ID).read_text().strip()
    assert now.since_boot >= float(Path("/proc/uptime").read_text().split()[0]) - 1.0
    with pytest.raises(StateError, match="boot_id"):
        moment(tmp_path)

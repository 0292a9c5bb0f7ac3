"""A file is believed only when nobody but its owner could have changed it."""

from __future__ import annotations

import multiprocessing
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from pam_faceid.adapters.safe_files import (
    FileMissingError,
    FileRefusedError,
    FileTakenError,
    open_directory,
    read_private,
    remove_durably,
    remove_unfinished,
    write_atomically,
)

ME = os.geteuid()
NOBODY = 65534


def read(path: Path, *, max_mode: int = 0o640, max_bytes: int = 100) -> bytes:
    return read_private(path, owner_uid=ME, max_mode=max_mode, max_bytes=max_bytes)


def write(path: Path, data: bytes, *, mode: int = 0o640, replace: bool = True) -> None:
    write_atomically(path, data, mode=mode, owner_uid=ME, group=None, replace=replace)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(b"content")
    path.chmod(0o600)
    return path


def test_a_private_file_is_read_whole(file: Path) -> None:
    assert read(file, max_bytes=7) == b"content"


def test_an_empty_file_is_read(file: Path) -> None:
    file.write_bytes(b"")
    assert read(file) == b""


def test_a_missing_file_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match="absent does not exist"):
        read(tmp_path / "absent")
    with pytest.raises(FileMissingError, match="gone does not exist"):
        read(tmp_path / "gone" / "file")


def test_a_symbolic_link_is_not_followed(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    with pytest.raises(FileRefusedError, match="link is a symbolic link"):
        read(link)


def test_a_dangling_link_is_not_a_missing_file(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "absent")
    with pytest.raises(FileRefusedError, match="is a symbolic link"):
        read(link)


def test_a_linked_directory_is_not_followed(tmp_path: Path, file: Path) -> None:
    link = tmp_path / "directory"
    link.symlink_to(tmp_path)
    with pytest.raises(FileRefusedError, match="directory is a symbolic link"):
        read(link / file.name)


def test_a_named_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(FileRefusedError, match="is not a regular file"):
        read(tmp_path / "pipe")


def test_a_directory_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    with pytest.raises(FileRefusedError, match="is not a regular file"):
        read(tmp_path / "directory")


def test_a_socket_in_the_place_of_a_file_is_refused() -> None:
    # A socket's path is short of what pytest's folders need.
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        path = Path(directory) / "socket"
        listener.bind(str(path))
        with pytest.raises(FileRefusedError) as refusal:
            read(path)
        assert "not a regular file" in refusal.value.hint


def test_a_file_in_the_place_of_a_directory_is_refused(file: Path) -> None:
    with pytest.raises(FileRefusedError, match="Not a directory"):
        read(file / "below")


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o777])
def test_a_file_that_others_can_write_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(FileRefusedError, match="can be written by others") as refusal:
        read(file)
    assert refusal.value.hint == f"chmod 0640 {file}"


@pytest.mark.parametrize("mode", [0o644, 0o641, 0o750, 0o4600])
def test_a_file_that_is_more_open_than_allowed_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(FileRefusedError, match=f"has mode {mode:04o}, more open than 0640"):
        read(file)


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o1777])
def test_a_directory_that_others_can_write_is_refused(file: Path, mode: int) -> None:
    """Whoever can write in the directory can put another file in the place of this one."""
    file.parent.chmod(mode)
    with pytest.raises(FileRefusedError, match="can be written by others") as refusal:
        read(file)
    assert f"chmod go-w {file.parent}" in refusal.value.hint


@pytest.mark.root
def test_a_file_of_another_owner_is_refused(file: Path) -> None:
    os.chown(file, NOBODY, NOBODY)
    with pytest.raises(FileRefusedError, match="belongs to user id 65534, not to root"):
        read(file)


@pytest.mark.root
def test_a_directory_of_another_owner_is_refused(file: Path) -> None:
    os.chown(file.parent, NOBODY, NOBODY)
    with pytest.raises(FileRefusedError, match="belongs to user id 65534"):
        read(file)


@pytest.mark.root
def test_a_file_of_root_is_believed_by_everyone(file: Path) -> None:
    assert read_private(file, owner_uid=NOBODY, max_mode=0o600, max_bytes=10) == b"content"


def test_a_file_that_is_too_large_is_refused_before_it_is_read(file: Path) -> None:
    os.truncate(file, 1 << 40)
    with pytest.raises(FileRefusedError, match="holds 1099511627776 bytes, more than the 100"):
        read(file)


def test_no_descriptor_is_left_open_by_a_refusal(file: Path) -> None:
    file.chmod(0o666)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        with pytest.raises(FileRefusedError):
            read(file)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_written_file_has_its_content_and_mode_whatever_the_umask(tmp_path: Path) -> None:
    for umask in (0, 0o022, 0o777):
        before = os.umask(umask)
        try:
            write(tmp_path / "new", b"data", mode=0o640)
        finally:
            os.umask(before)
        assert (tmp_path / "new").stat().st_mode & 0o7777 == 0o640
        assert read(tmp_path / "new") == b"data"
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_an_existing_file_is_kept_unless_replacing_was_asked_for(file: Path) -> None:
    with pytest.raises(FileTakenError, match="secret exists already"):
        write(file, b"other", replace=False)
    assert read(file) == b"content"
    write(file, b"other", replace=True)
    assert read(file) == b"other"
    assert [path.name for path in file.parent.iterdir()] == ["secret"]


def test_a_reader_that_opened_the_old_file_still_reads_the_old_content(file: Path) -> None:
    with file.open("rb") as reader:
        write(file, b"other")
        assert reader.read() == b"content"


def test_a_symbolic_link_is_replaced_and_not_written_through(tmp_path: Path, file: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    with pytest.raises(FileTakenError):
        write(link, b"other", replace=False)
    write(link, b"other", replace=True)
    assert not link.is_symlink()
    assert file.read_bytes() == b"content"


def test_nothing_is_written_into_a_directory_that_others_can_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(FileRefusedError, match="can be written by others"):
        write(tmp_path / "new", b"data")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_rename_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(FileRefusedError, match=r"cannot write .*taken: Is a directory"):
        write(tmp_path / "taken", b"data", replace=True)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_removing_takes_what_a_killed_writer_left_behind(file: Path) -> None:
    left_behind = file.with_name(".secret.0123456789abcdef.tmp")
    left_behind.write_bytes(b"half")
    neighbour = file.with_name(".secretary.0123456789abcdef.tmp")
    neighbour.write_bytes(b"half")
    remove_durably(file, owner_uid=ME)
    assert [path.name for path in file.parent.iterdir()] == [neighbour.name]
    with pytest.raises(FileMissingError):
        remove_durably(file, owner_uid=ME)


def test_an_open_directory_is_closed_afterwards(tmp_path: Path) -> None:
    with open_directory(tmp_path, owner_uid=ME) as descriptor:
        os.fstat(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def _race(path: Path, content: bytes, start: Barrier, won: multiprocessing.Queue[bytes]) -> None:
    start.wait()
    try:
        write(path, content, replace=False)
    except FileTakenError:
        return
    won.put(content)


def test_of_several_writers_at_once_exactly_one_wins(tmp_path: Path) -> None:
    processes = multiprocessing.get_context("fork")
    for attempt in range(10):
        path = tmp_path / f"file{attempt}"
        start, won = processes.Barrier(4), processes.Queue()
        contents = [bytes([65 + n]) * 10_000 for n in range(4)]
        writers = [
            processes.Process(target=_race, args=(path, content, start, won))
            for content in contents
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(30)
            assert writer.exitcode == 0
        assert path.read_bytes() == won.get(timeout=5)
        assert won.empty()
    assert not list(tmp_path.glob(".*"))


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 32 KiB."""
    mount_point = tmp_path / "disk"
    mount_point.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32k,mode=0700", "tmpfs", mount_point], check=True
    )
    yield mount_point
    subprocess.run(["umount", mount_point], check=True)


@pytest.mark.root
def test_a_full_disk_leaves_the_old_file_and_no_temporary_one(tiny_disk: Path) -> None:
    path = tiny_disk / "file"
    write(path, b"old")
    with pytest.raises(FileRefusedError, match="No space left") as refusal:
        write(path, bytes(100_000))
    assert "make room" in refusal.value.hint
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tiny_disk.iterdir()] == ["file"]


@pytest.mark.root
def test_a_read_only_disk_is_named(tiny_disk: Path) -> None:
    write(tiny_disk / "file", b"old")
    subprocess.run(["mount", "-o", "remount,ro", tiny_disk], check=True)
    with pytest.raises(FileRefusedError, match="Read-only") as refusal:
        write(tiny_disk / "file", b"new")
    assert "mount it writable" in refusal.value.hint
    assert read(tiny_disk / "file") == b"old"


@pytest.mark.root
def test_root_may_give_a_file_to_another_user(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"x", mode=0o600, owner_uid=ME, group=None, replace=True, owner=NOBODY)
    assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (NOBODY, 0o600)


def test_what_a_killed_writer_left_can_be_removed_and_the_file_stays(file: Path) -> None:
    left = file.parent / f".{file.name}.0123456789abcdef.tmp"
    left.write_bytes(b"half")
    remove_unfinished(file, owner_uid=ME)
    assert not left.exists()
    assert file.exists()

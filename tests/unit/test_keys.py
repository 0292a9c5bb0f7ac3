"""The template key is made once, is private, and is refused when it is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pam_faceid.adapters.vault.keys import KeyFile, create_key_file
from pam_faceid.core.errors import VaultError


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "template.key"
    create_key_file(path)
    return path


def rewrite(path: Path, content: bytes, *, mode: int = 0o400) -> None:
    path.unlink()
    path.write_bytes(content)
    path.chmod(mode)


def test_a_new_key_is_32_random_bytes_that_only_its_owner_reads(key_file: Path) -> None:
    status = key_file.stat()
    assert (status.st_size, status.st_mode & 0o7777, status.st_uid) == (32, 0o400, os.geteuid())
    other = key_file.with_name("other.key")
    create_key_file(other)
    assert other.read_bytes() != key_file.read_bytes()


def test_the_key_is_read_anew_into_a_buffer_that_can_be_overwritten(key_file: Path) -> None:
    keys = KeyFile(key_file)
    first = keys.key()
    assert first == key_file.read_bytes()
    first[:] = bytes(32)
    assert keys.key() == key_file.read_bytes()


def test_a_key_is_never_overwritten(key_file: Path) -> None:
    before = key_file.read_bytes()
    with pytest.raises(VaultError, match="exists already") as refusal:
        create_key_file(key_file)
    assert key_file.read_bytes() == before
    assert "keep it" in refusal.value.hint


def test_a_key_is_not_made_through_a_link(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / "template.key").symlink_to(target)
    with pytest.raises(VaultError, match="exists already"):
        create_key_file(tmp_path / "template.key")
    assert not target.exists()


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(VaultError, match=r"the template key .*template\.key is missing") as refusal:
        KeyFile(tmp_path / "template.key").key()
    assert "install.sh" in refusal.value.hint


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o600, 0o644])
def test_a_key_that_is_not_private_is_refused(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    with pytest.raises(VaultError, match=f"has mode {mode:04o}, more open than 0400") as refusal:
        KeyFile(key_file).key()
    assert refusal.value.hint == f"chmod 0400 {key_file}"


@pytest.mark.parametrize("mode", [0o420, 0o402, 0o666])
def test_a_key_that_others_can_write_is_refused(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    with pytest.raises(VaultError, match="can be written by others"):
        KeyFile(key_file).key()


@pytest.mark.root
def test_a_key_of_another_owner_is_refused(key_file: Path) -> None:
    os.chown(key_file, 65534, 65534)
    with pytest.raises(VaultError, match="belongs to user id 65534, not to root"):
        KeyFile(key_file).key()


def test_a_key_behind_a_link_is_refused(key_file: Path) -> None:
    link = key_file.with_name("link")
    link.symlink_to(key_file)
    with pytest.raises(VaultError, match="is a symbolic link"):
        KeyFile(link).key()


@pytest.mark.parametrize(
    ("size", "held"), [(0, "0 bytes"), (31, "31 bytes"), (33, "more than 32"), (5000, "more than")]
)
def test_a_key_of_the_wrong_size_is_refused(key_file: Path, size: int, held: str) -> None:
    rewrite(key_file, b"k" * size)
    with pytest.raises(VaultError, match=f"holds {held}"):
        KeyFile(key_file).key()


def test_a_key_of_zeros_is_refused(key_file: Path) -> None:
    """What a disk gives back after a crash must not become the secret."""
    rewrite(key_file, bytes(32))
    with pytest.raises(VaultError, match="all zeros"):
        KeyFile(key_file).key()


def test_no_message_shows_the_key(key_file: Path) -> None:
    secret = b"0123456789abcdefghijklmnopqrstuv"
    rewrite(key_file, secret + b"w")
    with pytest.raises(VaultError) as refusal:
        KeyFile(key_file).key()
    assert secret[:4].decode() not in refusal.value.message + refusal.value.hint

"""The template key is rotated and moved, and whatever is killed meanwhile, every template opens."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_faceid.adapters.vault.credentials import Place
from pam_faceid.adapters.vault.custody import KeyCustody
from pam_faceid.adapters.vault.keys import KeyFile, create_key_file
from pam_faceid.adapters.vault.sealing import WrongKeyError
from pam_faceid.adapters.vault.templates import SealedTemplateStore
from pam_faceid.core.errors import NotEnrolledError, VaultError
from tests.unit.test_templates import template

pytestmark = pytest.mark.root

PEOPLE = {"alice": 1000, "bob": 1001}
BOUND_SECONDS = 60
# Every call that changes what is on the disk.
STRUCK = [
    *("write", "pwrite64", "fsync", "fchmod", "fchown"),
    *("rename", "renameat", "link", "linkat", "unlink", "unlinkat"),
]


class Vault:
    """A directory with a key, templates of two people, and what became of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key_file = directory / "template.key"
        self.sealed_key = directory / "template.cred"
        self.templates = directory / "templates"
        self.refreshed = 0
        self.told: list[str] = []

    @property
    def keys(self) -> KeyFile:
        return KeyFile(self.key_file, sealed=self.sealed_key)

    @property
    def store(self) -> SealedTemplateStore:
        return SealedTemplateStore(self.templates, self.keys)

    @property
    def custody(self) -> KeyCustody:
        return KeyCustody(
            *(self.key_file, self.sealed_key, self.templates),
            refresh=self._refresh,
            report=self.told.append,
        )

    def _refresh(self) -> None:
        self.refreshed += 1

    def assert_all_open(self) -> None:
        for user, uid in PEOPLE.items():
            assert self.store.load(user, uid).user == user

    def files(self) -> set[str]:
        return {str(path.relative_to(self.directory)) for path in self.directory.rglob("*")}

    def holds(self, secret: bytes) -> list[Path]:
        files = (path for path in self.directory.rglob("*") if path.is_file())
        return [path for path in files if secret in path.read_bytes()]

    def copy_to(self, directory: Path) -> Vault:
        shutil.copytree(self.directory, directory)
        return Vault(directory)


def settled(key: str) -> set[str]:
    return {key, "templates", *(f"templates/{user}.template" for user in PEOPLE)}


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    made = Vault(tmp_path / "vault")
    made.directory.mkdir()
    create_key_file(made.key_file)
    for user, uid in PEOPLE.items():
        made.store.save(dataclasses.replace(template(), user=user, uid=uid), replace=False)
    return made


@pytest.fixture
def sealed(vault: Vault) -> Vault:
    vault.custody.move(Place.HOST)
    return vault


def test_after_a_rotation_every_template_opens_and_nothing_of_the_old_key_is_left(
    vault: Vault,
) -> None:
    old = vault.key_file.read_bytes()
    vault.custody.rotate(leave_broken=False)
    vault.assert_all_open()
    assert vault.files() == settled("template.key")
    assert not vault.holds(old)
    assert (vault.key_file.stat().st_mode & 0o7777, vault.key_file.stat().st_nlink) == (0o400, 1)


def test_a_rotation_revokes_every_stolen_copy(vault: Vault, tmp_path: Path) -> None:
    """An old template opens with no later key, and an old key opens no later template."""
    stolen = vault.copy_to(tmp_path / "stolen")
    vault.custody.rotate(leave_broken=False)
    for key, templates in (
        (vault.key_file, stolen.templates),
        (stolen.key_file, vault.templates),
    ):
        with pytest.raises(WrongKeyError, match="another template key"):
            SealedTemplateStore(templates, KeyFile(key)).load("alice", 1000)
    stolen.assert_all_open()


def test_the_old_key_is_overwritten_before_its_name_is_removed(vault: Vault) -> None:
    old = vault.key_file.read_bytes()
    with vault.key_file.open("rb", buffering=0) as held:
        vault.custody.rotate(leave_broken=False)
        assert held.read(64) != old


def test_the_daemon_is_told_of_the_next_key_before_a_template_needs_it(vault: Vault) -> None:
    """It has only what systemd gave it at its start: the old key, or the old and the next."""
    seen: list[list[bytes]] = []
    templates: list[bytes] = []

    def refresh() -> None:
        next_key = vault.keys.next_key()
        seen.append([bytes(vault.keys.key()), bytes(next_key or b"")])
        templates.append((vault.templates / "alice.template").read_bytes())

    before = vault.key_file.read_bytes()
    sealed_before = (vault.templates / "alice.template").read_bytes()
    KeyCustody(
        *(vault.key_file, vault.sealed_key, vault.templates), refresh=refresh, report=str
    ).rotate(leave_broken=False)
    after = vault.key_file.read_bytes()
    assert seen == [[before, after], [after, b""]]
    assert templates[0] == sealed_before


@pytest.mark.parametrize("uid", [1000, 4242])
def test_the_template_of_an_account_that_is_gone_or_anew_is_resealed_as_it_is(
    vault: Vault, uid: int
) -> None:
    vault.store.save(dataclasses.replace(template(), user="gone", uid=uid), replace=False)
    vault.custody.rotate(leave_broken=False)
    assert vault.store.load("gone", uid).uid == uid
    with pytest.raises(VaultError, match="had user id"):
        vault.store.load("gone", 77)


def test_a_template_that_does_not_open_stops_the_rotation_before_anything_changes(
    vault: Vault,
) -> None:
    other = vault.key_file.with_name("other.key")
    create_key_file(other)
    stray = SealedTemplateStore(vault.templates, KeyFile(other))
    stray.save(dataclasses.replace(template(), user="eve", uid=7), replace=False)
    before = {path: path.read_bytes() for path in vault.directory.rglob("*") if path.is_file()}
    with pytest.raises(VaultError, match=r"eve\.template .*; nothing was changed") as refusal:
        vault.custody.rotate(leave_broken=False)
    assert "--leave-broken" in refusal.value.hint
    assert before == {p: p.read_bytes() for p in vault.directory.rglob("*") if p.is_file()}
    vault.custody.rotate(leave_broken=True)
    vault.assert_all_open()
    assert any("eve.template" in line for line in vault.told)


@pytest.mark.parametrize("to", [Place.FILE, Place.HOST])
def test_a_move_keeps_the_key_and_leaves_one_form_of_it(vault: Vault, to: Place) -> None:
    key = vault.key_file.read_bytes()
    for place in (Place.HOST, to):
        vault.custody.move(place)
    vault.assert_all_open()
    assert vault.keys.key() == key
    assert vault.files() == settled("template.key" if to is Place.FILE else "template.cred")
    assert bool(vault.holds(key)) == (to is Place.FILE)
    assert vault.custody.status().place is to


def test_a_sealed_key_is_rotated_without_ever_lying_on_the_disk_in_clear(
    sealed: Vault, tmp_path: Path
) -> None:
    """Of every write of the rotation, only those to systemd-creds and from it hold the key."""
    trace = tmp_path / "trace"
    subprocess.run(
        [
            *("strace", "-f", "-qqq", "-y", "-x", "-s", "64", "-o", str(trace)),
            *("-e", "trace=write,pwrite64,writev,pwritev,pwritev2"),
            *(sys.executable, "-I", "-B", "-c", RUN, str(sealed.directory), "rotate", ""),
        ],
        check=True,
        timeout=BOUND_SECONDS,
    )
    sealed.assert_all_open()
    assert sealed.files() == settled("template.cred")
    key = bytes(sealed.keys.key())
    assert not sealed.holds(key)
    shown = "".join(f"\\x{byte:02x}" for byte in key)
    written = [line for line in trace.read_text().splitlines() if shown in line]
    assert written, "strace shows the key where it is written"
    assert [line for line in written if "<pipe:" not in line] == []


def test_moving_to_a_tpm_that_is_not_there_changes_nothing(vault: Vault) -> None:
    if Path("/sys/class/tpmrm").is_dir() and any(Path("/sys/class/tpmrm").iterdir()):
        pytest.skip("this machine has a TPM; tests/e2e/tpm.py is for it")
    with pytest.raises(VaultError, match="cannot seal the template key with tpm2") as refusal:
        vault.custody.move(Place.TPM2)
    assert "stays where it is" in refusal.value.hint
    assert vault.files() == settled("template.key")
    vault.assert_all_open()


def test_of_two_forms_the_key_in_clear_counts_and_a_strange_one_is_not_destroyed_for_it(
    vault: Vault, tmp_path: Path
) -> None:
    """An old key file that somebody restored beside the sealed key opens nothing: say so."""
    key = vault.key_file.read_bytes()
    vault.custody.move(Place.HOST)
    create_key_file(vault.key_file)
    assert vault.custody.status().interrupted == "move"
    for place in (Place.FILE, Place.HOST):
        with pytest.raises(VaultError, match="another template key"):
            vault.custody.move(place)
    vault.key_file.unlink()
    assert vault.keys.key() == key


def test_a_rotation_waits_for_a_move_to_end_and_the_other_way_round(vault: Vault) -> None:
    shutil.copyfile(vault.key_file, vault.key_file.with_name("template.key.next"))
    vault.key_file.with_name("template.key.next").chmod(0o400)
    with pytest.raises(VaultError, match="rotation was interrupted") as refusal:
        vault.custody.move(Place.HOST)
    assert "key rotate" in refusal.value.hint
    vault.custody.rotate(leave_broken=False)
    key = vault.key_file.read_bytes()
    vault.custody.move(Place.HOST)
    vault.key_file.write_bytes(key)
    vault.key_file.chmod(0o400)
    with pytest.raises(VaultError, match="move of the key was interrupted") as refusal:
        vault.custody.rotate(leave_broken=False)
    assert "key move" in refusal.value.hint


def test_two_changes_at_once_are_refused(vault: Vault) -> None:
    with vault.store.held_still():
        for change in (
            lambda: vault.custody.rotate(leave_broken=False),
            lambda: vault.custody.move(Place.HOST),
        ):
            with pytest.raises(VaultError, match="another faceid-admin"):
                change()


def test_an_enrolment_waits_for_a_rotation_and_is_sealed_with_the_new_key(vault: Vault) -> None:
    new = dataclasses.replace(template(), user="carol", uid=1002)
    waiting = threading.Thread(target=lambda: vault.store.save(new, replace=False))
    with vault.store.held_still():
        waiting.start()
        wait_for_waiter(vault.templates)
        assert "carol" not in vault.store.users()
        vault.key_file.unlink()
        create_key_file(vault.key_file)
    waiting.join(BOUND_SECONDS)
    assert vault.store.load("carol", 1002).user == "carol"


def test_a_removal_waits_for_a_rotation_which_would_bring_the_template_back(vault: Vault) -> None:
    waiting = threading.Thread(target=lambda: vault.store.remove("bob"))
    with vault.store.held_still():
        waiting.start()
        wait_for_waiter(vault.templates)
        assert "bob" in vault.store.users()
    waiting.join(BOUND_SECONDS)
    with pytest.raises(NotEnrolledError):
        vault.store.load("bob", 1001)


def wait_for_waiter(directory: Path) -> None:
    """Wait until some process waits for a lock of a directory."""
    inode = f":{directory.stat().st_ino} "
    until = time.monotonic() + BOUND_SECONDS
    while not any(
        "-> FLOCK" in line and inode in line
        for line in Path("/proc/locks").read_text().splitlines()
    ):
        assert time.monotonic() < until, "nobody waits"
        time.sleep(0.01)


class OvertakenKeys(KeyFile):
    """Keys of a reader who is overtaken by a whole rotation between two of its reads."""

    def __init__(self, vault: Vault, *, read_first: bool) -> None:
        super().__init__(vault.key_file, sealed=vault.sealed_key)
        self._vault = vault
        self._read_first = read_first
        self._overtaken = False

    def key(self) -> bytearray:
        if self._overtaken:
            return super().key()
        self._overtaken = True
        before = super().key()
        self._vault.custody.rotate(leave_broken=False)
        return before if self._read_first else super().key()


@pytest.mark.parametrize("read_first", [True, False])
def test_a_reader_whom_a_rotation_overtakes_reads_again(vault: Vault, *, read_first: bool) -> None:
    keys = OvertakenKeys(vault, read_first=read_first)
    assert SealedTemplateStore(vault.templates, keys).load("alice", 1000).user == "alice"


RUN = """
import sys
from pathlib import Path
from pam_faceid.adapters.vault.credentials import Place
from pam_faceid.adapters.vault.custody import KeyCustody
directory, change, to = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
custody = KeyCustody(directory / "template.key", directory / "template.cred",
                     directory / "templates", refresh=lambda: None, report=lambda _: None)
custody.rotate(leave_broken=False) if change == "rotate" else custody.move(Place(to))
"""


def strikes(vault: Vault, change: str, to: str, *, at: Path) -> Iterator[tuple[str, Vault]]:
    """Run a change once for each call that it makes, killed as it enters that call."""
    for call in STRUCK:
        for count in range(1, 100):
            shutil.rmtree(at, ignore_errors=True)
            struck = vault.copy_to(at)
            ended = subprocess.run(
                [
                    *("strace", "-qqq", "-o", "/dev/null", "-e", f"trace={call}"),
                    *("-e", f"inject={call}:signal=KILL:when={count}"),
                    *(sys.executable, "-I", "-B", "-c", RUN, str(at), change, to),
                ],
                capture_output=True,
                text=True,
                timeout=BOUND_SECONDS,
                check=False,
            )
            if ended.returncode == 0:
                break
            assert ended.returncode == -signal.SIGKILL, ended.stderr
            yield f"{call} {count}", struck
        else:
            raise AssertionError(f"{change} never ends without {call}")


@pytest.mark.parametrize(
    ("begins", "change", "to", "ends"),
    [
        ("file", "rotate", "", "template.key"),
        ("host", "rotate", "", "template.cred"),
        ("file", "move", "host", "template.cred"),
        ("host", "move", "file", "template.key"),
        ("host", "move", "host", "template.cred"),
    ],
)
def test_killed_at_any_call_that_writes_everything_opens_and_the_next_run_ends_it(
    vault: Vault, tmp_path: Path, begins: str, change: str, to: str, ends: str
) -> None:
    """SIGKILL at the entry of every write, fsync, rename, link, unlink and chmod, one at a time."""
    vault.custody.move(Place(begins))
    old = bytes(vault.keys.key())
    struck_calls = []
    for name, struck in strikes(vault, change, to, at=tmp_path / "struck"):
        struck_calls.append(name)
        struck.assert_all_open()
        if change == "rotate":
            struck.custody.rotate(leave_broken=False)
            if bytes(struck.keys.key()) == old:
                pytest.fail(f"{name}: the old key is still the key")
        else:
            struck.custody.move(Place(to))
            assert struck.keys.key() == old, name
        struck.assert_all_open()
        assert struck.files() == settled(ends), name
        left = struck.holds(old)
        assert left == ([struck.key_file] if (change, to) == ("move", "file") else []), name
    assert len(struck_calls) >= 10, struck_calls


def test_a_killed_write_leaves_no_copy_of_a_key_behind(vault: Vault) -> None:
    """The half-written file of a killed process is destroyed by the next change."""
    for name in (".template.key.next.0123.tmp", ".template.cred.0123.tmp", "template.key.old"):
        (vault.directory / name).write_bytes(b"k" * 32)
    (vault.templates / ".alice.template.0123.tmp").write_bytes(b"t")
    vault.custody.rotate(leave_broken=False)
    assert vault.files() == settled("template.key")


def test_status_changes_nothing_and_says_what_opens(vault: Vault) -> None:
    (vault.templates / "eve.template").write_bytes(b"")
    (vault.templates / "eve.template").chmod(0o640)
    before = {path: path.stat().st_mtime_ns for path in vault.directory.rglob("*")}
    found = vault.custody.status()
    assert (found.place, found.path, found.interrupted) == (Place.FILE, vault.key_file, None)
    assert found.key_id is not None
    assert bytes.fromhex(found.key_id) in (vault.templates / "alice.template").read_bytes()
    assert [user for user, why in found.templates.items() if not why] == ["alice", "bob"]
    assert "is empty" in found.templates["eve"]
    assert before == {path: path.stat().st_mtime_ns for path in vault.directory.rglob("*")}


def test_status_of_a_vault_without_a_key_says_so(vault: Vault) -> None:
    vault.key_file.unlink()
    found = vault.custody.status()
    assert (found.place, found.path, found.key_id) == (None, None, None)
    assert "missing" in found.error


def test_the_lock_is_of_a_directory_that_nobody_else_can_open(vault: Vault) -> None:
    """Else anyone could hold it, and no key would ever be rotated."""
    with vault.store.held_still():
        fd = os.open(vault.templates, os.O_RDONLY)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            assert os.fstat(fd).st_mode & 0o007 == 0
        finally:
            os.close(fd)

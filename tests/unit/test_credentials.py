"""A sealed key opens on this machine under its own name, and every refusal says why."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from pam_faceid.adapters.vault import credentials
from pam_faceid.adapters.vault.credentials import (
    Place,
    offered,
    open_credential,
    place_of,
    seal_credential,
)
from pam_faceid.adapters.vault.keys import (
    ABSENT,
    KeyFile,
    create_key_file,
    key_provider,
    read_sealed,
)
from pam_faceid.core.errors import VaultError
from pam_faceid.layout import Layout

pytestmark = pytest.mark.root

KEY = bytes(range(32))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path)
    made.config_dir.mkdir(parents=True)
    return made


def put(path: Path, content: bytes, *, mode: int = 0o400) -> None:
    path.write_bytes(content)
    path.chmod(mode)


def sealed(name: str = "template.cred") -> bytes:
    return seal_credential(KEY, place=Place.HOST, name=name)


def test_a_key_sealed_for_this_machine_opens_on_it() -> None:
    credential = sealed()
    assert KEY not in credential
    assert place_of(credential) is Place.HOST
    opened = open_credential(credential, name="template.cred", origin="it")
    assert opened == KEY
    opened[:] = bytes(32)


def test_a_sealed_key_opens_under_no_other_name() -> None:
    """Else the next key of a rotation could be put in place of the current one."""
    with pytest.raises(VaultError, match=r"cannot open .*refusing"):
        open_credential(sealed("template.cred.next"), name="template.cred", origin="it")


@pytest.mark.parametrize("bad", [b"", b"AAAA", b"\0" * 200, b"x" * 4000, b"\xff"])
def test_what_is_no_credential_is_refused(bad: bytes) -> None:
    assert place_of(bad) is None
    with pytest.raises(VaultError, match=r"cannot open the sealed template key it: ."):
        open_credential(bad, name="template.cred", origin="it")


def test_an_altered_credential_is_refused_with_what_to_do() -> None:
    credential = bytearray(sealed())
    credential[-10] = ord("A") if credential[-10] != ord("A") else ord("B")
    with pytest.raises(VaultError, match="cannot open") as refusal:
        open_credential(bytes(credential), name="template.cred", origin="it")
    assert "credential.secret" in refusal.value.hint
    assert "restore a backup" in refusal.value.hint


@pytest.mark.parametrize(
    ("devices", "cure"),
    [((), "shows no TPM now: switch it on"), (("tpmrm0",), "is secure boot as it was")],
)
def test_a_tpm_that_is_gone_is_told_from_one_that_was_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, devices: tuple[str, ...], cure: str
) -> None:
    for device in devices:
        (tmp_path / device).mkdir()
    monkeypatch.setattr(credentials, "TPM_DEVICES", tmp_path)
    of_tpm = base64.b64encode(bytes.fromhex("0c7cc07b117645919c4b0bea08bc20fe") + bytes(200))

    with pytest.raises(VaultError, match="cannot open") as refusal:
        open_credential(of_tpm, name="template.cred", origin="it")

    assert cure in refusal.value.hint


def test_a_tpm_that_answers_nobody_for_a_while_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In the words of systemd 252, after three power cuts of a software TPM."""
    program = tmp_path / "systemd-creds"
    words = "TPM2 device is in dictionary attack lockout mode."
    program.write_text(f"#!/bin/sh\necho '{words}' >&2\necho 'Failed to decrypt.' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(credentials, "SYSTEMD_CREDS", str(program))
    with pytest.raises(VaultError, match="cannot open") as refusal:
        open_credential(b"sealed", name="template.cred", origin="it")
    assert "--clear-lockout" in refusal.value.hint


def test_the_environment_of_the_caller_reaches_no_program(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A caller's PATH and systemd's own variables choose neither the program nor its secret."""
    credential = sealed()
    (tmp_path / "systemd-creds").write_text("#!/bin/sh\necho stolen\n")
    (tmp_path / "systemd-creds").chmod(0o755)
    (tmp_path / "secret").write_bytes(os.urandom(4096))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SYSTEMD_CREDENTIAL_SECRET", str(tmp_path / "secret"))
    assert open_credential(credential, name="template.cred", origin="it") == KEY


def test_this_machine_offers_what_it_has() -> None:
    assert offered()[:2] == [Place.FILE, Place.HOST]


def test_the_key_is_taken_from_the_file_then_from_the_credential(layout: Layout) -> None:
    put(layout.sealed_key, sealed())
    assert key_provider(layout).key() == KEY
    create_key_file(layout.key_file)
    assert key_provider(layout).key() == layout.key_file.read_bytes()


def test_a_sealed_key_that_others_can_read_is_refused(layout: Layout) -> None:
    put(layout.sealed_key, sealed(), mode=0o444)
    with pytest.raises(VaultError, match="more open than 0400"):
        key_provider(layout).key()


def test_a_sealed_key_of_the_wrong_size_is_refused(layout: Layout) -> None:
    put(layout.sealed_key, seal_credential(KEY + b"x", place=Place.HOST, name="template.cred"))
    with pytest.raises(VaultError, match="holds more than 32"):
        key_provider(layout).key()


def test_no_sealed_key_is_none(layout: Layout) -> None:
    assert read_sealed(layout.sealed_key) is None


@pytest.mark.parametrize("name", ["template.key", "template.cred"])
def test_a_service_takes_the_key_that_systemd_hands_over(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """And `absent`, which its unit has in place of a credential that is not there, is no key."""
    create_key_file(layout.key_file)
    handed_over = tmp_path / "credentials"
    handed_over.mkdir(mode=0o500)
    for file in ("template.key", "template.cred", "template.key.next", "template.cred.next"):
        put(handed_over / file, ABSENT)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(handed_over))
    with pytest.raises(VaultError, match="systemd found no template key") as refusal:
        key_provider(layout).key()
    assert "key status" in refusal.value.hint
    put(handed_over / name, KEY)
    assert key_provider(layout).key() == KEY
    assert key_provider(layout).next_key() is None
    put(handed_over / f"{name}.next", KEY[::-1])
    assert key_provider(layout).next_key() == KEY[::-1]


def test_the_credentials_of_another_service_are_not_asked_for_the_key(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """faceid-admin may be run by a timer that has credentials of its own."""
    create_key_file(layout.key_file)
    (tmp_path / "credentials").mkdir()
    put(tmp_path / "credentials/other", b"secret")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    assert key_provider(layout).key() == layout.key_file.read_bytes()


def test_a_credential_directory_that_someone_else_owns_is_refused(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable of the environment alone must not choose the key."""
    handed_over = tmp_path / "credentials"
    handed_over.mkdir()
    put(handed_over / "template.key", KEY)
    os.chown(handed_over, 65534, 65534)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(handed_over))
    with pytest.raises(VaultError, match="belongs to user id 65534"):
        key_provider(layout).key()


def test_a_key_in_a_file_starts_no_program(layout: Layout) -> None:
    create_key_file(layout.key_file)
    keys = KeyFile(layout.key_file, sealed=layout.sealed_key)
    assert keys.key() == layout.key_file.read_bytes()
    assert keys.next_key() is None

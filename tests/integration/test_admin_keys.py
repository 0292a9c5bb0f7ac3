"""`faceid-admin key`, `backup`, `restore` and `import-howdy`, and a login with what they leave."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.integration.conftest import Machine

pytestmark = pytest.mark.root

PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def enrolled(machine: Machine, enrolment: Machine, portraits: tuple[Path, Path]) -> Machine:
    machine.enrol_like(enrolment)
    machine.show(portraits[0])
    return machine


@pytest.fixture
def passphrase(tmp_path: Path) -> Path:
    file = tmp_path / "passphrase"
    file.write_text(f"{PASSPHRASE}\nnot this line\n")
    return file


def status(machine: Machine) -> dict[str, object]:
    report = json.loads(machine.admin("key", "status", "--json", check=False).stdout)
    assert isinstance(report, dict)
    return report


def test_a_login_works_with_a_sealed_key_and_after_its_rotation(enrolled: Machine) -> None:
    """The embedded worker lets systemd open it; a template from before the rotation is refused."""
    layout = enrolled.layout
    enrolled.admin("key", "move", "--to", "host")
    assert not layout.key_file.exists()
    moved = status(enrolled)
    assert (moved["place"], moved["opens"], moved["interrupted"]) == ("host", True, None)
    assert enrolled.authenticate(None).accepted
    stolen = (layout.templates / f"{enrolled.account.name}.template").read_bytes()

    enrolled.admin("key", "rotate")
    assert status(enrolled)["key_id"] != moved["key_id"]
    assert enrolled.authenticate(None).accepted

    template = layout.templates / f"{enrolled.account.name}.template"
    template.write_bytes(stolen)
    ended = enrolled.authenticate(enrolled.account.password)
    assert ended.accepted
    assert ended.asked_password
    assert "another template key" in str(enrolled.audit()[-1])


def test_a_sealed_key_that_does_not_open_costs_no_login(enrolled: Machine) -> None:
    """As when the TPM is gone: no match, the reason in the log, and the password works."""
    enrolled.admin("key", "move", "--to", "host")
    sealed = bytearray(enrolled.layout.sealed_key.read_bytes())
    sealed[60] = ord("A") if sealed[60] != ord("A") else ord("B")
    enrolled.layout.sealed_key.chmod(0o600)
    enrolled.layout.sealed_key.write_bytes(sealed)
    enrolled.layout.sealed_key.chmod(0o400)
    ended = enrolled.authenticate(enrolled.account.password)
    assert ended.accepted
    assert ended.asked_password
    line = enrolled.audit()[-1]
    assert line["outcome"] == "internal_error"
    assert "systemd cannot open the sealed template key" in str(line["error"])
    report = enrolled.admin("key", "status", check=False)
    assert report.returncode == 6
    assert "does not open: systemd cannot open" in report.stdout


def test_a_dry_run_says_what_would_be_done_and_does_nothing(enrolled: Machine) -> None:
    before = status(enrolled)
    for command in (("rotate",), ("move", "--to", "host")):
        ended = enrolled.admin("key", *command, "--dry-run")
        assert f"{enrolled.account.name}: would be" in ended.stdout
        assert "nothing was changed" in ended.stdout
    assert status(enrolled) == before


def test_a_machine_without_a_key_says_so_in_every_command(enrolled: Machine) -> None:
    enrolled.layout.key_file.unlink()
    for command in (("status",), ("rotate",), ("move", "--to", "host")):
        ended = enrolled.admin("key", *command, check=False)
        assert ended.returncode == 6
        assert "template.key is missing" in ended.stdout + ended.stderr


def test_a_backup_is_restored_under_the_key_of_another_machine(
    enrolled: Machine, passphrase: Path, portraits: tuple[Path, Path], tmp_path: Path
) -> None:
    """The key of the backup's machine is gone: only the passphrase is needed."""
    name, file = enrolled.account.name, tmp_path / "faces.backup"
    enrolled.admin("backup", str(file), "--passphrase-file", str(passphrase))
    assert file.stat().st_mode & 0o7777 == 0o600
    old = enrolled.layout.key_file.read_bytes()
    shutil.rmtree(enrolled.layout.templates)
    enrolled.layout.key_file.unlink()
    enrolled.layout.key_file.write_bytes(os.urandom(32))
    enrolled.layout.key_file.chmod(0o400)
    options = (str(file), "--passphrase-file", str(passphrase))

    dry = enrolled.admin("restore", *options, "--dry-run")
    assert f"{name}: would be restored" in dry.stdout
    assert not enrolled.layout.templates.exists()

    enrolled.admin("restore", *options)
    assert enrolled.layout.key_file.read_bytes() != old
    assert enrolled.authenticate(None).accepted

    again = enrolled.admin("restore", *options)
    assert "is here already, the same" in again.stdout
    enrolled.enrol(portraits[1])  # somebody else under the same name
    other = enrolled.admin("restore", *options, check=False)
    assert other.returncode == 1
    assert "enrolled here already" in other.stderr
    enrolled.admin("restore", *options, "--replace")


def test_a_wrong_passphrase_and_a_file_that_is_there_are_refused(
    enrolled: Machine, passphrase: Path, tmp_path: Path
) -> None:
    file, wrong = tmp_path / "faces.backup", tmp_path / "wrong"
    wrong.write_text("wrong horse battery staple\n")
    enrolled.admin("backup", str(file), "--passphrase-file", str(passphrase))
    content = file.read_bytes()
    for options, code, why in (
        (("backup", file, "--passphrase-file", passphrase), 1, "exists already"),
        (("restore", file, "--passphrase-file", wrong), 6, "not the passphrase"),
        (("restore", file), 1, "nobody is there to type"),
        (("restore", wrong, "--passphrase-file", wrong), 6, "is not a backup"),
        (("restore", tmp_path, "--passphrase-file", wrong), 6, "is not a regular file"),
        (("restore", tmp_path / "no", "--passphrase-file", wrong), 6, "No such file"),
    ):
        ended = enrolled.admin(*map(str, options), check=False)
        assert (ended.returncode, why in ended.stderr) == (code, True), ended.stderr
    wrong.write_text("too short\n")
    options = ("backup", str(tmp_path / "other"), "--passphrase-file", str(wrong))
    ended = enrolled.admin(*options, check=False)
    assert ended.returncode == 1
    assert "9 characters is too short" in ended.stderr
    assert file.read_bytes() == content
    assert not (tmp_path / "other").exists()


def test_whom_howdy_knew_can_be_enrolled(
    machine: Machine, portraits: tuple[Path, Path], tmp_path: Path
) -> None:
    """Each in turn before the camera, which here shows a portrait; what is broken is named."""
    machine.show(*[portraits[0]] * 3)
    model = {"time": 1600000000, "label": "My face", "id": 0, "data": [[0.5] * 128]}
    (tmp_path / f"{machine.account.name}.dat").write_text(json.dumps([model]))
    (tmp_path / "nobody-here.dat").write_text(json.dumps([model]))
    shown = machine.admin("import-howdy", str(tmp_path))
    assert "My face" in shown.stdout
    assert f"faceid-admin add-user {machine.account.name}" in shown.stdout
    assert "add-user nobody-here" not in shown.stdout

    report = json.loads(machine.admin("import-howdy", str(tmp_path), "--json").stdout)
    assert {user["user"]: user["account"] for user in report["users"]} == {
        machine.account.name: True,
        "nobody-here": False,
    }

    (tmp_path / "broken.dat").write_text("{")
    ended = machine.admin("import-howdy", str(tmp_path), check=False)
    assert ended.returncode == 3
    assert "broken.dat is not a file of howdy" in ended.stderr

"""Commands that change something can be run again, and say whether they did change anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Machine

pytestmark = pytest.mark.root


def admin(root: Path, *arguments: str | Path) -> dict[str, Any]:
    ended = subprocess.run(
        [sys.executable, "-m", "pam_faceid.apps.admin", "--root", root, *arguments, "--json"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    document: dict[str, Any] = json.loads(ended.stdout)
    return document


def test_what_is_so_already_is_no_fault_and_no_change(
    machine: Machine, portraits: tuple[Path, Path], tmp_path: Path
) -> None:
    """Each twice, as a script that describes a machine would: first a change, then none."""
    root, name = machine.layout.root, machine.account.name
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("five or six words will do\n")

    def twice(*arguments: str | Path) -> tuple[bool, bool]:
        first, second = (admin(root, *arguments)["changed"] for _ in range(2))
        return first, second

    once = (True, False)
    enrol = ("add-user", name, "--no-confirm", "--from", portraits[0])
    assert twice(*enrol) == once
    assert twice("lock", name) == once
    assert twice("lock", name, "--clear") == once
    assert twice("audit", "start") == once
    assert twice("audit", "stop") == once
    assert twice("key", "move", "--to", "file") == (False, False)
    assert twice("key", "rotate") == (True, True), "a new key each time"
    backup = ("backup", tmp_path / "backup", "--passphrase-file", passphrase)
    assert admin(root, *backup)["changed"]
    assert twice("remove-user", name, "--yes") == once
    restored = admin(root, "restore", tmp_path / "backup", "--passphrase-file", passphrase)
    assert restored == {"changed": True, "restored": [name], "left_out": {}}
    assert twice("remove-user", name, "--look", "glasses", "--yes") == (False, False)


def test_services_say_whether_they_were_changed(tmp_path: Path) -> None:
    folder = tmp_path / "etc/pam.d"
    folder.mkdir(parents=True)
    (folder / "su").write_text("auth required pam_unix.so\n")
    native = tmp_path / "usr/lib/x86_64-linux-gnu/security/pam_faceid.so"
    native.parent.mkdir(parents=True)
    native.touch()
    enable = ("pam", "enable", "su", "--yes", "--no-confirm-timer")

    enabled, again = admin(tmp_path, *enable), admin(tmp_path, *enable)

    assert (enabled["changed"], again["changed"]) == (True, False)
    assert enabled["confirm_until"] is None
    assert Path(enabled["backup"]).read_text() == "auth required pam_unix.so\n"
    assert "+auth\tsufficient\tpam_faceid.so" in enabled["diff"]
    assert enabled["proven"]
    disabled = [admin(tmp_path, "pam", "disable", "--all") for _ in range(2)]
    assert [each["changed"] for each in disabled] == [True, False]
    assert [each["service"] for each in disabled[0]["services"]] == ["su"]
    assert admin(tmp_path, "pam", "confirm")["changed"] is False

"""Commands that change something can be run again, and say whether they did change anything.

Each twice, as a script that describes a machine would: first a change, then none.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import pytest

from pam_faceid.adapters.models.manifest import load_manifest, read_model
from pam_faceid.adapters.models.vggface2 import SKELETON
from pam_faceid.adapters.pam_pending import PendingChanges
from pam_faceid.apps import wiring
from pam_faceid.apps.admin.__main__ import cli
from pam_faceid.core.adaptation import Adapted
from tests.checkpoints import inception_tensors, save_legacy
from tests.integration.conftest import Machine
from tests.integration.test_enrolment import as_camera

pytestmark = pytest.mark.root

READING: Final = {
    *("list-users", "show-user", "verify", "calibrate", "pam status", "key status"),
    *("config check", "config show", "log", "audit verify", "models list", "models check"),
}
# They write a file that is named to them, and change nothing that a login uses.
# A backup that is there is refused, as a document or not: it may be an old one.
WRITING: Final = {"report", "doctor", "demo", "backup"}
# A file with the hash that upstream published is not to be had here.
UNTRIED: Final = {"models add minifasnet"}
PASSPHRASE: Final = "five or six words will do\n"

Twice = tuple[dict[str, Any], dict[str, Any]]


def admin(root: Path, *arguments: str | Path, status: int = 0) -> dict[str, Any]:
    ended = subprocess.run(
        [sys.executable, "-m", "pam_faceid.apps.admin", "--root", root, *arguments, "--json"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=300,
    )
    assert ended.returncode == status, ended.stdout + ended.stderr
    document: dict[str, Any] = json.loads(ended.stdout)
    return document


class Place:
    """A tree that commands change.

    Args:
        machine: With an account, and no template yet.
        portrait: Of the account.
        folder: For files of the test.
        shared_data: Finds the people who turn their heads.
    """

    def __init__(
        self, machine: Machine, portrait: Path, folder: Path, shared_data: Callable[[], Path]
    ) -> None:
        self.machine, self.portrait, self.folder = machine, portrait, folder
        self.shared_data = shared_data
        self.root, self.name = machine.layout.root, machine.account.name
        self.passphrase = folder / "passphrase"
        self.passphrase.write_text(PASSPHRASE)

    def admin(self, *arguments: str | Path) -> dict[str, Any]:
        return admin(self.root, *arguments)

    def twice(self, *arguments: str | Path) -> Twice:
        return self.admin(*arguments), self.admin(*arguments)

    def enrol(self) -> None:
        self.machine.enrol(self.portrait)

    def services(self) -> Path:
        """Two services, and a native client for them."""
        folder = self.root / "etc/pam.d"
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("su", "sudo"):
            (folder / name).write_text("auth required pam_unix.so\n")
        native = self.root / "usr/lib/x86_64-linux-gnu/security/pam_faceid.so"
        native.parent.mkdir(parents=True)
        native.touch()
        return folder


def add_user(place: Place) -> Twice:
    return place.twice("add-user", place.name, "--no-confirm", "--from", place.portrait)


def remove_user(place: Place) -> Twice:
    place.enrol()
    assert not place.admin("remove-user", place.name, "--look", "glasses", "--yes")["changed"]
    return place.twice("remove-user", place.name, "--yes")


def forget_adapted(place: Place) -> Twice:
    def nothing(known: Adapted | None, _why: str) -> Adapted:
        assert known is None
        return Adapted(place.name, place.machine.account.uid, "sface@0", 1.0, 2.0, ())

    store = wiring.adapted_store(place.machine.layout)
    store.change(place.name, place.machine.account.uid, nothing)
    return place.twice("forget-adapted", place.name, "--all")


def lock(place: Place) -> Twice:
    place.enrol()
    assert not place.admin("lock", place.name, "--clear")["changed"], "nothing is known of them"
    locked, again = place.twice("lock", place.name)
    cleared, cleared_again = place.twice("lock", place.name, "--clear")
    assert (cleared["changed"], cleared_again["changed"]) == (True, False)
    return locked, again


def pam_enable(place: Place) -> Twice:
    place.services()
    first, second = place.twice("pam", "enable", "su", "--yes", "--no-confirm-timer")
    assert first["confirm_until"] is None
    assert Path(first["backup"]).read_text() == "auth required pam_unix.so\n"
    assert "+auth\tsufficient\tpam_faceid.so" in first["diff"]
    assert first["proven"]
    return first, second


def pam_disable(place: Place) -> Twice:
    place.services()
    place.admin("pam", "enable", "su", "--yes", "--no-confirm-timer")
    first, second = place.twice("pam", "disable", "--all")
    assert [each["service"] for each in first["services"]] == ["su"]
    return first, second


def pam_confirm(place: Place) -> Twice:
    # Only the running system has what would undo it in time, so nothing but the entry is made.
    text = (place.services() / "su").read_bytes()
    pending = PendingChanges(place.root)
    with pending.locked():
        pending.add("su", text, without=text, seconds=3600)
    return place.twice("pam", "confirm")


def emergency_disable(place: Place) -> Twice:
    text = place.services() / "sudo"
    before = text.read_text()
    place.admin("pam", "enable", "sudo", "--yes", "--no-confirm-timer")
    assert not place.admin("emergency-disable", "--dry-run")["changed"]
    done = place.twice("emergency-disable")
    assert text.read_text() == before
    return done


def key_rotate(place: Place) -> Twice:
    place.enrol()
    plain = place.twice("key", "rotate")
    assert [each["changed"] for each in plain] == [True, True], "a new key each time"
    return place.twice("key", "rotate", "--away-from", plain[1]["key_id"])


def key_move(place: Place) -> Twice:
    assert not place.admin("key", "move", "--to", "file")["changed"]
    return place.twice("key", "move", "--to", "host")


def backup(place: Place) -> Path:
    place.enrol()
    file = place.folder / "backup"
    done = place.admin("backup", file, "--passphrase-file", place.passphrase)
    assert done["changed"]
    return file


def restore(place: Place) -> Twice:
    file = backup(place)
    place.admin("remove-user", place.name, "--yes")
    command = ("restore", file, "--passphrase-file", place.passphrase)
    first, second = place.twice(*command)
    assert first == {"changed": True, "restored": [place.name], "left_out": {}}
    assert not place.admin(*command, "--replace")["changed"], "the same is there"
    place.machine.enrol(place.portrait)
    refused = admin(place.root, *command, status=1)
    assert list(refused["left_out"]) == [place.name], "another is there"
    return first, second


def import_howdy(place: Place) -> Twice:
    videos = (place.shared_data() / "td_live_real").rglob("*.MOV")
    as_camera(place.machine, min(videos), pose_seconds=20.0)
    known = {"time": 1600000000, "label": "My face", "id": 0, "data": [[0.5] * 128]}
    howdy = place.folder / "howdy"
    howdy.mkdir()
    (howdy / f"{place.name}.dat").write_text(json.dumps([known]))
    assert not place.admin("import-howdy", howdy)["changed"], "it only shows them"
    return place.twice("import-howdy", howdy, "--enrol", "--no-confirm")


def audit_start(place: Place) -> Twice:
    for name in ("log", "lib"):
        (place.root / "var" / name).mkdir(parents=True, exist_ok=True)
    return place.twice("audit", "start")


def audit_stop(place: Place) -> Twice:
    audit_start(place)
    return place.twice("audit", "stop")


def models_add_vggface2(place: Place) -> Twice:
    skeleton = read_model(load_manifest(place.machine.layout.models).find(SKELETON))
    logits = {
        "logits.weight": np.zeros((8631, 512), np.float32),
        "logits.bias": np.zeros(8631, np.float32),
    }
    checkpoint = place.folder / "20180402-114759-vggface2.pt"
    save_legacy({**inception_tensors(skeleton), **logits}, checkpoint)
    done = place.twice("models", "add", "vggface2", checkpoint)
    assert not place.admin("models", "add", "vggface2", checkpoint, "--replace")["changed"]
    return done


CHANGING: Final[dict[str, Callable[[Place], Twice]]] = {
    "add-user": add_user,
    "remove-user": remove_user,
    "forget-adapted": forget_adapted,
    "lock": lock,
    "pam enable": pam_enable,
    "pam disable": pam_disable,
    "pam confirm": pam_confirm,
    "emergency-disable": emergency_disable,
    "key rotate": key_rotate,
    "key move": key_move,
    "restore": restore,
    "import-howdy": import_howdy,
    "audit start": audit_start,
    "audit stop": audit_stop,
    "models add vggface2": models_add_vggface2,
}


def commands(group: click.Group, *names: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that the parser knows, by the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)
        else:
            yield " ".join((*names, name)), command


def test_of_every_command_it_is_known_whether_it_changes_something() -> None:
    known = [*READING, *WRITING, *UNTRIED, *CHANGING]
    assert sorted(known) == sorted(name for name, _ in commands(cli))


def test_every_command_that_changes_something_has_a_document_for_programs() -> None:
    without = {
        name
        for name, command in commands(cli)
        if name in CHANGING.keys() | UNTRIED
        and not any("--json" in option.opts for option in command.params)
    }
    assert without == {"emergency-disable"}, "a shell script, which is asked below"


@pytest.mark.parametrize("name", CHANGING)
def test_what_is_so_already_is_no_fault_and_no_change(
    name: str,
    machine: Machine,
    portraits: tuple[Path, Path],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    place = Place(machine, portraits[0], tmp_path, lambda: request.getfixturevalue("shared_data"))
    first, second = CHANGING[name](place)
    assert (first["changed"], second["changed"]) == (True, False)

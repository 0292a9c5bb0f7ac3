"""faceid-admin on real faces, through the command line: enrol, look, verify, remove."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import secrets
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pam_faceid.adapters.accounts import PASSWORD_SERVICE

if TYPE_CHECKING:
    from tests.integration.conftest import Machine

pytestmark = pytest.mark.root

PROMPT_SECONDS = 30.0  # a hang, not a speed


def person(shared_data: Path, name: str, numbers: range) -> list[str]:
    folder = shared_data / "lfw-deepfunneled" / name
    return [str(folder / f"{name}_{number:04}.jpg") for number in numbers]


@pytest.fixture
def faces(shared_data: Path) -> list[str]:
    return person(shared_data, "Abdullah_Gul", range(1, 6))


@pytest.fixture
def other_faces(shared_data: Path) -> list[str]:
    return person(shared_data, "Adrien_Brody", range(1, 6))


def template_file(machine: Machine) -> Path:
    return machine.layout.templates / f"{machine.account.name}.template"


def admin_command(machine: Machine) -> list[str]:
    python, root = str(machine.program.python), str(machine.layout.root)
    return [python, "-I", "-m", "pam_faceid.apps.admin", "--root", root]


def add(machine: Machine, *arguments: str) -> subprocess.CompletedProcess[str]:
    return machine.admin("add-user", machine.account.name, "--no-confirm", *arguments, check=False)


def test_a_person_is_enrolled_shown_verified_and_removed(
    machine: Machine, faces: list[str], other_faces: list[str]
) -> None:
    """From one image on to a match on images that enrolment never saw."""
    name = machine.account.name
    enrolled = json.loads(
        machine.admin("add-user", name, "--no-confirm", "--json", "--from", *faces[:3]).stdout
    )
    assert (enrolled["user"], enrolled["references"], enrolled["left_out"]) == (name, 3, [])
    check = enrolled["self_check"]
    assert enrolled["threshold"] < check["lowest"] <= check["median"] <= check["highest"] < 1

    listed = json.loads(machine.admin("list-users", "--json").stdout)["users"]
    assert [(entry["user"], entry["references"]) for entry in listed] == [(name, 3)]

    shown = machine.admin("show-user", name, "--json").stdout
    assert [r["source"] for r in json.loads(shown)["references"]] != []
    assert "vector" not in shown
    assert "embedding" not in shown

    same = machine.admin("verify", name, "--json", "--from", *faces[3:])
    verdict = json.loads(same.stdout)
    assert verdict["outcome"] == "match"
    assert verdict["best_score"] > verdict["threshold"]
    assert verdict["best_distance"] < verdict["threshold_distance"]
    assert set(verdict["stage_ms"]) == {"capture", "detect", "align", "look", "embed"}

    other = machine.admin("verify", name, "--json", "--from", *other_faces, check=False)
    assert other.returncode == 1
    assert json.loads(other.stdout)["outcome"] == "non_match"

    machine.admin("remove-user", name, "--yes")
    assert not template_file(machine).exists()
    assert machine.admin("verify", name, "--from", *faces, check=False).returncode == 6


def test_everything_fits_a_terminal_of_80_columns(machine: Machine, faces: list[str]) -> None:
    name = machine.account.name
    written = [
        machine.admin("add-user", name, "--no-confirm", "--from", *faces).stdout,
        machine.admin("list-users").stdout,
        machine.admin("show-user", name).stdout,
        machine.admin("verify", name, "--from", *faces).stdout,
        machine.admin("config", "show").stdout,
    ]

    lines = [line.rstrip() for text in written for line in text.splitlines()]
    assert [line for line in lines if len(line) > 80] == []


def test_someone_else_half_way_through_is_refused_by_name(
    machine: Machine, faces: list[str], other_faces: list[str]
) -> None:
    ended = add(machine, "--from", *faces[:3], other_faces[0])

    assert ended.returncode == 1
    assert "not of one person" in ended.stderr
    assert "Adrien_Brody_0001.jpg" in ended.stderr
    assert not template_file(machine).exists()


def test_what_is_no_face_is_left_out_with_the_reason(
    machine: Machine, faces: list[str], tmp_path: Path
) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.png").write_text("not an image")
    wall = tmp_path / "wall.pgm"
    wall.write_bytes(b"P5 320 240 255\n" + bytes([128]) * 320 * 240)

    files = [str(tmp_path / name) for name in ("empty.jpg", "text.png", "wall.pgm")]
    ended = add(machine, "--json", "--from", *faces, *files)

    assert ended.returncode == 0, ended.stderr
    left_out = {
        Path(item["source"]).name: item["why"] for item in json.loads(ended.stdout)["left_out"]
    }
    assert left_out.keys() == {"empty.jpg", "text.png", "wall.pgm"}
    assert "look at the camera" in left_out["wall.pgm"]
    assert "not an image" in left_out["text.png"]


@pytest.mark.parametrize(
    ("content", "code"), [(b"", 5), (b"no image", 5), (b"P5 64 64 255\n" + bytes(4096), 1)]
)
def test_a_folder_without_a_usable_face_enrols_nobody(
    machine: Machine, tmp_path: Path, content: bytes, code: int
) -> None:
    (tmp_path / "one.pgm").write_bytes(content)

    ended = add(machine, "--from", str(tmp_path))

    assert ended.returncode == code
    assert "hint: " in ended.stderr
    assert not template_file(machine).exists()


@pytest.mark.parametrize("missing", ["no-such-folder", "README"])
def test_what_cannot_be_looked_at_is_named(machine: Machine, missing: str) -> None:
    (machine.layout.root / "README").write_text("text\n")

    ended = add(machine, "--from", str(machine.layout.root / missing))

    assert ended.returncode == 5
    assert missing in ended.stderr


def test_a_template_is_replaced_only_on_request(
    machine: Machine, faces: list[str], other_faces: list[str]
) -> None:
    add(machine, "--from", *faces)
    before = template_file(machine).read_bytes()

    refused = add(machine, "--from", *other_faces)
    assert refused.returncode == 1
    assert "enrolled already" in refused.stderr
    assert "--replace" in refused.stderr
    assert template_file(machine).read_bytes() == before

    replaced = add(machine, "--replace", "--from", *other_faces)
    assert replaced.returncode == 0
    verified = machine.admin("verify", machine.account.name, "--from", *other_faces, check=False)
    assert verified.returncode == 0


@pytest.mark.parametrize(
    "name",
    ["no-such-user", "a/b", "..", "../../etc/passwd", "x" * 300, "jörg", "", "root "],
)
def test_nobody_is_enrolled_under_a_name_that_nobody_has(
    machine: Machine, faces: list[str], name: str
) -> None:
    ended = machine.admin("add-user", "--no-confirm", "--from", faces[0], "--", name, check=False)

    assert ended.returncode == 3
    assert "user" in ended.stderr
    assert list(machine.layout.templates.iterdir()) == []


@pytest.mark.parametrize("command", ["show-user", "verify", "remove-user"])
def test_no_command_takes_a_path_for_a_name(machine: Machine, command: str) -> None:
    yes = ["--yes"] if command == "remove-user" else []

    ended = machine.admin(command, "../config", *yes, check=False)

    assert ended.returncode == 3
    assert "not a user name" in ended.stderr


def test_only_root_may(machine: Machine, faces: list[str]) -> None:
    ended = subprocess.run(
        [
            *("setpriv", "--reuid", machine.account.name, "--clear-groups"),
            *admin_command(machine),
            *("add-user", machine.account.name, "--no-confirm", "--from", faces[0]),
        ],
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
    )

    assert ended.returncode == 4
    assert "needs root" in ended.stderr


@pytest.mark.parametrize(
    ("broken", "code", "what"),
    [
        ("etc/pam_faceid/config.toml", 3, "config.toml does not exist"),
        ("etc/pam_faceid/template.key", 6, "key"),
    ],
)
def test_what_is_missing_is_named_before_anybody_looks_at_a_camera(
    machine: Machine, faces: list[str], broken: str, code: int, what: str
) -> None:
    (machine.layout.root / broken).unlink()

    ended = add(machine, "--from", *faces)

    assert ended.returncode == code
    assert what in ended.stderr
    assert not template_file(machine).exists()


def test_of_two_enrolments_at_once_one_wins_and_its_template_opens(
    machine: Machine, faces: list[str], other_faces: list[str]
) -> None:
    command = [
        *admin_command(machine),
        *("add-user", machine.account.name, "--no-confirm", "--from"),
    ]
    both = [
        subprocess.Popen([*command, *images], stderr=subprocess.PIPE, text=True)
        for images in (faces, other_faces)
    ]
    errors = [process.communicate(timeout=PROMPT_SECONDS)[1] for process in both]
    codes = [process.returncode for process in both]

    assert sorted(codes)[0] == 0
    assert sorted(codes)[1] in (1, 6)
    assert "enrolled already" in "".join(errors)
    winner = faces if codes[0] == 0 else other_faces
    machine.admin("verify", machine.account.name, "--from", *winner)
    assert [p.name for p in machine.layout.templates.iterdir()] == [template_file(machine).name]


def test_a_full_disk_keeps_the_template_that_was_there(
    machine: Machine, faces: list[str], other_faces: list[str]
) -> None:
    add(machine, "--from", *faces)
    before = template_file(machine).read_bytes()
    folder = machine.layout.templates
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=750", "none", folder], check=True)
    try:
        template_file(machine).write_bytes(before)
        template_file(machine).chmod(0o640)
        with (folder / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))

        ended = add(machine, "--replace", "--from", *other_faces)

        assert ended.returncode == 6
        assert "No space left" in ended.stderr
        assert template_file(machine).read_bytes() == before
        (folder / "filler").unlink()
        assert [p.name for p in folder.iterdir()] == [template_file(machine).name]
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_camera_that_sees_too_little_keeps_nothing(machine: Machine, faces: list[str]) -> None:
    """The recording stands where a camera would: three images over and over are three samples."""
    machine.show(*map(Path, faces[:3]))
    with machine.layout.config_file.open("a") as file:
        file.write("[enrolment]\ntimeout_seconds = 4.0\n")

    ended = add(machine)

    assert ended.returncode == 1
    assert "good samples that differ: 3" in ended.stderr
    assert "at least 5 are needed" in ended.stderr
    assert "repeats an earlier one" in ended.stderr
    assert not template_file(machine).exists()


def test_a_person_before_the_camera_is_enrolled_and_verified(
    machine: Machine, faces: list[str]
) -> None:
    machine.show(*map(Path, faces[:3]))
    with machine.layout.config_file.open("a") as file:
        file.write("[enrolment]\npose_seconds = 0.5\n")

    ended = add(machine, "--references", "3")

    assert ended.returncode == 0, ended.stderr
    assert "3 of 3 good samples" in ended.stdout
    assert "not seen: " in ended.stdout
    assert machine.admin("verify", machine.account.name).returncode == 0


def test_a_stray_argument_is_not_taken_for_an_image(machine: Machine, faces: list[str]) -> None:
    ended = add(machine, faces[0])

    assert ended.returncode == 2
    assert "did you mean --from" in ended.stderr


def test_without_anybody_to_ask_the_password_is_not_skipped(
    machine: Machine, faces: list[str], password_service: None
) -> None:
    ended = machine.admin("add-user", machine.account.name, "--from", *faces, check=False)

    assert ended.returncode == 1
    assert "--no-confirm" in ended.stderr
    assert not template_file(machine).exists()


@pytest.fixture
def password_service(machine: Machine, repository: Path) -> Iterator[None]:
    """The password-only service, where libpam and faceid-admin look for it."""
    shipped = repository / "etc/pam.d" / PASSWORD_SERVICE
    machine.layout.pam_d.mkdir(exist_ok=True)
    shutil.copyfile(shipped, machine.layout.pam_d / PASSWORD_SERVICE)
    own = Path("/etc/pam.d", PASSWORD_SERVICE)
    if own.exists():
        yield
        return
    shutil.copyfile(shipped, own)
    try:
        yield
    finally:
        own.unlink()


def enrol_at_a_terminal(
    machine: Machine, faces: list[str], answers: list[str], *options: str
) -> tuple[int, str]:
    """Run add-user on a terminal, answer each password prompt, and return code and output."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [*admin_command(machine), "add-user", machine.account.name, *options, "--from", *faces],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    output = ""
    deadline = time.monotonic() + PROMPT_SECONDS
    while time.monotonic() < deadline:
        if not select.select([controller], [], [], 0.1)[0]:
            continue
        try:
            read = os.read(controller, 4096).decode()
        except OSError:  # the terminal's last user is gone
            break
        output += read
        if read.endswith(": ") and answers:
            os.write(controller, answers.pop(0).encode())
    os.close(controller)
    return process.wait(timeout=PROMPT_SECONDS), output


def test_the_right_password_enrols(
    machine: Machine, faces: list[str], password_service: None
) -> None:
    code, output = enrol_at_a_terminal(machine, faces, [f"{machine.account.password}\n"])

    assert code == 0, output
    assert "is enrolled" in output
    assert machine.account.password not in output


def test_a_second_try_is_given(machine: Machine, faces: list[str], password_service: None) -> None:
    code, output = enrol_at_a_terminal(
        machine, faces, [f"{secrets.token_hex(4)}\n", f"{machine.account.password}\n"]
    )

    assert code == 0, output
    assert "That is not the password." in output


def test_a_look_is_added_only_with_the_password(
    machine: Machine, faces: list[str], password_service: None
) -> None:
    add(machine, "--from", *faces[:3])
    before = template_file(machine).read_bytes()
    glasses = ("--extend", "--look", "glasses")

    code, output = enrol_at_a_terminal(machine, faces[3:], ["wrong\n"] * 3, *glasses)
    assert code == 1, output
    assert "was not confirmed" in output
    assert template_file(machine).read_bytes() == before

    code, output = enrol_at_a_terminal(
        machine, faces[3:], [f"{machine.account.password}\n"], *glasses
    )
    assert code == 0, output
    assert "look 'glasses'" in output


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (["wrong\n"] * 3, "was not confirmed"),
        (["\n"] * 3, "was not confirmed"),
        (["\x04"], "no password was given"),
    ],
)
def test_without_the_right_password_nobody_is_enrolled(
    machine: Machine, faces: list[str], password_service: None, answers: list[str], said: str
) -> None:
    """Wrong, empty, and end of input at the prompt."""
    code, output = enrol_at_a_terminal(machine, faces, list(answers))

    assert code == 1, output
    assert said in output
    assert not template_file(machine).exists()

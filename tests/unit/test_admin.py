"""faceid-admin: start-up, messages, exit codes, names of people."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pam_faceid.adapters.accounts import Account, find_account, require_password_service
from pam_faceid.apps.admin.__main__ import COMMANDS
from pam_faceid.apps.admin.context import ExitCode, RefusedError, exit_code, explain
from pam_faceid.core import errors


def run(*arguments: str, root: Path, code: str = "") -> subprocess.CompletedProcess[str]:
    command: Sequence[str] = ["-m", "pam_faceid.apps.admin"]
    return subprocess.run(
        [sys.executable, *(["-c", code] if code else command), "--root", str(root), *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "is empty"),
        ("no-such-user", "there is no user 'no-such-user'"),
        ("a/b", "letters, digits"),
        ("..", "starts with '.'"),
        ("../root", "starts with '.'"),
        ("a..b", "holds '..'"),
        ("root\0x", "letters, digits"),
        ("x" * 300, "longer than 32 characters"),
        ("jörg", "not ASCII"),
        ("-rf", "starts with '-'"),
        ("root ", "letters, digits"),
    ],
)
def test_a_name_that_nobody_can_have_is_refused_with_its_own_reason(name: str, why: str) -> None:
    with pytest.raises(errors.AccountError, match=why) as refused:
        find_account(name)

    assert len(refused.value.message) < 200


def test_an_account_is_found_with_its_uid() -> None:
    assert find_account("root") == Account("root", 0)


def test_without_its_service_file_no_password_is_asked_for(tmp_path: Path) -> None:
    """libpam would use `other` in its place, which may say yes to anything."""
    with pytest.raises(errors.AccountError, match="pam_faceid-password is missing"):
        require_password_service(tmp_path)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RefusedError("x"), 1),
        (errors.EnrolmentError("x"), 1),
        (errors.ConfigError("x"), 3),
        (errors.AccountError("x"), 3),
        (errors.PamStackError("x"), 3),
        (errors.PrivilegeError("x"), 4),
        (errors.CameraError("x"), 5),
        (errors.NotEnrolledError("x"), 6),
        (errors.VaultError("x"), 6),
        (errors.ModelError("x"), 6),
        (errors.AuditError("x"), 6),
        (errors.ProtocolError("x"), 70),
    ],
)
def test_each_kind_of_failure_has_its_exit_code(error: errors.FaceIdError, code: int) -> None:
    assert exit_code(error) is ExitCode(code)


def test_a_refusal_by_the_system_says_where() -> None:
    error = explain(OSError(28, "No space left on device", "/var/x"))

    assert error.message == "/var/x: No space left on device"
    assert error.hint


def test_a_failure_is_two_lines_on_standard_error(tmp_path: Path) -> None:
    ended = run("config", "check", root=tmp_path)

    assert ended.returncode == 3
    assert ended.stdout == ""
    message, hint = ended.stderr.splitlines()
    assert message == f"faceid-admin: {tmp_path}/etc/pam_faceid/config.toml does not exist"
    assert hint.startswith("  hint: ")


def test_debug_shows_where_a_failure_came_from(tmp_path: Path) -> None:
    ended = subprocess.run(
        f"{sys.executable} -m pam_faceid.apps.admin --debug --root {tmp_path} config check".split(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert "Traceback" in ended.stderr
    assert ended.returncode == 3


@pytest.mark.parametrize("arguments", [["nonsense"], ["pam", "disable"], ["show-user"]])
def test_wrong_usage_ends_with_2(tmp_path: Path, arguments: list[str]) -> None:
    assert run(*arguments, root=tmp_path).returncode == 2


def test_a_defect_is_reported_as_one_and_not_as_an_input_error(tmp_path: Path) -> None:
    code = (
        "import click; from pam_faceid.apps.admin import __main__, pam_wiring\n"
        "def broken(): raise ZeroDivisionError('x')\n"
        "pam_wiring.pam.add_command(click.Command('broken', callback=broken)); __main__.main()"
    )

    ended = run("pam", "broken", root=tmp_path, code=code)

    assert ended.returncode == 70
    assert "internal error: ZeroDivisionError" in ended.stderr


def test_help_and_pam_load_no_library_of_the_pipeline(tmp_path: Path) -> None:
    """`pam disable --all` must start where numpy, msgspec and the rest do not."""
    (tmp_path / "etc/pam.d").mkdir(parents=True)
    for arguments in (["--help"], ["pam", "status"]):
        code = (
            "import sys\nfrom pam_faceid.apps.admin import __main__\n"
            "try: __main__.main()\n"
            "finally: print(sorted(set(sys.modules) & {'numpy', 'cv2', 'onnxruntime', 'msgspec',"
            " 'cryptography', 'rich', 'pam', 'matplotlib'}))"
        )

        ended = run(*arguments, root=tmp_path, code=code)

        assert ended.stdout.splitlines()[-1] == "[]", arguments


def test_every_command_of_the_table_is_there() -> None:
    import importlib

    for name, command in COMMANDS.items():
        module = importlib.import_module(f"pam_faceid.apps.admin.{command.module}")
        assert getattr(module, command.attribute).name == name


@pytest.mark.parametrize("said", ["", "Python 3.12 is half installed"])
def test_where_python_was_replaced_the_command_says_so_itself(
    tmp_path: Path, repository: Path, said: str
) -> None:
    """In JSON where doctor was asked for it: nothing of ours can start."""
    python = tmp_path / "bin/python"
    python.parent.mkdir()
    python.write_text(f"#!/bin/sh\necho '{said}'\nexit 1\n")
    python.chmod(0o755)
    (tmp_path / "lib/python3.11").mkdir(parents=True)
    text = (repository / "etc/faceid-admin").read_text()
    script = tmp_path / "faceid-admin"
    script.write_text(text.replace("/opt/pam_faceid/current", str(tmp_path)))

    def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["/bin/sh", str(script), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    ended = ask("doctor", "--json")
    assert ended.returncode == ExitCode.BAD_INPUT
    (finding,) = json.loads(ended.stdout)["findings"]
    assert (finding["check"], finding["state"]) == ("Python", "fail")
    assert f"{python} cannot run the program" in finding["what"]
    assert "run install.sh again" in finding["cure"]

    ended = ask("doctor")
    assert (ended.returncode, ended.stdout) == (ExitCode.BAD_INPUT, "")
    assert f"{python} cannot run the program" in ended.stderr
    assert "emergency-disable" in ended.stderr

"""What the demo sets up and takes down again: a root tree, an account and a PAM service.

Nothing of it is the machine's own: the account is new, the service has a new name, and every other
file is under a directory of the demo.
"""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from pam_faceid.adapters.audit.lines import parse_line
from pam_faceid.adapters.clock import BOOT_ID
from pam_faceid.adapters.pam_stack import HOOK, PYTHON_MODULE
from pam_faceid.adapters.vault.keys import create_key_file
from pam_faceid.core.config import AttackMode
from pam_faceid.core.errors import FaceIdError
from pam_faceid.layout import PROGRAM_DIR, SERVICE_USER, Layout

PAM_D: Final = Path("/etc/pam.d")  # libpam reads services from nowhere else
STEP_SECONDS: Final = 120.0  # a hang, not a speed
HERE: Final = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Login:
    """How one run of a PAM client ended.

    Args:
        accepted: PAM_SUCCESS.
        asked_password: The password prompt was shown.
        outcome: What the audit log says of the face; empty when it says nothing.
        milliseconds: From starting the client to its end.
        output: What it wrote, for messages.
    """

    accepted: bool
    asked_password: bool
    outcome: str
    milliseconds: float
    output: str


@dataclass(frozen=True, slots=True)
class Stage:
    """A machine of its own for the demo.

    Args:
        layout: Its files.
        service: The PAM service.
        user: The account.
        password: Of the account.
    """

    layout: Layout
    service: str
    user: str
    password: str

    def show(self, recording: Path, *, attack_mode: AttackMode = "off") -> None:
        """Put a recording before the camera; a missing one is a camera that cannot be opened."""
        self.layout.config_file.write_text(
            f"[camera]\nrecording = {json.dumps(str(recording))}\n"
            f"[attack]\nmode = {json.dumps(attack_mode)}\n"
        )

    def enrol(self, recording: Path) -> subprocess.CompletedProcess[str]:
        """Run `faceid-admin add-user` for the account."""
        admin = [sys.executable, "-I", "-m", "pam_faceid.apps.admin"]
        command = ["add-user", self.user, "--no-confirm", "--from", str(recording)]
        return _run([*admin, "--root", str(self.layout.root), *command])

    def log_in(self, password: str) -> Login:
        """Authenticate the account through libpam, in a process of its own.

        Args:
            password: Typed if it is asked for.
        """
        before = self._outcomes()
        began = time.monotonic()
        client = [_program("pamtester"), self.service, self.user, "authenticate"]
        ended = _run(client, typed=password + "\n")
        elapsed = (time.monotonic() - began) * 1e3
        output = ended.stdout + ended.stderr
        return Login(
            accepted=ended.returncode == 0,
            asked_password="assword:" in output,
            outcome=" ".join(self._outcomes()[len(before) :]),
            milliseconds=elapsed,
            output=output,
        )

    def _outcomes(self) -> list[str]:
        try:
            lines = self.layout.audit_log.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        records = map(parse_line, lines)
        return [record["outcome"] for record in records if record["event"] == "authenticate"]


@contextmanager
def set_up(machine: Layout) -> Iterator[Stage]:
    """Make a stage, and take it down however the demo ends.

    Args:
        machine: Where the models of this machine are.

    Raises:
        FaceIdError: A program or a part of the installation is missing.
    """
    _program("pamtester")
    if not Path(PYTHON_MODULE).exists():
        raise FaceIdError(f"{PYTHON_MODULE} is missing", hint="apt install libpam-python")
    tag = secrets.token_hex(4)
    with ExitStack() as undo:
        undo.enter_context(_signals_raise())
        root = Path(tempfile.mkdtemp(prefix="pam_faceid-demo-", dir="/run"))
        undo.callback(shutil.rmtree, root)
        layout = Layout(root)
        _fill(layout, machine)
        user, password = f"faceid-demo-{tag}", secrets.token_urlsafe(16)
        undo.callback(_remove_account, user)
        _create_account(user, password)
        service = PAM_D / f"pam_faceid-demo-{tag}"
        undo.callback(service.unlink, missing_ok=True)
        service.write_text(_service_file(root))
        yield Stage(layout=layout, service=service.name, user=user, password=password)


def _fill(layout: Layout, machine: Layout) -> None:
    gid = pwd.getpwnam(SERVICE_USER).pw_gid
    layout.root.chmod(0o755)
    layout.config_dir.mkdir(parents=True)
    layout.templates.mkdir(mode=0o750)
    os.chown(layout.templates, 0, gid)
    layout.audit_log.parent.mkdir(mode=0o750, parents=True)
    layout.models.parent.mkdir(parents=True)
    layout.models.symlink_to(machine.models.resolve())
    create_key_file(layout.key_file)
    # A machine without processes: whoever runs the demo may be logged in over the network.
    boot_id = layout.root / "proc" / BOOT_ID
    boot_id.parent.mkdir(parents=True)
    shutil.copyfile(machine.proc / BOOT_ID, boot_id)


def _service_file(root: Path) -> str:
    installed = Path(sys.prefix).resolve().is_relative_to(PROGRAM_DIR)
    hook = HOOK if installed else str(HERE.parent / "hook.py")
    python = "" if installed else f" python={sys.executable}"
    return (
        f"auth sufficient {PYTHON_MODULE} {hook} root={root}{python}\n"
        "auth required pam_unix.so\n"
        "account required pam_permit.so\n"
    )


def _create_account(user: str, password: str) -> None:
    account = ["--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"]
    _require(_run([_program("useradd"), *account, user]))
    _require(_run([_program("chpasswd")], typed=f"{user}:{password}\n"))


def _remove_account(user: str) -> None:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return
    _require(_run([_program("userdel"), user]))


def _run(command: list[str], *, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, input=typed, capture_output=True, text=True, timeout=STEP_SECONDS, check=False
    )


def _require(ended: subprocess.CompletedProcess[str]) -> None:
    if ended.returncode != 0:
        raise FaceIdError(f"{ended.args[0]} failed: {ended.stderr.strip()}")


def _program(name: str) -> str:
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        raise FaceIdError(f"{name} is not installed", hint=f"apt install {name}")
    return found


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Have the signals that end a program unwind it instead, as Ctrl-C does."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

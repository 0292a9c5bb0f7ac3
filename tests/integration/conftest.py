"""A program tree, an account, a PAM service and faces of their own for each test."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pam_faceid.adapters.audit.lines import parse_line
from pam_faceid.adapters.clock import BOOT_ID
from pam_faceid.adapters.vault.keys import create_key_file
from pam_faceid.layout import SERVICE_USER, Layout

PAM_PYTHON = Path("/usr/lib/security/pam_python.so")
BOUND_SECONDS = 60  # a hang, not a speed: nothing below is expected to come near it


@dataclass(frozen=True)
class Account:
    """A local account made for the tests, with a password that is known."""

    name: str
    password: str
    uid: int


@dataclass(frozen=True)
class Program:
    """An interpreter that has the package, readable by the service user, and the hook."""

    python: Path
    hook: Path


@dataclass(frozen=True)
class Ended:
    """How a PAM client ended."""

    accepted: bool
    output: str
    asked_password: bool


@dataclass(frozen=True)
class Machine:
    """A root tree with configuration, key, models and a PAM service that points to it."""

    layout: Layout
    program: Program
    account: Account
    service: str

    def admin(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run faceid-admin on this tree."""
        ended = subprocess.run(
            [
                *(self.program.python, "-I", "-m", "pam_faceid.apps.admin"),
                *("--root", self.layout.root, *arguments),
            ],
            capture_output=True,
            text=True,
            timeout=BOUND_SECONDS * 2,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if check and ended.returncode != 0:
            raise AssertionError(f"faceid-admin {arguments}: {ended.stdout}{ended.stderr}")
        return ended

    def enrol(self, *images: Path) -> None:
        """Enrol the test account from images, as an administrator would."""
        arguments = [argument for image in images for argument in ("--from", str(image))]
        self.admin("add-user", self.account.name, "--no-confirm", "--replace", *arguments)

    def enrol_like(self, other: Machine) -> None:
        """Take over key, templates and records of another machine, with their owners."""
        layout = other.layout
        for source in (layout.key_file, layout.templates, layout.root / "var"):
            target = self.layout.root / source.relative_to(layout.root)
            subprocess.run(["rm", "-rf", target], check=True)
            subprocess.run(["cp", "-a", source, target], check=True)

    def configure(self, text: str) -> None:
        """Write the configuration file.

        Photographs stand in for people, so attack detection is off unless the text is about it.
        """
        off = "" if "[attack]" in text else '[attack]\nmode = "off"\n'
        self.layout.config_file.write_text(f"{text}\n{off}")
        self.layout.config_file.chmod(0o644)

    def show(self, *images: Path) -> None:
        """Put images before the recorded camera."""
        folder = self.layout.root / "recording"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for index, image in enumerate(images):
            shutil.copyfile(image, folder / f"{index:03}{image.suffix}")
        self.configure(f'[camera]\nrecording = "{folder}"\n')

    def write_service(self, *, hook: Path | None = None, python: Path | None = None) -> None:
        """Write the PAM service: the face, then the password."""
        line = (
            f"auth sufficient {PAM_PYTHON} {hook or self.program.hook} "
            f"root={self.layout.root} python={python or self.program.python}"
        )
        Path("/etc/pam.d", self.service).write_text(
            f"{line}\nauth required pam_unix.so nodelay\naccount required pam_permit.so\n"
            "session required pam_permit.so\n"
        )

    def authenticate(
        self, password: str | None, *operations: str, seconds: float = BOUND_SECONDS
    ) -> Ended:
        """Run pamtester with one line of input; no password is an empty one."""
        ended = subprocess.run(
            ["pamtester", self.service, self.account.name, *(operations or ("authenticate",))],
            input=f"{password or ''}\n",
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        output = ended.stdout + ended.stderr
        return Ended(ended.returncode == 0, output, "assword" in output)

    def audit(self) -> list[dict[str, str]]:
        """The authentications of the audit log, oldest first."""
        if not self.layout.audit_log.exists():
            return []
        lines = map(parse_line, self.layout.audit_log.read_bytes().splitlines())
        return [line for line in lines if line["event"] == "authenticate"]

    def processes(self) -> list[int]:
        """Ids of the processes that work for this tree: the worker, then its observer."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                    if str(self.layout.root).encode() in words and state != "Z":
                        found.append((int(entry.name), int(parent)))
        ids = {pid for pid, _ in found}
        # Not by their ids, which start again from low numbers.
        return [pid for pid, parent in sorted(found, key=lambda entry: entry[1] in ids)]

    def wait_for_processes(self, count: int) -> list[int]:
        """Wait until so many processes work for this tree."""
        deadline = time.monotonic() + BOUND_SECONDS
        while len(found := self.processes()) != count:
            assert time.monotonic() < deadline, f"{len(found)} processes, not {count}"
            time.sleep(0.02)
        return found


@pytest.fixture(scope="session")
def account() -> Iterator[Account]:
    # Each suite that uses these fixtures makes one of its own.
    name, password = f"faceid-t{secrets.token_hex(4)}", secrets.token_hex(12)
    subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/sh", name], check=True)
    try:
        subprocess.run(["chpasswd"], input=f"{name}:{password}", text=True, check=True)
        yield Account(name, password, pwd.getpwnam(name).pw_uid)
    finally:
        subprocess.run(["userdel", name], check=True)


def _service_user_reads(path: Path) -> bool:
    return (
        subprocess.run(
            ["setpriv", "--reuid", SERVICE_USER, "--clear-groups", "test", "-r", path], check=False
        ).returncode
        == 0
    )


@pytest.fixture(scope="session")
def program(repository: Path) -> Iterator[Program]:
    """This interpreter and package where the service user can read them, else a copy of both."""
    if _service_user_reads(repository / "pam_faceid/hook.py") and _service_user_reads(
        Path(sys.prefix, "pyvenv.cfg")
    ):
        yield Program(Path(sys.prefix, "bin/python"), repository / "pam_faceid/hook.py")
        return
    copy = Path(tempfile.mkdtemp(prefix="pam_faceid-test-", dir="/opt"))
    copy.chmod(0o755)
    try:
        shutil.copytree(sys.prefix, copy / "venv", symlinks=True)
        for site in (copy / "venv/lib").glob("python*/site-packages"):
            for editable in site.glob("__editable__*pam_faceid*"):
                editable.unlink()
            shutil.copytree(repository / "pam_faceid", site / "pam_faceid", dirs_exist_ok=True)
            hook = site / "pam_faceid/hook.py"
        subprocess.run(["chmod", "-R", "a+rX", copy], check=True)
        yield Program(copy / "venv/bin/python", hook)
    finally:
        shutil.rmtree(copy)


@pytest.fixture(scope="session")
def models_copy(models_dir: Path) -> Iterator[Path]:
    """The shipped models, root-owned where the service user reads them."""
    copy = Path(tempfile.mkdtemp(prefix="pam_faceid-models-", dir="/run"))
    copy.chmod(0o755)
    try:
        for file in [
            *models_dir.glob("*.onnx"),
            *models_dir.glob("*.json"),
            models_dir / "manifest.toml",
        ]:
            shutil.copyfile(file, copy / file.name)
            (copy / file.name).chmod(0o644)
        yield copy
    finally:
        shutil.rmtree(copy)


@contextlib.contextmanager
def new_machine(account: Account, program: Program, models_copy: Path) -> Iterator[Machine]:
    """A tree and a service for as long as the context lasts."""
    root = Path(tempfile.mkdtemp(prefix="pam_faceid-test-", dir="/run"))
    root.chmod(0o755)
    layout = Layout(root)
    layout.templates.mkdir(parents=True)
    layout.config_dir.chmod(0o755)
    gid = pwd.getpwnam(SERVICE_USER).pw_gid
    os.chown(layout.templates, 0, gid)
    layout.templates.chmod(0o750)
    layout.models.parent.mkdir(parents=True)
    (root / "var/log").mkdir(parents=True)
    # Processes of a machine without any: whoever runs the tests may be logged in over the network.
    boot_id = root / "proc" / BOOT_ID
    boot_id.parent.mkdir(parents=True)
    boot_id.write_text("this-start-of-the-machine\n")
    layout.models.symlink_to(models_copy)
    create_key_file(layout.key_file)
    service = f"faceid-test-{secrets.token_hex(4)}"
    made = Machine(layout, program, account, service)
    made.configure("")
    made.write_service()
    try:
        yield made
        made.wait_for_processes(0)
    finally:
        Path("/etc/pam.d", service).unlink(missing_ok=True)
        shutil.rmtree(root)


@pytest.fixture
def machine(account: Account, program: Program, models_copy: Path) -> Iterator[Machine]:
    with new_machine(account, program, models_copy) as made:
        yield made


@pytest.fixture(scope="session")
def enrolment(
    account: Account, program: Program, models_copy: Path, portraits: tuple[Path, Path]
) -> Iterator[Machine]:
    """Where the first portrait was enrolled, once for all: see `Machine.enrol_like`."""
    with new_machine(account, program, models_copy) as machine:
        machine.enrol(portraits[0])
        yield machine


@pytest.fixture(scope="session")
def portraits(repository: Path) -> tuple[Path, Path]:
    """Two public-domain portraits of two people."""
    folder = repository / "pam_faceid/demo/portraits"
    first, second = sorted(folder.glob("*.jpg"))
    return first, second

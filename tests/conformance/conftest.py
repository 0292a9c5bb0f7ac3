"""One suite for the hook in pam_python, and the native module, also under sanitizers."""

from __future__ import annotations

import os
import pty
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conformance.service import BOUND_SECONDS, Service, serving

PAM_PYTHON = Path("/usr/lib/security/pam_python.so")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")
USER = "maria"

# What pam_strerror says of each code; pamtester prints it.
CODES = {
    "successfully authenticated": "SUCCESS",
    "System error": "SYSTEM_ERR",
    "Permission denied": "PERM_DENIED",
    "Authentication failure": "AUTH_ERR",
    "Authentication service cannot retrieve authentication info": "AUTHINFO_UNAVAIL",
    "Have exhausted maximum number of retries for service": "MAXTRIES",
}


@dataclass(frozen=True)
class Client:
    """What stands in the pam.d line, and what the host needs in its environment for it."""

    module: str
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """How pamtester ended.

    Args:
        codes: Of each authentication, in order.
        output: Everything that was shown.
    """

    codes: list[str]
    output: str

    @property
    def code(self) -> str:
        """Of the only authentication."""
        (code,) = self.codes
        return code


@dataclass(frozen=True)
class Host:
    """A PAM service that holds one client alone, so that its code is the stack's code."""

    client: Client
    root: Path
    name: str

    def write(self, *, python: Path | None = None, password: str | None = None) -> None:
        """Write the service file.

        Args:
            python: The worker's interpreter.
            password: What stands behind the face: a text that is shown, and then lets in.
        """
        argument = f" python={python}" if python else ""
        line = f"{self.client.module} root={self.root}{argument}"
        auth = f"auth required {line}\n"
        if password is not None:
            auth = (
                f"auth sufficient {line}\nauth optional pam_echo.so {password}\n"
                "auth required pam_permit.so\n"
            )
        Path("/etc/pam.d", self.name).write_text(
            f"{auth}account required pam_permit.so\n"
            f"session required {line}\npassword required {line}\n"
        )

    def run(
        self,
        *operations: str,
        user: str = USER,
        typed: str = "",
        items: tuple[str, ...] = (),
        environment: tuple[str, ...] = (),
        before: tuple[str, ...] = (),
    ) -> Ended:
        """Run pamtester without a terminal.

        Args:
            items: PAM items, such as "tty=:0".
            environment: Of the PAM handle, such as "XDG_SEAT=seat0".
            before: A command that runs it, such as setpriv.
        """
        options = [word for item in items for word in ("-I", item)]
        options += [word for variable in environment for word in ("-E", variable)]
        ended = subprocess.run(
            [*before, "pamtester", *options, self.name, user, *(operations or ("authenticate",))],
            input=typed.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self.client.environment},
            timeout=BOUND_SECONDS,
            check=False,
            start_new_session=True,
        )
        return judge(ended.stdout.decode(errors="replace"))

    def worker(self, script: str, interpreter: str = "/bin/sh") -> None:
        """Put a script in the place of the embedded worker's interpreter."""
        program = self.root / "python"
        program.write_text(f"#!{interpreter}\n{script}\n")
        program.chmod(0o755)
        self.write(python=program)

    def processes(self) -> list[int]:
        """Ids of the processes that have the tree in their command line."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if str(self.root).encode() in words:
                    found.append(int(entry.name))
        return found


def judge(output: str) -> Ended:
    """Read the codes from what pamtester printed."""
    assert "Sanitizer" not in output, output
    assert "runtime error" not in output, output
    said = [line.strip().rpartition("pamtester: ")[2] for line in output.splitlines()]
    return Ended([CODES[line] for line in said if line in CODES], output)


@pytest.fixture(scope="session")
def native_source(repository: Path) -> Path:
    return repository / "native"


@pytest.fixture(scope="session")
def build_folder() -> Iterator[Path]:
    """Root's, readable by all: a host that is not root loads the module as well."""
    folder = Path(tempfile.mkdtemp(prefix="pam_faceid-native-", dir="/run"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _build(source: Path, output: Path, *flags: str) -> Path:
    subprocess.run([source / "build.sh", output, "-Werror", *flags], check=True)
    return output


@pytest.fixture(scope="session")
def native_module(native_source: Path, build_folder: Path) -> Path:
    """Built as install.sh builds it."""
    return _build(native_source, build_folder / "pam_faceid.so")


@pytest.fixture(scope="session")
def sanitized_module(native_source: Path, build_folder: Path) -> Path:
    return _build(native_source, build_folder / "sanitized.so", *SANITIZERS)


@pytest.fixture(scope="session")
def readable_hook(repository: Path, build_folder: Path) -> Path:
    return Path(shutil.copyfile(repository / "pam_faceid/hook.py", build_folder / "hook.py"))


def _sanitizer_library() -> str:
    found = subprocess.run(
        ["cc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    )
    return found.stdout.strip()


@pytest.fixture(params=["pam_python", "native", "sanitized"])
def client(request: pytest.FixtureRequest) -> Client:
    if request.param == "pam_python":
        return Client(f"{PAM_PYTHON} {request.getfixturevalue('readable_hook')}")
    if request.param == "native":
        return Client(str(request.getfixturevalue("native_module")))
    return Client(
        str(request.getfixturevalue("sanitized_module")),
        {"LD_PRELOAD": _sanitizer_library(), "ASAN_OPTIONS": "detect_stack_use_after_return=1"},
    )


@pytest.fixture
def host(client: Client) -> Iterator[Host]:
    root = Path(tempfile.mkdtemp(prefix="pam_faceid-test-", dir="/run"))
    root.chmod(0o755)
    templates = root / "etc/pam_faceid/templates"
    templates.mkdir(parents=True)
    (templates / f"{USER}.template").touch()
    (root / "etc/pam_faceid/config.toml").touch()
    made = Host(client, root, f"faceid-test-{secrets.token_hex(4)}")
    made.write()
    try:
        yield made
        until = time.monotonic() + BOUND_SECONDS
        while left := made.processes():  # what was killed needs a moment to be gone
            assert time.monotonic() < until, left
            time.sleep(0.01)
    finally:
        Path("/etc/pam.d", made.name).unlink()
        shutil.rmtree(root)


@pytest.fixture
def service(host: Host) -> Iterator[Service]:
    with serving(host.root) as running:
        yield running


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a pseudo-terminal: ours, and the host's."""
    ours, theirs = pty.openpty()
    try:
        yield ours, theirs
    finally:
        os.close(ours)
        os.close(theirs)

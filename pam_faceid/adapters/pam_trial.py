"""Try a stack of PAM rules that is in no service file yet: through real libpam, in a child."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pam_faceid.core.errors import PamStackError

SUCCESS: Final = 0
USER: Final = "nobody"  # has no password and no face
_CLIENT: Final = Path(__file__).with_name("pam_client.py")
_DISTRIBUTION_PYTHON: Final = Path("/usr/bin/python3")
_SECONDS: Final = 90.0


class UntriedError(PamStackError):
    """A change could not be tried at all, so nothing is known of it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How an authentication ended.

    Args:
        code: libpam's return code; 0 lets in.
        asked: Whether a password was asked for.
    """

    code: int
    asked: bool

    @property
    def lets_in(self) -> bool:
        """Whether the person would be in."""
        return self.code == SUCCESS


@contextmanager
def scratch() -> Iterator[Path]:
    """Make a folder for service files that is root's alone, and remove it.

    Raises:
        UntriedError: There is no room for it or for what is written there.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="pam_faceid-") as name:
            yield Path(name)
    except OSError as error:
        raise UntriedError(
            f"the change cannot be tried: {error.filename or tempfile.gettempdir()}:"
            f" {error.strerror}",
            hint="make room there; nothing was changed",
        ) from error


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write service files, by name."""
    for service, text in files.items():
        (folder / service).write_bytes(text.encode("utf-8", "surrogateescape"))


def authenticate(folder: Path, services: Sequence[str]) -> list[Answer]:
    """Ask for `USER` with a password that nobody has, one service after another.

    Args:
        folder: Of service files.
        services: Names of files in it.

    Raises:
        PamStackError: The process that asks was killed by what a module did.
        UntriedError: It hung, could not be started or said nothing.
    """
    request = {
        "folder": str(folder),
        "services": list(services),
        "user": USER,
        "password": secrets.token_hex(16),
        "as_user": True,
    }
    python = _DISTRIBUTION_PYTHON if _DISTRIBUTION_PYTHON.exists() else Path(sys.executable)
    try:
        ended = subprocess.run(  # noqa: S603 (absolute paths)
            [python, "-I", "-B", _CLIENT],
            input=json.dumps(request),
            env={},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UntriedError(f"the change cannot be tried: {error}") from error
    if ended.returncode < 0:
        name = signal.Signals(-ended.returncode).name
        raise PamStackError(
            f"a program that asks for {services[0]} is killed by {name}",
            hint="one of its modules crashes; journalctl may say which",
        )
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        raise UntriedError(f"the change cannot be tried: {last}")
    if not ended.stdout:
        raise PamStackError(
            f"a module of {services[0]} ends the program that asks",
            hint="with it, nobody could log in there",
        )
    return [Answer(code=each["code"], asked=each["asked"]) for each in json.loads(ended.stdout)]

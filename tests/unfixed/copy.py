"""A copy of the checkout with an interpreter of its own, so that a change there is what is tested.

Workers and observers run as `python -I -m pam_faceid...`: what counts is the package that their
interpreter has installed, so the copy takes its environment along and turns the editable
installation to itself.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.unfixed.ledger import Place

BOUND_SECONDS = 900  # a hang, not a speed
RAN_TO_THE_END = (0, 1)  # pytest's exit status: all passed, some failed
_LEFT_OUT = (".git", ".venv", ".*_cache", "__pycache__", ".hypothesis", "build")


class StaleError(Exception):
    """The text of a fix is not where the ledger says, or there twice."""


class Copy:
    """The copy.

    Args:
        checkout: Its root; the environment is in .venv below.
    """

    def __init__(self, checkout: Path) -> None:
        self._checkout = checkout

    @contextmanager
    def without(self, places: Sequence[Place]) -> Iterator[None]:
        """Take a fix out for as long as the context lasts.

        Raises:
            StaleError: It is not there as described.
        """
        kept: dict[Path, str] = {}
        try:
            for place in places:
                path = self._checkout / place.file
                text = path.read_text()
                if text.count(place.old) != 1:
                    raise StaleError(f"{place.file}: found {text.count(place.old)} times")
                kept.setdefault(path, text)
                path.write_text(text.replace(place.old, place.new))
                if path.suffix == ".py":
                    compile(path.read_text(), path, "exec")
            self._forget_bytecode()
            yield
        finally:
            for path, text in kept.items():
                path.write_text(text)
            self._forget_bytecode()

    def run(self, nodes: Sequence[str]) -> list[ET.Element]:
        """Run tests; return the `testcase` of each, as JUnit writes it; none if it broke off."""
        report = self._checkout.parent / "report.xml"
        report.unlink(missing_ok=True)
        command = [
            *(self._checkout / ".venv/bin/python", "-B", "-m", "pytest", "-q"),
            *("-p", "no:cacheprovider", f"--junit-xml={report}", *nodes),
        ]
        process = subprocess.Popen(
            command,
            cwd=self._checkout,
            stdin=subprocess.DEVNULL,
            stdout=(self._checkout.parent / "output.txt").open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(BOUND_SECONDS)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
        if process.returncode not in RAN_TO_THE_END or not report.exists():
            return []
        return list(ET.parse(report).iter("testcase"))

    @property
    def output(self) -> str:
        """What the last run printed."""
        return (self._checkout.parent / "output.txt").read_text(errors="replace")

    def _forget_bytecode(self) -> None:
        # It is told from another by second and size, which two versions of a line may share.
        for top in ("pam_faceid", "tests"):
            for folder in (self._checkout / top).rglob("__pycache__"):
                shutil.rmtree(folder)


@contextmanager
def copied(repository: Path) -> Iterator[Copy]:
    """Copy the checkout to where the service user can read it, for as long as the context lasts."""
    scratch = Path(tempfile.mkdtemp(prefix="pam_faceid-unfixed-", dir="/var/tmp"))
    scratch.chmod(0o755)
    checkout = scratch / "main"
    try:
        ignore = shutil.ignore_patterns(*_LEFT_OUT)
        shutil.copytree(repository, checkout, symlinks=True, ignore=ignore)
        shutil.copytree(sys.prefix, checkout / ".venv", symlinks=True)
        for file in (checkout / ".venv").glob("lib/python3*/site-packages/__editable__*"):
            if file.is_file():
                file.write_text(file.read_text().replace(str(repository), str(checkout)))
        if (repository.parent / "shared").exists():
            (scratch / "shared").symlink_to((repository.parent / "shared").resolve())
        yield Copy(checkout)
    finally:
        shutil.rmtree(scratch)

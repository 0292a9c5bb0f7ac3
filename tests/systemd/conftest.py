"""Booted machines with the program, one account, and a recorded camera."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.machines import CHECKOUT, SECONDS, Booted, Machine, Workshop, open_workshop

USER, PASSWORD = "alice", "a good password"
KEEPER, OBSERVERS = "faceidd.service", "faceid-observer@*.service"
SOCKETS = ("faceidd.socket", "faceid-observer.socket")
CONFIGURATION = Path("/etc/pam_faceid/config.toml")
RECORDINGS = Path("/srv/recordings")
PORTRAITS = CHECKOUT / "pam_faceid/demo/portraits"
PYTHON = "/opt/pam_faceid/current/bin/python"
PATIENT_SECONDS = 60  # a service that starts anew is fast enough, however busy the machine
SUDO = ("runuser", "-u", USER, "--", "sudo", "-k", "-S", "-p", "PROMPT", "id", "-u")
# Asks for a user, and waits until the daemon hangs up: the look is over by then.
ASK = """
import json, socket, sys
request = {"op": "authenticate", "user": sys.argv[1], "service": "sudo"}
with socket.socket(socket.AF_UNIX) as service:
    service.connect("/run/pam_faceid/socket")
    service.sendall(json.dumps(request).encode() + b"\\n")
    while service.recv(4096):
        pass
"""
RECORD = """
import sys
from pathlib import Path
import cv2
import numpy as np
from pam_faceid.demo.camera import record_print
portraits, folder = map(Path, sys.argv[1:])
wall = folder / "wall.png"
cv2.imwrite(str(wall), np.full((480, 640, 3), 120, np.uint8))
for still in (portraits / "collins.jpg", portraits / "hopper.jpg", wall):
    record_print(still, folder / f"{still.stem}.avi", phase=1.0)
"""


@dataclass(frozen=True)
class Login:
    """How a command behind sudo ended.

    Args:
        granted: It ran as root.
        asked: The password was asked for.
    """

    granted: bool
    asked: bool


BY_FACE = Login(granted=True, asked=False)
BY_PASSWORD = Login(granted=True, asked=True)


@dataclass(frozen=True)
class Bed:
    """A booted machine, as the tests speak of it."""

    machine: Booted

    def run(self, *command: str | Path, check: bool = True) -> str:
        """Run a command as root; return what it wrote."""
        ended = self.machine.run(*command, check=check)
        return ended.stdout + ended.stderr

    def show(self, who: str, *, seconds: int = PATIENT_SECONDS) -> None:
        """Put somebody before the camera, looked for so long; "wall" is nobody."""
        self.configure(
            f'[camera]\nrecording = "{RECORDINGS / who}.avi"\n[attack]\nmode = "off"\n'
            f"[attempt]\ntimeout_seconds = {seconds}\n"
        )

    def configure(self, text: str) -> None:
        """Write the configuration and have a running daemon read it."""
        self.machine.path(CONFIGURATION).write_text(text)
        if self.state(KEEPER) == "active":
            self.run("systemctl", "reload", KEEPER)

    def sudo(self, password: str = "") -> Login:
        """Run a command through sudo as the user, with a line to type if it asks."""
        ended = self.machine.run(*SUDO, given=f"{password}\n", check=False)
        return Login(granted=ended.stdout == "0\n", asked="PROMPT" in ended.stderr)

    def log_in(self) -> None:
        """Let the user in by face, after the password where that is wanted first."""
        self.sudo(PASSWORD)
        assert self.sudo() == BY_FACE

    def start_sudo(self) -> subprocess.Popen[str]:
        """Start a command through sudo that is not waited for; a right password is typed ahead."""
        sudo = self.machine.start(*SUDO)
        assert sudo.stdin
        sudo.stdin.write(f"{PASSWORD}\n")
        sudo.stdin.close()
        sudo.stdin = None
        return sudo

    def look_to_the_end(self) -> None:
        """Have the user looked at; sudo goes on while the observer still looks, this does not."""
        self.run("/usr/bin/python3", "-c", ASK, USER)

    def state(self, unit: str) -> str:
        """Return the unit's ActiveState."""
        return self.property(unit, "ActiveState")

    def property(self, unit: str, name: str) -> str:
        """Return one property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def sockets_listen(self) -> bool:
        """Whether neither socket gave up."""
        return all(self.state(socket) == "active" for socket in SOCKETS)

    def keeper(self) -> int:
        """Return the daemon's process id in the machine, 0 when it does not run."""
        return int(self.property(KEEPER, "MainPID"))

    def observers(self) -> list[int]:
        """Return the observers' process ids in the machine."""
        return [int(pid) for pid in self.run("pgrep", "-u", "faceid", check=False).split()]

    def somebody_looks(self) -> bool:
        """Whether an observer has the recording open."""
        folders = [f"/proc/{pid}/fd" for pid in self.observers()]
        return str(RECORDINGS) in self.run("ls", "-l", "/nowhere", *folders, check=False)

    def kill(self, pid: int, signal: str = "KILL") -> None:
        """Send a signal to a process of the machine."""
        self.run("kill", f"-{signal}", str(pid))

    def attempts(self) -> list[dict[str, str]]:
        """Return the attempts that the journal has, oldest first."""
        lines = self.run("journalctl", "--boot", "--output=cat").splitlines()
        words = (dict(re.findall(r'(\w+)=("[^"]*"|\S*)', line)) for line in lines)
        return [found for found in words if found.get("event") == "authenticate"]

    def wait(self, what: Callable[[], object]) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + SECONDS
        while not what():
            assert time.monotonic() < deadline
            time.sleep(0.05)


def enrol(machine: Machine) -> None:
    """Enrol alice from a portrait, before a camera that is a recording, and let it into sudo."""
    machine.run("mkdir", "--parents", RECORDINGS)
    machine.run(PYTHON, "-I", "-c", RECORD, PORTRAITS, RECORDINGS)
    face = PORTRAITS / "collins.jpg"
    machine.run("faceid-admin", "add-user", USER, "--no-confirm", "--from", face)
    machine.run("faceid-admin", "pam", "enable", "sudo", "--yes", "--no-confirm-timer")


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with open_workshop(tmp_path_factory.mktemp("machines")) as workshop:
        yield workshop


@pytest.fixture(scope="session")
def installed(workshop: Workshop, repository: Path) -> Machine:
    """A machine on which install.sh has run, and alice has enrolled, before its first boot."""
    machine = workshop.copy_machine()
    machine.prepare(repository)
    machine.install()
    machine.run("useradd", "--create-home", "--shell", "/bin/bash", USER)
    machine.run("chpasswd", given=f"{USER}:{PASSWORD}\n")
    rule = machine.path(f"/etc/sudoers.d/{USER}")
    rule.write_text(f"{USER} ALL=(ALL) ALL\n")
    rule.chmod(0o440)
    enrol(machine)
    return machine


@pytest.fixture(scope="module")
def shared_bed(workshop: Workshop, installed: Machine) -> Iterator[Bed]:
    with workshop.boot(workshop.copy_machine(installed.place / "upper")) as booted:
        yield Bed(booted)


@pytest.fixture
def bed(shared_bed: Bed) -> Bed:
    """A machine on which alice sits before the camera and has used her password since the boot."""
    shared_bed.show("collins")
    shared_bed.log_in()
    return shared_bed


@pytest.fixture
def own_bed(workshop: Workshop, installed: Machine) -> Iterator[Bed]:
    """A machine that was just booted, for one test alone."""
    with workshop.boot(workshop.copy_machine(installed.place / "upper")) as booted:
        bed = Bed(booted)
        bed.show("collins")
        yield bed

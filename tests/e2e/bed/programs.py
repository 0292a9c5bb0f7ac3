"""The programs that people log in with, each the real one, before the camera node."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.bed.bed import GuestBed
from tests.e2e.bed.conftest import STRANGER
from tests.e2e.bed.enrolment import ended, sudo_at_a_terminal
from tests.systemd.conftest import PASSWORD, USER
from tests.systemd.test_programs import (
    BY_FACE,
    BY_PASSWORD,
    DENIED,
    PROMPT,
    Ended,
    login,
    su,
)
from tests.systemd.typing import type_at

Program = Callable[[GuestBed, str], Ended]


def pkexec(bed: GuestBed, password: str) -> Ended:
    """pkexec(1), whose agent asks at a terminal; polkit's helper is what calls libpam."""
    script = (
        "pkttyagent --process $$ & sleep 2;"
        "pkexec --disable-internal-agent sh -c 'echo in as $(id -un).'; kill %1"
    )
    typed = type_at(
        bed.machine, ["runuser", "-u", USER, "--", "bash", "-c", script], (PROMPT, password)
    )
    return ended(typed, proof="in as root.")


def ssh(bed: GuestBed, password: str) -> Ended:
    """ssh(1) to this machine, which no face may open."""
    command = [
        *("runuser", "-u", USER, "--", "ssh", "-o", "StrictHostKeyChecking=no"),
        *("-o", "UserKnownHostsFile=/dev/null", "-o", "NumberOfPasswordPrompts=1"),
        *(f"{USER}@localhost", "echo in as $(id -un)."),
    ]
    return ended(type_at(bed.machine, command, (PROMPT, password)), proof=f"in as {USER}.")


SERVICES = {login: "login", su: "su", sudo_at_a_terminal: "sudo", pkexec: "polkit-1"}
PROGRAMS = pytest.mark.parametrize("program", list(SERVICES), ids=lambda p: p.__name__)


def seen(bed: GuestBed) -> tuple[str, str]:
    """Return of the newest attempt which service it was for, and its outcome."""
    newest = bed.last_attempt()
    return newest["service"], newest["outcome"]


@pytest.fixture(autouse=True)
def _enabled(bed: GuestBed, request: pytest.FixtureRequest) -> None:
    if "program" in request.fixturenames:
        service = SERVICES[request.getfixturevalue("program")]
        if service == "polkit-1":
            # Debian has its file in /usr; pam enable asks for a copy of it, as pam_faceid(8) says.
            bed.run("cp", "--no-clobber", f"/usr/lib/pam.d/{service}", "/etc/pam.d/")
        bed.run("faceid-admin", "pam", "enable", service, "--yes", "--no-confirm-timer")


@PROGRAMS
def test_the_enrolled_face_needs_no_password(bed: GuestBed, program: Program) -> None:
    bed.lets_the_face_in()
    assert program(bed, PASSWORD) == BY_FACE
    assert seen(bed) == (SERVICES[program], "match")


@PROGRAMS
def test_a_stranger_is_asked_for_the_password(bed: GuestBed, program: Program) -> None:
    bed.lets_the_face_in()  # else the failures of all programs would add up, to a wait
    bed.stand_before(STRANGER)
    for password, how in ((PASSWORD, BY_PASSWORD), ("wrong", DENIED)):
        assert program(bed, password) == how
        assert seen(bed) == (SERVICES[program], "non_match")


def test_ssh_never_asks_for_the_face(bed: GuestBed) -> None:
    """Whose service may not have the face at all."""
    bed.stand_before(USER)
    before = len(bed.attempts())
    refused = bed.machine.run("faceid-admin", "pam", "enable", "sshd", "--yes", check=False)
    assert refused.returncode != 0
    assert "network" in refused.stderr
    assert ssh(bed, PASSWORD) == BY_PASSWORD
    assert ssh(bed, "wrong") == DENIED
    assert len(bed.attempts()) == before

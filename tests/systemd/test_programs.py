"""The programs that people log in with, each the real one, on a booted machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.machines import Machine, Workshop
from tests.systemd.conftest import PASSWORD, USER, Bed
from tests.systemd.typing import Typed, type_at

pytestmark = pytest.mark.root

OTHER = "bob"
SERVICES = ("login", "su")
PROMPT = "assword:"


@dataclass(frozen=True)
class Ended:
    """How a login ended.

    Args:
        let_in: The person was let in.
        asked: The password was asked for.
    """

    let_in: bool
    asked: bool


BY_FACE = Ended(let_in=True, asked=False)
BY_PASSWORD = Ended(let_in=True, asked=True)
DENIED = Ended(let_in=False, asked=True)

Program = Callable[[Bed, str], Ended]


@pytest.fixture(scope="module")
def equipped(workshop: Workshop, installed: Machine) -> Machine:
    """The installed machine, and somebody else with an account."""
    machine = workshop.copy_machine(installed.place / "upper")
    machine.run("useradd", "--create-home", "--shell", "/bin/bash", OTHER)
    return machine


@pytest.fixture(scope="module")
def booted_bed(workshop: Workshop, equipped: Machine) -> Iterator[Bed]:
    with workshop.boot(equipped) as booted:
        for service in SERVICES:
            booted.run("faceid-admin", "pam", "enable", service, "--yes", "--no-confirm-timer")
        yield Bed(booted)


@pytest.fixture
def bed(booted_bed: Bed) -> Bed:
    """A machine on which alice sits before the camera and has used her password since the boot."""
    booted_bed.show("collins")
    booted_bed.log_in()
    return booted_bed


def _ended(typed: Typed, *, proof: str) -> Ended:
    return Ended(let_in=proof in typed.shown, asked=PROMPT in typed.shown)


def login(bed: Bed, password: str) -> Ended:
    """login(1) at a terminal, as getty starts it."""
    typed = type_at(
        bed.machine,
        ["login", USER],
        (PROMPT, password),
        ("$ ", "echo in as $(id -un).; exit"),
        last_words=["Login incorrect"],
    )
    return _ended(typed, proof=f"in as {USER}.")


def su(bed: Bed, password: str) -> Ended:
    """Somebody else at the same machine who becomes alice."""
    command = ["runuser", "-u", OTHER, "--", "su", USER, "-c", "echo in as $(id -un)."]
    return _ended(type_at(bed.machine, command, (PROMPT, password)), proof=f"in as {USER}.")


PROGRAMS = pytest.mark.parametrize("program", [login, su], ids=lambda p: p.__name__)


@PROGRAMS
def test_the_enrolled_face_needs_no_password(bed: Bed, program: Program) -> None:
    assert program(bed, "") == BY_FACE


@PROGRAMS
def test_a_stranger_is_asked_for_the_password(bed: Bed, program: Program) -> None:
    bed.show("hopper")
    assert program(bed, "wrong") == DENIED
    assert program(bed, PASSWORD) == BY_PASSWORD

"""The Debian package on a guest of its own: in, used before its camera node, and out again."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.bed.bed import GuestBed
from tests.e2e.bed.conftest import STRANGER, Parts, booted
from tests.e2e.bed.enrolment import sudo_at_a_terminal
from tests.e2e.bed.guest import SHARE
from tests.systemd.conftest import PASSWORD, USER
from tests.systemd.test_programs import BY_FACE, BY_PASSWORD, DENIED

PACKAGE = "pam-faceid"


@dataclass(frozen=True)
class Before:
    """A machine before the package came: its service files, and files that carry our name."""

    services: str
    files: set[str]


@pytest.fixture(scope="module")
def deb(
    parts: Parts, share: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The package, built from wheels and without a network, as the guest sees it."""
    made = tmp_path_factory.mktemp("package")
    build = [repository / "debian/build.sh", parts.wheels.result(), made]
    subprocess.run(["unshare", "--net", *build], check=True, capture_output=True)
    (deb,) = made.glob("*.deb")
    shutil.copy(deb, share)
    return f"{SHARE}/{deb.name}"


@pytest.fixture(scope="module")
def own_bed(
    parts: Parts, share: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GuestBed]:
    with booted(parts, tmp_path_factory.mktemp("packaged"), share) as guest:
        yield GuestBed(guest)


@pytest.fixture(scope="module")
def before(own_bed: GuestBed) -> Before:
    return Before(own_bed.pam_services(), own_bed.files_of_ours())


@pytest.fixture(scope="module")
def packaged(own_bed: GuestBed, deb: str, before: Before) -> GuestBed:
    """The guest that has the package from a file and nothing from a network."""
    own_bed.run("apt-get", "install", "--quiet=2", "--yes", deb)
    own_bed.use()
    own_bed.plug_in(USER)
    return own_bed


def test_installing_the_package_changes_no_login(packaged: GuestBed, before: Before) -> None:
    now = packaged.pam_services().splitlines()
    assert [line for line in now if line not in before.services.splitlines()] == [
        line for line in now if line.endswith(" pam_faceid-password")
    ]
    assert packaged.sockets_listen()
    assert sudo_at_a_terminal(packaged, PASSWORD) == BY_PASSWORD
    assert sudo_at_a_terminal(packaged, "wrong") == DENIED


def test_a_person_enrols_and_sudo_takes_the_face(packaged: GuestBed) -> None:
    typed = packaged.enrol()
    assert f"{USER} is enrolled." in typed.shown, typed.shown
    packaged.run("faceid-admin", "pam", "enable", "sudo", "--yes", "--no-confirm-timer")
    packaged.lets_the_face_in()
    assert sudo_at_a_terminal(packaged, PASSWORD) == BY_FACE


def test_a_stranger_is_asked_for_the_password(packaged: GuestBed) -> None:
    packaged.stand_before(STRANGER)
    assert sudo_at_a_terminal(packaged, PASSWORD) == BY_PASSWORD
    assert packaged.last_attempt()["outcome"] == "non_match"
    assert sudo_at_a_terminal(packaged, "wrong") == DENIED
    assert packaged.complaints() == {}


def test_purging_leaves_two_users_and_nothing_else(packaged: GuestBed, before: Before) -> None:
    packaged.stand_before(USER)
    packaged.run("apt-get", "purge", "--quiet=2", "--yes", PACKAGE)
    assert packaged.pam_services() == before.services
    left = {path for path in packaged.files_of_ours() if not path.startswith("/run/")}
    assert left == before.files
    assert sudo_at_a_terminal(packaged, PASSWORD) == BY_PASSWORD
    assert sudo_at_a_terminal(packaged, "wrong") == DENIED

"""What needs no camera node, in a container with the tree of the same image: in, and out again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.bed.conftest import Parts, Record, described
from tests.machines import Machine, Workshop, open_workshop
from tests.packages.conftest import show
from tests.systemd.conftest import BY_FACE, BY_PASSWORD, PASSWORD, Bed, Login, enrol, own_bed

# With the machine of this file, and so on a Debian that has never had the program.
from tests.systemd.test_pam_transaction import (
    test_a_reboot_in_between_changes_nothing,
    test_an_upgrade_meanwhile_leaves_the_way_back,
    test_the_timer_undoes_what_nobody_confirms_and_goes,
    test_two_changes_are_undone_each_in_its_time,
    test_what_was_confirmed_stays_and_the_timer_goes,
)

__all__ = [
    "own_bed",
    "test_a_reboot_in_between_changes_nothing",
    "test_an_upgrade_meanwhile_leaves_the_way_back",
    "test_the_timer_undoes_what_nobody_confirms_and_goes",
    "test_two_changes_are_undone_each_in_its_time",
    "test_what_was_confirmed_stays_and_the_timer_goes",
]

WHEELS = Path("/srv/wheels")
DENIED = Login(granted=False, asked=True)


def only_the_password_works(bed: Bed) -> None:
    assert bed.sudo("a wrong one") == DENIED
    assert bed.sudo(PASSWORD) == BY_PASSWORD


@pytest.fixture(scope="module", autouse=True)
def _offline() -> Iterator[None]:
    """What runs in a machine has the environment of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(WHEELS))
        yield


@pytest.fixture(scope="module")
def workshop(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    image = parts.image.result()
    with open_workshop(tmp_path_factory.mktemp("machines"), image / "tree") as workshop:
        yield workshop


def supplied(workshop: Workshop, parts: Parts, repository: Path) -> Machine:
    """A machine without the program, and what it is installed from."""
    machine = workshop.copy_machine()
    machine.copy_checkout(repository)
    shutil.copytree(parts.wheels.result(), machine.path(WHEELS))
    return machine


@pytest.fixture(scope="module")
def bare(workshop: Workshop, parts: Parts, repository: Path) -> Machine:
    return supplied(workshop, parts, repository)


@pytest.fixture(scope="module")
def installed(
    workshop: Workshop, parts: Parts, repository: Path, record_testsuite_property: Record
) -> Machine:
    """A machine on which install.sh has run while it ran, and alice enrolled. It is off again."""
    machine = supplied(workshop, parts, repository)
    with workshop.boot(machine) as booted:
        record_testsuite_property("container", described(booted))
        booted.install()
        enrol(booted)
    return machine


def test_the_password_works_before_anything_is_installed(workshop: Workshop, bare: Machine) -> None:
    with workshop.boot(workshop.copy_machine(bare.place / "upper")) as booted:
        only_the_password_works(Bed(booted))


def test_installing_changes_no_login_but_the_one_that_was_enabled(
    bare: Machine, installed: Machine
) -> None:
    now, before = installed.pam_services(), bare.pam_services()
    changed = {name for name, text in now.items() if before.get(name) != text}
    assert changed == {"pam_faceid-password", "sudo"}


def test_the_face_works_and_the_password_where_nobody_is_seen(own_bed: Bed) -> None:
    show(own_bed, "collins")
    own_bed.log_in()
    show(own_bed, "wall")
    only_the_password_works(own_bed)


def test_a_purge_leaves_two_users_and_nothing_else(own_bed: Bed, bare: Machine) -> None:
    show(own_bed, "collins")
    own_bed.log_in()
    own_bed.machine.install("--uninstall", "--purge", "--yes")

    left = {path for path in own_bed.machine.files_of_ours() if not path.startswith("/run/")}
    assert left == bare.files_of_ours()
    assert own_bed.machine.pam_services() == bare.pam_services()
    assert own_bed.run("systemctl", "list-units", "--all", "--no-legend", "faceid*") == ""
    only_the_password_works(own_bed)
    own_bed.machine.install()
    enrol(own_bed.machine)
    show(own_bed, "collins")
    own_bed.log_in()
    assert own_bed.sudo() == BY_FACE

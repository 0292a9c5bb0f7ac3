"""install.sh on a minimal machine of another release, in order: make releases.

`pytest` does not collect it: on Debian 12 tests/integration and tests/systemd show the same.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines import CHECKOUT, KEPT_OUT, Booted, Machine, Workshop
from tests.packages.conftest import INSTALL, PORTRAITS, WHEELS, connect, enable, show
from tests.systemd.conftest import (
    BY_FACE,
    BY_PASSWORD,
    PASSWORD,
    PYTHON,
    RECORD,
    RECORDINGS,
    USER,
    Bed,
    Login,
)
from tests.systemd.typing import type_at

pytestmark = pytest.mark.root

DENIED = Login(granted=False, asked=True)
# The same wheels, compared with the same pins, from a folder.
OFFLINE = ("env", "PIP_NO_INDEX=1", f"PIP_FIND_LINKS={WHEELS}", CHECKOUT / "install.sh")
PARTS = ("python3", "libpam-runtime", "libpam-python", "systemd", "sudo")
COMPILER = ("gcc", "libc6-dev", "libpam0g-dev")


@pytest.fixture(scope="module")
def before(workshop: Workshop, workbench: Machine, repository: Path) -> Machine:
    """A machine on which nothing but a checkout and the wheels is new, with alice."""
    machine = workshop.copy_machine()
    connect(machine)
    machine.run("useradd", "--create-home", "--shell", "/bin/bash", USER)
    machine.run("chpasswd", given=f"{USER}:{PASSWORD}\n")
    machine.path(f"/etc/sudoers.d/{USER}").write_text(f"{USER} ALL=(ALL) ALL\n")
    shutil.copytree(repository, machine.path(CHECKOUT), ignore=shutil.ignore_patterns(*KEPT_OUT))
    shutil.copytree(workbench.path(WHEELS), machine.path(WHEELS))
    shutil.copytree(repository / "pam_faceid/demo/portraits", machine.path(PORTRAITS))
    machine.run("mkdir", RECORDINGS)
    return machine


@pytest.fixture(scope="module")
def booted(workshop: Workshop, before: Machine) -> Iterator[Booted]:
    with workshop.boot(workshop.copy_machine(before.place / "upper")) as booted:
        yield booted


@pytest.fixture(scope="module")
def bed(booted: Booted) -> Bed:
    return Bed(booted)


def only_the_face_of_alice_replaces_the_password(bed: Bed) -> None:
    show(bed, "collins")
    bed.log_in()
    assert bed.sudo() == BY_FACE
    show(bed, "hopper")
    assert bed.sudo("a wrong one") == DENIED
    assert bed.sudo(PASSWORD) == BY_PASSWORD
    assert bed.attempts()[-1]["outcome"] == "non_match"


def test_one_command_installs_and_shows_the_main_job(bed: Bed) -> None:
    print(bed.run(*OFFLINE, "--demo"))
    shown = bed.run("dpkg-query", "-W", "-f", "${Package} ${Version}\n", *PARTS)
    print(bed.run("sh", "-c", ". /etc/os-release; echo $PRETTY_NAME"), shown)
    bed.machine.works()
    assert bed.sockets_listen()


def test_sudo_through_pam_python(bed: Bed) -> None:
    bed.run(PYTHON, "-I", "-c", RECORD, PORTRAITS, RECORDINGS)
    face = PORTRAITS / "collins.jpg"
    bed.run("faceid-admin", "add-user", USER, "--no-confirm", "--from", face)
    enable(bed, "sudo", "pam_python")

    only_the_face_of_alice_replaces_the_password(bed)

    told = json.loads(bed.run("faceid-admin", "doctor", "--json", check=False))
    assert [each for each in told["findings"] if each["state"] == "fail"] == []


def test_run_again_with_a_compiler_it_has_the_native_client(bed: Bed) -> None:
    bed.run("apt-get", "update", "--quiet=2")
    bed.run(*INSTALL, "--no-install-recommends", *COMPILER)
    bed.run(*OFFLINE)
    bed.run("faceid-admin", "pam", "disable", "sudo")
    for service in ("sudo", "su"):
        enable(bed, service, "native")

    only_the_face_of_alice_replaces_the_password(bed)

    show(bed, "collins")
    bed.log_in()
    su = ("runuser", "-u", USER, "--", "su", "--command", "id --user --name", USER)
    assert type_at(bed.machine, su).shown.strip().endswith(USER)


def test_purged_it_leaves_nothing(bed: Bed, before: Machine) -> None:
    bed.run(CHECKOUT / "install.sh", "--uninstall", "--purge", "--yes")

    left = {path for path in bed.machine.files_of_ours() if Path("/run") not in Path(path).parents}
    assert left == before.files_of_ours()
    services = bed.machine.pam_services()
    assert services == before.pam_services()
    assert bed.sudo(PASSWORD) == BY_PASSWORD
    assert bed.sudo("a wrong one") == DENIED

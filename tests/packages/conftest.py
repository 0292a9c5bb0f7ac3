"""The package, built for real; a minimal tree of a distribution; and machines that have both.

The distribution is that of this machine, or the one that the environment's RELEASE names.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pam_faceid import __version__
from tests.machines import CHECKOUT, KEPT_OUT, Machine, Workshop, open_workshop
from tests.systemd.conftest import PASSWORD, PYTHON, RECORD, RECORDINGS, USER, Bed

PACKAGE = "pam-faceid"
DEBS = Path("/srv/packages")
PORTRAITS = Path("/srv/portraits")
SECONDS = 1800  # a hang, not a speed
# What a machine needs to boot and to have a sudo; pamtester is for the demo. Nothing of Python.
MINIMAL = "systemd,systemd-sysv,dbus,libpam-systemd,passwd,sudo,pamtester"
NEXT_VERSION = f"{__version__}+next"
NEXT_DEFAULT = "# a default that is new in this version\n"
INSTALL = ("apt-get", "install", "--quiet=2", "--yes", "-o", "Dpkg::Use-Pty=0")
RELEASE = os.environ.get("RELEASE")
KEYRING = "usr/share/keyrings/ubuntu-archive-keyring.gpg"
WHEELS = Path("/srv/wheels")
BUILT_WITH = ("build-essential", "debhelper", "dh-apparmor", "libpam0g-dev", "python3-venv")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Packages:
    """The files.

    Args:
        first: Of this checkout.
        again: Of this checkout, built a second time.
        upgrade: What a release with another version and another default configuration would be.
    """

    first: Path
    again: Path
    upgrade: Path


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command on this machine; return what it wrote."""
    ended = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-4000:]
    return ended.stdout + ended.stderr


@pytest.fixture(scope="session")
def wheels(repository: Path) -> Path:
    """The pinned wheels, which a run before may have fetched."""
    run("make", "wheels", cwd=repository)
    return repository / "build/wheels"


@pytest.fixture(scope="session")
def workbench(workshop: Workshop, repository: Path) -> Machine:
    """A machine of the other release with a checkout, what builds the package, and wheels."""
    machine = workshop.copy_machine()
    connect(machine)
    machine.run("apt-get", "update", "--quiet=2")
    machine.run(*INSTALL, "--no-install-recommends", *BUILT_WITH)
    fetch_wheels(machine, repository)
    return machine


def fetch_wheels(machine: Machine, repository: Path) -> None:
    """Put a checkout on a machine, and the pinned wheels for its Python into WHEELS."""
    # Last of all: a package may write its own.
    machine.path(CERTIFICATES).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(CERTIFICATES, machine.path(CERTIFICATES))
    shutil.copytree(repository, machine.path(CHECKOUT), ignore=shutil.ignore_patterns(*KEPT_OUT))
    machine.run(CHECKOUT / "packaging/fetch.sh", WHEELS)


@pytest.fixture(scope="session")
def packages(
    request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Packages:
    """Built twice without a network, each time in another folder."""
    folder = tmp_path_factory.mktemp("packages")
    built = []
    for name in ("first", "again"):
        if RELEASE:
            machine: Machine = request.getfixturevalue("workbench")
            made = DEBS / name
            machine.run("unshare", "--net", CHECKOUT / "debian/build.sh", WHEELS, made)
            shutil.copytree(machine.path(made), folder / name)
        else:
            wheels: Path = request.getfixturevalue("wheels")
            run("unshare", "--net", repository / "debian/build.sh", wheels, folder / name)
        (deb,) = (folder / name).glob("*.deb")
        built.append(deb)
    return Packages(built[0], built[1], _next_version(built[0], folder / "next"))


def _next_version(deb: Path, folder: Path) -> Path:
    tree = folder / "tree"
    folder.mkdir()
    run("dpkg-deb", "--raw-extract", deb, tree)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub("(?m)^Version: .*", f"Version: {NEXT_VERSION}", control.read_text()))
    with (tree / "etc/pam_faceid/config.toml").open("a") as configuration:
        configuration.write(NEXT_DEFAULT)
    run("dpkg-deb", "-Znone", "--root-owner-group", "--build", tree, folder)
    shutil.rmtree(tree)
    (built,) = folder.glob("*.deb")
    return built


@pytest.fixture(scope="session")
def tree(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minimal system of this release, from the package sources of this machine."""
    if RELEASE:
        return _other_tree(repository / "build/trees", RELEASE)
    tree = tmp_path_factory.mktemp("minimal") / "tree"
    fields = "deb $(SITE) $(RELEASE) $(COMPONENT)"
    told = dict(re.findall("(?m)^(ID|VERSION_CODENAME)=(.*)", Path("/etc/os-release").read_text()))
    release, origin = told["VERSION_CODENAME"], f"Origin: {told['ID'].capitalize()}"
    listed = run("apt-get", "indextargets", "--format", fields, "Created-By: Packages", origin)
    sources = sorted({line for line in listed.splitlines() if f" {release}" in line})
    assert sources, "this machine has no package sources of its own release: apt-get update"
    wanted = ("--quiet", "--variant=apt", f"--include={MINIMAL}")
    run("mmdebstrap", *wanted, release, tree, *sources)
    return tree


def _other_tree(folder: Path, release: str) -> Path:
    """A minimal system of another release, from where mmdebstrap knows it; the next run has it."""
    folder.mkdir(parents=True, exist_ok=True)
    tree = folder / release
    wanted = ["--quiet", "--variant=apt", f"--include={MINIMAL}"]
    if release == "noble":
        keys = folder / "keys"  # Debian has them, from 13 on
        if not keys.exists():
            which = "--include=ubuntu-archive-keyring"
            run("mmdebstrap", "--quiet", "--variant=extract", which, "trixie", keys)
        wanted += ["--components=main,universe", f"--keyring={keys / KEYRING}"]
    if not tree.exists():
        partial = folder / f"{release}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        run("mmdebstrap", *wanted, release, partial)
        partial.rename(tree)
    return tree


def connect(machine: Machine) -> None:
    """Let a machine reach the distribution's packages as this one does."""
    shutil.copyfile("/etc/resolv.conf", machine.path("/etc/resolv.conf"))
    shutil.copytree("/etc/apt/apt.conf.d", machine.path("/etc/apt/apt.conf.d"), dirs_exist_ok=True)


@pytest.fixture(scope="session")
def workshop(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with open_workshop(tmp_path_factory.mktemp("machines"), tree) as workshop:
        yield workshop


@pytest.fixture(scope="session")
def bare(workshop: Workshop, packages: Packages, repository: Path) -> Machine:
    """A machine without the program, with alice, who may use sudo, and the files of the package."""
    machine = workshop.copy_machine()
    connect(machine)
    machine.run("useradd", "--create-home", "--shell", "/bin/bash", USER)
    machine.run("chpasswd", given=f"{USER}:{PASSWORD}\n")
    rule = machine.path(f"/etc/sudoers.d/{USER}")
    rule.write_text(f"{USER} ALL=(ALL) ALL\n")
    rule.chmod(0o440)
    machine.run("mkdir", DEBS, RECORDINGS)
    for deb in (packages.first, packages.upgrade):
        shutil.copyfile(deb, machine.path(DEBS / deb.name))
    shutil.copytree(repository / "pam_faceid/demo/portraits", machine.path(PORTRAITS))
    return machine


@pytest.fixture(scope="session")
def installed(workshop: Workshop, bare: Machine, packages: Packages) -> Machine:
    """A machine on which the package was installed while it ran, and alice enrolled.

    It is off again: tests start from its disk.
    """
    machine = workshop.copy_machine(bare.place / "upper")
    with workshop.boot(machine) as booted:
        booted.run("apt-get", "update", "--quiet=2")
        booted.run(*INSTALL, DEBS / packages.first.name)
        assert booted.run("systemctl", "is-active", "faceidd.socket").stdout == "active\n"
        booted.run(PYTHON, "-I", "-c", RECORD, PORTRAITS, RECORDINGS)
        face = PORTRAITS / "collins.jpg"
        booted.run("faceid-admin", "add-user", USER, "--no-confirm", "--from", face)
    return machine


@pytest.fixture
def machine(workshop: Workshop, bare: Machine, installed: Machine) -> Machine:
    """A copy of the machine with the package that a test may change, not booted."""
    return workshop.copy_machine(installed.place / "upper", bare.place / "upper")


@pytest.fixture
def bed(workshop: Workshop, machine: Machine) -> Iterator[Bed]:
    """The same, booted, with alice before the camera; sudo asks for no face yet."""
    with workshop.boot(machine) as booted:
        bed = Bed(booted)
        show(bed, "collins")
        yield bed


def show(bed: Bed, who: str) -> None:
    """Put somebody before the camera, and let a busy machine take its time to look."""
    recording = f'[camera]\nrecording = "{RECORDINGS / who}.avi"\n'
    # What is recorded is a print that sways, and moves as the flat picture that it is.
    attack = '[attack]\nmode = "off"\n'
    bed.configure(f"{recording}{attack}[attempt]\ntimeout_seconds = 60\n")


def enable(bed: Bed, service: str, client: str) -> None:
    """Let the face into a service, for good."""
    asked = ("--client", client, "--yes", "--no-confirm-timer")
    bed.run("faceid-admin", "pam", "enable", service, *asked)

"""One guest for all: installed, and enrolled before its camera node."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from pam_faceid.demo.camera import record_print
from tests.e2e.bed import supplies
from tests.e2e.bed.bed import VIDEOS, GuestBed
from tests.e2e.bed.guest import SHARE, Guest
from tests.e2e.conftest import told
from tests.machines import Machine, open_workshop
from tests.packages.conftest import WHEELS, connect, fetch_wheels
from tests.systemd.conftest import USER

HERE = Path(__file__).parent
STRANGER = "stranger"
# Of three people who were asked to turn their heads before a phone, two.
FILMED = {USER: "6238f1fa0478c01e4272b19c", STRANGER: "62421a6b74c10315675b9eb3"}
PORTRAITS = {USER: "collins.jpg", STRANGER: "hopper.jpg"}
CHECKOUT = "/srv/pam_faceid"
RELEASE = os.environ.get("E2E_RELEASE", "bookworm")
IN_THE_GUEST = ("feeder.py", "unlock.py", "lid.py", "openings.py")
SEEN = "people of td_live_real" if VIDEOS.is_dir() else "the bundled portraits"
# Whose versions the table of what was tested on what gives.
PROGRAMS = (
    "systemd",
    "python3",
    "libpam-runtime",
    "libpam-python",
    "sudo",
    "login",
    "polkitd",
    "openssh-server",
    "gdm3",
    "i3lock",
    "xsecurelock",
)
UPSTREAM = re.compile(r"(?:\d+:)?([^-+~]+)")

Record = Callable[[str, object], None]


def filmed(name: str) -> Path | None:
    """Return the video of a person, where we have any."""
    return next(iter(sorted(VIDEOS.rglob(f"*{FILMED[name]}/*.MOV"))), None)


def built(script: str, cache: Path, folder: Path = HERE) -> Path:
    """Run a script that builds something unless it is there, and return where it is."""
    one_at_a_time = ("flock", cache / f"{script}.lock")
    ended = subprocess.run(
        [*one_at_a_time, folder / script, cache], stdout=subprocess.PIPE, text=True, check=True
    )
    return Path(ended.stdout.strip())


def cache_of(repository: Path) -> Path:
    """Return where what is slow to make is kept."""
    cache = Path(os.environ.get("E2E_CACHE", repository / "build/e2e"))
    cache.mkdir(parents=True, exist_ok=True)
    return cache


@dataclass(frozen=True)
class Parts:
    """What is slow to make and the same for every run, each a folder."""

    kernel: Future[Path]
    image: Future[Path]
    wheels: Future[Path]


@pytest.fixture(scope="session")
def parts(repository: Path) -> Iterator[Parts]:
    """Made beside each other: the kernel waits for processors, what it boots for the network."""
    cache = cache_of(repository)
    ready = os.environ.get("E2E_KERNEL")
    with ThreadPoolExecutor() as pool:
        image = pool.submit(built, "image.sh", cache)
        yield Parts(
            kernel=pool.submit(lambda: Path(ready) if ready else built("kernel.sh", cache)),
            image=image,
            wheels=pool.submit(wheels_for, RELEASE, image, repository, cache),
        )


def wheels_for(release: str, image: Future[Path], repository: Path, cache: Path) -> Path:
    """Return the folder with what install.sh downloads on that release."""
    folder = cache / f"wheels-{release}"
    if release == "bookworm":
        return supplies.share_wheels(repository)
    if not folder.exists():
        # Which wheels those are, that release's Python knows.
        with (
            TemporaryDirectory() as place,
            open_workshop(Path(place), image.result() / "tree") as workshop,
        ):
            machine = workshop.copy_machine()
            connect(machine)
            fetch_wheels(machine, repository)
            shutil.copytree(machine.path(WHEELS), folder)
    return folder


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A folder with frames of alice, a stranger and a wall: real people where we have any."""
    share = tmp_path_factory.mktemp("share")
    share.chmod(0o755)  # alice of the guest reads it too
    for name in (USER, STRANGER):
        source = filmed(name)
        if source is not None:
            supplies.share_person(name, source, share)
            continue
        moving = share / f"{name}.avi"
        portrait = repository / "pam_faceid/demo/portraits" / PORTRAITS[name]
        shutil.copy(portrait, share / f"{name}.jpg")
        record_print(portrait, moving, phase=1.0)
        supplies.share_person(name, moving, share)
    supplies.share_wall(share)
    return share


@pytest.fixture(scope="session")
def share(parts: Parts, people: Path, repository: Path) -> Path:
    """The folder that a guest is given: the people, and all that it installs from."""
    stock(people, repository, parts.wheels.result())
    return people


def stock(share: Path, repository: Path, wheels: Path) -> None:
    """Give a guest the programs that run in it, and all that it installs from."""
    for program in IN_THE_GUEST:
        shutil.copy(HERE / program, share)
    supplies.share_checkout(repository, share)
    shutil.copytree(wheels, share / "wheels")


def described(machine: Guest | Machine) -> str:
    """Tell what a machine has."""
    (kernel,) = machine.run("uname", "-r").stdout.split()
    name = machine.run("sh", "-c", '. /etc/os-release; echo "$ID $VERSION_ID"').stdout
    distribution, release = name.title().split()
    if distribution == "Debian":
        (release,) = machine.run("cat", "/etc/debian_version").stdout.split()
    query = ("dpkg-query", "--show", "--showformat", "${Package} ${Version}\n")
    installed = machine.run(*query, *PROGRAMS).stdout.splitlines()
    versions = (line.partition(" ") for line in installed)
    programs = ", ".join(f"{name} {UPSTREAM.match(version)[1]}" for name, _, version in versions)
    return f"{distribution} {release}, Linux {kernel}; {programs}"


@contextmanager
def booted(parts: Parts, place: Path, share: Path) -> Iterator[Guest]:
    """A guest that has booted for the first time, with nothing of ours."""
    guest = Guest(
        kernel=parts.kernel.result(), image=parts.image.result(), place=place, share=share
    )
    told(f"boot: {guest.boot():.0f} s")
    try:
        yield guest
    finally:
        guest.switch_off()


@pytest.fixture(scope="session")
def guest(
    parts: Parts,
    share: Path,
    tmp_path_factory: pytest.TempPathFactory,
    record_testsuite_property: Record,
) -> Iterator[Guest]:
    """The one that install.sh runs on."""
    with booted(parts, tmp_path_factory.mktemp("guest"), share) as guest:
        record_testsuite_property("guest", f"{described(guest)}; before its camera, {SEEN}")
        yield guest


@pytest.fixture(autouse=True)
def _machine(request: pytest.FixtureRequest, record_property: Record) -> None:
    """For the table of what was tested on what."""
    record_property("machine", "container" if "workshop" in request.fixturenames else "guest")


def used(guest: Guest) -> int:
    """Return how much its disk holds, MB."""
    guest.run("sync")
    return int(guest.run("df", "--output=used", "--block-size=MB", "/").stdout.split()[1][:-2])


def install(guest: Guest, seconds: float = 900) -> None:
    """Run install.sh, as on anybody's machine; its packages come from a folder."""
    guest.run("mkdir", "-p", CHECKOUT)
    guest.run("tar", "--extract", f"--file={SHARE}/checkout.tar", f"--directory={CHECKOUT}")
    offline = ("env", "PIP_NO_INDEX=1", f"PIP_FIND_LINKS={SHARE}/wheels")
    before, started = used(guest), time.monotonic()
    ended = guest.run(*offline, f"{CHECKOUT}/install.sh", seconds=seconds)
    took, said = time.monotonic() - started, ended.stdout.strip().splitlines()[-1]
    told(f"install.sh: {took:.0f} s, {used(guest) - before} MB; {said}")


@pytest.fixture(scope="session")
def installed(guest: Guest) -> Guest:
    """The guest on which install.sh has run."""
    install(guest)
    return guest


@pytest.fixture(scope="session")
def bed(installed: Guest) -> GuestBed:
    """The installed guest, whose camera sees alice."""
    bed = GuestBed(installed)
    bed.use()
    bed.plug_in(USER)
    return bed

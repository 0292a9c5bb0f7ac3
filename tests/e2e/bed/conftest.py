"""One guest for all: installed, and enrolled before its camera node."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_faceid.demo.camera import record_print
from tests.e2e.bed import supplies
from tests.e2e.bed.bed import VIDEOS, GuestBed
from tests.e2e.bed.guest import SHARE, Guest
from tests.e2e.conftest import told
from tests.systemd.conftest import USER

HERE = Path(__file__).parent
STRANGER = "stranger"
# Of three people who were asked to turn their heads before a phone, two.
FILMED = {USER: "6238f1fa0478c01e4272b19c", STRANGER: "62421a6b74c10315675b9eb3"}
PORTRAITS = {USER: "collins.jpg", STRANGER: "hopper.jpg"}
CHECKOUT = "/srv/pam_faceid"


def built(script: str, *arguments: Path) -> Path:
    """Run a script that builds something unless it is there, and return where it is."""
    ended = subprocess.run(
        [HERE / script, *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    return Path(ended.stdout.strip())


@pytest.fixture(scope="session")
def cache(repository: Path) -> Path:
    """What is slow to make, and the same for every run."""
    folder = Path(os.environ.get("E2E_CACHE", repository / "build/e2e"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A folder with frames of alice, a stranger and a wall: real people where we have any."""
    share = tmp_path_factory.mktemp("share")
    for name in (USER, STRANGER):
        found = sorted(VIDEOS.rglob(f"*{FILMED[name]}/*.MOV"))
        if found:
            supplies.share_person(name, found[0], share)
            continue
        moving = share / f"{name}.avi"
        portrait = repository / "pam_faceid/demo/portraits" / PORTRAITS[name]
        record_print(portrait, moving, phase=1.0)
        supplies.share_person(name, moving, share)
    supplies.share_wall(share)
    return share


@pytest.fixture(scope="session")
def guest(
    cache: Path, people: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guest]:
    """A guest that has booted for the first time, with nothing of ours."""
    ready = os.environ.get("E2E_KERNEL")
    kernel = Path(ready) if ready else built("kernel.sh", cache)
    image = built("image.sh", cache, kernel)
    shutil.copy(HERE / "feeder.py", people)
    supplies.share_checkout(repository, people)
    shutil.copytree(supplies.share_wheels(repository, cache), people / "wheels")
    guest = Guest(kernel=kernel, image=image, place=tmp_path_factory.mktemp("guest"), share=people)
    told(f"boot: {guest.boot():.0f} s")
    yield guest
    guest.switch_off()


@pytest.fixture(scope="session")
def installed(guest: Guest) -> Guest:
    """The guest on which install.sh has run, as on anybody's; its packages come from a folder."""
    guest.run("mkdir", "-p", CHECKOUT)
    guest.run("tar", "--extract", f"--file={SHARE}/checkout.tar", f"--directory={CHECKOUT}")
    offline = f"PIP_NO_INDEX=1 PIP_FIND_LINKS={SHARE}/wheels"
    started = time.monotonic()
    ended = guest.run("sh", "-c", f"{offline} {CHECKOUT}/install.sh", seconds=900)
    told(f"install.sh: {time.monotonic() - started:.0f} s; {ended.stdout.strip().splitlines()[-1]}")
    return guest


@pytest.fixture(scope="session")
def bed(installed: Guest) -> GuestBed:
    """The installed guest, whose camera sees alice."""
    bed = GuestBed(installed)
    bed.use()
    bed.plug_in(USER)
    return bed

"""One machine with all programs on it: in a container with films, or booted before a camera node.

Both have the tree of the image of tests/e2e/bed, and sudo takes one program at a time.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from benchmarks.peers.faces import FRAMES_PER_SECOND, WALL, Faces
from tests.e2e.bed import supplies
from tests.e2e.bed.bed import FEEDER
from tests.e2e.bed.conftest import CHECKOUT, built
from tests.e2e.bed.guest import SHARE, Guest
from tests.machines import Machine, enter, open_workshop
from tests.systemd.conftest import PASSWORD, USER

HERE: Final = Path(__file__).parent
REPOSITORY: Final = HERE.parent.parent
RULES: Final = "/etc/sudoers.d/peers"
WHEELS: Final = "/srv/wheels"
FACES: Final = "/srv/faces"
NODE: Final = "/dev/video0"
SECONDS: Final = 1800


@dataclass(frozen=True, slots=True)
class Sight:
    """How a machine sees.

    Args:
        films: Whether films take the place of a camera.
        faces: The folder with what to show, as the machine calls it.
        camera: What our configuration says of the camera.
    """

    films: bool
    faces: str
    camera: str


FILMS: Final = Sight(films=True, faces=FACES, camera=f'recording = "{FACES}/now.avi"')
LIVE: Final = Sight(films=False, faces=SHARE, camera=f'device = "{NODE}"\nallow_virtual = true')


class Room(Protocol):
    """A machine that takes orders."""

    @property
    def sight(self) -> Sight:
        """How it sees."""

    def run(self, *command: str, given: str = "", check: bool = True) -> str:
        """Run a command as root; return what it wrote on its standard output."""

    def show(self, who: str) -> None:
        """Put somebody before the camera."""


@dataclass(frozen=True, slots=True)
class Login:
    """How a login went.

    Args:
        granted: Without the password.
        seconds: From the start of sudo until its shell spoke, or until the password was asked for.
        cpu: Seconds of a processor that all processes of the machine used meanwhile.
        rss, pss: Bytes at most, of all its processes together; 0 where nobody watched.
    """

    granted: bool
    seconds: float
    cpu: float
    rss: int = 0
    pss: int = 0


def log_in(room: Room, service: str, *watched: str) -> Login:
    """Log in once through sudo, as a PAM service decides.

    Args:
        watched: Parts of the command lines of the processes whose memory is asked for.

    Raises:
        RuntimeError: Not even the password was accepted.
    """
    write(room, RULES, f"Defaults:{USER} pam_service={service}, !lecture\n", mode="0440")
    command = ("/usr/bin/python3", "-I", "/srv/timed_login.py", USER, PASSWORD, *watched)
    said = json.loads(room.run(*command))
    if not said.pop("let_in"):
        raise RuntimeError(f"{service}: not even the password was accepted")
    return Login(granted=not said.pop("asked"), **said)


def write(room: Room, path: str, text: str, *, mode: str = "0644") -> None:
    """Write a file."""
    room.run("sh", "-c", 'cat >"$1" && chmod "$2" "$1"', "-", path, mode, given=text)


@dataclass(frozen=True, slots=True)
class Container:
    """The machine as a container, or a chroot before it is booted: as fast as the computer is.

    Each program is given films in the place of a camera: ours by its configuration, the others by
    `film_camera.py` in the place of OpenCV's camera class. Both take 30 frames a second.
    """

    machine: Machine
    sight: Sight = FILMS

    def run(self, *command: str, given: str = "", check: bool = True) -> str:
        """Run a command as root; return what it wrote on its standard output."""
        process = self.machine.start(*command)
        said, complaint = process.communicate(given)
        if check and process.returncode != 0:
            raise RuntimeError(f"{command}: {process.returncode}\n{said}{complaint}")
        return said

    def show(self, who: str) -> None:
        """Put another film in the place of the last."""
        self.run("cp", f"{FACES}/{who}.avi", f"{FACES}/next.avi")
        self.run("mv", f"{FACES}/next.avi", f"{FACES}/now.avi")


@dataclass(frozen=True, slots=True)
class Emulated:
    """The machine booted in User Mode Linux, with a camera node that everybody opens."""

    guest: Guest
    sight: Sight = LIVE

    def run(self, *command: str, given: str = "", check: bool = True) -> str:
        """Run a command as root; return what it wrote on its standard output."""
        ended = self.guest.run(*command, given=given, check=check, seconds=SECONDS)
        return str(ended.stdout)

    def show(self, who: str) -> None:
        """Change who is seen through the node."""
        self.run("ln", "-sfn", f"{SHARE}/{who}.yuyv", "/run/next")
        self.run("mv", "-T", "/run/next", "/run/before-the-camera")
        self.run("sleep", "0.5")  # until no frame of the one before waits in the node

    def plug_in(self) -> str:
        """Make the node, show nobody, and return the frames a second that come through it."""
        self.run("modprobe", "v4l2loopback", f"video_nr={NODE[-1]}", "exclusive_caps=1")
        self.run("udevadm", "settle")
        self.show(WALL)
        self.run(
            *("systemd-run", "--quiet", f"--unit={FEEDER}", "--property=Nice=-5"),
            *("/usr/bin/python3", "-I", f"{SHARE}/feeder.py", NODE, "YUYV"),
            *(str(FRAMES_PER_SECOND), "/run/before-the-camera"),
        )
        self.guest.wait(
            lambda: "Video Capture" in self.run("v4l2-ctl", "-d", NODE, "-D", check=False)
        )
        stream = ("--stream-mmap", "--stream-count=90", "--stream-to=/dev/null")
        counted = self.run("sh", "-c", f"v4l2-ctl -d {NODE} {' '.join(stream)} 2>&1")
        return str((re.findall(r"([\d.]+) fps", counted) or ["not counted"])[-1])


@contextmanager
def open_room(
    install: Callable[[Room], None], *, emulated: bool, kernel: Path | None, cache: Path
) -> Iterator[tuple[Room, Faces, dict[str, str]]]:
    """Make the machine, and yield it, who it can see, and facts; leaving switches it off.

    Args:
        install: Installs the programs, in a tree that has not been booted.
        emulated: In User Mode Linux, else as a container.
        kernel: For that, a folder that kernel.sh made; None builds one.
        cache: For what is slow to make and the same for every run.
    """
    cache.mkdir(parents=True, exist_ok=True)
    image = built("image.sh", cache)
    with tempfile.TemporaryDirectory(dir=cache) as name, ExitStack() as opened:
        place = Path(name)
        machines, made, share = (place / part for part in ("machines", "made", "share"))
        for folder in (machines, made, share):
            folder.mkdir()
        with open_workshop(machines, image / "tree") as workshop:
            machine = workshop.copy_machine()
            _supply(machine, cache)
            install(Container(machine, LIVE if emulated else FILMS))
            if not emulated:
                with workshop.boot(machine) as booted:
                    booted.make_camera_node()
                    people = Faces(booted.path(FACES), raw=False)
                    people.write_people()
                    yield Container(booted), people, {"camera": "films, no frame waited for"}
                return
            _write_disk(machine, made / "disk.ext4")
        shutil.copy(REPOSITORY / "tests/e2e/bed/feeder.py", share)
        people = Faces(share, raw=True)
        people.write_people()
        kernel = kernel or built("kernel.sh", cache)
        guest = Guest(kernel=kernel, image=made, place=place, share=share)
        guest.boot()
        opened.callback(guest.switch_off)
        room = Emulated(guest)
        yield room, people, {"camera": f"a node, {room.plug_in()} frames a second"}


def _supply(machine: Machine, cache: Path) -> None:
    """Put into the tree what is installed, and what the measurement itself needs."""
    wheels = subprocess.run(
        [HERE / "wheels.sh", cache], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()
    shutil.copytree(supplies.share_wheels(REPOSITORY), machine.path(WHEELS))
    shutil.copytree(wheels, machine.path(WHEELS), dirs_exist_ok=True)
    machine.path(FACES).mkdir()
    for file in ("timed_login.py", "film_camera.py"):
        shutil.copy(HERE / file, machine.path("/srv"))
    supplies.share_checkout(REPOSITORY, machine.path("/srv"))
    room = Container(machine)
    room.run("mkdir", CHECKOUT)
    room.run("tar", "--extract", "--file=/srv/checkout.tar", f"--directory={CHECKOUT}")


def _write_disk(machine: Machine, disk: Path) -> None:
    """Make a disk of the tree, in the mount namespace in which it is."""
    bare = machine.place / "tree"
    script = (
        'umount --recursive "$1"/proc "$1"/dev "$1"/run && mkfs.ext4 -q -L root -d "$1" "$2" 8G'
    )
    subprocess.run(
        [*enter(machine.holder), "bash", "-c", script, "-", str(bare), str(disk)], check=True
    )

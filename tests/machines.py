"""Copies of this machine, on which install.sh and systemd may do as they like.

A copy is an overlay of / whose changes stay in memory. It is entered as a chroot, or booted with
its own systemd in a container. Packages come from the package index, as for anybody who installs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path("/srv/pam_faceid")
SECONDS = 900  # a hang, not a speed
KEPT_OUT = (".git", ".venv", ".*_cache", "__pycache__", "build", "tests", "benchmarks")
PLACES = ("/etc", "/opt/pam_faceid", "/usr", "/var/lib", "/var/log", "/var/backups", "/run")
FIND_OURS = ("find", *PLACES, "-name", "*faceid*")
MOUNT = """
set -euo pipefail
mkdir -p "$1"
mount -t tmpfs -o size=3g tmpfs "$1"
mkdir "$1"/upper "$1"/work "$1"/tree
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$1"/tree
mount -t proc proc "$1"/tree/proc
mount --rbind /dev "$1"/tree/dev
mount -t tmpfs tmpfs "$1"/tree/run
mkdir -p "$1"/tree/run/lock
"""
# A control group of its own: systemd-nspawn would take the same one for every container.
BOOT = """
set -euo pipefail
umount --lazy /sys/fs/cgroup
umount --lazy --recursive "$2"/{proc,dev,run}
mount -t cgroup2 cgroup2 /sys/fs/cgroup
group=/sys/fs/cgroup/$1
mkdir "$group"
echo $$ > "$group"/cgroup.procs
exec systemd-nspawn --quiet --register=no --keep-unit --link-journal=no --console=pipe \
    --timezone=off --machine="$1" --directory="$2" --boot systemd.unit=multi-user.target
"""
# A folder of its own, into which other tests' accounts, locks and services do not show through; and
# of what this machine serves, its copy serves nothing.
OWN_ETC = """
test -x /srv/pam_faceid/install.sh || exit 1  # nowhere but in a copy
cp -a /etc /own
set -e
rm -r /etc
mv /own /etc
rm -rf /etc/{passwd,shadow,group,gshadow}.lock /etc/systemd/system
mkdir /etc/systemd/system
"""
REMOVE_GROUP = """
mount -t cgroup2 cgroup2 /mnt
find /mnt/"$1" -depth -type d -exec rmdir {} +
"""


def enter(holder: int) -> list[str]:
    """The start of a command that runs in the mount namespace of a process."""
    return ["nsenter", f"--mount=/proc/{holder}/ns/mnt", f"--root=/proc/{holder}/root"]


@dataclass(frozen=True)
class Machine:
    """A copy of this machine, with a checkout of the repository at CHECKOUT.

    Args:
        holder: The process that keeps its mount namespace alive.
        place: Where it is mounted in there.
    """

    holder: int
    place: Path

    def _enter(self, *command: str | Path) -> list[str]:
        return [*enter(self.holder), "chroot", str(self.place / "tree"), *map(str, command)]

    def run(
        self, *command: str | Path, check: bool = True, given: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root, with a text on its standard input."""
        ended = subprocess.run(
            self._enter(*command),
            input=given,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            # An environment that the tests run from may have a faceid-admin of its own.
            env={**os.environ, "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"},
            check=False,
        )
        assert not check or ended.returncode == 0, ended.stdout + ended.stderr
        return ended

    def start(self, *command: str | Path) -> subprocess.Popen[str]:
        """Start a command as root."""
        return subprocess.Popen(
            self._enter(*command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def install(self, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(CHECKOUT / "install.sh", *options, check=check)

    def install_and_kill(self, after: float) -> None:
        """Start install.sh and kill it with everything it started, wherever it is by then."""
        installer = subprocess.Popen(
            self._enter(CHECKOUT / "install.sh"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(after)
        assert installer.poll() is None, "it ended before it was killed"
        os.killpg(installer.pid, signal.SIGKILL)
        installer.wait()

    def path(self, path: str | Path) -> Path:
        """Where a path of the copy is seen from here, final symbolic links aside."""
        return Path(f"/proc/{self.holder}/root{self.place}/tree{path}")

    def copy_checkout(self, repository: Path) -> None:
        """Put a checkout at CHECKOUT."""
        shutil.copytree(repository, self.path(CHECKOUT), ignore=shutil.ignore_patterns(*KEPT_OUT))

    def prepare(self, repository: Path) -> None:
        """The same, and take away what this machine may have installed."""
        self.copy_checkout(repository)
        self.run("bash", "-c", OWN_ETC)
        self.install("--uninstall", "--purge", "--yes")

    def works(self) -> None:
        """Everything that a login uses is whole."""
        self.run("faceid-admin", "--version")
        self.run("/opt/pam_faceid/current/bin/python", "-I", "-c", "import pam_faceid.apps.service")
        self.run("/opt/pam_faceid/current/bin/python", "-I", "/opt/pam_faceid/hook.py")
        self.run("faceid-admin", "config", "check")

    def releases(self) -> list[str]:
        return sorted(entry.name for entry in self.path("/opt/pam_faceid/releases").iterdir())

    def files_of_ours(self) -> set[str]:
        """Paths that carry our name, wherever install.sh may write."""
        return set(self.run(*FIND_OURS, check=False).stdout.splitlines())

    def pam_services(self) -> dict[str, bytes]:
        paths = self.path("/etc/pam.d").iterdir()  # gdm has links that lead out of the copy
        return {path.name: path.read_bytes() for path in paths if not path.is_symlink()}


@dataclass(frozen=True)
class Booted(Machine):
    """A machine whose own systemd runs.

    Args:
        init: Its process 1, as it is called here.
    """

    init: int

    def _enter(self, *command: str | Path) -> list[str]:
        spaces = ("--mount", "--uts", "--ipc", "--pid", "--cgroup", "--root", "--wd")
        return ["nsenter", f"--target={self.init}", *spaces, *map(str, command)]

    def path(self, path: str | Path) -> Path:
        return Path(f"/proc/{self.init}/root{path}")

    def make_camera_node(self) -> None:
        """Make /dev/video0, which no driver serves: a container may make no device itself."""
        node = self.path("/dev/video0")
        if not node.exists():
            os.mknod(node, 0o660 | stat.S_IFCHR, os.makedev(81, 0))


@dataclass(frozen=True)
class Workshop:
    """A mount namespace with the copies of this machine.

    Args:
        holder: The process that keeps it alive.
        place: The folder of the copies.
        base: What they are copies of: this machine, or another root tree.
    """

    holder: int
    place: Path
    base: Path = Path("/")

    def copy_machine(self, *lower: Path) -> Machine:
        """Make a copy of the machine.

        Args:
            lower: Changes that it starts from, each the `upper` of another copy, topmost first.
        """
        place = self.place / f"machine{len(list(self.place.iterdir()))}"
        place.mkdir()
        layers = ":".join([*map(str, lower), str(self.base)])
        subprocess.run([*enter(self.holder), "bash", "-c", MOUNT, "-", place, layers], check=True)
        return Machine(self.holder, place)

    @contextlib.contextmanager
    def boot(self, machine: Machine) -> Iterator[Booted]:
        """Run a copy's own systemd. It shares the network of this machine: it has to download."""
        name = f"faceid-{os.getpid()}-{machine.place.name}"
        command = ["unshare", "--mount", "bash", "-c", BOOT, "-", name, machine.place / "tree"]
        container = subprocess.Popen(
            [*enter(self.holder), *command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        try:
            booted = Booted(machine.holder, machine.place, init=_wait_for_init(container))
            state = booted.run("systemctl", "is-system-running", "--wait", check=False).stdout
            assert state.strip() in ("running", "degraded")
            yield booted
        finally:
            container.terminate()  # which it takes for: power off
            container.wait()
            subprocess.run(
                ["unshare", "--mount", "bash", "-c", REMOVE_GROUP, "-", name], check=True
            )


@contextlib.contextmanager
def open_workshop(place: Path, base: Path = Path("/")) -> Iterator[Workshop]:
    """Make a mount namespace for copies of a machine below an empty folder."""
    holder = subprocess.Popen(["unshare", "--mount", "sleep", "infinity"])
    try:
        own = Path("/proc/self/ns/mnt").readlink()
        while Path(f"/proc/{holder.pid}/ns/mnt").readlink() == own:
            time.sleep(0.01)
        yield Workshop(holder.pid, place, base)
    finally:
        holder.kill()
        holder.wait()


def _wait_for_init(container: subprocess.Popen[bytes]) -> int:
    """Wait until process 1 takes orders, and return what it is called here."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        assert container.poll() is None, "the container did not start"
        for init in _children(container.pid):
            if Path(f"/proc/{init}/root", "run/systemd/private").exists():
                return init
        time.sleep(0.02)
    raise AssertionError("the container's systemd did not come up")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

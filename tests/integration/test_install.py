"""install.sh, run for real on a copy of this machine: what it writes stays in memory.

The copy is an overlay of / in a mount namespace of its own. Packages come from the package index,
as for anybody who installs.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

CHECKOUT = Path("/srv/pam_faceid")
SECONDS = 300  # a hang, not a speed
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

    def run(self, *command: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            self._enter(*command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            # An environment that the tests run from may have a faceid-admin of its own.
            env={**os.environ, "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"},
            check=False,
        )
        assert not check or ended.returncode == 0, ended.stdout + ended.stderr
        return ended

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
        places = ("/etc", "/opt/pam_faceid", "/usr", "/var", "/run")
        return set(self.run("find", *places, "-name", "*faceid*", check=False).stdout.splitlines())

    def pam_services(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.path("/etc/pam.d").iterdir()}


@pytest.fixture(scope="module")
def namespace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    holder = subprocess.Popen(["unshare", "--mount", "sleep", "infinity"])
    try:
        own = Path("/proc/self/ns/mnt").readlink()
        while Path(f"/proc/{holder.pid}/ns/mnt").readlink() == own:
            time.sleep(0.01)
        yield holder.pid, tmp_path_factory.mktemp("machines")
    finally:
        holder.kill()
        holder.wait()


def copy_machine(namespace: tuple[int, Path], *lower: Path) -> Machine:
    holder, parent = namespace
    place = parent / f"machine{len(list(parent.iterdir()))}"
    place.mkdir()
    layers = ":".join([*map(str, lower), "/"])
    subprocess.run(
        [*enter(holder), "bash", "-c", MOUNT, "-", place, layers],
        check=True,
    )
    return Machine(holder, place)


@dataclass(frozen=True)
class Before:
    """What the machine had before the first installation."""

    files: set[str]
    pam_services: dict[str, bytes]


@pytest.fixture(scope="module")
def bare(namespace: tuple[int, Path], repository: Path) -> Machine:
    """A machine without the program, whatever this one may have, and a checkout."""
    machine = copy_machine(namespace)
    kept_out = (".git", ".venv", ".*_cache", "__pycache__", "build", "tests", "benchmarks")
    ignore = shutil.ignore_patterns(*kept_out)
    shutil.copytree(repository, machine.path(CHECKOUT), ignore=ignore)
    machine.install("--uninstall", "--purge", "--yes")
    # A directory of its own, into which other tests' services do not show through.
    own_services = "cp -a /etc/pam.d /etc/own && rm -r /etc/pam.d && mv /etc/own /etc/pam.d"
    machine.run("bash", "-c", own_services)
    return machine


@pytest.fixture(scope="module")
def before(bare: Machine) -> Before:
    return Before(bare.files_of_ours(), bare.pam_services())


@pytest.fixture(scope="module")
def installed(namespace: tuple[int, Path], bare: Machine, before: Before) -> Machine:
    """A machine on which install.sh has run once; tests look at it and change nothing."""
    machine = copy_machine(namespace, bare.place / "upper")
    machine.install()
    return machine


@pytest.fixture
def machine(namespace: tuple[int, Path], bare: Machine, installed: Machine) -> Machine:
    """A copy of the installed machine that a test may change."""
    return copy_machine(namespace, installed.place / "upper", bare.place / "upper")


def test_installing_changes_no_login(installed: Machine, before: Before) -> None:
    services = installed.pam_services()
    del services["pam_faceid-password"]
    assert services == before.pam_services


def test_what_is_installed_is_whole_and_belongs_to_root_alone(installed: Machine) -> None:
    installed.works()
    expected = {
        "/etc/pam_faceid/config.toml": "root root 644",
        "/etc/pam_faceid/template.key": "root root 400",
        "/etc/pam_faceid/templates": "root faceid 750",
        "/etc/pam.d/pam_faceid-password": "root root 644",
        "/opt/pam_faceid/hook.py": "root root 644",
        "/usr/share/pam_faceid/models/manifest.toml": "root root 644",
        "/usr/local/sbin/faceid-admin": "root root 755",
        "/var/log/pam_faceid": "root root 750",
    }
    found = {
        path: installed.run("stat", "--dereference", "-c", "%U %G %a", path).stdout.strip()
        for path in expected
    }
    assert found == expected
    loose = installed.run(
        "find",
        "/opt/pam_faceid",
        "(",
        "!",
        "-user",
        "root",
        "-o",
        "-perm",
        "/022",
        "!",
        "-type",
        "l",
        ")",
    ).stdout
    assert loose == ""


def test_it_takes_less_disk_than_promised(installed: Machine) -> None:
    used = installed.run("du", "-sm", "/opt/pam_faceid").stdout.split()[0]
    assert int(used) <= 350


def test_the_service_user_can_read_the_program_and_neither_key_nor_templates(
    installed: Machine,
) -> None:
    as_user = ("setpriv", "--reuid=faceid", "--regid=faceid", "--clear-groups")
    installed.run(
        *as_user,
        "/opt/pam_faceid/current/bin/python",
        "-I",
        "-c",
        "import cv2, onnxruntime, pam_faceid.apps.observer",
    )
    installed.run(*as_user, "sha256sum", "/usr/share/pam_faceid/models/sface.onnx")
    denied = installed.run(*as_user, "cat", "/etc/pam_faceid/template.key", check=False)
    assert denied.returncode != 0


def test_running_it_again_upgrades_and_keeps_key_templates_and_edits(machine: Machine) -> None:
    config = machine.path("/etc/pam_faceid/config.toml")
    config.write_text(config.read_text().replace("\n#timeout_seconds = 5", "\ntimeout_seconds = 3"))
    template = machine.path("/etc/pam_faceid/templates/alice.template")
    template.write_bytes(b"sealed")
    kept = {
        path: path.read_bytes()
        for path in (config, template, machine.path("/etc/pam_faceid/template.key"))
    }
    (before,) = machine.releases()

    machine.install()

    machine.works()
    assert {path: path.read_bytes() for path in kept} == kept
    (after,) = machine.releases()
    assert after != before
    assert not machine.path("/etc/pam_faceid/config.toml.new").exists(), "the default is the same"


def test_a_new_default_is_laid_beside_an_edited_file(machine: Machine) -> None:
    config = machine.path("/etc/pam_faceid/config.toml")
    shipped = machine.path(CHECKOUT / "etc/pam_faceid/config.toml")
    config.write_text(config.read_text().replace("\n#timeout_seconds = 5", "\ntimeout_seconds = 3"))
    shipped.write_text(shipped.read_text() + "# a new default\n")

    output = machine.install().stdout

    assert "timeout_seconds = 3.0\n" in config.read_text()
    new = machine.path("/etc/pam_faceid/config.toml.new")
    assert new.read_text() == shipped.read_text()
    assert "config.toml.new" in output


def test_killed_at_any_moment_the_version_before_works_and_the_next_run_repairs(
    machine: Machine,
) -> None:
    for seconds in (0.2, 3.0, 6.0):
        machine.install_and_kill(after=seconds)
        machine.works()

    machine.install()

    machine.works()
    assert len(machine.releases()) == 1
    unfinished = machine.run(
        "find", "/etc", "/opt/pam_faceid", "/usr/local/sbin", "/usr/share", "-name", "*.partial"
    )
    assert unfinished.stdout == ""


def test_a_package_with_another_hash_is_refused_and_the_version_before_works(
    machine: Machine,
) -> None:
    pins = machine.path(CHECKOUT / "requirements/install.txt")
    pins.write_text(re.sub("sha256:.{8}", "sha256:00000000", pins.read_text()))
    (release,) = machine.releases()

    ended = machine.install(check=False)

    assert ended.returncode != 0
    assert "DO NOT MATCH THE HASHES" in ended.stderr
    assert "still works" in ended.stderr
    machine.works()
    assert machine.path("/opt/pam_faceid/current").readlink().name == release


def test_uninstalling_a_broken_program_takes_the_face_out_and_keeps_templates(
    machine: Machine,
) -> None:
    sudo = machine.path("/etc/pam.d/sudo")
    before = sudo.read_bytes()
    machine.run("faceid-admin", "pam", "enable", "sudo", "--yes")
    assert b"/opt/pam_faceid/hook.py" in sudo.read_bytes()
    template = machine.path("/etc/pam_faceid/templates/alice.template")
    template.write_bytes(b"sealed")
    machine.run("rm", "-r", "/opt/pam_faceid/current/lib")
    assert machine.run("faceid-admin", "--version", check=False).returncode != 0

    machine.install("--uninstall")

    assert sudo.read_bytes() == before
    assert template.read_bytes() == b"sealed"
    for gone in ("/opt/pam_faceid", "/usr/share/pam_faceid", "/usr/local/sbin/faceid-admin"):
        assert not machine.path(gone).exists()


def test_purging_leaves_nothing(machine: Machine, before: Before) -> None:
    machine.run("faceid-admin", "pam", "enable", "sudo", "--yes")

    machine.install("--uninstall", "--purge", "--yes")

    assert machine.files_of_ours() == before.files
    assert machine.pam_services() == before.pam_services
    assert "\nfaceid:" not in machine.path("/etc/passwd").read_text()
    assert "\nfaceid:" not in machine.path("/etc/group").read_text()


def test_purging_asks_first_and_takes_silence_for_no(machine: Machine) -> None:
    ended = machine.install("--uninstall", "--purge", check=False)

    assert ended.returncode != 0
    assert "--yes" in ended.stderr
    machine.works()


def test_a_dry_run_changes_nothing(machine: Machine) -> None:
    changes = machine.place / "upper"
    find = [*enter(machine.holder), "find", str(changes)]
    before = subprocess.run(find, capture_output=True, text=True, check=True).stdout

    for options in (("--demo", "--enable", "sudo"), ("--uninstall", "--purge")):
        said = machine.install("--dry-run", *options).stdout
        assert "/opt/pam_faceid" in said

    assert subprocess.run(find, capture_output=True, text=True, check=True).stdout == before


def test_another_system_is_refused_and_told_what_is_missing(machine: Machine) -> None:
    machine.run("rm", "/etc/os-release", "/usr/bin/apt-get")
    machine.path("/etc/os-release").write_text(
        'ID=fedora\nVERSION_ID=42\nPRETTY_NAME="Fedora 42"\n'
    )

    ended = machine.install(check=False)

    assert ended.returncode != 0
    assert "Fedora 42 is not supported" in ended.stderr
    assert "Missing here: apt-get" in ended.stderr


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--frobnicate",), "unknown option --frobnicate"),
        (("--enable",), "needs the name of a PAM service"),
        (("--purge",), "goes with --uninstall"),
        (("--uninstall", "--demo"), "neither"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    machine: Machine, options: tuple[str, ...], reason: str
) -> None:
    ended = machine.install(*options, check=False)

    assert ended.returncode != 0
    assert reason in ended.stderr


def test_without_root_it_says_so(machine: Machine) -> None:
    ended = machine.run(
        "setpriv", "--reuid=65534", "--clear-groups", CHECKOUT / "install.sh", check=False
    )

    assert ended.returncode != 0
    assert "run it as root: sudo ./install.sh" in ended.stderr

"""A change to a PAM service is proven first, and comes undone when nobody confirms it.

Each test has the service files of this machine in a mount namespace of its own, where they may be
changed as on a running system: real libpam, real pam_python, no systemd.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pam_faceid.adapters import pam_stack
from tests.machines import enter

pytestmark = pytest.mark.root

UNDO = Path(pam_stack.__file__).with_name("pam_undo.sh")
FOLDER = "/etc/pam_faceid/pam-pending"
MOUNTS = """
set -eu
mount -t tmpfs -o size=32m,mode=755 none "$1"
mkdir "$1"/etc "$1"/work
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/etc,workdir=$1/work" /etc
rm -rf /etc/pam_faceid
mkdir -p /etc/pam_faceid
for service in /etc/pam.d/faceid-*; do rm -f "$service"; done
mount -t tmpfs -o size=1m,mode=755 none /var/backups
mount -t tmpfs -o size=4m,mode=755 none /opt
mkdir /opt/pam_faceid
cp "$2" /opt/pam_faceid/hook.py
for native in /usr/lib/*/security/pam_faceid.so; do  # an installed one would be taken
    test -e "$native" || continue
    modules="${native%/*}"
    mkdir "$1"/modules "$1"/modules-work
    mount -t overlay overlay \
        -o "lowerdir=$modules,upperdir=$1/modules,workdir=$1/modules-work" "$modules"
    rm "$native"
done
"""
MAKES_CHANGES = "rename,renameat,renameat2,link,linkat,unlink,mkdir,symlink,symlinkat,fsync"
AT_ONCE = ("--confirm-within", "10s", "--yes")
IN_A_DAY = ("--confirm-within", "24h", "--yes")


@dataclass(frozen=True)
class Place:
    """A mount namespace with service files of its own.

    Args:
        holder: The process that keeps it.
        small: What /etc is written to.
    """

    holder: int
    small: Path

    def run(self, *command: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            [*enter(self.holder), *map(str, command)],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
            check=False,
        )
        assert not check or ended.returncode == 0, ended.stdout + ended.stderr
        return ended

    def admin(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "pam_faceid.apps.admin", *arguments, check=check)

    def path(self, path: str) -> Path:
        return Path(f"/proc/{self.holder}/root{path}")

    def service(self, name: str) -> Path:
        return self.path(f"/etc/pam.d/{name}")

    def undo(self) -> None:
        """Let the time of every change be over."""
        if self.path(f"{FOLDER}/undo.sh").exists():  # it is there before anything waits
            self.run("/bin/sh", f"{FOLDER}/undo.sh", "roll-back", FOLDER, "--all")

    def sleepers(self) -> list[int]:
        """The processes that wait to undo something here."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                here = (folder / "ns/mnt").readlink() == Path(
                    f"/proc/{self.holder}/ns/mnt"
                ).readlink()
                if here and b"roll-back" in words and b"--after" in words:
                    found.append(int(folder.name))
        return found

    def wake(self) -> None:
        """End the sleep of each, which then finds nothing to undo."""
        while sleepers := self.sleepers():
            for sleeper in sleepers:
                subprocess.run(["pkill", "--parent", str(sleeper)], check=False)
            time.sleep(0.05)

    def wait(self, name: str, text: bytes) -> None:
        """Wait until a service file holds a text."""
        deadline = time.monotonic() + 60
        while self.service(name).read_bytes() != text or self.path(FOLDER).exists():
            assert time.monotonic() < deadline, self.service(name).read_text()
            time.sleep(0.1)


@pytest.fixture
def place(tmp_path: Path, repository: Path) -> Iterator[Place]:
    holder = subprocess.Popen(["unshare", "--mount", "sleep", "infinity"])
    place = Place(holder.pid, tmp_path)
    try:
        own = Path("/proc/self/ns/mnt").readlink()
        while Path(f"/proc/{holder.pid}/ns/mnt").readlink() == own:
            time.sleep(0.01)
        place.run("sh", "-c", MOUNTS, "-", tmp_path, repository / "pam_faceid/hook.py")
        yield place
    finally:
        place.wake()
        holder.kill()
        holder.wait()


def test_what_nobody_confirms_is_undone_to_the_byte_and_leaves_nothing(place: Place) -> None:
    before = place.service("sudo").read_bytes()
    status = place.service("sudo").stat()

    said = place.admin("pam", "enable", "sudo", *AT_ONCE).stdout

    assert "faceid-admin pam confirm" in said
    assert "does not survive a reboot" in " ".join(said.split())
    assert pam_stack.HOOK in place.service("sudo").read_text()
    place.wait("sudo", before)
    after = place.service("sudo").stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        status.st_mode,
        status.st_uid,
        status.st_gid,
    )
    assert not list(place.path("/etc/pam.d").glob(".*"))


def test_what_was_confirmed_stays(place: Place) -> None:
    place.admin("pam", "enable", "sudo", *AT_ONCE)
    enabled = place.service("sudo").read_bytes()

    confirmed = json.loads(place.admin("pam", "confirm", "--json").stdout)
    again = json.loads(place.admin("pam", "confirm", "--json").stdout)

    assert confirmed == {"changed": True, "confirmed": ["sudo"], "not_waiting": []}
    assert again["changed"] is False
    while place.sleepers():
        time.sleep(0.1)
    assert place.service("sudo").read_bytes() == enabled
    assert not place.path(FOLDER).exists()


def test_who_asks_for_no_timer_keeps_what_waits(place: Place) -> None:
    place.admin("pam", "enable", "sudo", *IN_A_DAY)
    enabled = place.service("sudo").read_bytes()
    assert "unless confirmed" in place.admin("pam", "enable", "sudo", *IN_A_DAY).stderr

    said = place.admin("pam", "enable", "sudo", "--yes", "--no-confirm-timer", "--json").stdout

    assert json.loads(said)["changed"] is True
    place.undo()
    assert place.service("sudo").read_bytes() == enabled
    assert not place.path(FOLDER).exists()


def test_one_of_two_changes_can_be_confirmed_alone(place: Place) -> None:
    before = {name: place.service(name).read_bytes() for name in ("sudo", "login")}
    for name in before:
        place.admin("pam", "enable", name, *IN_A_DAY)

    place.admin("pam", "confirm", "login")
    place.undo()

    assert place.service("sudo").read_bytes() == before["sudo"]
    assert pam_stack.HOOK in place.service("login").read_text()


def test_two_changes_of_one_service_are_undone_to_what_was_confirmed_last(place: Place) -> None:
    before = place.service("login").read_bytes()
    place.run("mkdir", "-p", "/opt/none")
    place.admin("pam", "enable", "login", *IN_A_DAY)
    place.admin("pam", "disable", "login", "--confirm-within", "24h")
    assert not place.path(FOLDER).exists(), "back at what was there, nothing waits"
    place.admin("pam", "enable", "login", *IN_A_DAY)

    place.undo()

    assert place.service("login").read_bytes() == before


def test_a_face_that_was_taken_out_for_now_comes_back(place: Place) -> None:
    place.admin("pam", "enable", "sudo", "--yes", "--no-confirm-timer")
    enabled = place.service("sudo").read_bytes()
    place.admin("pam", "disable", "sudo", "--confirm-within", "24h")
    assert place.service("sudo").read_bytes() != enabled

    place.undo()

    assert place.service("sudo").read_bytes() == enabled


def test_the_way_out_needs_no_confirmation_and_ends_what_waits(place: Place) -> None:
    before = place.service("sudo").read_bytes()
    place.admin("pam", "enable", "sudo", *IN_A_DAY)

    place.admin("pam", "disable", "--all")

    assert place.service("sudo").read_bytes() == before
    assert not place.path(FOLDER).exists()


def test_what_somebody_else_changed_meanwhile_stays(place: Place) -> None:
    """Our lines alone are taken out, with a copy of what was there."""
    before = place.service("sudo").read_text()
    place.admin("pam", "enable", "sudo", *IN_A_DAY)
    with place.service("sudo").open("a") as file:
        file.write("session optional pam_umask.so\n")

    place.undo()

    assert place.service("sudo").read_text() == f"{before}session optional pam_umask.so\n"
    copies = place.path("/var/backups/pam_faceid").iterdir()
    assert any("pam_umask" in c.read_text() and pam_stack.HOOK in c.read_text() for c in copies)


def test_what_somebody_else_changed_between_two_of_our_changes_stays(place: Place) -> None:
    before = place.service("sudo").read_text()
    place.admin("pam", "enable", "sudo", *IN_A_DAY)
    with place.service("sudo").open("a") as file:
        file.write("session optional pam_umask.so\n")
    place.admin("pam", "disable", "sudo", "--confirm-within", "24h")
    place.admin("pam", "enable", "sudo", *IN_A_DAY)

    place.undo()

    assert place.service("sudo").read_text() == f"{before}session optional pam_umask.so\n"


def test_a_file_that_is_gone_or_was_put_right_by_hand_is_left_alone(place: Place) -> None:
    for name in ("sudo", "login"):
        place.admin("pam", "enable", name, *IN_A_DAY)
    place.service("login").unlink()
    place.service("sudo").write_text("auth required pam_unix.so\n")

    place.undo()

    assert not place.service("login").exists()
    assert place.service("sudo").read_text() == "auth required pam_unix.so\n"
    assert not place.path(FOLDER).exists()


def test_the_way_back_needs_no_room_on_the_disk(place: Place) -> None:
    before = place.service("sudo").read_bytes()
    place.admin("pam", "enable", "sudo", *IN_A_DAY)
    place.run(
        "sh", "-c", 'cat /dev/zero > "$1"/filler; rm -f /etc/none', "-", place.small, check=False
    )
    assert place.run("sh", "-c", "echo full > /etc/full", check=False).returncode != 0

    place.undo()

    assert place.service("sudo").read_bytes() == before


def test_the_way_back_needs_neither_python_nor_the_program(place: Place) -> None:
    """As after an upgrade that went wrong, or an uninstallation by rm."""
    before = place.service("sudo").read_bytes()
    place.admin("pam", "enable", "sudo", *AT_ONCE)
    for gone in ("/opt", str(Path("/usr/bin/python3").resolve())):
        place.run(
            "sh",
            "-c",
            'mount --bind "$2" "$1"',
            "-",
            gone,
            "/srv" if gone == "/opt" else "/dev/null",
        )

    place.wait("sudo", before)


def test_a_clock_that_was_set_back_does_not_keep_a_change(place: Place) -> None:
    before = place.service("sudo").read_bytes()
    place.admin("pam", "enable", "sudo", *IN_A_DAY)
    far = int(time.time()) + 10**8
    place.path(f"{FOLDER}/sudo/times").write_text(f"{far} {far + 300}\n")

    place.run("/bin/sh", f"{FOLDER}/undo.sh", "roll-back", FOLDER)

    assert place.service("sudo").read_bytes() == before


def test_killed_at_any_step_the_change_is_not_made_or_will_be_undone(place: Place) -> None:
    """SIGKILL at each system call that changes a file. Then the time is over."""
    before = place.service("sudo").read_bytes()
    log = place.small / "trace"
    command = (sys.executable, "-m", "pam_faceid.apps.admin", "pam", "enable", "sudo", *IN_A_DAY)
    strace = ("strace", "-qq", "-o", log, "-e")
    place.run(*strace, f"trace={MAKES_CHANGES}", *command)
    made = Counter(re.findall(r"^(\w+)\(", place.path(str(log)).read_text(), re.MULTILINE))
    place.undo()
    place.wake()
    assert made["renameat"] >= 5, made

    unconfirmed = 0
    for call, count in made.items():
        for number in range(1, count + 1):
            inject = f"inject={call}:signal=KILL:when={number}"
            place.run(*strace, f"trace={call}", "-e", inject, *command, check=False)
            changed = place.service("sudo").read_bytes() != before
            if changed:
                unconfirmed += 1
                assert place.sleepers(), f"{call} {number}: nothing would undo it"
            place.undo()
            place.wake()
            assert place.service("sudo").read_bytes() == before, f"{call} {number}"
    assert unconfirmed
    assert place.admin("pam", "enable", "sudo", *IN_A_DAY).returncode == 0


CRASHES = "import ctypes\nctypes.string_at(0)\n"
EXITS = "import os\nos._exit(0)\n"


@pytest.mark.parametrize(("hook", "said"), [(CRASHES, "killed by SIGSEGV"), (EXITS, "ends the")])
def test_a_hook_that_would_end_every_login_is_not_wired(place: Place, hook: str, said: str) -> None:
    """Tried in a process of its own with real pam_python, before the file is touched."""
    before = place.service("sudo").read_bytes()
    place.path(pam_stack.HOOK).write_text(hook)

    ended = place.admin("pam", "enable", "sudo", *IN_A_DAY, check=False)

    assert ended.returncode == 3
    assert said in ended.stderr
    assert place.service("sudo").read_bytes() == before
    assert not place.path(FOLDER).exists()


def test_a_hook_that_says_yes_to_everybody_is_not_wired(place: Place) -> None:
    place.path(pam_stack.HOOK).write_text(
        "def pam_sm_authenticate(pamh, flags, argv):\n    return pamh.PAM_SUCCESS\n"
    )

    ended = place.admin("pam", "enable", "sudo", *IN_A_DAY, check=False)

    assert ended.returncode == 3
    assert "a wrong password was let in" in ended.stderr


def test_a_broken_hook_is_no_lock_out_and_may_be_wired(place: Place) -> None:
    """pam_python turns it into an error, and the password decides: seen, and not supposed."""
    place.path(pam_stack.HOOK).write_text("raise RuntimeError\n")

    said = place.admin("pam", "enable", "sudo", *IN_A_DAY).stdout

    assert "asked for a password and refused a wrong one" in said


EMERGENCY = ("/bin/sh", UNDO, "emergency-disable")


def test_emergency_disable_takes_the_face_out_without_python(place: Place) -> None:
    before = {name: place.service(name).read_bytes() for name in ("sudo", "login")}
    place.admin("pam", "enable", "sudo", "--yes", "--no-confirm-timer")
    place.admin("pam", "enable", "login", *IN_A_DAY)
    python = Path("/usr/bin/python3").resolve()
    place.run("mount", "--bind", "/dev/null", python)

    place.run(*EMERGENCY)

    assert {name: place.service(name).read_bytes() for name in before} == before
    assert not place.path(FOLDER).exists(), "what waits could bring the face back"
    copies = list(place.path("/var/backups/pam_faceid").iterdir())
    assert sum(pam_stack.HOOK in copy.read_text() for copy in copies) == 2
    assert "nothing to do" in place.run(*EMERGENCY).stdout


def test_emergency_disable_works_on_a_full_disk(place: Place) -> None:
    before = place.service("sudo").read_bytes()
    place.admin("pam", "enable", "sudo", "--yes", "--no-confirm-timer")
    for folder in (str(place.small), "/var/backups"):
        place.run("sh", "-c", 'cat /dev/zero > "$1"/filler', "-", folder, check=False)

    place.run(*EMERGENCY)

    assert place.service("sudo").read_bytes() == before


def test_emergency_disable_says_what_to_do_when_the_disk_is_read_only(place: Place) -> None:
    place.admin("pam", "enable", "sudo", "--yes", "--no-confirm-timer")
    place.run("mount", "-o", "remount,ro", "/etc")

    ended = place.run(*EMERGENCY, check=False)

    assert ended.returncode == 3
    assert "mount -o remount,rw" in ended.stderr
    place.run("mount", "-o", "remount,rw", "/etc")
    place.run(*EMERGENCY)
    assert pam_stack.HOOK not in place.service("sudo").read_text()


def test_emergency_disable_moves_no_jump(place: Place) -> None:
    """Our line behind one that counts lines becomes one that does nothing and is counted."""
    place.service("sudo").write_text(
        "auth [success=2 default=ignore] pam_succeed_if.so user = nobody-there\n"
        f"{pam_stack.AUTH_LINE}"
        "auth [success=1 default=ignore] pam_unix.so\n"
        "auth requisite pam_deny.so\n"
        "auth required pam_permit.so\n"
    )

    place.run(*EMERGENCY)

    rules = place.service("sudo").read_text().splitlines()
    assert rules[1] == "auth [default=ignore] pam_deny.so"
    assert len(rules) == 5


def test_emergency_disable_takes_out_a_rule_that_goes_on_in_the_next_line(place: Place) -> None:
    """And leaves what is around it."""
    place.service("sudo").write_text(
        "# a comment that ends in a backslash \\\n"
        f"auth sufficient \\\n\t{pam_stack.PYTHON_MODULE} \\\n\t{pam_stack.HOOK}\n"
        "auth required pam_unix.so\n"
        "session optional pam_umask.so \\\n\tumask=0022\n"
        f"session optional {pam_stack.NATIVE_MODULE} \\\n"
    )

    place.run(*EMERGENCY)

    assert place.service("sudo").read_text() == (
        "# a comment that ends in a backslash \\\n"
        "auth required pam_unix.so\n"
        "session optional pam_umask.so  \tumask=0022\n"
    )

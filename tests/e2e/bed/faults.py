"""What breaks on a machine that boots: the password goes on, doctor says what to do, and it helps.

Each fault is made for real, and ends with a machine that lets the face in and has no complaint.
After enrolment.py, on its guest: alice is enrolled, and sudo asks for her face.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.bed import supplies
from tests.e2e.bed.bed import NODE, OTHER_NODE, GuestBed
from tests.e2e.bed.conftest import CHECKOUT, STRANGER
from tests.e2e.bed.guest import SHARE, Running
from tests.e2e.conftest import told
from tests.systemd.conftest import BY_FACE, KEEPER, PASSWORD, PYTHON, SOCKETS, USER, Login

NOBODY = "wall"  # who is looked for as long as an attempt may last
WRONG = "wrong"
BY_PASSWORD, DENIED = Login(granted=True, asked=True), Login(granted=False, asked=True)
# So that a camera keeps a name whatever its number is, as udev does for those on USB.
LASTING = "/dev/v4l/by-id/bed-camera"
RULE = 'SUBSYSTEM=="video4linux", ATTR{name}=="Dummy*", SYMLINK+="v4l/by-id/bed-camera"\n'
# One process: a loop of the shell would keep the one processor from what is waited for.
WATCHED = """
import glob, os, pwd, sys, time
uid = pwd.getpwnam("faceid").pw_uid
def is_open():
    for process in glob.glob("/proc/[0-9]*"):
        try:
            if os.stat(process).st_uid == uid:
                for fd in os.listdir(f"{process}/fd"):
                    if os.readlink(f"{process}/fd/{fd}") == sys.argv[1]:
                        return True
        except OSError:  # it ended
            pass
    return False
while not is_open():
    time.sleep(0.1)
"""
STREAMS = """
import sys, time
from pam_faceid.adapters.cameras.nodes import is_busy
while not is_busy(sys.argv[1]):
    time.sleep(0.05)
"""
CALL, PLUG = "bed-call.service", "bed-plug.service"
# The driver plugs itself in again when nobody has it open.
UNPLUG = 'exec 3<>"$1"; v4l2-ctl -d "$1" -c disconnect=1; exec sleep infinity'
FILL = """
cd /var/tmp
size=$(df --output=avail --block-size=1 /var | tail -n 1)
until fallocate --length "$size" filler; do size=$((size - 1048576)); done
runuser -u bob -- sh -c 'cat /dev/zero >/var/tmp/rest' || true
"""
TPM = "bed-tpm"
INSTALL = ("sh", "-c", f"PIP_NO_INDEX=1 PIP_FIND_LINKS={SHARE}/wheels {CHECKOUT}/install.sh")
BUILT = (0.0, 0.9)  # of what an upgrade builds, when the power fails
BY_SCRIPT = ("--yes", "--no-confirm-timer")
STREAMING = ("v4l2-ctl", "--stream-mmap", "--stream-count=100000", "-d")
PACKAGES = ("libpam-python", "python3-minimal")
RELEASES = "/opt/pam_faceid/releases"


def named(bed: GuestBed, check: str, *words: str) -> str:
    """Doctor says what is wrong in these words; return what it would do."""
    found = bed.complaints()
    cures = [f.cure for f in found.get(check, []) if all(word in f.what for word in words)]
    assert cures, found
    assert cures[0], found
    return cures[0]


def do(bed: GuestBed, cure: str) -> None:
    """Do what doctor says: what comes after "then", where it wants something to be looked at."""
    bed.run("sh", "-c", cure.rpartition("then: ")[2])


def is_whole(bed: GuestBed) -> None:
    """The face works again, and doctor has nothing to repair."""
    bed.lets_the_face_in()
    assert bed.complaints() == {}


def ended(attempt: Running) -> Login:
    """How a command through sudo ended that was not waited for."""
    result = attempt.result()
    return Login(granted=result.stdout == "0\n", asked="PROMPT" in result.stderr)


@pytest.fixture(autouse=True)
def _somebody_sits_there(bed: GuestBed) -> None:
    bed.stand_before(USER)


@pytest.fixture(scope="module")
def archive(bed: GuestBed, people: Path) -> None:
    """Packages of the distribution, for a machine without a network."""
    supplies.share_packages(PACKAGES, people)
    source = f"deb [trusted=yes] file:{SHARE}/packages ./\n"
    bed.run("sh", "-c", "rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*")
    bed.machine.write("/etc/apt/sources.list", source)
    bed.run("apt-get", "--quiet=2", "update")


# The camera.


@pytest.fixture
def lasting_name(bed: GuestBed) -> Iterator[None]:
    rule = "/run/udev/rules.d/70-bed.rules"
    bed.run("mkdir", "-p", "/run/udev/rules.d")
    bed.machine.write(rule, RULE)
    bed.run("udevadm", "control", "--reload")
    yield
    bed.run("rm", rule)
    bed.run("udevadm", "control", "--reload")
    bed.plug_in(USER)
    bed.use()


def test_a_camera_that_comes_back_under_another_number(bed: GuestBed, lasting_name: None) -> None:
    """The cure is a name that stays: with it, the next move needs none."""
    bed.plug_in(USER, OTHER_NODE)
    bed.lets_the_password_in()
    cure = named(bed, "camera", f"{NODE} cannot be opened", "No such file")
    (name,) = re.findall(r'device = "(.*?)"', cure)
    assert name == LASTING
    bed.use(name)
    is_whole(bed)
    bed.plug_in(USER, NODE)
    assert bed.sudo() == BY_FACE


@pytest.fixture
def vivid(bed: GuestBed) -> Iterator[None]:
    """A camera of the kernel's own, at NODE, which one program may use at a time."""
    bed.unplug()
    number = NODE.removeprefix("/dev/video")
    options = ("n_devs=1", "node_types=0x1", "input_types=0x0", f"vid_cap_nr={number}")
    bed.run("modprobe", "vivid", *options)
    bed.run("udevadm", "settle")
    yield
    bed.run("systemctl", "stop", CALL, PLUG, check=False)
    bed.wait(lambda: bed.machine.run("modprobe", "-r", "vivid", check=False).returncode == 0)
    bed.plug_in(USER)
    bed.use()


def test_a_camera_that_is_unplugged_while_it_looks(bed: GuestBed, vivid: None) -> None:
    """And comes back under another number."""
    for password, how in ((PASSWORD, BY_PASSWORD), (WRONG, DENIED)):
        attempt = bed.begin_sudo(password)
        bed.run(PYTHON, "-I", "-c", STREAMS, NODE)
        bed.run("systemd-run", "--quiet", f"--unit={PLUG}", "sh", "-c", UNPLUG, "-", NODE)
        assert ended(attempt) == how
        bed.run("systemctl", "stop", PLUG)
        assert "has gone" in bed.last_attempt()["error"]
    bed.run("modprobe", "-r", "vivid")
    bed.plug_in(USER, OTHER_NODE)
    assert named(bed, "last attempt", "has gone").startswith("try again")
    bed.lets_the_password_in()
    cure = named(bed, "camera", f"{NODE} cannot be opened")
    (name,) = re.findall(r'device = "(.*?)"', cure)
    bed.use(name)
    is_whole(bed)


def test_a_camera_that_another_program_uses(bed: GuestBed, vivid: None) -> None:
    bed.run("systemd-run", "--quiet", f"--unit={CALL}", *STREAMING, NODE)
    bed.run(PYTHON, "-I", "-c", STREAMS, NODE)
    bed.lets_the_password_in()
    cure = named(bed, "camera", "vivid", "in use: v4l2-ctl (pid")
    bed.run("sh", "-c", cure.rpartition("or: ")[2])
    bed.wait(lambda: bed.state(CALL) != "active")
    assert "camera" not in bed.complaints()


def test_an_infrared_camera_where_the_colour_camera_was(bed: GuestBed) -> None:
    """They are two nodes of one laptop, and have changed numbers."""
    bed.plug_in_with_infrared(USER, colour=OTHER_NODE, infrared=NODE)
    bed.lets_the_password_in()
    cure = named(bed, "camera nodes", f"{NODE} is an infrared node", f"{OTHER_NODE} of colour")
    (name,) = re.findall(r'device = "(.*?)"', cure)
    bed.use(name)
    is_whole(bed)
    bed.plug_in(USER)
    bed.use()


# The services.


def test_a_keeper_that_is_killed_while_somebody_is_looked_at(bed: GuestBed) -> None:
    for password, how in ((PASSWORD, BY_PASSWORD), (WRONG, DENIED)):
        bed.stand_before(NOBODY)
        attempt = bed.begin_sudo(password)
        bed.run("/usr/bin/python3", "-I", "-c", WATCHED, NODE)
        bed.kill(bed.keeper())
        assert ended(attempt) == how
    do(bed, named(bed, "units", KEEPER, "it was killed"))
    assert bed.state(KEEPER) == "active"
    is_whole(bed)


def test_an_observer_that_is_killed_while_it_looks(bed: GuestBed) -> None:
    for password, how in ((PASSWORD, BY_PASSWORD), (WRONG, DENIED)):
        bed.stand_before(NOBODY)
        attempt = bed.begin_sudo(password)
        bed.run("/usr/bin/python3", "-I", "-c", WATCHED, NODE)
        for pid in bed.observers():
            bed.kill(pid)
        assert ended(attempt) == how
    assert named(bed, "last attempt", "the observer died").startswith("try again")
    is_whole(bed)


@pytest.mark.parametrize("socket", SOCKETS)
def test_a_socket_that_was_stopped(bed: GuestBed, socket: str) -> None:
    bed.stand_before(STRANGER)
    bed.run("systemctl", "stop", socket)
    bed.lets_the_password_in()
    do(bed, named(bed, "units", f"{socket} is stopped"))
    assert bed.state(socket) == "active"
    is_whole(bed)


# The disk.


def test_a_root_that_became_read_only(bed: GuestBed) -> None:
    """As the kernel does it to all disks at once: nobody is asked to close his files before."""
    bed.run("sh", "-c", "echo u >/proc/sysrq-trigger")
    bed.wait(lambda: bed.machine.run("touch", "/var/tmp/x", check=False).returncode)
    bed.lets_the_password_in()
    do(bed, named(bed, "file systems", "/var/lib/pam_faceid", "read-only"))
    is_whole(bed)


def test_a_full_var(bed: GuestBed) -> None:
    bed.run("sh", "-c", FILL)
    bed.lets_the_password_in()
    cure = named(bed, "file systems", "/var/lib/pam_faceid", "no room is left")
    assert cure.startswith("make room")
    bed.run("rm", "/var/tmp/filler", "/var/tmp/rest")
    is_whole(bed)


# The key.


def power_tpm(bed: GuestBed, measured: str = "aa") -> None:
    """Make a TPM, or the same one again after a boot, with what its firmware has measured."""
    place = f"/var/lib/{TPM}"
    bed.run("mkdir", "-p", place)
    swtpm = ("swtpm", "chardev", "--vtpm-proxy", "--tpm2", "--tpmstate", f"dir={place}")
    bed.run("systemd-run", "--quiet", f"--unit={TPM}", *swtpm)
    bed.wait(lambda: bed.machine.run("test", "-c", "/dev/tpmrm0", check=False).returncode == 0)
    bed.run("tpm2_pcrextend", f"7:sha256={measured * 32}")


def lose_tpm(bed: GuestBed) -> None:
    # As firmware and kernel do. Each power cut that it was not told of counts as a wrong answer, of
    # which this one takes three before it answers nobody for a quarter of an hour.
    bed.run("tpm2_shutdown", "--clear")
    bed.run("systemctl", "stop", TPM)
    bed.wait(lambda: bed.machine.run("test", "-e", "/dev/tpmrm0", check=False).returncode)


def forget_key(bed: GuestBed) -> None:
    """What a boot does to the keeper: it has the key from systemd, anew at each start."""
    bed.run("systemctl", "stop", KEEPER)


@pytest.fixture
def tpm(bed: GuestBed) -> Iterator[None]:
    """The key is in a TPM, and leaves it in the end."""
    bed.run("modprobe", "tpm_vtpm_proxy", check=False)  # or built in
    power_tpm(bed)
    bed.run("faceid-admin", "key", "move", "--to", "tpm2")
    is_whole(bed)
    yield
    bed.run("faceid-admin", "key", "move", "--to", "file")
    lose_tpm(bed)


def test_a_tpm_that_is_gone(bed: GuestBed, tpm: None) -> None:
    lose_tpm(bed)
    forget_key(bed)
    bed.lets_the_password_in()
    assert "switch it on" in named(bed, "key", "cannot open the sealed template key")
    power_tpm(bed)
    is_whole(bed)


def test_secure_boot_that_was_changed(bed: GuestBed, tpm: None) -> None:
    bed.run("tpm2_pcrextend", f"7:sha256={'bb' * 32}")
    forget_key(bed)
    bed.lets_the_password_in()
    cure = named(bed, "key", "cannot open the sealed template key")
    assert "is secure boot as it was when the key was sealed" in cure
    lose_tpm(bed)
    power_tpm(bed)
    is_whole(bed)


# The distribution.


def test_pam_python_that_was_removed(bed: GuestBed, archive: None) -> None:
    """From under a service that is wired to it."""
    bed.run("faceid-admin", "pam", "enable", "sudo", *BY_SCRIPT, "--client", "pam_python")
    bed.lets_the_face_in()
    bed.run("dpkg", "--remove", "--force-depends", "libpam-python")
    bed.lets_the_password_in()
    do(bed, named(bed, "PAM services", "sudo", "pam_python.so", "not installed"))
    is_whole(bed)
    bed.run("faceid-admin", "pam", "enable", "sudo", *BY_SCRIPT, "--client", "native")
    is_whole(bed)


def test_a_python_that_was_replaced(bed: GuestBed, archive: None) -> None:
    """By one of another minor version, which does not run either."""
    forget_key(bed)
    bed.machine.write("/usr/bin/python3.12", "#!/bin/sh\necho half installed\nexit 1\n")
    bed.run("chmod", "0755", "/usr/bin/python3.12")
    bed.run("ln", "-sfn", "python3.12", "/usr/bin/python3")
    bed.lets_the_password_in()
    cure = named(bed, "Python", "/usr/bin/python3.12 cannot run", "/lib/python3.11")
    do(bed, cure.partition("; if that is not enough")[0])
    is_whole(bed)
    bed.run("rm", "/usr/bin/python3.12")


# The power.


def power_fails(bed: GuestBed) -> None:
    """Now, whatever is being done; and comes back."""
    bed.machine.switch_off()
    bed.machine.boot()
    bed.plug_in(USER)


def test_power_that_fails_during_an_enrolment(bed: GuestBed) -> None:
    bed.run("faceid-admin", "remove-user", USER, "--yes")
    enrol = ("faceid-admin", "add-user", USER, "--no-confirm", "--json")
    bed.machine.start(*enrol)
    bed.run("/usr/bin/python3", "-I", "-c", WATCHED, NODE)
    power_fails(bed)
    bed.lets_the_password_in()
    assert named(bed, "templates", "nobody is enrolled") == "faceid-admin add-user NAME"
    bed.run(*enrol)
    is_whole(bed)


def test_power_that_fails_during_an_upgrade(bed: GuestBed) -> None:
    """What was installed before still works, and the same command ends what it began."""
    (used,) = releases(bed)
    share, whole = random.uniform(*BUILT), size(bed, used)
    bed.machine.start(*INSTALL)
    bed.wait(lambda: any(size(bed, r) >= share * whole for r in releases(bed) if r != used))
    bed.run("sync")  # else nothing of it is there after the boot
    told(f"install.sh: off at {share:.0%} of what it builds")
    power_fails(bed)
    assert used in releases(bed), "it had ended"
    bed.stand_before(STRANGER)  # else the face lets in, which still works
    bed.lets_the_password_in()
    bed.lets_the_face_in()
    assert "run install.sh again" in named(bed, "left half done", "an upgrade was interrupted")
    bed.run(*INSTALL)
    is_whole(bed)
    assert len(releases(bed)) == 1


def releases(bed: GuestBed) -> list[str]:
    return bed.run("ls", RELEASES).split()


def size(bed: GuestBed, release: str) -> int:
    """Return how much it holds, blocks, while files may come and go."""
    return int(bed.run("sh", "-c", f"du --summarize {RELEASES}/{release} || true").split()[0])

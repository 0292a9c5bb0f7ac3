"""Who asks is not who sits before the camera: it is not opened, whoever is seen there.

The enrolled person is before it in each of these. Openings of the node are counted by inotify(7).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.bed.bed import NODE, GuestBed
from tests.e2e.bed.desktop import (
    GDM,
    GDM_SERVICE,
    in_session,
    unlock_gdm,
)
from tests.e2e.bed.guest import SHARE
from tests.systemd.conftest import BY_FACE as SUDO_BY_FACE
from tests.systemd.conftest import PASSWORD, SUDO, USER, Login
from tests.systemd.test_programs import BY_PASSWORD, DENIED
from tests.systemd.typing import type_at

LID, WATCHER = "bed-lid", "bed-openings"
SEEN = "/run/bed-openings"
SEATS = "/run/udev/rules.d/72-bed-seats.rules"
SUDO_BY_PASSWORD, SUDO_DENIED = Login(granted=True, asked=True), Login(granted=False, asked=True)


def openings(bed: GuestBed) -> int:
    """Return how often the node was opened since somebody watches it."""
    return bed.run("cat", SEEN).count("opened")


def sudo_at(bed: GuestBed, seat: str, password: str) -> Login:
    """sudo in a session of alice at a seat."""
    command = in_session(*SUDO[4:], seat=seat, options=("--pipe", "--wait"))
    ended = bed.machine.run(*command, given=f"{password}\n", check=False)
    return Login(granted=ended.stdout == "0\n", asked="PROMPT" in ended.stderr)


def why_refused(bed: GuestBed) -> tuple[str, str]:
    newest = bed.last_attempt()
    return newest["outcome"], newest["reason"]


@pytest.fixture(scope="module", autouse=True)
def _watched(bed: GuestBed) -> Iterator[None]:
    bed.run("modprobe", "--all", "evdev", "uinput", check=False)  # or in the kernel
    bed.run("modprobe", "vivid", "n_devs=1", "node_types=0x10101")  # for its screen
    bed.plug_in(USER)
    bed.run("faceid-admin", "pam", "enable", GDM_SERVICE, "--yes", "--no-confirm-timer")
    bed.run("systemctl", "start", GDM)
    bed.lets_the_face_in()
    bed.run(
        *("systemd-run", "--quiet", "--collect", f"--unit={WATCHER}"),
        *(f"--property=StandardOutput=append:{SEEN}", "/usr/bin/python3", "-I"),
        *(f"{SHARE}/openings.py", NODE),
    )
    bed.wait(lambda: "watching" in bed.run("cat", SEEN, check=False))
    yield
    bed.run("systemctl", "stop", WATCHER, GDM)
    bed.run("modprobe", "-r", "vivid")


@contextmanager
def a_camera_that_stays_closed(bed: GuestBed) -> Iterator[None]:
    """Count openings; afterwards a login by face, which has to be counted, shows that they are."""
    before = openings(bed)
    yield
    assert openings(bed) == before
    assert sudo_at(bed, "seat0", "") == SUDO_BY_FACE
    bed.wait(lambda: openings(bed) > before)


def attached(bed: GuestBed, *devices: str) -> None:
    """Give devices to the second seat, as logind's own rules do, and no others."""
    rules = (f'KERNEL=="{name}", TAG+="master-of-seat", ENV{{ID_SEAT}}="seat1"' for name in devices)
    bed.run("mkdir", "-p", SEATS.rpartition("/")[0])
    bed.machine.write(SEATS, "\n".join([*rules, ""]))
    bed.run("udevadm", "control", "--reload")
    for path in ("/sys/class/graphics/fb0", f"/sys/class/video4linux/{NODE.rpartition('/')[2]}"):
        bed.run("udevadm", "trigger", "--settle", path)


def lid_closed(bed: GuestBed) -> bool:
    """Whether logind knows the lid as closed."""
    manager = ("org.freedesktop.login1", "/org/freedesktop/login1")
    asked = ("busctl", "get-property", *manager, "org.freedesktop.login1.Manager", "LidClosed")
    return bed.run(*asked).split() == ["b", "true"]


@pytest.fixture
def lid(bed: GuestBed) -> Iterator[None]:
    """A laptop at a dock, whose lid is closed: logind does nothing then but know it."""
    settings = "/run/systemd/logind.conf.d/bed.conf"
    bed.run("mkdir", "-p", settings.rpartition("/")[0])
    bed.machine.write(settings, "[Login]\nHandleLidSwitch=ignore\n")
    bed.run("systemctl", "kill", "--signal=HUP", "systemd-logind.service")
    lid = ("/usr/bin/python3", "-I", f"{SHARE}/lid.py")
    bed.run("systemd-run", "--quiet", "--collect", f"--unit={LID}", *lid)
    bed.wait(lambda: "(Lid Switch)" in bed.run("journalctl", "--boot", "-u", "systemd-logind"))
    bed.run("systemctl", "kill", "--signal=USR1", LID)
    bed.wait(lambda: lid_closed(bed))
    yield
    bed.run("systemctl", "stop", LID)
    bed.wait(lambda: not lid_closed(bed))


def test_behind_a_closed_lid_nobody_is_looked_at(bed: GuestBed, lid: None) -> None:
    before = openings(bed)
    for password, how in ((PASSWORD, SUDO_BY_PASSWORD), ("wrong", SUDO_DENIED)):
        assert sudo_at(bed, "seat0", password) == how
        assert why_refused(bed) == ("not_permitted", "lid_closed")
    for password, locked in ((PASSWORD, BY_PASSWORD), ("wrong", DENIED)):
        assert unlock_gdm(bed, password).ended == locked
        assert why_refused(bed) == ("not_permitted", "lid_closed")
    assert openings(bed) == before
    bed.run("systemctl", "kill", "--signal=USR2", LID)
    bed.wait(lambda: not lid_closed(bed))
    with a_camera_that_stays_closed(bed):
        pass


def test_at_another_seat_than_the_cameras_nobody_is_looked_at(bed: GuestBed) -> None:
    attached(bed, "fb0")
    bed.wait(lambda: "seat1" in bed.run("loginctl", "list-seats"))
    with a_camera_that_stays_closed(bed):
        for password, how in ((PASSWORD, SUDO_BY_PASSWORD), ("wrong", SUDO_DENIED)):
            assert sudo_at(bed, "seat1", password) == how
            assert why_refused(bed) == ("not_permitted", "other_seat")
        for password, locked in ((PASSWORD, BY_PASSWORD), ("wrong", DENIED)):
            assert unlock_gdm(bed, password, "seat1").ended == locked
            assert why_refused(bed) == ("not_permitted", "other_seat")


def test_a_camera_that_was_given_to_the_other_seat_serves_that_one(bed: GuestBed) -> None:
    attached(bed, "fb0", NODE.rpartition("/")[2])
    try:
        assert sudo_at(bed, "seat1", "") == SUDO_BY_FACE
        assert sudo_at(bed, "seat0", PASSWORD) == SUDO_BY_PASSWORD
        assert why_refused(bed) == ("not_permitted", "other_seat")
    finally:
        attached(bed)


def test_over_ssh_nobody_is_looked_at_who_sits_there(bed: GuestBed) -> None:
    """Whoever has the password may come over ssh: not with the face of who sits at the machine."""
    sudo = "sudo -k -p 'PROMPT ' id -u"
    command = [
        *("runuser", "-u", USER, "--", "ssh", "-t", "-o", "StrictHostKeyChecking=no"),
        *("-o", "UserKnownHostsFile=/dev/null", f"{USER}@localhost", sudo),
    ]
    with a_camera_that_stays_closed(bed):
        for password, proof in ((PASSWORD, "\n0\r"), ("wrong", "Sorry, try again")):
            typed = type_at(
                bed.machine,
                command,
                ("assword:", PASSWORD),
                ("PROMPT", password),
                last_words=["Sorry"],
            )
            assert proof in typed.shown, typed.shown
            newest = bed.last_attempt()
            assert newest["service"] == "sudo"
            assert why_refused(bed) == ("not_permitted", "remote")

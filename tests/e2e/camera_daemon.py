"""faceidd and its observer under systemd, through sudo, before a real V4L2 node.

See README.md here; not collected by itself. install.sh must have run: what is tried are the
units, the configuration and the key of the machine itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from pam_faceid.adapters.cameras.nodes import holders, is_busy
from tests.e2e.conftest import FEEDER, LOOPBACK, VIVID, Feed, load_vivid, run, told
from tests.machines import SECONDS, Booted
from tests.systemd.conftest import BY_FACE, BY_PASSWORD, PASSWORD, SOCKETS, USER, Bed

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("vivid")]

RULE = Path("/etc/sudoers.d") / USER
CONFIGURATION = Path("/etc/pam_faceid/config.toml")
# A virtual machine is slow to load libraries; what is shown here is not speed.
# What is shown are pictures of people: no detector of pictures may be asked.
PATIENT = '[attempt]\ntimeout_seconds = 60\n[attack]\nmode = "off"\n'


class Node(Bed):
    """This machine, with a node as its camera."""

    def point_at(self, device: str, more: str = "") -> None:
        self.configure(f'[camera]\ndevice = "{device}"\nallow_virtual = true\n{PATIENT}{more}')

    def lookers(self, device: str = LOOPBACK) -> list[int]:
        """The processes that have the node open, whoever shows pictures aside."""
        pids = [pid for pid, _ in holders(device)]
        return [pid for pid in pids if str(FEEDER) not in self._command_line(pid)]

    def is_looked_through(self, device: str = LOOPBACK) -> bool:
        return not set(self.lookers(device)).isdisjoint(self.observers())

    def _command_line(self, pid: int) -> str:
        return self.run("cat", f"/proc/{pid}/cmdline", check=False)

    def log_in_timed(self, what: str) -> None:
        started = time.monotonic()
        assert self.sudo() == BY_FACE, self.attempts()[-1]
        line = self.attempts()[-1]
        told(f"{what}: {time.monotonic() - started:.2f} s, service {line['milliseconds']} ms")


@pytest.fixture(scope="module")
def this_machine() -> Iterator[Node]:
    """An account that may use sudo, and the face in sudo; both are gone at the end."""
    bed = Node(Booted(holder=os.getpid(), place=Path("/"), init=1))
    before = CONFIGURATION.read_text()
    bed.run("useradd", "--create-home", "--shell", "/bin/bash", USER)
    bed.machine.run("chpasswd", given=f"{USER}:{PASSWORD}\n")
    RULE.write_text(f"{USER} ALL=(ALL) ALL\n")
    RULE.chmod(0o440)
    bed.run("faceid-admin", "pam", "enable", "sudo", "--yes", "--no-confirm-timer")
    yield bed
    bed.run("faceid-admin", "pam", "disable", "sudo")
    bed.run("faceid-admin", "remove-user", USER, "--yes", check=False)
    bed.run("userdel", "--remove", USER, check=False)
    RULE.unlink()
    bed.configure(before)


@pytest.fixture
def bed(this_machine: Node, feed: Feed, portraits: tuple[Path, Path]) -> Node:
    """Somebody is enrolled, sits before the node, and has used the password since the boot."""
    face = str(portraits[0])
    this_machine.run("faceid-admin", "add-user", USER, "--no-confirm", "--replace", "--from", face)
    this_machine.point_at(LOOPBACK)
    feed(face)
    this_machine.log_in()
    return this_machine


@pytest.fixture
def nobody(tmp_path: Path) -> Path:
    """A wall."""
    file = tmp_path / "wall.png"
    cv2.imwrite(str(file), np.full((480, 640, 3), 120, np.uint8))
    return file


def test_a_person_enrols_verifies_and_logs_in_through_the_services(
    this_machine: Node, feed: Feed, shared_data: Path
) -> None:
    """Of a phone video of somebody who turns the head, on the machine's own program."""
    bed = this_machine
    bed.point_at(LOOPBACK)
    feed(sorted((shared_data / "td_live_real").rglob("*.MOV"))[0], rate=10)
    bed.run("faceid-admin", "add-user", USER, "--no-confirm", "--replace", "--json")
    report = json.loads(bed.machine.run("faceid-admin", "verify", USER, "--json").stdout)
    assert report["outcome"] == "match"
    bed.sudo(PASSWORD)  # which may come first after a boot
    for what in ("first", "second"):
        bed.log_in_timed(f"{what} login")
    line = bed.attempts()[-1]
    assert (line["camera"], line["recording"]) == (LOOPBACK, "no")


def test_the_node_is_open_while_somebody_is_looked_at_and_no_longer(
    bed: Node, feed: Feed, portraits: tuple[Path, Path], nobody: Path
) -> None:
    """By the observer alone: the keeper has no camera. The observer stays, for the next look."""
    before = bed.keeper(), bed.observers()
    for _ in range(2):
        bed.log_in_timed("login")
        bed.wait(lambda: not bed.lookers())
    assert (bed.keeper(), bed.observers()) == before

    feed(nobody)
    sudo = bed.start_sudo()
    bed.wait(bed.is_looked_through)
    assert bed.lookers() == bed.observers()
    assert sudo.communicate(timeout=SECONDS)[0] == "0\n"
    bed.wait(lambda: not bed.lookers())
    assert bed.attempts()[-1]["outcome"] == "failure_to_acquire"


def test_the_observers_service_may_open_cameras_and_no_other_device(bed: Node) -> None:
    """Asked as root from within its control group, where nothing but the device filter says no."""
    (observer,) = bed.observers()
    group = Path(f"/proc/{observer}/cgroup").read_text().rpartition(":")[2].strip()
    script = 'echo $$ >"/sys/fs/cgroup$1/cgroup.procs" && exec 3<"$2"'
    for device, allowed in ((LOOPBACK, True), (VIVID, True), ("/dev/kmsg", False)):
        ended = subprocess.run(
            ["sh", "-c", script, "-", group, device], capture_output=True, text=True, check=False
        )
        told(f"{device}: {ended.stderr.strip() or 'opened'}")
        assert (ended.returncode == 0) is allowed
        assert allowed or "not permitted" in ended.stderr


@pytest.mark.parametrize("first", ["password", "nobody asks"])
def test_a_camera_that_was_away_between_two_logins_lets_in_again(
    bed: Node, feed: Feed, portraits: tuple[Path, Path], first: str
) -> None:
    """Whether or not somebody asked meanwhile: the node that comes back is another file."""
    feed.stop()
    run("modprobe", "-r", "vivid")
    if first == "password":
        assert bed.sudo(PASSWORD) == BY_PASSWORD
        assert bed.attempts()[-1]["reason"] == "no_camera"
    load_vivid()
    if first == "password":
        assert bed.sudo(PASSWORD) == BY_PASSWORD
        assert "No such file" in bed.attempts()[-1]["error"]
    feed(portraits[0])
    bed.log_in_timed("login")


def test_a_camera_that_falls_silent_while_it_looks_costs_one_login(
    bed: Node, feed: Feed, portraits: tuple[Path, Path], nobody: Path
) -> None:
    feeder = feed(nobody)
    sudo = bed.start_sudo()
    bed.wait(bed.is_looked_through)
    feeder.kill()
    feeder.wait()
    assert sudo.communicate(timeout=SECONDS)[0] == "0\n"
    line = bed.attempts()[-1]
    assert line["outcome"] == "failure_to_acquire"
    assert "no frame" in line["error"]
    feed(portraits[0])
    bed.log_in_timed("login")


def test_a_camera_that_is_unplugged_while_it_looks_costs_one_login(bed: Node) -> None:
    # vivid plugs itself in again when nobody has it open.
    held = os.open(VIVID, os.O_RDWR)
    bed.point_at(VIVID)
    sudo = bed.start_sudo()
    bed.wait(lambda: bed.is_looked_through(VIVID))
    bed.wait(lambda: is_busy(VIVID))  # it streams, and did not only look which camera it is
    run("v4l2-ctl", "-d", VIVID, "-c", "disconnect=1")
    started = time.monotonic()
    assert sudo.communicate(timeout=SECONDS)[0] == "0\n"
    line = bed.attempts()[-1]
    told(f"password after {time.monotonic() - started:.1f} s: {line['error']}")
    assert line["outcome"] == "failure_to_acquire"
    assert "has gone" in line["error"]
    os.close(held)
    bed.point_at(LOOPBACK)
    bed.log_in_timed("login")


def test_a_camera_in_use_costs_one_login_and_the_administrator_is_told_by_whom(
    bed: Node, holder: subprocess.Popen[bytes]
) -> None:
    bed.point_at(VIVID)
    assert bed.sudo(PASSWORD) == BY_PASSWORD
    line = bed.attempts()[-1]
    told(f"{line['milliseconds']} ms: {line['error']}")
    assert line["outcome"] == "failure_to_acquire"
    assert "in use" in line["error"]
    ended = bed.machine.run("faceid-admin", "verify", USER, check=False)
    assert ended.returncode == 5
    assert f"v4l2-ctl ({holder.pid})" in ended.stderr
    holder.kill()
    holder.wait()
    bed.point_at(LOOPBACK)
    bed.log_in_timed("login")


def test_an_idle_observer_ends_and_the_next_login_starts_another(bed: Node) -> None:
    bed.point_at(LOOPBACK, more="[daemon]\nidle_seconds = 1\n")
    bed.log_in_timed("login before")
    bed.wait(lambda: not bed.observers())
    assert bed.lookers() == []
    bed.log_in_timed("login after")


def test_an_infrared_camera_lets_in(
    bed: Node, feed: Feed, shared_data: Path, portraits: tuple[Path, Path]
) -> None:
    """Enrolled and seen through a node that has nothing but grey."""
    feed(sorted((shared_data / "td_live_real").rglob("*.MOV"))[0], rate=10, pixel_format="GREY")
    bed.run("faceid-admin", "add-user", USER, "--no-confirm", "--replace", "--json")
    bed.log_in_timed("login")
    feed(portraits[0], pixel_format="GREY")
    assert bed.sudo(PASSWORD) == BY_PASSWORD
    assert bed.attempts()[-1]["outcome"] == "non_match"


def test_without_the_services_each_login_opens_the_node_itself(bed: Node) -> None:
    bed.run("systemctl", "stop", *SOCKETS)
    try:
        bed.log_in_timed("login")
        assert bed.keeper() == 0
        bed.wait(lambda: not bed.lookers())
    finally:
        bed.run("systemctl", "start", *SOCKETS)

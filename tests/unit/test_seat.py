"""Where the one who asks is, told from files as the kernel and logind write them."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from pam_faceid.adapters.seat import Caller, has_camera, seats_of

TMUX = "/user.slice/user-1000.slice/user@1000.service/tmux-spawn-1.scope"
DESKTOP = "/user.slice/user-1000.slice/user@1000.service/app.slice/app-terminal.scope"
NO_AUDIT = "4294967295"


class Machine:
    """A tree with processes and sessions, and callers in it."""

    def __init__(self, root: Path) -> None:
        self.proc = root / "proc"
        self.logind = root / "run/systemd"
        for folder in (self.proc, self.logind / "sessions", self.logind / "users"):
            folder.mkdir(parents=True)

    def process(
        self,
        pid: int,
        name: str,
        *,
        parent: int = 1,
        leader: int = 0,
        cgroup: str = "/",
        audit: str = NO_AUDIT,
        legacy: bool = False,
    ) -> None:
        entry = self.proc / str(pid)
        entry.mkdir()
        (entry / "stat").write_text(f"{pid} ({name}) S {parent} {pid} {leader or pid} 34817 0\n")
        lines = f"0::{cgroup}\n" if not legacy else f"4:cpu:/\n1:name=systemd:{cgroup}\n0::/\n"
        (entry / "cgroup").write_text(lines)
        (entry / "sessionid").write_text(audit)

    def session(self, name: str, **keys: str) -> None:
        pairs = {"UID": "1000", "ACTIVE": "1", "STATE": "active", "REMOTE": "0", "CLASS": "user"}
        text = "".join(f"{key}={value}\n" for key, value in (pairs | keys).items())
        (self.logind / "sessions" / name).write_text(f"# This is private data.\n{text}")

    def user(self, uid: int, **keys: str) -> None:
        text = "".join(f"{key}={value}\n" for key, value in keys.items())
        (self.logind / "users" / str(uid)).write_text(text)

    def caller(self, pid: int) -> Caller:
        return Caller(pid, self.proc, self.logind)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.process(1, "systemd", parent=0)
    return made


@pytest.mark.parametrize("login", ["sshd", "sshd-session", "dropbear", "mosh-server", "in.telnetd"])
def test_what_a_remote_login_started_is_remote(machine: Machine, login: str) -> None:
    machine.process(10, login)
    machine.process(11, "bash", parent=10)
    machine.process(12, "sudo", parent=11)
    assert machine.caller(12).remote_by() == login


def test_the_remote_login_itself_is_remote(machine: Machine) -> None:
    machine.process(10, "sshd")
    assert machine.caller(10).remote_by() == "sshd"


def test_a_local_shell_is_not_remote(machine: Machine) -> None:
    """Nor is it for a name that only looks like one."""
    machine.process(10, "login")
    machine.process(11, "not sshd (really", parent=10)
    machine.process(12, "sudo", parent=11)
    assert machine.caller(12).remote_by() == ""


def test_a_name_with_brackets_and_blanks_hides_no_parent(machine: Machine) -> None:
    machine.process(10, "sshd")
    machine.process(11, "a) S 1 1 (b", parent=10)
    assert machine.caller(11).remote_by() == "sshd"


def test_an_orphan_on_the_terminal_of_a_remote_login_is_remote(machine: Machine) -> None:
    """Its parent is gone and init adopted it; the leader of its session still has the terminal."""
    machine.process(10, "sshd")
    machine.process(11, "bash", parent=10)
    machine.process(12, "sudo", parent=1, leader=11)
    assert machine.caller(12).remote_by() == "sshd"


def test_a_session_that_logind_calls_remote_is_remote(machine: Machine) -> None:
    """A daemon-like child of an ssh login: no ancestor and no terminal, but the control group."""
    machine.session("7", REMOTE="1")
    machine.process(12, "sudo", cgroup="/user.slice/user-1000.slice/session-7.scope")
    assert machine.caller(12).remote_by() == "session 7"


def test_the_older_hierarchy_of_control_groups_is_read_too(machine: Machine) -> None:
    machine.session("c7", REMOTE="1")
    machine.process(12, "sudo", cgroup="/user.slice/session-c7.scope", legacy=True)
    assert machine.caller(12).remote_by() == "session c7"


def test_tmux_that_was_started_over_ssh_is_known_by_its_audit_session(machine: Machine) -> None:
    """tmux moves its panes out of the session's control group; the audit's id stays with them."""
    machine.session("7", REMOTE="1")
    machine.process(10, "tmux: server", cgroup=TMUX, audit="7")
    machine.process(12, "sudo", parent=10, cgroup=TMUX, audit="7")
    assert machine.caller(12).remote_by() == "session 7"


def test_tmux_of_the_seat_that_may_be_seen_over_ssh_is_remote(machine: Machine) -> None:
    """It was started here, but its user is logged in over the network too and may have attached."""
    machine.user(1000, DISPLAY="2", SESSIONS="2 7")
    machine.session("2", SEAT="seat0")
    machine.session("7", REMOTE="1")
    machine.process(10, "tmux: server", cgroup=TMUX, audit="2")
    machine.process(12, "sudo", parent=10, cgroup=TMUX, audit="2")
    machine.process(13, "sudo", cgroup=DESKTOP)
    assert machine.caller(12).remote_by() == "shared terminal, session 7"
    assert machine.caller(13).remote_by() == "", "what is no shared terminal is not meant"


def test_tmux_of_the_seat_alone_is_local(machine: Machine) -> None:
    machine.user(1000, DISPLAY="2", SESSIONS="2")
    machine.session("2", SEAT="seat0")
    machine.process(10, "tmux: server", cgroup=TMUX, audit="2")
    machine.process(12, "sudo", parent=10, cgroup=TMUX, audit="2")
    assert machine.caller(12).remote_by() == ""


def test_a_desktops_program_belongs_to_the_session_that_its_user_sees(machine: Machine) -> None:
    """A terminal of GNOME runs under the user's manager, which has no seat of its own."""
    machine.user(1000, DISPLAY="2", SESSIONS="2 3")
    machine.session("2", SEAT="seat0")
    machine.session("3", CLASS="manager")
    machine.process(12, "sudo", cgroup=DESKTOP, audit="3")
    session = machine.caller(12).session()
    assert session is not None
    assert (session.id, session.seat, session.active) == ("2", "seat0", True)


def test_a_session_behind_another_one_is_not_active(machine: Machine) -> None:
    machine.session("2", SEAT="seat0", ACTIVE="0", STATE="online")
    machine.process(12, "sudo", cgroup="/user.slice/user-1000.slice/session-2.scope")
    session = machine.caller(12).session()
    assert session is not None
    assert not session.active


def test_a_session_that_is_closing_is_nobodys(machine: Machine) -> None:
    """tmux that outlived its ssh login, and is used at the seat now."""
    machine.session("7", REMOTE="1", STATE="closing")
    machine.process(12, "sudo", audit="7")
    assert machine.caller(12).session() is None


@pytest.mark.parametrize("pid", [0, 12, 99])
def test_without_systemd_or_a_process_nothing_is_known(machine: Machine, pid: int) -> None:
    machine.process(12, "sudo", cgroup="/docker/0123")
    assert machine.caller(pid).session() is None
    assert machine.caller(pid).remote_by() == ""


@pytest.mark.parametrize("name", ["../users/1000", "", "a b", "."])
def test_a_session_name_leads_nowhere_else(machine: Machine, name: str) -> None:
    machine.user(1000, STATE="active", REMOTE="1", ACTIVE="1")
    machine.process(12, "sudo", cgroup=f"/session-{name}.scope", audit=name)
    assert machine.caller(12).session() is None


def test_a_ring_of_parents_ends(machine: Machine) -> None:
    machine.process(10, "a", parent=11)
    machine.process(11, "b", parent=10)
    assert machine.caller(10).remote_by() == ""


def test_a_file_that_is_not_text_is_unknown(machine: Machine) -> None:
    machine.process(12, "sudo")
    for name in ("stat", "cgroup", "sessionid"):
        (machine.proc / "12" / name).write_bytes(b"\xff\x00)" * 9)
    assert machine.caller(12).session() is None
    assert machine.caller(12).remote_by() == ""


def test_the_kernels_own_files_are_read(tmp_path: Path) -> None:
    """A real child of a real process that calls itself sshd."""
    told, telling = os.pipe()
    ending, end = os.pipe()
    login = os.fork()
    if login == 0:
        ctypes.CDLL(None).prctl(15, b"sshd", 0, 0, 0)  # PR_SET_NAME
        child = os.fork()
        if child == 0:
            os.close(end)
            os.read(ending, 1)
            os._exit(0)
        os.write(telling, f"{child}".encode())
        os.waitpid(child, 0)
        os._exit(0)
    try:
        found = Caller(int(os.read(told, 20)), Path("/proc"), tmp_path).remote_by()
    finally:
        os.write(end, b"x")
        os.waitpid(login, 0)
        for descriptor in (told, telling, ending, end):
            os.close(descriptor)
    assert found == "sshd"


@pytest.fixture
def cameras(tmp_path: Path) -> Path:
    """Two, of which udev gave the second to another seat."""
    for number, known in enumerate(
        ("S:v4l/by-id/usb-one\nE:ID_V4L_PRODUCT=One\n", "S:v4l/by-id/usb-two\nE:ID_SEAT=seat1\n")
    ):
        node = tmp_path / f"class/video4linux/video{number}"
        node.mkdir(parents=True)
        (node / "dev").write_text(f"81:{number}\n")
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / f"data/c81:{number}").write_text(known)
    return tmp_path


@pytest.mark.parametrize(
    ("device", "seats"),
    [
        ("/dev/video0", {"seat0"}),
        ("/dev/v4l/by-id/usb-one", {"seat0"}),
        ("/dev/video1", {"seat1"}),
        ("/dev/v4l/by-id/usb-two", {"seat1"}),
        ("auto", {"seat0", "seat1"}),
    ],
)
def test_a_camera_is_at_the_seat_that_udev_gave_it(
    cameras: Path, device: str, seats: set[str]
) -> None:
    assert seats_of(device, cameras, cameras) == seats


def test_a_camera_that_nobody_knows_is_at_the_first_seat(tmp_path: Path) -> None:
    """Where there is no udev, there is no other."""
    assert seats_of("auto", tmp_path, tmp_path) == {"seat0"}
    (tmp_path / "class/video4linux/video0").mkdir(parents=True)
    assert seats_of("/dev/video0", tmp_path, tmp_path) == {"seat0"}


def test_the_kernel_says_whether_there_is_a_camera(tmp_path: Path) -> None:
    assert has_camera(tmp_path), "where it does not say, the observer finds out"
    (tmp_path / "class").mkdir()
    assert not has_camera(tmp_path)
    (tmp_path / "class/video4linux").mkdir()
    assert not has_camera(tmp_path)
    (tmp_path / "class/video4linux/video0").mkdir()
    assert has_camera(tmp_path)

"""Where the one who asks is: at this machine, or somewhere else.

Read from files that everybody may read; logind's are those that `sd-login(3)` reads. What cannot be
read is unknown, and the unknown is no objection: docs/policy.md says what that leaves open.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# Names of processes as the kernel cuts them, to 15 characters.
REMOTE_LOGINS: Final = frozenset(
    {
        "sshd",
        "sshd-session",
        "dropbear",
        "mosh-server",
        "tailscaled",
        "telnetd",
        "in.telnetd",
        "in.rlogind",
        "in.rshd",
        "cockpit-bridge",
        "cockpit-session",
        "xrdp-sesman",
        "ttyd",
        "shellinaboxd",
    }
)
# Programs whose terminal several people can see at once, from here and from elsewhere.
SHARED_TERMINALS: Final = ("tmux", "screen", "SCREEN", "zellij", "dtach", "abduco")
FIRST_SEAT: Final = "seat0"  # of all that nobody assigned to another
NO_AUDIT_SESSION: Final = "4294967295"
_MOST_ANCESTORS: Final = 64
_MAX_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Session:
    """A session as logind keeps it.

    Args:
        id: Its name.
        remote: Somebody is logged in over the network.
        seat: The seat that it is at; empty when at none.
        active: It is the one in front.
    """

    id: str
    remote: bool
    seat: str
    active: bool


@dataclass(frozen=True, slots=True)
class Caller:
    """The process that asks, and where it stands.

    Args:
        pid: Of the process; 0 when it lives in another process namespace.
        proc: Where the kernel shows processes.
        logind: Where logind keeps sessions.
    """

    pid: int
    proc: Path
    logind: Path

    def remote_by(self) -> str:
        """Return what says that the request comes from elsewhere; empty when nothing does."""
        ancestors = list(self._ancestors())
        for name in ancestors:
            if name in REMOTE_LOGINS:
                return name
        session = self.session()
        if session is not None and session.remote:
            return f"session {session.id}"
        if any(name.startswith(SHARED_TERMINALS) for name in ancestors):
            # Its processes belong to where it was started; who looks at it now may be elsewhere.
            for other in self._sessions_of_owner():
                if other.remote:
                    return f"shared terminal, session {other.id}"
        return ""

    def session(self) -> Session | None:
        """Return the session that the process belongs to; None when that is unknown.

        Its control group names it, and else the id that the kernel's audit gave the login. A
        program that a desktop started belongs to the user's manager: then it is the session that
        logind displays for the user.
        """
        names = [_after(part, "session-", ".scope") for part in self._groups()]
        names.append(_read(self._entry / "sessionid"))
        for name in names:
            if name and name != NO_AUDIT_SESSION:
                session = self._load(name)
                if session is not None:
                    return session
        displayed = self._owner().get("DISPLAY", "")
        return self._load(displayed) if displayed else None

    @property
    def _entry(self) -> Path:
        return self.proc / str(self.pid)

    def _ancestors(self) -> Iterator[str]:
        """Yield the names of the process and of those it descends from.

        Those of its session's leader too: one that was left by its parent is adopted by init, but
        keeps the terminal.
        """
        if self.pid <= 0:
            return
        leader = _stat(self.proc, self.pid).leader
        seen: set[int] = set()
        for first in (self.pid, leader):
            pid = first
            while pid > 0 and pid not in seen and len(seen) < _MOST_ANCESTORS:
                seen.add(pid)
                process = _stat(self.proc, pid)
                yield process.name
                pid = process.parent

    def _groups(self) -> list[str]:
        """Return the parts of the process's path in systemd's hierarchy of control groups."""
        for line in _read(self._entry / "cgroup").splitlines():
            number, controllers, path = ([*line.split(":", 2), "", ""])[:3]
            if controllers == "name=systemd" or (number == "0" and not controllers):
                return path.split("/")
        return []

    def _owner(self) -> dict[str, str]:
        """Return what logind keeps of the user whose control group the process is in."""
        for part in self._groups():
            uid = _after(part, "user-", ".slice")
            if uid.isdigit():
                return _pairs(_read(self.logind / "users" / uid))
        return {}

    def _sessions_of_owner(self) -> Iterator[Session]:
        for name in self._owner().get("SESSIONS", "").split():
            session = self._load(name)
            if session is not None:
                yield session

    def _load(self, name: str) -> Session | None:
        if not name.isalnum():
            return None
        pairs = _pairs(_read(self.logind / "sessions" / name))
        # One that is closing has nobody logged in; a manager's has no place of its own.
        is_manager = pairs.get("CLASS", "").startswith("manager")
        if is_manager or pairs.get("STATE", "closing") == "closing":
            return None
        return Session(
            id=name,
            remote=pairs.get("REMOTE") == "1",
            seat=pairs.get("SEAT", ""),
            active=pairs.get("ACTIVE") == "1",
        )


def seats_of(device: str, sys: Path, udev: Path) -> frozenset[str]:
    """Return the seats of the video devices that a name may mean. Opens none.

    Args:
        device: As `[camera] device` has it.
        sys: Where the kernel shows devices.
        udev: Where udev keeps what it knows of them; its `ID_SEAT` is what logind goes by.
    """
    seats = set()
    try:
        nodes = list((sys / "class/video4linux").iterdir())
    except OSError:
        nodes = []
    for node in nodes:
        known = _read(udev / "data" / f"c{_read(node / 'dev')}").splitlines()
        names = {node.name, *(line[2:] for line in known if line.startswith("S:"))}
        if device == "auto" or device.removeprefix("/dev/") in names:
            given = (line[10:] for line in known if line.startswith("E:ID_SEAT="))
            seats.add(next(given, FIRST_SEAT))
    return frozenset(seats or {FIRST_SEAT})


def has_camera(sys: Path) -> bool:
    """Whether the kernel knows a video device, or does not say. Opens none."""
    if not (sys / "class").is_dir():
        return True
    try:
        return any((sys / "class/video4linux").iterdir())
    except OSError:
        return False


def plugged_in(sys: Path) -> frozenset[tuple[str, int]]:
    """Return the video devices that the kernel knows: name, and a number for this plugging in.

    One that is plugged out and in again is another, whatever its name. Opens none.
    """
    try:
        return frozenset(
            (entry.name, entry.lstat().st_ino) for entry in (sys / "class/video4linux").iterdir()
        )
    except OSError:
        return frozenset()


@dataclass(frozen=True, slots=True)
class _Process:
    """What `/proc/PID/stat` says.

    Args:
        name: Cut to 15 characters by the kernel; anything that the program chose.
        parent: 0 when unknown.
        leader: Of its session, which has the terminal; 0 when unknown.
    """

    name: str
    parent: int
    leader: int


def _stat(proc: Path, pid: int) -> _Process:
    # The name may hold blanks and brackets: the last bracket ends it.
    start, _, rest = _read(proc / str(pid) / "stat").rpartition(")")
    fields = rest.split()
    if len(fields) < 4:
        return _Process("", 0, 0)
    return _Process(start.partition("(")[2], int(fields[1]), int(fields[3]))


def _read(path: Path) -> str:
    """Return a small file's text; empty when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _pairs(text: str) -> dict[str, str]:
    lines = (line.partition("=") for line in text.splitlines())
    return {name: value for name, mark, value in lines if mark}


def _after(text: str, prefix: str, suffix: str) -> str:
    """Return what stands between the two; empty when they are not there."""
    if text.startswith(prefix) and text.endswith(suffix):
        return text[len(prefix) : -len(suffix)]
    return ""

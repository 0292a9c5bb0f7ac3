"""Skip by typing: the first key ends the scan, unseen, and is there for the password prompt."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance.conftest import Ended, Host, judge
from tests.conformance.service import BOUND_SECONDS, Act, Service

pytestmark = pytest.mark.root

SCANS = ('{"within": 60}', Act.LISTEN, '{"outcome": "skipped"}')
ENDED = b"<ended>"
LFLAG = 3


@dataclass
class Seat:
    """A shell on a terminal, in whose foreground pamtester runs.

    Args:
        ours: The side where a person sits.
        theirs: The side of the programs.
        output: Where pamtester writes.
        shown: What the terminal has shown so far.
    """

    ours: int
    theirs: int
    output: Path
    shown: bytes = b""

    def modes(self) -> list[object]:
        return list(termios.tcgetattr(self.theirs))

    def hides(self) -> bool:
        return not termios.tcgetattr(self.theirs)[LFLAG] & termios.ECHO

    def types(self, keys: bytes) -> None:
        os.write(self.ours, keys)

    def wait(self, holds: Callable[[], bool]) -> None:
        until = time.monotonic() + BOUND_SECONDS
        while not holds():
            assert time.monotonic() < until, (self.shown, self.output.read_text())
            self._look(0.005)

    def _look(self, seconds: float) -> None:
        if select.select([self.ours], [], [], seconds)[0]:
            self.shown += os.read(self.ours, 4096)

    def ended(self) -> Ended:
        """Wait until pamtester is gone."""
        self.wait(lambda: ENDED in self.shown)
        return judge(self.output.read_text())

    def left(self) -> bytes:
        """What a program would read next."""
        mode = termios.tcgetattr(self.theirs)
        mode[LFLAG] &= ~termios.ICANON
        mode[6][termios.VMIN] = mode[6][termios.VTIME] = 0
        termios.tcsetattr(self.theirs, termios.TCSANOW, mode)
        return os.read(self.theirs, 4096)


@pytest.fixture
def seat(host: Host, service: Service, terminal: tuple[int, int]) -> Iterator[Callable[..., Seat]]:
    """Starts pamtester; `run` is the shell's words for it."""
    shells = []

    def start(run: str = '"$@"') -> Seat:
        ours, theirs = terminal
        seat = Seat(ours, theirs, host.root / "output")
        seat.output.touch()
        # Ctrl-C must not end the shell, and must not be ignored by what it runs.
        script = f'trap : INT; {{ {run}; }} >"$OUTPUT" 2>&1; echo "<ended>"; exec sleep 1000'
        shell = subprocess.Popen(
            ["setsid", "--ctty", "sh", "-c", script, "sh", "pamtester", host.name, "maria",
             "authenticate"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "OUTPUT": str(seat.output), **host.client.environment},
        )  # fmt: skip
        shells.append(shell)
        return seat

    yield start
    for shell in shells:
        shell.kill()
        shell.wait(BOUND_SECONDS)


@pytest.mark.parametrize(
    ("keys", "left"),
    [
        (b"s", b"s"),
        (b"secret\r", b"secret\n"),
        (b"two\rlines\r", b"two\nlines\n"),
        ("\u00e9".encode(), "\u00e9".encode()),
        (b"\r", b""),
        (b"\r\r", b"\n\n"),
        (b"\x03", b""),
    ],
    ids=["a key", "a password", "two lines", "a letter of two bytes", "Enter", "Enter twice", "^C"],
)
def test_a_key_ends_the_scan_and_stays_unseen(
    seat: Callable[..., Seat], service: Service, keys: bytes, left: bytes
) -> None:
    service.says(*SCANS)
    sitting = seat()
    found = sitting.modes()
    sitting.wait(sitting.hides)
    sitting.types(keys)
    assert sitting.ended().code == "AUTH_ERR"
    assert service.ops() == [["authenticate", "skip"]]
    assert sitting.shown.replace(b"^C", b"").strip() == ENDED
    assert sitting.modes() == found
    assert sitting.left() == left


def test_what_was_typed_before_the_scan_ends_it_too(
    seat: Callable[..., Seat], service: Service
) -> None:
    service.says(*SCANS)
    sitting = seat('sleep 0.1; "$@"')
    sitting.types(b"early")
    assert sitting.ended().code == "AUTH_ERR"
    assert sitting.left() == b"early"


def test_without_a_key_the_terminal_is_as_it_was(
    seat: Callable[..., Seat], service: Service
) -> None:
    service.says('{"within": 60}', Act.REST, '{"outcome": "match"}')
    sitting = seat()
    found = sitting.modes()
    assert sitting.ended().code == "SUCCESS"
    assert sitting.modes() == found


def test_a_terminal_without_lines_is_only_looked_at(
    seat: Callable[..., Seat], service: Service
) -> None:
    """In raw mode every key would look like a line of its own, and be taken for Enter."""
    service.says(*SCANS)
    sitting = seat('stty -icanon; "$@"')
    sitting.wait(sitting.hides)
    sitting.types(b"s")
    assert sitting.ended().code == "AUTH_ERR"
    assert sitting.left() == b"s"


def test_in_the_background_the_terminal_is_left_alone(
    seat: Callable[..., Seat], service: Service
) -> None:
    """Its keys are for somebody else."""
    service.says('{"within": 60}', Act.REST, '{"outcome": "match"}')
    sitting = seat('set -m; "$@" & wait')
    sitting.types(b"for the shell")
    hidden = []
    sitting.wait(lambda: hidden.append(sitting.hides()) or ENDED in sitting.shown)
    assert judge(sitting.output.read_text()).code == "SUCCESS"
    assert not any(hidden)


def test_before_a_confirmation_the_terminal_is_given_back(
    seat: Callable[..., Seat], service: Service
) -> None:
    """misc_conv finds and leaves it as it was, and an empty line is a yes, not a skip."""
    service.says('{"within": 60}', Act.REST, '{"confirm": "Enter?"}', Act.LISTEN,
                 '{"outcome": "match"}')  # fmt: skip
    sitting = seat()
    found = sitting.modes()
    sitting.wait(lambda: "Enter?" in sitting.output.read_text())
    sitting.wait(sitting.hides)
    sitting.types(b"\r")
    assert sitting.ended().code == "SUCCESS"
    assert service.ops() == [["authenticate", "confirmed"]]
    assert sitting.modes() == found


def test_during_a_confirmation_signals_are_the_hosts(
    seat: Callable[..., Seat], service: Service
) -> None:
    """Ctrl-C at a prompt is for the program that shows it: pamtester dies of it.

    Where pam_python is in it, Python has a handler, and the hook makes an error of what it raises.
    """
    service.says('{"within": 60}', '{"confirm": "Enter?"}', Act.LISTEN)
    sitting = seat()
    sitting.wait(lambda: "Enter?" in sitting.output.read_text())
    sitting.types(b"\x03")
    assert sitting.ended().codes in ([], ["SYSTEM_ERR"])


def _pamtesters(host: Host) -> list[int]:
    """The host, then its guard."""
    listed = subprocess.run(
        ["pgrep", "--full", f"^pamtester {host.name}"], capture_output=True, text=True, check=False
    )
    found = [int(word) for word in listed.stdout.split()]
    # Not by their ids, which start again from low numbers.
    return sorted(found, key=lambda pid: _parent(pid) in found)


def _parent(pid: int) -> int:
    try:
        return int(Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["KILL", "TERM"])
def test_a_killed_host_leaves_the_terminal_as_it_was(
    host: Host, seat: Callable[..., Seat], service: Service, number: signal.Signals
) -> None:
    service.says(*SCANS)
    sitting = seat()
    found = sitting.modes()
    sitting.wait(sitting.hides)
    os.kill(_pamtesters(host)[0], number)
    sitting.wait(lambda: ENDED in sitting.shown)
    sitting.wait(lambda: sitting.modes() == found)
    sitting.wait(lambda: _pamtesters(host) == [])


def test_a_guard_that_hangs_or_is_gone_holds_nobody(
    host: Host, seat: Callable[..., Seat], service: Service
) -> None:
    service.says(*SCANS)
    sitting = seat()
    found = sitting.modes()
    sitting.wait(sitting.hides)
    for guard in _pamtesters(host)[1:]:
        os.kill(guard, signal.SIGSTOP)
    sitting.types(b"\x03")
    assert sitting.ended().code == "AUTH_ERR"
    assert sitting.modes() == found
    assert _pamtesters(host) == []


def test_the_guard_holds_nothing_of_the_hosts(
    host: Host, seat: Callable[..., Seat], service: Service
) -> None:
    """A pipe that the host passes on must close when the host closes it."""
    service.says(*SCANS)
    sitting = seat()
    sitting.wait(sitting.hides)
    sitting.wait(lambda: len(_pamtesters(host)) == 2)
    guard = Path("/proc", str(_pamtesters(host)[1]))
    sitting.wait(lambda: len(list((guard / "fd").iterdir())) == 2)
    held = sorted(str(link.readlink()).partition(":")[0] for link in (guard / "fd").iterdir())
    assert held[0] in (os.ttyname(sitting.theirs), "/dev/tty")
    assert held[1] in ("pipe", "socket")
    assert (guard / "stat").read_text().rpartition(")")[2].split()[3] == guard.name, "own session"
    sitting.types(b"\x03")
    sitting.ended()

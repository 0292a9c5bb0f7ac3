"""A `faceidd` of its own for a test, and clients that speak to it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.integration.conftest import BOUND_SECONDS, Machine

WAITING = "Waiting for the camera"
PATIENT = "[attempt]\ntimeout_seconds = 60.0\n"  # a face is found, however busy the machine

Line = dict[str, object]


def wait_until(true: Callable[[], object], what: str) -> None:
    """Wait for something that has to come."""
    deadline = time.monotonic() + BOUND_SECONDS
    while not true():
        assert time.monotonic() < deadline, f"not within {BOUND_SECONDS} s: {what}"
        time.sleep(0.01)


def kill(pid: int) -> None:
    """Kill a process that need not be a child, and wait until nothing of it is left but its name.

    Its sockets stay open for as long as its last thread takes to end.
    """
    process = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(process, signal.SIGKILL)
        assert select.select([process], [], [], BOUND_SECONDS)[0], f"{pid} does not die"
    finally:
        os.close(process)


class Client:
    """A client that believes anybody and says anything.

    Args:
        path: Of the service's socket.
        uid: Whom the kernel shall take it for.
    """

    def __init__(self, path: Path, *, uid: int = 0) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        os.seteuid(uid)
        try:
            self.socket.connect(str(path))  # waits for room in the listener's queue
        finally:
            os.seteuid(0)
        self.socket.settimeout(BOUND_SECONDS)
        self._received = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, line: object) -> None:
        """Send a line; a value that is not bytes goes as JSON."""
        data = line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
        self.socket.sendall(data)

    def receive(self) -> Line | None:
        """Wait for one line; None when it was hung up on."""
        while b"\n" not in self._received:
            try:
                data = self.socket.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                return None
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        decoded: Line = json.loads(line)
        return decoded

    def receive_until(self, key: str) -> Line:
        """Wait for a line that has this key."""
        while (line := self.receive()) is not None:
            if key in line:
                return line
        raise AssertionError(f"hung up before a line with {key!r}")

    def outcome(self) -> str | None:
        """Wait for the last line; None when it was hung up on before."""
        while (line := self.receive()) is not None:
            if "outcome" in line:
                return str(line["outcome"])
        return None


@dataclass(frozen=True)
class Daemon:
    """A running `faceidd` in a root tree of its own."""

    machine: Machine
    process: subprocess.Popen[bytes]
    manager: socket.socket

    @property
    def socket(self) -> Path:
        return self.machine.layout.socket

    def request(self, user: str = "", service: str = "") -> Line:
        """What a client asks."""
        name = user or self.machine.account.name
        return {"op": "authenticate", "user": name, "service": service or "test"}

    @contextlib.contextmanager
    def client(self, user: str = "", *, uid: int = 0) -> Iterator[Client]:
        """A client that has asked."""
        with Client(self.socket, uid=uid) as client:
            client.send(self.request(user))
            yield client

    def authenticate(self, user: str = "", *, uid: int = 0) -> str | None:
        """Ask, and wait for the outcome and for the look to be over."""
        with self.client(user, uid=uid) as client:
            outcome = client.outcome()
            # The outcome is sent while the observer is still looking; the daemon hangs up after.
            assert outcome is None or client.receive() is None
            return outcome

    def observers(self) -> list[int]:
        """The observers that it has started."""
        found = []
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += [int(pid) for pid in (task / "children").read_text().split()]
        return found

    def descriptors(self) -> int:
        """How many files it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def told(self, text: str) -> str:
        """Wait until it has told its manager this; return the whole message."""
        self.manager.settimeout(BOUND_SECONDS)
        while text not in (message := self.manager.recv(4096).decode()):
            pass
        return message

    def reload(self) -> str:
        """Have it read the configuration; return what it tells its manager of it."""
        self.signal(signal.SIGHUP)
        return self.told("READY=1")

    def stop(self) -> int:
        """End it as systemd would; return its exit status."""
        self.signal(signal.SIGTERM)
        return self.process.wait(timeout=BOUND_SECONDS)


def configure(machine: Machine, picture: Path, settings: str = PATIENT) -> None:
    """Put a picture before the camera; settings follow as TOML."""
    machine.show(picture)
    machine.configure(machine.layout.config_file.read_text() + settings)


@contextlib.contextmanager
def running(machine: Machine, **environment: str) -> Iterator[Daemon]:
    """Run a daemon in the foreground, under a manager that listens."""
    address = machine.layout.root / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        address.unlink(missing_ok=True)
        manager.bind(str(address))
        process = subprocess.Popen(
            [
                *(machine.program.python, "-I", "-B", "-m", "pam_faceid.apps.daemon"),
                *("--root", machine.layout.root, "--foreground"),
            ],
            stdin=subprocess.DEVNULL,
            env={"NOTIFY_SOCKET": str(address), **environment},
            start_new_session=True,
        )
        daemon = Daemon(machine, process, manager)
        try:
            daemon.told("READY=1")
            yield daemon
        finally:
            process.kill()
            process.wait()

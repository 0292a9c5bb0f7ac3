"""Typing while the camera looks: real sudo on real terminals, and a service that is scripted."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import socket
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Machine

pytestmark = pytest.mark.root

BOUND_SECONDS = 60  # a hang, not a speed
INTERRUPT = "\x03"
PROMPT = "PASSWORD:"

Settings = list[Any]


class Service:
    """A service that looks for a face as long as the test wants.

    It says that it looks, and then hears the client out: `skip` is answered as the protocol has it.
    What is put into `says` is said, line by line.
    """

    def __init__(self, root: Path) -> None:
        self.heard: list[dict[str, str]] = []
        self.says: Queue[dict[str, object]] = Queue()
        self._changed = threading.Condition()
        (root / "run/pam_faceid").mkdir(parents=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(root / "run/pam_faceid/socket"))
        self._listener.listen()
        self._listener.settimeout(0.05)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._listener.close()

    def hears(self, op: str, *, seconds: float) -> bool:
        """Whether a client has said this, or says it within so long."""
        with self._changed:
            return self._changed.wait_for(lambda: op in self.ops(), seconds)

    def wait_for(self, op: str, count: int = 1) -> dict[str, str]:
        """Wait until a client has said this so many times; returns the last of them."""

        def found() -> list[dict[str, str]]:
            return [line for line in self.heard if line["op"] == op]

        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= count, BOUND_SECONDS), self.heard
            return found()[-1]

    def ops(self) -> list[str]:
        with self._changed:
            return [line["op"] for line in self.heard]

    def _serve(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = self._listener.accept()
                with connection, contextlib.suppress(OSError):
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        def say(line: dict[str, object]) -> None:
            connection.sendall(json.dumps(line).encode() + b"\n")

        pending = b""
        while not self._ended.is_set():
            if not select.select([connection], [], [], 0.01)[0]:
                while not self.says.empty():
                    say(self.says.get())
                continue
            received = connection.recv(4096)
            if not received:
                return
            *lines, pending = (pending + received).split(b"\n")
            for line in map(json.loads, lines):
                with self._changed:
                    self.heard.append(line)
                    self._changed.notify_all()
                if line["op"] == "authenticate":
                    say({"within": 60})
                    say({"info": "Looking"})
                elif line["op"] == "skip":
                    say({"outcome": "skipped"})
                elif line["op"] == "let_in":
                    say({"outcome": "noted"})


@dataclass
class Terminal:
    """A terminal with a person before it."""

    master: int
    slave: int
    seen: str = ""
    marks: int = 0
    found: Settings = field(default_factory=list)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def settings(self) -> Settings:
        return termios.tcgetattr(self.slave)

    def silent(self) -> bool:
        return not self.settings()[3] & termios.ECHO

    def wait_until(self, true: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + BOUND_SECONDS
        while not true():
            assert time.monotonic() < deadline, f"not {what}: {self.seen!r}"
            self.watch(0.01)

    def watch(self, seconds: float) -> None:
        """See what is shown for a while."""
        if select.select([self.master], [], [], seconds)[0]:
            self.seen += os.read(self.master, 4096).decode(errors="replace")

    def wait_for(self, text: str, count: int = 1) -> None:
        self.wait_until(lambda: self.seen.count(text) >= count, f"{count} times {text!r}")


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    master, slave = pty.openpty()
    made = Terminal(master, slave)
    made.found = made.settings()
    try:
        yield made
    finally:
        with contextlib.suppress(OSError):
            os.close(master)
        os.close(slave)


@pytest.fixture
def service(machine: Machine) -> Iterator[Service]:
    made = Service(machine.layout.root)
    try:
        yield made
    finally:
        made.close()


@dataclass(frozen=True)
class Sudo:
    """Real sudo for the test account, under a PAM service of its own."""

    machine: Machine
    rules: Path

    @property
    def marks(self) -> set[bytes]:
        """By one of these words a host of this test is known."""
        return {MARK.encode(), self.machine.service.encode()}

    def pamtester(self) -> str:
        """The command of another host, which leaves every signal at its default."""
        return f"pamtester {self.machine.service} {self.machine.account.name} authenticate"

    def allow(self, *lines: str) -> None:
        name, service = self.machine.account.name, self.machine.service
        text = (
            f"Defaults:{name} pam_service={service}, pam_login_service={service}\n"
            f'Defaults:{name} passprompt="{PROMPT} ", !pwfeedback\n'
        )
        self.rules.write_text(text + "\n".join(lines or (f"{name} ALL=(ALL) ALL",)) + "\n")
        self.rules.chmod(0o440)

    @contextlib.contextmanager
    def shell(
        self, terminal: Terminal, command: str, *, shell: str = "sh -c"
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run a command in a shell that leads the terminal's session.

        As the test account, but for pamtester, which is not setuid.
        """
        name = self.machine.account.name
        become = ["setpriv", "--reuid", name, "--regid", name, "--init-groups"]
        client = subprocess.Popen(
            [
                *("setsid", "--ctty", *([] if "pamtester" in command else become)),
                *("env", "-i", "PATH=/usr/bin:/bin", *shell.split(), command),
            ],
            stdin=terminal.slave,
            stdout=terminal.slave,
            stderr=terminal.slave,
            cwd="/",
        )
        try:
            yield client
        finally:
            client.kill()
            client.wait(timeout=BOUND_SECONDS)
            self.wait_until_gone()

    def pids(self) -> list[int]:
        """Every process of sudo that this test started, guards included."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    if words[0] in (b"sudo", b"pamtester") and self.marks & {*words}:
                        found.append(int(entry.name))
        return sorted(found)

    def wait_until_gone(self) -> None:
        deadline = time.monotonic() + BOUND_SECONDS
        while self.pids():
            assert time.monotonic() < deadline, "sudo or a guard outlives its job"
            time.sleep(0.01)


MARK = f"faceid-mark-{os.getpid()}"
SUDO = f"sudo -k printf 'let %s in\\n' {MARK}"  # so that the command does not look like its output
LET_IN = f"let {MARK} in"
AFTERWARDS = '; echo "ended $?"; read word; echo "word=$word"'


@pytest.fixture
def sudo(machine: Machine) -> Iterator[Sudo]:
    rules = Path("/etc/sudoers.d", machine.service)
    made = Sudo(machine, rules)
    made.allow()
    try:
        yield made
    finally:
        rules.unlink()


@contextlib.contextmanager
def scanning(
    sudo: Sudo, service: Service, terminal: Terminal, command: str = SUDO
) -> Iterator[subprocess.Popen[bytes]]:
    """sudo in the middle of a scan, with the terminal silent."""
    with sudo.shell(terminal, command + AFTERWARDS) as client:
        service.wait_for("authenticate")
        terminal.wait_until(terminal.silent, "silent while the camera looks")
        yield client


# --- what is typed ---


def test_a_password_begun_during_the_scan_is_kept_whole_and_not_shown(
    sudo: Sudo, service: Service, terminal: Terminal
) -> None:
    password = sudo.machine.account.password
    with scanning(sudo, service, terminal):
        terminal.type(password[:1])
        service.wait_for("skip")
        terminal.wait_for(PROMPT)
        terminal.type(password[1:] + "\n")
        terminal.wait_for("ended 0")
    assert LET_IN in terminal.seen
    assert terminal.seen.startswith(PROMPT)
    assert password[0] not in terminal.seen.replace(PROMPT, "").partition("\n")[0]
    assert terminal.settings() == terminal.found


@pytest.mark.parametrize("ended", ["", "\n"], ids=["without its Enter", "with its Enter"])
def test_a_password_pasted_during_the_scan_is_kept_whole_and_not_shown(
    sudo: Sudo, service: Service, terminal: Terminal, ended: str
) -> None:
    password = sudo.machine.account.password
    with scanning(sudo, service, terminal):
        terminal.type(password + ended)
        service.wait_for("skip")
        terminal.wait_for(PROMPT)
        terminal.type("" if ended else "\n")
        terminal.wait_for("ended 0")
    assert password not in terminal.seen
    assert terminal.seen.count(PROMPT) == 1
    assert terminal.settings() == terminal.found


def test_ctrl_c_asks_for_the_password_and_does_not_end_sudo(
    sudo: Sudo, service: Service, terminal: Terminal
) -> None:
    with scanning(sudo, service, terminal, f"trap : INT; {SUDO}"):
        terminal.type("\x03")
        service.wait_for("skip")
        terminal.wait_for(PROMPT)
        terminal.type(sudo.machine.account.password + "\n")
        terminal.wait_for("ended 0")
    assert terminal.settings() == terminal.found


def test_a_lone_enter_asks_for_the_password_and_is_no_empty_try(
    sudo: Sudo, service: Service, terminal: Terminal
) -> None:
    """Once in three: one Enter in thousands falls into the moment in which it cannot be told."""
    for _ in range(3):
        terminal.seen = ""
        service.heard.clear()
        with scanning(sudo, service, terminal):
            terminal.type("\n")
            service.wait_for("skip")
            terminal.wait_for(PROMPT)
            terminal.type(sudo.machine.account.password + "\n")
            terminal.wait_for("ended")
        if "Sorry" not in terminal.seen:
            break
    assert "Sorry" not in terminal.seen
    assert LET_IN in terminal.seen


def test_ctrl_d_ends_the_scan_and_the_password_prompt(
    sudo: Sudo, service: Service, terminal: Terminal
) -> None:
    """As it does where no camera looks."""
    with scanning(sudo, service, terminal):
        terminal.type("\x04")
        service.wait_for("skip")
        terminal.wait_for("ended 1")
    assert "no password was provided" in terminal.seen
    assert terminal.settings() == terminal.found


def test_what_is_typed_after_a_key_can_be_corrected(
    sudo: Sudo, service: Service, terminal: Terminal
) -> None:
    password = sudo.machine.account.password
    with scanning(sudo, service, terminal):
        terminal.type(password[:2])
        service.wait_for("skip")
        terminal.wait_for(PROMPT)
        terminal.type("xx\x7f\x7f" + password[2:] + "\n")
        terminal.wait_for("ended 0")


# --- the terminal afterwards, whatever happens ---


def test_the_terminal_is_as_before_after_a_match(
    sudo: Sudo, service: Service, terminal: Terminal
) -> None:
    with scanning(sudo, service, terminal):
        service.says.put({"outcome": "match"})
        terminal.wait_for("ended 0")
    assert PROMPT not in terminal.seen
    assert terminal.settings() == terminal.found


def test_the_terminal_is_as_before_when_the_service_dies(
    sudo: Sudo, service: Service, terminal: Terminal
) -> None:
    with scanning(sudo, service, terminal):
        service.close()
        terminal.wait_for(PROMPT)
        terminal.type(sudo.machine.account.password + "\n")
        terminal.wait_for("ended 0")
    assert terminal.settings() == terminal.found


@pytest.mark.parametrize(
    ("host", "number"),
    [
        ("sudo", signal.SIGKILL),  # the others it keeps for the command that it is about to run
        ("pamtester", signal.SIGKILL),
        ("pamtester", signal.SIGTERM),
        ("pamtester", signal.SIGQUIT),
    ],
)
def test_the_terminal_is_as_before_when_the_host_is_killed_in_mid_scan(
    sudo: Sudo, service: Service, terminal: Terminal, host: str, number: signal.Signals
) -> None:
    with scanning(sudo, service, terminal, SUDO if host == "sudo" else sudo.pamtester()):
        victim, _guard = family(sudo)
        os.kill(victim, number)
        terminal.wait_for("ended")
        terminal.wait_until(lambda: terminal.settings() == terminal.found, "restored")
        sudo.wait_until_gone()


def family(sudo: Sudo) -> tuple[int, int]:
    """sudo and the guard of its terminal, once both are there."""
    deadline = time.monotonic() + BOUND_SECONDS
    while len(pids := sudo.pids()) != 2:
        assert time.monotonic() < deadline, pids
        time.sleep(0.01)
    parents = {
        pid: int(Path(f"/proc/{pid}/stat").read_text().split(") ")[1].split()[1]) for pid in pids
    }
    (guard,) = (pid for pid in pids if parents[pid] in pids)
    return parents[guard], guard


def test_the_guard_holds_nothing_but_the_terminal_and_its_leash(
    sudo: Sudo, service: Service, terminal: Terminal
) -> None:
    with scanning(sudo, service, terminal):
        host, guard = family(sudo)
        held = Path(f"/proc/{guard}/fd")
        terminal.wait_until(lambda: len(list(held.iterdir())) == 2, "closed")
        names = {str(entry.readlink()).partition(":")[0] for entry in held.iterdir()}
        assert names == {"/dev/tty", "pipe"}
        assert os.getsid(guard) == guard != os.getsid(host)
        service.says.put({"outcome": "match"})
        terminal.wait_for("ended 0")
        assert not Path(f"/proc/{guard}").exists()


def test_a_guard_that_is_gone_or_stopped_holds_nobody_up(
    sudo: Sudo, service: Service, terminal: Terminal
) -> None:
    for number in (signal.SIGKILL, signal.SIGSTOP):
        with scanning(sudo, service, terminal):
            _host, guard = family(sudo)
            os.kill(guard, number)
            service.says.put({"outcome": "match"})
            terminal.wait_for("ended 0")
        terminal.seen = ""
        service.heard.clear()
    assert terminal.settings() == terminal.found


def test_a_guard_leaves_alone_what_the_shell_has_set(
    sudo: Sudo, service: Service, terminal: Terminal
) -> None:
    """A shell that sets its terminal before the guard wakes has the last word."""
    with scanning(sudo, service, terminal):
        host, guard = family(sudo)
        held = Path(f"/proc/{guard}/fd")
        terminal.wait_until(lambda: len(list(held.iterdir())) == 2, "waiting")
        os.kill(guard, signal.SIGSTOP)
        os.kill(host, signal.SIGKILL)
        terminal.wait_for("ended")
        wanted = [
            *terminal.found[:3],
            terminal.found[3] & ~termios.ICANON & ~termios.IEXTEN & ~termios.ECHO,
            *terminal.found[4:],
        ]
        termios.tcsetattr(terminal.slave, termios.TCSANOW, wanted)
        os.kill(guard, signal.SIGCONT)
        sudo.wait_until_gone()
        assert terminal.settings()[:4] == wanted[:4]


def test_a_terminal_that_is_closed_leaves_nothing_behind(
    sudo: Sudo, service: Service, terminal: Terminal
) -> None:
    with scanning(sudo, service, terminal) as client:
        family(sudo)
        os.close(terminal.slave)
        os.close(terminal.master)
        client.wait(timeout=BOUND_SECONDS)
        sudo.wait_until_gone()
        terminal.master, terminal.slave = pty.openpty()


# --- jobs and sessions ---


@pytest.fixture
def job_shell(sudo: Sudo, terminal: Terminal) -> Iterator[Terminal]:
    """A shell with job control, and the person before it."""
    with sudo.shell(terminal, "exec dash -i", shell="sh -c"):
        terminal.wait_for("$ ")
        yield terminal
        terminal.type("\nexit\nexit\n")


def test_ctrl_z_stops_sudo_and_ends_the_scan(
    sudo: Sudo, service: Service, job_shell: Terminal
) -> None:
    """The camera does not go on looking for a stopped job, and the shell echoes."""
    job_shell.type(SUDO + "\n")
    service.wait_for("authenticate")
    job_shell.wait_until(job_shell.silent, "silent")
    job_shell.type("\x1a")
    service.wait_for("skip")
    job_shell.wait_for("Stopped")
    assert job_shell.settings() == job_shell.found
    job_shell.type("fg\n")
    job_shell.wait_for(PROMPT)
    job_shell.type(sudo.machine.account.password + "\n")
    job_shell.wait_for(LET_IN)
    assert service.ops().count("authenticate") == 1


def test_a_job_in_the_background_leaves_the_terminal_alone(
    sudo: Sudo, service: Service, job_shell: Terminal
) -> None:
    job_shell.type(f"{SUDO} &\n")
    service.wait_for("authenticate")
    job_shell.type("echo shown $((6 * 7))\n")
    job_shell.wait_for("shown 42")
    assert "echo shown" in job_shell.seen
    assert "skip" not in service.ops()
    service.says.put({"outcome": "match"})
    job_shell.wait_for(LET_IN)
    job_shell.wait_until(lambda: job_shell.settings() == job_shell.found, "as before")


def test_a_job_that_comes_to_the_foreground_hears_keys(
    sudo: Sudo, service: Service, job_shell: Terminal
) -> None:
    job_shell.type(f"{SUDO} &\n")
    service.wait_for("authenticate")
    job_shell.type("fg\n")
    job_shell.wait_until(job_shell.silent, "silent")
    job_shell.type(sudo.machine.account.password + "\n")
    job_shell.wait_for(LET_IN)
    assert service.ops()[:2] == ["authenticate", "skip"]
    job_shell.wait_until(lambda: job_shell.settings() == job_shell.found, "as before")


def test_a_resized_window_changes_nothing(sudo: Sudo, service: Service, terminal: Terminal) -> None:
    with scanning(sudo, service, terminal):
        host, _guard = family(sudo)
        for _ in range(20):
            os.kill(host, signal.SIGWINCH)
        service.says.put({"outcome": "match"})
        terminal.wait_for("ended 0")
    assert "skip" not in service.ops()


def run_sudo(sudo: Sudo, *arguments: str, given: str = "", **variables: str) -> tuple[str, int]:
    """Run sudo without a terminal."""
    name = sudo.machine.account.name
    ended = subprocess.run(
        [
            *("setsid", "setpriv", "--reuid", name, "--regid", name, "--init-groups"),
            *(
                "env",
                "-i",
                "PATH=/usr/bin:/bin",
                *(f"{key}={value}" for key, value in variables.items()),
            ),
            *("sudo", *arguments, "echo", LET_IN),
        ],
        input=given,
        capture_output=True,
        text=True,
        timeout=BOUND_SECONDS,
        cwd="/",
        check=False,
    )
    return ended.stdout + ended.stderr, ended.returncode


def test_without_a_terminal_the_camera_looks_and_the_password_comes_from_elsewhere(
    sudo: Sudo, service: Service
) -> None:
    service.says.put({"outcome": "match"})
    assert run_sudo(sudo, "-k", "-S") == (f"{LET_IN}\n", 0)
    service.says.put({"outcome": "non_match"})
    output, status = run_sudo(sudo, "-k", "-S", given=sudo.machine.account.password + "\n")
    assert status == 0
    assert PROMPT in output


def test_an_askpass_program_is_asked_after_a_non_match(sudo: Sudo, service: Service) -> None:
    askpass = sudo.machine.layout.root / "askpass"
    askpass.write_text(f"#!/bin/sh\necho {sudo.machine.account.password}\n")
    askpass.chmod(0o755)
    service.says.put({"outcome": "non_match"})
    output, status = run_sudo(sudo, "-k", "-A", SUDO_ASKPASS=str(askpass))
    assert (output, status) == (f"{LET_IN}\n", 0)


# --- repeats, and who is told that a password let someone in ---


def test_three_tries_at_the_password_look_once(
    sudo: Sudo, service: Service, terminal: Terminal
) -> None:
    with scanning(sudo, service, terminal):
        service.says.put({"outcome": "non_match"})
        for count in (1, 2, 3):
            terminal.wait_for(PROMPT, count)
            terminal.type(f"wrong {count}\n")
        terminal.wait_for("ended 1")
    assert service.ops() == ["authenticate"]


def test_the_service_learns_that_the_password_let_someone_in(
    sudo: Sudo, service: Service, terminal: Terminal
) -> None:
    """Of the one who was asked, although sudo has long named the user to become."""
    with scanning(sudo, service, terminal):
        service.says.put({"outcome": "non_match"})
        terminal.wait_for(PROMPT)
        terminal.type("wrong\n")
        terminal.wait_for(PROMPT, 2)
        terminal.type(sudo.machine.account.password + "\n")
        terminal.wait_for("ended 0")
    assert service.ops() == ["authenticate", "let_in"]
    line = service.wait_for("let_in")
    assert line["user"] == sudo.machine.account.name
    assert line["service"] == sudo.machine.service


def test_nobody_is_told_of_a_password_after_a_face(sudo: Sudo, service: Service) -> None:
    service.says.put({"outcome": "match"})
    assert run_sudo(sudo, "-k", "-S")[1] == 0
    assert service.ops() == ["authenticate"]


def test_nobody_is_told_of_a_password_when_none_was_asked(sudo: Sudo, service: Service) -> None:
    name = sudo.machine.account.name
    assert run_sudo(sudo, "-k", "-n")[1] == 1, "nothing may be asked"
    sudo.allow(f"{name} ALL=(ALL) NOPASSWD: ALL")
    assert run_sudo(sudo, "-n")[1] == 0
    assert service.ops() == []


def test_cached_credentials_neither_look_nor_tell(
    sudo: Sudo, service: Service, terminal: Terminal
) -> None:
    command = SUDO.replace(" -k", "")
    with scanning(sudo, service, terminal, f"{command}; {command}"):
        service.says.put({"outcome": "non_match"})
        terminal.wait_for(PROMPT)
        terminal.type(sudo.machine.account.password + "\n")
        terminal.wait_for("ended 0")
    assert terminal.seen.count(LET_IN) == 2
    assert service.ops() == ["authenticate", "let_in"]


# --- a deliberate key before anything unlocks ---


def test_enter_confirms_a_match(sudo: Sudo, service: Service, terminal: Terminal) -> None:
    with scanning(sudo, service, terminal):
        service.says.put({"confirm": "Enter unlocks: "})
        terminal.wait_for("Enter unlocks")
        assert len(sudo.pids()) == 1, "the host has the terminal, so no guard"
        terminal.type("\n")
        service.wait_for("confirmed")
        service.says.put({"outcome": "match"})
        terminal.wait_for("ended 0")
    assert PROMPT not in terminal.seen
    assert terminal.settings() == terminal.found


@pytest.mark.parametrize("answer", ["no\n", INTERRUPT, "\x04"], ids=["text", "Ctrl-C", "Ctrl-D"])
def test_anything_but_enter_confirms_nothing(
    sudo: Sudo, service: Service, terminal: Terminal, answer: str
) -> None:
    with scanning(sudo, service, terminal, f"trap : INT; {SUDO}"):
        service.says.put({"confirm": "Enter unlocks: "})
        terminal.wait_for("Enter unlocks")
        terminal.type(answer)
        # Between its prompt and its read, sudo loses an interrupt; a person would press again.
        for _ in range(BOUND_SECONDS if answer == INTERRUPT else 0):
            if service.hears("skip", seconds=1):
                break
            terminal.type(answer)
        service.wait_for("skip")
        terminal.wait_until(lambda: PROMPT in terminal.seen or "ended" in terminal.seen, "asked")
        terminal.type("\x04")
        terminal.wait_for("ended 1")
    assert "confirmed" not in service.ops()
    assert LET_IN not in terminal.seen
    assert terminal.settings() == terminal.found

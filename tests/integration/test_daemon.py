"""faceidd: one attempt after the other, whatever happens to it or around it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from tests.daemons import PATIENT, WAITING, Client, Daemon, configure, kill, running, wait_until

if TYPE_CHECKING:
    from tests.integration.conftest import Machine

pytestmark = pytest.mark.root

Portraits = tuple[Path, Path]


@pytest.fixture
def enrolled(machine: Machine, enrolment: Machine, portraits: Portraits) -> Machine:
    """The first portrait is enrolled and sits before the camera."""
    configure(machine, portraits[0])
    machine.enrol_like(enrolment)
    return machine


@pytest.fixture
def daemon(enrolled: Machine) -> Iterator[Daemon]:
    with running(enrolled) as started:
        yield started


@pytest.fixture
def wall(tmp_path: Path) -> Path:
    """A picture of nobody."""
    path = tmp_path / "wall.png"
    cv2.imwrite(str(path), np.full((480, 640, 3), 128, np.uint8))
    return path


def show(daemon: Daemon, picture: Path, settings: str = PATIENT) -> None:
    """Put a picture before the camera of a running daemon."""
    configure(daemon.machine, picture, settings)
    assert "STATUS=Ready" in daemon.reload()


def test_models_are_loaded_once_for_many_attempts(daemon: Daemon) -> None:
    assert daemon.observers() == []
    assert daemon.authenticate() == "match"
    (first,) = daemon.observers()
    assert daemon.authenticate() == "match"
    assert daemon.observers() == [first]
    assert [line["outcome"] for line in daemon.machine.audit()] == ["match", "match"]


def test_models_are_dropped_after_an_idle_time_and_loaded_again(enrolled: Machine) -> None:
    text = enrolled.layout.config_file.read_text()
    enrolled.configure(f"{text}\n[daemon]\nidle_seconds = 0.1\n")
    with running(enrolled) as daemon:
        assert daemon.authenticate() == "match"
        wait_until(lambda: not daemon.observers(), "the observer ended")
        assert daemon.authenticate() == "match"


def test_models_are_loaded_while_the_password_is_typed_that_was_due(
    daemon: Daemon, tmp_path: Path
) -> None:
    """As after each restart, where the first login by face would else be the slowest."""
    (record,) = daemon.machine.layout.state.iterdir()
    record.rename(kept := tmp_path / "kept")

    assert daemon.authenticate() == "not_permitted"

    (observer,) = daemon.observers()
    assert daemon.machine.audit()[-1]["reason"] == "password_first"
    kept.rename(record)
    assert daemon.authenticate() == "match"
    assert daemon.observers() == [observer]


def test_no_models_are_loaded_for_whom_no_password_lets_in_by_face(daemon: Daemon) -> None:
    assert daemon.authenticate("root") == "not_permitted"
    assert daemon.observers() == []


def test_a_shorter_idle_time_drops_models_that_are_loaded_already(
    daemon: Daemon, portraits: Portraits
) -> None:
    assert daemon.authenticate() == "match"
    show(daemon, portraits[0], "[daemon]\nidle_seconds = 0.1\n")
    wait_until(lambda: not daemon.observers(), "the observer ended")


def test_a_stranger_is_refused_between_two_matches(daemon: Daemon, portraits: Portraits) -> None:
    assert daemon.authenticate() == "match"
    show(daemon, portraits[1])
    assert daemon.authenticate() == "non_match"
    show(daemon, portraits[0])
    assert daemon.authenticate() == "match"


def test_new_settings_are_in_force_after_sighup_and_not_before(
    daemon: Daemon, portraits: Portraits
) -> None:
    configure(daemon.machine, portraits[0], "[services.test]\nenabled = false\n")
    assert daemon.authenticate() == "match"
    assert "STATUS=Ready" in daemon.reload()
    assert daemon.authenticate() == "not_permitted"


@pytest.mark.parametrize(
    "text", ["[camera]\nno_such_thing = 1\n", '[matching]\nembedder = "no_such_thing"\n']
)
def test_settings_that_are_not_valid_are_named_and_leave_the_old_in_force(
    daemon: Daemon, text: str
) -> None:
    """Nor are those that name a model which is not there."""
    daemon.machine.configure(text)
    told = daemon.reload()
    assert "not valid" in told
    assert "no_such_thing" in told
    assert daemon.authenticate() == "match"


def test_a_daemon_without_valid_settings_waits_for_them_and_lets_nobody_in(
    enrolled: Machine,
) -> None:
    valid = enrolled.layout.config_file.read_text()
    enrolled.configure("nonsense")
    with running(enrolled) as daemon:
        assert daemon.authenticate() == "internal_error"
        enrolled.configure(valid)
        assert daemon.authenticate() == "match"
        assert daemon.process.poll() is None


def test_sigterm_lets_the_running_attempt_end_and_sends_the_others_away(
    daemon: Daemon, wall: Path
) -> None:
    show(daemon, wall, "[attempt]\ntimeout_seconds = 2.0\n")
    with daemon.client() as looked_at, daemon.client() as waiting:
        looked_at.receive_until("info")
        waiting.receive_until("info")
        daemon.signal(signal.SIGTERM)
        assert waiting.outcome() == "internal_error"
        assert looked_at.outcome() == "failure_to_acquire"
        assert looked_at.outcome() is None
    assert daemon.process.wait(60) == 0
    assert not daemon.socket.exists()


def test_ctrl_c_lets_the_running_attempt_end_too(daemon: Daemon) -> None:
    """The terminal sends it to the whole process group, which the observer must not be in."""
    with daemon.client() as client:
        client.receive_until("info")
        wait_until(
            lambda: [os.getsid(pid) for pid in daemon.observers()] == daemon.observers() != [],
            "an observer",
        )
        os.killpg(daemon.process.pid, signal.SIGINT)
        assert client.outcome() == "match"
    assert daemon.process.wait(60) == 0


def test_an_observer_killed_between_attempts_is_replaced(daemon: Daemon) -> None:
    assert daemon.authenticate() == "match"
    (observer,) = daemon.observers()
    kill(observer)
    assert daemon.authenticate() == "match"
    assert observer not in daemon.observers()


def test_an_observer_killed_in_an_attempt_ends_that_attempt_only(
    daemon: Daemon, wall: Path, portraits: Portraits
) -> None:
    show(daemon, wall)
    with daemon.client() as client:
        client.receive_until("info")
        wait_until(daemon.observers, "an observer")
        for observer in daemon.observers():
            os.kill(observer, signal.SIGKILL)
        assert client.outcome() == "internal_error"
    show(daemon, portraits[0])
    assert daemon.authenticate() == "match"


def test_a_stopped_observer_costs_one_attempt(daemon: Daemon, portraits: Portraits) -> None:
    assert daemon.authenticate() == "match"
    show(daemon, portraits[0], "[attempt]\ntimeout_seconds = 0.5\n")
    (observer,) = daemon.observers()
    os.kill(observer, signal.SIGSTOP)
    assert daemon.authenticate() == "failure_to_acquire"
    wait_until(lambda: observer not in daemon.observers(), "the stopped observer is gone")
    show(daemon, portraits[0])
    assert daemon.authenticate() == "match"


def test_the_observer_ends_with_a_killed_daemon(daemon: Daemon) -> None:
    assert daemon.authenticate() == "match"
    (observer,) = daemon.observers()
    daemon.process.kill()
    wait_until(lambda: not Path(f"/proc/{observer}").exists(), "the observer ended")


def test_pam_is_served_by_the_daemon_and_by_a_worker_once_it_is_gone(daemon: Daemon) -> None:
    machine = daemon.machine
    assert machine.authenticate(None).accepted
    (observer,) = daemon.observers()
    assert machine.authenticate(None).accepted
    assert daemon.observers() == [observer]
    daemon.process.kill()
    daemon.process.wait()
    assert daemon.socket.exists()
    ended = machine.authenticate(None)
    assert ended.accepted, ended.output
    assert len(machine.audit()) == 3


def test_a_daemon_killed_in_an_attempt_leaves_the_password(daemon: Daemon, wall: Path) -> None:
    show(daemon, wall)
    machine = daemon.machine
    client = subprocess.Popen(
        ["pamtester", machine.service, machine.account.name, "authenticate"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_until(daemon.observers, "an observer")
    daemon.process.kill()
    output, _ = client.communicate(f"{machine.account.password}\n", timeout=60)
    assert client.returncode == 0, output
    assert "assword" in output


def test_a_killed_daemon_leaves_a_socket_that_the_next_one_replaces(enrolled: Machine) -> None:
    with running(enrolled) as first:
        pass
    assert first.socket.exists()
    with running(enrolled) as second:
        assert second.authenticate() == "match"
        assert second.socket.stat().st_mode & 0o777 == 0o666
        assert second.stop() == 0


def test_a_second_daemon_does_not_take_the_socket_of_a_living_one(daemon: Daemon) -> None:
    machine = daemon.machine
    ended = start(machine)
    assert ended.returncode == 1
    assert "another faceidd listens" in ended.stderr
    assert daemon.authenticate() == "match"


def test_a_socket_of_somebody_else_is_not_taken_either(machine: Machine) -> None:
    """systemd holds no lock of ours."""
    machine.layout.socket.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(machine.layout.socket))
        listener.listen()
        ended = start(machine)
        assert ended.returncode == 1
        assert "another faceidd listens" in ended.stderr
        assert machine.layout.socket.exists()


def test_a_directory_that_others_can_change_is_no_place_to_listen(machine: Machine) -> None:
    directory = machine.layout.socket.parent
    directory.mkdir(parents=True)
    directory.chmod(0o777)
    ended = start(machine)
    assert ended.returncode == 1
    assert str(directory) in ended.stderr


def test_only_root_listens(machine: Machine) -> None:
    ended = start(machine, user=65534)
    assert ended.returncode == 1
    assert "only root" in ended.stderr


def test_without_a_socket_or_a_wish_for_one_nothing_starts(machine: Machine) -> None:
    ended = start(machine, foreground=False)
    assert ended.returncode == 2
    assert "--foreground" in ended.stderr
    assert not machine.layout.socket.exists()


def test_a_socket_that_systemd_passes_is_served_and_left_in_place(enrolled: Machine) -> None:
    enrolled.layout.socket.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(enrolled.layout.socket))
        listener.listen()
        with activated(enrolled, listener) as process:
            with Client(enrolled.layout.socket) as client:
                client.send({"op": "authenticate", "user": enrolled.account.name, "service": "t"})
                assert client.outcome() == "match"
            process.terminate()
            assert process.wait(60) == 0
        assert enrolled.layout.socket.exists()


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_what_systemd_passes_has_to_be_a_listening_stream_socket(
    machine: Machine, kind: int
) -> None:
    with socket.socket(socket.AF_UNIX, kind) as passed, activated(machine, passed) as process:
        assert process.wait(60) == 1


def test_the_manager_hears_of_start_reload_stop_and_every_half_watchdog_time(
    machine: Machine,
) -> None:
    with running(machine, WATCHDOG_USEC="200000") as daemon:  # `running` has seen READY=1
        daemon.told("WATCHDOG=1")
        daemon.told("WATCHDOG=1")
        daemon.signal(signal.SIGHUP)
        assert "MONOTONIC_USEC=" in daemon.told("RELOADING=1")
        daemon.told("READY=1")
        daemon.signal(signal.SIGTERM)
        daemon.told("STOPPING=1")
        assert daemon.process.wait(60) == 0


def test_an_idle_daemon_never_wakes_up(daemon: Daemon) -> None:
    """With models dropped and nobody there, not one system call ends until somebody comes."""
    assert daemon.authenticate() == "match"
    text = daemon.machine.layout.config_file.read_text()
    daemon.machine.configure(f"{text}\n[daemon]\nidle_seconds = 0.0\n")
    daemon.reload()
    wait_until(lambda: not daemon.observers(), "the models were dropped")
    tasks = sorted(Path(f"/proc/{daemon.process.pid}/task").iterdir())

    def switches() -> list[str]:
        return [
            line
            for task in tasks
            for line in (task / "status").read_text().splitlines()
            if "ctxt_switches" in line
        ]

    def asleep() -> bool:
        before = switches()
        time.sleep(1.0)  # the measure: nobody wakes up in a second
        return before == switches()

    wait_until(asleep, "a second without a wake-up")


def test_skipping_while_waiting_is_answered_at_once(daemon: Daemon, wall: Path) -> None:
    show(daemon, wall)
    with daemon.client() as looked_at:
        looked_at.receive_until("info")
        with daemon.client() as waiting:
            assert waiting.receive() == {"within": 60.0}
            assert waiting.receive() == {"info": WAITING}
            waiting.send({"op": "skip"})
            assert waiting.outcome() == "skipped"
        looked_at.send({"op": "skip"})
        assert looked_at.outcome() == "skipped"
    wait_until(lambda: len(daemon.machine.audit()) == 2, "a record of both")


def test_who_is_gone_before_the_first_word_has_hung_up(daemon: Daemon) -> None:
    """As a client whose limit is over while the service still starts."""
    with daemon.client():
        pass
    wait_until(lambda: daemon.machine.audit() != [], "a record of who hung up")
    (line,) = daemon.machine.audit()
    assert (line["outcome"], line["reason"]) == ("skipped", "hung_up")


def test_hanging_up_while_waiting_gives_the_place_up(daemon: Daemon, wall: Path) -> None:
    show(daemon, wall)
    with daemon.client() as looked_at:
        looked_at.receive_until("info")
        for _ in range(3):
            with daemon.client() as waiting:
                waiting.receive_until("info")
        wait_until(lambda: len(daemon.machine.audit()) == 3, "a record of who hung up")
        assert {line["reason"] for line in daemon.machine.audit()} == {"hung_up"}
        looked_at.send({"op": "skip"})
        assert looked_at.outcome() == "skipped"
    assert daemon.machine.audit()[3]["outcome"] == "skipped"


def test_the_news_of_a_password_waits_behind_no_attempt(daemon: Daemon, wall: Path) -> None:
    show(daemon, wall)
    with daemon.client() as looked_at, Client(daemon.socket) as news:
        looked_at.receive_until("info")
        name = daemon.machine.account.name
        news.send({"op": "let_in", "user": name, "service": "test"})
        assert news.outcome() == "noted"
        looked_at.send({"op": "skip"})


def test_a_refusal_waits_behind_no_attempt(daemon: Daemon, wall: Path) -> None:
    show(daemon, wall)
    with daemon.client() as looked_at, daemon.client("root") as refused:
        looked_at.receive_until("info")
        assert refused.outcome() == "not_permitted"
        (line,) = daemon.machine.audit()
        assert line["reason"] == "root"
        looked_at.send({"op": "skip"})


def start(
    machine: Machine, *, foreground: bool = True, user: int = 0
) -> subprocess.CompletedProcess[str]:
    """Start a daemon that is to end by itself."""
    return subprocess.run(
        [
            *(machine.program.python, "-I", "-B", "-m", "pam_faceid.apps.daemon"),
            *("--root", machine.layout.root, *(["--foreground"] if foreground else [])),
        ],
        env={},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        user=user,
    )


@contextlib.contextmanager
def activated(machine: Machine, passed: socket.socket) -> Iterator[subprocess.Popen[bytes]]:
    """Start a daemon as systemd does: the socket is descriptor 3, and it is told so."""
    python, root = machine.program.python, machine.layout.root
    process = subprocess.Popen(
        [
            *("sh", "-c", 'exec env LISTEN_PID=$$ LISTEN_FDS=1 "$@" 3<&0 <&-', "sh"),
            *(python, "-I", "-B", "-m", "pam_faceid.apps.daemon", "--root", root),
        ],
        stdin=passed,
        env={},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()

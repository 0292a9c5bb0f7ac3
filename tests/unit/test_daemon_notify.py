"""What the manager is told, on a real datagram socket."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_faceid.apps.errands import Hand, Mailbox
from pam_faceid.apps.notify import Notifier, Watchdog


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(0)
        yield listening


def notifier(manager: socket.socket, **more: str) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": str(manager.getsockname()), **more})


def heard(manager: socket.socket) -> list[str]:
    messages = []
    while True:
        try:
            messages.append(manager.recv(4096).decode())
        except BlockingIOError:
            return messages


def test_each_message_is_one_datagram(manager: socket.socket) -> None:
    tells = notifier(manager)
    tells.ready("Ready")
    tells.stopping()
    ready, stopping = heard(manager)
    assert ready.splitlines() == ["READY=1", "STATUS=Ready"]
    assert stopping.splitlines()[0] == "STOPPING=1"


def test_a_status_of_several_lines_says_nothing_else(manager: socket.socket) -> None:
    notifier(manager).ready("a\nWATCHDOG=trigger\nMAINPID=1")
    assert heard(manager) == ["READY=1\nSTATUS=a WATCHDOG=trigger MAINPID=1"]


def test_an_abstract_address_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        name = f"pam_faceid-test-{os.getpid()}"
        listening.bind(f"\0{name}")
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).alive()
        assert listening.recv(100) == b"WATCHDOG=1"


def test_nobody_to_tell_is_no_trouble(tmp_path: Path) -> None:
    Notifier({}).alive()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).alive()


def test_what_was_meant_for_this_process_is_not_passed_on(manager: socket.socket) -> None:
    environment = {
        "NOTIFY_SOCKET": str(manager.getsockname()),
        "WATCHDOG_USEC": "60000000",
        "WATCHDOG_PID": str(os.getpid()),
        "LANG": "C",
    }
    assert Notifier(environment).watchdog_seconds == 60.0
    assert environment == {"LANG": "C"}


@pytest.mark.parametrize(
    "variables",
    [{}, {"WATCHDOG_USEC": "nonsense"}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}],
)
def test_nobody_watches_another_process_or_for_nonsense(
    manager: socket.socket, variables: dict[str, str]
) -> None:
    watchdog = Watchdog(
        notifier(manager, **variables), busy_seconds=lambda: 0.0, longest_seconds=1.0
    )
    assert watchdog.next_deadline() is None
    watchdog.feed()
    assert heard(manager) == []


def test_the_watchdog_is_not_fed_while_a_hand_hangs(manager: socket.socket) -> None:
    hand, mailbox = Hand("test"), Mailbox()
    reading, writing = os.pipe()

    def hang() -> None:
        mailbox.post(lambda: None)
        os.read(reading, 1)
        mailbox.post(lambda: None)

    def wait_for_hand() -> None:
        import select

        select.select([mailbox], [], [], 60)
        mailbox.work()

    watchdog = Watchdog(
        notifier(manager, WATCHDOG_USEC="2"), busy_seconds=hand.busy_seconds, longest_seconds=0.0001
    )

    def feed_when_due() -> None:
        while time.monotonic() < (watchdog.next_deadline() or 0.0):
            pass
        watchdog.feed()

    feed_when_due()
    assert heard(manager) == ["WATCHDOG=1"]
    hand.give(hang)
    wait_for_hand()
    while hand.busy_seconds() < 0.0001:
        pass
    feed_when_due()
    assert heard(manager) == []
    os.write(writing, b"x")
    wait_for_hand()
    while hand.busy_seconds() > 0:
        pass
    feed_when_due()
    assert heard(manager) == ["WATCHDOG=1"]

"""Fifty people at once, and twenty who want to spoil it."""

from __future__ import annotations

import contextlib
import subprocess
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.daemons import Daemon, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

PERSON, STRANGER = 40, 10  # clients of each
HOSTILE = 20
STRANGERS_NAME = "games"  # an account of the distribution that has no password

# Each of these goes on until it is killed, as the account of the tests.
DEEDS = """
import contextlib, json, socket, sys, time
path, user, deed = sys.argv[1], sys.argv[2], int(sys.argv[3])
ask = json.dumps({"op": "authenticate", "user": user, "service": "x"}).encode() + b"\\n"
steal = json.dumps({"op": "authenticate", "user": "root", "service": "x"}).encode() + b"\\n"
print("ready", flush=True)
while True:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.settimeout(1.0)
        if deed == 0:
            client.sendall(b"[" * 4000 + b"\\n")
        elif deed == 1:
            client.sendall(ask[:-1])
        elif deed == 2:
            client.sendall(ask)
        elif deed == 3:
            client.sendall(ask + ask)
        elif deed == 4:
            client.sendall(steal)
        if deed != 2:
            client.recv(100)
    time.sleep(0.02)
"""


@contextlib.contextmanager
def hostile_crowd(daemon: Daemon) -> Iterator[list[subprocess.Popen[bytes]]]:
    account = daemon.machine.account
    crowd = [
        subprocess.Popen(
            [
                *(daemon.machine.program.python, "-I", "-c", DEEDS),
                *(daemon.socket, account.name, str(number % 5)),
            ],
            user=account.uid,
            stdout=subprocess.PIPE,
        )
        for number in range(HOSTILE)
    ]
    try:
        for each in crowd:
            assert each.stdout is not None
            assert each.stdout.readline() == b"ready\n"
        yield crowd
    finally:
        for each in crowd:
            each.kill()
            each.wait()


def test_nobody_is_starved_and_nobody_wrongly_let_in(
    daemon: Daemon, portraits: tuple[Path, Path]
) -> None:
    machine = daemon.machine
    machine.admin("add-user", STRANGERS_NAME, "--no-confirm", "--from", str(portraits[1]))
    names = [machine.account.name] * PERSON + [STRANGERS_NAME] * STRANGER
    with hostile_crowd(daemon) as crowd:
        clients = [
            subprocess.Popen(
                ["pamtester", machine.service, name, "authenticate"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for name in names
        ]
        accepted = Counter(
            name
            for name, client in zip(names, clients, strict=True)
            if client.wait(timeout=300) == 0
        )
        assert [each.poll() for each in crowd] == [None] * HOSTILE
    assert accepted == {machine.account.name: PERSON}
    assert daemon.process.poll() is None
    assert daemon.authenticate() == "match"
    wait_until(lambda: daemon.descriptors() < 20, "the descriptors of the crowd were closed")

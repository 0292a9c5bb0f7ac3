"""What a client can do to faceidd and to the others: nothing that costs them more than time."""

from __future__ import annotations

import array
import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from pam_faceid.apps.door import MOST_CONNECTIONS, MOST_OF_ONE_USER
from pam_faceid.apps.protocol import LINE_SECONDS, MAX_REQUEST_BYTES
from pam_faceid.apps.turns import MOST_WAITING_OF_ONE
from tests.daemons import PATIENT, Client, Daemon, wait_until

pytestmark = pytest.mark.root

NOBODY = 65534
SKIP = b'{"op": "skip"}\n'


def request(user: str, **more: object) -> bytes:
    return json.dumps({"op": "authenticate", "user": user, "service": "test", **more}).encode()


def deep(opening: bytes, closing: bytes) -> bytes:
    depth = (MAX_REQUEST_BYTES - 100) // (len(opening) + len(closing))
    value = opening * depth + b"1" + closing * depth
    # Before the operation, so that the decoder has to pass it to find what the line is.
    return b'{"user": ' + value + b', "op": "authenticate", "service": "s"}'


GARBAGE = {
    "nothing": b"",
    "null": b"null",
    "an outcome": b'{"outcome": "match"}',
    "another operation": b'{"op": "shut_down"}',
    "no operation": b'{"user": "root", "service": "sudo"}',
    "skip first": SKIP.strip(),
    "confirmed first": b'{"op": "confirmed"}',
    "an unknown key": request("root", admin=True),
    "a key twice with two types": b'{"op": "authenticate", "user": "a", "user": 1, "service": "s"}',
    "a number for a name": b'{"op": "authenticate", "user": 0, "service": "sudo"}',
    "no name": b'{"op": "authenticate", "service": "sudo"}',
    "not JSON": b"user=root",
    "not UTF-8": b'{"op": "authenticate", "user": "\xff\xfe", "service": "s"}',
    "half a surrogate": b'{"op": "authenticate", "user": "\\ud800", "service": "s"}',
    "two values": request("a") + request("b"),
    "a blob": bytes(range(256)).replace(b"\n", b""),
    "deep lists": deep(b"[", b"]"),
    "deep objects": deep(b'{"a":', b"}"),
    "a list left open": b"[" * MAX_REQUEST_BYTES,
    "NaN": b'{"op": "authenticate", "user": NaN, "service": "s"}',
}


def test_garbage_is_hung_up_on(daemon: Daemon) -> None:
    for name, line in GARBAGE.items():
        with Client(daemon.socket) as client:
            client.send(line + b"\n")
            assert client.receive() is None, name
    assert daemon.authenticate() == "match"


def test_a_line_that_is_too_long_is_hung_up_on_before_its_end(daemon: Daemon) -> None:
    with Client(daemon.socket) as client:
        client.send(b"x" * (MAX_REQUEST_BYTES + 1))
        assert client.receive() is None


def test_the_longest_line_is_read_and_one_byte_more_is_not(daemon: Daemon) -> None:
    room = MAX_REQUEST_BYTES - len(request("nobody", rhost=""))
    for rhost, outcome in (("r" * room, "not_permitted"), ("r" * (room + 1), None)):
        with Client(daemon.socket) as client:
            client.send(request("nobody", rhost=rhost) + b"\n")
            assert client.outcome() == outcome


def test_a_request_that_comes_byte_by_byte_is_hung_up_on_in_time(daemon: Daemon) -> None:
    """Each byte must not start the time again."""
    began = time.monotonic()
    with Client(daemon.socket) as client, contextlib.suppress(ConnectionError):
        client.socket.settimeout(0.1)
        for byte in request(daemon.machine.account.name):
            client.send(bytes([byte]))
            with contextlib.suppress(TimeoutError):
                if not client.socket.recv(1):
                    break
        else:
            pytest.fail("the whole request was taken")
    assert time.monotonic() - began >= LINE_SECONDS - 0.2


def test_a_request_in_pieces_is_understood(daemon: Daemon) -> None:
    with Client(daemon.socket) as client:
        line = request(daemon.machine.account.name) + b"\n"
        for piece in (line[:1], line[1:20], line[20:-1], line[-1:]):
            client.send(piece)
        assert client.outcome() == "match"


def test_half_open_connections_hold_nobody_and_are_gone_in_time(daemon: Daemon) -> None:
    silent = [Client(daemon.socket) for _ in range(100)]
    assert daemon.authenticate() == "match"
    assert [client.receive() for client in silent] == [None] * 100
    for client in silent:
        client.socket.close()


def test_a_client_that_shut_its_sending_side_counts_as_gone(daemon: Daemon) -> None:
    with daemon.client() as client:
        client.socket.shutdown(socket.SHUT_WR)
        assert client.outcome() in ("skipped", None)
    assert daemon.authenticate() == "match"


def test_a_client_that_never_reads_holds_nobody(daemon: Daemon) -> None:
    clients = [Client(daemon.socket) for _ in range(20)]
    for client in clients:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        client.send(daemon.request())
    assert daemon.authenticate() == "match"
    for client in clients:
        client.socket.close()


def test_a_second_request_after_the_first_makes_no_second_attempt(daemon: Daemon) -> None:
    line = request(daemon.machine.account.name) + b"\n"
    with Client(daemon.socket) as client:
        client.send(line + line)
        assert client.outcome() in ("internal_error", None)
    with Client(daemon.socket) as client:
        client.send(line)
        assert client.outcome() == "match"
        with contextlib.suppress(ConnectionError):
            client.send(line)
        assert client.receive() is None


def test_a_second_request_while_waiting_loses_the_place(daemon: Daemon) -> None:
    with held(daemon), daemon.client() as client:
        client.receive_until("info")
        client.send(daemon.request())
        assert client.outcome() == "internal_error"


def test_a_line_in_pieces_in_mid_attempt_holds_the_attempt_no_longer_than_a_line_may_take(
    daemon: Daemon,
) -> None:
    began = time.monotonic()
    with daemon.client() as client:
        client.receive_until("info")
        client.socket.settimeout(0.2)
        answer = b""
        while not answer:
            with contextlib.suppress(TimeoutError, ConnectionError):
                client.send(b" ")
                answer = client.socket.recv(4096)
            assert time.monotonic() - began < 60, "the attempt does not end"
    assert b"match" not in answer.replace(b"non_match", b"") or answer.endswith(b'"match"}\n')
    assert daemon.authenticate() == "match"


def test_a_flood_of_connections_keeps_nobody_out(daemon: Daemon) -> None:
    """Somebody opens far more connections than there are places, and keeps opening them."""
    flood = subprocess.Popen(
        [
            *(daemon.machine.program.python, "-I", "-c", FLOOD, daemon.socket),
        ],
        user=NOBODY,
        stdout=subprocess.PIPE,
    )
    try:
        assert flood.stdout is not None
        flood.stdout.readline()
        for _ in range(3):
            assert daemon.authenticate() == "match"
        assert flood.poll() is None
        assert daemon.descriptors() < MOST_CONNECTIONS
    finally:
        flood.kill()
        flood.wait()
    assert daemon.authenticate() == "match"


FLOOD = """
import socket, sys
kept = []
while True:
    client = socket.socket(socket.AF_UNIX)
    client.connect(sys.argv[1])
    kept.append(client)
    if len(kept) == 500:
        print("flooded", flush=True)
    kept[:-900] = []
"""


def test_one_user_has_only_so_many_connections(daemon: Daemon) -> None:
    account = daemon.machine.account
    with held(daemon), contextlib.ExitStack() as stack:
        for _ in range(MOST_OF_ONE_USER):
            client = stack.enter_context(daemon.client(account.name, uid=account.uid))
            client.receive_until("info")
        one_more = stack.enter_context(Client(daemon.socket, uid=account.uid))
        with contextlib.suppress(ConnectionError):
            one_more.send(daemon.request())
        assert one_more.receive() is None
        with daemon.client("root") as roots:
            assert roots.outcome() == "not_permitted"


def test_places_are_given_back(daemon: Daemon) -> None:
    account = daemon.machine.account
    for _ in range(3 * MOST_OF_ONE_USER):
        with Client(daemon.socket, uid=account.uid) as client:
            client.send(b"nonsense\n")
            assert client.receive() is None
    assert daemon.authenticate(account.name, uid=account.uid) == "match"


def test_a_user_may_ask_only_for_themselves(daemon: Daemon) -> None:
    account = daemon.machine.account
    assert daemon.authenticate(account.name, uid=account.uid) == "match"
    assert daemon.authenticate(account.name, uid=NOBODY) == "not_permitted"
    assert daemon.authenticate("root", uid=account.uid) == "not_permitted"
    assert daemon.authenticate("no-such-user", uid=account.uid) == "not_permitted"
    assert daemon.observers() != []
    lines = daemon.machine.audit()
    assert [line["outcome"] for line in lines] == ["match", *["not_permitted"] * 3]
    assert [line["peer_uid"] for line in lines[:2]] == [str(account.uid), str(NOBODY)]


def test_only_root_is_believed_that_a_password_let_somebody_in(daemon: Daemon) -> None:
    account = daemon.machine.account
    news = {"op": "let_in", "user": account.name, "service": "test"}
    for uid, outcome in ((NOBODY, "not_permitted"), (account.uid, "not_permitted"), (0, "noted")):
        with Client(daemon.socket, uid=uid) as client:
            client.send(news)
            assert client.outcome() == outcome


def test_descriptors_that_come_along_are_not_kept(daemon: Daemon) -> None:
    assert daemon.authenticate() == "match"
    before = daemon.descriptors()
    with held(daemon):
        waiting = [Client(daemon.socket) for _ in range(5)]
        for client in waiting:
            send_descriptors(client, request(daemon.machine.account.name) + b"\n", 200)
            client.receive_until("info")
            send_descriptors(client, b" ", 200)
        newcomer = Client(daemon.socket)
        send_descriptors(newcomer, b"{", 200)
        with Client(daemon.socket) as news:
            news.send({"op": "let_in", "user": daemon.machine.account.name, "service": "test"})
            assert news.outcome() == "noted"
        assert daemon.descriptors() <= before + 2 * 5 + 5  # sockets of clients, and no file
        for client in (*waiting, newcomer):
            client.socket.close()
    assert daemon.authenticate() == "match"
    wait_until(lambda: daemon.descriptors() == before, "as many descriptors as before")


def test_who_asks_too_often_is_refused_at_once_and_keeps_nobody_else_out(daemon: Daemon) -> None:
    account = daemon.machine.account
    outcomes = [daemon.authenticate("root", uid=account.uid) for _ in range(40)]
    assert outcomes[:10] == ["not_permitted"] * 10
    assert "internal_error" in outcomes
    assert daemon.authenticate() == "match"
    assert len(daemon.machine.audit()) < 30  # neither does the log fill up


def test_a_caller_with_many_requests_does_not_starve_another(daemon: Daemon) -> None:
    """Ten of one caller wait already: who comes then is not the eleventh."""
    other = "daemon"  # an account that is not enrolled is asked about on behalf of another caller
    daemon.machine.admin(
        *("add-user", other, "--no-confirm", "--from", daemon.machine.layout.root / "recording"),
    )
    order: list[str] = []
    with held(daemon) as holder, contextlib.ExitStack() as stack:
        greedy = [stack.enter_context(daemon.client()) for _ in range(10)]
        for client in greedy:
            client.receive_until("info")
        modest = stack.enter_context(daemon.client(other))
        modest.receive_until("info")
        holder.send(SKIP)
        for client in (*greedy, modest):
            assert client.outcome() == "match"
        order = [line["user"] for line in daemon.machine.audit() if line["outcome"] == "match"]
    assert order.index(other) <= 1


def test_a_full_queue_is_said_at_once(daemon: Daemon) -> None:
    with held(daemon), contextlib.ExitStack() as stack:
        time.sleep(0.1)  # the holder took one of the 64 requests at once; 20 a second come back
        for _ in range(MOST_WAITING_OF_ONE):
            client = stack.enter_context(daemon.client())
            wait_until_it_waits(client)
        assert daemon.authenticate() == "internal_error"


def wait_until_it_waits(client: Client) -> None:
    """Read on until the client waits."""
    line = client.receive()
    assert line == {"within": 60.0}, line


def test_no_descriptors_left_is_survived(daemon: Daemon) -> None:
    assert daemon.authenticate() == "match"
    pid = daemon.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (daemon.descriptors(), before[1]))
    silent = [Client(daemon.socket) for _ in range(10)]  # whatever is left, they take it
    used = cpu_seconds(pid)
    time.sleep(1.5)  # the measure: it must not spin
    assert cpu_seconds(pid) - used < 0.1
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    for each in silent:
        each.socket.close()
    assert daemon.authenticate() == "match"


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_stopped_client_holds_nobody(daemon: Daemon) -> None:
    client = subprocess.Popen(
        ["pamtester", "-v", daemon.machine.service, daemon.machine.account.name, "authenticate"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    client.send_signal(signal.SIGSTOP)
    try:
        assert daemon.authenticate() == "match"
    finally:
        client.kill()
        client.wait()


@contextlib.contextmanager
def held(daemon: Daemon) -> Iterator[Client]:
    """A client is looked at, and nobody is before the camera: whoever comes has to wait."""
    text = daemon.machine.layout.config_file.read_text()
    wall = daemon.machine.layout.root / "wall"
    wall.mkdir(exist_ok=True)
    cv2.imwrite(str(wall / "0.png"), np.full((480, 640, 3), 128, np.uint8))
    daemon.machine.configure(f'[camera]\nrecording = "{wall}"\n{PATIENT}')
    daemon.reload()
    with daemon.client() as holder:
        holder.receive_until("info")
        daemon.machine.configure(text)
        daemon.reload()
        yield holder
        with contextlib.suppress(OSError):
            holder.send(SKIP)
        holder.outcome()


def send_descriptors(client: Client, data: bytes, count: int) -> None:
    with Path(os.devnull).open() as file:
        rights = array.array("i", [file.fileno()] * count)
        client.socket.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])

"""Policy and lockout through real PAM: what is refused, what it costs, and what ends it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pam_faceid.adapters.clock import BOOT_ID
from pam_faceid.adapters.state import StateStore
from pam_faceid.apps.protocol import Authenticate, Channel, LetIn, Peer
from pam_faceid.apps.service import Service
from pam_faceid.apps.settings import Settings
from pam_faceid.core.lockout import Record
from pam_faceid.layout import KEEPER_USER

if TYPE_CHECKING:
    from tests.integration.conftest import Ended, Machine

pytestmark = pytest.mark.root

Portraits = tuple[Path, Path]
PATIENT = "[attempt]\ntimeout_seconds = 60\n"  # a loaded machine loads models slowly
BOUND_SECONDS = 240


@pytest.fixture
def enrolled(machine: Machine, enrolment: Machine, portraits: Portraits) -> Machine:
    """The first portrait is enrolled and sits before the camera."""
    machine.show(portraits[0])
    configure(machine, "")
    machine.enrol_like(enrolment)
    return machine


def configure(machine: Machine, text: str) -> None:
    """Add to the recording's configuration, with time enough for a loaded machine."""
    machine.configure(f'[camera]\nrecording = "{machine.layout.root}/recording"\n{PATIENT}{text}')


def show(machine: Machine, image: Path) -> None:
    machine.show(image)
    configure(machine, "")


def record(machine: Machine) -> Record | None:
    return StateStore(machine.layout.state, owner=KEEPER_USER).load(machine.account.name)


def failures(machine: Machine) -> int:
    found = record(machine)
    assert found is not None
    return len(found.charges)


def store(machine: Machine, changed: Record) -> None:
    StateStore(machine.layout.state, owner=KEEPER_USER).replace(machine.account.name, changed)


def fail(machine: Machine, times: int) -> None:
    """So many failures in a row, without looking so many times."""

    def charged(found: Record | None) -> Record:
        assert found is not None
        assert found.password_at is not None
        row = tuple({"attempt": f"{n}", "at": found.password_at} for n in range(times))
        return convert(found, charges=row)

    StateStore(machine.layout.state, owner=KEEPER_USER).change(machine.account.name, charged)


def convert(found: Record, **changes: object) -> Record:
    import msgspec

    return msgspec.convert({**msgspec.to_builtins(found), **changes}, Record)


@contextlib.contextmanager
def worker(machine: Machine) -> Iterator[socket.socket]:
    """A worker as the hook starts it, and this end of its line."""
    ours, theirs = socket.socketpair()
    ours.settimeout(BOUND_SECONDS)
    with ours:
        process = subprocess.Popen(
            [
                *(machine.program.python, "-I", "-B", "-m", "pam_faceid.apps.worker"),
                *("--root", machine.layout.root),
            ],
            stdin=theirs,
            start_new_session=True,
        )
        theirs.close()
        try:
            yield ours
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def ask(machine: Machine, line: socket.socket) -> None:
    request = {"op": "authenticate", "user": machine.account.name, "service": machine.service}
    line.sendall(json.dumps(request).encode() + b"\n")


def read_until(line: socket.socket, key: str) -> list[dict[str, object]]:
    """Read replies until one has the key, or the other side hangs up."""
    replies: list[dict[str, object]] = []
    with line.makefile("rb") as lines:
        for text in lines:
            replies.append(json.loads(text))
            if key in replies[-1]:
                break
    return replies


def outcome(machine: Machine) -> str:
    with worker(machine) as line:
        ask(machine, line)
        return str(read_until(line, "outcome")[-1].get("outcome"))


def password_used(machine: Machine) -> None:
    """What `pam_sm_setcred` sends, without its bound of a second."""
    with worker(machine) as line:
        request = {"op": "let_in", "user": machine.account.name, "service": machine.service}
        line.sendall(json.dumps(request).encode() + b"\n")
        assert read_until(line, "outcome")[-1] == {"outcome": "noted"}


def refused(machine: Machine) -> Ended:
    """Authenticate without a password: it is asked for, and nobody is looked at."""
    ended = machine.authenticate(None)
    assert not ended.accepted, ended.output
    assert ended.asked_password, ended.output
    assert "Looking" not in ended.output
    return ended


def test_five_strangers_in_a_row_end_in_a_wait_and_the_password_ends_that(
    enrolled: Machine, portraits: Portraits
) -> None:
    show(enrolled, portraits[1])
    for _ in range(5):
        assert not enrolled.authenticate("wrong").accepted
    assert [line["outcome"] for line in enrolled.audit()] == ["non_match"] * 5
    ended = refused(enrolled)
    assert "Face recognition failed too often and is off for" in ended.output
    assert enrolled.audit()[-1]["outcome"] == "locked_out"
    assert enrolled.audit()[-1]["reason"] == "failures"
    show(enrolled, portraits[0])
    refused(enrolled)
    assert enrolled.authenticate(enrolled.account.password).accepted, "the password always works"
    password_used(enrolled)
    assert failures(enrolled) == 0
    assert outcome(enrolled) == "match"


def test_a_password_that_pam_let_in_by_is_noticed(enrolled: Machine) -> None:
    """Through libpam: setcred after an authentication that did not match tells the service.

    The hook gives it a second, which a cold worker on a loaded machine may miss: then the next
    login does it.
    """
    fail(enrolled, 50)
    operations = ("authenticate", "setcred(PAM_ESTABLISH_CRED)")
    for _ in range(10):
        assert enrolled.authenticate(enrolled.account.password, *operations).accepted
        if failures(enrolled) == 0:
            break
    assert failures(enrolled) == 0
    assert not enrolled.authenticate(None).asked_password


def test_a_wrong_password_changes_nothing(enrolled: Machine) -> None:
    fail(enrolled, 50)
    for _ in range(2):
        ended = enrolled.authenticate("wrong", "authenticate", "setcred(PAM_ESTABLISH_CRED)")
        assert not ended.accepted
    assert failures(enrolled) == 50


def test_a_match_ends_the_row(enrolled: Machine) -> None:
    fail(enrolled, 4)
    assert outcome(enrolled) == "match"
    assert failures(enrolled) == 0


def test_nobody_before_the_camera_is_no_failure(enrolled: Machine, tmp_path: Path) -> None:
    import cv2
    import numpy as np

    empty = tmp_path / "wall.png"
    cv2.imwrite(str(empty), np.full((480, 640, 3), 128, np.uint8))
    enrolled.show(empty)
    fail(enrolled, 4)
    text = enrolled.layout.config_file.read_text()
    enrolled.configure(f"{text}[attempt]\ntimeout_seconds = 1\n")
    assert outcome(enrolled) == "failure_to_acquire"
    assert failures(enrolled) == 4


def test_a_camera_that_is_not_there_is_no_failure(enrolled: Machine) -> None:
    enrolled.configure('[camera]\nrecording = "/nonexistent"\n')
    assert outcome(enrolled) == "failure_to_acquire"
    assert failures(enrolled) == 0


def never_decided(machine: Machine, image: Path) -> None:
    """Faces are compared for as long as the attempt lasts."""
    machine.show(image)
    configure(machine, "[matching]\nrefusing_frames = 300\nagreeing_frames = 30\n")


def wait_for_charge(machine: Machine) -> None:
    until = time.monotonic() + BOUND_SECONDS
    while not failures(machine):
        assert time.monotonic() < until, "the attempt was never charged"
        time.sleep(0.02)


@pytest.mark.parametrize("victim", ["client", "worker"])
def test_killing_an_attempt_does_not_take_its_charge_back(
    enrolled: Machine, portraits: Portraits, victim: str
) -> None:
    """The charge is on the disk before any score is, so no SIGKILL is early enough."""
    never_decided(enrolled, portraits[1])
    client = subprocess.Popen(
        ["pamtester", enrolled.service, enrolled.account.name, "authenticate"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_charge(enrolled)
        running = enrolled.processes()
        os.kill(client.pid if victim == "client" else running[0], signal.SIGKILL)
        client.communicate(b"wrong\n", timeout=BOUND_SECONDS)
    finally:
        client.kill()
        client.wait()
    enrolled.wait_for_processes(0)
    assert failures(enrolled) == 1


def test_the_charge_is_on_the_disk_before_the_template_is_opened(enrolled: Machine) -> None:
    """strace sees file and directory synchronised; what takes the charge back need not wait."""
    trace, state = enrolled.layout.root / "trace", enrolled.layout.state
    script = enrolled.layout.root / "python"
    script.write_text(
        f"#!/bin/sh\nexec strace -f -y -qq -o {trace} -e trace=openat,fsync,renameat,rename "
        f'{enrolled.program.python} "$@"\n'
    )
    script.chmod(0o755)
    enrolled.write_service(python=script)
    assert enrolled.authenticate(None).accepted
    steps = [
        ("opened", re.search(rf'openat\(.*"{enrolled.layout.templates}"', line))
        if "openat" in line
        else ("synced", re.search(rf"fsync\(\d+<{state}(/\.[^>]+)?>", line))
        for line in trace.read_text().splitlines()
    ]
    kinds = [what for what, found in steps if found]
    assert kinds[:3] == ["synced", "synced", "opened"]
    assert kinds.count("synced") == 2


# The service with a real observer; the client acts between the first probe and its comparison.
ACTING = """
import contextlib, socket, sys
from dataclasses import replace
from pathlib import Path
from pam_faceid.apps.observing import one_look
from pam_faceid.apps.protocol import Authenticate, Channel, Peer
from pam_faceid.apps.service import Service
from pam_faceid.apps.settings import Settings
from pam_faceid.core.types import Refusal
from pam_faceid.layout import Layout

root, user, act = sys.argv[1:]
ours, theirs = socket.socketpair()

class Acting:
    def __init__(self, sight):
        self.channel, self.sight = sight.channel, sight

    def next(self):
        observation = self.sight.next()
        if observation.embedding is not None:
            if act == "skip":
                ours.sendall(b'{"op": "skip"}\\n')
            elif act == "print":
                observation = replace(observation, refusal=Refusal.UNLIKE_A_HEAD, embedding=None)
                ours.sendall(b'{"op": "skip"}\\n')
            else:
                ours.shutdown(socket.SHUT_WR)
        return observation

@contextlib.contextmanager
def look(order):
    with one_look(order) as sight:
        yield Acting(sight)

layout = Layout(Path(root))
service = Service(layout, settings=lambda: Settings(layout), look=look, one_shot=True)
service.answer(Authenticate(user, "test"), Channel(theirs), Peer(0, 0))
"""


@pytest.mark.parametrize("act", ["skip", "hang up"])
def test_leaving_once_a_face_was_compared_does_not_take_the_charge_back(
    enrolled: Machine, portraits: Portraits, act: str
) -> None:
    """Else one could try faces for ever and hang up before each verdict."""
    never_decided(enrolled, portraits[1])
    act_before_the_comparison(enrolled, act)
    (line,) = enrolled.audit()
    assert line["outcome"] == "skipped"
    assert "first_probe_ms" in line
    assert failures(enrolled) == 1


def act_before_the_comparison(machine: Machine, act: str) -> None:
    subprocess.run(
        [
            *(machine.program.python, "-I", "-c", ACTING),
            *(machine.layout.root, machine.account.name, act),
        ],
        timeout=BOUND_SECONDS,
        check=True,
    )


def test_a_print_before_an_infrared_camera_costs_a_try(
    enrolled: Machine, portraits: Portraits
) -> None:
    """It is never compared; but else one could hold up prints until one passes for a head."""
    never_decided(enrolled, portraits[1])
    act_before_the_comparison(enrolled, "print")
    (line,) = enrolled.audit()
    assert line["outcome"] == "skipped"
    assert "first_probe_ms" not in line
    assert failures(enrolled) == 1


def test_skipping_before_a_face_was_compared_is_no_failure(enrolled: Machine) -> None:
    with worker(enrolled) as line:
        ask(enrolled, line)
        line.sendall(b'{"op": "skip"}\n')
        assert read_until(line, "outcome")[-1] == {"outcome": "skipped"}
    assert "first_probe_ms" not in enrolled.audit()[-1]
    assert failures(enrolled) == 0


def test_many_at_once_get_no_more_tries_than_one_after_another(
    enrolled: Machine, portraits: Portraits
) -> None:
    """Twelve clients start before any of them has an outcome; five are compared."""
    show(enrolled, portraits[1])
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(worker(enrolled)) for _ in range(12)]
        for line in lines:
            ask(enrolled, line)
        words = Counter(str(read_until(line, "outcome")[-1].get("outcome")) for line in lines)
    assert words == {"non_match": 5, "locked_out": 7}
    assert failures(enrolled) == 5


def test_after_a_restart_the_password_comes_first(enrolled: Machine) -> None:
    assert outcome(enrolled) == "match"
    (enrolled.layout.proc / BOOT_ID).write_text("the-next-start\n")
    ended = refused(enrolled)
    assert "needed after a restart" in ended.output
    assert enrolled.audit()[-1]["outcome"] == "not_permitted"
    assert enrolled.audit()[-1]["detail"] == "password_after_boot"
    password_used(enrolled)
    assert outcome(enrolled) == "match"


def test_a_restart_does_not_shorten_a_wait(enrolled: Machine) -> None:
    """Even where no password is wanted after a start: hours switched off were not served."""
    configure(enrolled, "[password]\nafter_boot = false\n")
    fail(enrolled, 30)
    (enrolled.layout.proc / BOOT_ID).write_text("the-next-start\n")
    assert outcome(enrolled) == "locked_out"


def test_a_clock_that_was_set_back_over_a_restart_ends_trust(enrolled: Machine) -> None:
    configure(enrolled, "[password]\nafter_boot = false\n")
    found = record(enrolled)
    assert found is not None
    assert found.password_at is not None
    ahead = {"boot": "earlier", "since_boot": 5.0, "wall": time.time() + 3600}
    store(enrolled, convert(found, password_at=ahead, used_at=ahead))
    refused(enrolled)
    assert enrolled.audit()[-1]["detail"] == "clock_set_back"


def test_a_clock_that_is_wrong_within_a_start_changes_nothing(enrolled: Machine) -> None:
    found = record(enrolled)
    assert found is not None
    assert found.password_at is not None
    for wall in (0.0, time.time() + 1e8):
        odd = {"boot": found.password_at.boot, "since_boot": found.password_at.since_boot}
        store(enrolled, convert(found, password_at={**odd, "wall": wall}))
        assert outcome(enrolled) == "match"


def missing(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def somebody_elses(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"user":"f', b'"user":"g'))


def open_to_others(path: Path) -> None:
    path.chmod(0o666)


@pytest.mark.parametrize("damage", [missing, empty, torn, somebody_elses, open_to_others])
def test_losing_the_record_costs_comfort_and_resets_nothing_for_a_stranger(
    enrolled: Machine, damage
) -> None:
    damage(enrolled.layout.state / f"{enrolled.account.name}.json")
    assert "password is needed" in refused(enrolled).output
    assert enrolled.authenticate(enrolled.account.password).accepted
    password_used(enrolled)
    assert outcome(enrolled) == "match"


def test_a_charge_that_cannot_be_written_lets_nobody_be_compared(enrolled: Machine) -> None:
    folder = enrolled.layout.state
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
    try:
        ended = enrolled.authenticate(enrolled.account.password)
        assert ended.accepted
        assert ended.asked_password
        assert enrolled.audit()[-1]["outcome"] == "internal_error"
        assert "compared" not in enrolled.audit()[-1]
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_locked_face_opens_nothing_until_the_password_was_used(enrolled: Machine) -> None:
    enrolled.admin("lock", enrolled.account.name)
    assert "locked until you have used your password" in refused(enrolled).output
    assert enrolled.audit()[-1]["outcome"] == "locked_out"
    shown = json.loads(enrolled.admin("show-user", enrolled.account.name, "--json").stdout)
    assert shown["trust"]["accepted"] is False
    enrolled.enrol(next((enrolled.layout.root / "recording").iterdir()))
    refused(enrolled)
    password_used(enrolled)
    assert outcome(enrolled) == "match"
    assert "yes" in enrolled.admin("show-user", enrolled.account.name).stdout


def test_root_can_lift_a_lock_and_is_recorded(enrolled: Machine) -> None:
    enrolled.admin("lock", "--all")
    fail(enrolled, 50)
    enrolled.admin("lock", "--clear", enrolled.account.name)
    assert outcome(enrolled) == "match"
    assert "event=lock-clear" in enrolled.layout.audit_log.read_text()


def test_only_who_is_enrolled_can_be_locked(enrolled: Machine) -> None:
    ended = enrolled.admin("lock", "root", check=False)
    assert ended.returncode == 1
    assert "not enrolled" in ended.stderr
    assert enrolled.admin("lock", check=False).returncode == 1


def test_removing_a_person_forgets_their_attempts(enrolled: Machine) -> None:
    enrolled.admin("remove-user", enrolled.account.name, "--yes")
    assert list(enrolled.layout.state.iterdir()) == []


def test_who_comes_over_ssh_is_not_looked_at(
    machine: Machine, portraits: Portraits, tmp_path: Path
) -> None:
    """Real processes: pamtester under a process whose name the kernel says is sshd."""
    shutil.rmtree(machine.layout.root / "proc")
    machine.show(portraits[0])
    machine.enrol(portraits[0])
    login = tmp_path / "sshd"
    login.write_text(f'#!/bin/sh\npamtester {machine.service} {machine.account.name} "$@"\n')
    login.chmod(0o755)
    ended = subprocess.run(
        [login, "authenticate"],
        input=f"{machine.account.password}\n",
        capture_output=True,
        text=True,
        timeout=BOUND_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Looking" not in ended.stdout + ended.stderr
    line = machine.audit()[-1]
    assert (line["outcome"], line["reason"]) == ("not_permitted", "remote")


def test_a_closed_lid_is_not_looked_through(enrolled: Machine) -> None:
    state = enrolled.layout.proc / "acpi/button/lid/LID/state"
    state.parent.mkdir(parents=True)
    state.write_text("state:      closed\n")
    refused(enrolled)
    assert enrolled.audit()[-1]["reason"] == "lid_closed"


def test_a_pattern_turns_services_off(enrolled: Machine) -> None:
    configure(enrolled, '[services."faceid-t*"]\nenabled = false\n')
    refused(enrolled)
    configure(
        enrolled,
        f'[services."faceid-t*"]\nenabled = false\n[services.{enrolled.service}]\nenabled = true\n',
    )
    assert outcome(enrolled) == "match"


@pytest.fixture
def confirming(enrolled: Machine) -> Iterator[tuple[Machine, socket.socket]]:
    """A match that waits for the key."""
    configure(enrolled, '[services."*"]\nconfirm = "enter"\n')
    with worker(enrolled) as line:
        ask(enrolled, line)
        asked = read_until(line, "confirm")[-1]
        assert "Enter" in str(asked["confirm"])
        yield enrolled, line


def test_a_deliberate_key_makes_the_match(confirming: tuple[Machine, socket.socket]) -> None:
    machine, line = confirming
    line.sendall(b'{"op": "confirmed"}\n')
    assert read_until(line, "outcome")[-1] == {"outcome": "match"}
    assert machine.audit()[-1]["outcome"] == "match"


def test_the_camera_is_released_before_the_key_is_waited_for(
    confirming: tuple[Machine, socket.socket],
) -> None:
    machine, _ = confirming
    assert len(machine.processes()) == 1


@pytest.mark.parametrize("answer", [b'{"op": "skip"}\n', b""])
def test_without_the_key_a_match_is_none(
    confirming: tuple[Machine, socket.socket], answer: bytes
) -> None:
    """And no failure either: the face was the right one."""
    machine, line = confirming
    line.sendall(answer)
    line.shutdown(socket.SHUT_WR)
    assert read_until(line, "outcome")[-1] == {"outcome": "skipped"}
    assert failures(machine) == 0


def test_a_key_before_the_question_is_no_answer(enrolled: Machine) -> None:
    configure(enrolled, '[services."*"]\nconfirm = "enter"\n')
    with worker(enrolled) as line:
        ask(enrolled, line)
        line.sendall(b'{"op": "confirmed"}\n')
        assert read_until(line, "outcome")[-1] == {"outcome": "internal_error"}


def answered(machine: Machine, request: Authenticate | LetIn, peer: Peer) -> dict[str, object]:
    """What the service of the daemon says to a peer, without the daemon."""

    def nobody_looks(order: object) -> contextlib.AbstractContextManager[object]:
        raise AssertionError(f"a camera was asked for: {order}")

    layout = machine.layout
    service = Service(layout, settings=lambda: Settings(layout), look=nobody_looks, one_shot=False)
    ours, theirs = socket.socketpair()
    with ours:
        service.answer(request, Channel(theirs), peer)
        theirs.close()
        return read_until(ours, "outcome")[-1]


def test_only_root_says_that_a_password_was_used(enrolled: Machine) -> None:
    """Else whoever is locked out would say so of themselves."""
    fail(enrolled, 50)
    request = LetIn(enrolled.account.name, enrolled.service)
    said = answered(enrolled, request, Peer(os.getpid(), enrolled.account.uid))
    assert said == {"outcome": "not_permitted"}
    assert failures(enrolled) == 50


def test_a_password_of_somebody_who_is_not_enrolled_leaves_no_file(enrolled: Machine) -> None:
    assert answered(enrolled, LetIn("root", "login"), Peer(os.getpid(), 0)) == {"outcome": "noted"}
    assert [path.stem for path in enrolled.layout.state.iterdir()] == [enrolled.account.name]


def test_nobody_is_told_whether_somebody_else_is_enrolled(enrolled: Machine) -> None:
    for user in (enrolled.account.name, "root", "no-such-user", "../x"):
        request = Authenticate(user, enrolled.service)
        assert answered(enrolled, request, Peer(os.getpid(), 65534)) == {"outcome": "not_permitted"}

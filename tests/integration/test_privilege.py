"""Who can do what while somebody is looked at: from inside a process taken over, and from outside.

docs/privilege.md shows what these tests measure.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from pam_faceid.adapters.sandbox import landlock
from pam_faceid.layout import SERVICE_USER
from tests.integration.conftest import BOUND_SECONDS, Machine
from tests.integration.hostile import Targets
from tests.integration.looking import Looking, attempt_that_goes_on
from tests.process_table import table

pytestmark = pytest.mark.root

HOSTILE = Path(__file__).with_name("hostile.py")
Portraits = tuple[Path, Path]
MEASURED_ROWS = 8  # of the table of processes: the rest depends on the moment and the machine

# What a process that gave up everything else can do: what it is there for.
OBSERVER_MAY = {"read a model", "open its camera", "ask an open device for its camera"}
KEEPER_MAY = {
    "read the state of attempts",
    "read the audit log",
    "append to the audit log",
    "replace a file among the logs",
    "connect to a Unix socket",  # the system's log
    "signal its child",
}
# Given up with the user and the capabilities alone; the rest is Landlock's and seccomp's.
OBSERVERS_USER_MAY_NOT = {
    "read the template key",
    "read a template",
    "read the state of attempts",
    "read the audit log",
    "read /etc/shadow",
    "read a file in a home",
    "become root",
}


@pytest.fixture(scope="module")
def targets(models_copy: Path) -> Iterator[Targets]:
    """Files, sockets, devices and a process to try things on."""
    with contextlib.ExitStack() as stack:
        root = Path(tempfile.mkdtemp(prefix="pam_faceid-hostile-", dir="/var/tmp"))
        stack.callback(shutil.rmtree, root)
        root.chmod(0o755)
        folder = made(root / "open", 0o777)
        (folder / "old").touch()
        logs, states = made(root / "logs", 0o700), made(root / "states", 0o700)
        cameras = [f"/dev/pam_faceid-test-{os.getpid()}-{number}" for number in range(2)]
        for minor, camera in enumerate(cameras):
            os.mknod(camera, stat.S_IFCHR | 0o666, os.makedev(81, 250 + minor))
            stack.callback(os.unlink, camera)
            Path(camera).chmod(0o666)
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=16))
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(str(folder / "listener"))
        (folder / "listener").chmod(0o777)
        unix.listen(16)
        uid = pwd.getpwnam(SERVICE_USER).pw_uid
        bystander = subprocess.Popen(["sleep", "infinity"], user=uid)
        stack.callback(bystander.wait)
        stack.callback(bystander.kill)
        yield Targets(
            key=file(root / "template.key", 0o400),
            template=file(root / "someone.template", 0o640),
            state=file(states / "someone", 0o600),
            audit=file(logs / "audit.log", 0o600),
            open_file=file(root / "open/file", 0o777),
            open_folder=str(folder),
            home=file(made(root / "home", 0o700) / "diary", 0o600),
            model=str(models_copy / "pnet.onnx"),
            camera=cameras[0],
            other_camera=cameras[1],
            port=tcp.getsockname()[1],
            listener=str(folder / "listener"),
            bystander=bystander.pid,
            logs=str(logs),
            states=str(states),
        )


def made(folder: Path, mode: int) -> Path:
    folder.mkdir()
    folder.chmod(mode)
    return folder


def file(path: Path, mode: int) -> str:
    path.write_bytes(b"no program")
    path.chmod(mode)
    return str(path)


def deeds(process: str, stage: str, targets: Targets) -> dict[str, str]:
    """Have the hostile process try everything, with a shell for a parent."""
    command = [sys.executable, HOSTILE, process, stage, json.dumps(asdict(targets))]
    ended = subprocess.run(
        ["sh", "-c", '"$@"; exit $?', "sh", *command],
        capture_output=True,
        text=True,
        timeout=BOUND_SECONDS,
        check=False,
        env={"PYTHONPATH": str(HOSTILE.parent.parent.parent), "PATH": "/usr/bin:/bin"},
    )
    assert ended.stdout, ended.stderr
    went: dict[str, str] = json.loads(ended.stdout)
    return went


def done(went: dict[str, str]) -> set[str]:
    return {deed for deed, how in went.items() if how.startswith("done")}


@pytest.fixture
def needs_landlock() -> None:
    if not landlock.version():
        pytest.skip("this kernel has no Landlock; docs/privilege.md says what that leaves open")


def test_what_nobody_has_given_up_can_be_done(targets: Targets) -> None:
    """Each deed below is refused by what is given up, and not because it cannot be done."""
    went = deeds("observer", "nothing", targets)
    assert done(went) == set(went)


def test_an_observer_taken_over_can_do_what_it_is_there_for(
    targets: Targets, needs_landlock: None
) -> None:
    went = deeds("observer", "all", targets)
    assert done(went) == OBSERVER_MAY, went


def test_an_observer_with_only_another_user_could_do_more(targets: Targets) -> None:
    """What Landlock and seccomp are for; this much holds without them."""
    went = deeds("observer", "user", targets)
    assert not done(went) & OBSERVERS_USER_MAY_NOT, went
    assert "read a file that everybody may read" in done(went)
    assert "connect to a TCP port" in done(went)
    assert "signal another process of its user" in done(went)


def test_a_keeper_taken_over_reaches_the_record_and_no_camera(
    targets: Targets, needs_landlock: None
) -> None:
    went = deeds("keeper", "all", targets)
    assert done(went) == KEEPER_MAY, went


@pytest.fixture
def looking(machine: Machine, portraits: Portraits) -> Iterator[Looking]:
    with attempt_that_goes_on(machine, portraits) as attempt:
        yield attempt


def test_who_holds_what_while_somebody_is_looked_at(looking: Looking) -> None:
    keeper, observer = looking.confined()
    assert observer.user == SERVICE_USER
    assert observer.capabilities == observer.bounding == ()
    assert keeper.user == "root"
    assert set(keeper.capabilities) == set(keeper.bounding)
    assert set(keeper.capabilities) <= {"chown", "dac_override", "fowner", "kill", "ipc_lock"}
    assert keeper.locked_kb > 0
    for holder in (keeper, observer):
        assert holder.no_new_privileges
        assert holder.core_limit == "0"
    assert not any("cv2" in path or "onnxruntime" in path for path in keeper.maps)
    assert not any("cryptography" in path for path in observer.maps)
    root = str(looking.machine.layout.root)
    assert not [word for word in observer.descriptors if word.startswith(f"{root}/etc")]
    print(table({"keeper": keeper, "observer": observer}))


def test_an_observer_that_hangs_does_not_outlive_a_confined_keeper(looking: Looking) -> None:
    """The kernel asks whether the dying parent may signal its child: without CAP_KILL, it lives."""
    looking.confined()
    os.kill(looking.observer, signal.SIGSTOP)
    os.kill(looking.keeper, signal.SIGKILL)
    try:
        looking.machine.wait_for_processes(0)
    except AssertionError:
        os.kill(looking.observer, signal.SIGKILL)
        raise


def test_the_document_shows_what_was_measured(
    targets: Targets, looking: Looking, repository: Path, needs_landlock: None
) -> None:
    text = (repository / "docs/privilege.md").read_text()
    keeper, observer = looking.confined()
    for line in table({"keeper": keeper, "observer": observer}).splitlines()[:MEASURED_ROWS]:
        assert line in text
    stages = [("observer", "user"), ("observer", "all"), ("keeper", "all")]
    went = [done(deeds(*stage, targets)) for stage in stages]
    for deed in deeds("observer", "nothing", targets):
        answers = ["yes" if deed in can else "no" for can in went]
        assert f"| {deed} | {' | '.join(answers)} |" in text

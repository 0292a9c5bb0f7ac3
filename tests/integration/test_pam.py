"""The face, and the password behind it, through real libpam, pam_python, pamtester and sudo."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pam_faceid.apps import wiring
from pam_faceid.apps.last_word import NOT_RECOGNISED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import Machine

pytestmark = pytest.mark.root

Portraits = tuple[Path, Path]


@pytest.fixture
def enrolled(machine: Machine, enrolment: Machine, portraits: Portraits) -> Machine:
    """The first portrait is enrolled and sits before the camera."""
    machine.show(portraits[0])
    machine.enrol_like(enrolment)
    return machine


def test_the_enrolled_face_is_let_in_without_a_password(enrolled: Machine) -> None:
    ended = enrolled.authenticate(None)
    assert ended.accepted, ended.output
    assert not ended.asked_password
    assert "Looking for your face" in ended.output
    assert NOT_RECOGNISED not in ended.output


def test_a_strangers_face_is_asked_for_the_password(
    enrolled: Machine, portraits: Portraits
) -> None:
    enrolled.show(portraits[1])
    right = enrolled.authenticate(enrolled.account.password)
    assert right.accepted
    assert right.asked_password
    assert NOT_RECOGNISED in right.output
    wrong = enrolled.authenticate("wrong")
    assert not wrong.accepted
    assert [line["outcome"] for line in enrolled.audit()] == ["non_match", "non_match"]


def test_each_attempt_leaves_one_line_that_names_the_recording(enrolled: Machine) -> None:
    enrolled.authenticate(None)
    (line,) = enrolled.audit()
    assert line["outcome"] == "match"
    assert line["user"] == enrolled.account.name
    assert line["service"] == enrolled.service
    assert line["recording"] == "yes"
    assert line["embedder"].startswith("sface_mirrored@")
    assert [name.partition("@")[0] for name in line["detector"].split(",")] == [
        *("pnet", "rnet", "onet")
    ]
    assert int(line["frames"]) >= 2
    assert line["closeness"] == "reached"


def test_credentials_and_account_phases_pass_after_a_face(enrolled: Machine) -> None:
    ended = enrolled.authenticate(
        None, "authenticate", "setcred", "acct_mgmt", "open_session", "close_session"
    )
    assert ended.accepted, ended.output


def test_a_face_says_nothing_about_an_account(enrolled: Machine) -> None:
    """Even in an account line that would be enough: an expired account stays expired."""
    service = Path("/etc/pam.d", enrolled.service)
    text = service.read_text()
    face = text.splitlines()[0].removeprefix("auth ")
    service.write_text(
        text.replace(
            "account required pam_permit.so", f"account {face}\naccount required pam_unix.so"
        )
    )
    assert enrolled.authenticate(None, "authenticate", "acct_mgmt").accepted
    name = enrolled.account.name
    subprocess.run(["chage", "--expiredate", "1", name], check=True)
    try:
        assert not enrolled.authenticate(None, "authenticate", "acct_mgmt").accepted
    finally:
        subprocess.run(["chage", "--expiredate", "-1", name], check=True)


def test_a_silent_client_is_told_nothing(enrolled: Machine) -> None:
    ended = enrolled.authenticate(None, "authenticate(PAM_SILENT)")
    assert ended.accepted, ended.output
    assert "Looking" not in ended.output


def test_a_service_that_wants_infrared_is_left_to_the_password(enrolled: Machine) -> None:
    """The face that would match is before the camera, which is no infrared one."""
    text = enrolled.layout.config_file.read_text()
    enrolled.configure(f'{text}[services."*"]\nrequire_ir = true\n')
    ended = enrolled.authenticate(enrolled.account.password)
    assert ended.accepted
    assert ended.asked_password
    line = enrolled.audit()[-1]
    assert (line["outcome"], line["reason"]) == ("not_permitted", "no_infrared")
    assert "frames" not in line
    assert not enrolled.authenticate("wrong").accepted


def test_each_line_says_that_virtual_cameras_are_allowed(enrolled: Machine) -> None:
    """Whatever was before the camera then: the line says what this machine took for one."""
    assert enrolled.authenticate(None).accepted
    assert "allow_virtual" not in enrolled.audit()[-1]
    text = enrolled.layout.config_file.read_text()
    enrolled.configure(text.replace("[camera]\n", "[camera]\nallow_virtual = true\n"))
    assert enrolled.authenticate(None).accepted
    assert enrolled.audit()[-1]["allow_virtual"] == "yes"


def test_a_remote_attempt_never_opens_the_camera(enrolled: Machine) -> None:
    ended = subprocess.run(
        [
            *("pamtester", "-I", "rhost=192.0.2.7"),
            *(enrolled.service, enrolled.account.name, "authenticate"),
        ],
        input=f"{enrolled.account.password}\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0
    assert "Looking" not in ended.stdout + ended.stderr
    (line,) = enrolled.audit()
    assert line["outcome"] == "not_permitted"
    assert "frames" not in line


def test_a_service_that_is_switched_off_asks_for_the_password(enrolled: Machine) -> None:
    text = enrolled.layout.config_file.read_text()
    enrolled.configure(f"{text}[services.{enrolled.service}]\nenabled = false\n")
    ended = enrolled.authenticate(enrolled.account.password)
    assert ended.accepted
    assert ended.asked_password
    assert "Looking" not in ended.output


def test_two_transactions_in_one_process_both_recognise_the_face(enrolled: Machine) -> None:
    ended = enrolled.authenticate(None, "authenticate", "authenticate")
    assert ended.accepted, ended.output
    assert [line["outcome"] for line in enrolled.audit()] == ["match", "match"]


def test_several_frames_must_agree(enrolled: Machine, portraits: Portraits) -> None:
    """A camera that shows owner and stranger in turn never gets two agreeing frames in a row."""
    enrolled.show(portraits[0], portraits[1])
    assert not enrolled.authenticate("wrong").accepted
    (line,) = enrolled.audit()
    assert line["outcome"] == "non_match"
    assert line["closeness"] == "reached"


def test_no_face_is_a_failure_to_acquire_with_advice(enrolled: Machine, tmp_path: Path) -> None:
    import cv2
    import numpy as np

    empty = tmp_path / "wall.png"
    cv2.imwrite(str(empty), np.full((480, 640, 3), 128, np.uint8))
    enrolled.show(empty)
    text = enrolled.layout.config_file.read_text()
    enrolled.configure(f"{text}[attempt]\ntimeout_seconds = 1.5\n")
    ended = enrolled.authenticate(enrolled.account.password)
    assert ended.accepted
    assert enrolled.audit()[0]["outcome"] == "failure_to_acquire"
    assert enrolled.audit()[0]["refused_samples"] == "no_face"


# --- the fallback table: whatever breaks, the right password is accepted and a wrong one denied ---


def no_interpreter(machine: Machine) -> None:
    machine.write_service(python=Path("/nonexistent/python"))


def interpreter_without_the_package(machine: Machine) -> None:
    machine.write_service(python=Path("/usr/bin/python3"))


def missing_hook(machine: Machine) -> None:
    machine.write_service(hook=Path("/nonexistent/hook.py"))


def _hook(machine: Machine, text: str) -> None:
    hook = machine.layout.root / "hook.py"
    hook.write_text(text)
    machine.write_service(hook=hook)


def empty_hook(machine: Machine) -> None:
    _hook(machine, "")


def hook_with_a_syntax_error(machine: Machine) -> None:
    _hook(machine, "def pam_sm_authenticate(:\n")


def hook_that_raises(machine: Machine) -> None:
    _hook(machine, "def pam_sm_authenticate(pamh, flags, argv):\n    raise RuntimeError\n")


def hook_that_exits(machine: Machine) -> None:
    _hook(machine, "def pam_sm_authenticate(pamh, flags, argv):\n    raise SystemExit(0)\n")


def missing_template(machine: Machine) -> None:
    _template(machine).unlink()


def empty_template(machine: Machine) -> None:
    _template(machine).write_bytes(b"")


def truncated_template(machine: Machine) -> None:
    data = _template(machine).read_bytes()
    _template(machine).write_bytes(data[: len(data) // 2])


def flipped_template(machine: Machine) -> None:
    data = bytearray(_template(machine).read_bytes())
    data[-20] ^= 1
    _template(machine).write_bytes(data)


def world_writable_template(machine: Machine) -> None:
    _template(machine).chmod(0o666)


def template_that_is_a_symlink(machine: Machine) -> None:
    moved = _template(machine).rename(machine.layout.root / "elsewhere")
    _template(machine).symlink_to(moved)


def _template(machine: Machine) -> Path:
    return machine.layout.templates / f"{machine.account.name}.template"


def missing_key(machine: Machine) -> None:
    machine.layout.key_file.unlink()


def another_key(machine: Machine) -> None:
    machine.layout.key_file.unlink()
    machine.layout.key_file.write_bytes(os.urandom(32))
    machine.layout.key_file.chmod(0o400)


def readable_key(machine: Machine) -> None:
    machine.layout.key_file.chmod(0o444)


def missing_configuration(machine: Machine) -> None:
    machine.layout.config_file.unlink()


def configuration_with_a_syntax_error(machine: Machine) -> None:
    machine.configure("[camera\n")


def configuration_with_an_unknown_key(machine: Machine) -> None:
    machine.configure("[matching]\ntreshold = 0.4\n")


def configuration_with_a_threshold_of_nan(machine: Machine) -> None:
    machine.configure("[matching]\nthreshold = nan\n")


def configuration_that_others_may_write(machine: Machine) -> None:
    machine.layout.config_file.chmod(0o666)


def no_camera(machine: Machine) -> None:
    machine.configure('[camera]\ndevice = "/dev/v4l/by-id/not-there"\n')


def missing_recording(machine: Machine) -> None:
    machine.configure('[camera]\nrecording = "/nonexistent"\n')


def recording_that_others_may_change(machine: Machine) -> None:
    (machine.layout.root / "recording").chmod(0o777)


def recording_of_a_broken_image(machine: Machine) -> None:
    for image in (machine.layout.root / "recording").iterdir():
        image.write_bytes(b"\xff\xd8 not a JPEG")


def _own_models(machine: Machine) -> Path:
    """Replace the shared link by a folder that may be damaged."""
    shared = machine.layout.models.resolve()
    machine.layout.models.unlink()
    machine.layout.models.mkdir()
    for file in shared.iterdir():
        (machine.layout.models / file.name).write_bytes(file.read_bytes())
    return machine.layout.models


def missing_model(machine: Machine) -> None:
    (_own_models(machine) / "sface_mirrored.onnx").unlink()


def altered_model(machine: Machine) -> None:
    model = _own_models(machine) / "sface_mirrored.onnx"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)


def missing_manifest(machine: Machine) -> None:
    (_own_models(machine) / "manifest.toml").unlink()


def audit_log_that_cannot_be_written(machine: Machine) -> None:
    """A folder in the log's place: the attempt cannot be recorded, so there is no match."""
    machine.layout.audit_log.unlink()
    machine.layout.audit_log.mkdir()


BREAKAGES = [
    no_interpreter,
    interpreter_without_the_package,
    missing_hook,
    empty_hook,
    hook_with_a_syntax_error,
    hook_that_raises,
    hook_that_exits,
    missing_template,
    empty_template,
    truncated_template,
    flipped_template,
    world_writable_template,
    template_that_is_a_symlink,
    missing_key,
    another_key,
    readable_key,
    missing_configuration,
    configuration_with_a_syntax_error,
    configuration_with_an_unknown_key,
    configuration_with_a_threshold_of_nan,
    configuration_that_others_may_write,
    no_camera,
    missing_recording,
    recording_that_others_may_change,
    recording_of_a_broken_image,
    missing_model,
    altered_model,
    missing_manifest,
    audit_log_that_cannot_be_written,
]


def assert_only_the_password_counts(machine: Machine) -> None:
    """The face that would match is before the camera, and must not be enough."""
    right = machine.authenticate(machine.account.password)
    assert right.accepted, right.output
    assert right.asked_password, right.output
    wrong = machine.authenticate("wrong")
    assert not wrong.accepted, wrong.output
    none = machine.authenticate(None)
    assert not none.accepted, none.output


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda breakage: breakage.__name__)
def test_whatever_breaks_the_password_counts(enrolled: Machine, breakage) -> None:
    assert enrolled.authenticate(None).accepted, "the face must work before it is broken"
    breakage(enrolled)
    assert_only_the_password_counts(enrolled)


def test_a_full_disk_costs_the_face_and_not_the_password(enrolled: Machine) -> None:
    folder = enrolled.layout.audit_log.parent
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k,mode=755", "tmpfs", folder], check=True)
    try:
        full = ["dd", "if=/dev/zero", f"of={folder / 'filler'}", "bs=1k"]
        assert b"No space" in subprocess.run(full, capture_output=True, check=False).stderr
        assert_only_the_password_counts(enrolled)
    finally:
        subprocess.run(["umount", folder], check=True)


def _program(machine: Machine, text: str) -> None:
    """Put a program of the test in the worker's place."""
    script = machine.layout.root / "python"
    script.write_text(text)
    script.chmod(0o755)
    machine.write_service(python=script)


# What a worker says on descriptor 0, written by a shell.
GARBAGE = {
    "nothing": "exit 0",
    "silence": "exec sleep 1000",
    "silence that ignores signals": "trap '' TERM INT; sleep 1000",
    "silence with a child in the background": "sleep 1000 & exec sleep 1000",
    "no JSON": "echo match >&0",
    "bare word": "echo '\"match\"' >&0",
    "a list": "echo '[\"match\"]' >&0",
    "unfinished line": 'printf \'{"outcome": "match"}\' >&0; sleep 1000',
    "unfinished line, then gone": 'printf \'{"outcome": "match"}\' >&0',
    "upper case": 'echo \'{"outcome": "MATCH"}\' >&0',
    "a blank": 'echo \'{"outcome": "match "}\' >&0',
    "a number": "echo '{\"outcome\": 0}' >&0",
    "true": "echo '{\"outcome\": true}' >&0",
    "null": "echo '{\"outcome\": null}' >&0",
    "a list in it": 'echo \'{"outcome": ["match"]}\' >&0',
    "PAM_SUCCESS": 'echo \'{"outcome": "PAM_SUCCESS"}\' >&0',
    "another key": 'echo \'{"result": "match"}\' >&0; sleep 1000',
    "NaN seconds": "echo '{\"within\": NaN}' >&0; sleep 1000",
    "not UTF-8": "printf '\\377\\376\\n' >&0",
    "endless": "cat /dev/zero >&0",
    "deep": "head -c 60000 /dev/zero | tr '\\0' '[' >&0; echo >&0",
}


@pytest.mark.parametrize("said", GARBAGE.values(), ids=GARBAGE.keys())
def test_a_worker_that_talks_nonsense_opens_nothing(enrolled: Machine, said: str) -> None:
    _program(enrolled, f"#!/bin/sh\n# {enrolled.layout.root}\n{said}\n")
    right = enrolled.authenticate(enrolled.account.password)
    assert right.accepted, right.output
    wrong = enrolled.authenticate("wrong")
    assert not wrong.accepted, wrong.output


def test_writing_to_a_dead_worker_does_not_end_the_host(enrolled: Machine) -> None:
    """pam_python leaves SIGPIPE deadly: one plain send would kill sudo before its password prompt.

    The hook's own send, inside pam_python, to a peer that is certainly gone.
    """
    _hook(
        enrolled,
        "import importlib.util, socket\n"
        f"spec = importlib.util.spec_from_file_location('h', {str(enrolled.program.hook)!r})\n"
        "h = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(h)\n"
        "def pam_sm_authenticate(pamh, flags, argv):\n"
        "    ours, theirs = socket.socketpair()\n"
        "    theirs.close()\n"
        "    h._send(ours, b'{}')\n"
        "    return h.PAM_AUTH_ERR\n",
    )
    assert_only_the_password_counts(enrolled)


def _stages(machine: Machine) -> dict[str, tuple[list[Path], int]]:
    """Each step of the path opens something of its own: which, and at which opening to strike.

    Files that decide who gets in are opened relative to their directory, so there the directory is
    what strace can tell: it is opened for the configuration first, and then for the key.
    """
    layout, package = machine.layout, machine.program.hook.parent
    models = (layout.models, layout.models.resolve())
    return {
        "loading the package": (
            [package / "apps/service.py", *package.glob("apps/__pycache__/service.*.pyc")],
            1,
        ),
        "reading the configuration": ([layout.config_dir], 1),
        "reading the manifest": ([folder / "manifest.toml" for folder in models], 1),
        "opening the recording": ([layout.root / "recording"], 1),
        "reading a model": ([folder / "sface_mirrored.onnx" for folder in models], 1),
        "reading the key": ([layout.config_dir], 3),
        "reading the template": ([layout.templates], 1),
        "recording the attempt": ([layout.audit_log.parent], 1),
        # Counted with the files in it: read, then locked, read and written, twice.
        "reading what is remembered": ([layout.state], 1),
        "writing the charge": ([layout.state], 8),
        "striking the charge out": ([layout.state], 14),
    }


STAGES = [
    "loading the package",
    "reading the configuration",
    "reading the manifest",
    "opening the recording",
    "reading a model",
    "reading the key",
    "reading the template",
    "recording the attempt",
    "reading what is remembered",
    "writing the charge",
    "striking the charge out",
]
FAULTS = {"killed": "signal=KILL", "cannot read": "error=EIO", "out of files": "error=EMFILE"}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.parametrize("stage", STAGES)
def test_a_worker_struck_at_any_stage_opens_nothing(
    enrolled: Machine, stage: str, fault: str
) -> None:
    """strace injects the fault where the worker or its observer opens what the stage needs."""
    assert enrolled.authenticate(None).accepted
    paths, when = _stages(enrolled)[stage]
    struck = enrolled.layout.root / "struck"
    struck.mkdir()
    selected = " ".join(f"-P {path}" for path in paths)
    # -DDD: the tracer is nobody's child here, so the hook, which kills the worker's process group,
    # cannot kill it before it has written what it did. One file for each attempt.
    _program(
        enrolled,
        f"#!/bin/sh\nexec strace -DDD -f -q -o {struck}/$$ {selected} -e trace=openat "
        f'-e inject=openat:{fault}:when={when}+ {enrolled.program.python} "$@"\n',
    )
    assert_only_the_password_counts(enrolled)
    until = time.monotonic() + 10
    while not (injected := _injected(struck, fault, when)) and time.monotonic() < until:
        time.sleep(0.05)
    traces = [trace.read_text() for trace in struck.iterdir()]
    assert injected, f"the fault was never injected: {traces}"


def _injected(struck: Path, fault: str, when: int) -> bool:
    """Whether strace says in any file that it struck.

    It marks a call that it made fail. One that it killed in it can be written in several ways, but
    always begins as a call: the selected ones are all that it writes, and the first to be struck
    is number `when` of a process.
    """
    for file in struck.iterdir():
        trace = file.read_text()
        calls = Counter(re.findall(r"^(\d+) +openat\(", trace, re.MULTILINE))
        killed = "killed by SIGKILL" in trace and max(calls.values(), default=0) >= when
        if killed if "KILL" in fault else "INJECTED" in trace:
            return True
    return False


def _shown_forever(machine: Machine, image: Path) -> None:
    """Have an attempt that lasts as long as its deadline."""
    machine.show(image)
    text = machine.layout.config_file.read_text()
    machine.configure(
        f"{text}[attempt]\ntimeout_seconds = 30\n[matching]\nrefusing_frames = 300\n"
        "agreeing_frames = 30\n"
    )


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    master, slave = pty.openpty()
    yield master, slave
    os.close(master)


def _read_until(master: int, wanted: str, seconds: float = 30) -> str:
    seen = ""
    deadline = time.monotonic() + seconds
    while wanted not in seen and time.monotonic() < deadline:
        if select.select([master], [], [], 0.2)[0]:
            try:
                seen += os.read(master, 4096).decode(errors="replace")
            except OSError:
                break
    return seen


def test_ctrl_c_skips_to_the_password(
    enrolled: Machine, portraits: Portraits, terminal: tuple[int, int]
) -> None:
    """On a terminal of its own: Ctrl-C ends the scan, pamtester lives and asks for the password."""
    _shown_forever(enrolled, portraits[1])
    master, slave = terminal
    client = subprocess.Popen(
        ["setsid", "--ctty", "pamtester", enrolled.service, enrolled.account.name, "authenticate"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    assert "Looking" in _read_until(master, "Looking")
    time.sleep(0.3)
    os.write(master, b"\x03")
    assert "assword" in _read_until(master, "assword"), "no password prompt after Ctrl-C"
    os.write(master, enrolled.account.password.encode() + b"\n")
    assert "successfully authenticated" in _read_until(master, "successfully authenticated")
    assert client.wait(timeout=30) == 0
    assert enrolled.audit()[-1]["outcome"] == "skipped"


@contextlib.contextmanager
def _scanning(machine: Machine) -> Iterator[subprocess.Popen[bytes]]:
    """A client whose scan is under way, in the middle of frames."""
    client = subprocess.Popen(
        ["pamtester", machine.service, machine.account.name, "authenticate"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        observer = machine.wait_for_processes(2)[1]
        while "onnxruntime" not in Path(f"/proc/{observer}/maps").read_text():
            time.sleep(0.02)
        time.sleep(0.5)
        yield client
    finally:
        client.kill()
        client.communicate(timeout=30)


@pytest.mark.parametrize("victim", ["client", "worker", "observer"])
def test_nothing_is_left_behind_whoever_is_killed(
    enrolled: Machine, portraits: Portraits, victim: str
) -> None:
    _shown_forever(enrolled, portraits[1])
    with _scanning(enrolled) as client:
        worker, observer = enrolled.processes()
        victims = {"client": client.pid, "worker": worker, "observer": observer}
        os.kill(victims[victim], signal.SIGKILL)
        client.communicate(enrolled.account.password.encode() + b"\n", timeout=30)
        assert client.returncode == (-signal.SIGKILL if victim == "client" else 0)
    enrolled.wait_for_processes(0)


def test_the_process_that_sees_pixels_has_no_privilege(
    enrolled: Machine, portraits: Portraits
) -> None:
    """uid, groups, capabilities, no_new_privs, maps and files, read from /proc in mid-attempt."""
    _shown_forever(enrolled, portraits[1])
    with _scanning(enrolled):
        worker, observer = (Path("/proc", str(pid)) for pid in enrolled.processes())
        status = dict(
            line.split(":\t", 1)
            for line in (observer / "status").read_text().splitlines()
            if ":\t" in line
        )
        looking, keeping = (observer / "maps").read_text(), (worker / "maps").read_text()
        files = [str(link.readlink()) for link in (observer / "fd").iterdir()]
    assert "onnxruntime" in looking
    assert "onnxruntime" not in keeping, "the keeper loads no model"
    assert "cv2" not in keeping, "the keeper decodes no pixel"
    assert "numpy" not in keeping, "what runs as root is small"
    assert "cryptography" not in looking, "the observer opens no template"
    assert "0" not in status["Uid"].split()
    assert "0" not in status["Gid"].split()
    assert status["NoNewPrivs"] == "1"
    assert int(status["CapPrm"], 16) == int(status["CapEff"], 16) == int(status["CapAmb"], 16) == 0
    assert not [name for name in files if "template" in name or "shadow" in name]


@pytest.fixture
def sudo(enrolled: Machine) -> Iterator[list[str]]:
    """Real sudo for the test account, under a PAM service of its own."""
    rules = Path("/etc/sudoers.d", enrolled.service)
    name = enrolled.account.name
    rules.write_text(
        f"Defaults:{name} pam_service={enrolled.service}, pam_login_service={enrolled.service}\n"
        f"{name} ALL=(ALL) ALL\n"
    )
    rules.chmod(0o440)
    try:
        yield [
            "setpriv", "--reuid", name, "--regid", name, "--init-groups",
            "env", "-i", "PATH=/usr/bin:/bin", "sudo", "-k", "-S", "id", "-u",
        ]  # fmt: skip
    finally:
        rules.unlink()


def _run_sudo(command: list[str], password: str | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        input=f"{password or ''}\n",
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
        check=False,
    )


def test_sudo_lets_the_face_in(enrolled: Machine, sudo: list[str]) -> None:
    ended = _run_sudo(sudo, None)
    assert ended.stdout == "0\n", ended.stderr
    assert "assword" not in ended.stderr


def test_sudo_falls_back_to_the_password(
    enrolled: Machine, sudo: list[str], portraits: Portraits
) -> None:
    enrolled.show(portraits[1])
    assert _run_sudo(sudo, enrolled.account.password).stdout == "0\n"
    denied = _run_sudo(sudo, "wrong")
    assert denied.returncode != 0
    assert denied.stdout == ""


def test_under_sudo_the_worker_belongs_to_root_alone(
    enrolled: Machine, sudo: list[str], portraits: Portraits
) -> None:
    """sudo's real user is the caller, who could stop a worker that kept it, or kill it."""
    _shown_forever(enrolled, portraits[1])
    running = subprocess.Popen(sudo, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        worker, _ = enrolled.wait_for_processes(2)
        status = Path(f"/proc/{worker}/status").read_text()
        assert re.search(r"^Uid:(\s+0){4}$", status, re.MULTILINE), status
        assert re.search(r"^Gid:(\s+0){4}$", status, re.MULTILINE), status
    finally:
        running.kill()
        running.communicate()


def test_the_password_that_sudo_took_is_noticed(
    enrolled: Machine, sudo: list[str], portraits: Portraits
) -> None:
    enrolled.show(portraits[1])
    assert not enrolled.authenticate("wrong").accepted
    store = wiring.state_store(enrolled.layout)
    before = store.load(enrolled.account.name)
    assert before
    assert before.charges
    assert _run_sudo(sudo, enrolled.account.password).stdout == "0\n"
    after = store.load(enrolled.account.name)
    assert after
    assert not after.charges


def test_sudo_takes_the_password_when_the_worker_is_broken(
    enrolled: Machine, sudo: list[str]
) -> None:
    enrolled.write_service(python=Path("/nonexistent/python"))
    assert _run_sudo(sudo, enrolled.account.password).stdout == "0\n"
    assert _run_sudo(sudo, "wrong").returncode != 0


@contextlib.contextmanager
def _login(machine: Machine, terminal: tuple[int, int]) -> Iterator[int]:
    """Real login(1) on a terminal of its own, with the machine's service in place of its own.

    The file is laid over /etc/pam.d/login in a mount namespace that ends with it: the machine's own
    logins never see it.
    """
    master, slave = terminal
    service = Path("/etc/pam.d", machine.service)
    client = subprocess.Popen(
        [
            *("unshare", "--mount", "sh", "-c"),
            f"mount --bind {service} /etc/pam.d/login && "
            f"exec setsid --ctty --wait login {machine.account.name}",
        ],
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    try:
        yield master
    finally:
        client.kill()
        client.wait(timeout=30)


def test_login_lets_the_face_in(enrolled: Machine, terminal: tuple[int, int]) -> None:
    with _login(enrolled, terminal) as master:
        shown = _read_until(master, "$ ")  # a key before it would ask for the password
        os.write(master, b"echo in as $(id -un).; exit\n")
        seen = shown + _read_until(master, f"in as {enrolled.account.name}.")
    assert f"in as {enrolled.account.name}." in seen, seen
    assert "assword" not in seen
    assert enrolled.audit()[-1]["outcome"] == "match"


def test_login_falls_back_to_the_password(
    enrolled: Machine, portraits: Portraits, terminal: tuple[int, int]
) -> None:
    enrolled.show(portraits[1])
    with _login(enrolled, terminal) as master:
        assert "assword" in _read_until(master, "assword")
        os.write(master, b"wrong\n")
        assert "incorrect" in _read_until(master, "login:")
        os.write(master, enrolled.account.name.encode() + b"\n")
        assert "assword" in _read_until(master, "assword")
        os.write(master, enrolled.account.password.encode() + b"\n")
        _read_until(master, "$ ")
        os.write(master, b"echo in as $(id -un).; exit\n")
        seen = _read_until(master, f"in as {enrolled.account.name}.")
    assert f"in as {enrolled.account.name}." in seen, seen


def test_the_callers_environment_reaches_neither_worker_nor_observer(
    enrolled: Machine, tmp_path: Path
) -> None:
    """A python3 of the attacker's in PATH and a PYTHONPATH are not what the worker runs with."""
    seen = enrolled.layout.root / "environment"
    _program(
        enrolled,
        f'#!/bin/sh\n/usr/bin/env > {seen}\nexec {enrolled.program.python} "$@"\n',
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "LD_LIBRARY_PATH": str(tmp_path),
        "FACEID_SECRET": "1",
    }
    ended = subprocess.run(
        ["pamtester", enrolled.service, enrolled.account.name, "authenticate"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0
    lines = seen.read_text().splitlines()
    assert "ORT_DISABLE_TELEMETRY=1" in lines
    names = {line.partition("=")[0] for line in lines}
    assert names <= {"ORT_DISABLE_TELEMETRY", "OPENBLAS_NUM_THREADS", "PWD", "SHLVL", "_", "OLDPWD"}


def test_no_library_writes_outside_or_says_anything(enrolled: Machine) -> None:
    """onnxruntime keeps no cache and sends nothing: strace sees no file made and no socket."""
    trace = enrolled.layout.root / "trace"
    _program(
        enrolled,
        f"#!/bin/sh\nexec strace -f -qq -o {trace} -e trace=openat,creat,mkdir,mkdirat,socket,"
        f'connect,unlink,rename,renameat2 {enrolled.program.python} "$@"\n',
    )
    assert enrolled.authenticate(None).accepted
    text = trace.read_text()
    made = re.findall(r'openat\([^"]*"([^"]+)", [^)]*O_CREAT', text) + re.findall(
        r'(?:creat|mkdir|mkdirat)\([^"]*"([^"]+)"', text
    )
    ours = str(enrolled.layout.audit_log.parent)
    # What is remembered of attempts is written anew beside the file that it replaces.
    state = re.compile(rf"\.{re.escape(enrolled.account.name)}\.json\.[0-9a-f]{{16}}\.tmp")
    elsewhere = [path for path in made if not path.startswith(ours)]
    assert [path for path in elsewhere if not state.fullmatch(path)] == []
    sockets = set(re.findall(r"socket\((AF_\w+)", text))
    assert sockets <= {"AF_UNIX"}, text


def test_audit_lines_hold_no_biometrics(enrolled: Machine) -> None:
    enrolled.authenticate(None)
    (line,) = enrolled.audit()
    assert enrolled.layout.audit_log.stat().st_size < 2000
    fractions = {key for key, value in line.items() if re.fullmatch(r"-?\d*\.\d+", value)}
    assert all(key.endswith(("_ms", "milliseconds")) for key in fractions)

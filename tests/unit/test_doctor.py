"""doctor names each thing that is wrong, and goes on."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pam_faceid.adapters import pam_stack
from pam_faceid.adapters.cameras import nodes
from pam_faceid.adapters.cameras.nodes import CameraInfo, PixelFormat, spectrum_of
from pam_faceid.adapters.models.manifest import load_manifests, model_id
from pam_faceid.adapters.sandbox import landlock
from pam_faceid.adapters.vault.keys import create_key_file
from pam_faceid.apps import wiring
from pam_faceid.apps.admin.checks import CHECKS, Finding, State, run_checks
from pam_faceid.core.types import LiveScore
from pam_faceid.layout import Layout
from tests.unit.test_templates import template

pytestmark = pytest.mark.root


@pytest.fixture
def layout(tmp_path: Path, models_dir: Path) -> Layout:
    """A root with everything but a camera and an interpreter of its own."""
    found = Layout(tmp_path)
    for folder in (found.templates, found.models, found.audit_log.parent, found.pam_d):
        folder.mkdir(parents=True)
    for file in [
        *models_dir.glob("*.onnx"),
        *models_dir.glob("*.json"),
        models_dir / "manifest.toml",
    ]:
        shutil.copyfile(file, found.models / file.name)
    found.config_file.write_text('[matching]\nthreshold = 0.5\n[attack]\nmode = "passive"\n')
    create_key_file(found.key_file)
    for name in (pam_stack.PYTHON_MODULE, pam_stack.HOOK):
        path = tmp_path / name.lstrip("/")
        path.parent.mkdir(parents=True)
        path.touch()
    (found.pam_d / "pam_faceid-password").write_text("auth required pam_unix.so\n")
    (found.pam_d / "login").write_text(f"{pam_stack.AUTH_LINE}auth required pam_unix.so\n")
    return found


def look(layout: Layout, name: str) -> list[Finding]:
    return [finding for check, finding in run_checks(layout) if check == name]


def worst(layout: Layout, name: str) -> Finding:
    severity = [State.SKIPPED, State.OK, State.WARN, State.FAIL]
    return max(look(layout, name), key=lambda f: severity.index(f.state))


WELL = {check.name for check in CHECKS} - {
    *("interpreter", "service user", "confinement", "templates"),
    *("camera", "camera nodes", "infrared"),
}


@pytest.mark.parametrize("name", sorted(WELL))
def test_what_is_well_is_called_ok(layout: Layout, name: str) -> None:
    assert worst(layout, name).state is State.OK


def test_a_hook_that_a_user_could_change_is_found(layout: Layout) -> None:
    (layout.root / pam_stack.HOOK.lstrip("/")).chmod(0o666)

    found = worst(layout, "hook")
    assert found.state is State.FAIL
    assert "runs as root" in found.what


def test_a_kernel_without_landlock_is_said(layout: Layout) -> None:
    found = worst(layout, "confinement")
    if landlock.version():
        assert found.state is State.OK
        assert f"Landlock version {landlock.version()}" in found.what
    else:
        assert found.state is State.WARN


def test_a_socket_that_nobody_answers_at_is_found(layout: Layout) -> None:
    layout.socket.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(layout.socket))
        assert worst(layout, "daemon").state is State.WARN
        listener.listen()
        assert worst(layout, "daemon").state is State.OK


def test_a_socket_that_somebody_else_listens_at_is_found(layout: Layout) -> None:
    layout.socket.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(layout.socket))
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
        try:
            listener.listen()
        finally:
            os.seteuid(0)
        found = worst(layout, "daemon")
    assert found.state is State.FAIL
    assert "clients believe only root" in found.what


def test_a_missing_hook_is_found(layout: Layout) -> None:
    (layout.root / pam_stack.HOOK.lstrip("/")).unlink()

    assert "is missing, so only the password works" in worst(layout, "hook").what


def test_a_wrong_configuration_is_named_once(layout: Layout) -> None:
    """What depends on it says so in place of repeating the failure."""
    layout.config_file.write_text("[camera]\nwidht = 640\n")

    assert "camera.widht" in worst(layout, "configuration").what
    for name in ("threshold", "templates", "camera"):
        found = worst(layout, name)
        assert found.state is State.SKIPPED
        assert found.what == "not looked at: first repair configuration"


def test_an_altered_model_is_named(layout: Layout) -> None:
    with (layout.models / "rnet.onnx").open("ab") as file:
        file.write(b"x")

    found = worst(layout, "models")
    assert found.state is State.FAIL
    assert "model rnet was altered" in found.what


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ('[attack]\nmode = "off"\n', "every service that does not say otherwise"),
        ('[attack]\nmode = "passive"\n[services.sudo]\nattack = "off"\n', "in sudo:"),
    ],
)
def test_attack_detection_that_is_off_is_said_loudly(
    layout: Layout, settings: str, where: str
) -> None:
    layout.config_file.write_text(settings)

    found = worst(layout, "attacks")
    assert found.state is State.WARN
    assert "ATTACK DETECTION IS OFF" in found.what
    assert where in found.what
    assert 'mode = "passive"' in found.cure


@pytest.mark.parametrize("how", ["missing", "altered"])
def test_a_detector_that_cannot_be_asked_is_a_failure_and_says_what_it_means(
    layout: Layout, how: str
) -> None:
    model = layout.models / "attack_detector.onnx"
    if how == "missing":
        model.unlink()
    else:
        model.write_bytes(model.read_bytes()[:-1] + b"?")

    found = worst(layout, "attacks")
    assert found.state is State.FAIL
    assert str(model) in found.what
    assert "the password does" in found.what
    layout.config_file.write_text('[attack]\nmode = "off"\n')
    assert worst(layout, "attacks").state is State.WARN, "nobody asks it"


def test_a_second_opinion_that_was_not_imported_is_a_failure(layout: Layout) -> None:
    layout.config_file.write_text('[attack]\nmode = "passive"\nsecond_opinion = true\n')

    found = worst(layout, "attacks")
    assert found.state is State.FAIL
    assert "not imported" in found.what
    assert "models add minifasnet" in found.cure


def test_a_key_that_others_can_read_is_found(layout: Layout) -> None:
    layout.key_file.chmod(0o444)

    assert "more open than 0400" in worst(layout, "key").what


def test_a_template_that_does_not_open_is_found(layout: Layout) -> None:
    (layout.templates / "root.template").write_bytes(b"not a template")
    (layout.templates / "root.template").chmod(0o640)

    assert worst(layout, "templates").state is State.FAIL


def test_who_was_not_enrolled_before_a_camera_is_named(layout: Layout) -> None:
    """Or by an older version: prints of them are told by the threshold for everybody."""
    detector = model_id(load_manifests(layout).find("attack_detector"))
    store = wiring.template_store(layout)
    for live, named in ((None, True), (LiveScore(detector, 4.0), False)):
        references = tuple(
            dataclasses.replace(one, source="camera", enrolled_at=1.0, live=live)
            for one in template().references
        )
        seen = dataclasses.replace(template(), user="root", uid=0, references=references)
        store.save(seen, replace=True)
        said = [found.what for found in look(layout, "attacks")]
        assert any("prints are told less well of root" in what for what in said) is named
        assert worst(layout, "attacks").state is State.OK


def test_a_template_of_an_account_that_is_gone_is_a_warning(layout: Layout) -> None:
    (layout.templates / "nobody-there.template").touch()

    found = worst(layout, "templates")
    assert found.state is State.WARN
    assert found.cure == "faceid-admin remove-user nobody-there"


def test_a_recording_in_place_of_the_camera_is_said_loudly(layout: Layout) -> None:
    layout.config_file.write_text('[camera]\nrecording = "/srv/faces"\n')

    found = worst(layout, "camera")
    assert found.state is State.WARN
    assert "A RECORDING STANDS IN FOR THE CAMERA: /srv/faces" in found.what


def test_a_virtual_camera_that_is_allowed_is_said_as_loudly(layout: Layout) -> None:
    layout.config_file.write_text("[camera]\nallow_virtual = true\n")

    found = look(layout, "camera")[0]
    assert found.state is State.WARN
    assert "VIRTUAL CAMERAS ARE ALLOWED" in found.what
    assert "allow_virtual" in found.cure


def test_a_service_that_wants_infrared_where_there_is_none_is_a_failure(layout: Layout) -> None:
    layout.config_file.write_text("[services.sudo]\nrequire_ir = true\n")

    found = worst(layout, "infrared")
    assert found.state is State.FAIL
    assert found.what.startswith("sudo: require_ir")
    assert "[camera] infrared" in found.cure


def camera_at(node: str, code: str = "YUYV") -> CameraInfo:
    formats = (PixelFormat(code, ((640, 480),)),)
    spectrum = spectrum_of(formats)
    words = ("Webcam", "uvcvideo", "usb-1")
    return CameraInfo(node, None, *words, formats, spectrum, is_virtual=False)


def test_a_camera_that_came_back_under_another_number_is_named_with_what_to_set(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout.config_file.write_text('[camera]\ndevice = "/dev/video4711"\n')
    here = [camera_at("/dev/video4712", "GREY"), camera_at("/dev/video4713")]
    monkeypatch.setattr(nodes, "list_cameras", lambda: here)

    found = worst(layout, "camera")
    assert found.state is State.FAIL
    assert "/dev/video4711 cannot be opened: No such file" in found.what
    assert 'set [camera] device = "/dev/video4713" in' in found.cure

    monkeypatch.setattr(nodes, "list_cameras", list)
    assert worst(layout, "camera").cure == "plug it in; cameras here: none"


def test_a_camera_in_use_is_named_with_who_uses_it(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the driver lets nobody else open it at all."""
    ours, theirs = os.openpty()
    device = os.ttyname(theirs)
    layout.config_file.write_text(f'[camera]\ndevice = "{device}"\n')

    def is_held(node: Path, *, unreadable_is_none: bool = True) -> CameraInfo | None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(nodes, "_describe", is_held)
    try:
        with subprocess.Popen(["sleep", "60"], stdin=theirs) as other:
            found = worst(layout, "camera")
            other.kill()
    finally:
        os.close(ours)
        os.close(theirs)
    assert found.state is State.WARN
    assert found.what == (
        f"the camera {device} is in use by another program: sleep (pid {other.pid})"
    )
    assert found.cure == f"close it, or: kill {other.pid}"


def test_an_infrared_camera_that_is_not_there_is_named(layout: Layout) -> None:
    layout.config_file.write_text('[camera]\ninfrared = "/dev/v4l/by-id/gone"\n')

    found = worst(layout, "infrared")
    assert found.state is State.FAIL
    assert "/dev/v4l/by-id/gone" in found.what


@pytest.mark.parametrize(
    ("service", "text", "what"),
    [
        ("su", f"{pam_stack.AUTH_LINE}auth required pam_unix.so\n", "su: must not have the face"),
        ("login", pam_stack.AUTH_LINE * 2, "login: the face is there 2 times"),
        (
            "login",
            pam_stack.AUTH_LINE.replace("sufficient", "required"),
            "turns a missing face into a failed login",
        ),
    ],
)
def test_wiring_that_harms_is_a_failure(layout: Layout, service: str, text: str, what: str) -> None:
    (layout.pam_d / service).write_text(text)

    found = [f for f in look(layout, "PAM services") if f.state is State.FAIL]
    assert any(what in f.what for f in found)


def test_sudo_without_secure_path_is_a_failure_once_it_has_the_face(layout: Layout) -> None:
    (layout.root / "etc/sudoers").write_text("Defaults env_reset\n")
    assert worst(layout, "PAM services").state is State.OK

    (layout.pam_d / "sudo").write_text(f"{pam_stack.AUTH_LINE}auth required pam_unix.so\n")

    assert "no `Defaults secure_path`" in worst(layout, "PAM services").what


def test_an_audit_log_that_cannot_be_written_is_found(layout: Layout) -> None:
    layout.audit_log.symlink_to("/dev/null")

    assert worst(layout, "audit log").state is State.FAIL


def test_what_stopped_the_newest_attempt_is_told_until_one_ends_well(layout: Layout) -> None:
    """An observer that was killed leaves no other trace."""
    assert worst(layout, "last attempt").state is State.OK
    log = wiring.audit_log(layout)
    log.record("authenticate", user="alice", outcome="internal_error", error="it\x1b[2J died")
    log.record("doctor")

    found = worst(layout, "last attempt")
    assert found.state is State.WARN
    assert found.what.endswith(r": it\u{1b}[2J died")
    assert found.cure.startswith("try again")

    log.record("authenticate", user="alice", outcome="match")
    assert worst(layout, "last attempt").state is State.OK


def test_a_machine_that_looks_too_long_at_a_frame_is_told(layout: Layout) -> None:
    """As in an emulator: of 60 s one frame took 27, and no second one came to agree with it."""
    log = wiring.audit_log(layout)
    slow = {"detect_ms": 9045.9, "embed_ms": 22271.8, "attack_ms": 3631.0}
    log.record("authenticate", user="alice", outcome="non_match", frames=1, **slow)

    found = worst(layout, "last attempt")
    assert found.state is State.WARN
    assert found.what.endswith("this machine looked 34.9 s at a frame, and saw 1")
    assert "mobilefacenet" in found.cure

    log.record("authenticate", user="alice", outcome="non_match", frames=9, detect_ms=15.0)
    assert worst(layout, "last attempt").state is State.OK


def test_an_empty_machine_ends_with_3_and_every_check_has_a_word(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "pam_faceid.apps.admin", "--root", tmp_path, "doctor", "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "COLUMNS": "80"},
    )

    assert ended.returncode == 3, ended.stderr
    findings = json.loads(ended.stdout)["findings"]
    assert {f["check"] for f in findings} == {check.name for check in CHECKS}
    for finding in findings:
        if finding["state"] == "fail":
            assert finding["cure"], finding


def test_a_full_disk_is_named_first(layout: Layout) -> None:
    folder = layout.audit_log.parent
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], check=True)
    try:
        with contextlib.suppress(OSError):
            (folder / "filler").write_bytes(bytes(1 << 20))
        found = worst(layout, "file systems")
        assert found.state is State.FAIL
        assert "no room is left" in found.what
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        found = worst(layout, "file systems")
        assert "read-only" in found.what
        assert found.cure.endswith(f"mount -o remount,rw {folder}")
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_python_that_was_replaced_is_named(layout: Layout) -> None:
    release = layout.root / "opt/pam_faceid/current"
    (release / "lib/python3.2").mkdir(parents=True)
    (release / "bin").mkdir()
    (release / "bin/python").symlink_to(Path(sys.executable).resolve())

    found = worst(layout, "Python")
    assert found.state is State.FAIL
    assert "the libraries are of python3.2" in found.what

    (release / "bin/python").unlink()
    (release / "bin/python").symlink_to("/usr/bin/python3.2")
    assert "which is gone" in worst(layout, "Python").what


def test_what_the_machine_was_switched_off_in_is_named_however_young_it_is(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody has written since the machine was started waits for nobody."""
    releases = layout.root / "opt/pam_faceid/releases"
    for folder in ("cut", "used"):
        (releases / folder).mkdir(parents=True)
    (releases.parent / "current").symlink_to("releases/used")
    minute = time.time() - 60
    os.utime(releases / "cut", (minute, minute))
    monkeypatch.setattr(time, "clock_gettime", lambda _: 3600.0)
    assert worst(layout, "left half done").state is State.OK  # it may be being built now

    monkeypatch.setattr(time, "clock_gettime", lambda _: 30.0)

    assert f"{releases / 'cut'} is not in use" in worst(layout, "left half done").what


def test_what_was_interrupted_is_named_with_how_to_end_it(layout: Layout) -> None:
    old = 10**9
    piece = layout.templates / ".alice.template.0011.tmp"
    releases = layout.root / "opt/pam_faceid/releases"
    for folder in ("1", "2"):
        (releases / folder).mkdir(parents=True)
        os.utime(releases / folder, (old, old))
    (releases.parent / "current").symlink_to("releases/2")
    piece.touch()
    os.utime(piece, (old, old))
    layout.key_file.with_name("template.key.next").touch()

    found = {f.what: f.cure for f in look(layout, "left half done")}

    said = "\n".join(found)
    assert ".alice.template.0011.tmp" in said
    assert f"{releases / '1'} is not in use" in said
    assert found["a rotation of the template key was interrupted"] == "faceid-admin key rotate"


def test_a_change_that_should_be_undone_by_now_is_a_failure(layout: Layout) -> None:
    waiting = layout.config_dir / "pam-pending/login"
    waiting.mkdir(parents=True)
    (waiting / "times").write_text("1000 1300\n")

    found = worst(layout, "left half done")

    assert found.state is State.FAIL
    assert "never confirmed" in found.what
    assert "roll-back" in found.cure


def test_a_rule_of_howdy_is_a_failure(layout: Layout) -> None:
    with (layout.pam_d / "login").open("a") as file:
        file.write("auth sufficient pam_python.so /lib/security/howdy/pam.py\n")

    found = worst(layout, "left half done")
    assert found.state is State.FAIL
    assert "howdy" in found.what


def test_a_wired_module_that_was_removed_is_named(layout: Layout) -> None:
    """Although the native client is there, which the hook's own check is content with."""
    native = layout.root / "usr/lib/x86_64-linux-gnu/security/pam_faceid.so"
    native.parent.mkdir(parents=True)
    native.touch()
    (layout.root / pam_stack.PYTHON_MODULE.lstrip("/")).unlink()

    found = worst(layout, "PAM services")
    assert "not installed, so only the password works" in found.what
    assert "libpam-python" in found.cure

"""What doctor looks at, in the order in which one thing depends on another.

Each check imports what it needs itself, so that a broken library spoils its own check only.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import pwd
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from pam_faceid.adapters import pam_stack, sudoers
from pam_faceid.adapters.pam_services import SUDO_SERVICES, PamServices
from pam_faceid.apps import wiring
from pam_faceid.apps.admin.pam_wiring import service_status
from pam_faceid.apps.observer import LIBRARY_ENVIRONMENT
from pam_faceid.core.errors import FaceIdError
from pam_faceid.layout import PROGRAM_DIR, SERVICE_USER, Layout

REINSTALL: Final = "run install.sh again"
LIBRARIES: Final = (
    ("numpy", "numpy"),
    ("opencv-python-headless", "cv2"),
    ("onnxruntime", "onnxruntime"),
    ("cryptography", "cryptography"),
    ("msgspec", "msgspec"),
    ("python-pam", "pam"),
    ("rich", "rich"),
)
LOW_SPACE_BYTES: Final = 64 << 20
INTERPRETER_SECONDS: Final = 20.0


class State(str, Enum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "-"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        state: Whether it is well.
        what: What was seen, in a sentence without a full stop.
        cure: What to do; empty when nothing is to be done.
    """

    state: State
    what: str
    cure: str = ""


def environment(layout: Layout) -> Iterator[Finding]:
    """Python and the libraries of this program."""
    # onnxruntime reads these when it is imported; root writes nothing and tells nobody.
    os.environ.update(LIBRARY_ENVIRONMENT)
    versions = [f"Python {platform.python_version()}"]
    for distribution, module in LIBRARIES:
        try:
            importlib.import_module(module)
            versions.append(f"{distribution} {importlib.metadata.version(distribution)}")
        except Exception as error:  # a broken library may raise anything
            yield Finding(State.FAIL, f"{module} cannot be imported: {error}", REINSTALL)
    yield Finding(State.OK, ", ".join(versions))


def interpreter(layout: Layout) -> Iterator[Finding]:
    """The interpreter that the hook starts, started the same way."""
    path = _under(layout, PROGRAM_DIR / "current/bin/python")
    if not path.exists():
        yield Finding(State.FAIL, f"{path} is missing, so only the password works", REINSTALL)
        return
    if layout.root != Path("/"):
        yield Finding(State.OK, f"{path} is there (not started: it is of another root)")
        return
    ended = subprocess.run(  # noqa: S603 (a fixed, root-owned path)
        [path, "-I", "-c", "import pam_faceid.apps.service"],
        env={"ORT_DISABLE_TELEMETRY": "1"},
        capture_output=True,
        text=True,
        timeout=INTERPRETER_SECONDS,
        check=False,
    )
    if ended.returncode != 0:
        last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        yield Finding(State.FAIL, f"{path} cannot run the worker: {last}", REINSTALL)
    else:
        yield Finding(State.OK, f"{path} runs the worker")


def hook(layout: Layout) -> Iterator[Finding]:
    """pam_python and the script that it runs as root."""
    for name, cure in (
        (pam_stack.PYTHON_MODULE, "apt install libpam-python"),
        (pam_stack.HOOK, REINSTALL),
    ):
        path = _under(layout, Path(name))
        if not path.is_file():
            yield Finding(State.FAIL, f"{path} is missing, so only the password works", cure)
            continue
        loose = _not_roots_alone(path.resolve(), stop=layout.root)
        if loose is not None:
            yield Finding(
                State.FAIL,
                f"{loose} can be changed by others than root, and {path} runs as root",
                f"chown root:root {loose}; chmod go-w {loose}",
            )
        else:
            yield Finding(State.OK, f"{path} is there and root's alone")


def service_user(layout: Layout) -> Iterator[Finding]:
    """The unprivileged user that looks at pixels."""
    from pam_faceid.adapters.sandbox import CAMERA_GROUP

    try:
        account = pwd.getpwnam(SERVICE_USER)
    except KeyError:
        yield Finding(State.FAIL, f"there is no system user {SERVICE_USER}", REINSTALL)
        return
    if account.pw_uid == 0:
        yield Finding(State.FAIL, f"the user {SERVICE_USER} is root", REINSTALL)
        return
    groups = set(os.getgrouplist(SERVICE_USER, account.pw_gid)) - {account.pw_gid}
    import grp

    names = {grp.getgrgid(gid).gr_name for gid in groups}
    for surplus in sorted(names - {CAMERA_GROUP}):
        yield Finding(
            State.WARN,
            f"the user {SERVICE_USER} is in the group {surplus}, which it does not need",
            f"gpasswd -d {SERVICE_USER} {surplus}",
        )
    if not account.pw_shell.endswith(("nologin", "false")):
        yield Finding(
            State.WARN,
            f"the user {SERVICE_USER} can log in: its shell is {account.pw_shell}",
            f"usermod -s /usr/sbin/nologin {SERVICE_USER}",
        )
    yield Finding(State.OK, f"user {SERVICE_USER}, uid {account.pw_uid}")


def configuration(layout: Layout) -> Iterator[Finding]:
    """The configuration file."""
    from pam_faceid.adapters.configuration import load_config

    load_config(layout)
    yield Finding(State.OK, f"{layout.config_file} is valid")


def models(layout: Layout) -> Iterator[Finding]:
    """Every model's file against its hash."""
    from pam_faceid.adapters.models.manifest import load_manifests, model_id, read_model

    for spec in load_manifests(layout).model:
        try:
            read_model(spec)
        except FaceIdError as error:
            yield Finding(State.FAIL, error.message, error.hint)
        else:
            yield Finding(State.OK, model_id(spec))


def threshold(layout: Layout) -> Iterator[Finding]:
    """Whether the configured threshold has a meaning for the configured embedder."""
    from pam_faceid.adapters.configuration import load_config
    from pam_faceid.adapters.models.manifest import load_manifests

    config = load_config(layout)
    rule = wiring.decision_rule(config, load_manifests(layout))
    yield Finding(State.OK, f"match threshold {rule.threshold:.4f} ({config.matching.embedder})")


def key(layout: Layout) -> Iterator[Finding]:
    """The template key: owner, mode, length."""
    from pam_faceid.adapters.vault.keys import KeyFile
    from pam_faceid.adapters.vault.sealing import wipe

    wipe(KeyFile(layout.key_file).key())
    yield Finding(State.OK, f"{layout.key_file} is there and root's alone")


def templates(layout: Layout) -> Iterator[Finding]:
    """Whether each template opens, and is of the model in use."""
    from pam_faceid.adapters.configuration import load_config
    from pam_faceid.adapters.models.manifest import load_manifests, model_id

    store = wiring.template_store(layout)
    users = store.users()
    wanted = load_config(layout).matching.embedder
    current = model_id(load_manifests(layout).find(wanted))
    opened = 0
    for user in users:
        again = f"faceid-admin add-user {user} --replace"
        try:
            template = store.load(user, pwd.getpwnam(user).pw_uid)
        except KeyError:
            yield Finding(
                State.WARN,
                f"{user} has a template but no account any more",
                f"faceid-admin remove-user {user}",
            )
        except FaceIdError as error:
            yield Finding(State.FAIL, error.message, error.hint or again)
        else:
            if template.model_id != current:
                what = f"the template of {user} is of {template.model_id}, not of {current}"
                yield Finding(State.FAIL, what, again)
            else:
                opened += 1
    if not users:
        yield Finding(State.WARN, "nobody is enrolled", "faceid-admin add-user NAME")
    else:
        yield Finding(State.OK, f"{opened} of {len(users)} templates open")


def camera(layout: Layout) -> Iterator[Finding]:
    """The camera: found, free, and open to the service user."""
    from pam_faceid.adapters.cameras.nodes import find_camera, holders, is_busy
    from pam_faceid.adapters.configuration import load_config

    settings = load_config(layout).camera
    if settings.recording:
        yield Finding(
            State.WARN,
            f"A RECORDING STANDS IN FOR THE CAMERA: {settings.recording}; whoever may choose what"
            " it shows is let in",
            f"remove `recording` from [camera] in {layout.config_file}",
        )
        return
    found = find_camera(settings.device)
    seen = f"{found.card} at {found.path}, {found.spectrum.value}"
    if found.is_virtual:
        yield Finding(
            State.WARN,
            f"{seen}: a virtual camera, so whoever may write to it chooses the face",
            f'set [camera] device in {layout.config_file} to a real one, or to "auto"',
        )
    refused = _refused_to_service_user(found.node)
    if refused is not None:
        cure = "install.sh makes the user; the node must belong to the group video: ls -l /dev/v*"
        yield Finding(State.FAIL, f"{seen}: {SERVICE_USER} may not open it: {refused}", cure)
    elif is_busy(found.node):
        who = ", ".join(f"{name} (pid {pid})" for pid, name in holders(found.node))
        yield Finding(State.WARN, f"{seen}: in use by {who or 'another process'}", "close it")
    else:
        yield Finding(State.OK, seen)


def pam(layout: Layout) -> Iterator[Finding]:
    """Which services ask for the face, and whether they may."""
    services = PamServices(layout.root)
    wired = []
    for name in services.names():
        status = service_status(services, name)
        for fault in status.faults:
            yield Finding(State.FAIL, f"{name}: {fault}", f"faceid-admin pam disable {name}")
        if status.enabled:
            wired.append(name)
            skipped = pam_stack.skipped_by_a_match(services.auth_stack(name))
            if skipped is not None:
                yield Finding(
                    State.WARN,
                    f"{name}: a match skips `{skipped}` ({skipped.service})",
                    "see pam_faceid(8), if it is meant as a second factor",
                )
    if SUDO_SERVICES & set(wired):
        for hazard in sudoers.path_hazards(layout.root):
            yield Finding(State.FAIL, hazard, "visudo: set secure_path for everybody")
    if wired:
        yield Finding(State.OK, f"the face is asked for by {', '.join(wired)}")
    else:
        cure = "faceid-admin pam enable sudo"
        yield Finding(State.WARN, "no PAM service asks for the face yet", cure)


def password_service(layout: Layout) -> Iterator[Finding]:
    """The service that confirms who a person is before enrolment."""
    from pam_faceid.adapters.accounts import PASSWORD_SERVICE

    services = PamServices(layout.root)
    if PASSWORD_SERVICE not in services.names():
        what = f"{services.directory / PASSWORD_SERVICE} is missing, so nobody can be confirmed"
        yield Finding(State.FAIL, what, REINSTALL)
    elif any(entry.is_ours for entry in services.auth_stack(PASSWORD_SERVICE)):
        what = f"{services.directory / PASSWORD_SERVICE} lets a face stand for the password"
        yield Finding(State.FAIL, what, REINSTALL)
    else:
        yield Finding(State.OK, f"{services.directory / PASSWORD_SERVICE} asks for the password")


def audit(layout: Layout) -> Iterator[Finding]:
    """Whether an attempt can be recorded; without a record there is no match."""
    wiring.audit_log(layout).record("doctor")
    yield Finding(State.OK, f"{layout.audit_log} takes a record")


def disk(layout: Layout) -> Iterator[Finding]:
    """Free space where templates and records are written."""
    for folder in (layout.config_dir, layout.audit_log.parent):
        if not folder.is_dir():
            yield Finding(State.FAIL, f"{folder} is missing", REINSTALL)
            continue
        free = shutil.disk_usage(folder).free
        if free < LOW_SPACE_BYTES:
            cure = "make room: without a record there is no match"
            yield Finding(State.WARN, f"{folder}: {free >> 20} MiB are free", cure)
        else:
            yield Finding(State.OK, f"{folder}: {free >> 20} MiB are free")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that doctor looks at.

    Args:
        name: For the report.
        look: Yields what it finds.
        needs: Names of checks without which it could only repeat their failure.
    """

    name: str
    look: Callable[[Layout], Iterator[Finding]]
    needs: tuple[str, ...] = ()


CHECKS: Final = (
    Check("libraries", environment),
    Check("interpreter", interpreter),
    Check("hook", hook),
    Check("service user", service_user),
    Check("configuration", configuration),
    Check("models", models),
    Check("threshold", threshold, needs=("configuration", "models")),
    Check("key", key),
    Check("templates", templates, needs=("configuration", "models", "key")),
    Check("camera", camera, needs=("configuration", "service user")),
    Check("PAM services", pam),
    Check("password", password_service),
    Check("audit log", audit),
    Check("disk", disk),
)


def run_checks(layout: Layout) -> Iterator[tuple[str, Finding]]:
    """Yield the name of a check with each of its findings, in order."""
    failed: set[str] = set()
    for check in CHECKS:
        missing = [name for name in check.needs if name in failed]
        if missing:
            found = [Finding(State.SKIPPED, f"not looked at: first repair {missing[0]}")]
            failed.add(check.name)
        else:
            found = _findings(check, layout)
        for finding in found:
            if finding.state is State.FAIL:
                failed.add(check.name)
            yield check.name, finding


def _findings(check: Check, layout: Layout) -> list[Finding]:
    """Run one check; what stops it is a finding too."""
    found = []
    try:
        for finding in check.look(layout):
            found.append(finding)
    except FaceIdError as error:
        found.append(Finding(State.FAIL, error.message, error.hint))
    except ImportError as error:
        found.append(Finding(State.FAIL, f"cannot be looked at: {error}", REINSTALL))
    except Exception as error:  # doctor is for broken machines: it goes on
        found.append(Finding(State.FAIL, f"cannot be looked at: {type(error).__name__}: {error}"))
    return found


def _under(layout: Layout, path: Path) -> Path:
    return layout.root / path.relative_to("/")


def _not_roots_alone(path: Path, *, stop: Path) -> Path | None:
    """Return the file or folder above it, up to `stop`, that others than root can change."""
    for part in (path, *path.parents):
        status = part.stat()
        writable = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if status.st_uid != 0 or (writable and not status.st_mode & stat.S_ISVTX):
            return part
        if part == stop:
            break
    return None


def _refused_to_service_user(node: str) -> str | None:
    """Open a device as the service user, in a process of its own; return why that failed."""
    from pam_faceid.adapters import sandbox

    child = os.fork()
    if child == 0:
        code = 255
        try:
            sandbox.drop_to(SERVICE_USER)
            os.close(os.open(node, os.O_RDWR | os.O_NONBLOCK))
            code = 0
        except OSError as error:
            code = error.errno or 255
        finally:
            os._exit(code)
    _, ended = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(ended)
    return None if code == 0 else os.strerror(code) if 0 < code < 255 else "it cannot be tried"

"""Is the program itself in order: libraries, interpreter, hook, service user."""

from __future__ import annotations

import grp
import importlib
import importlib.metadata
import os
import platform
import pwd
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pam_faceid.adapters import pam_stack
from pam_faceid.adapters.pam_services import PamServices
from pam_faceid.apps.admin.checks.finding import REINSTALL, Finding, State, under
from pam_faceid.layout import PROGRAM_DIR, SERVICE_USER, Layout

LIBRARIES: Final = (
    ("numpy", "numpy"),
    ("opencv-python-headless", "cv2"),
    ("onnxruntime", "onnxruntime"),
    ("cryptography", "cryptography"),
    ("msgspec", "msgspec"),
    ("python-pam", "pam"),
    ("rich", "rich"),
)
INTERPRETER_SECONDS: Final = 20.0


def environment(layout: Layout) -> Iterator[Finding]:
    """Python and the libraries of this program."""
    # onnxruntime reads it when it is imported, and would else write files as root.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
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
    path = under(layout, PROGRAM_DIR / "current/bin/python")
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
    """The clients that PAM loads as root: the native module, or pam_python with its script."""
    native = PamServices(layout.root).native_module()
    python = [under(layout, Path(name)) for name in (pam_stack.PYTHON_MODULE, pam_stack.HOOK)]
    for path in python if native is None else [native, *python]:
        if not path.is_file():
            if native is None:
                cure = REINSTALL if path == python[1] else "apt install libpam-python"
                what = f"{path} is missing, so only the password works"
                yield Finding(State.FAIL, what, cure)
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


def confinement(layout: Layout) -> Iterator[Finding]:
    """What this kernel offers to confine the processes that see pixels or hold the key."""
    from pam_faceid.adapters.sandbox import landlock

    version = landlock.version()
    if version == 0:
        yield Finding(
            State.WARN,
            "this kernel offers no Landlock: a decoder that was taken over could read what every "
            "user can",
            "add landlock to the kernel's list of security modules (lsm=)",
        )
    if not Path("/proc/sys/kernel/seccomp").is_dir():
        yield Finding(
            State.WARN,
            "this kernel filters no system calls: a decoder that was taken over could make any",
            "use a kernel that is built with seccomp",
        )
    else:
        offered = f"Landlock version {version} and " if version else ""
        yield Finding(State.OK, f"{offered}a filter of system calls")


def daemon(layout: Layout) -> Iterator[Finding]:
    """Whether a daemon answers, or each login starts a worker of its own."""
    import socket

    from pam_faceid.apps.protocol import peer_of

    if not layout.socket.exists():
        yield Finding(State.OK, "there is none: each login starts a worker, which takes longer")
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as client:
        try:
            client.connect(str(layout.socket))
        except OSError as error:
            yield Finding(
                State.WARN,
                f"nobody answers at {layout.socket}: {error.strerror}",
                "systemctl status faceidd.socket faceidd.service",
            )
            return
        listener = peer_of(client).uid
    if listener != 0:
        yield Finding(
            State.FAIL,
            f"user id {listener} listens at {layout.socket}, and clients believe only root",
            f"find out who put it there; then: rm {layout.socket}",
        )
    else:
        yield Finding(State.OK, f"root's socket {layout.socket} is listened at")


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

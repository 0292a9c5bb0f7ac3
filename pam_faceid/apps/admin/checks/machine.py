"""Is the machine under the program as it was: disks, Python, units, and nothing left half done."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pam_faceid.adapters import pam_stack
from pam_faceid.adapters.confirm_timer import SYSTEMCTL, TIMER, systemd_runs
from pam_faceid.adapters.pam_leftovers import leftovers
from pam_faceid.adapters.pam_pending import PendingChanges
from pam_faceid.adapters.pam_services import PamServices
from pam_faceid.apps.admin.checks.finding import REINSTALL, Finding, State, under
from pam_faceid.core.camera_settings import stand_in
from pam_faceid.core.errors import CameraBusyError
from pam_faceid.layout import PROGRAM_DIR, Layout

# Where install.sh puts them, and where the package does, on systems before /usr was merged too.
UNITS_DIRS: Final = tuple(
    Path(folder, "systemd/system") for folder in ("/usr/local/lib", "/usr/lib", "/lib")
)
SOCKETS: Final = ("faceidd.socket", "faceid-observer.socket")
KEEPER: Final = "faceidd.service"
_LDD: Final = "/usr/bin/ldd"
# Source: systemd.service(5), `$SERVICE_RESULT`.
_FAILED_BY: Final = {
    "signal": "it was killed (signal)",
    "core-dump": "it crashed (core-dump)",
    "oom-kill": "the machine ran out of memory (oom-kill)",
    "watchdog": "it hung (watchdog)",
    "timeout": "it did not start in time (timeout)",
    "exit-code": "it ended with an error (exit-code)",
    "resources": "systemd could not give it what it needs (resources)",
}
_SECONDS: Final = 20.0
_RECENT_SECONDS: Final = 600  # an installation that still runs is not one that was left


def file_systems(layout: Layout) -> Iterator[Finding]:
    """Whether there is a disk that can be written, with room, where we write."""
    failed = False
    folders = (layout.pam_d, layout.config_dir, layout.state.parent, layout.audit_log.parent)
    for folder in folders:
        if not folder.is_dir():
            continue  # other checks say what is missing
        status = os.statvfs(folder)
        if status.f_flag & os.ST_RDONLY:
            failed = True
            yield Finding(
                State.FAIL,
                f"{folder} is on a read-only file system: no attempt can be recorded, so only the"
                " password works",
                f"find out why (dmesg); then: mount -o remount,rw {_mount_of(folder)}",
            )
        elif status.f_bavail == 0 or (status.f_files and not status.f_favail):
            failed = True
            kind = "no inode" if status.f_bavail else "no room"
            yield Finding(
                State.FAIL,
                f"{folder}: {kind} is left on {_mount_of(folder)}: what cannot be recorded is no"
                " match, so only the password works",
                f"make room: df -h {folder}; du -xsh {_mount_of(folder)}/* | sort -h",
            )
    if not failed:
        yield Finding(State.OK, "what is written can be written")


def _mount_of(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.is_mount())


def python(layout: Layout) -> Iterator[Finding]:
    """Whether the distribution's Python is still the one that everything was built for."""
    release = under(layout, PROGRAM_DIR / "current")
    binary = release / "bin/python"
    libraries = sorted(path.name for path in release.glob("lib/python3*"))
    if libraries:
        real = binary.resolve()
        if not real.exists():
            what = f"{binary} leads to {real}, which is gone, so only the password works"
            yield Finding(State.FAIL, what, f"apt install python3, then {REINSTALL}")
            return
        if real.name.startswith("python3.") and real.name not in libraries:
            what = f"{binary} is {real.name} now, and the libraries are of {libraries[0]}"
            yield Finding(State.FAIL, f"{what}, so only the password works", REINSTALL)
            return
    module = under(layout, Path(pam_stack.PYTHON_MODULE))
    if module.is_file() and Path(_LDD).exists():
        ended = _run(_LDD, str(module.resolve()))
        missing = [line.split()[0] for line in ended.splitlines() if "not found" in line]
        if missing:
            yield Finding(
                State.FAIL,
                f"{module} needs {', '.join(missing)}, which is gone, so it asks for no face",
                "apt install --reinstall libpam-python",
            )
            return
    yield Finding(State.OK, f"{', '.join(libraries) or Path(sys.executable).name} is whole")


def units(layout: Layout) -> Iterator[Finding]:
    """Whether systemd has the daemon's sockets open and its services unbroken."""
    if not any(under(layout, folder / SOCKETS[0]).exists() for folder in UNITS_DIRS):
        yield Finding(State.OK, "systemd was given none")
        return
    if layout.root != Path("/") or not systemd_runs():
        yield Finding(State.OK, "they are there (not asked: systemd does not run here)")
        return
    failed = False
    for unit in (*SOCKETS, KEEPER):
        state = dict(
            line.split("=", 1)
            for line in _run(
                SYSTEMCTL, "show", "--property=ActiveState,UnitFileState,Result", unit
            ).splitlines()
            if "=" in line
        )
        active = state.get("ActiveState", "unknown")
        if active == "failed":
            failed = True
            why = state.get("Result", "")
            cure = f"find out why: journalctl --unit={unit}; then: systemctl restart {unit}"
            yield Finding(State.FAIL, f"{unit} has failed: {_FAILED_BY.get(why, why)}", cure)
        elif unit in SOCKETS and active != "active":
            failed = True
            cure = f"systemctl enable --now {unit}"
            yield Finding(State.WARN, f"{unit} is stopped: logins are slower", cure)
        elif unit in SOCKETS and state.get("UnitFileState") not in ("enabled", "static"):
            failed = True
            cure = f"systemctl enable {unit}"
            yield Finding(State.WARN, f"{unit} will not start with the next boot", cure)
    if not failed:
        yield Finding(State.OK, f"{', '.join(SOCKETS)} listen")


def camera_nodes(layout: Layout) -> Iterator[Finding]:
    """Every node that films, and whether the one in use is the one that was meant."""
    from pam_faceid.adapters.cameras.nodes import find_camera, list_cameras
    from pam_faceid.adapters.configuration import load_config
    from pam_faceid.core.types import Spectrum

    settings = load_config(layout).camera
    cameras = list_cameras()
    for each in cameras:
        yield Finding(State.OK, f"{each.node}: {each.card}, {each.spectrum.value} ({each.path})")
    if stand_in(settings) or not cameras:
        return
    try:
        chosen = find_camera(settings.device)
    except CameraBusyError:
        return  # the check of the camera says by whom
    colour = [
        each
        for each in cameras
        if each.spectrum is Spectrum.COLOUR and (settings.allow_virtual or not each.is_virtual)
    ]
    if chosen.spectrum is Spectrum.INFRARED and colour:
        yield Finding(
            State.WARN,
            f"{chosen.path} is an infrared node, and {colour[0].path} of colour is there, for which"
            " the models are calibrated",
            f'set [camera] device = "{colour[0].path}" in {layout.config_file}',
        )
    if settings.device.startswith("/dev/video"):
        yield Finding(
            State.WARN,
            f"{settings.device} may be another camera after it was unplugged or after a boot",
            f'set [camera] device = "{chosen.path}" in {layout.config_file}, or "auto"',
        )


def leftover(layout: Layout) -> Iterator[Finding]:
    """What was interrupted, or left by another program, and waits to be ended."""
    found = [
        *_unfinished_files(layout),
        *_unfinished_key(layout),
        *_unfinished_release(layout),
        *_unconfirmed(layout),
        *(
            Finding(State.FAIL if each.asks else State.WARN, each.what, each.cure)
            for each in leftovers(PamServices(layout.root))
        ),
    ]
    yield from found or [Finding(State.OK, "nothing was left half done")]


def _unfinished_files(layout: Layout) -> Iterator[Finding]:
    """What a killed enrolment, or a power cut in one, leaves: never a template, but a piece."""
    for folder in (layout.templates, layout.state, layout.config_dir, layout.pam_d):
        pieces = [
            path
            for pattern in (".*.tmp", ".*.partial", ".*.faceid-undo")
            for path in (sorted(folder.glob(pattern)) if folder.is_dir() else ())
            if _was_left(path)
        ]
        if pieces:
            yield Finding(
                State.WARN,
                f"{folder} has pieces of writing that was interrupted:"
                f" {', '.join(path.name for path in pieces)}",
                f"what they were to replace is whole; rm {' '.join(map(str, pieces))}",
            )


def _was_left(path: Path) -> bool:
    """Whether nobody writes it any more: for its age, or because the machine was started since."""
    now = time.time()
    booted = now - time.clock_gettime(time.CLOCK_BOOTTIME)
    try:
        return path.lstat().st_mtime < max(booted, now - _RECENT_SECONDS)
    except OSError:
        return False


def _unfinished_key(layout: Layout) -> Iterator[Finding]:
    from pam_faceid.adapters.vault.keys import NEXT

    places = (layout.key_file, layout.sealed_key)
    if any(path.with_name(path.name + NEXT).exists() for path in places):
        cure = "faceid-admin key rotate"
        yield Finding(State.WARN, "a rotation of the template key was interrupted", cure)
    elif all(path.exists() for path in places):
        cure = "faceid-admin key move --to PLACE"
        yield Finding(State.WARN, "a move of the template key was interrupted", cure)


def _unfinished_release(layout: Layout) -> Iterator[Finding]:
    folder = under(layout, PROGRAM_DIR)
    used = (folder / "current").resolve()
    releases = sorted((folder / "releases").glob("*"))
    others = [path for path in releases if path != used and _was_left(path)]
    if others:
        yield Finding(
            State.WARN,
            f"an upgrade was interrupted: {', '.join(map(str, others))} is not in use",
            f"{REINSTALL}; the version in use is whole",
        )


def _unconfirmed(layout: Layout) -> Iterator[Finding]:
    pending = PendingChanges(layout.root)
    for change in pending.all():
        keep = "faceid-admin pam confirm keeps it, faceid-admin pam disable undoes it"
        if time.time() > change.until + 60:
            yield Finding(
                State.FAIL,
                f"the change to the PAM service {change.service} was never confirmed and should be"
                " undone by now: the machine was started without systemd, or the disk is full",
                f"/bin/sh {pending.undo} roll-back {pending.folder}; or {keep}",
            )
        elif layout.root == Path("/") and systemd_runs() and not _active(TIMER):
            yield Finding(
                State.FAIL,
                f"the change to the PAM service {change.service} waits to be confirmed, and nothing"
                f" would undo it: {TIMER} does not run",
                f"systemctl start {TIMER}; or {keep}",
            )
        else:
            what = f"the change to the PAM service {change.service} waits to be confirmed"
            yield Finding(State.WARN, what, keep)


def _active(unit: str) -> bool:
    return _run(SYSTEMCTL, "is-active", unit).strip() == "active"


def _run(*command: str) -> str:
    return subprocess.run(  # noqa: S603 (absolute paths, arguments of our own)
        command,
        env={"LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    ).stdout

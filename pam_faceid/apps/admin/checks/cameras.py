"""Is there what a face is seen with: a real camera, and infrared light where it is wanted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pam_faceid.apps.admin.checks.finding import Finding, State
from pam_faceid.core.camera_settings import stand_in
from pam_faceid.core.errors import CameraBusyError, CameraError
from pam_faceid.core.types import Spectrum
from pam_faceid.layout import SERVICE_USER, Layout

if TYPE_CHECKING:
    from pam_faceid.adapters.cameras.nodes import CameraInfo
    from pam_faceid.core.config import CameraConfig


def camera(layout: Layout) -> Iterator[Finding]:
    """The camera: found, real, free, and open to the service user."""
    from pam_faceid.adapters.cameras.nodes import find_camera
    from pam_faceid.adapters.configuration import load_config

    settings = load_config(layout).camera
    if settings.allow_virtual:
        yield Finding(
            State.WARN,
            "VIRTUAL CAMERAS ARE ALLOWED: whoever may write to one chooses the face that is let in",
            f"remove `allow_virtual` from [camera] in {layout.config_file}",
        )
    recorded = stand_in(settings)
    if recorded:
        key = "recording" if settings.recording else "depth"
        yield Finding(
            State.WARN,
            f"A RECORDING STANDS IN FOR THE CAMERA: {recorded}; whoever may choose what it shows is"
            " let in",
            f"remove `{key}` from [camera] in {layout.config_file}",
        )
        return
    try:
        found = find_camera(settings.device)
    except CameraBusyError as error:
        yield _in_use(settings.device, error.message)
        return
    except CameraError as error:
        instead = _instead(settings)
        if instead is None or Path(settings.device).exists():
            raise
        yield Finding(
            State.FAIL,
            f"{error.message}; another is here, which may be the same one: {instead}",
            f'plug it in again; or set [camera] device = "{instead}" in {layout.config_file}',
        )
        return
    yield from state_of(found, layout, allow_virtual=settings.allow_virtual)


def _instead(settings: CameraConfig) -> str | None:
    """Return the camera that is here in place of a named one that is not; None when none is fit."""
    from pam_faceid.adapters.cameras.nodes import choose, list_cameras

    cameras = list_cameras()
    with suppress(CameraError):
        return choose(cameras).path
    allowed = [each for each in cameras if settings.allow_virtual]
    colour = [each for each in allowed if each.spectrum is Spectrum.COLOUR]
    return next((each.path for each in (*colour, *allowed)), None)


def infrared(layout: Layout) -> Iterator[Finding]:
    """The infrared camera, the services that want one, and what drives its light."""
    from pam_faceid.adapters.cameras.nodes import find_camera, list_cameras
    from pam_faceid.adapters.configuration import load_config

    config = load_config(layout)
    wanting = ", ".join(name for name, service in config.services.items() if service.require_ir)
    if not config.camera.infrared:
        if wanting:
            yield Finding(
                State.FAIL,
                f"{wanting}: require_ir, but no infrared camera is configured, so only the password"
                " works there",
                f'name it in {layout.config_file}: [camera] infrared = "/dev/v4l/by-path/..."',
            )
            return
        seen = [c.path for c in list_cameras() if c.spectrum is Spectrum.INFRARED]
        if not seen:
            yield Finding(State.OK, "no infrared camera is configured, none is wanted")
            return
        use = "" if any(config.camera.device == path for path in seen) else ", and not used"
        yield Finding(State.OK, f"an infrared camera is here{use}: {', '.join(seen)}")
        return
    found = find_camera(config.camera.infrared, infrared=True)
    if found.spectrum is not Spectrum.INFRARED:
        yield Finding(
            State.WARN,
            f"{found.path} ({found.card}) does not say that it sees infrared, and is believed"
            " because the configuration names it; frames in colour are refused",
            "see docs/infrared.md; or name another in [camera] infrared",
        )
    yield from state_of(found, layout, allow_virtual=config.camera.allow_virtual)
    yield _emitter(found, layout)
    yield from _pair(found, layout)


def _pair(infrared: CameraInfo, layout: Layout) -> Iterator[Finding]:
    """Say whether the colour camera is asked for the same face, where there is one beside."""
    from pam_faceid.adapters.cameras.nodes import list_cameras
    from pam_faceid.adapters.configuration import load_config

    if load_config(layout).camera.cross_check:
        yield Finding(State.OK, "the colour camera must see the same face (cross_check)")
        return
    beside = [
        camera
        for camera in list_cameras()
        if camera.spectrum is Spectrum.COLOUR and camera.bus == infrared.bus
    ]
    if beside:
        yield Finding(
            State.OK,
            f"{beside[0].path} sees colour beside it; with [camera] cross_check = true both must"
            " see the same face, where the camera delivers both at once",
        )


def state_of(camera: CameraInfo, layout: Layout, *, allow_virtual: bool) -> Iterator[Finding]:
    """Say whether a node is real, free, and open to the service user."""
    from pam_faceid.adapters.cameras.nodes import is_busy
    from pam_faceid.adapters.cameras.virtual import refuse_virtual

    seen = f"{camera.card} at {camera.path}, {camera.spectrum.value}"
    if camera.is_virtual:
        try:
            refuse_virtual(camera, allowed=allow_virtual)
        except CameraError as error:
            yield Finding(State.FAIL, error.message, error.hint)
            return
        yield Finding(
            State.WARN,
            f"{seen}: A VIRTUAL CAMERA, so whoever may write to it chooses the face",
            f'set [camera] device in {layout.config_file} to a real one, or to "auto"',
        )
    refused = _refused_to_service_user(camera.node)
    if refused is not None:
        cure = "install.sh makes the user; the node must belong to the group video: ls -l /dev/v*"
        yield Finding(State.FAIL, f"{seen}: {SERVICE_USER} may not open it: {refused}", cure)
    elif is_busy(camera.node):
        yield _in_use(camera.node, f"{seen}: in use")
    else:
        yield Finding(State.OK, seen)


def _in_use(device: str, what: str) -> Finding:
    """Say who has the camera, and how to end that. Until then only the password works."""
    from pam_faceid.adapters.cameras.nodes import holders

    found = holders(device)
    if not found:
        return Finding(State.WARN, what, "close the program that uses it")
    who = ", ".join(f"{name} (pid {pid})" for pid, name in found)
    pids = " ".join(str(pid) for pid, _ in found)
    return Finding(State.WARN, f"{what}: {who}", f"close it, or: kill {pids}")


def _emitter(camera: CameraInfo, layout: Layout) -> Finding:
    """Say what drives the camera's light. Nothing is written to the camera: some have broken."""
    from pam_faceid.adapters.cameras.emitter import emitter_tool

    tool = emitter_tool(layout.root)
    if tool is None:
        kind = "is made for Windows Hello and" if _is_for_faces(camera) else "most likely"
        return Finding(
            State.OK,
            f"{camera.path} {kind} lights faces by itself; if its pictures stay dark, install"
            " linux-enable-ir-emitter: docs/infrared.md",
        )
    if not tool.is_configured:
        return Finding(
            State.WARN,
            f"{tool.binary} is installed and has not learnt a camera",
            "if pictures stay dark: sudo linux-enable-ir-emitter configure",
        )
    if not tool.is_enabled:
        return Finding(
            State.WARN,
            f"{tool.binary} has learnt a camera, and nothing runs it when the machine starts",
            "sudo systemctl enable --now linux-enable-ir-emitter",
        )
    return Finding(State.OK, f"{tool.binary} switches infrared light on when the machine starts")


def _is_for_faces(camera: CameraInfo) -> bool:
    return camera.function is not None and camera.function.is_for_faces


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

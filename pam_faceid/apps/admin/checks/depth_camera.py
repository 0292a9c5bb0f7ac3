"""Is there what depth is seen with, where it is wanted, and what is not used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pam_faceid.apps.admin.checks.cameras import state_of
from pam_faceid.apps.admin.checks.finding import Finding, State
from pam_faceid.core.camera_settings import DepthBy, depth_by
from pam_faceid.layout import Layout

if TYPE_CHECKING:
    from pam_faceid.core.config import Config


def depth(layout: Layout) -> Iterator[Finding]:
    """The depth camera, its calibration, and the services that want one."""
    from pam_faceid.adapters.configuration import load_config

    config = load_config(layout)
    kind = depth_by(config.camera)
    if kind is DepthBy.NOTHING:
        yield from _without(config, layout)
    elif kind is DepthBy.NODE:
        yield from _nodes(config, layout)
    elif kind is DepthBy.REALSENSE:
        yield from _realsense()
    else:
        yield from _recording(config)


def _without(config: Config, layout: Layout) -> Iterator[Finding]:
    from pam_faceid.adapters.cameras.nodes import list_cameras
    from pam_faceid.core.types import Spectrum

    wanting = ", ".join(name for name, service in config.services.items() if service.require_depth)
    if wanting:
        yield Finding(
            State.FAIL,
            f"{wanting}: require_depth, but no depth camera is configured, so only the password"
            " works there",
            f"name it in {layout.config_file}: [camera] depth = ...; docs/depth.md has the forms",
        )
        return
    seen = [camera.path for camera in list_cameras() if camera.spectrum is Spectrum.DEPTH]
    if seen:
        yield Finding(
            State.OK,
            f"a node of distances is here, and not used: {', '.join(seen)}; docs/depth.md says how",
        )
    else:
        yield Finding(State.OK, "no depth camera is configured, none is wanted")


def _nodes(config: Config, layout: Layout) -> Iterator[Finding]:
    from pam_faceid.adapters.cameras.calibration import read_calibration
    from pam_faceid.adapters.cameras.depth_live import find_nodes

    rig = read_calibration(Path(config.camera.depth_calibration))
    yield Finding(
        State.OK,
        f"{config.camera.depth_calibration}: {rig.colour.width} x {rig.colour.height} px, "
        + ("registered" if rig.registered else "registered on reading"),
    )
    _, node = find_nodes(config.camera)
    yield from state_of(node, layout, allow_virtual=config.camera.allow_virtual)


def _realsense() -> Iterator[Finding]:
    from importlib.util import find_spec

    if find_spec("pyrealsense2") is None:
        yield Finding(
            State.FAIL,
            "[camera] depth names a RealSense, and the package pyrealsense2 is not installed",
            "apt install libusb-1.0-0, and pip install 'pam_faceid[realsense]' in the environment"
            " of pam_faceid",
        )
        return
    yield Finding(
        State.WARN,
        "pyrealsense2 is installed; nobody has seen it work with pam_faceid yet",
        "faceid-admin verify NAME looks through it; docs/depth.md says what the daemon needs",
    )


def _recording(config: Config) -> Iterator[Finding]:
    from pam_faceid.adapters.cameras.depth_recording import open_depth_recording
    from pam_faceid.adapters.cameras.recording import close_files

    files = open_depth_recording(Path(config.camera.depth), require_root_owned=True)
    close_files(files)
    yield Finding(State.OK, f"{config.camera.depth} is a recording with depth, and root's alone")

"""What `[camera]` says of depth and of a second camera, and what of it cannot be together."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from pam_faceid.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pam_faceid.core.config import CameraConfig, ServiceConfig

AUTO: Final = "auto"
REALSENSE: Final = "realsense"
DEVICES: Final = "/dev/"
_FORMS: Final = (
    '"auto" or a node under /dev/v4l/by-path, "realsense", "realsense:SERIAL", or the folder of a'
    " recording"
)


class DepthBy(str, Enum):
    """What gives depth."""

    NOTHING = "nothing"
    NODE = "node"  # of V4L2, beside the colour node of `device`
    REALSENSE = "realsense"
    RECORDING = "recording"


def depth_by(camera: CameraConfig) -> DepthBy:
    """Return what `[camera] depth` names.

    Raises:
        ConfigError: None of what it may name.
    """
    named = camera.depth
    if not named:
        return DepthBy.NOTHING
    kind, _, serial = named.partition(":")
    if kind == REALSENSE and (named == REALSENSE or serial.isalnum()):
        return DepthBy.REALSENSE
    if named == AUTO or named.startswith(DEVICES):
        return DepthBy.NODE
    if named.startswith("/"):
        return DepthBy.RECORDING
    raise ConfigError(f"[camera] depth = {named!r} names no depth camera", hint=f"it is {_FORMS}")


def stand_in(camera: CameraConfig) -> str:
    """Return the path of the recording that stands in for the camera; empty for a live one."""
    if camera.recording:
        return camera.recording
    return camera.depth if depth_by(camera) is DepthBy.RECORDING else ""


def check_cameras(
    camera: CameraConfig, services: Mapping[str, ServiceConfig], *, origin: str
) -> None:
    """Refuse what cannot be together.

    Args:
        origin: The file's name, for messages.

    Raises:
        ConfigError: The message names the file and the keys.
    """
    try:
        source = depth_by(camera)
    except ConfigError as error:
        raise ConfigError(f"{origin} {error.message}", hint=error.hint) from error
    if source is not DepthBy.NOTHING and camera.recording:
        raise ConfigError(
            f"{origin} [camera]: recording and depth are both set, and pictures have no depth",
            hint="keep one; a recording with depth is a folder with recording.json, named as depth",
        )
    if source is DepthBy.NODE and not camera.depth_calibration:
        raise ConfigError(
            f"{origin} [camera]: depth = {camera.depth!r} is a node, which does not tell its"
            " intrinsics, and depth_calibration is missing",
            hint="name the file that has them; docs/depth.md has its format",
        )
    if source is not DepthBy.NODE and camera.depth_calibration:
        raise ConfigError(
            f"{origin} [camera]: depth_calibration is set, and depth is no node that needs one",
            hint="remove it: a RealSense and a recording bring their own",
        )
    if camera.cross_check and not camera.infrared:
        raise ConfigError(
            f"{origin} [camera]: cross_check compares the infrared camera with the colour one, and"
            " infrared names none",
            hint='name it: infrared = "/dev/v4l/by-path/..."; or remove cross_check',
        )
    for name, service in services.items():
        if service.require_ir and service.require_depth:
            raise ConfigError(
                f"{origin} [services.{name}]: require_ir and require_depth are both set, and one"
                " look has one camera",
                hint="keep one",
            )

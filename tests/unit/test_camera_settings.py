"""What `[camera]` says of depth, and what of it cannot be together: named with file and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pam_faceid.adapters.cameras.calibration import read_calibration
from pam_faceid.core.camera_settings import DepthBy, depth_by, stand_in
from pam_faceid.core.config import CameraConfig, parse_config
from pam_faceid.core.errors import CameraError, ConfigError
from tests.depth_scenes import write_calibration


@pytest.mark.parametrize(
    ("named", "kind"),
    [
        ("", DepthBy.NOTHING),
        ("auto", DepthBy.NODE),
        ("/dev/v4l/by-path/x-video-index4", DepthBy.NODE),
        ("realsense", DepthBy.REALSENSE),
        ("realsense:012345678901", DepthBy.REALSENSE),
        ("/srv/recorded", DepthBy.RECORDING),
    ],
)
def test_what_gives_depth_is_told_from_its_name(named: str, kind: DepthBy) -> None:
    assert depth_by(CameraConfig(depth=named)) is kind


def test_a_recording_with_depth_stands_in_for_the_camera() -> None:
    assert stand_in(CameraConfig(depth="/srv/recorded")) == "/srv/recorded"
    assert stand_in(CameraConfig(recording="/srv/pictures")) == "/srv/pictures"
    assert stand_in(CameraConfig(depth="realsense")) == ""
    assert stand_in(CameraConfig()) == ""


@pytest.mark.parametrize(
    ("camera", "services", "said"),
    [
        ({"depth": "kinect"}, {}, "depth = 'kinect' names no depth camera"),
        ({"depth": "realsense:../.."}, {}, "names no depth camera"),
        ({"depth": "relative/folder"}, {}, "names no depth camera"),
        ({"depth": "/srv/a", "recording": "/srv/b"}, {}, "recording and depth are both set"),
        ({"depth": "auto"}, {}, "depth_calibration is missing"),
        ({"depth": "realsense", "depth_calibration": "/x"}, {}, "depth is no node that needs one"),
        ({"depth_calibration": "/x"}, {}, "depth is no node that needs one"),
        ({"cross_check": True}, {}, "infrared names none"),
        (
            {"infrared": "auto", "depth": "realsense"},
            {"sudo": {"require_ir": True, "require_depth": True}},
            "[services.sudo]: require_ir and require_depth are both set",
        ),
    ],
)
def test_what_cannot_be_together_is_named(
    camera: dict[str, Any], services: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"camera": camera, "services": services}, origin="config.toml")
    assert said in caught.value.message
    assert caught.value.message.startswith("config.toml")
    assert caught.value.hint


def test_what_can_be_together_is_taken() -> None:
    parse_config(
        {
            "camera": {
                "depth": "auto",
                "depth_calibration": "/etc/pam_faceid/depth.json",
                "infrared": "auto",
                "cross_check": True,
            },
            "services": {"sudo": {"require_depth": True}, "su": {"require_ir": True}},
        },
        origin="config.toml",
    )


def test_the_calibration_of_two_nodes_is_read(tmp_path: Path) -> None:
    rig = read_calibration(write_calibration(tmp_path))
    assert rig.registered
    assert rig.colour.width == 64


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"colour": None}, "missing required field `colour`"),
        ({"noise": None}, "missing required field `noise`"),
        ({"unit": "m"}, "$.unit"),
        ({"registered": False}, "registered is false, so that depth must be there"),
    ],
)
def test_a_calibration_without_intrinsics_is_refused_by_file_and_key(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    path = write_calibration(tmp_path, **changes)
    with pytest.raises(CameraError) as caught:
        read_calibration(path)
    assert said in caught.value.message
    assert str(path) in caught.value.message


def test_a_calibration_that_is_missing_or_that_others_may_write_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="does not exist, and it has the intrinsics"):
        read_calibration(tmp_path / "nowhere.json")
    path = write_calibration(tmp_path)
    path.chmod(0o666)
    with pytest.raises(CameraError, match="can be written by others"):
        read_calibration(path)

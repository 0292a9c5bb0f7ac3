"""A depth source where frames are looked at, and the order that leads to it."""

from __future__ import annotations

from itertools import islice, pairwise
from pathlib import Path

import pytest

from pam_faceid.adapters.cameras.camera_pair import CameraPair
from pam_faceid.adapters.cameras.depth_live import DepthNodes
from pam_faceid.adapters.cameras.depth_recording import DepthRecording, open_depth_recording
from pam_faceid.adapters.cameras.v4l2 import V4l2Camera
from pam_faceid.adapters.cameras.with_depth import WithDepth
from pam_faceid.adapters.models.manifest import Manifest, load_manifest
from pam_faceid.apps import ordering, wiring
from pam_faceid.core.config import CameraConfig, Config
from pam_faceid.core.errors import CameraError
from tests.depth_scenes import stored_depth, write_calibration, write_recording


@pytest.fixture(scope="module")
def manifest(models_dir: Path) -> Manifest:
    return load_manifest(models_dir)


def test_each_picture_brings_its_depth_and_a_loop_does_not_go_back_in_time(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "r", frames=2)
    source = WithDepth(
        DepthRecording(open_depth_recording(folder, require_root_owned=False), loop=True)
    )
    seen = list(islice(source.frames(), 5))
    source.close()
    assert source.is_recording
    for frame in seen:
        assert frame.depth is not None
        assert frame.depth.depth_mm.shape == frame.pixels.shape[:2]
    assert (seen[1].depth.depth_mm == stored_depth(1)).all()
    assert all(one.captured_at <= other.captured_at for one, other in pairwise(seen))


def test_an_order_says_what_gives_depth(tmp_path: Path, manifest: Manifest) -> None:
    rig = write_calibration(tmp_path)
    config = Config(camera=CameraConfig(depth="auto", depth_calibration=str(rig), infrared="auto"))
    order = ordering.order_for(config, manifest, one_shot=True)
    assert order.depth
    assert order.rig is not None
    source = wiring.frame_source(order)
    assert isinstance(source, WithDepth)
    assert isinstance(source._source, DepthNodes)
    infrared = ordering.order_for(config, manifest, one_shot=True, infrared=True)
    assert not infrared.depth
    assert isinstance(wiring.frame_source(infrared), V4l2Camera)


def test_two_cameras_look_where_the_configuration_says_so_and_infrared_is_wanted(
    manifest: Manifest,
) -> None:
    config = Config(camera=CameraConfig(infrared="auto", cross_check=True))
    wanted = ordering.order_for(config, manifest, one_shot=True, infrared=True)
    assert isinstance(wiring.frame_source(wanted), CameraPair)
    plain = ordering.order_for(config, manifest, one_shot=True)
    assert isinstance(wiring.frame_source(plain), V4l2Camera)


def test_a_calibration_that_is_not_there_stops_the_order_and_no_camera_opens(
    manifest: Manifest,
) -> None:
    config = Config(camera=CameraConfig(depth="auto", depth_calibration="/nowhere/depth.json"))
    with pytest.raises(CameraError, match="does not exist, and it has the intrinsics"):
        ordering.order_for(config, manifest, one_shot=True)


def test_a_recording_with_depth_is_looked_at_alone(tmp_path: Path, manifest: Manifest) -> None:
    folder = write_recording(tmp_path / "r")
    order = ordering.order_for(Config(), manifest, one_shot=True, recording=[folder])
    assert order.depth
    wiring.frame_source(order).close()
    with pytest.raises(CameraError, match="is looked at alone"):
        ordering.order_for(Config(), manifest, one_shot=True, recording=[folder, folder / "0.png"])

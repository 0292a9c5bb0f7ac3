"""Nodes of distances: told by their format, found beside their colour node, taken apart exactly."""

from __future__ import annotations

import numpy as np
import pytest

from pam_faceid.adapters.cameras.depth_nodes import depth_node_of, split_depth
from pam_faceid.adapters.cameras.nodes import CameraInfo, PixelFormat, choose, spectrum_of
from pam_faceid.adapters.cameras.realsense import RealSense
from pam_faceid.core.errors import CameraError
from pam_faceid.core.types import Spectrum


def camera(node: str, *codes: str, bus: str = "usb-1") -> CameraInfo:
    formats = tuple(PixelFormat(code, ((640, 480),)) for code in codes)
    return CameraInfo(
        node=node,
        stable_path=None,
        card="Depth Camera",
        driver="uvcvideo",
        bus=bus,
        formats=formats,
        spectrum=spectrum_of(formats),
        is_virtual=False,
    )


DEPTH = camera("/dev/video0", "Z16")
INFRARED = camera("/dev/video2", "GREY", "Y8I")
COLOUR = camera("/dev/video4", "YUYV")


@pytest.mark.parametrize("codes", [("Z16",), ("Z16", "GREY"), ("INZI",), ("CNF4",)])
def test_a_node_with_a_format_of_distances_is_a_depth_node(codes: tuple[str, ...]) -> None:
    assert camera("/dev/video0", *codes).spectrum is Spectrum.DEPTH


def test_auto_never_takes_a_depth_node_for_a_colour_camera() -> None:
    assert choose([DEPTH, INFRARED, COLOUR]) is COLOUR
    assert choose([DEPTH, INFRARED]) is INFRARED
    with pytest.raises(CameraError, match="no camera found"):
        choose([DEPTH])


def test_the_depth_node_of_a_camera_is_the_one_on_its_bus() -> None:
    elsewhere = camera("/dev/video6", "Z16", bus="usb-2")
    assert depth_node_of(COLOUR, [elsewhere, DEPTH, INFRARED, COLOUR]) is DEPTH
    with pytest.raises(CameraError, match="has 0 nodes of distances") as caught:
        depth_node_of(COLOUR, [elsewhere, COLOUR])
    assert "/dev/video6" in caught.value.hint
    with pytest.raises(CameraError, match="has 2 nodes"):
        depth_node_of(COLOUR, [DEPTH, camera("/dev/video1", "Z16"), COLOUR])


def test_z16_is_distances_and_inzi_is_infrared_above_distances() -> None:
    distances = np.arange(12, dtype="<u2").reshape(3, 4) + 500
    depth, infrared = split_depth(
        distances.tobytes(), fourcc="Z16", width=4, height=3, name="/dev/video0"
    )
    assert infrared is None
    assert (depth == distances).all()
    light = np.full((3, 4), 1023, "<u2")
    depth, infrared = split_depth(
        light.tobytes() + distances.tobytes(), fourcc="INZI", width=4, height=3, name="/dev/video0"
    )
    assert (depth == distances).all()
    assert infrared is not None
    assert (infrared == 255).all()


@pytest.mark.parametrize("fourcc", ["Z16", "INZI"])
def test_a_buffer_that_is_cut_off_is_refused(fourcc: str) -> None:
    with pytest.raises(CameraError, match="/dev/video0 has 23 bytes"):
        split_depth(bytes(23), fourcc=fourcc, width=4, height=3, name="/dev/video0")


def test_a_format_without_distances_is_refused() -> None:
    with pytest.raises(CameraError, match="gives YUYV, which holds no distances"):
        split_depth(bytes(24), fourcc="YUYV", width=4, height=3, name="/dev/video0")


def test_a_realsense_without_its_package_says_how_to_get_it() -> None:
    with pytest.raises(CameraError, match="pyrealsense2") as caught:
        next(RealSense().depth_frames())
    assert "pip install" in caught.value.hint

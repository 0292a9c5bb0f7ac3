"""Real depth, read as any recording: in range where it is depth, refused where a picture of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.depth_data import Named, real_frames, recorded
from pam_faceid.adapters.cameras.depth_recording import DepthRecording, open_depth_recording
from pam_faceid.adapters.models.rgbd_crop import rgbd_crop
from pam_faceid.core import relief
from pam_faceid.core.depth import DepthLimits, DepthRefusal, measure, refusal
from pam_faceid.core.errors import CameraError
from tests.depth_scenes import write_recording

pytestmark = pytest.mark.data

FACING = ("sven frame-045", "sven frame-054", "sven frame-063")


@pytest.fixture(scope="module")
def faces(shared_data: Path) -> dict[str, Named]:
    return {named.name: named for named in real_frames(shared_data)}


def test_an_iphones_depth_is_read_upright_with_its_unknown_as_0(shared_data: Path) -> None:
    frames = [frame for name, frame in recorded(shared_data) if name.startswith("sven")]
    assert len(frames) == 10
    for frame in frames:
        assert frame.depth_mm.shape == frame.colour.pixels.shape[:2] == (320, 240)
        assert 9999 not in frame.depth_mm
        assert (frame.depth_mm == 0).mean() < 0.3


def test_a_mannequin_passes_depth_which_is_why_depth_alone_is_not_liveness(
    faces: dict[str, Named],
) -> None:
    for name in FACING:
        evidence = measure(faces[name].frame, faces[name].face)
        assert evidence is not None
        assert refusal(evidence, DepthLimits()) is None
        assert 250 < evidence.distance_mm < 350
        assert 55 < evidence.eyes_apart_mm < 72


def test_real_relief_lies_where_rendered_relief_lies(faces: dict[str, Named]) -> None:
    """The middle 98 % of 320 rendered crops: 5 to 27 mm before the middle, 23 to 95 behind it."""
    for name in FACING:
        frame = faces[name].frame
        crop = rgbd_crop(frame.colour.pixels, frame.depth_mm, faces[name].face.points, side=64)
        inner = crop[12:60, 14:50, 3].astype(float)
        behind, before = np.percentile(inner[inner > 0], [5, 95])
        assert 5 <= (before - relief.MIDDLE) * relief.STEP_MM <= 27
        assert -95.5 <= (behind - relief.MIDDLE) * relief.STEP_MM <= -20


def test_numbers_that_grow_towards_the_camera_are_no_face(faces: dict[str, Named]) -> None:
    named = faces["zj live infrared"]
    evidence = measure(named.frame, named.face)
    assert evidence is not None
    assert evidence.nose_mm < 0
    assert refusal(evidence, DepthLimits()) in (DepthRefusal.WRONG_SIZE, DepthRefusal.FLAT)


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        ("truedepth_hodson/front_facing/depth.png", r"0\.depth\.png has 8 bits a channel"),
        ("rgbd_misc/ypan98/depth/sample1.png", r"0\.depth\.png is not a PNG"),  # but a JPEG
    ],
)
def test_a_picture_of_depth_has_lost_the_millimetres(
    shared_data: Path, tmp_path: Path, picture: str, said: str
) -> None:
    folder = write_recording(tmp_path / "r")
    (folder / "0.depth.png").write_bytes((shared_data / picture).read_bytes())
    source = DepthRecording(open_depth_recording(folder, require_root_owned=False), loop=False)
    with pytest.raises(CameraError, match=said):
        list(source.depth_frames())
    source.close()

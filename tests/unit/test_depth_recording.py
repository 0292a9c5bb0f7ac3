"""Recordings with depth: whatever arrives becomes frames in mm, or an error naming file and key."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pam_faceid.adapters.cameras.depth_recording import DepthRecording, open_depth_recording
from pam_faceid.core.depth_frames import DepthFrame
from pam_faceid.core.errors import CameraError
from tests.depth_scenes import about, lens, stored_depth, write_recording


def frames(folder: Path) -> list[DepthFrame]:
    source = DepthRecording(open_depth_recording(folder, require_root_owned=False), loop=False)
    try:
        return list(source.depth_frames())
    finally:
        source.close()


def refusal_of(folder: Path) -> str:
    with pytest.raises(CameraError) as caught:
        frames(folder)
    return caught.value.message


def test_a_recording_gives_every_frame_in_millimetres(tmp_path: Path) -> None:
    one, two = frames(write_recording(tmp_path / "r", frames=2))
    assert (one.depth_mm == stored_depth(0)).all()
    assert (two.depth_mm == stored_depth(1)).all()
    assert one.colour.pixels[0, 0].tolist() == [30, 20, 10]
    assert one.colour.pixels.shape == (48, 64, 3)
    assert one.intrinsics.focal_x == 60.0
    assert two.depth_captured_at == pytest.approx(1 / 30)


def test_raw_depth_is_little_endian_row_after_row(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "r")
    told = about()
    told["frames"][0]["depth"] = "0.raw"
    (folder / "recording.json").write_text(json.dumps(told))
    stored_depth().astype("<u2").tofile(folder / "0.raw")
    assert (frames(folder)[0].depth_mm == stored_depth()).all()
    with (folder / "0.raw").open("ab") as file:
        file.write(b"\0")
    assert "0.raw has 6145 bytes; 64 x 48 depths of 16 bits are 6144" in refusal_of(folder)


def test_the_marker_of_the_unknown_becomes_0(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "r", unknown=9999)
    depth = stored_depth()
    depth[20:, 30:] = 9999
    cv2.imwrite(str(folder / "0.depth.png"), depth)
    read = frames(folder)[0].depth_mm
    assert (read[20:, 30:] == 0).all()
    assert (read[:20] == depth[:20]).all()


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_a_turned_recording_stands_upright_and_its_lens_turns_with_it(
    tmp_path: Path, turned: int
) -> None:
    tilted = lens()
    tilted["centre_x"], tilted["centre_y"] = 10.0, 20.0
    folder = write_recording(tmp_path / "r", turned=turned, colour=tilted)
    frame = frames(folder)[0]
    assert (frame.depth_mm == np.rot90(stored_depth(), -turned // 90)).all()
    assert frame.depth_mm.shape == (frame.intrinsics.height, frame.intrinsics.width)
    # The pixel at the principal point is the same one before and after.
    wanted = stored_depth()[20, 10]
    found = frame.depth_mm[round(frame.intrinsics.centre_y), round(frame.intrinsics.centre_x)]
    assert found == wanted


def test_depth_of_another_camera_is_registered_to_the_colour(tmp_path: Path) -> None:
    folder = write_recording(
        tmp_path / "r",
        registered=False,
        depth=lens(),
        depth_to_colour={
            "rotation": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
            "translation_mm": [50.0, 0.0, 0.0],
        },
    )
    depth = np.full((48, 64), 1000, np.uint16)
    depth[10:20, 10:20] = 500
    cv2.imwrite(str(folder / "0.depth.png"), depth)
    read = frames(folder)[0].depth_mm
    # 50 mm at 1000 mm and a focal length of 60 px are 3 px; at 500 mm they are 6.
    assert (read[12:18, 17:25] == 500).all()
    assert (read[30:40, 10:60] == 1000).all()
    assert (read[:, :2] == 0).all()


def without(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda told: told.pop(key) and None


def with_(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda told: told.update(changes)


def in_frame(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda told: told["frames"][0].update(changes)


def in_lens(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda told: told["colour"].update(changes)


IDENTITY = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_(colours={}), "unknown field `colours`"),
        (without("colour"), "missing required field `colour`"),
        (without("noise"), "missing required field `noise`"),
        (without("unit"), "missing required field `unit`"),
        (lambda told: told["colour"].pop("focal_x") and None, "`focal_x`"),
        (with_(unit="m"), "$.unit"),
        (with_(unit="m"), "Invalid enum value 'm'"),
        (with_(version=2), "$.version"),
        (with_(turned=45), "$.turned"),
        (with_(frames=[]), "$.frames"),
        (in_lens(focal_x=float("nan")), "recording.json"),
        (in_lens(focal_x=-60.0), "$.colour.focal_x"),
        (in_lens(width=100_000), "$.colour.width"),
        (in_frame(depth="../0.depth.png"), "$.frames[0].depth"),
        (in_frame(depth="missing.png"), "frames: depth: there is no missing.png"),
        (in_frame(colour="missing.png"), "frames: colour: there is no missing.png"),
        (in_frame(colour_seconds=0.2), "0.depth.png was taken 0.200 s from the colour"),
        (with_(registered=False), "registered is false, so that depth must be there"),
        (with_(depth=lens()), "registered is true, yet depth"),
        (with_(registered=False, depth=lens()), "depth_to_colour must be there"),
        (
            with_(
                registered=False,
                depth=lens(),
                depth_to_colour={
                    "rotation": [[1, 0, 0], [0, 1, 0], [0, 0, 0]],
                    "translation_mm": [0, 0, 0],
                },
            ),
            "depth_to_colour: rotation",
        ),
        (
            with_(
                registered=False,
                depth=lens(),
                depth_to_colour={"rotation": IDENTITY, "translation_mm": [9000, 0, 0]},
            ),
            "no depth falls into the colour image",
        ),
    ],
)
def test_what_is_wrong_in_recording_json_is_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    folder = write_recording(tmp_path / "r")
    told = about()
    change(told)
    (folder / "recording.json").write_text(json.dumps(told))
    message = refusal_of(folder)
    assert said in message
    assert str(folder) in message


def test_a_folder_without_intrinsics_is_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "r")
    (folder / "recording.json").unlink()
    with pytest.raises(CameraError, match=r"no recording\.json, which holds the intrinsics"):
        open_depth_recording(folder, require_root_owned=False)


def png(depth: np.ndarray) -> bytes:
    return cv2.imencode(".png", depth)[1].tobytes()


def damaged() -> bytes:
    whole = bytearray(png(stored_depth()))
    whole[len(whole) // 2] ^= 0xFF
    return bytes(whole)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "0.depth.png is not a PNG"),
        (b"P5 64 48 65535\n" + bytes(6144), "0.depth.png is not a PNG"),
        (png(stored_depth().astype(np.uint8)), "8 bits a channel and PNG colour type 0"),
        (png(np.dstack([stored_depth()] * 3)), "16 bits a channel and PNG colour type 2"),
        (png(stored_depth().T.copy()), "is 48 x 64 px; recording.json says 64 x 48"),
        (png(stored_depth())[:-40], "damaged or incomplete"),
        (damaged(), "damaged or incomplete"),
        (png(np.zeros((48, 64), np.uint16)), "has no known depth"),
        (png(np.ones((48, 64), np.uint16)), "has a median of 1: such numbers are not millimetres"),
        (png((stored_depth() / 10).astype(np.uint16)), "are not millimetres"),
    ],
    ids=[
        *("empty", "pgm", "8-bit", "colour", "other-size", "cut-off", "one-bit", "all-unknown"),
        *("metres", "centimetres"),
    ],
)
def test_a_depth_file_that_holds_no_millimetres_is_refused_by_name(
    tmp_path: Path, content: bytes, said: str
) -> None:
    folder = write_recording(tmp_path / "r")
    (folder / "0.depth.png").write_bytes(content)
    assert said in refusal_of(folder)


def test_a_marker_that_stands_everywhere_is_not_a_wall(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "r", unknown=9999)
    cv2.imwrite(str(folder / "0.depth.png"), np.full((48, 64), 9999, np.uint16))
    assert "every number is 0 or 9999" in refusal_of(folder)


def test_colour_of_another_size_is_not_registered_to_the_depth(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "r")
    cv2.imwrite(str(folder / "0.png"), np.zeros((96, 128, 3), np.uint8))
    assert "0.png is 128 x 96 px; recording.json says 64 x 48" in refusal_of(folder)


def test_depth_that_stands_still_is_refused_while_the_colour_moves_on(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "r", frames=3)
    (folder / "2.depth.png").write_bytes((folder / "1.depth.png").read_bytes())
    assert "2.depth.png is the depth before it" in refusal_of(folder)


def test_a_loop_begins_again_and_is_not_taken_for_a_frozen_camera(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "r", frames=1)
    source = DepthRecording(open_depth_recording(folder, require_root_owned=False), loop=True)
    seen = source.depth_frames()
    for _ in range(3):
        next(seen)
    source.close()
    source.close()
    assert list(seen) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"[" * 100_000, b"\xff\xfe", b'{"format": ' + b"1" * 2_000_000],
    ids=["empty", "null", "deep", "no-utf8", "large"],
)
def test_hostile_json_is_one_error(tmp_path: Path, content: bytes) -> None:
    folder = write_recording(tmp_path / "r")
    (folder / "recording.json").write_bytes(content)
    assert "recording.json" in refusal_of(folder)


def test_a_file_that_is_a_link_or_a_fifo_is_not_opened(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "r")
    (folder / "x.raw").symlink_to("/etc/passwd")
    with pytest.raises(CameraError, match="symbolic link"):
        open_depth_recording(folder, require_root_owned=False)
    (folder / "x.raw").unlink()
    os.mkfifo(folder / "x.raw")
    with pytest.raises(CameraError, match="not a regular file"):
        open_depth_recording(folder, require_root_owned=False)
    with pytest.raises(CameraError, match="not a folder"):
        open_depth_recording(folder / "0.png", require_root_owned=False)


@pytest.mark.root
def test_what_stands_in_for_a_camera_must_be_in_root_s_hands(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "r")
    (folder / "0.depth.png").chmod(stat.S_IRUSR | stat.S_IWUSR | stat.S_IWOTH)
    with pytest.raises(CameraError, match=r"0\.depth\.png is owned|must be in root's hands"):
        open_depth_recording(folder, require_root_owned=True)


def test_the_side_that_opens_loads_no_decoder(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "r")
    code = (
        "import sys; from pathlib import Path;"
        "from pam_faceid.adapters.cameras.depth_recording import open_depth_recording as o;"
        f"o(Path({str(folder)!r}), require_root_owned=False);"
        "sys.exit(any(name in sys.modules for name in ('cv2', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

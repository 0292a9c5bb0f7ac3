"""Recordings: whatever file arrives becomes frames or one clear refusal that names it."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from pam_faceid.adapters.cameras.images import LONGER_SIDE_PX
from pam_faceid.adapters.cameras.recording import (
    MAX_FILES,
    OpenFile,
    Recording,
    Unreadable,
    close_files,
    open_recording,
    open_recordings,
)
from pam_faceid.core.errors import CameraError
from pam_faceid.core.types import Frame

# A dark quarter shows how a picture is turned, three colours show the order of the channels.
RED, GREEN, BLUE = (230, 20, 20), (20, 230, 20), (20, 20, 230)


def picture(width: int = 96, height: int = 64) -> np.ndarray:
    """(H, W, 3) RGB: red with a green left top corner and a blue right bottom corner."""
    pixels = np.full((height, width, 3), RED, np.uint8)
    pixels[: height // 2, : width // 2] = GREEN
    pixels[height // 2 :, width // 2 :] = BLUE
    return pixels


def encoded(suffix: str, pixels: np.ndarray) -> bytes:
    found, data = cv2.imencode(suffix, pixels[..., ::-1] if pixels.ndim == 3 else pixels)
    assert found
    return data.tobytes()


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises width x height and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + data + chunk(b"IEND", b"")


def with_exif_orientation(jpeg: bytes, orientation: int) -> bytes:
    tiff = b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHHI", 0x0112, 3, 1, orientation, 0, 0)
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def load(path: Path) -> list[Frame | Unreadable]:
    source = Recording(
        open_recording(path, require_root_owned=False), loop=False, frames_per_second=None
    )
    items = list(source.items())
    source.close()
    return items


def load_pixels(path: Path) -> np.ndarray:
    (frame,) = load(path)
    assert isinstance(frame, Frame), frame
    assert frame.pixels.dtype == np.uint8
    return frame.pixels


def refusal(path: Path) -> str:
    """The refusal of a single file: names it, says what to do, and ends `frames`."""
    (item,) = load(path)
    assert isinstance(item, Unreadable)
    assert str(path) in item.error.message
    assert item.error.hint
    files = open_recording(path, require_root_owned=False)
    source = Recording(files, loop=False, frames_per_second=None)
    with pytest.raises(CameraError, match=path.name):
        next(source.frames())
    source.close()
    return item.error.message


def write_video(path: Path, *, frames: int, rate: float = 30.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, (96, 64))
    for number in range(frames):
        writer.write(np.full((64, 96, 3), 2 * number, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".ppm"])
def test_each_image_format_becomes_rgb(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"face{suffix}"
    path.write_bytes(encoded(suffix, picture()))
    pixels = load_pixels(path)
    assert pixels.shape == (64, 96, 3)
    for corner, colour in (((8, 8), GREEN), ((8, 88), RED), ((56, 88), BLUE)):
        assert np.abs(pixels[corner].astype(int) - colour).max() < 30


def test_a_file_that_is_not_an_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.jpg"
    path.write_text("not a face")
    assert "not an image" in refusal(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.png"
    path.touch()
    assert "0 bytes" in refusal(path)


def test_a_truncated_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    noise = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    path.write_bytes(encoded(".png", noise)[:3000])
    assert "damaged" in refusal(path)


def test_a_phone_photo_in_heif_is_refused_with_its_own_advice(tmp_path: Path) -> None:
    path = tmp_path / "IMG_0001.jpg"
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    assert "HEIF" in refusal(path)


@pytest.mark.parametrize(
    ("width", "height"), [(50_000, 1), (50_000, 50_000), (9_000, 9_000), (0, 10)]
)
def test_a_huge_image_is_refused_from_its_header(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(png_header(width, height))
    tracemalloc.start()
    assert f"{width} x {height} px" in refusal(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3_000_000


def jpeg_promising(width: int) -> bytes:
    data = bytearray(encoded(".jpg", picture()))
    struct.pack_into(">H", data, data.index(b"\xff\xc0") + 7, width)
    return bytes(data)


def bmp_promising(width: int) -> bytes:
    data = bytearray(encoded(".bmp", picture()))
    struct.pack_into("<i", data, 18, width)
    return bytes(data)


def lossless_webp_promising(width: int) -> bytes:
    data = bytearray(encoded(".webp", picture()))
    assert data[12:16] == b"VP8L"
    struct.pack_into("<I", data, 21, width - 1 | 63 << 14)
    return bytes(data)


def lossy_webp_promising(width: int) -> bytes:
    data = bytearray(cv2.imencode(".webp", picture(), (cv2.IMWRITE_WEBP_QUALITY, 80))[1].tobytes())
    assert data[12:16] == b"VP8 "
    struct.pack_into("<H", data, 26, width)
    return bytes(data)


@pytest.mark.parametrize(
    "promising",
    [jpeg_promising, bmp_promising, lossless_webp_promising, lossy_webp_promising],
)
def test_a_huge_image_of_another_format_is_refused_too(
    tmp_path: Path, promising: Callable[[int], bytes]
) -> None:
    path = tmp_path / "huge.image.png"
    path.write_bytes(promising(16_000))
    assert "16000 x 64 px" in refusal(path)


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    ramp = np.tile(np.arange(256, dtype=np.uint16) * 257, (8, 1))
    path.write_bytes(encoded(".png", ramp))
    assert np.abs(load_pixels(path)[0, :, 0].astype(int) - np.arange(256)).max() <= 1


def test_grey_is_repeated_on_three_channels(tmp_path: Path) -> None:
    path = tmp_path / "grey.pgm"
    ramp = np.tile(np.arange(256, dtype=np.uint8), (8, 1))
    path.write_bytes(encoded(".pgm", ramp))
    assert np.array_equal(load_pixels(path), np.repeat(ramp[..., None], 3, axis=2))


def test_transparency_is_dropped_and_the_colours_stay(tmp_path: Path) -> None:
    path = tmp_path / "rgba.png"
    alpha = np.zeros((64, 96, 1), np.uint8)
    path.write_bytes(cv2.imencode(".png", np.dstack([picture()[..., ::-1], alpha]))[1].tobytes())
    assert np.array_equal(load_pixels(path), picture())


@pytest.mark.parametrize(("orientation", "quarter_turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, quarter_turns: int) -> None:
    path = tmp_path / "turned.jpg"
    jpeg = encoded(".jpg", picture())
    path.write_bytes(with_exif_orientation(jpeg, orientation))
    upright = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.array_equal(load_pixels(path), np.rot90(upright, quarter_turns))


def test_a_large_photo_is_shrunk(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    path.write_bytes(encoded(".jpg", picture(4000, 3000)))
    assert load_pixels(path).shape == (960, LONGER_SIDE_PX, 3)


def test_a_folder_is_read_in_the_order_of_names_and_other_files_are_ignored(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "c.JPG"):
        (tmp_path / name).write_bytes(encoded(Path(name).suffix, picture()))
    (tmp_path / "README").write_text("three pictures")
    names = [Path(item.origin).name for item in load(tmp_path) if isinstance(item, Frame)]
    assert names == ["a.png", "b.png", "c.JPG"]


def test_one_bad_image_of_a_folder_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(".png", picture()))
    (tmp_path / "b.png").write_bytes(b"")
    (tmp_path / "c.png").write_bytes(encoded(".png", picture()))
    assert [type(item) for item in load(tmp_path)] == [Frame, Unreadable, Frame]


def test_a_folder_with_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("nothing here")
    with pytest.raises(CameraError, match="no image") as caught:
        open_recording(tmp_path, require_root_owned=False)
    assert ".png" in caught.value.hint


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_folders_that_have_too_many_images_together_are_refused(tmp_path: Path) -> None:
    """Each is a descriptor, and no more fit into one message to the observer."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for number in range(MAX_FILES // 2 + (folder == "b")):
            (tmp_path / folder / f"{number}.png").touch()
    before = open_descriptors()

    with pytest.raises(CameraError, match=f"more than {MAX_FILES} files in all"):
        open_recordings([tmp_path / "a", tmp_path / "b"])

    assert open_descriptors() == before
    files = open_recordings([tmp_path / "a", tmp_path / "a"])
    assert len(files) == MAX_FILES
    close_files(files)


def test_a_file_that_is_missing_closes_those_before_it(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    before = open_descriptors()

    with pytest.raises(CameraError, match=r"gone\.png"):
        open_recordings([tmp_path / "a.png", tmp_path / "gone.png"])

    assert open_descriptors() == before


def test_a_folder_with_too_many_images_is_refused(tmp_path: Path) -> None:
    for number in range(MAX_FILES + 1):
        (tmp_path / f"{number}.png").touch()
    with pytest.raises(CameraError, match=f"{MAX_FILES + 1} images"):
        open_recording(tmp_path, require_root_owned=False)


@pytest.mark.parametrize("kind", ["missing", "symlink", "fifo", "large"])
def test_what_is_not_a_plain_file_is_not_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "face.png"
    if kind == "symlink":
        path.symlink_to("/etc/passwd")
    if kind == "fifo":
        os.mkfifo(path)
    if kind == "large":
        path.touch()
        os.truncate(path, 200_000_001)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(CameraError, match=r"face\.png"):
        open_recording(path, require_root_owned=False)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_video_is_read_frame_by_frame(tmp_path: Path) -> None:
    frames = load(write_video(tmp_path / "clip.avi", frames=30))
    means = [frame.pixels.mean() for frame in frames if isinstance(frame, Frame)]
    assert np.allclose(means, [2 * number for number in range(30)], atol=2)


def test_what_one_video_is_read_with_holds_for_no_other(tmp_path: Path) -> None:
    """OpenCV takes options from the environment, where they would spoil whatever is read next."""
    path = write_video(tmp_path / "clip.avi", frames=3)
    assert load(path)
    assert cv2.VideoCapture(str(path), cv2.CAP_FFMPEG).isOpened()


def test_a_video_is_thinned_to_the_wanted_rate(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", frames=60, rate=30.0)
    source = Recording(
        open_recording(path, require_root_owned=False), loop=False, frames_per_second=5.0
    )
    assert len(list(source.frames())) == 10


def test_a_real_phone_video_is_turned_upright(shared_data: Path) -> None:
    video = next(iter(sorted((shared_data / "td_live_real").rglob("*.MOV"))))
    source = Recording(
        open_recording(video, require_root_owned=False), loop=False, frames_per_second=1.0
    )
    frames = list(source.frames())
    assert len(frames) > 10
    assert all(frame.pixels.shape[0] > frame.pixels.shape[1] for frame in frames)


def test_a_video_with_no_frames_is_refused(tmp_path: Path) -> None:
    assert refusal(write_video(tmp_path / "none.avi", frames=0))


def test_a_matroska_video_with_no_frames_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.mkv"
    path.write_bytes(b"\x1a\x45\xdf\xa3" + bytes(64))
    assert "damaged" in refusal(path)


def test_a_truncated_video_is_refused(tmp_path: Path, shared_data: Path) -> None:
    video = next(iter(sorted((shared_data / "td_live_real").rglob("*.MOV"))))
    path = tmp_path / "cut.mov"
    path.write_bytes(video.read_bytes()[:500_000])
    assert "damaged" in refusal(path)


def test_a_playlist_is_no_video(tmp_path: Path) -> None:
    """FFmpeg would open the files and addresses that a playlist names."""
    path = tmp_path / "list.mp4"
    path.write_text("#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n")
    assert "not a video" in refusal(path)


def test_a_loop_shows_the_files_again_no_faster_than_the_rate(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(encoded(".png", picture()))
    files = open_recording(tmp_path, require_root_owned=False)
    source = Recording(files, loop=True, frames_per_second=50.0)
    started = time.monotonic()
    names = [Path(frame.origin).name for frame in islice(source.frames(), 5)]
    assert names == ["a.png", "b.png", "a.png", "b.png", "a.png"]
    assert time.monotonic() - started >= 4 / 50
    source.close()
    source.close()
    assert list(source.frames()) == []


def test_a_recording_says_that_it_is_one() -> None:
    assert Recording([], loop=False, frames_per_second=None).is_recording


def test_nothing_is_written_to_standard_error(tmp_path: Path) -> None:
    """It may be the terminal of the person who is logging in.

    In a process of its own: FFmpeg asks once whether to be quiet.
    """
    (tmp_path / "a.jpg").write_bytes(encoded(".jpg", picture())[:300])
    (tmp_path / "b.png").write_bytes(encoded(".png", picture())[:100])
    (tmp_path / "c.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(500))
    code = (
        "import sys; from pathlib import Path\n"
        "from pam_faceid.adapters.cameras.recording import Recording, open_recording\n"
        "for name in sys.argv[1:]:\n"
        "    files = open_recording(Path(name), require_root_owned=False)\n"
        "    for item in Recording(files, loop=False, frames_per_second=None).items():\n"
        "        print(type(item).__name__)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, tmp_path, tmp_path / "c.mp4"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.split() == ["Unreadable"] * 3
    assert ended.stderr == ""


def test_opening_loads_no_decoder() -> None:
    """The privileged side must not have OpenCV in its memory."""
    code = (
        "import sys; from pam_faceid.adapters.cameras import recording; print('cv2' in sys.modules)"
    )
    pipe = os.popen(f'{sys.executable} -c "{code}"')
    assert pipe.read().strip() == "False"
    pipe.close()


def unprivileged(work: Callable[[], None]) -> int:
    """Run `work` in a child that is nobody; return its exit status."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            work()
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.root
def test_nobody_can_decode_what_root_opened_and_only_that(tmp_path: Path) -> None:
    """A 0600 file of root's, image and video, reaches a process that may not open it."""
    image = tmp_path / "face.png"
    image.write_bytes(encoded(".png", picture()))
    video = write_video(tmp_path / "clip.avi", frames=4)
    files: list[OpenFile] = []
    for path in (image, video):
        path.chmod(0o600)
        files += open_recording(path, require_root_owned=False)

    def look() -> None:
        for path in (image, video):
            with pytest.raises(PermissionError):
                path.read_bytes()
        with pytest.raises(PermissionError):
            Path(f"/proc/self/fd/{files[1].fd}").read_bytes()
        frames = list(Recording(files, loop=False, frames_per_second=None).frames())
        assert len(frames) == 5

    assert unprivileged(look) == 0


@pytest.mark.root
@pytest.mark.parametrize(
    ("where", "mode", "owner"),
    [
        ("face.png", 0o666, 0),
        ("face.png", 0o664, 0),
        ("face.png", 0o644, 65534),
        (".", 0o777, 0),
        (".", 0o755, 65534),
        ("..", 0o770, 0),
    ],
)
def test_a_configured_recording_that_others_can_change_is_refused(
    tmp_path: Path, where: str, mode: int, owner: int
) -> None:
    folder = tmp_path / "outer" / "recording"
    folder.mkdir(parents=True)
    (folder / "face.png").write_bytes(encoded(".png", picture()))
    assert len(open_recording(folder, require_root_owned=True)) == 1
    target = (folder / where).resolve()
    target.chmod(mode)
    os.chown(target, owner, 0)
    for path in (folder, folder / "face.png"):
        with pytest.raises(CameraError, match="root's hands") as caught:
            open_recording(path, require_root_owned=True)
        assert str(target) in caught.value.message
    assert len(open_recording(folder, require_root_owned=False)) == 1


@pytest.mark.root
def test_a_configured_recording_is_not_reached_through_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "face.png").write_bytes(encoded(".png", picture()))
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(CameraError, match="symbolic link"):
        open_recording(tmp_path / "link" / "face.png", require_root_owned=True)
    with pytest.raises(CameraError, match="symbolic link"):
        open_recording(tmp_path / "link", require_root_owned=True)

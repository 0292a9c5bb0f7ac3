"""Cameras: which one is meant, what it is asked for, and what is said when it gives nothing.

Frames from a real node are the matter of tests/e2e; a machine that tests rarely has a camera.
"""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import pytest

from pam_faceid.adapters.cameras import nodes
from pam_faceid.adapters.cameras.nodes import (
    CameraInfo,
    PixelFormat,
    choose,
    choose_infrared,
    find_camera,
    holders,
    list_cameras,
    name_holders,
    spectrum_of,
    stable_path,
)
from pam_faceid.adapters.cameras.usb_descriptors import video_functions
from pam_faceid.adapters.cameras.v4l2 import (
    DARK_SECONDS,
    V4l2Camera,
    lit_frames,
    pixel_format_for,
)
from pam_faceid.adapters.cameras.virtual import (
    device_descriptors,
    judge_opened,
    refuse_virtual,
)
from pam_faceid.core.config import CameraConfig
from pam_faceid.core.errors import CameraBusyError, CameraError
from pam_faceid.core.types import Spectrum
from tests import usb_cameras


def camera(node: str = "/dev/video0", *codes: str, is_virtual: bool = False) -> CameraInfo:
    formats = tuple(PixelFormat(code, ((640, 480),)) for code in codes or ("YUYV", "MJPG"))
    return CameraInfo(
        node=node,
        stable_path=None,
        card="Webcam",
        driver="uvcvideo",
        bus="usb-1",
        formats=formats,
        spectrum=spectrum_of(formats),
        is_virtual=is_virtual,
    )


@pytest.mark.parametrize(
    ("codes", "spectrum"),
    [
        (("YUYV", "MJPG"), Spectrum.COLOUR),
        (("GREY",), Spectrum.INFRARED),
        (("GREY", "Y16"), Spectrum.INFRARED),
        (("GREY", "YUYV"), Spectrum.COLOUR),
        ((), Spectrum.COLOUR),
    ],
)
def test_a_camera_of_only_grey_formats_sees_infrared(
    codes: tuple[str, ...], spectrum: Spectrum
) -> None:
    assert spectrum_of([PixelFormat(code, ()) for code in codes]) is spectrum


@pytest.mark.parametrize(
    ("card", "spectrum"),
    [
        ("HP IR Camera", Spectrum.INFRARED),
        ("USB2.0 IR UVC WebCam", Spectrum.INFRARED),
        ("Integrated_IR", Spectrum.INFRARED),
        ("Infrared Camera", Spectrum.INFRARED),
        ("Integrated Camera", Spectrum.COLOUR),
        ("FIREFLY 4K", Spectrum.COLOUR),
        ("Air View", Spectrum.COLOUR),
    ],
)
def test_a_camera_that_is_called_infrared_is_one_whatever_its_formats(
    card: str, spectrum: Spectrum
) -> None:
    """Some deliver their grey pictures as YUYV or MJPG."""
    assert spectrum_of([PixelFormat("YUYV", ())], card=card) is spectrum


def test_a_camera_whose_descriptors_say_infrared_is_one() -> None:
    colour, infrared = video_functions(usb_cameras.camera(), configuration=1)
    formats = [PixelFormat("MJPG", ())]
    assert spectrum_of(formats, function=infrared) is Spectrum.INFRARED
    assert spectrum_of(formats, function=colour) is Spectrum.COLOUR


def test_auto_prefers_colour_to_infrared() -> None:
    infrared, colour = camera("/dev/video0", "GREY"), camera("/dev/video2")
    assert choose([infrared, colour]) is colour
    assert choose([infrared]) is infrared


def test_auto_never_means_a_virtual_camera() -> None:
    """Whoever may write to one could choose the face that it shows."""
    virtual, infrared = camera("/dev/video9", is_virtual=True), camera("/dev/video2", "GREY")
    assert choose([virtual, infrared]) is infrared
    with pytest.raises(CameraError, match="virtual") as caught:
        choose([virtual])
    assert 'device = "/dev/video9"' in caught.value.hint
    assert "allow_virtual = true" in caught.value.hint
    with pytest.raises(CameraError, match="infrared"):
        choose_infrared([camera("/dev/video9", "GREY", is_virtual=True), camera("/dev/video0")])
    assert choose_infrared([camera(), infrared]) is infrared


def test_a_virtual_camera_is_refused_unless_the_configuration_allows_it() -> None:
    """By name too: whoever may write to one chooses the face."""
    virtual = camera("/dev/video9", is_virtual=True)
    with pytest.raises(CameraError, match="virtual camera") as caught:
        refuse_virtual(virtual, allowed=False)
    assert "allow_virtual" in caught.value.hint
    refuse_virtual(virtual, allowed=True)
    refuse_virtual(camera(), allowed=False)
    assert CameraConfig().allow_virtual is False


def test_what_is_read_is_judged_and_not_what_lay_behind_the_path() -> None:
    """A pseudo-terminal stands for what was opened in place of the camera: it is none."""
    ours, theirs = os.openpty()
    number = os.fstat(theirs).st_rdev
    expected = dataclasses.replace(camera(os.ttyname(theirs)), number=number)
    try:
        before = device_descriptors(number)
        assert theirs in before
        with pytest.raises(CameraError, match="replaced"):
            judge_opened(expected, before=before, allow_virtual=True)
        again = os.open(os.ttyname(theirs), os.O_RDWR | os.O_NOCTTY)
        try:
            assert device_descriptors(number) - before == {again}
            with pytest.raises(CameraError, match="has gone"):
                judge_opened(expected, before=before, allow_virtual=True)
        finally:
            os.close(again)
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_machine_without_a_camera_is_told_so() -> None:
    with pytest.raises(CameraError, match="no camera found"):
        choose([])


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("/dev/video4711", "No such file"),
        ("/dev/v4l/by-id/gone", "No such file"),
        ("/dev/null", "not a camera"),
        ("/etc/passwd", "not a camera"),
    ],
)
def test_what_is_no_camera_is_refused_by_name(device: str, message: str) -> None:
    with pytest.raises(CameraError, match=message) as caught:
        find_camera(device)
    assert device in caught.value.message
    assert "cameras here: " in caught.value.hint
    with pytest.raises(CameraError, match=message):
        next(V4l2Camera(CameraConfig(device=device)).frames())


def test_listing_needs_no_camera() -> None:
    assert all(found.formats for found in list_cameras())


def test_the_lasting_name_is_by_id_before_by_path(tmp_path: Path) -> None:
    node = tmp_path / "video0"
    node.touch()
    assert stable_path(str(node), links=tmp_path) is None
    for folder in ("by-path", "by-id"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a-camera-index0").symlink_to("../video0")
        (tmp_path / folder / "b-camera-index1").symlink_to("../video1")
        assert stable_path(str(node), links=tmp_path) == str(tmp_path / folder / "a-camera-index0")


def test_structures_have_the_size_that_the_kernel_reads_off_the_request() -> None:
    for request, layout in (
        (nodes._QUERYCAP, nodes._CAPABILITY),
        (nodes._ENUM_FMT, nodes._FORMAT),
        (nodes._ENUM_FRAMESIZES, nodes._FRAME_SIZE),
        (nodes._REQBUFS, nodes._BUFFER_REQUEST),
    ):
        assert request >> 16 & 0x3FFF == layout.size


@pytest.mark.parametrize(
    ("codes", "size", "asked"),
    [
        (("MJPG", "YUYV"), (640, 480), "YUYV"),
        (("MJPG", "YUYV"), (1280, 720), "MJPG"),
        (("MJPG",), (640, 480), "MJPG"),
        (("NV12",), (640, 480), None),
        (("GREY", "Y16"), (640, 480), "GREY"),
    ],
)
def test_raw_frames_are_asked_for_while_they_fit_the_bus(
    codes: tuple[str, ...], size: tuple[int, int], asked: str | None
) -> None:
    config = CameraConfig(width=size[0], height=size[1])
    info = camera("/dev/video0", *codes)
    assert pixel_format_for(info, config, spectrum=info.spectrum) == asked


def test_of_an_infrared_camera_grey_is_asked_for() -> None:
    """One that is named as infrared may offer colours that were made of its grey."""
    info = camera("/dev/video2", "MJPG", "YUYV", "GREY")
    assert pixel_format_for(info, CameraConfig(), spectrum=Spectrum.INFRARED) == "GREY"
    info = camera("/dev/video2", "MJPG", "YUYV")
    assert pixel_format_for(info, CameraConfig(), spectrum=Spectrum.INFRARED) == "YUYV"


def test_a_configured_format_that_the_camera_lacks_is_refused() -> None:
    with pytest.raises(CameraError, match="no format GREY") as caught:
        pixel_format_for(camera(), CameraConfig(pixel_format="GREY"), spectrum=Spectrum.COLOUR)
    assert "YUYV, MJPG" in caught.value.hint


class Clock:
    """Ten frames a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.1
        return self.now


def shown(*levels: int, then: int) -> Iterator[np.ndarray]:
    return (np.full((48, 64, 3), level, np.uint8) for level in chain(levels, repeat(then)))


def looked_at(
    frames: Iterator[np.ndarray], *, spectrum: Spectrum = Spectrum.COLOUR
) -> Iterator[tuple[int, int | None]]:
    """The level of each frame that is shown, and of the dark frame beside it."""
    pairs = lit_frames(
        frames.__next__, camera=camera(), spectrum=spectrum, dark_below=12.0, clock=Clock()
    )
    for pixels, ambient in pairs:
        yield int(pixels[0, 0, 0]), None if ambient is None else int(ambient[0, 0, 0])


def lit(frames: Iterator[np.ndarray], *, spectrum: Spectrum = Spectrum.COLOUR) -> Iterator[int]:
    return (level for level, _ in looked_at(frames, spectrum=spectrum))


def test_lit_frames_of_a_light_that_flashes_come_with_the_dark_one_before_them() -> None:
    """By day, where the dark ones are not black, as by night."""
    for dark in (60, 3):
        frames = shown(*[100, dark, 102, dark + 1] * 3, then=100)
        pairs = looked_at(frames, spectrum=Spectrum.INFRARED)
        seen = [next(pairs) for _ in range(4)]
        assert seen == [(100, dark + 1), (102, dark), (100, dark + 1), (102, dark)]


def test_frames_of_a_steady_infrared_light_have_no_dark_one() -> None:
    pairs = looked_at(shown(then=90), spectrum=Spectrum.INFRARED)
    assert [next(pairs) for _ in range(3)] == [(90, None)] * 3


def test_dark_frames_are_skipped() -> None:
    levels = lit(shown(0, 100, 3, 101, 11, 12, then=50))
    assert [next(levels) for _ in range(4)] == [100, 101, 12, 50]


@pytest.mark.parametrize("spectrum", [Spectrum.COLOUR, Spectrum.INFRARED])
def test_a_camera_that_stays_dark_is_told_apart_from_one_that_sees_nobody(
    spectrum: Spectrum,
) -> None:
    levels = lit(shown(100, 100, 100, 100, then=0), spectrum=spectrum)
    assert next(levels) == 100
    with pytest.raises(CameraError, match="only black") as caught:
        list(levels)
    assert "shutter" in caught.value.hint
    assert ("infrared" in caught.value.hint) is (spectrum is Spectrum.INFRARED)


def test_the_time_that_a_frame_is_looked_at_is_not_dark() -> None:
    clock = Clock()
    frames = shown(100, 0, then=50)
    usable = lit_frames(
        frames.__next__,
        camera=camera(),
        spectrum=Spectrum.COLOUR,
        dark_below=12.0,
        clock=clock,
    )
    next(usable)
    clock.now += 2 * DARK_SECONDS
    assert next(usable)[0][0, 0, 0] == 50


def test_the_process_that_holds_a_device_is_named() -> None:
    """A pseudo-terminal stands for a camera: any device node will do."""
    ours, theirs = os.openpty()
    device = os.ttyname(theirs)
    assert holders(device) == []
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(told, b"x")
        signal.pause()
        os._exit(0)
    os.read(ready, 1)
    try:
        assert [pid for pid, name in holders(device) if name] == [child]
        assert holders(device, besides=child) == []
        busy = CameraBusyError("it is in use", hint="close it")
        named = name_holders(busy, device, besides=0)
        name = Path(f"/proc/{child}/comm").read_text().strip()
        assert (named.message, named.hint) == (f"it is in use: {name} ({child})", "close it")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for fd in (ours, theirs, ready, told):
            os.close(fd)

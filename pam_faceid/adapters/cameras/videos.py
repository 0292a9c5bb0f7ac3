"""A video file behind a descriptor, as RGB pixels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pam_faceid.adapters.cameras.images import check_size, shrink
from pam_faceid.core.errors import CameraError

_OPTIONS: Final = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
# What a video names inside must not be opened, nor a format be guessed that is not meant.
_NOTHING_ELSE: Final = "protocol_whitelist;fd|format_whitelist;avi,mov,matroska"
_USUAL_RATE: Final = 30.0  # of a video that does not tell its own


def video_frames(
    fd: int, *, name: str, frames_per_second: float | None
) -> Iterator[NDArray[np.uint8]]:
    """Decode an MP4, MOV, Matroska, WebM or AVI video from its start.

    Turned as its metadata says, and shrunk like a still image.

    Args:
        fd: Open for reading, and seekable. The file itself need not be openable by this process.
        name: The file's name, for messages.
        frames_per_second: Thin it to this many frames of a second of its own; None: every frame.

    Yields:
        (H, W, 3) uint8 RGB.

    Raises:
        CameraError: It is no such video, is damaged, too large a picture, or has no frame.
    """
    head = os.pread(fd, 12, 0)
    if not head:
        raise CameraError(f"{name} is empty (0 bytes)", hint="copy the video again")
    # Only containers that hold their own pictures: a playlist would have FFmpeg open what it names.
    if not _is_container(head):
        raise CameraError(
            f"{name} is not a video that can be read", hint="use MP4, MOV, MKV, WebM or AVI"
        )
    os.lseek(fd, 0, os.SEEK_SET)
    # FFmpeg reads the descriptor itself. Handed a Python stream, OpenCV 4 would call it without
    # holding the interpreter's lock, and crash where it raises.
    os.environ[_OPTIONS] = f"fd;{fd}|{_NOTHING_ELSE}"
    try:
        capture = cv2.VideoCapture("fd:", cv2.CAP_FFMPEG)
    finally:
        os.environ[_OPTIONS] = ""  # of this video alone; it stays, or others would move
    try:
        yield from _decoded(capture, name=name, wanted_rate=frames_per_second)
    finally:
        capture.release()


def _decoded(
    capture: cv2.VideoCapture, *, name: str, wanted_rate: float | None
) -> Iterator[NDArray[np.uint8]]:
    if not capture.isOpened():
        raise CameraError(
            f"{name} is a video that is damaged or of an unknown codec",
            hint="copy it again, or convert it to H.264 in MP4",
        )
    width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
    height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    check_size(width, height, name=name)
    rate = capture.get(cv2.CAP_PROP_FPS)
    if not 0.0 < rate <= 1000.0:
        rate = _USUAL_RATE
    step = 1.0 if wanted_rate is None else max(1.0, rate / wanted_rate)
    index = 0
    due = 0.0
    while capture.grab():
        if index >= due:
            found, bgr = capture.retrieve()
            if not found:
                break
            due += step
            yield shrink(np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8))
        index += 1
    if due == 0.0:
        raise CameraError(f"{name} is a video with no frames", hint="record it again")


def _is_container(head: bytes) -> bool:
    return (
        head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free")
        or head.startswith(b"\x1a\x45\xdf\xa3")
        or (head.startswith(b"RIFF") and head[8:12] == b"AVI ")
    )

"""Writes images or a video into a v4l2loopback node, over and over, until it is killed.

usage: feeder.py NODE {YUYV|GREY} FRAMES_PER_SECOND FILE...; the file "black" is a dark frame.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT = 640, 480
S_FMT = 0xC0D05605
VIDEO_OUTPUT, FIELD_NONE, COLORSPACE_SRGB = 2, 1, 8
VIDEO_SUFFIXES = (".mov", ".mp4", ".avi")
EVERY = 3  # of a video's frames, to keep it in memory


def pictures(name: str, every: int = EVERY) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 BGR."""
    if name == "black":
        yield np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    elif Path(name).suffix.lower() in VIDEO_SUFFIXES:
        video, index = cv2.VideoCapture(name, cv2.CAP_FFMPEG), 0
        while video.grab():
            if index % every == 0:
                yield video.retrieve()[1]
            index += 1
    else:
        yield cv2.imread(name)


def fitted(bgr: np.ndarray) -> np.ndarray:
    """The whole picture in the middle of a black frame."""
    scale = min(WIDTH / bgr.shape[1], HEIGHT / bgr.shape[0])
    size = (round(bgr.shape[1] * scale), round(bgr.shape[0] * scale))
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    left, top = (WIDTH - size[0]) // 2, (HEIGHT - size[1]) // 2
    frame[top : top + size[1], left : left + size[0]] = cv2.resize(
        bgr, size, interpolation=cv2.INTER_AREA
    )
    return frame


def packed(bgr: np.ndarray, pixel_format: str) -> bytes:
    if pixel_format == "GREY":
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY).tobytes()
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_YUY2).tobytes()


def set_format(fd: int, pixel_format: str) -> None:
    bytes_per_pixel = 1 if pixel_format == "GREY" else 2
    code = int.from_bytes(pixel_format.encode(), "little")
    line = WIDTH * bytes_per_pixel
    request = bytearray(208)
    struct.pack_into("=I4x", request, 0, VIDEO_OUTPUT)
    fields = (WIDTH, HEIGHT, code, FIELD_NONE, line, line * HEIGHT, COLORSPACE_SRGB, 0)
    struct.pack_into("=8I", request, 8, *fields)
    fcntl.ioctl(fd, S_FMT, request)


def main() -> None:
    node, pixel_format, rate, *names = sys.argv[1:]
    frames = [packed(fitted(bgr), pixel_format) for name in names for bgr in pictures(name)]
    fd = os.open(node, os.O_RDWR)
    set_format(fd, pixel_format)
    while True:
        for frame in frames:
            os.write(fd, frame)
            time.sleep(1 / float(rate))


if __name__ == "__main__":
    main()

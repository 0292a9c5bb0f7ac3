"""Shows somebody through a v4l2loopback node: feeder.py NODE {YUYV|GREY} FRAMES_PER_SECOND LINK.

LINK leads to a file of raw 640 x 480 frames, which are shown forwards and backwards, over and over,
until the link leads to another or the process is killed.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

WIDTH, HEIGHT = 640, 480
BYTES_PER_PIXEL = {"GREY": 1, "YUYV": 2}
S_FMT = 0xC0D05605
VIDEO_OUTPUT, FIELD_NONE, COLORSPACE_SRGB = 2, 1, 8


def set_format(fd: int, pixel_format: str) -> None:
    code = int.from_bytes(pixel_format.encode(), "little")
    line = WIDTH * BYTES_PER_PIXEL[pixel_format]
    request = bytearray(208)
    struct.pack_into("=I4x", request, 0, VIDEO_OUTPUT)
    fields = (WIDTH, HEIGHT, code, FIELD_NONE, line, line * HEIGHT, COLORSPACE_SRGB, 0)
    struct.pack_into("=8I", request, 8, *fields)
    fcntl.ioctl(fd, S_FMT, request)


def frames(link: Path, size: int) -> Iterator[bytes]:
    while True:
        showing = link.readlink()
        with showing.open("rb") as file:
            count = os.fstat(file.fileno()).st_size // size
            there_and_back = [*range(count), *range(count - 2, 0, -1)]
            for index in itertools.cycle(there_and_back):
                yield os.pread(file.fileno(), size, index * size)
                if link.readlink() != showing:
                    break


def main() -> None:
    node, pixel_format, rate, link = sys.argv[1:]
    fd = os.open(node, os.O_RDWR)
    set_format(fd, pixel_format)
    due = time.monotonic()
    for frame in frames(Path(link), WIDTH * HEIGHT * BYTES_PER_PIXEL[pixel_format]):
        os.write(fd, frame)
        due = max(due + 1 / float(rate), time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main()

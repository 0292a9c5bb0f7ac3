"""A camera that sees a printed portrait: drawn, and written as a video.

What it shows is a photograph of a photograph, and no person.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pam_faceid.core.errors import CameraError

FRAMES: Final = 60
FRAMES_PER_SECOND: Final = 15

# Ink on paper: its black is grey, its white is not quite, and there is a margin.
BLACKEST: Final = 35  # luminance
INK: Final = 0.6  # contrast that is left of the original's
MARGIN_PX: Final = 24
PAPER: Final = (225, 228, 230)  # BGR
WALL: Final = (70, 80, 95)  # behind it, BGR
SIZE: Final = 0.65  # of the sheet in the picture
SOFT_PX: Final = 0.7  # the camera is not in focus on paper as on its pixels


def record_print(portrait: Path, video: Path, *, phase: float) -> None:
    """Write a Motion JPEG video of a print that is held before a camera and sways.

    Args:
        portrait: A still image; its size becomes the video's.
        video: To write, ending in `.avi`.
        phase: Where in its movement it starts, radians. Two phases share no frame.

    Raises:
        CameraError: The portrait cannot be read, or the video not be written.
    """
    still = cv2.imread(str(portrait))
    if still is None:
        raise CameraError(f"the portrait {portrait} cannot be read", hint="run install.sh again")
    height, width = still.shape[:2]
    codec = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(video), codec, FRAMES_PER_SECOND, (width, height))
    if not writer.isOpened():
        raise CameraError(f"the video {video} cannot be written")
    sheet = _printed(np.asarray(still, np.uint8))
    for index in range(FRAMES):
        seen = _held(sheet, phase + 2 * math.pi * index / FRAMES, width=width, height=height)
        writer.write(cv2.convertScaleAbs(seen, alpha=1 + 0.05 * math.sin(2 * math.pi * index / 20)))
    writer.release()


def _printed(still: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) as ink leaves it on a sheet with a margin."""
    ink = (BLACKEST + INK * still.astype(np.float32)).clip(0, 255).astype(np.uint8)
    edges = (MARGIN_PX, MARGIN_PX, MARGIN_PX, MARGIN_PX)
    return np.asarray(cv2.copyMakeBorder(ink, *edges, cv2.BORDER_CONSTANT, value=PAPER), np.uint8)


def _held(sheet: NDArray[np.uint8], turn: float, *, width: int, height: int) -> NDArray[np.uint8]:
    """Return a frame in which a hand has swayed a sheet, before a wall lit from one side."""
    rows, columns = sheet.shape[:2]
    scale = SIZE * (0.97 + 0.03 * math.cos(turn))
    pose = cv2.getRotationMatrix2D((columns / 2, rows / 2), 3 * math.sin(turn), scale)
    pose[0, 2] += (width - columns) / 2 + 10 * math.sin(2 * turn)  # px to the side
    pose[1, 2] += (height - rows) / 2 + 6 * math.cos(turn)  # px down
    there = cv2.warpAffine(np.full((rows, columns), 255, np.uint8), pose, (width, height))
    light = np.linspace(0.7, 1.2, width, dtype=np.float32)[None, :, None]
    wall = (np.asarray(WALL, np.float32) * light).repeat(height, axis=0).astype(np.uint8)
    moved = cv2.warpAffine(sheet, pose, (width, height), flags=cv2.INTER_AREA)
    frame = np.where(there[..., None] > 127, moved, wall).astype(np.uint8)
    return np.asarray(cv2.GaussianBlur(frame, (0, 0), SOFT_PX), np.uint8)

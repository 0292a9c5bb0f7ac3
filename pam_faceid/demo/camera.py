"""A portrait that moves as a person before a camera does, written as a video."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import cv2

from pam_faceid.core.errors import CameraError

FRAMES: Final = 60
FRAMES_PER_SECOND: Final = 15


def record_moving(portrait: Path, video: Path, *, phase: float) -> None:
    """Write a Motion JPEG video of a portrait that sways, comes closer and changes in light.

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
    for index in range(FRAMES):
        turn = phase + 2 * math.pi * index / FRAMES
        pose = cv2.getRotationMatrix2D(
            (width / 2, height / 2), angle=3 * math.sin(turn), scale=0.95 + 0.05 * math.cos(turn)
        )
        pose[0, 2] += 14 * math.sin(2 * turn)  # px to the side
        pose[1, 2] += 8 * math.cos(turn)  # px down
        moved = cv2.warpAffine(still, pose, (width, height), borderMode=cv2.BORDER_REPLICATE)
        writer.write(cv2.convertScaleAbs(moved, alpha=1 + 0.08 * math.sin(turn)))
    writer.release()

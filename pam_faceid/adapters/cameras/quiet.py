"""OpenCV kept off the standard error, which may be the terminal of the person who logs in."""

from __future__ import annotations

import os
from typing import Final

import cv2

_FFMPEG_QUIET: Final = "-8"  # AV_LOG_QUIET
V4L2_TIMEOUT_SECONDS: Final = 3


def quieten_opencv() -> None:
    """Silence OpenCV and FFmpeg in this process, and bound how long V4L2 waits for a frame.

    OpenCV reads the two variables once, when the first capture is opened: call this before.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", _FFMPEG_QUIET)
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(V4L2_TIMEOUT_SECONDS))
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

"""OpenCV kept off the standard error, which may be the terminal of the person who logs in."""

from __future__ import annotations

import os
from typing import Final

V4L2_TIMEOUT_SECONDS: Final = 3
# Read once, when the first capture is opened. An observer has them before it has threads.
CAPTURE_ENVIRONMENT: Final = {
    "OPENCV_FFMPEG_LOGLEVEL": "-8",  # AV_LOG_QUIET
    "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": str(V4L2_TIMEOUT_SECONDS),
}


def quieten_opencv() -> None:
    """Silence OpenCV and FFmpeg in this process, and bound how long V4L2 waits for a frame.

    Call this before the first capture is opened.
    """
    # The privileged side knows the variables too, and must not load a decoder.
    import cv2  # noqa: PLC0415

    for name, value in CAPTURE_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

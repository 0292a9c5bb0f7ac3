"""A film in the place of OpenCV's camera class, for programs that take nothing but a device.

A line of a .pth file imports it before a program starts. Whatever device is named, frames of the
film come over and over, as fast as they are taken: nobody waits for a camera.
"""

from __future__ import annotations

import cv2

FILM = "/srv/faces/now.avi"
Film = cv2.VideoCapture


class VideoCapture:
    """As much of the class as is called."""

    def __init__(self, *_device: object) -> None:
        self._film = Film(FILM, cv2.CAP_FFMPEG)

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Whether there is a film."""
        return bool(self._film.isOpened())

    def read(self) -> tuple[bool, object]:
        """Take the next frame."""
        ready, frame = self._film.read()
        if not ready:
            self._film.set(cv2.CAP_PROP_POS_FRAMES, 0)
            ready, frame = self._film.read()
        return ready, frame

    def grab(self) -> bool:
        """Take the next frame and leave it."""
        return self.read()[0]

    def set(self, *_property: object) -> bool:
        """A film stays as it is."""
        return True

    def get(self, number: int) -> float:
        """Tell width, height or rate."""
        return float(self._film.get(number))

    def release(self) -> None:
        """Close the film."""
        self._film.release()


vars(cv2).update(VideoCapture=VideoCapture)

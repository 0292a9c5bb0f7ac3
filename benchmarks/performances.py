"""Recordings of people who turn their heads, cut so that they do what a challenge asks for.

Nobody who was filmed was asked for anything. What is here are single movements out of longer ones,
each played there and back, from and to frames of the same recording in which the person looks
straight ahead. Coming closer is the picture enlarged around the face.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.sequences import Source, frames_of
from pam_faceid.core.movements import Action

HELD: Final = 4  # frames for which a movement stays at its end
APART: Final = 6  # frames between two blinks
ENLARGED: Final = 1.35
ENLARGING: Final = 18  # frames


class Shot(NamedTuple):
    """One picture: a frame of a recording, enlarged."""

    frame: int
    zoom: float


@dataclass(frozen=True, slots=True)
class Stock:
    """A recording, and what of it shows what.

    Args:
        person: Who.
        folder: Below the samples of `td_live_real`; has the video and a selfie.
        straight: First and last frame of a straight look.
        ways: By movement, the frame that it begins with, straight ahead, and the one that it ends
            with; backwards where the number falls.
    """

    person: str
    folder: str
    straight: tuple[int, int]
    ways: Mapping[Action, tuple[int, int]]

    def can(self, actions: Sequence[Action]) -> bool:
        """Whether all of these are in it."""
        return all(action is Action.CLOSER or action in self.ways for action in actions)

    def video(self, data: Path) -> Path:
        """Where the recording is."""
        return data / "td_live_real/samples" / self.folder / "live_video.MOV"

    def selfie(self, data: Path) -> Path:
        """Where the picture is that the person is enrolled from."""
        return data / "td_live_real/samples" / self.folder / "live_selfie.jpg"


# Found by eye and by the numbers of the mesh; person and left as the person has them.
STOCKS: Final = (
    Stock(
        "td 31c6",
        "0001e96803--621f74f67610eb59dffc6431",
        (5, 28),
        {Action.RIGHT: (30, 46), Action.LEFT: (135, 110), Action.NOD: (244, 262)},
    ),
    Stock(
        "td b19c",
        "0001e96803--6238f1fa0478c01e4272b19c",
        (186, 200),
        {
            Action.RIGHT: (120, 98),
            Action.LEFT: (184, 150),
            Action.NOD: (198, 222),
            Action.BLINK: (199, 206),
        },
    ),
    Stock(
        "td 9eb3",
        "0001e96803--62421a6b74c10315675b9eb3",
        (162, 178),
        {Action.RIGHT: (162, 142), Action.LEFT: (70, 94), Action.NOD: (178, 196)},
    ),
)


def straight_ahead(stock: Stock, zoom: float = 1.0) -> Iterator[Shot]:
    """Yield a straight look without an end, back and forth."""
    first, last = stock.straight
    there = list(range(first, last + 1))
    while True:
        yield from (Shot(frame, zoom) for frame in [*there, *there[-2:0:-1]])


def way(stock: Stock, action: Action, zoom: float = 1.0) -> list[Shot]:
    """Return the pictures of one movement, from the straight look and back to it.

    After coming closer there is no way back.
    """
    if action is Action.CLOSER:
        steps = np.linspace(1.0, ENLARGED, ENLARGING)
        return [
            Shot(shot.frame, zoom * step)
            for shot, step in zip(straight_ahead(stock), steps.tolist(), strict=False)
        ]
    first, last = stock.ways[action]
    step = 1 if last > first else -1
    there = [Shot(frame, zoom) for frame in range(first, last + step, step)]
    once = [*there, *there[-1:] * HELD, *there[::-1]]
    if action is not Action.BLINK:
        return once
    return [*once, *[Shot(first, zoom)] * APART, *once]


def pictures(stock: Stock, data: Path) -> list[NDArray[np.uint8]]:
    """Return every frame of a recording, (H, W, 3) uint8 RGB.

    Raises:
        CameraError: It cannot be read.
    """
    source = Source(stock.person, "video", (stock.video(data),), in_order=True)
    return [frame.pixels for frame in frames_of(source)]


def shown(shot: Shot, frames: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return the picture of a shot, enlarged around its middle, (H, W, 3) uint8 RGB."""
    pixels = frames[shot.frame]
    if shot.zoom == 1.0:
        return pixels
    height, width = pixels.shape[:2]
    matrix = np.array(
        [
            [shot.zoom, 0, (1 - shot.zoom) * width / 2],
            [0, shot.zoom, (1 - shot.zoom) * height / 2],
        ]
    )
    enlarged = cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_LINEAR)
    return enlarged.astype(np.uint8, copy=False)

"""Does an infrared camera's light flash, and which frames are lit: told from how bright they are.

Windows Hello cameras light every other frame, so that what the light adds can be told from what was
there anyway. Frames get lost, so parity is not trusted; each frame is judged by its own level.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Final

WINDOW: Final = 8
FEWEST: Final = 4  # levels before anything is said: lit, dark, lit, dark
MIN_STEP: Final = 4.0  # luminance between lit and dark; noise of a mean is far below 1
MIN_TURNS: Final = 0.5  # of the steps from frame to frame; one lost frame in three leaves as much


class Phase(str, Enum):
    """What the camera's light did while a frame was taken."""

    LIT = "lit"
    DARK = "dark"
    STEADY = "steady"  # it does not flash, as far as can be told


@dataclass(frozen=True, slots=True)
class Strobe:
    """A light that flashes.

    Args:
        boundary: Luminance between the darkest lit frame and the brightest dark one.
        step: How far these two are apart.
    """

    boundary: float
    step: float

    def phase(self, level: float) -> Phase:
        """Return what the light did in a frame of this luminance."""
        # Written so that NaN is dark.
        return Phase.LIT if level >= self.boundary else Phase.DARK


def strobe(levels: Sequence[float]) -> Strobe | None:
    """Tell from the luminance of successive frames whether the light flashes.

    It does when the levels fall into two groups that are further apart than either is wide, and the
    frames go to and fro between the two. A light that is switched on, or a person who comes nearer,
    makes two groups too, but turns once.

    Args:
        levels: Mean luminance, 0 to 255, oldest first; at least `FEWEST`.
    """
    if len(levels) < FEWEST:
        return None
    ordered = sorted(levels)
    gaps = [high - low for low, high in pairwise(ordered)]
    cut = max(range(len(gaps)), key=gaps.__getitem__)
    step = gaps[cut]
    width = max(ordered[cut] - ordered[0], ordered[-1] - ordered[cut + 1])
    # Written so that NaN is no strobe.
    if not (step >= MIN_STEP and step >= width):
        return None
    told = Strobe(boundary=ordered[cut] + step / 2, step=step)
    lit = [level >= told.boundary for level in levels]
    turns = sum(one is not other for one, other in pairwise(lit))
    return told if turns >= MIN_TURNS * (len(levels) - 1) else None


class StrobeWatch:
    """Follows the frames of one camera."""

    def __init__(self) -> None:
        self._levels: deque[float] = deque(maxlen=WINDOW)

    @property
    def is_settled(self) -> bool:
        """Whether enough frames were seen to say something."""
        return len(self._levels) >= FEWEST

    def see(self, level: float) -> Phase:
        """Return the phase of the next frame.

        Args:
            level: Its mean luminance, 0 to 255.
        """
        self._levels.append(level)
        told = strobe(tuple(self._levels))
        return Phase.STEADY if told is None else told.phase(level)

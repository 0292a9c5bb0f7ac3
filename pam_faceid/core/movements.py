"""Which of the movements that a person can be asked to make a face shows, frame by frame.

Measured beside a straight look before it. Stdlib only, as all that decides.

Docs/attacks.md has what the numbers below were measured on, and what they do not stop.
"""

from __future__ import annotations

import math
import statistics
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from pam_faceid.core.types import PresentationEvidence


class Action(str, Enum):
    """What a person can be asked to do. Left and right are the person's own."""

    LEFT = "turn_left"
    RIGHT = "turn_right"
    NOD = "nod"
    BLINK = "blink_twice"
    CLOSER = "move_closer"


# Of a movement, beside the straight look. Degrees alone would do for a picture that is bent and
# tilted: the nose has to leave its place between eyes and mouth, too, as no flat picture's does.
TURN: Final = 25.0
TURN_NOSE: Final = 0.35
NOD: Final = 15.0
NOD_NOSE: Final = 0.12
CLOSER: Final = 1.25
CLOSED: Final = 0.5  # of the gap between the lids of open eyes
OPEN: Final = 0.7
LONGEST_BLINK: Final = 1.0  # seconds
TIMES: Final = 2
FRAMES: Final = 2  # in a row that have to show it

# From where on a movement that was not asked for is one. Who turns the head nods a little.
OTHER_TURN: Final = 18.0
OTHER_NOD: Final = 22.0
OTHER_CLOSER: Final = 1.4


class Seen(NamedTuple):
    """What one frame shows of the face."""

    at: float
    yaw: float
    pitch: float
    across: float
    down: float
    lids: float
    x: float
    y: float
    size: float

    @classmethod
    def of(cls, said: PresentationEvidence, at: float) -> Seen | None:
        """None where the frame has no mesh to tell."""
        told = (
            said.yaw_degrees,
            said.pitch_degrees,
            said.nose_across,
            said.nose_down,
            said.lid_gap,
        )
        yaw, pitch, across, down, lids = (math.nan if one is None else one for one in told)
        seen = cls(at, yaw, pitch, across, down, lids, said.x_px, said.y_px, said.size_px)
        return seen if all(map(math.isfinite, seen)) else None


class Watch:
    """Tells from frames whether a movement is made, or another one.

    Args:
        base: The straight look that it begins from.
    """

    def __init__(self, base: Seen) -> None:
        self.base = base
        self._shown = self._other = 0  # frames in a row
        self._sizes: list[float] = []
        self._blinks = _Blinks(base.lids)

    @property
    def shows_it(self) -> bool:
        """Whether enough was seen of what is asked."""
        return self._shown >= FRAMES or self._blinks.seen >= TIMES

    @property
    def shows_another(self) -> bool:
        """Whether enough was seen of something that is not asked."""
        return self._other >= FRAMES

    def interrupt(self) -> None:
        """Take in a frame that shows nothing."""
        self._shown = self._other = 0

    def see(self, seen: Seen, asked: Action) -> None:
        """Take in a frame."""
        self._sizes = [*self._sizes[-2:], seen.size]
        self._shown = self._shown + 1 if self._does(seen, asked) else 0
        self._other = self._other + 1 if self._does_another(seen, asked) else 0

    def _does(self, seen: Seen, asked: Action) -> bool:
        """Whether a frame shows what was asked."""
        base = self.base
        if asked is Action.BLINK:
            self._blinks.see(seen)
            return False
        if asked is Action.CLOSER:
            return self._grown() >= CLOSER
        if asked is Action.NOD:
            return seen.pitch - base.pitch >= NOD and seen.down - base.down >= NOD_NOSE
        side = 1.0 if asked is Action.LEFT else -1.0
        return (
            side * (seen.yaw - base.yaw) >= TURN and side * (seen.across - base.across) >= TURN_NOSE
        )

    def _does_another(self, seen: Seen, asked: Action) -> bool:
        """Whether a frame shows a movement that was not asked for. Everybody blinks."""
        yaw, pitch = seen.yaw - self.base.yaw, abs(seen.pitch - self.base.pitch)
        return (
            (yaw >= OTHER_TURN and asked is not Action.LEFT)
            or (yaw <= -OTHER_TURN and asked is not Action.RIGHT)
            or (pitch >= OTHER_NOD and asked is not Action.NOD)
            or (self._grown() >= OTHER_CLOSER and asked is not Action.CLOSER)
        )

    def _grown(self) -> float:
        """Return how much larger the face is; a detector's boxes are not of one size."""
        return statistics.median(self._sizes) / self.base.size


class _Blinks:
    """Counts blinks: eyes that were open, close and open again.

    Args:
        open_: Gap between the lids of open eyes.
    """

    def __init__(self, open_: float) -> None:
        self.seen = 0
        self._open = open_
        self._closed_at: float | None = None
        self._were_open = False

    def see(self, seen: Seen) -> None:
        """Take in a frame."""
        if seen.lids >= OPEN * self._open:
            closed_at, self._closed_at, self._were_open = self._closed_at, None, True
            if closed_at is not None and seen.at - closed_at <= LONGEST_BLINK:
                self.seen += 1
        elif seen.lids <= CLOSED * self._open and self._were_open and self._closed_at is None:
            self._closed_at = seen.at

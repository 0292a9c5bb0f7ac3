"""A slow turn of the head: which pose to ask for next, and when to stop asking for it."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from typing import Final

from pam_faceid.core.poses import FACING, SIDE, Level, pose_of
from pam_faceid.core.quality import ADVICE
from pam_faceid.core.types import Pose, Refusal, SampleQuality

ASK: Final = {
    Pose.STRAIGHT: "Look straight at the camera",
    Pose.LEFT: "Turn your head a little to the left",
    Pose.RIGHT: "Turn your head a little to the right",
    Pose.UP: "Raise your chin a little",
    Pose.DOWN: "Lower your chin a little",
}
# Of somebody who was asked to turn, and turned further than a reference may be.
TOO_FAR: Final = frozenset((Refusal.TURNED_AWAY, Refusal.LOOKING_UP, Refusal.LOOKING_DOWN))
TURN_BACK: Final = "Not so far: turn back a little"
OTHER_WAY: Final = "Now the other way"

OPPOSITE: Final = {
    Pose.LEFT: Pose.RIGHT,
    Pose.RIGHT: Pose.LEFT,
    Pose.UP: Pose.DOWN,
    Pose.DOWN: Pose.UP,
}

# As far as a camera above or below the eyes moves the nose of somebody who looks straight at it.
CAMERA_NOD: Final = 0.35

# With fewer samples no pose is given up: there would be too little to recognise a person by.
FEWEST: Final = 5


class Guidance:
    """Asks for one pose after the other.

    Any pose that is still wanted is welcome, asked for or not: a camera may show the picture as a
    mirror does.

    Args:
        references: Samples that a template is to have.
        patience_seconds: How long one pose is asked for while others are there already.
    """

    def __init__(self, *, references: int, patience_seconds: float) -> None:
        poses = list(Pose)
        self.wanted: Mapping[Pose, int] = {
            pose: count
            for index, pose in enumerate(poses)
            if (count := len(range(index, references, len(poses))))
        }
        self.enough = min(references, FEWEST)
        self._patience = patience_seconds
        self._taken: Counter[Pose] = Counter()
        self._given_up: set[Pose] = set()
        self._straight: list[SampleQuality] = []
        self._since: float | None = None
        self._seen: Pose | None = None

    @property
    def asked(self) -> Pose | None:
        """The pose to ask for; None when there is nothing more to ask."""
        missing = (pose for pose in self.wanted if not self.has(pose))
        return next((pose for pose in missing if pose not in self._given_up), None)

    @property
    def taken(self) -> Mapping[Pose, int]:
        """Good samples of each pose."""
        return self._taken

    @property
    def not_seen(self) -> list[Pose]:
        """Poses that are wanted and never came."""
        return [pose for pose in self.wanted if not self._taken[pose]]

    def has(self, pose: Pose) -> bool:
        """Whether there are as many samples of a pose as are wanted."""
        return self._taken[pose] >= self.wanted.get(pose, 0)

    def advice(self, why: Refusal | None = None) -> str:
        """Return what the person is to do.

        Args:
            why: The last frame was refused for this.
        """
        asked = self.asked
        if why is not None and not (why in TOO_FAR and asked not in (None, Pose.STRAIGHT)):
            return ADVICE[why]
        if asked is None:
            return "Good"
        if why is not None:
            return TURN_BACK
        if self._seen is not None and OPPOSITE.get(self._seen) is asked:
            return OTHER_WAY
        return ASK[asked]

    def wait(self, at: float, *, samples: int) -> None:
        """Give up the pose that is asked for when it did not come for too long.

        Args:
            at: When this frame was captured, seconds on any clock that does not jump.
            samples: Good ones so far, of every pose.
        """
        asked = self.asked
        if asked is None:
            return
        if self._since is None:
            self._since = at
        elif at - self._since >= self._patience and samples >= self.enough:
            self._given_up.add(asked)
            self._since = at

    def pose(self, quality: SampleQuality) -> Pose:
        """Return the pose of a frame, beside the person's own straight look once that is known."""
        if self.asked is Pose.STRAIGHT:
            # Noses differ and cameras stand above or below: whoever is asked to look straight does.
            straight = abs(quality.yaw) < SIDE and abs(quality.pitch) < CAMERA_NOD
            self._seen = Pose.STRAIGHT if straight else pose_of(quality)
        else:
            self._seen = pose_of(quality, self._level())
        return self._seen

    def take(self, pose: Pose, quality: SampleQuality, *, at: float) -> None:
        """Count a good sample."""
        asked = self.asked
        if asked is Pose.STRAIGHT and pose is Pose.STRAIGHT:
            self._straight.append(quality)
        self._taken[pose] += 1
        if pose is asked:
            self._since = at

    def _level(self) -> Level:
        if not self._straight:
            return FACING
        return Level(
            yaw=statistics.median(quality.yaw for quality in self._straight),
            pitch=statistics.median(quality.pitch for quality in self._straight),
        )

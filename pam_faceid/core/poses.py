"""How a head is held, told from where the nose lies between eyes and mouth."""

from __future__ import annotations

from typing import Final, NamedTuple

from pam_faceid.core.types import Pose, SampleQuality

# From how far off the straight look, in the measures of `SampleQuality`, a head is turned or nods.
# Calibrated on head-turn videos of three people and on LFW: see docs/enrolment.md.
SIDE: Final = 0.25
NOD: Final = 0.15


class Level(NamedTuple):
    """What is measured of a person who looks straight at the camera.

    Args:
        yaw, pitch: As in `SampleQuality`. Noses differ, and cameras stand above or below the eyes.
    """

    yaw: float
    pitch: float


FACING: Final = Level(0.0, 0.0)


def pose_of(quality: SampleQuality, level: Level = FACING) -> Pose:
    """Return the pose, the larger deviation deciding.

    Args:
        quality: Of a sample.
        level: Of the same person; of an average one where it is not known.
    """
    side = (quality.yaw - level.yaw) / SIDE
    nod = (quality.pitch - level.pitch) / NOD
    if max(abs(side), abs(nod)) < 1.0:
        return Pose.STRAIGHT
    if abs(side) >= abs(nod):
        # To the right in the picture is to the left of the person in it.
        return Pose.LEFT if side > 0 else Pose.RIGHT
    return Pose.DOWN if nod > 0 else Pose.UP
